"""Limits of what refspace takes in: most bytes of metadata, of an ontology, of a chunk, and others.

Files and servers state how large a thing is before it comes. What they state is held against these
limits before memory is taken, whatever they say. Each limit is far above what atlases need, and can
be raised by its name, in a program by `set_limits` or for all processes by an environment variable.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from refspace.errors import FormatError, SettingError

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_NUMBER = re.compile(r"(\d{1,18})\s*([kmgt]?)(i?b)?", re.IGNORECASE)


@dataclass(frozen=True)
class Limit:
    """A limit.

    Parameters
    ----------
    name
        Name for `set_limits`.
    default
        Most that is taken where nobody says otherwise.
    """

    name: str
    default: int

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return f"REFSPACE_MAX_{self.name.upper()}"


LIMITS = {
    limit.name: limit
    for limit in (
        Limit("metadata_bytes", 64 * 2**20),
        Limit("ontology_bytes", 16 * 2**20),
        Limit("download_bytes", 16 * 2**30),
        Limit("mesh_bytes", 512 * 2**20),
        Limit("header_bytes", 2**20),
        Limit("chunk_bytes", 4 * 2**30),
        Limit("index_bytes", 2**30),
        Limit("axis_length", 10**7),
        Limit("blocks", 10**7),
        Limit("levels", 32),
        Limit("requests", 32),
    )
}
_chosen: dict[str, int] = {}
# Those of clients whose tasks this process does now.
_of_tasks: dict[object, dict[str, int]] = {}


class set_limits:  # noqa: N801  # a function for users, as xarray.set_options is
    """Set limits, from now on or for the length of a ``with`` block.

    They hold in this process, and for what its jobs, like `refspace.write_masks`, do in the workers
    of a cluster. For the command line, and for what else dask computes in workers, set the
    environment variable ``REFSPACE_MAX_`` and the name in capitals, like
    ``REFSPACE_MAX_METADATA_BYTES=256M``.

    Parameters
    ----------
    **limits
        New limits by name. Each is a whole number, or a text like ``"256M"``; None stands for the
        default:

        - ``metadata_bytes`` (64 MiB) of a file of metadata, or of a manifest;
        - ``ontology_bytes`` (16 MiB) of an ontology, or of a table of labels;
        - ``download_bytes`` (16 GiB) of a file that is downloaded or copied;
        - ``mesh_bytes`` (512 MiB) of a mesh; ``header_bytes`` (1 MiB) of the header of a file;
        - ``chunk_bytes`` (4 GiB) of a chunk or shard once it is decoded; ``index_bytes`` (1 GiB) of
          a label index that is kept beside an image, packed and unpacked;
        - ``axis_length`` (10 million) voxels along an axis, and ``blocks`` (10 million) chunks or
          shards, of one array; ``levels`` (32) of resolution of one image;
        - ``requests`` (32) at the same time.

    Raises
    ------
    SettingError
        If there is no such limit, or a value is none.

    Examples
    --------
    >>> with set_limits(metadata_bytes="256M"):
    ...     limit("metadata_bytes")
    268435456
    >>> limit("metadata_bytes")
    67108864
    """

    def __init__(self, **limits: int | str | None) -> None:
        wanted = {name: _parsed(name, value) for name, value in limits.items()}
        self._before = {name: _chosen.get(name) for name in wanted}
        _choose(wanted)

    def __enter__(self) -> "set_limits":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _choose(self._before)


def _choose(values: dict[str, int | None]) -> None:
    for name, value in values.items():
        if value is None:
            _chosen.pop(name, None)
        else:
            _chosen[name] = value


def _parsed(name: str, value: int | str | None) -> int | None:
    if name not in LIMITS:
        raise SettingError(f"there is no limit {name!r}; there are {', '.join(LIMITS)}")
    match = _NUMBER.fullmatch(str(value).strip())
    if value is None:
        return None
    if match is None or isinstance(value, bool) or (number := _number(match)) < 1:
        raise SettingError(
            f"the limit {name} is {value!r}; give a whole number from 1 on, like 1000 or '256M'"
        )
    return number


def _number(match: re.Match[str]) -> int:
    return int(match[1]) * _UNITS[match[2].lower()]


def limit(name: str) -> int:
    """Value of a limit: as it was set, or as the environment says, or else the default.

    In a worker of a cluster what its client has set counts after what was set in the worker itself.

    Raises
    ------
    SettingError
        If the environment says what is no number.

    Examples
    --------
    >>> limit("levels")
    32
    """
    if (chosen := chosen_limits().get(name)) is not None:
        return chosen
    stated = os.environ.get(LIMITS[name].variable)
    return (_parsed(name, stated) if stated else None) or LIMITS[name].default


def chosen_limits() -> dict[str, int]:
    """Limits that were set in this process, or by clients of the tasks that it does now.

    Examples
    --------
    >>> with set_limits(levels=9):
    ...     chosen_limits()
    {'levels': 9}
    """
    # Of several clients at once the largest: what one of them allows does not fail.
    carried: dict[str, int] = {}
    for limits in [*_of_tasks.values()]:
        carried |= {name: max(value, carried.get(name, 0)) for name, value in limits.items()}
    return carried | _chosen


@contextmanager
def limits_of_task(limits: Mapping[str, int]) -> Iterator[None]:
    """Have limits of a client hold in this process while a task of it is done, in all threads.

    Parameters
    ----------
    limits
        What `chosen_limits` is there.

    Examples
    --------
    >>> with limits_of_task({"levels": 9}), limits_of_task({"blocks": 5}):
    ...     limit("levels"), limit("blocks")
    (9, 5)
    >>> limit("levels")
    32
    """
    task = object()
    _of_tasks[task] = {**limits}
    try:
        yield
    finally:
        del _of_tasks[task]


def check_limit(
    name: str,
    value: int,
    what: Callable[[], str] | str,
    error: type[Exception] = FormatError,
) -> None:
    """Refuse what is beyond a limit.

    Parameters
    ----------
    name
        Name of the limit.
    value
        Number that is stated or found.
    what
        What has that number, for the message: ``"a.json has 70 MB"``; or what makes it.
    error
        Class of the error.

    Raises
    ------
    FormatError
        If it is beyond the limit; the message says how to raise it.

    Examples
    --------
    >>> try:
    ...     check_limit("levels", 1000, "the image has 1000 levels")
    ... except FormatError as error:
    ...     print(str(error).partition(";")[0])
    the image has 1000 levels, of at most 32
    """
    most = limit(name)
    if value > most:
        said = what if isinstance(what, str) else what()
        raise error(f"{said}, of at most {most}; {how_to_raise(name)}")


def how_to_raise(name: str) -> str:
    """How to raise a limit, for a message.

    Examples
    --------
    >>> how_to_raise("levels")
    'if it is right, raise the limit by refspace.set_limits(levels=...) or REFSPACE_MAX_LEVELS'
    """
    return (
        f"if it is right, raise the limit by refspace.set_limits({name}=...) or "
        f"{LIMITS[name].variable}"
    )
