"""Every verb of a space on a small volume, and what each gives, by name.

Run as a program, it writes the results to a file, so that they can be compared to those of another
process, in which dask is configured in another way.
"""

import pickle
import sys
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path

import dask.array as da
import networkx as nx
import numpy as np
import pandas as pd
import xarray as xr

import refspace
from helpers.every_op import CHUNKS, GRID, HEMISPHERES, POINTS, TREE, VOXELS
from refspace import ReferenceSpace
from refspace.labels import labelled

IMAGE = np.random.default_rng(9).random(GRID.shape)
DOMAIN = IMAGE < 0.5
NAMED = {2: "a", 70000: "b"}

VERBS = {
    "annotation": lambda s: s.annotation,
    "hemispheres": lambda s: s.hemispheres,
    "block labels": lambda s: s.block_labels,
    "label index": lambda s: s.label_index,
    "contacts": lambda s: s.contacts,
    "maps": lambda s: (s.direct_voxel_map, s.total_voxel_map),
    "voxel_counts": lambda s: s.voxel_counts(),
    "voxel_counts, by hemisphere": lambda s: s.voxel_counts(by_hemisphere=True),
    "unknown_ids": lambda s: s.unknown_ids(),
    "remove_unassigned": lambda s: s.remove_unassigned(update_self=False),
    "bounds": lambda s: s.bounds([2]),
    "centroid": lambda s: s.centroid([2, 70000]),
    "crop": lambda s: s.crop([2], pad=10).annotation,
    "hemisphere": lambda s: s.hemisphere("right").annotation,
    "downsample": lambda s: s.downsample(40).annotation,
    "downsample, mode": lambda s: s.downsample(40, "mode").annotation,
    "downsample, corner": lambda s: s.downsample(40, "corner").annotation,
    "downsample, as AllenSDK": lambda s: s.downsample(40, "allensdk").hemispheres,
    "reorient": lambda s: s.reorient("RAS").hemispheres,
    "in_frame": lambda s: s.in_frame("LPS").hemispheres,
    "with_index": lambda s: s.with_index().block_labels,
    "make_structure_mask": lambda s: s.make_structure_mask([2, 3]),
    "make_structure_mask, part": lambda s: s.make_structure_mask([2, 3])[2:5, ::-1, 3],
    "make_structure_mask, cropped": lambda s: s.make_structure_mask([2], crop=True),
    "many_structure_masks": lambda s: [mask for _, mask in s.many_structure_masks([2, 3])],
    "plan": lambda s: s.plan([3]),
    "check_coverage": lambda s: s.check_coverage([2], DOMAIN),
    "check_coverage, each": lambda s: s.check_coverage([2, 3], DOMAIN, per_structure=True),
    "validate_structures": lambda s: s.validate_structures([1, 2], DOMAIN)[0],
    "relabel": lambda s: s.relabel([2, 70000]),
    "relabel, named": lambda s: s.relabel(NAMED),
    "paint": lambda s: s.paint({2: 1.5, 3: 2}),
    "paint, lazy": lambda s: s.paint(
        xr.DataArray(da.from_array(np.arange(4.0)), {"structure": [1, 2, 3, 70000]}, ["structure"])
    ),
    "boundaries": lambda s: s.boundaries(),
    "boundaries, plane": lambda s: s.boundaries([2, 3], axis="ap", position=15),
    "aggregate": lambda s: s.aggregate(IMAGE, quantiles=[0, 0.5]),
    "aggregate, by hemisphere": lambda s: s.aggregate(
        IMAGE, NAMED, by_hemisphere=True, valid=DOMAIN
    ),
    "structure_at": lambda s: s.structure_at(POINTS),
    "structure_at, acronyms": lambda s: s.structure_at(POINTS, as_="acronym"),
    "structure_at, lazy": lambda s: s.structure_at(da.from_array(POINTS, chunks=(20, 3)), NAMED),
    "count_points": lambda s: s.count_points(POINTS),
    "count_points, by hemisphere": lambda s: s.count_points(POINTS, NAMED, by_hemisphere=True),
    "region_properties": lambda s: s.region_properties(),
    "region_properties, by hemisphere": lambda s: s.region_properties(NAMED, by_hemisphere=True),
    "surface_area": lambda s: s.surface_area(),
    "adjacency": lambda s: s.adjacency(),
    "distance": lambda s: s.distance([3], pad=10),
    "mesh": lambda s: s.mesh([2, 70000]),
    "get_slice_image": lambda s: s.get_slice_image(
        "dv", 30, {2: (1, 2, 3), 3: (4, 5, 6), 70000: "#070809"}
    ),
    "export_itksnap_labels": lambda s: s.export_itksnap_labels("u1"),
    "write_itksnap_labels": lambda s: written_labels(s),
    "compare": lambda s: compared(s, s),
    "compare, with the other hemisphere": lambda s: compared(s, s.hemisphere("left")),
    "compare, with an array": lambda s: compared(s, VOXELS[::-1]),
    "validate": lambda s: s.validate(connectivity=True, volumes={2: 1.0}),
    "validate, regions": lambda s: s.validate([2, 3], connectivity=True),
    "to_datatree": lambda s: s.to_datatree()["s0/annotation"],
    "from_datatree": lambda s: ReferenceSpace.from_datatree(s.to_datatree()).total_voxel_map,
    "to_zarr": lambda s: stored(s),
    "to_ome_zarr": lambda s: exported(s),
    "write_annotation": lambda s: written_annotation(s),
}
# What verbs have no entry of their name above, and why.
COVERED = {
    "direct_voxel_counts": "maps",
    "total_voxel_counts": "maps",
    "return_mask_cb": "many_structure_masks",
    "check_and_write": "takes no space",
    "from_volume": "hemisphere",
    "with_volume": "hemisphere",
    "changed": "reorient",
    "view": "paint",
}


