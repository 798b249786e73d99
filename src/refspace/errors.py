"""Exceptions of refspace.

Each derives from `RefspaceError` and from the builtin that a caller would catch::

    RefspaceError
    ├── StructureNotFoundError   (KeyError)    no such structure in the tree
    ├── MissingFieldError        (KeyError)    structures without a field that a call needs
    ├── NotUniqueError           (RuntimeError) a property that several structures share
    ├── OntologyError            (ValueError)  structures that do not form a tree
    ├── AnnotationError          (ValueError)  an array that is not an annotation volume
    ├── GridError                (ValueError)  impossible or contradictory geometry
    │   └── PositionError        (IndexError)  a position outside the volume
    ├── FormatError              (ValueError)  a file that does not hold what it should
    ├── SourceError              (ValueError)  no such source of atlases, atlas or option
    ├── StoreError               (OSError)     a store that is incomplete, in use, or in the way
    │   └── LockedError          (OSError)     a store that another process is writing
    ├── WriteError               (OSError)     a full disk, or no right to write
    ├── RemoteError              (OSError)     a host out of reach, or with a wrong response
    ├── ClusterError             (OSError)     workers or their scheduler that are gone
    ├── JobError                 (RuntimeError) a job some parts of which failed
    └── MissingDependencyError   (ImportError) an optional package is not installed
"""

from collections.abc import Mapping
from typing import Any

# Number of failures in the message of a job; all of them are in its ``failures``.
_SHOWN = 3


class RefspaceError(Exception):
    """Base of every error that refspace raises on purpose."""

    def __str__(self) -> str:
        # KeyError would show the repr of its message: quotes, and newlines escaped.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class StructureNotFoundError(RefspaceError, KeyError):
    """An id, acronym or name that is not in the structure tree."""


class MissingFieldError(RefspaceError, KeyError):
    """Structures without a field that a call needs."""


class NotUniqueError(RefspaceError, RuntimeError):
    """A property that several structures share where it must be unique."""


class OntologyError(RefspaceError, ValueError):
    """Structures that do not form a tree: duplicates, orphans, cycles, ids that are not ids."""


class AnnotationError(RefspaceError, ValueError):
    """An array that cannot be an annotation volume."""


class GridError(RefspaceError, ValueError):
    """Geometry that is impossible, or that contradicts another statement of it."""


class PositionError(GridError, IndexError):
    """A position outside the volume."""


class FormatError(RefspaceError, ValueError):
    """A file that is damaged, unsafe, or not of the format that it should be."""


class SourceError(RefspaceError, ValueError):
    """A source of atlases, an atlas of it, or an option, that does not exist."""


class StoreError(RefspaceError, OSError):
    """A store that is incomplete, in use, or where it should not be."""


class LockedError(StoreError):
    """A store that another process is writing."""


class WriteError(RefspaceError, OSError):
    """A place where nothing can be written: a full disk, missing rights.

    Its ``errno`` is that of the system, and ``filename`` is not used: the message names the place.
    """

    def __str__(self) -> str:
        # Without the number, which the system's own errors show in front.
        return super().__str__() if self.strerror is None else self.strerror


class RemoteError(RefspaceError, OSError):
    """A host that cannot be reached, or does not send what it should."""


class ClusterError(RefspaceError, OSError):
    """Workers of a cluster, or their scheduler, that are gone."""


class JobError(RefspaceError, RuntimeError):
    """A job some parts of which failed; the other parts are done, and are not done again.

    Parameters
    ----------
    message
        What happened, and what to do.
    failures
        Cause of the failure of each part that failed.
    """

    def __init__(self, message: str, failures: Mapping[str, str]) -> None:
        super().__init__(message)
        self.failures = dict(failures)

    def __str__(self) -> str:
        shown = [f"{part}: {cause}" for part, cause in self.failures.items()]
        more = ["…"] if len(shown) > _SHOWN else []
        return "\n".join([self.summary, *shown[:_SHOWN], *more])

    @property
    def summary(self) -> str:
        """What happened, without the causes."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is pickled by its args, which lack the failures.
        return type(self), (self.args[0], self.failures)


class MissingDependencyError(RefspaceError, ImportError):
    """An optional package that a call needs is not installed."""
