"""Blocks of volumes, and what an index says of them, from the voxels themselves."""

import itertools

import numpy as np

from refspace.label_index import BlockLabels


def blocks_of(voxels, chunks):
    """Voxels of each block, by its id."""
    edges = [[0, *itertools.accumulate(sizes)] for sizes in chunks]
    return {
        block_id: voxels[
            tuple(slice(*axis[i : i + 2]) for axis, i in zip(edges, block_id, strict=True))
        ]
        for block_id in np.ndindex(*map(len, chunks))
    }


def block_labels_of(voxels, chunks, more=()):
    """Labels of each block, and more that may be in any of them."""
    labels = [np.union1d(np.unique(b), more) for b in blocks_of(voxels, chunks).values()]
    indptr = np.cumsum([0, *map(len, labels)])
    return BlockLabels(chunks, indptr, np.concatenate(labels))
