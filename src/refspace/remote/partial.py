"""The beginning of a file that is being downloaded: it outlives kills and power cuts."""

import hashlib
import json
import os
from pathlib import Path

from refspace.files import atomic_write

_PIECE_BYTES = 2**20
# What a power cut may take of a part at most, because it was not yet on the disk.
_SYNC_BYTES = 8 * 2**20


class Partial:
    """The beginning of a file, beside the place of the whole, and what is known of the whole.

    Of a part that an earlier process has left, so much is taken as was safe on the disk, if it is
    of the same URL, and if the server can be asked for the rest of that very version.

    Parameters
    ----------
    target
        Place of the whole file.
    url
        Where it comes from.
    proven
        Whether the digest of the whole is known, so that a wrong joint would be found out.

    Attributes
    ----------
    size
        Bytes that are there.
    length
        Bytes of the whole; None if not known.
    version
        What the server tells versions by; None if it does not.
    pieced
        Whether the bytes came with several answers.
    """

    def __init__(self, target: Path, url: str, *, proven: bool) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._facts_path = target.with_name(f".{target.name}.part.json")
        self._target, self._url, self._proven = target, url, proven
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
        """Take up what an earlier process has left."""
        try:
            facts = json.loads(self._facts_path.read_bytes())
            safe = min(int(facts["safe"]), self.path.stat().st_size)
            length, version = facts["length"], facts["version"]
            ours = facts["url"] == self._url and (version or self._proven or safe == length)
        except (OSError, ValueError, KeyError, TypeError):
            ours = False
        if not ours or safe <= 0:
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
        """Whether all bytes are there."""
        return self.size == self.length

    @property
    def can_grow(self) -> bool:
        """Whether there is something that the rest of the very same version may be added to."""
        return self.size > 0 and bool(self.version or self._proven)

    @property
    def sha256(self) -> str:
        """Digest of the bytes that are there."""
        return self._hash.hexdigest()

    def begin(self, length: int | None, version: str | None) -> None:
        """Note what the whole file is, of which nothing is there yet."""
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
        """Note that all bytes are there."""
        self.length = self.size

    def clear(self) -> None:
        """Drop the bytes that are there."""
        self._facts_path.unlink(missing_ok=True)
        self._file.truncate(0)
        self._forget()

    def sync(self) -> None:
        """Bring the bytes to the disk, and then the note that they are there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._safe = self.size
        self._save()

    def _save(self) -> None:
        facts = {
            "url": self._url,
            "length": self.length,
            "version": self.version,
            "safe": self._safe,
        }
        with atomic_write(self._facts_path) as temporary:
            temporary.write_text(json.dumps(facts), encoding="utf-8")

    def publish(self) -> None:
        """Give the file its name."""
        self._file.close()
        self.path.replace(self._target)
        self._facts_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave what is there to a later process; an empty part goes."""
        if self._file.closed:
            return
        try:
            if self.size:
                self.sync()
        finally:
            self._file.close()
            if not self.size:
                self.path.unlink(missing_ok=True)
                self._facts_path.unlink(missing_ok=True)
