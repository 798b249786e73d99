"""Every function of `refspace.ops` on a small volume: what each gives, by name.

Run as a program, it writes the results to a file, so that they can be compared to those of another
process, in which dask is configured in another way.
"""

import pickle
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import dask.array as da
import dask.dataframe
import numpy as np
import pandas as pd
import xarray as xr

from refspace.grid import Grid
from refspace.labels import as_annotation, labelled
from refspace.labels.counting import count_labels
from refspace.labels.measuring import measure_labels
from refspace.labels.resampling import downsample
from refspace.ops.aggregate import STATISTICS, aggregate
from refspace.ops.align import align, as_image, image_extent
from refspace.ops.boundaries import boundaries
from refspace.ops.code_texts import CodeTexts, look_up_texts
from refspace.ops.compare import check_same_grid, confusion
from refspace.ops.components import components, split_by_hemisphere
from refspace.ops.contacts import contacts
from refspace.ops.coverage import measured_regions, overlap_note, with_warning
from refspace.ops.distance import signed_distance
from refspace.ops.oblique import ObliqueGrid
from refspace.ops.paint import paint, split_values
from refspace.ops.point_counts import count_codes, count_points, densities
from refspace.ops.point_labels import VoxelLookup, look_up_table
from refspace.ops.positions import positions_along_axes, with_axes_last
from refspace.ops.relabel import colors, coverage, mask, narrow, relabel
from refspace.ops.surface import find_surface
from refspace.ops.totals import label_totals, region_properties
from refspace.structure_tree import StructureTree
from refspace.types import AFFINE

GRID = Grid((7, 6, 5), (10, 20, 30))
CHUNKS = ((4, 3), (2, 4), (5,))
VOXELS = np.random.default_rng(4).choice(np.array([0, 2, 3, 70000], "u4"), GRID.shape)
# A block of a single label, and one of two.
VOXELS[:4, :2], VOXELS[4:, :2] = 3, np.where(VOXELS[4:, :2] > 2, 2, 0)
TREE = StructureTree(
    {
        "id": i,
        "structure_id_path": [1] if i == 1 else [1, i],
        "acronym": f"s{i}",
        "name": f"structure {i}",
        "rgb_triplet": [i % 251, 0, 9],
    }
    for i in (1, 2, 3, 70000)
)
REGIONS = TREE.regions([1, 2, 70000])
TEXTS = CodeTexts.from_mapping("acronym", {1: "one", 2: "two", 70000: "many"})
TILTED = (1.0, 0.5, 29.0, 14.0), (-9.5, 2.0, 1.0, -6.0), (0.5, -19.0, 3.0, -12.0)
HEMISPHERES = np.broadcast_to(np.array([1, 1, 1, 2, 0], "u1"), GRID.shape)
POINTS = np.random.default_rng(5).random((50, 3)) * 1.2 * np.array(GRID.extent)
POINTS[7] = np.nan


def annotation():
    return labelled(da.from_array(VOXELS, chunks=CHUNKS), GRID)


def block_labels():
    return measure_labels(annotation()).block_labels


def computed(result):
    """A result in memory, as something that can be compared."""
    if hasattr(result, "compute"):
        result = result.compute(scheduler="sync")
    if isinstance(result, xr.DataArray):
        return str(result.dtype), result.to_dict()
    if isinstance(result, pd.DataFrame | pd.Series):
        return result.to_dict()
    if is_dataclass(result):
        return {field.name: getattr(result, field.name) for field in fields(result)}
    return getattr(result, "dtype", None), result


def labels_replaced(known):
    volume = annotation()
    domain = np.random.default_rng(6).random(GRID.shape) < 0.5
    inside = mask(volume, [2, 3], known)
    yield "mask", inside
    yield "plane of a mask", inside[2, ::-1]
    yield (
        "relabel",
        relabel(volume, {2: 1.5}, np.nan, dtype="f4", name="v", attrs={}, block_labels=known),
    )
    yield "narrow", narrow(volume, np.uint16, attrs={}, block_labels=known)
    yield "colors", colors(volume, {2: (1, 2, 3)}, (9, 9, 9), known)
    yield "coverage", coverage(inside, domain)
    yield "coverage of a volume", coverage(inside, labelled(domain, GRID))
    yield "boundaries", boundaries(volume, known)
    yield "counts", count_labels(volume, known)


def volumes_measured(known):
    volume = annotation()
    other = labelled(da.from_array(VOXELS[::-1], chunks=3), GRID)
    check_same_grid(GRID, GRID)
    yield "confusion", confusion(volume, other, known)
    yield "confusion with itself", confusion(volume, volume, known, known)
    yield "contacts", contacts(volume, known)
    yield "contacts of few", contacts(volume, known, [2])
    yield "totals", label_totals(volume, known)
    yield "properties", region_properties(label_totals(volume, known).compute(), REGIONS, GRID)
    yield "components", components(volume.data)
    sides = da.from_array(HEMISPHERES, chunks=4)
    yield "split", split_by_hemisphere(volume.data, sides)
    yield "components of hemispheres", components(split_by_hemisphere(volume.data, sides))
    yield "distance", signed_distance(mask(volume, [3], known), GRID.spacing)
    yield "surface", vars(find_surface(mask(volume, [3], known), 1))
    yield "index", measure_labels(volume)
    yield "annotation of an array", as_annotation(VOXELS.astype("i8"), 25)
    yield "annotation of a lazy array", as_annotation(da.from_array(VOXELS.astype("i8")), 25)


