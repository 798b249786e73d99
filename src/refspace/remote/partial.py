"""The part of a file that is downloaded so far, which survives kills and power cuts."""

import hashlib
import json
import os
from pathlib import Path

from refspace.files import atomic_write, refuse_link
from refspace.safe_text import url_identity

_PIECE_BYTES = 2**20
# A power cut may take what is not yet on the disk: at most this much is downloaded between syncs.
_SYNC_BYTES = 8 * 2**20


class PartialDownload:
    """The beginning of a file, in a hidden file beside its final path, with a note of its origin.

    A part that an earlier process left is used as far as it was synced to disk, if it is of the
    same URL, and if the rest can be requested of the same version of the file.

    Parameters
    ----------
    target
        Final path of the file.
    url
        URL that it is downloaded from.
    has_digest
        Whether the digest of the file is known, so that parts which do not fit together would be
        noticed.

    Attributes
    ----------
    size
        Bytes that are downloaded.
    length
        Bytes of the whole file; None if not known.
    version
        Version of the file on the server, as `http_responses.file_version` states it; None if the
        server states none.
    pieced
        Whether the bytes came with several responses.
    """

    def __init__(self, target: Path, url: str, *, has_digest: bool) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._metadata_path = target.with_name(f".{target.name}.part.json")
        self._target, self._url, self._has_digest = target, url_identity(url), has_digest
        refuse_link(self.path)
        self._file = self.path.open("ab+")
        self._forget()
        self._load()

    def _forget(self) -> None:
        self.size = self._safe = 0
        self.length: int | None = None
        self.version: str | None = None
        self.pieced = False
        self._hash = hashlib.sha256()

    def _load(self) -> None:
        """Continue the part that an earlier process left."""
        try:
            metadata = json.loads(self._metadata_path.read_bytes())
            safe = min(int(metadata["safe"]), self.path.stat().st_size)
            length, version = metadata["length"], metadata["version"]
            same_url = metadata["url"] == self._url
            # Without a version or a digest, parts of two versions could be joined unnoticed.
            usable = same_url and (version or self._has_digest or safe == length)
        except (OSError, ValueError, KeyError, TypeError):
            usable = False
        if not usable or safe <= 0:
            self.clear()
            return
        self._file.truncate(safe)
        self._file.seek(0)
        while piece := self._file.read(_PIECE_BYTES):
            self._hash.update(piece)
        self.size = self._safe = safe
        self.length, self.version, self.pieced = length, version, True

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are downloaded."""
        return self.size == self.length

    @property
    def can_grow(self) -> bool:
        """Whether there are bytes to which the rest of the same version can be added."""
        return self.size > 0 and bool(self.version or self._has_digest)

    @property
    def sha256(self) -> str:
        """Digest of the bytes that are downloaded."""
        return self._hash.hexdigest()

    def begin(self, length: int | None, version: str | None) -> None:
        """Note length and version of the file before its first byte."""
        self.length, self.version = length, version
        self._save()

    def append(self, piece: bytes) -> None:
        """Add bytes."""
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)
        if self.size - self._safe >= _SYNC_BYTES:
            self.sync()

    def finish(self) -> None:
        """Note that all bytes are downloaded."""
        self.length = self.size

    def clear(self) -> None:
        """Discard the bytes."""
        self._metadata_path.unlink(missing_ok=True)
        self._file.truncate(0)
        self._forget()

    def sync(self) -> None:
        """Bring the bytes to the disk, and only then the note how many are safe there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._safe = self.size
        self._save()

    def _save(self) -> None:
        metadata = {
            "url": self._url,
            "length": self.length,
            "version": self.version,
            "safe": self._safe,
        }
        with atomic_write(self._metadata_path, through_links=False) as temporary:
            temporary.write_text(json.dumps(metadata), encoding="utf-8")

    def publish(self) -> None:
        """Rename the part to the final path."""
        self._file.close()
        self.path.replace(self._target)
        self._metadata_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the part to a later process, or remove it if it is empty."""
        if self._file.closed:
            return
        try:
            if self.size:
                self.sync()
        finally:
            self._file.close()
            if not self.size:
                self.path.unlink(missing_ok=True)
                self._metadata_path.unlink(missing_ok=True)
