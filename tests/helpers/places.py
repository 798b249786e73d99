"""The same volume in every place where a volume may lie."""

import itertools
import json
from contextlib import contextmanager
from typing import NamedTuple

import fsspec
import numpy as np
import xarray as xr

import refspace
from helpers.volumes import chunked
from refspace import ReferenceSpace, StructureTree
from refspace.grid import Grid
from refspace.labels import labelled


class Cut(NamedTuple):
    """How a volume is cut: voxels of a chunk, chunks of a shard, chunks of a dask array."""

    chunks: tuple
    shards: tuple
    dask: tuple


def in_dask(space, cut, url):
    """The volume in irregular chunks; nothing is known of them."""
    data = chunked(space.annotation.values, cut.dask)
    return ReferenceSpace(space.structure_tree, labelled(data, space.grid))


def measured(space, cut, url):
    """The same, once its labels have been measured."""
    return in_dask(space, cut, url).with_index()


def stored(space, cut, url):
    """A store, of which everything is known."""
    space.to_zarr(url, chunks=cut.chunks)
    return refspace.open(url)


def sharded(space, cut, url):
    shards = [chunk * count for chunk, count in zip(cut.chunks, cut.shards, strict=True)]
    space.to_zarr(url, chunks=cut.chunks, shards=shards)
    return refspace.open(url)


def unindexed(space, cut, url):
    """The chunks of a store, without its index."""
    return ReferenceSpace(space.structure_tree, stored(space, cut, url).annotation)


def foreign(space, cut, url):
    """An OME-Zarr label image that says nothing of refspace."""
    space.to_zarr(url, chunks=cut.chunks)
    files, path = fsspec.core.url_to_fs(url)
    for folder in ("label_index", "structures"):
        files.rm(f"{path}/{folder}", recursive=True)
    document = json.loads(files.cat_file(f"{path}/zarr.json"))
    del document["attributes"]["refspace"], document["consolidated_metadata"]
    files.pipe_file(f"{path}/zarr.json", json.dumps(document).encode())
    return refspace.open(url, structures=space.structure_tree)


def tree(space, cut, url):
    """A DataTree in memory."""
    return ReferenceSpace.from_datatree(in_dask(space, cut, url).to_datatree())


def stored_tree(space, cut, url):
    """A store as xarray opens it."""
    space.to_zarr(url, chunks=cut.chunks)
    return ReferenceSpace.from_datatree(xr.open_datatree(url, engine="zarr"))


@contextmanager
def memory_url(numbers=itertools.count()):  # noqa: B008
    """URL of a store that is gone afterwards."""
    url = f"memory://verbs-{next(numbers)}.zarr"
    try:
        yield url
    finally:
        files = fsspec.filesystem("memory")
        if files.exists(url):
            files.rm(url, recursive=True)


PATHS = [[0], [997], [997, 8], [997, 8, 70000], [997, 8, 12997], [997, 2**24 + 1], [7], [7, 9]]
TREE = StructureTree(
    {
        "id": path[-1],
        "structure_id_path": path,
        "acronym": f"s{path[-1]}",
        "name": f"structure {path[-1]}",
        "rgb_triplet": [path[-1] % 251, path[-1] % 241, 9],
        "structure_set_ids": [len(path)],
    }
    for path in PATHS
)
# Chunk by chunk: all outside, all of one structure, some of it, two structures, noise, all unknown,
# a structure and a part of it, all outside.
VOXELS = np.zeros((11, 9, 8), "u4")
VOXELS[:6, :5, 4:] = 70000
VOXELS[2:6, 5:, :3] = 70000
VOXELS[:6, 5:, 4:] = 2**24 + 1
VOXELS[3:6, 7:, 5:] = 9
VOXELS[6:, :5, :4] = np.random.default_rng(7).choice([7, 9, 997, 4242, 2**31], (5, 5, 4))
VOXELS[6:, :5, 4:] = 4242
VOXELS[6:, 5:, :4] = 8
VOXELS[8:, 6:, 2:4] = 70000
GRID = Grid(VOXELS.shape, (10, 25, 33.3), (100, -57.5, 0), "SRA")
CUT = Cut((6, 5, 4), (2, 1, 2), ((4, 4, 3), (5, 4), (8,)))


def half(space, hemisphere):
    """Space of one hemisphere, or the space itself for None."""
    return space if hemisphere is None else space.hemisphere(hemisphere)


def chosen_regions(tree, structures=None, **choice):
    """Regions as a parametrized test names them; None where it names none."""
    if structures is None and not choice:
        return None
    return tree.regions(structures, **choice)
