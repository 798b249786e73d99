"""Counts of labels over random chunks, against plain NumPy."""

import dask.array as da
import numpy as np
from helpers.strategies import few
from helpers.volumes import (
    annotations,
)
from hypothesis import given

from refspace.grid import Grid
from refspace.labels import labelled
from refspace.labels.counting import count_labels

GRID = Grid((4, 3, 2), (25, 25, 25))
VOXELS = (np.arange(24, dtype="u4") % 5).reshape(GRID.shape)


@given(annotations())
@few
def test_counts_over_chunks(annotation):
    labels, counts = np.unique(annotation.values, return_counts=True)
    counted = count_labels(annotation)
    assert counted == dict(zip(labels.tolist(), counts.tolist(), strict=True))
    assert list(counted) == sorted(counted)
    assert {type(number) for item in counted.items() for number in item} == {int}


def test_counts_of_chunks_without_voxels():
    lazy = da.from_array(VOXELS, chunks=((2, 0, 2), (3,), (0, 2)))
    assert lazy.numblocks == (3, 1, 2)
    assert count_labels(labelled(lazy, GRID)) == {0: 5, 1: 5, 2: 5, 3: 5, 4: 4}
