"""Immutable values with arrays as fields: equal, hashable and picklable."""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ArrayValue:
    """Base of frozen dataclasses with arrays: compared, hashed and pickled by their fields alone.

    A dataclass would compare arrays element by element, and pickle cached properties with the
    fields.
    """

    @cached_property
    def _identity(self) -> tuple[Any, ...]:
        # Digests instead of the arrays: the identity is hashed, and is part of dask tokens.
        return tuple(
            hashlib.sha256(value.tobytes()).hexdigest() if isinstance(value, np.ndarray) else value
            for value in self._fields()
        )

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle drops the read-only flag of arrays; the constructor sets it again.
        return type(self), self._fields()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ArrayValue) and self.__dask_tokenize__() == other.__dask_tokenize__()
        )

    def __hash__(self) -> int:
        return hash(self.__dask_tokenize__())

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, *self._identity


def frozen(values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """Copy that cannot be written to; an array that owns its memory and is so already stays."""
    flags = values.flags
    if values.dtype == dtype and flags.c_contiguous and flags.owndata and not flags.writeable:
        return values
    copy = np.array(values, dtype, order="C")
    copy.flags.writeable = False
    return copy
