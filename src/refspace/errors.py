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
    ├── SettingError             (ValueError)  a setting that does not exist, or is none
    ├── StoreError               (OSError)     a store that is incomplete, in use, or in the way
    │   ├── LockedError          (OSError)     a store that another process is writing
    │   └── StoreReplacedError   (OSError)     another store in the place of an open one
    ├── WriteError               (OSError)     a full disk, or no right to write
    ├── RemoteError              (OSError)     a host out of reach, or with a wrong response
    ├── ClusterError             (OSError)     workers or their scheduler that are gone
    ├── JobError                 (RuntimeError) a job some parts of which failed
    ├── NotInRefspaceError       (AttributeError) what AllenSDK's classes have beyond ours
    └── MissingDependencyError   (ImportError) an optional package is not installed

No message holds a secret of a URL, nor a control character, whatever it was made of.
"""

from collections.abc import Mapping
from typing import Any

from refspace.safe_text import shown, without_secrets, without_values

# Number of failures in the message of a job; all of them are in its ``failures``.
_SHOWN = 3


def safe_cause(error: BaseException, options: Mapping[str, Any] | None = None) -> BaseException:
    """The error, or in its place one of the same message, where that or a cause tells a secret.

    Parameters
    ----------
    error
        Error of another library, to be the cause of one of ours.
    options
        Options of which no value is to be told, such as credentials.

    Examples
    --------
    >>> safe_cause(OSError("https://me:secret@host is gone"))
    RemoteError('OSError: https://host is gone')
    """
    link: BaseException | None = error
    while link is not None:
        text = f"{link} {link!r} {getattr(link, '__notes__', '')}"
        if without_values(without_secrets(text), options or {}) != text:
            return RemoteError(without_values(f"{type(error).__name__}: {error}", options or {}))
        link = link.__cause__ or link.__context__
    return error


class RefspaceError(Exception):
    """Base of every error that refspace raises on purpose.

    Messages name URLs and what files hold, and end in logs and on terminals: user names, passwords
    and queries are left out of them here, and control characters escaped.

    Examples
    --------
    >>> str(RefspaceError("https://me:secret@host/a.zarr is gone"))
    'https://host/a.zarr is gone'
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*(shown(arg) if isinstance(arg, str) else arg for arg in args))

    def __str__(self) -> str:
        # KeyError would show the repr of its message: quotes, and newlines escaped.
        return shown(str(self.args[0])) if len(self.args) == 1 else super().__str__()

    def add_note(self, note: str, /) -> None:
        """Add a note, as safe to show as the message."""
        super().add_note(shown(note))


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


class SettingError(RefspaceError, ValueError):
    """A setting that does not exist, or a value that is none of it."""


class StoreError(RefspaceError, OSError):
    """A store that is incomplete, in use, or where it should not be."""


class LockedError(StoreError):
    """A store that another process is writing."""


class StoreReplacedError(StoreError):
    """A store that is not the one that was opened: open it again."""


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
        self.failures = {shown(part): shown(cause) for part, cause in failures.items()}

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


class NotInRefspaceError(RefspaceError, AttributeError):
    """An attribute of a class of AllenSDK that the class of that name in refspace has not."""


class MissingDependencyError(RefspaceError, ImportError):
    """An optional package that a call needs is not installed."""
