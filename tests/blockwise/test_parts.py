"""Parts of arrays, for which blocks outside of them are not listed."""

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import refspace
from refspace.blockwise import parts
from refspace.store.dask_graphs import ReadLayer

SHAPE, CHUNKS = (7, 5, 6), (2, 3, 4)
TREE = refspace.StructureTree([{"id": 7, "acronym": "a", "name": "A", "structure_id_path": [7]}])


@pytest.fixture(scope="module")
def voxels():
    return np.random.default_rng(0).choice(np.array([0, 7], "u4"), SHAPE)


@pytest.fixture(scope="module")
def space(tmp_path_factory, voxels):
    path = tmp_path_factory.mktemp("parts") / "labels.zarr"
    zarr.create_array(path, shape=SHAPE, chunks=CHUNKS, dtype="u4")[...] = voxels
    return refspace.open(path, structures=TREE, resolution=1, orientation="PIR")


def slices(length):
    ends = st.one_of(st.none(), st.integers(-length - 1, length + 1))
    return st.builds(slice, ends, ends)


BOXES = st.tuples(*map(slices, SHAPE))


@given(BOXES)
@settings(deadline=None)
def test_parts_are_those_of_slices(space, voxels, box):
    data = space.annotation.data
    part = parts.crop(data, box)
    assert part.chunks == data[box].chunks
    assert part.dtype == data.dtype
    np.testing.assert_array_equal(part.compute(scheduler="sync"), voxels[box])


@given(BOXES, BOXES)
@settings(deadline=None)
def test_parts_of_parts(space, voxels, box, inner):
    part = parts.crop(parts.crop(space.annotation.data, box), inner)
    np.testing.assert_array_equal(part.compute(scheduler="sync"), voxels[box][inner])


def test_parts_of_other_arrays(voxels):
    data = dask.array.from_array(voxels, chunks=CHUNKS)
    box = (slice(1, 3), slice(None), slice(2, None))
    np.testing.assert_array_equal(parts.crop(data + 1, box), voxels[box] + 1)


def test_names_tell_parts_apart(space):
    data = space.annotation.data
    boxes = [(slice(a, b), slice(0, 2), slice(0, 2)) for a, b in [(0, 2), (2, 4), (0, 1)]]
    names = [parts.crop(data, box).name for box in boxes]
    assert len(set(names)) == len(names)
    assert names == [parts.crop(data, box).name for box in boxes]


@pytest.mark.skipif(dask.array.array_expr_enabled(), reason="expressions have no layers")
def test_blocks_outside_of_a_crop_are_not_listed(space, monkeypatch):
    listed = []
    keys = ReadLayer.get_output_keys

    def listing(layer):
        found = keys(layer)
        listed.append(len(found))
        return found

    volume = space.volume.crop((slice(2, 4), slice(0, 3), slice(4, 6)))
    expected = space.annotation.isel(ap=slice(2, 4), dv=slice(0, 3), ml=slice(4, 6)).compute()
    monkeypatch.setattr(ReadLayer, "get_output_keys", listing)
    part = volume.data.compute()
    assert max(listed) == 1
    xr.testing.assert_identical(part, expected)
