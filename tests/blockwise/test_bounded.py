"""Blocks in memory at the same time, of arrays whose blocks are large."""

import pickle
import threading
import time
import weakref

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask import threaded

import refspace
from refspace.blockwise import bounded as module
from refspace.blockwise.bounded import bounded, pool_for, threads_for
from refspace.blockwise.in_place import in_place
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.pools import ThreadPool
from refspace.structure_tree import StructureTree

SHAPE, COUNT = (24, 4, 4), 24
BLOCK_BYTES = 4 * 4 * 4

pytestmark = pytest.mark.skipif(da.array_expr_enabled(), reason="expressions are computed as ever")


class Blocks:
    """Makes blocks, and counts how many there are at the same time."""

    def __init__(self, dtype):
        self.dtype, self.alive, self.most = dtype, 0, 0
        self._lock = threading.Lock()

    def _gone(self):
        with self._lock:
            self.alive -= 1

    def __call__(self, block_id):
        block = np.full((1, *SHAPE[1:]), 1 + block_id[0] % 3, self.dtype)
        with self._lock:
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(block, self._gone)
        # As long as others begin too, where they may.
        time.sleep(0.02)
        return block

    def array(self):
        """A block for each layer; its first one is made when it is read."""
        first = da.arange(COUNT, chunks=1)[:, None, None]
        return da.map_blocks(
            lambda _, block_id: self(block_id),
            first,
            chunks=((1,) * COUNT, SHAPE[1:2], SHAPE[2:]),
            dtype=self.dtype,
            meta=np.empty((0, 0, 0), self.dtype),
            name=f"counted-{id(self)}",
        )


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    """Room for two blocks on a machine with eight cores, which are used but where it matters."""
    monkeypatch.setattr(module, "CPU_COUNT", 8)
    monkeypatch.setattr(module, "HELD_BYTES", 2 * BLOCK_BYTES)
    monkeypatch.setattr(threaded, "CPU_COUNT", 8)
    monkeypatch.setattr(threaded, "default_pool", None)


TREE = StructureTree([{"id": i, "acronym": "abc"[i - 1], "name": "x"} for i in (1, 2, 3)])
GRID = Grid(SHAPE, (10, 10, 10), orientation="PIR")


def space_of(labels):
    return refspace.ReferenceSpace(TREE, labelled(labels, GRID))


def test_without_a_bound_there_are_more(monkeypatch):
    monkeypatch.setattr(module, "HELD_BYTES", 2**40)
    labels = Blocks("u4")
    space_of(labels.array()).total_voxel_map  # noqa: B018  # computes it
    assert labels.most > 3


@pytest.mark.parametrize(
    "use",
    [
        lambda space: space.total_voxel_map,
        lambda space: space.with_index().label_index,
        lambda space: space.contacts,
        lambda space: space.region_properties().compute(),
        lambda space: space.surface_area().compute(),
        lambda space: space.make_structure_mask([1]).values,
        lambda space: space.relabel({1: 7, 2: 8}).compute(),
    ],
    ids=["counts", "index", "contacts", "properties", "surface", "mask", "relabel"],
)
def test_few_blocks_of_labels_are_in_memory(use):
    labels = Blocks("u4")
    use(space_of(labels.array()))
    # One that is made while another one is still let go.
    assert labels.most <= 3
    assert labels.alive <= 1


@pytest.mark.parametrize("values", [lambda a: a.values, lambda a: a.compute(), np.asarray])
def test_arrays_in_place_have_few_threads(values):
    blocks = Blocks("u4")
    array = xr.DataArray(in_place(blocks.array() + 1))
    assert (np.asarray(values(array)) == blocks.array().compute() + 1).all()
    blocks.most = 0
    values(xr.DataArray(in_place(blocks.array() * 2)))
    assert blocks.most <= 3


def test_few_blocks_of_an_image_are_in_memory(monkeypatch):
    image, labels = Blocks("f4"), Blocks("u4")
    space = space_of(labels.array())
    monkeypatch.setattr(module, "HELD_BYTES", 4 * BLOCK_BYTES)
    table = space.aggregate(image.array(), statistics=["mean", "std"], quantiles=[0.5])
    found = table.compute()
    assert image.most <= 3
    assert labels.most <= 3
    assert found["mean"].values.tolist() == [1, 2, 3]
    assert (found["std"].values == 0).all()


def test_a_number_of_threads_that_the_caller_gives_counts():
    array = bounded(da.zeros(SHAPE, chunks=(1, 4, 4), dtype="f4"))
    assert threads_for(array) == 2
    with dask.config.set(num_workers=2):
        assert threads_for(array) is None
    with dask.config.set(num_workers=3):
        assert threads_for(array, array) == 1


def test_blocks_whose_size_is_not_known_are_not_bounded():
    array = da.from_array(np.arange(6), chunks=2)
    assert threads_for(array[array > 2]) is None


def test_the_array_is_one_of_dask_otherwise():
    plain = da.arange(6, chunks=2)
    array = bounded(plain)
    assert array.name == plain.name
    assert array.__dask_scheduler__ == threaded.get
    assert type(array).__dask_scheduler__ is threaded.get
    for result in dask.compute(array, plain, scheduler="synchronous"):
        assert result.tolist() == [*range(6)]
    assert [each.tolist() for each in dask.compute(plain, array)] == [[*range(6)]] * 2
    assert pickle.loads(pickle.dumps(array)).compute().tolist() == [*range(6)]
    dataset = xr.Dataset({"a": ("x", array), "b": ("x", plain)}).compute()
    assert dataset["a"].values.tolist() == dataset["b"].values.tolist()


def test_pools_have_few_threads():
    array = da.zeros(SHAPE, chunks=(1, 4, 4), dtype="f4")
    assert pool_for(ThreadPool(8), array).threads == 2
    assert pool_for(ThreadPool(1), array).threads == 1
    cluster = object()
    assert pool_for(cluster, array) is cluster


@pytest.mark.parametrize(("given", "most"), [(None, 3), (8, 8)])
def test_few_blocks_are_in_memory_while_masks_are_written(monkeypatch, tmp_path, given, most):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    labels = Blocks("u4")
    refspace.write_masks(space_of(labels.array()), tmp_path / "masks", threads=given)
    assert labels.most <= most
    assert labels.most > 3 or given is None
