"""Filters of warnings, which belong to the process, are as they were whatever threads did."""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr

import refspace
from refspace.formats.tables import read_parts
from refspace.warning_filters import warnings_filtered


TREE = refspace.StructureTree([{"id": 1}])


@pytest.fixture
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_open_images_leave_no_filter(tmp_path, many_switches):
    zarr.create_array(tmp_path / "a.zarr", data=np.ones((2, 3, 4), "u4"))
    before = list(warnings.filters)

    def opened(_):
        return refspace.open(tmp_path / "a.zarr", structures=TREE, resolution=25)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(opened, range(200)))
    assert list(warnings.filters) == before


def test_a_filter_is_set_by_one_thread_at_a_time():
    before = list(warnings.filters)
    inner = warnings_filtered("ignore", UserWarning)
    with ThreadPoolExecutor(1) as thread:
        with warnings_filtered("error", UserWarning):
            entered = thread.submit(inner.__enter__)
            with pytest.raises(TimeoutError):
                entered.result(timeout=0.1)
        entered.result()
        thread.submit(inner.__exit__, None, None, None).result()
    assert list(warnings.filters) == before


@pytest.mark.parametrize("as_text", [True, False])
def test_no_filter_is_set_between_the_parts_of_a_table(tmp_path, as_text):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n")
    before = list(warnings.filters)
    for _ in read_parts(path, as_text=as_text):
        assert list(warnings.filters) == before
