"""The table that `aggregate_images` writes: a file of rows for each image, and one table of them.

The rows of an image are written when it is done, to a file that appears whole and names its image.
A job that was killed goes on from these files.

A table ``X.parquet`` is the folder of these files (`parquet_table`), a table ``X.csv`` is written
from them when the job ends (`text_table`). Either has a record of what it holds, by which a table
is known as ours and as it was written. Rows that users have added or changed have none: such a
table is refused, and nothing of it is ever removed or replaced.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from refspace.errors import StoreError
from refspace.formats.tables import table_ending
from refspace.pools import ThreadPool
from refspace.store import Location
from refspace.store.masks import write_whole

PART_FIELDS = ("job", "image", "identity")
"""Texts in the record of a file of rows."""

OTHER_JOB = "has rows of another job: of another atlas, or other structures, statistics or options"
KEPT = "it is left as it is; move it away, or give another name"
_OVERWRITE = "give another name, or replace it with --overwrite (Python: overwrite=True)"
_PART = re.compile(r"part-[0-9a-f]{16}\.(parquet|csv|tsv)")
# What a kill leaves of `atomic_write`.
_UNFINISHED = re.compile(r"\.(part|table|record)(-[0-9a-f]{16})?\.[0-9a-f]{8}\.partial\.[a-z]+")
# Files that are read at the same time: on another machine, reading is mostly waiting.
_READ_TOGETHER = 16


class EditedError(Exception):
    """Raised for a file of rows that is readable, and not as it was written."""


class ImageTable(ABC):
    """A table in the making.

    Parameters
    ----------
    location
        Path or URL of the table.
    folder
        Folder of the files of rows.
    job
        Digest of what all rows have in common.
    doubt
        Why rows of the same job may be of other voxels; None if they are of the same.
    """

    def __init__(
        self, location: Location, folder: Location, job: str, doubt: str | None = None
    ) -> None:
        self.location, self.folder, self.job, self._doubt = location, folder, job, doubt
        # Identity of each image whose rows are there, by the name of the image.
        self.done: dict[str, str] = {}

    @abstractmethod
    def begin(self, *, overwrite: bool) -> None:
        """Read which images are done.

        Rows of the same job stay even when overwriting: a second run goes on with them.

        Raises
        ------
        StoreError
            If there is anything that is not to be replaced.
        """

    def add(self, image: str, identity: str, rows: pd.DataFrame) -> None:
        """Write the rows of an image for good, in place of those that it may have."""
        record = {"job": self.job, "image": image, "identity": identity}
        write_whole(self.folder, self._key(image), self._encode(rows, record))
        self.done[image] = identity

    @abstractmethod
    def remove(self, images: Collection[str]) -> None:
        """Remove the rows of some images."""

    @abstractmethod
    def complete(self, images: Sequence[str]) -> None:
        """Make the table of the rows of all images that are done, in the order of some images."""

    # ----- files of rows

    def _read_parts(self) -> dict[str, dict[str, Any] | None]:
        """Record of each file of rows, None of one that is damaged; what is strange is refused."""
        keys = self._keys()
        for key in keys:
            if key[:1] != "." and not self._is_own(key):
                raise StoreError(f"{self.folder.url} has {key}, which is none of its files: {KEPT}")
        for key in filter(_UNFINISHED.fullmatch, keys):
            self._remove(key)
        parts = sorted(filter(_PART.fullmatch, keys))
        read = ThreadPool(_READ_TOGETHER).results(self._part, parts, name="part", token=str)
        return dict(read)

    def _part(self, key: str) -> dict[str, Any] | None:
        try:
            record = self._decode(self.folder.read(key) or b"")
        except EditedError as error:
            raise StoreError(
                f"{self.folder.url} has {key}, which is not as it was written here: {error}; {KEPT}"
            ) from error
        if record and self._key(record["image"]) != key:
            raise StoreError(
                f"{self.folder.url} has {key}, whose name is that of no image of it; {KEPT}"
            )
        return record

    def _take_parts(self, overwrite: bool) -> list[str]:
        """Take over the files of rows of this job; names of those that are in the way.

        These are of another job, where overwriting allows to remove them, or damaged.
        """
        parts = self._read_parts()
        others = [key for key, record in parts.items() if record and record["job"] != self.job]
        if others and not overwrite:
            self.refuse_other_job()
        own = [record for record in parts.values() if record and record["job"] == self.job]
        self.done = {record["image"]: record["identity"] for record in own}
        return others + [key for key, record in parts.items() if record is None]

    def _keys(self) -> list[str]:
        path = self.folder.local_path
        return sorted(self.folder.keys()) if path is None or path.exists() else []

    def is_part(self, key: str) -> bool:
        """Whether a file has the name of a file of rows."""
        return bool(_PART.fullmatch(key))

    def _is_own(self, key: str) -> bool:
        return self.is_part(key)

    def _key(self, image: str) -> str:
        digest = hashlib.sha256(image.encode()).hexdigest()
        return f"part-{digest[:16]}{table_ending(self.location.url)}"

    def _remove(self, key: str) -> None:
        if (path := self.folder.local_path) is not None:
            Path(path, key).unlink(missing_ok=True)
        else:
            self.folder.remove(key)

    @abstractmethod
    def _encode(self, rows: pd.DataFrame, record: Mapping[str, Any]) -> bytes:
        """Make the file of some rows, with their record and checksum."""

    @abstractmethod
    def _decode(self, data: bytes) -> dict[str, Any] | None:
        """Record of a file of rows, once it is proven; None if the file is damaged.

        Raises
        ------
        EditedError
            If it is whole, and yet not as it was written.
        """

    # ----- refusals

    def refuse_other_job(self) -> NoReturn:
        """Refuse a table of another job, or of what may be another one."""
        unsure = f" (or of the same, which cannot be proven: {self._doubt})" if self._doubt else ""
        raise StoreError(f"{self.location.url} {OTHER_JOB}{unsure}; {_OVERWRITE}")

    def refuse(self, why: str) -> NoReturn:
        """Refuse a table that is something else, whatever the caller wants to replace."""
        raise StoreError(f"{self.location.url} {why}: {KEPT}")
