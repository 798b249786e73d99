"""Bytes that come of a file, held against what was announced, limits, and the room on the disk."""

import shutil
from pathlib import Path

from refspace.errors import RemoteError
from refspace.limits import check_limit

# Room on the disk is looked up again after so many bytes: another program may fill it too.
_STEP_BYTES = 32 * 2**20
# A disk that is filled to its last byte stops more than this job.
_SPARED_BYTES = 64 * 2**20


class Intake:
    """Bytes of a file that come to a folder.

    Parameters
    ----------
    name
        URL of the file, for errors.
    folder
        Folder that it comes to.
    announced
        Its bytes as its server announces them; None if it does not.
    there
        Bytes that came before.

    Raises
    ------
    RemoteError
        If what is announced is beyond the limit, or the disk has no room for it.

    Examples
    --------
    >>> intake = Intake("https://host/a.nrrd", Path.cwd(), announced=2)
    >>> intake.add(2)
    >>> try:
    ...     intake.add(1)
    ... except RemoteError as error:
    ...     print(error)
    https://host/a.nrrd: more comes than the 2 bytes that were announced; it is not kept
    """

    def __init__(self, name: str, folder: Path, announced: int | None, there: int = 0) -> None:
        self.name, self.folder, self.announced, self.taken = name, folder, announced, there
        self._looked = there
        expected = there if announced is None else announced
        self._check_limit(expected)
        self._check_room(expected - there)

    def add(self, count: int) -> None:
        """Count bytes that came, before they are written.

        Raises
        ------
        RemoteError
            If there are more than announced, than the limit, or than the disk has room for.
        """
        self.taken += count
        if self.announced is not None and self.taken > self.announced:
            raise RemoteError(
                f"{self.name}: more comes than the {self.announced} bytes that were announced; it "
                "is not kept"
            )
        self._check_limit(self.taken)
        if self.taken - self._looked >= _STEP_BYTES:
            self._looked = self.taken
            self._check_room(count)

    def _check_limit(self, count: int) -> None:
        check_limit("download_bytes", count, lambda: f"{self.name} has {count} bytes", RemoteError)

    def _check_room(self, count: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if count + _SPARED_BYTES > free:
            raise RemoteError(
                f"{self.name}: {count} bytes are to come, and the disk of {self.folder} has room "
                f"for {max(0, free - _SPARED_BYTES)}; make room, or name a folder on another disk"
            )
