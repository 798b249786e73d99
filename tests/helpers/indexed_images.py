"""Label images of other programs, to be indexed: what is asked of them is counted."""

import itertools
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr

import refspace
from helpers import brainglobe_replay as replay
from refspace.store.location import Location

CHUNK = re.compile(r"/c/\d|/\d+/\d+(/|$)|^\d+/\d")
CHUNK_SIDE = 16


def sample():
    """The phantom, in chunks of 16 voxels, of which some hold nothing but 0."""
    return refspace.phantom(resolution=200)


def write_image(path, space=None, levels=2):
    """OME-Zarr image of a space, as BrainGlobe writes it: chunks of 0 alone are left out."""
    voxels = (space or sample()).annotation.values
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    coarser = [np.ascontiguousarray(voxels[:: 2**n, :: 2**n, :: 2**n]) for n in range(levels)]
    replay.write_image(path, coarser, chunks=CHUNK_SIDE)
    return path


def opened(url, space=None, **options):
    """Space of an image."""
    tree = (space or sample()).structure_tree
    return refspace.open(url, structures=tree, orientation="PIL", **options)


@contextmanager
def chunks_read(monkeypatch):
    """Names of the chunks that are read, as they are."""
    read, keys = Location.read, []

    def noted(location, key, limit=None):
        if CHUNK.search(key):
            keys.append(key)
        return read(location, key, limit)

    with monkeypatch.context() as patch:
        patch.setattr(Location, "read", noted)
        yield keys


def blocks_to_read(voxels, ids, side=CHUNK_SIDE):
    """Number of blocks of which a mask of some ids is neither 0 nor 1 everywhere."""
    mask = np.isin(voxels, ids)
    boxes = itertools.product(*(range(0, n, side) for n in voxels.shape))
    parts = [mask[tuple(slice(i, i + side) for i in box)] for box in boxes]
    return sum(part.any() and not part.all() for part in parts)


def change_voxel(image, level="s0", value=997):
    """Change one voxel of an image in its place; the rest of it stays, and its metadata too."""
    array = zarr.open_array(Path(image, level), mode="r+")
    place = tuple(n // 2 for n in array.shape)
    array[place] = value if array[place] != value else 0
