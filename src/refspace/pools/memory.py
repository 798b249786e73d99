"""Memory that a job may take, as its caller gives it."""

import dask.utils

from refspace.errors import GridError


def memory_bytes(memory: int | str) -> int:
    """Number of bytes that a number, or a text like ``"500 MB"``, stands for.

    Raises
    ------
    GridError
        If it stands for none.

    Examples
    --------
    >>> memory_bytes("1 GiB")
    1073741824
    """
    try:
        size = int(dask.utils.parse_bytes(memory))
    except (ValueError, TypeError, AttributeError) as error:
        raise GridError(f"memory is {memory!r}; give bytes, or a text like '500 MB'") from error
    if size < 1:
        raise GridError(f"memory is {memory!r}; give a positive number of bytes")
    return size
