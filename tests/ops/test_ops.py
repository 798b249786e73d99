"""What holds for all functions on annotations alike."""

import pickle

import dask.array as da
import numpy as np
import pytest
from dask.delayed import Delayed
from helpers import every_op
from helpers.volumes import (
    mode,
)

from refspace.grid import Grid
from refspace.labels import labelled
from refspace.labels.counting import count_labels
from refspace.labels.resampling import downsample
from refspace.ops.relabel import colors, coverage, mask, narrow

GRID = Grid((4, 3, 2), (25, 25, 25))
VOXELS = (np.arange(24, dtype="u4") % 5).reshape(GRID.shape)
METHODS = ["nearest", "mode", "corner", "allensdk"]


@pytest.mark.parametrize("dtype", [">u4", ">u2", "u1"])
def test_byte_order_makes_no_difference(dtype):
    annotation = labelled(da.from_array(VOXELS.astype(dtype), chunks=2), GRID)
    np.testing.assert_array_equal(mask(annotation, [1, 3, 70000]), np.isin(VOXELS, [1, 3]))
    assert count_labels(annotation) == {0: 5, 1: 5, 2: 5, 3: 5, 4: 4}
    coarse = downsample(annotation, 50, "mode")
    np.testing.assert_array_equal(coarse, mode(VOXELS, [2] * 3, (2, 2, 1)))


def name_of(result):
    """Name of what is computed, in the graph; None of what is in memory."""
    if isinstance(result, Delayed):
        return result.key
    data = getattr(result, "data", result)
    return data.name if isinstance(data, da.Array) else None


def test_the_same_inputs_make_the_same_names():
    once, twice = every_op.lazy_results(), every_op.lazy_results()
    names = {name: name_of(result) for name, result in once.items()}
    assert names == {name: name_of(result) for name, result in twice.items()}
    assert sum(name is not None for name in names.values()) > 200


@pytest.mark.slow
def test_all_lazy_results_can_be_sent_to_workers():
    results = every_op.results()
    for name, result in every_op.lazy_results().items():
        sent = every_op.computed(pickle.loads(pickle.dumps(result)))
        np.testing.assert_equal(sent, results[name], err_msg=name)


def test_names_of_lazy_results_are_deterministic():
    annotation = labelled(da.from_array(VOXELS, chunks=2), GRID)
    verbs = [
        lambda: mask(annotation, [1, 3]),
        lambda: coverage(mask(annotation, [1]), VOXELS),
        lambda: narrow(annotation, "u1", attrs={}),
        lambda: colors(annotation, {1: (1, 2, 3)}, (0, 0, 0)),
        *(lambda m=method: downsample(annotation, 40, m) for method in METHODS),
    ]
    for verb in verbs:
        assert verb().data.name == verb().data.name
    assert mask(annotation, [1]).data.name != mask(annotation, [2]).data.name
