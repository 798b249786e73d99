"""Read-only store for zarr over another machine's objects, each of which is requested once.

zarr's own `FsspecStore` and `ObjectStore` do not try again after a status that will pass (500, 503,
429), take a login page for an object, and raise errors that name no URL; `Location.read` is
better in all three. A subclass of zarr's `MemoryStore` or `WrapperStore` would be shorter. But
each version of zarr adds ways to read past `Store.get` (``get_sync``, ``_get_many``), which these
two serve from what they hold: an object that was not requested yet would read as fill values.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import NoReturn

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype


class ReadOnlyStore(Store):
    """Objects for zarr, read by any engine, with its patience.

    Parameters
    ----------
    read
        Returns the content of an object by its name, None if there is no such object.
    contents
        Contents that were read before.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(
        self,
        read: Callable[[str], bytes | None],
        contents: Mapping[str, bytes | None] | None = None,
    ) -> None:
        super().__init__(read_only=True)
        self.read = read
        self.contents = dict(contents or {})

    def _read_once(self, key: str) -> bytes | None:
        """Content of an object; zarr asks for the same metadata again and again."""
        if key not in self.contents:
            self.contents[key] = self.read(key)
        return self.contents[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadOnlyStore) and self.read == other.read

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Content of an object, or a range of its bytes."""
        # In a thread: zarr has one event loop, in which all other requests would wait.
        data = await asyncio.to_thread(self._read_once, key)
        return None if data is None else prototype.buffer.from_bytes(data[_as_slice(byte_range)])

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Ranges of several objects."""
        ranges = (self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        return list(await asyncio.gather(*ranges))

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return await asyncio.to_thread(self._read_once, key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse to write."""
        _refuse()

    async def delete(self, key: str) -> None:
        """Refuse to delete."""
        _refuse()

    def list(self) -> AsyncIterator[str]:
        """Refuse to list: many servers cannot, and nothing here depends on it."""
        _refuse()

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        _refuse()

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        _refuse()


def _refuse() -> NoReturn:
    raise NotImplementedError("a view of a store is read object by object")


def _as_slice(byte_range: ByteRequest | None) -> slice:
    match byte_range:
        case None:
            return slice(None)
        case RangeByteRequest(start=start, end=end):
            return slice(start, end)
        case OffsetByteRequest(offset=offset):
            return slice(offset, None)
        case SuffixByteRequest(suffix=suffix):
            return slice(-suffix, None) if suffix else slice(0)
    raise NotImplementedError(f"a part of {byte_range}")
