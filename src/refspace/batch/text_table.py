"""A table of images in CSV or TSV: one file, which is written when the job ends.

Until then the rows of images are in a folder ``.X.csv.parts`` beside it. What stays there is the
record of the table, named by the digest of the table: a line for each image, sealed on its own,
with the bytes that its rows take in the table, and with the number of lines. A table without its
record was edited, or is another program's.
"""

import csv
import glob
import hashlib
import io
import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from refspace.batch.image_table import PART_FIELDS, ImageTable
from refspace.batch.sealing import sealed, unsealed
from refspace.errors import FormatError
from refspace.files import atomic_write
from refspace.formats.tables import separator, text_rows, with_formula
from refspace.store import Location
from refspace.store.masks import write_whole

_RECORD = re.compile(r"table-[0-9a-f]{16}\.jsonl")
_LINE_FIELDS = (*PART_FIELDS, "table", "sha256")
_LINE_NUMBERS = ("start", "stop", "lines")


@dataclass(frozen=True)
class Rows:
    """Where the rows of an image are in a table.

    Parameters
    ----------
    identity
        Identity of the image; empty if it is lost.
    start, stop
        Bytes of the table that they take.
    """

    identity: str
    start: int
    stop: int


@dataclass(frozen=True)
class TableRecord:
    """What a table holds, as its record says.

    Parameters
    ----------
    job
        Digest of the job that wrote it.
    digest
        SHA-256 of the table.
    rows
        Rows of each image, in the order of the table.
    sha256
        Digest of the rows of each image.
    damaged
        Number of lines of the record that were lost, cut or edited; 1 where something else is
        not as it was written.
    """

    job: str
    digest: str
    rows: Mapping[str, Rows]
    sha256: Mapping[str, str]
    damaged: int = 0

    @classmethod
    def from_bytes(cls, data: bytes, digest: str | None = None) -> "TableRecord | None":
        """Record from its file; None if no line of it is whole, or it is of another table."""
        lines = [_line(line) for line in data.split(b"\n")]
        whole = [line for line in lines if line and digest in (None, line["table"])]
        if not whole:
            return None
        rows = {n["image"]: Rows(n["identity"], n["start"], n["stop"]) for n in whole}
        digests = {line["image"]: line["sha256"] for line in whole}
        first = whole[0]
        record = cls(first["job"], first["table"], rows, digests)
        if record.to_bytes() == data:
            return record
        return replace(record, damaged=max(1, first["lines"] - len(rows)))

    def to_bytes(self) -> bytes:
        """The file of the record."""
        common = {"job": self.job, "table": self.digest, "lines": len(self.rows)}
        lines = [
            {"image": image, **asdict(rows), "sha256": self.sha256[image], **common}
            for image, rows in sorted(self.rows.items(), key=lambda item: item[1].start)
        ]
        return b"".join(sealed(line) + b"\n" for line in lines)

    def with_lost(self, path: Path) -> "TableRecord":
        """Record with the rows whose lines were lost, as the table itself, which is proven, says.

        Whether they are of their images as these are now, nothing tells.
        """
        if not self.damaged:
            return self
        known = {rows.start: rows.stop for rows in self.rows.values()}
        found = {image: rows for image, rows in find_rows(path).items() if rows.start not in known}
        return TableRecord(self.job, self.digest, {**self.rows, **found}, self.sha256)


def _line(line: bytes) -> dict[str, Any] | None:
    """A line of a record; None if it was cut or edited, or lacks anything."""
    record = unsealed(line, _LINE_FIELDS)
    has_numbers = record and all(type(record.get(name)) is int for name in _LINE_NUMBERS)
    return record if has_numbers else None


