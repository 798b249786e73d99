"""One measurement of an analysis, in a process of its own.

    python measure_analysis.py make DATA WORK RESOLUTION
    python measure_analysis.py make-large WORK
    python measure_analysis.py MEASURE WORK

``bench_analysis.py`` starts it and reads the line of JSON that it prints: seconds, and the peak of
the resident memory of the whole process in MB.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import zarr
from measure import peak_megabytes

import refspace

STATISTICS = ("count", "sum", "mean", "std", "var", "min", "max")
POINTS = 10_000_000
ONE_BY_ONE = 100_000

Timed = Callable[[], object]


def make(data: str, work: Path, resolution: float) -> None:
    """Store of the annotation, and an image of noise beside it, as zarr and as NumPy file."""
    if data == "phantom":
        refspace.phantom(resolution=resolution).to_zarr(work / "atlas.zarr", chunks=64)
    else:
        refspace.convert(
            Path(data, "annotation_25.nrrd"), Path(data, "structures_1.json"), work / "atlas.zarr"
        )
    space = refspace.open(work / "atlas.zarr")
    write_noise(space, work / "image.zarr")
    np.save(work / "image.npy", zarr.open_array(work / "image.zarr", mode="r")[:])
    np.save(work / "annotation.npy", space.annotation.values)


def make_large(work: Path) -> None:
    """Store of the same brain at 2.5 times the resolution, and an image beside it."""
    space = refspace.open(work / "atlas.zarr")
    fine = [length / 2.5 for length in space.resolution]
    space.downsample(fine, upsample=True).to_zarr(work / "large.zarr")
    write_noise(refspace.open(work / "large.zarr"), work / "large_image.zarr")


def write_noise(space: refspace.ReferenceSpace, path: Path) -> None:
    """Image of noise on the grid of a space, chunked alike, which no codec makes smaller."""
    shape, chunks = space.annotation.shape, space.annotation.data.chunksize
    image = zarr.create_array(path, shape=shape, chunks=chunks, dtype="f4", compressors=None)
    rng = np.random.default_rng(0)
    for start in range(0, shape[0], chunks[0]):
        stop = min(start + chunks[0], shape[0])
        image[start:stop] = rng.random((stop - start, *shape[1:]), dtype="f4")


def voxels(work: Path) -> tuple[Any, Any]:
    """Labels and image, in memory."""
    return np.load(work / "annotation.npy"), np.load(work / "image.npy")


# ----- statistics per structure: of 1327 structures here, of labels that occur there


def ours(work: Path, statistics: Any, **options: Any) -> Timed:
    """Statistics of every structure with its descendants, image in memory, labels in the store."""
    space, image = refspace.open(work / "atlas.zarr"), np.load(work / "image.npy")
    return lambda: space.aggregate(image, statistics=statistics, **options).compute()


def ours_in_memory(work: Path) -> Timed:
    """The mean, both arrays in memory."""
    labels, image = voxels(work)
    tree = refspace.open(work / "atlas.zarr").structure_tree
    space = refspace.ReferenceSpace(tree, labels, 25)
    return lambda: space.aggregate(image, statistics="mean").compute()


def ndimage_mean(work: Path) -> Timed:
    """The mean of each label, by `scipy.ndimage.mean`."""
    from scipy import ndimage

    labels, image = voxels(work)
    ids = np.unique(labels)
    return lambda: ndimage.mean(image, labels, ids)


def ndimage_dense(work: Path) -> Timed:
    """The same, after ids were turned into 0, 1, 2, … by a table, which is part of the work."""
    from scipy import ndimage

    labels, image = voxels(work)
    ids = np.unique(labels)

    def run() -> object:
        return ndimage.mean(image, np.searchsorted(ids, labels), np.arange(ids.size))

    return run


def ndimage_comprehension(work: Path) -> Timed:
    """The mean of each label, by `scipy.ndimage.labeled_comprehension`."""
    from scipy import ndimage

    labels, image = voxels(work)
    ids = np.unique(labels)
    return lambda: ndimage.labeled_comprehension(image, labels, ids, np.mean, float, np.nan)


def flox(work: Path) -> Timed:
    """The mean of each label, by xarray's groupby with flox."""
    import xarray as xr

    labels, image = voxels(work)
    dims = ("ap", "dv", "ml")
    values, groups = xr.DataArray(image, dims=dims), xr.DataArray(labels, dims=dims, name="id")
    # Which xarray uses where it is installed.
    import_module("flox")
    return lambda: values.groupby(groups).mean().compute()


