"""The journal of a pass over an image: what is measured, recorded every few seconds."""

import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refspace.errors import LockedError
from refspace.files import atomic_write, exclusive_lock, make_folder, refuse_link
from refspace.store.object_records import ObjectRecord

_JOB = "job"


@dataclass(frozen=True)
class Measured:
    """What is measured of a block.

    Parameters
    ----------
    record
        Record of its object.
    rows
        Its rows of the label index.
    """

    record: ObjectRecord
    rows: NDArray[np.int64]


class Journal:
    """Records of blocks in a folder, each a file that is there as a whole or not at all.

    Parameters
    ----------
    folder
        The folder, which only the journal uses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def opened(cls, path: str) -> Iterator["Journal"]:
        """Journal in a folder, while no other process uses it.

        Raises
        ------
        LockedError
            If another process does.
        WriteError, StoreError
            If the folder cannot be made, or is a symbolic link.
        """
        folder = _folder(path)
        refuse_link(folder)
        make_folder(folder.parent)
        lock = folder.with_name(f"{folder.name}.lock")
        with exclusive_lock(lock, lambda: LockedError(f"another process makes the index {path}")):
            yield cls(make_folder(folder))

    @classmethod
    def forget(cls, path: str) -> None:
        """Remove what a run left that was stopped when all was done, unless it is in use."""
        if _folder(path).is_dir():
            with suppress(LockedError), cls.opened(path) as journal:
                journal.remove()

    def begin(self, job: str) -> None:
        """Forget what is recorded, and begin a job."""
        for path in self.folder.iterdir():
            path.unlink()
        self._write(_JOB, job.encode())

    def restored(self, job: str, levels: int) -> list[dict[int, Measured]]:
        """What is recorded of a job, by level and block; nothing of any other job, which is begun.

        Parameters
        ----------
        job
            Digest of all that the job reads.
        levels
            Number of levels.
        """
        done: list[dict[int, Measured]] = [{} for _ in range(levels)]
        with suppress(OSError):
            if (self.folder / _JOB).read_bytes() == job.encode():
                for path in sorted(self.folder.glob("*.npz")):
                    _take_over(path, done)
                return done
        self.begin(job)
        return done

    def record(self, level: int, blocks: Mapping[int, Measured]) -> None:
        """Record some blocks of a level."""
        measured = blocks.values()
        payload = io.BytesIO()
        np.savez(
            payload,
            level=np.int64(level),
            flat=np.array([*blocks], np.int64),
            records=np.array([list(each.record.to_bytes()) for each in measured], np.uint8),
            rows=np.concatenate([each.rows for each in measured], axis=1),
            row_ends=np.cumsum([each.rows.shape[1] for each in measured]),
        )
        data = payload.getvalue()
        # By its name it proves itself: a file that was cut is passed over.
        self._write(f"{hashlib.sha256(data).hexdigest()}.npz", data)

    def _write(self, name: str, data: bytes) -> None:
        with atomic_write(self.folder / name, through_links=False) as temporary:
            temporary.write_bytes(data)

    def remove(self) -> None:
        """Remove what is recorded: it is of no more use."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _folder(path: str) -> Path:
    return Path(path).with_name(f".{Path(path).name}")


def _take_over(path: Path, done: list[dict[int, Measured]]) -> None:
    """Take over what a file records; one that is damaged is passed over."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != path.stem:
        return
    with np.load(io.BytesIO(data), allow_pickle=False) as record:
        parts = np.split(record["rows"], record["row_ends"][:-1], axis=1)
        blocks = zip(record["flat"].tolist(), record["records"], parts, strict=True)
        level = done[int(record["level"])]
        for flat_id, row, rows in blocks:
            level[flat_id] = Measured(ObjectRecord.from_bytes(row), rows)
