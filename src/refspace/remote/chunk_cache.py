"""A cache on disk for chunks that were read from other machines."""

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from refspace.files import first_link

_DIGEST_BYTES = hashlib.sha256().digest_size
# Bytes that all copies may take. A 10 µm atlas of the mouse takes 60 MB.
LIMIT = 10 * 2**30


@dataclass(frozen=True)
class ChunkCache:
    """Copies of the objects of one store, in a folder that several stores may share.

    Each copy begins with a digest of its content. One that a power cut or a full disk left damaged
    does not match, and counts as missing.

    Parameters
    ----------
    folder
        Folder of all copies, of any store.
    url
        URL of the store.

    Examples
    --------
    >>> import tempfile
    >>> cache = ChunkCache(Path(tempfile.mkdtemp()), "https://host/atlas.zarr")
    >>> cache.put("s0/annotation/c/0/0/0", "version 1", b"voxels")
    >>> cache.get("s0/annotation/c/0/0/0", "version 1")
    b'voxels'
    >>> cache.get("s0/annotation/c/0/0/0", "version 2") is None
    True
    """

    folder: Path
    url: str

    def _path(self, key: str, version: str) -> Path:
        # A digest, not the key: a hostile store could choose a key that leads out of the folder.
        name = hashlib.sha256("\n".join((self.url, version, key)).encode()).hexdigest()
        return self.folder / name[:2] / name[2:]

    def _leads_out(self, path: Path) -> bool:
        """Whether a copy lies behind a symbolic link, which is neither read nor written through."""
        return first_link(self.folder, path.relative_to(self.folder).as_posix()) is not None

    def get(self, key: str, version: str) -> bytes | None:
        """Read the copy of an object; None if there is none.

        Parameters
        ----------
        key
            Name of the object in the store.
        version
            Version of the store: another one has other copies.
        """
        path = self._path(key, version)
        try:
            if self._leads_out(path):
                return None
            content = path.read_bytes()
        except OSError:
            return None
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            return None
        with suppress(OSError):
            os.utime(path)  # the time of last use, by which `trim` chooses
        return data

    def put(self, key: str, version: str, data: bytes) -> None:
        """Store a copy of an object; a copy that cannot be written is left out without an error."""
        path = self._path(key, version)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        if self._leads_out(path):
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced to disk, which would be slow: the digest reveals a torn copy.
            temporary.write_bytes(hashlib.sha256(data).digest() + data)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def trim(folder: Path, limit: int = LIMIT) -> None:
    """Remove the copies that were not used for longest, until the others fit a limit.

    Parameters
    ----------
    folder
        Folder of all copies, of any store.
    limit
        Bytes that the copies may take.
    """
    copies = []
    for path in folder.glob("??/*"):
        with suppress(OSError):  # another process may trim too
            status = path.stat()
            copies.append((status.st_mtime_ns, status.st_size, path))
    excess = sum(size for _, size, _ in copies) - limit
    for _, size, path in sorted(copies):
        if excess <= 0:
            return
        with suppress(OSError):
            path.unlink()
        excess -= size
