"""Copies on this machine of objects that were read once."""

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_DIGEST_BYTES = hashlib.sha256().digest_size
# A 10 µm atlas of the mouse takes 60 MB.
LIMIT = 10 * 2**30


@dataclass(frozen=True)
class KeptObjects:
    """Objects of one store, in a folder; another version of the store has another folder.

    What is found there is proven by a digest, so that neither a power cut nor a full disk can make
    a wrong object of it: that is no object.

    Parameters
    ----------
    folder
        Where all copies are, of any store.
    url
        The store.

    Examples
    --------
    >>> import tempfile
    >>> kept = KeptObjects(Path(tempfile.mkdtemp()), "https://host/atlas.zarr")
    >>> kept.put("s0/annotation/c/0/0/0", "version 1", b"voxels")
    >>> kept.get("s0/annotation/c/0/0/0", "version 1")
    b'voxels'
    >>> kept.get("s0/annotation/c/0/0/0", "version 2") is None
    True
    """

    folder: Path
    url: str

    def _path(self, key: str, version: str) -> Path:
        # Of no name that a store may choose: it could lead out of the folder.
        name = hashlib.sha256("\n".join((self.url, version, key)).encode()).hexdigest()
        return self.folder / name[:2] / name[2:]

    def get(self, key: str, version: str) -> bytes | None:
        """Content of an object, None if there is no copy."""
        path = self._path(key, version)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            return None
        with suppress(OSError):
            os.utime(path)  # of use, for `trim`
        return data

    def put(self, key: str, version: str, data: bytes) -> None:
        """Keep a copy; where that is not possible, there is none."""
        path = self._path(key, version)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced: a torn copy is told by its digest.
            temporary.write_bytes(hashlib.sha256(data).digest() + data)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def trim(folder: Path, limit: int = LIMIT) -> None:
    """Remove the copies that were of no use for longest, until the others take few bytes.

    Parameters
    ----------
    folder
        Where all copies are, of any store.
    limit
        Bytes that they may take.
    """
    found = []
    for path in folder.glob("??/*"):
        with suppress(OSError):  # another process may trim too
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
    excess = sum(size for _, size, _ in found) - limit
    for _, size, path in sorted(found):
        if excess <= 0:
            return
        with suppress(OSError):
            path.unlink()
        excess -= size
