"""Blocks from the bytes of their files; numcodecs and zarr are the oracle."""

import numcodecs.zstd
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, ZstdCodec

from refspace.store.codecs.inflate import zstd_content_size
from refspace.store.decode import decode_block

SHAPE = (4, 5, 6)


def stored(values, codec, path="a"):
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(
        store, name=path, shape=values.shape, dtype=values.dtype, chunks=SHAPE, compressors=[codec]
    )
    array[...] = values
    return array, store._store_dict[f"{path}/c/0/0/0"].to_bytes()


def framed(content):
    """Frame of one raw block that does not say how much it holds."""
    header = (len(content) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\x00\x58" + header + content


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u4", "<u4", "<f8"])
@pytest.mark.parametrize("codec", [ZstdCodec(), ZstdCodec(checksum=True), BloscCodec()])
def test_blocks_are_those_that_zarr_reads(dtype, codec):
    values = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
    array, data = stored(values, codec)
    block = decode_block(array, data)
    np.testing.assert_array_equal(block, values)
    assert block.shape == SHAPE
    block[0] = 1  # may be written to


@given(st.binary(max_size=70_000) | st.integers(0, 2**17).map(bytes))
def test_frames_say_how_much_they_hold(content):
    frame = numcodecs.zstd.compress(content)
    assert zstd_content_size(frame[:18]) == len(content)


def test_a_frame_that_does_not_say_how_much_it_holds():
    values = np.arange(120, dtype="<u4").reshape(SHAPE)
    array, _ = stored(values, ZstdCodec())
    frame = framed(values.tobytes())
    assert zstd_content_size(frame) is None
    block = decode_block(array, frame)
    np.testing.assert_array_equal(block, values)
    block[0] = 1


@pytest.mark.parametrize("change", [-4, 4])
def test_too_little_and_too_much(change):
    array, _ = stored(np.ones(SHAPE, "<u4"), ZstdCodec())
    content = bytes(480 + change)
    for frame in (numcodecs.zstd.compress(content), framed(content)):
        with pytest.raises(Exception, match=r"announces|too small|expected to decompress"):
            decode_block(array, frame)


@pytest.mark.promise(
    "the frame of a chunk announces another size than its shape",
    "an error before it is inflated",
)
def test_frames_that_lie():
    values = np.random.default_rng(0).integers(0, 2**32, SHAPE).astype("<u4")
    array, data = stored(values, ZstdCodec())
    place = 5 + 1 - (data[4] >> 5 & 1)
    for size in (479, 481):
        lie = bytearray(data)
        lie[place : place + 2] = (size - 256).to_bytes(2, "little")
        assert zstd_content_size(bytes(lie)) == size
        with pytest.raises(Exception, match=f"announces {size} bytes, where 480 are expected"):
            decode_block(array, bytes(lie))
    with pytest.raises(Exception, match=r"(?i)zstd"):
        decode_block(array, data[:-1])
