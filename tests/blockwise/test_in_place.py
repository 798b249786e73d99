"""Arrays that are written straight into the result, against what dask makes of their blocks."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from helpers.strategies import few
from helpers.volumes import chunkings, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.blockwise import in_place as module
from refspace.blockwise.graphs import array_from_tasks
from refspace.blockwise.in_place import filled_block, in_place

pytestmark = pytest.mark.skipif(da.array_expr_enabled(), reason="expressions are computed as ever")


@pytest.fixture
def joins(monkeypatch):
    """Names of the arrays whose blocks dask joined."""
    names, call = [], module._Join.__call__

    def noted(join, blocks):
        names.append(join.name)
        return call(join, blocks)

    monkeypatch.setattr(module._Join, "__call__", noted)
    return names


def lazy(voxels, chunks, in_order=False):
    return in_place(da.from_array(voxels, chunks=chunks, name=False) + 1, in_order=in_order)


@given(volumes(max_side=4), st.data(), st.booleans())
@few
def test_equal_to_what_dask_joins(voxels, data, in_order):
    array = lazy(voxels, data.draw(chunkings(voxels.shape)), in_order)
    for result in (array.compute(), xr.DataArray(array).values, *dask.compute(array)):
        np.testing.assert_array_equal(result, voxels + 1)
        assert result.dtype == array.dtype
        assert result.flags.writeable


@pytest.mark.parametrize(
    "compute",
    [np.asarray, lambda a: xr.DataArray(a).values, lambda a: xr.DataArray(a).compute().data],
)
def test_nothing_is_joined_in_the_end(compute, joins):
    compute(lazy(np.arange(6), 2))
    assert joins == []


def test_threads_that_compute_the_same_at_once_have_results_of_their_own():
    array, begin = lazy(np.arange(6), 2), threading.Barrier(4)

    def computed(_):
        begin.wait()
        return array.compute()

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(computed, range(4)))
    for result in results:
        np.testing.assert_array_equal(result, np.arange(1, 7))
        result[:] = 0
    assert sum(np.shares_memory(a, b) for a in results for b in results) == 4


def test_each_result_is_one_of_its_own():
    array = lazy(np.arange(6), 2)
    first = array.compute()
    first[:] = 0
    np.testing.assert_array_equal(array.compute(), np.arange(6) + 1)


def test_a_graph_that_was_optimized_writes_to_another_result_each_time():
    tasks = {("filled-cd", i): (filled_block, (2,), np.array(float(i))) for i in range(3)}
    array = in_place(array_from_tasks("filled-cd", tasks, (), ((2, 2, 2),), float))
    (whole,) = dask.optimize(dask.delayed(np.asarray)(array))
    for _ in range(2):
        result = whole.compute()
        np.testing.assert_array_equal(result, [0, 0, 1, 1, 2, 2])
        result[:] = 9


@pytest.mark.parametrize("is_first", [True, False])
def test_several_at_once_share_what_they_are_made_of(is_first, joins):
    computed = []

    def double(block):
        computed.append(block.tolist())
        return 2 * block

    meta = np.empty(0, int)
    doubled = da.from_array(np.arange(6), chunks=2).map_blocks(double, meta=meta)
    expected = 2 * np.arange(6)
    arrays = [in_place(doubled), in_place(doubled[::-1]), doubled.sum(), doubled + 1]
    values = [expected, expected[::-1], expected.sum(), expected + 1]
    step = 1 if is_first else -1
    results = dask.compute(*arrays[::step])
    for result, value in zip(results, values[::step], strict=True):
        np.testing.assert_array_equal(result, value)
    assert sorted(computed) == [[0, 1], [2, 3], [4, 5]]
    # With the optimizer of the first array, dask optimizes all.
    assert (joins == []) == is_first


def test_what_is_made_of_it_is_as_ever():
    array = lazy(np.arange(6), 2)
    made = [array[1:3], array + 1, array.rechunk(3), pickle.loads(pickle.dumps(array))]
    assert {type(each) for each in [*made, array.persist()]} == {da.Array}
    np.testing.assert_array_equal(array.persist(), np.arange(6) + 1)
    np.testing.assert_array_equal(array[1:3], [2, 3])


@pytest.mark.parametrize("in_order", [True, False])
def test_blocks_come_back_from_other_processes(in_order):
    array = in_place(da.from_array(np.arange(6), chunks=2), in_order=in_order)
    with dask.config.set(scheduler="processes", num_workers=1):
        np.testing.assert_array_equal(array.compute(), np.arange(6))


def test_blocks_are_joined_where_the_result_is_not(joins):
    result = module._Result(((2, 1),), np.dtype(int))
    elsewhere = pickle.loads(pickle.dumps(result))
    block = elsewhere.place([0], np.array([1, 2]))
    np.testing.assert_array_equal(block, [1, 2])
    join = lazy(np.arange(3), ((2, 1),)).__dask_postcompute__()[0]
    np.testing.assert_array_equal(elsewhere.joined([block, np.array([3])], join), [1, 2, 3])
    assert joins == [join.name]


def test_blocks_of_zeros_are_not_computed(monkeypatch):
    placed, place = [], module._Result.place
    monkeypatch.setattr(
        module._Result, "place", lambda *args: placed.append(args[1]) or place(*args)
    )
    values = np.array([0.0, -0.0, 1.0])
    tasks = {("filled-ab", i): (filled_block, (2,), values[i]) for i in range(3)}
    array = in_place(array_from_tasks("filled-ab", tasks, (), ((2, 2, 2),), float))
    result = array.compute()
    np.testing.assert_array_equal(result, np.repeat(values, 2))
    assert np.signbit(result).tolist() == [False, False, True, True, False, False]
    assert sorted(placed) == [[1], [2]]


def test_blocks_are_placed_in_order(monkeypatch):
    placed, place = [], module._Result.place
    monkeypatch.setattr(
        module._Result, "place", lambda *args: placed.append(tuple(args[1])) or place(*args)
    )
    lazy(np.zeros((8, 8)), 2, in_order=True).compute()
    assert placed == [*np.ndindex(4, 4)]


def test_an_error_in_a_block():
    def fail(block):
        raise ValueError("no such block")

    array = in_place(da.from_array(np.arange(6), chunks=2).map_blocks(fail, dtype=int))
    with pytest.raises(ValueError, match="no such block"):
        array.compute()


@pytest.mark.parametrize("chunks", [6, ((np.nan, np.nan),)])
def test_arrays_that_stay_as_they_are(chunks):
    array = da.from_array(np.arange(6), chunks=6 if chunks == 6 else 3)
    if chunks != 6:
        array = array[array > 1]
    assert in_place(array) is array


def test_without_optimization(joins):
    array = lazy(np.arange(6), 2)
    np.testing.assert_array_equal(array.compute(optimize_graph=False), np.arange(6) + 1)
    assert joins == [array.name]


@pytest.mark.parametrize("in_order", [None, False, True])
@pytest.mark.parametrize("other_in_order", [False, True])
def test_beside_other_arrays_in_a_dataset(in_order, other_in_order, joins):
    """xarray computes arrays of one class together, and no others."""
    voxels = np.arange(6)
    plain = da.from_array(voxels, chunks=3)
    if in_order is not None:
        plain = in_place(plain, in_order=in_order)
    placed = lazy(voxels, 2, other_in_order)
    dataset = xr.Dataset({"plain": ("x", plain), "placed": ("x", placed)})
    results = [
        dataset.compute().placed,
        dataset.load().placed,
        xr.apply_ufunc(np.add, dataset.plain, dataset.placed, dask="parallelized") - voxels,
        xr.where(dataset.plain < 9, dataset.placed, dataset.plain),
        xr.concat([dataset.placed, dataset.plain], "x")[:6],
    ]
    for result in results:
        np.testing.assert_array_equal(result.values, voxels + 1)
