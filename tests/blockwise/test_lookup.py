"""Values at points, looked up block by block, against plain indexing."""

import dask.array as da
import numpy as np
from helpers.blocks import block_labels_of, blocks_of
from helpers.strategies import few
from helpers.volumes import CountingSource, chunkings, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.blockwise.graphs import shared_value
from refspace.blockwise.lookup import PointsByBlock, look_up_partitions, look_up_points
from refspace.blockwise.sources import sole_labels
from refspace.grid import Grid
from refspace.ops.point_voxels import sort_points


def values_at(shared, offsets, block, other=None):
    voxels = np.unravel_index(offsets, block.shape)
    values = block[voxels].astype("i8") + (0 if shared is None else shared)
    return values if other is None else values + other[voxels]


@given(volumes(labels=(1, 2), max_side=5), st.data())
@few
def test_values_are_those_of_the_voxels(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    indices = data.draw(st.lists(st.tuples(*(st.integers(-1, n) for n in voxels.shape))))
    points = (np.array(indices, float).reshape(-1, 3) + 0.5).T
    missing = data.draw(st.sets(st.integers(0, max(len(indices) - 1, 0))))
    if indices:
        points[0, sorted(missing)] = np.nan
    shared = data.draw(st.none() | st.integers(1, 9))
    other = data.draw(st.none() | st.just(np.arange(voxels.size).reshape(voxels.shape)))
    source = CountingSource(voxels)
    arrays = [source.dask(chunks)]
    if other is not None:
        arrays.append(da.from_array(other, chunks=chunks))
    found = look_up_points(
        sort_points(list(points), Grid(voxels.shape, 1), chunks),
        (len(indices),),
        arrays,
        sole_labels(block_labels_of(voxels, chunks), chunks),
        values_at,
        shared,
        (-1, -2),
    )
    assert source.reads == []
    expected, touched = [], set()
    for n, index in enumerate(indices):
        inside = all(0 <= i < size for i, size in zip(index, voxels.shape, strict=True))
        if n in missing:
            expected.append(-2)
        elif not inside:
            expected.append(-1)
        else:
            more = (shared or 0) + (0 if other is None else other[index])
            expected.append(int(voxels[index]) + more)
            edges = [np.cumsum(sizes) for sizes in chunks]
            touched.add(
                tuple(
                    int(np.searchsorted(ends, i, side="right"))
                    for ends, i in zip(edges, index, strict=True)
                )
            )
    np.testing.assert_array_equal(found, np.array(expected, "i8"))
    blocks = blocks_of(voxels, chunks)
    several = {i for i in touched if len(np.unique(blocks[i])) > 1}
    assert set(source.chunk_reads(chunks)) == several
    assert set(source.chunk_reads(chunks).values()) <= {1}


def test_points_of_blocks():
    points = PointsByBlock(np.array([1, 0, 2]), np.array([4, 5, 6]), np.array([0, 2, 2, 3, 3]))
    assert points.blocks == [1]
    assert points.offsets_in(1).tolist() == [4, 5]
    assert points.offsets_in(0).tolist() == points.offsets_in(2).tolist() == []


@given(st.integers(0, 20), st.data())
@few
def test_partitions_are_looked_up_alone(count, data):
    points = np.random.default_rng(count).integers(0, 9, (count, 3))
    chunks = data.draw(chunkings(points.shape)) if count else ((0,), (1, 2))
    lazy = da.from_array(points, chunks=chunks)
    weights = np.array([1, 10, 100])
    found = look_up_partitions(lazy, np.dot, shared_value("weights", weights))
    assert found.chunks == (lazy.chunks[0],)
    np.testing.assert_array_equal(found, points @ weights)
