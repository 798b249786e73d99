"""Encodes blocks as the bytes of their objects."""

from typing import Any

from numpy.typing import NDArray
from zarr.core.array import Array, AsyncArray
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore, StorePath


def encode_block(array: "Array[Any]", block: NDArray[Any]) -> bytes:
    """Bytes of the object that holds a block, also where these are fill values alone.

    Parameters
    ----------
    array
        The array that the block belongs to.
    block
        Its values within the array.
    """
    # The array as if it had this block alone.
    metadata: Any = array.metadata.update_shape(block.shape)
    objects: dict[str, Buffer] = {}
    there = StorePath(MemoryStore(objects))
    Array(AsyncArray(metadata, there, config={"write_empty_chunks": True}))[...] = block
    (data,) = objects.values()
    return data.to_bytes()
