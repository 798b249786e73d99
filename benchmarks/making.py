"""Files that are measured with: ``python -m benchmarks.making WHAT FOLDER RESOLUTION [DATA]``.

Each function makes one file, or a folder, unless it is there, and then all of it.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import refspace
from benchmarks.measurement import subtree
from benchmarks.server import TESTS
from refspace import ReferenceSpace

_PIECE = 2**22
_SLAB = 128  # voxels along the first axis: a layer of chunks
_FINEST_SAMPLE = 100.0  # µm: what is finer is refined
# Structures of which BrainGlobe's kind of masks is made.
_MASKED = ("AUDd", "VISp", "Isocortex", "root")
FORMATS = (".nii.gz", ".mha", ".tif")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Path to write to, which is renamed at the end: the target is all or nothing."""
    partial = target.with_name(f"partial-{target.name}")
    if partial.is_dir():
        shutil.rmtree(partial)
    yield partial
    partial.rename(target)


# ----- the annotation, as a file and in memory


def annotation(folder: Path, resolution: float, data: str) -> None:
    """The annotation at a resolution, and the structures as AllenSDK takes them."""
    space = _source(data, resolution)
    with whole(folder / "structures.json") as path:
        refspace.write_structures(path, space.structure_tree)
    with whole(folder / "annotation.nrrd") as path:
        refspace.write_nrrd(path, space.annotation)


def _source(data: str, resolution: float) -> ReferenceSpace:
    if data:
        structures = Path(data, "structures_1.json")
        space = refspace.open(
            Path(data, "annotation_25.nrrd"), structures=structures, resolution=25
        )
    else:
        space = refspace.phantom(resolution=max(resolution, _FINEST_SAMPLE))
    if space.resolution[0] == resolution:
        return space
    return space.downsample(resolution, upsample=True)


def deflated(folder: Path, resolution: float, data: str) -> None:
    """The voxels of the NRRD file alone, as gzip compressed them there."""
    with (
        (folder / "annotation.nrrd").open("rb") as file,
        whole(folder / "annotation.nrrd.gz") as to,
    ):
        while file.readline().strip():  # the header ends with an empty line
            pass
        with to.open("wb") as target:
            shutil.copyfileobj(file, target, _PIECE)


def array(folder: Path, resolution: float, data: str) -> None:
    """The voxels as a NumPy file, in C order; of a store, for a file has them in another order."""
    labels = refspace.open(next(folder.glob("atlas-*.zarr"))).annotation
    with whole(folder / "annotation.npy") as path, path.open("wb") as file:
        header = {"descr": "<u4", "fortran_order": False, "shape": labels.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(labels), _SLAB):
            file.write(np.ascontiguousarray(labels[start : start + _SLAB], "<u4").data)


def _of_file(folder: Path, resolution: float) -> ReferenceSpace:
    structures = folder / "structures.json"
    return refspace.open(folder / "annotation.nrrd", structures=structures, resolution=resolution)


def formats(folder: Path, resolution: float, data: str) -> None:
    """The annotation as files of other formats."""
    from refspace.formats.volumes import write_volume

    space = _of_file(folder, resolution)
    for ending in FORMATS:
        with whole(folder / f"annotation{ending}") as path:
            write_volume(path, space.annotation)


# ----- stores, and images


def store(folder: Path, resolution: float, name: str) -> None:
    """A store, made by the refspace that is on the path."""
    refspace.convert(
        folder / "annotation.nrrd",
        folder / "structures.json",
        folder / name,
        resolution=resolution,
        overwrite=True,
    )


def image(folder: Path, resolution: float, data: str) -> None:
    """Image of noise on the same grid, chunked as stores are, which no codec makes smaller."""
    shape = np.load(folder / "annotation.npy", mmap_mode="r").shape
    with whole(folder / "image.zarr") as path:
        target = zarr.create_array(
            path, shape=shape, chunks=(128,) * 3, dtype="f4", compressors=None
        )
        rng = np.random.default_rng(0)
        for start in range(0, shape[0], _SLAB):
            stop = min(start + _SLAB, shape[0])
            target[start:stop] = rng.random((stop - start, *shape[1:]), dtype="f4")