class Refused(str):
    """What was raised instead of a result."""

    __slots__ = ()


def compared(space, other):
    found = space.compare(other)
    return str(found), found.structures, found.confusion


def written_labels(space):
    folder = Path(tempfile.mkdtemp())
    space.write_itksnap_labels(folder / "a.nrrd", folder / "a.txt")
    return refspace.read_nrrd(folder / "a.nrrd"), (folder / "a.txt").read_text()


def exported(space):
    url = tempfile.mkdtemp() + "/plain.zarr"
    space.to_ome_zarr(url)
    return refspace.open(url, structures=TREE).annotation


def written_annotation(space):
    path = Path(tempfile.mkdtemp(), "a.nrrd")
    space.write_annotation(path)
    return refspace.read_nrrd(path)


def stored(space):
    url = tempfile.mkdtemp() + "/a.zarr"
    space.to_zarr(url, chunks=4)
    return refspace.open(url).total_voxel_map


def spaces():
    """Spaces in memory, in lazy blocks, with an index, of one hemisphere, and from a store."""
    lazy = labelled(da.from_array(VOXELS, chunks=CHUNKS), GRID)
    flags = labelled(da.from_array(HEMISPHERES, chunks=4), GRID)
    space = ReferenceSpace(TREE, lazy)
    own = ReferenceSpace(TREE, lazy, hemispheres=flags)
    folder = tempfile.mkdtemp()
    space.to_zarr(folder + "/a.zarr", chunks=4)
    own.to_zarr(folder + "/own.zarr", chunks=4)
    opened, opened_own = (refspace.open(f"{folder}/{name}.zarr") for name in ("a", "own"))
    return {
        "in memory": ReferenceSpace(TREE, VOXELS, GRID.spacing),
        "lazy": space,
        "indexed": space.with_index(),
        "left": space.hemisphere("left"),
        "right, indexed": space.with_index().hemisphere("right"),
        "left of a volume": own.hemisphere("left"),
        "right of a volume, indexed": own.with_index().hemisphere("right"),
        "turned": own.with_index().reorient("LIA"),
        "part": space.crop([2]),
        "stored": opened,
        "stored, left": opened.hemisphere("left"),
        "stored with a volume, right": opened_own.hemisphere("right"),
    }


def computed(result):
    """A result in memory, as something that can be compared."""
    if hasattr(result, "compute"):
        result = result.compute(scheduler="sync")
    if isinstance(result, xr.DataArray | xr.Dataset):
        # Names of arrays that dask named are those of its graphs.
        named = result.rename(None) if isinstance(result, xr.DataArray) else result
        return str(getattr(result, "dtype", "")), named.to_dict()
    if isinstance(result, pd.DataFrame | pd.Series):
        return result.to_dict()
    if isinstance(result, nx.Graph):
        return [*result.nodes(data=True)], [*result.edges(data=True)]
    if isinstance(result, tuple | list):
        return [computed(each) for each in result]
    if is_dataclass(result):
        return {field.name: computed(getattr(result, field.name)) for field in fields(result)}
    return result


def results():
    """What every verb gives in every space, by name; what was raised if it failed."""
    found = {}
    for name, space in spaces().items():
        for verb, run in VERBS.items():
            try:
                found[f"{verb} ({name})"] = computed(run(space))
            except Exception as error:
                found[f"{verb} ({name})"] = Refused(f"{type(error).__name__}: {error}")
    return found


if __name__ == "__main__":
    # Under its importable name, by which other processes know it.
    from helpers import every_verb

    found = da.array_expr_enabled(), every_verb.results()
    Path(sys.argv[1]).write_bytes(pickle.dumps(found))
