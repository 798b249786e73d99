"""Images whose blocks are large, which are measured and averaged in parts."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers.strategies import few
from helpers.volumes import MEMORY_ORDERS, in_memory_order, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.ops import aggregate
from refspace.store import pyramid


@given(volumes(labels=(1, 2, 7)), st.data())
@few
def test_statistics_of_parts_are_those_of_the_whole(labels, data):
    """Of whole numbers, whose sums are exact in any order."""
    numbers = hnp.arrays("f8", (2, *labels.shape), elements=st.integers(-9, 9).map(float))
    images = in_memory_order(data.draw(numbers), data.draw(st.sampled_from(MEMORY_ORDERS)))
    images[:, :1, :1, :1] = np.nan
    valid = data.draw(st.none() | hnp.arrays(bool, labels.shape))
    at_once = data.draw(st.integers(1, labels.size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregate, "_VOXELS_AT_ONCE", at_once)
        parts = [*aggregate._parts(labels, images[0])]
        measured = aggregate._measure_block(
            labels, images, valid, fields=(2, 5, 6, 7), histogram=True, missing=None
        )
    seen = np.zeros(labels.shape, int)
    for part in parts:
        seen[part] += 1
        assert seen[part].size <= at_once
    assert (seen == 1).all()
    counted = ~np.isnan(images) & (True if valid is None else valid)
    for column, label in enumerate(measured.labels.tolist()):
        for image in range(2):
            own = images[image][counted[image] & (labels == label)]
            assert measured.table[0, image, column] == own.size
            assert measured.sums[image, column] == own.sum()
    assert measured.labels.tolist() == sorted({*np.unique(labels).tolist()} - {0})


@given(volumes(max_side=9), st.data())
@few
def test_means_of_layers_are_those_of_all_together(block, data):
    if data.draw(st.booleans()):
        block = block.astype("f4") / 3
    box = tuple(slice(0, max(1, round(n / 2))) for n in block.shape)
    found = []
    for count in (1, 2, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pyramid, "_LAYERS_AT_ONCE", count)
            found.append(pyramid.average(block, box, block.shape))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    assert found[0].dtype == block.dtype
