"""Tables to which the rows of one part of a job after the other are appended.

A table ``X.parquet`` is a folder, as pandas, pyarrow, polars and dask read it, with a file for the
rows of each part, which appears whole. What each file is says its own metadata.

A table ``X.csv`` is one file, beside which a journal ``.X.csv.journal`` says where the rows of each
part end: what a killed run has left behind the last of these ends is cut off.
"""

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from refspace.errors import FormatError, LockedError, StoreError
from refspace.files import exclusive_lock
from refspace.formats.tables import parquet_bytes, parquet_metadata, table_ending, text_rows
from refspace.pools import ThreadPool
from refspace.store import Location
from refspace.store.masks import write_whole

_PART = re.compile(r"part-[0-9a-f]{16}\.parquet")
# Parts of a table on another machine that are read at the same time.
_READ_TOGETHER = 16
_OTHER_JOB = "has rows of another job: of another atlas, or other structures, statistics or options"
_OVERWRITE = "give another name, or replace it with --overwrite (Python: overwrite=True)"


class RowSets(ABC):
    """A table in the making.

    Parameters
    ----------
    place
        Where it is.
    job
        Digest of what all rows of it have in common.
    """

    def __init__(self, place: Location, job: str) -> None:
        self.place, self.job = place, job
        # Identity of each part whose rows are there, by the name of the part.
        self.done: dict[str, str] = {}

    @abstractmethod
    def begin(self, *, overwrite: bool) -> None:
        """Find out which rows are there, and mend what a killed run has left.

        Rows of the same job stay in any case: who runs the same again goes on.
        """

    @abstractmethod
    def drop(self, parts: Collection[str]) -> None:
        """Remove the rows of some parts; of text, those of all others too."""

    @abstractmethod
    def append(self, part: str, identity: str, rows: pd.DataFrame) -> None:
        """Add the rows of a part for good."""

    def refuse(self, why: str) -> None:
        """Refuse a table that is something else."""
        raise StoreError(f"{self.place.url} {why}; {_OVERWRITE}")


