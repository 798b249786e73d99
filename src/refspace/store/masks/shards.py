"""Encodes and decodes shards: objects that hold the masks of many structures in one block.

A shard is the frames of its chunks one after the other, and then an index: offset and length of
every chunk as little-endian uint64, all ones where it is absent, and the CRC32C of these. (Zarr's
codec ``sharding_indexed``, with the index at the end:
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/)

zarr's own `ShardingCodec` writes the same bytes, but costs more. Measured with the masks of all 839
structures of the 25 µm CCF, by two threads, in runs side by side:

=====================================================  =========  ======
Shards made by                                         CPU         peak
=====================================================  =========  ======
this module                                            11.2 s     276 MB
``array[shard] = masks``, all 128 masks in memory      143.6 s    688 MB
``array[mask] = …``, one by one into a `MemoryStore`   35.3 s     266 MB
the same with ``write_empty_chunks``                   20.6 s     255 MB
=====================================================  =========  ======

The first of zarr's ways compares every absent mask with 0. The others read, index and copy the
shard anew for each mask, in zarr's one event loop, where threads wait for each other; the last one
takes 1.5 to 1.8 times as long as this module, on a quiet machine and on a busy one.
"""

from collections.abc import Mapping, Sequence

import google_crc32c
import numcodecs.zstd
import numpy as np
from numpy.typing import NDArray

_ABSENT = 2**64 - 1
_LEVEL = 5
_ENTRY_BYTES, _CHECKSUM_BYTES = 16, 4


def compress(mask: NDArray[np.bool_]) -> bytes:
    """Frame of a chunk, as 0 and 1: zstd with its checksum, so that a flipped bit raises."""
    frame: bytes = numcodecs.zstd.compress(np.ascontiguousarray(mask).view(np.uint8), _LEVEL, True)
    return frame


def encode_shard(frames: Mapping[int, bytes], count: int) -> bytes:
    """Shard of some chunks.

    Parameters
    ----------
    frames
        Frame of each chunk that is present, by its position in the shard.
    count
        Number of chunks that a shard has room for.

    Examples
    --------
    >>> len(encode_shard({1: b"frame"}, 2))
    41
    """
    index = np.full((count, 2), _ABSENT, "<u8")
    offset = 0
    for position, frame in sorted(frames.items()):
        index[position] = offset, len(frame)
        offset += len(frame)
    table = index.tobytes()
    checksum = np.array([google_crc32c.value(table)], "<u4").tobytes()
    return b"".join([*(frame for _, frame in sorted(frames.items())), table, checksum])


def decode_mask(
    shard: bytes, position: int, count: int, chunk_shape: Sequence[int]
) -> NDArray[np.bool_] | None:
    """Mask of a chunk in a shard that is proven to be what `encode_shard` made; None if absent.

    Parameters
    ----------
    shard
        The shard.
    position
        Of the chunk, in the shard.
    count
        Number of chunks that the shard has room for.
    chunk_shape
        Voxels of a chunk along each axis of space.

    Examples
    --------
    >>> shard = encode_shard({1: compress(np.ones((1, 1, 2), bool))}, 2)
    >>> decode_mask(shard, 1, 2, (1, 1, 2)).tolist(), decode_mask(shard, 0, 2, (1, 1, 2))
    ([[[True, True]]], None)
    """
    entry = len(shard) - _CHECKSUM_BYTES - _ENTRY_BYTES * (count - position)
    offset, length = np.frombuffer(shard, "<u8", 2, entry).tolist()
    if offset == _ABSENT:
        return None
    mask = np.empty(tuple(chunk_shape), np.uint8)
    numcodecs.zstd.decompress(shard[offset : offset + length], mask)
    return mask.view(bool)