def find_rows(path: Path) -> dict[str, Rows]:
    """Rows of each image in a table, as far as they follow each other, with no identity.

    Images are named as they are without an apostrophe in front, by which formulas are escaped.
    """
    found: dict[str, Rows] = {}
    with path.open("rb") as file:
        file.readline()
        start = end = file.tell()
        name: str | None = None
        while line := file.readline():
            # A name may hold a line break, within quotes.
            while line.count(b'"') % 2 and (more := file.readline()):
                line += more
            first = with_formula(_first_cell(line, separator(path)))
            if name is not None and first != name:
                found[name] = Rows("", start, end)
                start = end
            name, end = first, file.tell()
        if name is not None:
            found[name] = Rows("", start, end)
    return found


def _first_cell(line: bytes, between: str) -> str:
    """First cell of a row; empty where the row is none."""
    text = line.decode(errors="replace").replace("\0", "")
    with suppress(csv.Error):
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=between):
            return cells[0] if cells else ""
    return ""


class TextTable(ImageTable):
    """One file, and beside it a folder of files of rows, and of a record of what the table has.

    Parameters
    ----------
    location
        Path of the table.
    job, doubt
        As for `ImageTable`.
    """

    def __init__(self, location: Location, job: str, doubt: str | None = None) -> None:
        self._path = location.local_path or Path(location.url)
        self._digest = file_digest(self._path)
        super().__init__(location, Location(str(parts_folder(self._path))), job, doubt)
        # Images whose rows are in the table, and those whose rows were made in this run.
        self._recorded: dict[str, Rows] = {}
        self._added: set[str] = set()
        # Where rows of an image are, or were: those that are made again get the same place.
        self._places: dict[str, int] = {}

    def begin(self, *, overwrite: bool) -> None:
        """Read which images are done, in files and in the table."""
        for key in self._take_parts(overwrite):
            self._remove(key)  # in our own folder, and so of no one else
        self._remove_unfinished()
        if self._digest is None:
            return
        data = self.folder.read(record_key(self._digest)) or b""
        record = TableRecord.from_bytes(data, self._digest)
        if record is None:
            self.refuse("is there, and is no table that was written here, or was changed since")
        if record.job == self.job:
            self._recorded = dict(record.with_lost(self._path).rows)
            self._places = {image: rows.start for image, rows in self._recorded.items()}
            known = {image: rows.identity for image, rows in self._recorded.items()}
            # Newer rows of an image are those of a run that was stopped before its end.
            self.done = {image: own for image, own in known.items() if own} | self.done
        elif not overwrite:
            self.refuse_other_job()

    def _remove_unfinished(self) -> None:
        """Remove what a kill has left of tables that were being written."""
        target = self._path.resolve()
        unfinished = f".{glob.escape(target.stem)}.{8 * '[0-9a-f]'}.partial{target.suffix}"
        for path in target.parent.glob(unfinished):
            path.unlink()

    def add(self, image: str, identity: str, rows: pd.DataFrame) -> None:
        """Write the rows of an image for good, if they fit those of the others."""
        columns = text_rows(self._path, rows[:0], header=True).encode()
        if self.done and columns != (there := self._header()):
            raise FormatError(
                f"its columns are {columns.decode().strip()}, those of the table "
                f"{there.decode().strip()}"
            )
        super().add(image, identity, rows)
        self._added.add(image)

    def remove(self, images: Collection[str]) -> None:
        """Remove the rows of some images: those in the table when that is written again."""
        for image in images:
            self._remove(self._key(image))
            self._recorded.pop(image, None)
            self.done.pop(image, None)

    def complete(self, images: Sequence[str]) -> None:
        """Write the table from the rows of all images; then remove their files."""
        pending = [
            image
            for image in dict.fromkeys((*images, *self.done))
            if image in self.done and self._is_pending(image)
        ]
        if pending or self._is_outdated():
            self._write(pending)
        # The record is there: after a kill, the next run removes the rest.
        for key in self._keys():
            if self._is_own(key) and key != record_key(self._digest):
                self._remove(key)

    def _is_pending(self, image: str) -> bool:
        """Whether the rows of an image are in a file, and not in the table yet."""
        rows = self._recorded.get(image)
        is_new = image in self._added or rows is None or rows.identity != self.done[image]
        return is_new and Path(self.folder.url, self._key(image)).exists()

    def _is_outdated(self) -> bool:
        """Whether the table that is there has rows that were removed, or a damaged record."""
        if self._digest is None or not self._recorded:
            return False
        record = TableRecord.from_bytes(
            self.folder.read(record_key(self._digest)) or b"", self._digest
        )
        return record is not None and (record.damaged > 0 or dict(record.rows) != self._recorded)

    def _write(self, images: Sequence[str]) -> None:
        """Write the table from the rows that are there, if it is ours, and those of some images."""
        ordered = [image for image in self._recorded if image not in images] + [*images]
        # New ones come last, in the order of the job.
        ordered.sort(key=lambda image: self._places.get(image, math.inf))
        written: dict[str, Rows] = {}
        digests: dict[str, str] = {}
        with atomic_write(self._path) as temporary:
            with temporary.open("wb") as file:
                file.write(self._header())
                for image in ordered:
                    identity, text = self._rows_of(image, is_new=image in images)
                    written[image], digests[image] = _append(file, identity, text)
            if file_digest(self._path) != self._digest:
                self.refuse("was written by another program meanwhile")
            # Before the table: without its record, nothing would know the table as ours.
            self._digest = file_digest(temporary) or ""
            record = TableRecord(self.job, self._digest, written, digests)
            write_whole(self.folder, record_key(self._digest), record.to_bytes())
        self._recorded = written

    def _header(self) -> bytes:
        """First line of the table, or of the rows of any image."""
        if not self._recorded:
            return self._read_rows(next(iter(self.done)))[0]
        with self._path.open("rb") as file:
            return file.readline()

    def _rows_of(self, image: str, *, is_new: bool) -> tuple[str, bytes]:
        """Identity and rows of an image: new ones are in their file, others in the table."""
        if is_new:
            return self.done[image], self._read_rows(image)[1]
        rows = self._recorded[image]
        with self._path.open("rb") as file:
            file.seek(rows.start)
            return rows.identity, file.read(rows.stop - rows.start)

    def _read_rows(self, image: str) -> tuple[bytes, bytes]:
        """Header and rows of an image, from its file."""
        _, header, rows = (self.folder.read(self._key(image)) or b"").split(b"\n", 2)
        return header + b"\n", rows

    def _is_own(self, key: str) -> bool:
        return super()._is_own(key) or bool(_RECORD.fullmatch(key))

    # A file of rows is a line of JSON, then the rows as a table.

    def _encode(self, rows: pd.DataFrame, record: Mapping[str, Any]) -> bytes:
        text = text_rows(self._path, rows, header=True).encode()
        proof = {"sha256": hashlib.sha256(text).hexdigest()}
        return sealed({**record, **proof}) + b"\n" + text

    def _decode(self, data: bytes) -> dict[str, Any] | None:
        return part_record(data)


def part_record(data: bytes) -> dict[str, Any] | None:
    """Record of a file of rows, once it is proven; None if the file is not as it was written."""
    line, _, text = data.partition(b"\n")
    record = unsealed(line, (*PART_FIELDS, "sha256"))
    is_whole = record and record["sha256"] == hashlib.sha256(text).hexdigest()
    return record if is_whole else None


def _append(file: BinaryIO, identity: str, text: bytes) -> tuple[Rows, str]:
    start = file.tell()
    file.write(text)
    return Rows(identity, start, file.tell()), hashlib.sha256(text).hexdigest()


def parts_folder(path: Path) -> Path:
    """Folder beside a table of what belongs to it."""
    return path.with_name(f".{path.name}.parts")


def record_key(digest: str | None) -> str:
    """Name of the record of a table with a digest."""
    return f"table-{(digest or '')[:16]}.jsonl"


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file; None if there is none."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
