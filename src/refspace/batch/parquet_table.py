"""A table of images in Parquet: a folder of files, which many programs read as one table.

Beside a file of rows for each image there is one without rows, whose metadata are the record of
the table: the digest of each file. It is written when a job ends. Each of these files is sealed, so
that every byte of it is proven.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from refspace.batch.image_table import PART_FIELDS, EditedError, ImageTable
from refspace.batch.sealing import sealed, unsealed
from refspace.formats.tables import ParquetFile, parquet_bytes
from refspace.store import Location
from refspace.store.masks import write_whole

RECORD = "record.parquet"


class ParquetTable(ImageTable):
    """A folder of files.

    Parameters
    ----------
    location
        Path or URL of the folder.
    job, doubt
        As for `ImageTable`.
    """

    def __init__(self, location: Location, job: str, doubt: str | None = None) -> None:
        super().__init__(location, location, job, doubt)
        self._damaged: set[str] = set()

    def begin(self, *, overwrite: bool) -> None:
        """Read which images are done, and remove rows of another job where that is wanted."""
        path = self.location.local_path
        if path is not None and path.is_file():
            self.refuse("is a file, and the table is to be a folder of files")
        record = ParquetFile.read_if_whole(self.location.read(RECORD) or b"")
        if record is not None and record.rows:
            self.refuse(f"has rows in {RECORD}, which was written without")
        in_the_way = self._take_parts(overwrite)
        if overwrite and in_the_way:
            # First, so that no record is left of what is removed.
            self._remove(RECORD)
            for key in in_the_way:
                self._remove(key)
        else:
            self._damaged = {*in_the_way}

    def add(self, image: str, identity: str, rows: pd.DataFrame) -> None:
        """Write the rows of an image for good."""
        super().add(image, identity, rows)
        self._damaged.discard(self._key(image))

    def remove(self, images: Collection[str]) -> None:
        """Remove the rows of some images."""
        for image in images:
            self._remove(self._key(image))
            self.done.pop(image, None)

    def complete(self, images: Sequence[str]) -> None:
        """Write the record of what the table holds.

        Raises
        ------
        StoreError
            If there is a damaged file that is of none of the images.
        """
        if self._damaged:
            self.refuse(
                f"has {min(self._damaged)}, which is damaged, and is of no image of this job"
            )
        parts = sorted(map(self._key, self.done))
        contents = {key: self.folder.read(key) or b"" for key in parts}
        digests = {key: hashlib.sha256(data).hexdigest() for key, data in contents.items()}
        if not parts or digests == read_record(self.location, self.job):
            return
        record = {"job": self.job, "parts": digests}
        write_whole(self.folder, RECORD, ParquetFile.read(contents[parts[0]]).without_rows(record))

    def _is_own(self, key: str) -> bool:
        return super()._is_own(key) or key == RECORD

    def _encode(self, rows: pd.DataFrame, record: Mapping[str, Any]) -> bytes:
        return parquet_bytes(rows, lambda digest: sealed({**record, "rows": digest}).decode())

    def _decode(self, data: bytes) -> dict[str, Any] | None:
        return part_record(data)


def part_record(data: bytes) -> dict[str, Any] | None:
    """Record of a Parquet file of rows, once every byte is proven; None if the file is damaged.

    Raises
    ------
    EditedError
        If it is readable, and its rows or their record are not as they were written.
    """
    file = ParquetFile.read_if_whole(data)
    if file is None:
        return None
    if not isinstance(file.metadata, str):
        raise EditedError("it has no record, as if another program had written it")
    record = unsealed(file.metadata.encode(), (*PART_FIELDS, "rows"))
    if record is None:
        raise EditedError("its record was edited")
    if record["rows"] != file.digest:
        raise EditedError("its rows were edited")
    # Else something else is damaged, as statistics of the rows may be, by which readers skip some.
    return record if file.is_sealed else None


def read_record(location: Location, job: str | None = None) -> dict[str, str]:
    """Digest of each file of rows, as the record of a table says; none if it is not as written.

    Parameters
    ----------
    location
        The table.
    job
        Digest of the job, if the record of any other does not count.
    """
    file = ParquetFile.read_if_whole(location.read(RECORD) or b"")
    if file is None or not file.is_sealed or not isinstance(file.metadata, dict):
        return {}
    recorded: dict[str, str] = file.metadata.get("parts", {})
    return recorded if job in (None, file.metadata.get("job")) else {}