def image_array(folder: Path, resolution: float, data: str) -> None:
    """The same image as a NumPy file."""
    with whole(folder / "image.npy") as path, path.open("wb") as file:
        np.save(file, np.asarray(zarr.open_array(folder / "image.zarr", mode="r")[...]))


# ----- as BrainGlobe has it


def foreign(folder: Path, resolution: float, data: str) -> None:
    """An image in BrainGlobe's layout: OME-Zarr, without an index and without structures."""
    labels = np.load(folder / "annotation.npy", mmap_mode="r")
    with whole(folder / "foreign.zarr") as path:
        _packaging().write_image(path, [labels], [(resolution,) * 3])


def indexed(folder: Path, resolution: float, data: str) -> None:
    """The same image once more, for an index that may be kept beside it."""
    with whole(folder / "indexed.zarr") as path:
        shutil.copytree(folder / "foreign.zarr", path)


def brainglobe(folder: Path, resolution: float, data: str) -> None:
    """An atlas in the folder of BrainGlobe's reader."""
    packaging = _packaging()
    labels = np.load(folder / "annotation.npy")
    nodes = json.loads((folder / "structures.json").read_text())
    sample = packaging.Sample(
        name="benchmark",
        minors=(0,),
        resolutions=((float(resolution),) * 3,),
        annotation=(labels,),
        template=(np.zeros(labels.shape, np.uint16),),
        # Its reader holds ids of parents in 16 bits.
        structures=tuple(n for n in nodes if max([0, *n["structure_id_path"][:-1]]) < 2**16),
        species="Mus musculus",
    )
    with whole(folder / "brainglobe") as path:
        packaging.write_packaging(path, sample)


def masks_4d(folder: Path, resolution: float, data: str) -> None:
    """Masks of some structures as channels, as BrainGlobe has them: empty chunks are absent."""
    labels = np.load(folder / "annotation.npy", mmap_mode="r")
    nodes = json.loads((folder / "structures.json").read_text())
    with whole(folder / "masks_4d.zarr") as path:
        group = zarr.create_group(path, attributes={"acronyms": list(_MASKED)})
        masks = group.create_array(
            "s0",
            shape=(len(_MASKED), *labels.shape),
            dtype="u1",
            chunks=(1, 128, 128, 128),
            fill_value=0,
            compressors=zarr.codecs.ZstdCodec(level=0, checksum=False),
        )
        for channel, acronym in enumerate(_MASKED):
            ids = np.array(subtree(nodes, [acronym]), labels.dtype)
            for start in range(0, labels.shape[0], _SLAB):
                slab = refspace.kernels.relabel(
                    np.ascontiguousarray(labels[start : start + _SLAB]),
                    ids,
                    np.ones(ids.size, np.uint8),
                    np.array(0, np.uint8),
                )
                masks[channel, start : start + _SLAB] = slab


def _packaging() -> Any:
    sys.path.append(str(TESTS))
    from helpers import brainglobe_packaging

    return brainglobe_packaging


MAKERS: dict[str, Callable[[Path, float, str], None]] = {
    "annotation.nrrd": annotation,
    "annotation.nrrd.gz": deflated,
    "annotation.npy": array,
    "annotation.tif": formats,
    "image.zarr": image,
    "image.npy": image_array,
    "foreign.zarr": foreign,
    "indexed.zarr": indexed,
    "brainglobe": brainglobe,
    "masks_4d.zarr": masks_4d,
}


def main(name: str, folder: str, resolution: str, data: str = "") -> None:
    """Make a file; any other name is that of a store."""
    if name in MAKERS:
        MAKERS[name](Path(folder), float(resolution), data)
    else:
        store(Path(folder), float(resolution), name)


if __name__ == "__main__":
    main(*sys.argv[1:])
