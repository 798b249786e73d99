"""Memory of decoded blocks that is used again."""

import numpy as np

from refspace.store import recycled


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_once_no_view_is_left():
    first = recycled.empty((256, 256, 8), "u4")
    first[:] = 7
    view, place = first[1:2], address(first)
    del first
    second = recycled.empty((256, 256, 8), "u4")
    assert address(second) != place
    second[:] = 9
    assert (view == 7).all()
    del view
    assert address(recycled.empty((2**21,), "u1")) == place
    assert second.flags.writeable


def test_memory_of_another_size_is_not_kept():
    array = recycled.empty((2**21,), "u1")
    del array
    assert recycled.empty((2**20,), "u2").nbytes == 2**21
    assert recycled.empty((2**22,), "u1").nbytes == 2**22
    assert all(room.nbytes == 2**22 for room in recycled._rooms)


def test_small_and_large_arrays_are_those_of_numpy():
    for size in (0, 5, 2**26):
        assert recycled.empty((size,), "u1").base is None


def test_no_more_is_kept_than_threads_need():
    arrays = [recycled.empty((2**20,), "u1") for _ in range(2 * recycled._rooms.maxlen)]
    del arrays
    assert len(recycled._rooms) == recycled._rooms.maxlen


def test_any_shape_and_type():
    array = recycled.empty((4, 2**18), ">f4")
    assert (array.shape, array.dtype) == ((4, 2**18), np.dtype(">f4"))
