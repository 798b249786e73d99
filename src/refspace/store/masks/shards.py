"""Shards: objects that hold the masks of many structures in one block.

A shard is the frames of its chunks one after the other, and then where each of them lies: offset
and length of every chunk as little-endian uint64, all ones where it is absent, and the CRC32C of
these. (Zarr's codec ``sharding_indexed``, with the index at the end:
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/)

Zarr itself would want all masks of a shard in memory at a time, most of which are 0 everywhere.
"""

from collections.abc import Mapping

import google_crc32c
import numcodecs.zstd
import numpy as np
from numpy.typing import NDArray

_ABSENT = 2**64 - 1
_LEVEL = 5


def compress(mask: NDArray[np.uint8]) -> bytes:
    """Frame of a chunk: zstd with its checksum, so that a flipped bit raises."""
    frame: bytes = numcodecs.zstd.compress(np.ascontiguousarray(mask), _LEVEL, True)
    return frame


def shard_of(frames: Mapping[int, bytes], count: int) -> bytes:
    """Put a shard together.

    Parameters
    ----------
    frames
        Frame of each chunk that is present, by its number in the shard.
    count
        How many chunks a shard may hold.

    Examples
    --------
    >>> len(shard_of({1: b"frame"}, 2))
    41
    """
    index = np.full((count, 2), _ABSENT, "<u8")
    offset = 0
    for number, frame in sorted(frames.items()):
        index[number] = offset, len(frame)
        offset += len(frame)
    table = index.tobytes()
    checksum = np.array([google_crc32c.value(table)], "<u4").tobytes()
    return b"".join([*(frame for _, frame in sorted(frames.items())), table, checksum])
