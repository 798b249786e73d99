"""Decodes blocks from the bytes of their objects."""

import json
from typing import Any

import numcodecs.zstd
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, ZstdCodec
from zarr.core.array import Array

from refspace.limits import limit
from refspace.store import recycled
from refspace.store.codecs import ArrayDecoder, Box, cached_decoder
from refspace.store.codecs.inflate import zstd_content_size


def decode_block(array: "Array[Any]", data: bytes, box: Box | None = None) -> NDArray[Any]:
    """Values of a whole block, also where it extends beyond the end of the array.

    No more memory is taken than the block needs, whatever its content says of itself.

    Parameters
    ----------
    array
        The array that the block belongs to.
    data
        Content of the file that holds the block.
    box
        Part of the block that is wanted, if not all; of a shard, no other chunk is decoded.

    Raises
    ------
    Exception
        Whatever codecs raise where the content is damaged, or of another size than that of the
        block.
    """
    if box is None and _is_plain_zstd(array):
        # The most frequent, past everything else: 14 blocks of 128³ take half the time.
        values = recycled.empty(array.chunks, array.dtype)
        if values.nbytes <= limit("chunk_bytes") and zstd_content_size(data[:18]) == values.nbytes:
            # Straight into the result: a copy would take twice the time, as it touches memory
            # twice.
            numcodecs.zstd.decompress(data, values)
            return values
    return block_decoder(array).decode(data, array.fill_value, box)


def block_decoder(array: "Array[Any]") -> ArrayDecoder:
    """Decoder of the blocks of an array."""
    metadata: dict[str, Any] = {**array.metadata.to_dict(), "attributes": {}}
    return cached_decoder(json.dumps(metadata, default=str, sort_keys=True))


def _is_plain_zstd(array: "Array[Any]") -> bool:
    """Whether blocks are arrays in C order, compressed with zstd and nothing else."""
    match getattr(array.metadata, "codecs", ()):
        case (BytesCodec() as order, ZstdCodec()):
            # A string from zarr 3.2 on, an enumeration before.
            little = getattr(order.endian, "value", order.endian) in (None, "little")
            return little and array.dtype.isnative
    return False
