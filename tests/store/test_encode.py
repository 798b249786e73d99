"""Blocks are encoded as zarr writes them."""

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from refspace.store.encode import encode_block


@pytest.mark.parametrize("shards", [None, (4, 6, 4)])
@pytest.mark.parametrize("dtype", ["u4", ">u2", "f4"])
def test_bytes_are_those_of_zarr(shards, dtype):
    voxels = np.random.default_rng(0).integers(0, 9, (10, 6, 7)).astype(dtype)
    voxels[:4, :, :4] = 0  # a block of fill values is written too
    objects = {}
    array = zarr.create_array(
        MemoryStore(objects),
        name="s0/voxels",
        shape=voxels.shape,
        chunks=(2, 3, 4),
        shards=shards,
        dtype=dtype,
        config={"write_empty_chunks": True},
    )
    array[...] = voxels
    size = shards or (2, 3, 4)
    written = {key: data.to_bytes() for key, data in objects.items() if "/c/" in key}
    assert len(written) == np.prod([-(-n // s) for n, s in zip(voxels.shape, size, strict=True)])
    for key, data in written.items():
        block_id = map(int, key.rpartition("/c/")[2].split("/"))
        box = tuple(slice(i * s, (i + 1) * s) for i, s in zip(block_id, size, strict=True))
        assert encode_block(array, voxels[box]) == data
