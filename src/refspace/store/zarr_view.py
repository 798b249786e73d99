"""What zarr sees of a store that it may only read: metadata, each document once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NoReturn

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype


class ZarrView(Store):
    """Objects for zarr, read as all others are: patiently, by whatever engine.

    Parameters
    ----------
    read
        Content of an object by its name, None if there is none.
    known
        Contents that were read before.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(
        self, read: Callable[[str], bytes | None], known: Mapping[str, bytes | None] | None = None
    ) -> None:
        super().__init__(read_only=True)
        self._read_anew = read
        self.known = dict(known or {})

    def _read(self, key: str) -> bytes | None:
        """Content of an object, read once: zarr asks for the same metadata again and again."""
        if key not in self.known:
            self.known[key] = self._read_anew(key)
        return self.known[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrView) and self._read_anew == other._read_anew

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Content of an object, or a part of it."""
        data = await asyncio.to_thread(self._read, key)
        return None if data is None else prototype.buffer.from_bytes(data[_part(byte_range)])

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Parts of several objects."""
        parts = (self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        return list(await asyncio.gather(*parts))

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return await asyncio.to_thread(self._read, key) is not None

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


def _part(byte_range: Any) -> slice:
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
