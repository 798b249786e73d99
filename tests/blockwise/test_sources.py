"""Where the voxels of blocks come from, against the voxels themselves."""

import dask.array as da
import numpy as np
from helpers.blocks import block_labels_of, blocks_of
from helpers.strategies import few
from helpers.volumes import IDS, chunked, chunkings, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.blockwise.graphs import array_from_tasks
from refspace.blockwise.sources import (
    UNKNOWN,
    block_shape,
    block_sources,
    common_chunks,
    constant_block,
    containing_blocks,
    sole_labels,
)


@given(volumes(labels=IDS[:2], max_side=4), st.data())
@few
def test_sources_make_the_same_voxels(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    finer = data.draw(chunkings(voxels.shape))
    lazy = chunked(voxels, chunks)
    cut = lazy.rechunk(common_chunks([lazy, da.zeros(voxels.shape, chunks=finer)]))
    sole = sole_labels(block_labels_of(voxels, chunks), cut.chunks)
    name = "read-1"
    tasks = {(name, *i): (np.copy, source) for i, source in block_sources(cut, sole).items()}
    read = array_from_tasks(name, tasks, [cut], cut.chunks, cut.dtype)
    np.testing.assert_array_equal(read, voxels)
    assert read.compute().dtype == voxels.dtype


@given(volumes(labels=IDS[:3], max_side=4), st.data())
@few
def test_sole_labels_are_those_of_whole_blocks(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    ids = data.draw(st.none() | st.lists(st.sampled_from(IDS[:3])))
    sole = sole_labels(block_labels_of(voxels, chunks), chunks, ids)
    for block_id, block in blocks_of(voxels, chunks).items():
        present = set(np.unique(block).tolist())
        if ids is not None and not present & set(ids):
            present = {0}
        assert sole[block_id] == (present.pop() if len(present) == 1 else UNKNOWN)


def test_nothing_is_known_without_an_index():
    assert sole_labels(None, ((2, 2), (3,))).tolist() == [[UNKNOWN], [UNKNOWN]]


def test_constant_blocks_take_the_memory_of_a_voxel():
    block = constant_block((300, 300, 300), 2**32 - 1, "<u4")
    assert block.strides == (0, 0, 0)
    assert (block == 2**32 - 1)[::99].all()


@given(st.data())
@few
def test_common_chunks_cut_where_any_does(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=3, max_size=3)))
    one, other = (da.zeros(shape, chunks=data.draw(chunkings(shape))) for _ in range(2))
    common = common_chunks([one, other])
    for axis in range(3):
        cuts = {0}.union(*(np.cumsum(array.chunks[axis]).tolist() for array in (one, other)))
        assert {0, *np.cumsum(common[axis]).tolist()} == cuts
    for array in (one, other):
        for axis, index in enumerate(containing_blocks(array.chunks, common)):
            sizes = np.bincount(index, common[axis])
            assert sizes.tolist() == list(array.chunks[axis])


def test_shapes_of_blocks():
    assert [block_shape(((4, 2), (3,)), i) for i in ((0, 0), (1, 0))] == [(4, 3), (2, 3)]
