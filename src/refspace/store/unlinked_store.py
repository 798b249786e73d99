"""Store for zarr over a folder, in which symbolic links are refused."""

from collections.abc import Callable, Iterable
from pathlib import Path

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore


class UnlinkedStore(LocalStore):
    """Files of a folder for zarr, none of which is reached through a symbolic link within it.

    Parameters
    ----------
    root
        The folder.
    refuse_links
        Raises an error if a key of the store leads through a link.
    read_only
        As for zarr's `LocalStore`.
    """

    def __init__(
        self, root: Path, refuse_links: Callable[[str], None], *, read_only: bool = True
    ) -> None:
        super().__init__(root, read_only=read_only)
        self.refuse_links = refuse_links

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Content of a file, or a range of its bytes."""
        self.refuse_links(key)
        return await super().get(key, prototype, byte_range)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Content of a file, as newer versions of zarr ask for it."""
        self.refuse_links(key)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Ranges of several files."""
        pairs = list(key_ranges)
        for key, _ in pairs:
            self.refuse_links(key)
        return await super().get_partial_values(prototype, pairs)
