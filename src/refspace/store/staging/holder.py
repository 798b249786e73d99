"""The one writer of something where there are no lock files: an object that names it.

Object stores have no locks, but most write an object on the condition that there is none of its
name. The object ``holder.json`` is written so, and its writer goes on. One that finds the object of
a process that has ended takes its place by another object, named by the first: of several that do
so, again one alone succeeds.

Without such conditions an object is written and read again: of two writers the last one goes on.
Whoever had gone on before finds out when it looks again, which it does before and after it commits.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from refspace.errors import LockedError, StoreError
from refspace.remote.objects import reason
from refspace.store.location import Location
from refspace.store.staging.job import LOCK_OWNER, in_use, is_dead, lock_owner
from refspace.store.staging.write_lease import WriteLease


class Holder:
    """Makes this process the only writer of what is at a location.

    Parameters
    ----------
    location
        Where the object is that names the writer.
    key
        Name of that object.
    """

    def __init__(self, location: Location, key: str = LOCK_OWNER) -> None:
        self._location, self._key = location, key
        self._mine = lock_owner()
        # Whether objects can be written on the condition that there is none of their name.
        self.conditional = False

    def acquire(self) -> None:
        """Begin to be the writer.

        Raises
        ------
        LockedError
            If there is another one.
        StoreError
            If nothing can be written there.
        """
        owner, outdated = self._owner()
        if owner is not None and not is_dead(owner):
            raise self._refusal(owner)
        key = self._key if owner is None else self._successor(owner)
        created = self._create(key)
        self.conditional = created is not None
        if not self.conditional:
            # Nothing that others would go by. Where nothing can be removed, nothing can be written.
            with suppress(NotImplementedError):
                self._location.remove(key)
            self._write()
        elif created and owner is not None:
            self._take_over([*outdated, key])
        if not self.holds():
            raise self._refusal(self._owner()[0])

    def _create(self, key: str) -> bool | None:
        """Whether the object was created, by this process alone; None where nothing proves that."""
        created = self._location.create(key, self._mine)
        # A server that does not know the condition ignores it, and would do so again.
        if created and self._location.create(key, self._mine + b" "):
            return None
        return created

    def _take_over(self, successors: list[str]) -> None:
        """Take the place of a process that has ended, unless somebody had done so before."""
        if self._owner()[0] == self._mine:
            self._write()
        else:
            successors = successors[-1:]
        for key in successors:
            self._location.remove(key)

    def _owner(self) -> tuple[bytes | None, list[str]]:
        """Who writes, the last of those who took each other's place; and the objects of these."""
        owner, keys = self._location.read(self._key), list[str]()
        while owner is not None and is_dead(owner):
            key = self._successor(owner)
            if (successor := self._location.read(key)) is None:
                break
            owner, keys = successor, [*keys, key]
        return owner, keys

    def _successor(self, owner: bytes) -> str:
        return f"{self._key}.{hashlib.sha256(owner).hexdigest()[:16]}"

    def _write(self) -> None:
        try:
            self._location.write(self._key, self._mine)
        except OSError:
            raise
        except Exception as error:  # whatever the file system's own library raises
            # Without what the library adds, which may be the headers with a password in them.
            raise StoreError(
                f"{self._location.url} cannot be written to: {reason(error)}; give a folder, or a "
                "URL that takes files, like s3://"
            ) from error

    def lease(self, job: str = "") -> WriteLease:
        """Permission to write for tasks of this process, as long as it is the writer.

        Parameters
        ----------
        job
            Digest of the job; only what a message says depends on it.
        """
        lease = WriteLease.new(self._location, job)
        return replace(lease, holder=(self._key, self._mine), conditional=self.conditional)

    def holds(self) -> bool:
        """Whether this process is the writer still."""
        return self._location.read(self._key) == self._mine

    def check(self) -> None:
        """Make sure that this process is the writer still.

        Raises
        ------
        LockedError
            If another one has taken its place, or somebody has removed the object.
        """
        if not self.holds():
            url, (owner, _) = self._location.url, self._owner()
            if owner is not None:
                raise self._refusal(owner)
            raise LockedError(
                f"{url}/{self._key} was removed while this process was writing, and another one "
                "may have written since; run the same again"
            )

    def release(self) -> None:
        """Let others write; what belongs to another process is left alone."""
        with suppress(Exception):
            if self.holds():
                self._location.remove(self._key)

    def _refusal(self, owner: bytes | None) -> LockedError:
        url = self._location.url
        way_out = f"if that process is gone, remove {url}/{self._key} and try again"
        return LockedError(f"{in_use(url, owner)}; {way_out}")


@contextmanager
def exclusive(location: Location, key: str = LOCK_OWNER) -> Iterator[Holder]:
    """Keep other writers out where there are no lock files.

    Parameters
    ----------
    location
        What is written.
    key
        Name of the object that names the writer.

    Raises
    ------
    LockedError
        If there is another writer, or was one before the block has ended.
    StoreError
        If nothing can be written there.

    Examples
    --------
    >>> table = Location("memory://table.parquet")
    >>> with exclusive(table):
    ...     sorted(table.keys())
    ['.refspace/holder.json']
    >>> table.keys()
    set()
    """
    holder = Holder(location, key)
    try:
        holder.acquire()
        yield holder
        holder.check()
    finally:
        holder.release()
