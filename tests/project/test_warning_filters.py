"""Filters of warnings, which belong to the process, are as they were whatever threads did."""

import itertools
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from zarr.core.metadata import ArrayV3Metadata

import refspace
from refspace.formats.tables import read_parts
from refspace.warning_filters import warnings_filtered

TREE = refspace.StructureTree([{"id": 1}])


def test_threads_that_open_images_leave_no_filter(tmp_path, monkeypatch):
    zarr.create_array(tmp_path / "a.zarr", data=np.ones((2, 3, 4), "u4"))
    parse, waits = ArrayV3Metadata.from_dict, itertools.count()

    def slowly(document):
        time.sleep(next(waits) % 3 / 1000)
        return parse(document)

    def opened(_):
        return refspace.open(tmp_path / "a.zarr", structures=TREE, resolution=25)

    opened(0)  # which imports libraries that have filters
    before = list(warnings.filters)
    monkeypatch.setattr(ArrayV3Metadata, "from_dict", slowly)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(opened, range(40)))
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
