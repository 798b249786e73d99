"""Values that hold arrays."""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ArrayValue:
    """Base of values with arrays: equal, hashed and pickled by their fields, not their caches."""

    @cached_property
    def _identity(self) -> tuple[Any, ...]:
        return tuple(
            hashlib.sha256(value.tobytes()).hexdigest() if isinstance(value, np.ndarray) else value
            for value in self._fields()
        )

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickled arrays can be written to: a value made anew freezes them again.
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
    """Copy that cannot be written to."""
    copy = np.array(values, dtype, order="C")
    copy.flags.writeable = False
    return copy