def nilearn(work: Path) -> Timed:
    """The mean of each label, by nilearn's labels masker."""
    from nibabel.nifti1 import Nifti1Image
    from nilearn.maskers import NiftiLabelsMasker

    labels, image = voxels(work)
    dense = np.unique(labels, return_inverse=True)[1]
    affine = np.diag([0.025, 0.025, 0.025, 1])
    nifti: Any = Nifti1Image
    relabelled = nifti(dense.reshape(labels.shape).astype("i2"), affine)
    values = nifti(image[..., np.newaxis], affine)
    masker = NiftiLabelsMasker(relabelled, standardize=None, resampling_target=None)
    return lambda: masker.fit_transform(values)


def out_of_core(atlas: Path, image: Path) -> Timed:
    """All statistics of an image in zarr that is never in memory as a whole."""
    space, values = refspace.open(atlas), dask.array.from_zarr(str(image))
    return lambda: space.aggregate(values, statistics=STATISTICS).compute()


# ----- points


def random_points(work: Path, count: int) -> tuple[refspace.ReferenceSpace, Any]:
    """Random points within the volume."""
    space = refspace.open(work / "atlas.zarr")
    return space, np.random.default_rng(0).random((count, 3)) * space.grid.extent


def structure_at(work: Path) -> Timed:
    """Structures of all points."""
    space, points = random_points(work, POINTS)
    return lambda: space.structure_at(points).compute()


def count_points(work: Path) -> Timed:
    """Points of every structure with its descendants, and their densities."""
    space, points = random_points(work, POINTS)
    return lambda: space.count_points(points).compute()


def numpy_indexing(work: Path) -> Timed:
    """Structures of all points, by indexing the volume in memory."""
    space, points = random_points(work, POINTS)
    labels = np.load(work / "annotation.npy")

    def run() -> object:
        return labels[tuple((points // space.resolution).astype(np.intp).T)]

    return run


def one_by_one(work: Path) -> Timed:
    """Structures of 1/100 of the points, each looked up in the volume in memory by itself."""
    space, points = random_points(work, ONE_BY_ONE)
    labels, resolution = np.load(work / "annotation.npy"), space.resolution

    def look_up(point: Any) -> int:
        return int(labels[tuple(int(p / r) for p, r in zip(point, resolution, strict=True))])

    return lambda: [look_up(point) for point in points]


MEASURES: dict[str, Callable[[Path], Timed]] = {
    "mean": lambda work: ours(work, "mean"),
    "seven": lambda work: ours(work, STATISTICS),
    "median": lambda work: ours(work, STATISTICS, quantiles=0.5),
    "in memory": ours_in_memory,
    "ndimage.mean": ndimage_mean,
    "ndimage.mean, dense": ndimage_dense,
    "labeled_comprehension": ndimage_comprehension,
    "flox": flox,
    "nilearn": nilearn,
    "out of core": lambda work: out_of_core(work / "atlas.zarr", work / "image.zarr"),
    "large": lambda work: out_of_core(work / "large.zarr", work / "large_image.zarr"),
    "structure_at": structure_at,
    "count_points": count_points,
    "indexing": numpy_indexing,
    "one by one": one_by_one,
}


def main(name: str, *arguments: str) -> None:
    """Make the files, or time one measurement; print the figures."""
    figures: dict[str, float] = {}
    if name == "make":
        data, work, resolution = arguments
        make(data, Path(work), float(resolution))
    elif name == "make-large":
        make_large(Path(arguments[0]))
    else:
        warnings.simplefilter("ignore")  # of the other libraries
        timed = MEASURES[name](Path(arguments[0]))
        start = time.perf_counter()
        timed()
        figures = {"seconds": time.perf_counter() - start, "megabytes": peak_megabytes()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