def resampled():
    for method in ("nearest", "mode", "corner", "allensdk"):
        for target in ((20, 40, 60), (13, 33, 41), (5, 10, 30)):
            yield f"{method} {target}", downsample(annotation(), target, method, upsample=True)


def images_aggregated(known):
    volume = annotation()
    values = np.random.default_rng(9).random((3, *GRID.shape))
    finer = Grid((14, 6, 5), (5, 20, 30))
    turned = Grid((5, 6, 7), (30, 20, 10), orientation="LIA", origin=(-150, 0, -70))
    images = {
        "in memory": as_image(values[0], volume),
        "of several": as_image(da.from_array(values, chunks=(2, 3, 3, 3)), volume),
        "finer": as_image(labelled(values.reshape(-1)[:420].reshape(finer.shape), finer), volume),
        "turned": as_image(labelled(da.from_array(values[0].T, chunks=3), turned), volume),
        "oblique": xr.DataArray(
            da.from_array(values, chunks=(2, 3, 3, 3)),
            dims=("n", "i", "j", "k"),
            attrs={AFFINE: TILTED},
        ),
    }
    valid = align(volume, as_image(values[0] < 0.7, volume)).image
    tilted = ObliqueGrid.from_image(images["oblique"], GRID)
    labels = tilted.labels(volume, GRID, images["oblique"].chunks[1:], known)
    yield "labels of a tilted grid", xr.DataArray(labels, name="tilted")
    for name, image in images.items():
        aligned = align(volume, image, block_labels=known)
        yield f"labels {name}", aligned.labels
        extent, totals = image_extent(volume, image), label_totals(volume)
        measures = None if extent.is_everywhere else measured_regions(totals, REGIONS, GRID)
        note = overlap_note(totals, REGIONS, GRID, extent)
        yield f"note {name}", xr.DataArray(note.astype(str), name="note")
        quiet = da.zeros_like(note)
        yield f"told {name}", xr.DataArray(with_warning(da.ones(3), quiet), name="told")
        tables = aggregate(
            aligned,
            REGIONS,
            [*STATISTICS],
            extent,
            measures=measures,
            quantiles=[0, 0.5, 1],
            valid=valid if name in ("in memory", "of several") else None,
            block_labels=known if aligned.box else None,
        )
        for statistic, (dims, table) in tables.items():
            yield f"{statistic} {name}", xr.DataArray(table, dims=dims, name=statistic)


def images_painted():
    codes = relabel(annotation(), {2: 1, 3: 2}, 0, dtype="u1", name="codes", attrs={})
    _, numbers = split_values({2: 1, 3: 2.5})
    yield "paint", paint(numbers, codes)
    lazy = da.from_array(np.arange(6.0).reshape(3, 2))
    genes = xr.DataArray(lazy, dims=("gene", "structure"), name="genes")
    yield "paint of several", paint(genes, codes)


def points_looked_up(known):
    volume = annotation()
    ids = np.array([2, 70000])
    sides = da.from_array(HEMISPHERES, chunks=CHUNKS)
    lookups = {
        "labels": VoxelLookup(GRID, volume.data, known),
        "few labels": VoxelLookup(GRID, volume.data, known, np.stack((ids, ids))),
        "hemispheres": VoxelLookup(GRID, volume.data, known, np.stack((ids, ids)), sides),
    }
    table = pd.DataFrame(POINTS, columns=list(GRID.dims))
    named = xr.DataArray(POINTS.T, {"axis": list(GRID.dims)}, ("axis", "cell"))
    kinds = {
        "array": with_axes_last(POINTS, GRID.dims),
        "lazy array": with_axes_last(da.from_array(POINTS, chunks=(20, 2)), GRID.dims),
        "DataArray": with_axes_last(named[::-1], GRID.dims),
        "table": table,
        "lazy table": dask.dataframe.from_pandas(table, npartitions=3),
    }
    for name, lookup in lookups.items():
        yield f"table {name}", look_up_table(table, lookup, None, {})
        yield f"texts of table {name}", look_up_texts(table, lookup, None, TEXTS)
        for kind, points in kinds.items():
            codes = lookup.look_up(positions_along_axes(points, GRID.dims))
            if kind != "lazy table":
                yield f"texts of {name} of {kind}", TEXTS.of_array(xr.DataArray(codes))
            # Dask does not compute expressions of unknown size: what is counted in them is known.
            yield f"{name} of {kind}", count_codes(codes) if kind == "lazy table" else codes
            flags = [1, 2] if name == "hemispheres" else [0]
            counts, others = count_points(codes, REGIONS, flags)
            yield f"counts of {kind} in {name}", counts
            volumes = [np.array([1.0, 2, 0])] * len(flags)
            yield f"densities of {kind} in {name}", densities(counts, volumes)
            for other, count in others.items():
                yield f"{other} of {kind} in {name}", count


def lazy_results():
    """What every function gives, by name."""
    everything = [*resampled(), *images_painted()]
    for known in (None, block_labels()):
        for group in (labels_replaced, volumes_measured, images_aggregated, points_looked_up):
            text = "" if known is None else ", indexed"
            everything += [(name + text, result) for name, result in group(known)]
    assert len(everything) == len(dict(everything))
    return dict(everything)


def results():
    """What every function gives, by name, in memory."""
    return {name: computed(result) for name, result in lazy_results().items()}


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pickle.dumps((da.array_expr_enabled(), results())))