@contextmanager
def open_row_sets(
    url: str, job: str, *, overwrite: bool = False, storage_options: Any = None
) -> Iterator[RowSets]:
    """Open a table to which rows are appended; one writer at a time, where there are locks.

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
    place = Location(url, storage_options or {})
    kind = _Parquet if table_ending(url.rstrip("/")) == ".parquet" else _Text
    path = place.local_path
    if path is None:
        if kind is _Text:
            raise FormatError(f"{url} is no file of this machine; there, give a name in .parquet")
        table: RowSets = kind(place, job)
        table.begin(overwrite=overwrite)
        yield table
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} does not exist; make it, then try again")
    told = f"another process writes {url}; wait until that has ended, or end it"
    with exclusive_lock(path.with_name(f".{path.name}.lock"), lambda: LockedError(told)):
        table = kind(place, job)
        table.begin(overwrite=overwrite)
        yield table


# ----- Parquet


class _Parquet(RowSets):
    """A folder with a file for each part."""

    def begin(self, *, overwrite: bool) -> None:
        """Read what each file says of itself; files that are damaged are as good as missing."""
        path = self.place.local_path
        if path is not None and path.exists() and not path.is_dir():
            if not overwrite:
                self.refuse("is a file, and the table is to be a folder of files")
            path.unlink()
        keys = self.place.keys() if path is None or path.exists() else set()
        strange = sorted(key for key in keys if not _PART.fullmatch(key) and key[:1] != ".")
        if strange:
            raise StoreError(
                f"{self.place.url} has {strange[0]}, which is none of its files and is left alone; "
                "give another name"
            )
        for unfinished in path.glob(".part-*.partial.parquet") if path is not None else ():
            unfinished.unlink()
        pool, found = ThreadPool(_READ_TOGETHER), sorted(filter(_PART.fullmatch, keys))
        for key, facts in pool.results(self._facts, found, name="part", token=str):
            if facts and facts["job"] == self.job and _part_key(facts["part"]) == key:
                self.done[facts["part"]] = facts["identity"]
            elif overwrite:
                self._remove(key)
            elif facts and facts["job"] != self.job:
                self.refuse(_OTHER_JOB)
            elif facts:
                self.refuse(f"has {key}, whose name is that of no image of it")

    def _facts(self, key: str) -> dict[str, Any] | None:
        return parquet_metadata(self.place.read(key) or b"")

    def drop(self, parts: Collection[str]) -> None:
        """Remove the files of some parts."""
        for part in parts:
            self._remove(_part_key(part))
            del self.done[part]

    def _remove(self, key: str) -> None:
        if (path := self.place.local_path) is not None:
            Path(path, key).unlink(missing_ok=True)
        else:
            self.place.remove_all(key)

    def append(self, part: str, identity: str, rows: pd.DataFrame) -> None:
        """Write the file of a part."""
        facts = {"job": self.job, "part": part, "identity": identity}
        write_whole(self.place, _part_key(part), parquet_bytes(rows, facts))
        self.done[part] = identity


def _part_key(part: str) -> str:
    return f"part-{hashlib.sha256(part.encode()).hexdigest()[:16]}.parquet"


# ----- text


class _Text(RowSets):
    """A file, and a journal of where the rows of each part end."""

    def begin(self, *, overwrite: bool) -> None:
        """Hold the file against its journal, and cut off what that does not know of."""
        self._path = self.place.local_path or Path(self.place.url)
        self._journal = self._path.with_name(f".{self._path.name}.journal")
        try:
            self._take_up()
        except StoreError:
            if not overwrite:
                raise
            self._restart()

    def _restart(self) -> None:
        self._path.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)
        self._take_up()

    def drop(self, parts: Collection[str]) -> None:
        """Begin anew: rows in the middle of a file cannot be removed safely."""
        if parts:
            self._restart()

    def _take_up(self) -> None:
        self.done, self._end, self._head = {}, 0, ""
        # A journal without its table protects nothing: that was deleted, or never begun.
        entries = _entries(self._journal) if self._path.exists() else []
        if self._path.exists() and not entries:
            self.refuse("is there, and has no journal that tells what its rows are")
        if not entries:
            _append(self._journal, json.dumps({"job": self.job}) + "\n", 0)
        elif entries[0].get("job") != self.job:
            self.refuse(_OTHER_JOB)
        self._recall(entries[1:])
        if self._path.exists():
            os.truncate(self._path, self._end)

    def _recall(self, entries: list[dict[str, Any]]) -> None:
        data = self._path.read_bytes() if self._path.exists() else b""
        for entry in entries:
            rows = data[self._end : entry["end"]]
            if hashlib.sha256(rows).hexdigest() != entry["sha256"]:
                self.refuse("is not what its journal says: it was changed or is damaged")
            self.done[entry["part"]], self._end = entry["identity"], entry["end"]
        self._head = data[: self._end].decode().partition("\n")[0]

    def append(self, part: str, identity: str, rows: pd.DataFrame) -> None:
        """Add the rows of a part at the end, then note that they are there."""
        if part in self.done:
            self.refuse(f"has rows of {part} as it was before it changed")
        text = text_rows(self._path, rows, header=not self._end)
        head = text_rows(self._path, rows[:0], header=True).rstrip("\n")
        if self._end and head != self._head:
            raise FormatError(f"its columns are {head}, those of the table {self._head}")
        data = text.encode()
        _append(self._path, text, self._end)
        self._end, self._head = self._end + len(data), head
        entry = {"part": part, "identity": identity, "end": self._end}
        entry["sha256"] = hashlib.sha256(data).hexdigest()
        _append(self._journal, json.dumps(entry) + "\n", self._journal.stat().st_size)
        self.done[part] = identity


def _entries(journal: Path) -> list[dict[str, Any]]:
    """Lines of a journal; a last one that was cut off by a kill is removed."""
    if not journal.exists():
        return []
    lines = journal.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    os.truncate(journal, sum(map(len, whole)))
    try:
        return [dict(json.loads(line)) for line in whole]
    except (ValueError, TypeError) as error:
        raise StoreError(f"{journal} is damaged: {error}; {_OVERWRITE}") from error


def _append(path: Path, text: str, end: int) -> None:
    """Write behind the first bytes of a file, and wait until that is on the disk."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(end)
        file.write(text.encode())
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
