"""Arrays in memory as dask arrays, against the arrays."""

import dask
import numpy as np
from helpers.strategies import few
from helpers.volumes import MEMORY_ORDERS, chunkings, in_memory_order, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.blockwise.views import views


@given(volumes(), st.sampled_from(MEMORY_ORDERS), st.data())
@few
def test_blocks_are_views(voxels, order, data):
    voxels = in_memory_order(voxels, order)
    chunks = data.draw(chunkings(voxels.shape))
    lazy = views(voxels, chunks, "voxels")
    assert (lazy.chunks, lazy.dtype) == (chunks, voxels.dtype)
    np.testing.assert_array_equal(lazy, voxels)
    for block_id in np.ndindex(lazy.numblocks):
        block = dask.get(dict(lazy.dask), (lazy.name, *block_id))
        assert np.shares_memory(block, voxels)


def test_names_are_of_the_values():
    voxels = np.arange(24).reshape(2, 3, 4)
    chunks = ((2,), (3,), (4,))
    assert views(voxels, chunks, "a").name == views(voxels.copy(), chunks, "a").name
    other = voxels.copy()
    other[1, 2, 3] = 0
    assert views(voxels, chunks, "a").name != views(other, chunks, "a").name
