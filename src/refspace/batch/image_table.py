"""The table that `aggregate_images` writes: a file of rows for each image, and one table of them.

The rows of an image are written when it is done, to a file that appears whole and names its image.
A job that was killed goes on from these files.

A table ``X.parquet`` is the folder of these files, which pandas, pyarrow, polars and dask read as
one table.

A table ``X.csv`` is written from these files when the job ends; until then they are in a folder
``.X.csv.parts`` beside it. What stays there is a record of the images in the table, named by the
digest of the table: a table without its record was edited, or is another program's.
"""

import glob
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from refspace.errors import FormatError, LockedError, StoreError
from refspace.files import atomic_write, exclusive_lock
from refspace.formats.tables import parquet_bytes, parquet_metadata, table_ending, text_rows
from refspace.pools import ThreadPool
from refspace.store import Location
from refspace.store.masks import write_whole
from refspace.store.staging import exclusive

_OWN_FILE = re.compile(r"part-[0-9a-f]{16}\.(parquet|csv|tsv)|table-[0-9a-f]{16}\.json")
# What a kill leaves of `atomic_write`.
_UNFINISHED = re.compile(r"\.(part|table)-[0-9a-f]{16}\.[0-9a-f]{8}\.partial\.[a-z]+")
# Names the writer of a table at a URL; what reads Parquet passes over names with a dot in front.
_LOCK = ".writer.json"
# Files that are read at the same time: on another machine, reading is mostly waiting.
_READ_TOGETHER = 16
_OTHER_JOB = "has rows of another job: of another atlas, or other structures, statistics or options"
_OVERWRITE = "give another name, or replace it with --overwrite (Python: overwrite=True)"


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
    """

    def __init__(self, location: Location, folder: Location, job: str) -> None:
        self.location, self.folder, self.job = location, folder, job
        # Identity of each image whose rows are there, by the name of the image.
        self.done: dict[str, str] = {}

    def begin(self, *, overwrite: bool) -> None:
        """Read which images are done; of damaged files, and those cut off by a kill, none is.

        Rows of the same job stay even when overwriting: a second run goes on with them.
        """
        path = self.folder.local_path
        keys = self.folder.keys() if path is None or path.exists() else set()
        strange = sorted(key for key in keys if not _OWN_FILE.fullmatch(key) and key[:1] != ".")
        if strange:
            raise StoreError(
                f"{self.folder.url} has {strange[0]}, which is none of its files and is left "
                "alone; give another name"
            )
        for key in filter(_UNFINISHED.fullmatch, keys):
            self._remove(key)
        parts = sorted(key for key in keys if key.startswith("part-"))
        for key, metadata in ThreadPool(_READ_TOGETHER).results(
            self._read_metadata, parts, name="part", token=str
        ):
            if metadata and metadata["job"] == self.job and self._key(metadata["image"]) == key:
                self.done[metadata["image"]] = metadata["identity"]
            elif overwrite:
                self._remove(key)
            elif metadata and metadata["job"] != self.job:
                self.refuse(_OTHER_JOB)
            elif metadata:
                self.refuse(f"has {key}, whose name is that of no image of it")

    def remove(self, images: Collection[str]) -> None:
        """Remove the rows of some images; of text, those of all others of the table too."""
        for image in images:
            self._remove(self._key(image))
            self.done.pop(image, None)

    def add(self, image: str, identity: str, rows: pd.DataFrame) -> None:
        """Write the rows of an image for good."""
        metadata = {"job": self.job, "image": image, "identity": identity}
        write_whole(self.folder, self._key(image), self._encode(rows, metadata))
        self.done[image] = identity

    @abstractmethod
    def complete(self, images: Sequence[str]) -> None:
        """Make the table of the rows of all images that are done, in the order of some images."""

    def refuse(self, why: str) -> None:
        """Refuse a table that is something else."""
        raise StoreError(f"{self.location.url} {why}; {_OVERWRITE}")

    def _key(self, image: str) -> str:
        digest = hashlib.sha256(image.encode()).hexdigest()
        return f"part-{digest[:16]}{table_ending(self.location.url)}"

    def _remove(self, key: str) -> None:
        if (path := self.folder.local_path) is not None:
            Path(path, key).unlink(missing_ok=True)
        else:
            self.folder.remove_all(key)

    @abstractmethod
    def _encode(self, rows: pd.DataFrame, metadata: Mapping[str, Any]) -> bytes:
        """Make the file of some rows, with their metadata and checksum."""

    @abstractmethod
    def _read_metadata(self, key: str) -> dict[str, Any] | None:
        """Read the metadata of a file; None if it is damaged."""


@contextmanager
def open_image_table(
    url: str, job: str, *, overwrite: bool = False, storage_options: Mapping[str, Any] | None = None
) -> Iterator[ImageTable]:
    """Open a table to add rows to; one writer at a time.

    Parameters
    ----------
    url
        Path ending in ``.csv`` or ``.tsv``, or path or URL ending in ``.parquet``.
    job
        Digest of what all rows have in common: a table of another job is refused.
    overwrite
        Whether a table of another job, or of unknown origin, is replaced.
    storage_options
        What fsspec needs to reach it.

    Raises
    ------
    StoreError
        If there is something else; if another process writes the table.
    FormatError, MissingDependencyError
        If the name has another ending, or Parquet is not installed.
    """
    location = Location(url, storage_options or {})
    kind = _ParquetTable if table_ending(location.url) == ".parquet" else _TextTable
    lock: AbstractContextManager[object]
    if (path := location.local_path) is not None:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"folder {path.parent} does not exist; make it, then try again")
        message = f"another process writes {url}; wait until that has ended, or end it"
        lock = exclusive_lock(path.with_name(f".{path.name}.lock"), lambda: LockedError(message))
    elif kind is _TextTable:
        raise FormatError(f"{url} is no file of this machine; there, give a name in .parquet")
    else:
        lock = exclusive(location, _LOCK)
    with lock:
        table: ImageTable = kind(location, job)
        table.begin(overwrite=overwrite)
        yield table


# ----- Parquet


class _ParquetTable(ImageTable):
    """A folder of files."""

    def __init__(self, location: Location, job: str) -> None:
        super().__init__(location, location, job)

    def begin(self, *, overwrite: bool) -> None:
        """Read which images are done."""
        path = self.location.local_path
        if path is not None and path.is_file():
            if not overwrite:
                self.refuse("is a file, and the table is to be a folder of files")
            path.unlink()
        super().begin(overwrite=overwrite)

    def complete(self, images: Sequence[str]) -> None:
        """Leave the table, which is complete with each of its files."""

    def _encode(self, rows: pd.DataFrame, metadata: Mapping[str, Any]) -> bytes:
        return parquet_bytes(rows, metadata)

    def _read_metadata(self, key: str) -> dict[str, Any] | None:
        return parquet_metadata(self.folder.read(key) or b"")


# ----- text


class _TextTable(ImageTable):
    """One file, and beside it a folder of files of rows, and of a record of what the table has."""

    def __init__(self, location: Location, job: str) -> None:
        self._path = location.local_path or Path(location.url)
        self._digest = _file_digest(self._path)
        parts = self._path.with_name(f".{self._path.name}.parts")
        super().__init__(location, Location(str(parts)), job)
        # Identity of each image whose rows are in the table, and not in files.
        self._recorded: dict[str, str] = {}

    def begin(self, *, overwrite: bool) -> None:
        """Read which images are done, in files and in the table."""
        super().begin(overwrite=overwrite)
        target = self._path.resolve()
        unfinished = f".{glob.escape(target.stem)}.{8 * '[0-9a-f]'}.partial{target.suffix}"
        for path in target.parent.glob(unfinished):
            path.unlink()
        record = _parse(self.folder.read(_record_key(self._digest)) or b"")
        if record is not None and record["job"] == self.job:
            recorded: dict[str, str] = record["images"]
            # Newer rows of an image are those of a run that overwrites, and was killed.
            if not overwrite or self.done.items() <= (self.done | recorded).items():
                self._recorded = recorded
                self.done |= recorded
        elif self._digest is not None and not overwrite:
            unknown = "is there, and is no table that was written here, or was changed since"
            self.refuse(unknown if record is None else _OTHER_JOB)

    def remove(self, images: Collection[str]) -> None:
        """Remove the rows of some images; of those in the table, all: they are one file."""
        if not self._recorded.keys().isdisjoint(images):
            images, self._recorded = {*images, *self._recorded}, {}
        super().remove(images)

    def add(self, image: str, identity: str, rows: pd.DataFrame) -> None:
        """Write the rows of an image for good, if they fit those of the others."""
        if image in self._recorded:
            self.refuse(f"has rows of {image} as it was before it changed")
        columns = text_rows(self._path, rows[:0], header=True).encode()
        if self.done and columns != (there := self._header()):
            raise FormatError(
                f"its columns are {columns.decode().strip()}, those of the table "
                f"{there.decode().strip()}"
            )
        super().add(image, identity, rows)

    def complete(self, images: Sequence[str]) -> None:
        """Write the table from the rows of all images; then remove their files."""
        pending = self.done.keys() - self._recorded.keys()
        if pending:
            self._write([i for i in dict.fromkeys((*images, *self.done)) if i in pending])
        # The record is there: after a kill, the next run removes the rest.
        for path in Path(self.folder.url).glob("*-*"):
            if _OWN_FILE.fullmatch(path.name) and path.name != _record_key(self._digest):
                path.unlink()

    def _write(self, images: Sequence[str]) -> None:
        """Write the table that is there, if it is ours, and the rows of some images."""
        with atomic_write(self._path) as temporary:
            with temporary.open("wb") as file:
                file.write(self._path.read_bytes() if self._recorded else self._header())
                for image in images:
                    file.write(self._read_rows(image)[1])
            if _file_digest(self._path) != self._digest:
                self.refuse("was written by another program meanwhile")
            # Before the table: without its record, nothing would know the table as ours.
            self._digest = _file_digest(temporary)
            done = self._recorded | {image: self.done[image] for image in images}
            record = json.dumps({"job": self.job, "images": done})
            write_whole(self.folder, _record_key(self._digest), record.encode())

    def _header(self) -> bytes:
        """First line of the table, or of the rows of any image."""
        if not self._recorded:
            return self._read_rows(next(iter(self.done)))[0]
        with self._path.open("rb") as file:
            return file.readline()

    def _read_rows(self, image: str) -> tuple[bytes, bytes]:
        """Header and rows of an image, from its file."""
        _, header, rows = (self.folder.read(self._key(image)) or b"").split(b"\n", 2)
        return header + b"\n", rows

    # A file of rows is a line of JSON, then the rows as a table.

    def _encode(self, rows: pd.DataFrame, metadata: Mapping[str, Any]) -> bytes:
        text = text_rows(self._path, rows, header=True).encode()
        proof = {"sha256": hashlib.sha256(text).hexdigest()}
        return json.dumps({**metadata, **proof}).encode() + b"\n" + text

    def _read_metadata(self, key: str) -> dict[str, Any] | None:
        line, _, text = (self.folder.read(key) or b"").partition(b"\n")
        metadata = _parse(line)
        is_whole = metadata and metadata["sha256"] == hashlib.sha256(text).hexdigest()
        return metadata if is_whole else None


def _parse(data: bytes) -> dict[str, Any] | None:
    """JSON object, None if it is damaged."""
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError):
        return None


def _record_key(digest: str | None) -> str:
    return f"table-{(digest or '')[:16]}.json"


def _file_digest(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
