"""Reductions of blocks to one value, and of images to one for each, against plain NumPy."""

import functools

import dask
import dask.array as da
import numpy as np
import pytest
from helpers.strategies import few
from helpers.volumes import CountingSource, chunked, chunkings, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.blockwise.reduction import (
    array_from_objects,
    array_from_value,
    reduce_blocks,
    reduce_images,
)
from refspace.blockwise.sources import block_sources, sole_labels


@given(volumes(max_side=5), st.data())
@few
def test_blocks_are_gathered_in_order(voxels, data):
    chunks = data.draw(chunkings(voxels.shape))
    lazy = chunked(voxels, chunks)
    arguments = {i: (i, (lazy.name, *i)) for i in np.ndindex(lazy.numblocks)}
    gathered = reduce_blocks("pairs", _pair, arguments, [lazy], list)
    ids, sums = zip(*gathered.compute(), strict=True)
    assert list(ids) == list(np.ndindex(lazy.numblocks))
    assert sum(sums) == voxels.sum(dtype=int)
    table = array_from_value(gathered, len, (), np.int64)
    assert (table.shape, table.dtype) == ((), np.int64)
    assert table.compute() == len(ids)


def _pair(block_id, block):
    return tuple(block_id), int(block.sum(dtype=int))


def test_values_and_arrays_share_their_tasks():
    source = CountingSource(np.arange(6))
    lazy = source.dask(((2, 4),))
    total = reduce_blocks("total", np.sum, {(i,): [(lazy.name, i)] for i in (0, 1)}, [lazy], sum)
    tables = [array_from_value(total, function, (1,), "i8") for function in (_once, _twice)]
    assert source.reads == []
    once, twice = dask.compute(*tables)
    assert (once.tolist(), twice.tolist()) == ([15], [30])
    assert len(source.reads) == 2


def _once(total):
    return np.array([total])


def _twice(total):
    return np.array([2 * total])


# ----- images


def _sum_of_one(labels, image, weights=None, *, label):
    product = image if weights is None else image * weights
    return product.reshape(-1, *labels.shape)[:, labels == label].sum(axis=1)


def _merge(parts):
    assert 1 <= len(parts) <= 8
    return sum(parts)


def _finish(total, shared, images):
    return np.zeros(images) if total is None else total * shared


def _as_column(total, shape):
    return total.reshape(1, *shape)


@given(volumes(labels=(1, 2), max_side=4), st.data())
@few
def test_images_are_summed(voxels, data):
    lead = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    image = np.random.default_rng(0).integers(0, 9, (*lead, *voxels.shape))
    chunks = data.draw(chunkings(voxels.shape))
    lead_chunks = data.draw(chunkings(lead))
    weights = data.draw(st.sampled_from(["none", "of space", "of all"]))
    factors = np.random.default_rng(1).integers(
        0, 3, image.shape if weights == "of all" else voxels.shape
    )
    images = [da.from_array(image, chunks=(*lead_chunks, *chunks))]
    if weights != "none":
        leading = lead_chunks if weights == "of all" else ()
        images.append(da.from_array(factors, chunks=(*leading, *chunks)))
    labels = chunked(voxels, chunks)
    sources = block_sources(labels, sole_labels(None, chunks))
    objects = reduce_images(
        "sums",
        sources,
        labels,
        images,
        measure=functools.partial(_sum_of_one, label=1),
        merge=_merge,
        finish=_finish,
        shared=10,
    )
    assert objects.numblocks == tuple(map(len, lead_chunks))
    sums = array_from_objects(objects, _as_column, ((1,), *lead_chunks), image.dtype)
    product = image * (1 if weights == "none" else factors)
    expected = 10 * product[..., voxels == 1].sum(axis=-1)
    np.testing.assert_array_equal(sums, expected[np.newaxis])


def test_images_without_blocks_that_matter():
    image = da.ones((2, 1, 1, 1), chunks=1)
    labels = da.ones((1, 1, 1), chunks=1)
    objects = reduce_images(
        "sums", {}, labels, [image], measure=None, merge=_merge, finish=_finish, shared=1
    )
    sums = array_from_objects(objects, _as_column, ((1,), (1, 1)), float)
    assert sums.compute().tolist() == [[0, 0]]


@pytest.mark.parametrize("count", [1, 8, 9, 65])
def test_many_blocks_are_merged_few_at_a_time(count):
    image = da.arange(count, chunks=1).reshape(count, 1, 1)
    labels = da.ones((count, 1, 1), chunks=1)
    objects = reduce_images(
        "sums",
        block_sources(labels, sole_labels(None, labels.chunks)),
        labels,
        [image],
        measure=functools.partial(_sum_of_one, label=1),
        merge=_merge,
        finish=_finish,
        shared=1,
    )
    sums = array_from_objects(objects, _as_column, ((1,),), float)
    assert sums.compute().tolist() == [sum(range(count))]
