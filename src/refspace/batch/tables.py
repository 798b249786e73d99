"""Opens the tables of jobs, and proves those that are there."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refspace.batch.image_table import EditedError, ImageTable
from refspace.batch.parquet_table import RECORD, ParquetTable, read_record
from refspace.batch.parquet_table import part_record as parquet_record
from refspace.batch.text_table import (
    TableRecord,
    TextTable,
    file_digest,
    find_rows,
    parts_folder,
    record_key,
)
from refspace.errors import FormatError, LockedError, StoreError
from refspace.files import exclusive_lock
from refspace.formats.tables import ENDINGS, table_ending, with_formula
from refspace.store import Fault, Location, Progress
from refspace.store.report import Report
from refspace.store.staging import exclusive
from refspace.store.verify import verify_store

if TYPE_CHECKING:
    from refspace.pools.choosing import Client

# Names the writer of a table at a URL; what reads Parquet passes over names with a dot in front.
_WRITER = ".writer.json"


@contextmanager
def open_image_table(
    url: str,
    job: str,
    *,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    doubt: str | None = None,
) -> Iterator[ImageTable]:
    """Open a table to add rows to; one writer at a time.

    Parameters
    ----------
    url
        Path ending in ``.csv`` or ``.tsv``, or path or URL ending in ``.parquet``.
    job
        Digest of what all rows have in common: a table of another job is refused.
    overwrite
        Whether a table of another job is replaced, which was written here and not edited since.
        Nothing else is ever replaced: no file of others in the folder of a Parquet table, no table
        with rows that were changed or added.
    storage_options
        What fsspec needs to reach it.
    doubt
        Why rows of the same job may be of other voxels.

    Raises
    ------
    StoreError
        If there is something else; if another process writes the table.
    FormatError, MissingDependencyError
        If the name has another ending, or Parquet is not installed.
    """
    location = Location(url, storage_options or {})
    kind = ParquetTable if table_ending(location.url) == ".parquet" else TextTable
    lock: AbstractContextManager[object]
    if (path := location.local_path) is not None:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"folder {path.parent} does not exist; make it, then try again")
        message = f"another process writes {url}; wait until that has ended, or end it"
        lock = exclusive_lock(path.with_name(f".{path.name}.lock"), lambda: LockedError(message))
    elif kind is TextTable:
        raise FormatError(f"{url} is no file of this machine; there, give a name in .parquet")
    else:
        lock = exclusive(location, _WRITER)
    with lock:
        table: ImageTable = kind(location, job, doubt)
        table.begin(overwrite=overwrite)
        yield table


# ----- proof


def is_table(url: str) -> bool:
    """Whether a path or URL is that of a table, by its name.

    Examples
    --------
    >>> is_table("s3://bucket/means.parquet/"), is_table("atlas.zarr")
    (True, False)
    """
    return url.rstrip("/").lower().endswith(ENDINGS)


def verify(
    url: str | os.PathLike[str],
    *,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> Report:
    """Read every file of a store or of a table, and list all that is not as it was written.

    Parameters
    ----------
    url
        Path or URL of a store of an atlas, or of masks, as for `verify_store`; or of a table of
        `aggregate_images`, whose name ends in ``.parquet``, ``.csv`` or ``.tsv``. Of a table, the
        rows of each image are compared with their digests; what was edited, is missing, or was not
        written here is named.
    resolution, orientation, threads, client
        As for `verify_store`, of stores.
    storage_options
        What fsspec needs to reach it.
    progress
        Called with the numbers of blocks or of images done and to be done.

    Returns
    -------
    Report
        Its ``faults`` are empty if all is well.

    Raises
    ------
    StoreError
        If there is no such store or table, or it cannot be reached.
    GridError
        If the resolution or orientation of a store must be given.

    Examples
    --------
    >>> import refspace, tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> space = refspace.phantom(resolution=400)
    >>> space.to_zarr(folder / "atlas.zarr")
    >>> refspace.write_nrrd(folder / "a.nrrd", space.make_structure_mask("TH"))
    >>> table = folder / "means.csv"
    >>> _ = refspace.aggregate_images(folder / "atlas.zarr", [folder / "a.nrrd"], table, ["TH"])
    >>> verify(table).faults, verify(folder / "atlas.zarr").faults
    ((), ())
    >>> _ = table.write_text(table.read_text().replace("1.0", "2.0"))
    >>> print(verify(table).faults[0])
    means.csv: is not as it was written, or was not written here
    """
    if is_table(os.fspath(url)):
        return verify_table(url, storage_options=storage_options, progress=progress)
    return verify_store(
        url,
        resolution=resolution,
        orientation=orientation,
        storage_options=storage_options,
        threads=threads,
        client=client,
        progress=progress,
    )


class TableReport(Report):
    """Result of `verify_table`: a report whose parts are the rows of an image each."""

    def __str__(self) -> str:
        if self.faults:
            return super().__str__()
        return f"{self.url}: the rows of each of {self.blocks} images are proven to be as written"


def verify_table(
    url: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TableReport:
    """Prove that a table of `aggregate_images` is as it was written, from every file of it.

    Parameters
    ----------
    url
        Path or URL of the table.
    storage_options
        What fsspec needs to reach it.
    progress
        Called with the numbers of parts that are proven and to be proven.

    Returns
    -------
    TableReport
        Its ``faults`` name what was edited, is missing, was not written here, or is left of a run
        that was stopped.

    Raises
    ------
    StoreError
        If there is no such table.
    FormatError, MissingDependencyError
        If the name has another ending than that of a table, or Parquet is not installed.
    """
    location = Location(os.fspath(url), storage_options or {})
    tell = progress or (lambda done, total: None)
    if table_ending(location.url) == ".parquet":
        return _verify_parquet(location, tell)
    path = location.local_path
    if path is None or not path.is_file():
        raise StoreError(f"there is no table at {location.url}; give the path of one")
    return _verify_text(path, location.url, tell)


def _verify_parquet(location: Location, tell: Progress) -> TableReport:
    path = location.local_path
    if path is not None and not path.is_dir():
        raise StoreError(f"there is no folder of a table at {location.url}; give the path of one")
    keys = sorted(location.keys())
    if not keys:
        raise StoreError(f"there is no table at {location.url}; give the path or URL of one")
    table = ParquetTable(location, "")
    recorded = read_record(location)
    parts = [key for key in keys if key in recorded or table.is_part(key)]
    faults = [] if recorded else [Fault(RECORD, "is missing or damaged; run the same job again")]
    for done, key in enumerate(parts, 1):
        if (what := _part_fault(location, key, recorded)) is not None:
            faults.append(Fault(key, what))
        tell(done, len(parts))
    wrong = {fault.key for fault in faults}
    if recorded and any(_is_of_other_job(location, key) for key in parts if key in wrong):
        faults.append(Fault(RECORD, "is of another job than files of the table"))
    faults += [Fault(key, "is missing") for key in recorded if key not in keys]
    known = {*parts, RECORD}
    strays = [key for key in keys if key not in known]
    faults += [Fault(key, "was not written here") for key in strays]
    return TableReport(location.url, len(parts), tuple(faults), proven=True)


def _part_fault(location: Location, key: str, recorded: Mapping[str, str]) -> str | None:
    """What is wrong with a file of rows; None if nothing is."""
    data = location.read(key) or b""
    if recorded.get(key) == hashlib.sha256(data).hexdigest():
        return None
    try:
        record = parquet_record(data)
    except EditedError as error:
        return f"is not as it was written: {error}"
    if record is None:
        return "is damaged"
    if not recorded:
        return None
    return "is not in the record of the table: a run was stopped; run the same job again"


def _is_of_other_job(location: Location, key: str) -> bool:
    """Whether a file of rows, which is as it was written, is of another job than the record."""
    with suppress(EditedError):
        record = parquet_record(location.read(key) or b"")
        return record is not None and not read_record(location, record["job"])
    return False


def _verify_text(path: Path, url: str, tell: Progress) -> TableReport:
    folder = parts_folder(path)
    keys = sorted(own.name for own in folder.glob("*")) if folder.is_dir() else []
    digest = file_digest(path)
    records = {key: _record_in(folder / key) for key in keys}
    own = record_key(digest)
    faults = []
    if (record := records.get(own)) is None or record.digest != digest:
        faults.append(Fault(path.name, "is not as it was written, or was not written here"))
        if folder.is_dir() and not any(records.values()):
            faults.append(Fault(folder.name, "has no record of the table"))
        # That of the table before it was changed says where.
        own = next((key for key in keys if records[key] is not None), "")
        record = records.get(own)
    elif record.damaged:
        faults.append(Fault(own, f"has {record.damaged} damaged lines; run the job again"))
    if record is not None:
        faults += _edited_rows(path, record)
    for key in keys:
        named = records[key]
        if named is not None and key != record_key(named.digest):
            faults.append(Fault(key, "is not as it was written: it is of another table"))
        elif key == own:
            continue
        elif key.startswith(("part-", ".")) or named is not None:
            faults.append(Fault(key, "is of a run that was stopped; run the same job again"))
        else:
            faults.append(Fault(key, "was not written here, or is damaged"))
    count = 0 if record is None else len(record.rows)
    tell(count, count)
    return TableReport(url, count, tuple(faults), proven=True)


def _record_in(path: Path) -> TableRecord | None:
    """Record in a file; None if it is none."""
    return TableRecord.from_bytes(path.read_bytes()) if path.is_file() else None


def _edited_rows(path: Path, record: TableRecord) -> list[Fault]:
    """Images whose rows are not as they were written, or are gone; and rows that were added."""
    content = path.read_bytes()
    there = find_rows(path)
    faults = []
    for image, digest in record.sha256.items():
        rows = there.pop(with_formula(image), None)
        text = content[rows.start : rows.stop] if rows else None
        if text is None:
            faults.append(Fault(image, "its rows are missing"))
        elif hashlib.sha256(text).hexdigest() != digest:
            faults.append(Fault(image, "its rows are not as they were written"))
    damaged = () if not record.damaged else tuple(there)
    return faults + [
        Fault(image, "its rows were not written here") for image in there if image not in damaged
    ]
