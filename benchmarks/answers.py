"""Answers: results in few bytes, by which rivals are compared before their times are believed.

An answer has a ``digest``, where results are equal or not; or ``values``, a number for each id,
which agree within rounding on the ids that both have.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.measurement import Answer


def of_array(array: ArrayLike) -> Answer:
    """Answer of an array: whatever its type and memory order, equal values are alike."""
    values = np.asarray(array)
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    hashed = hashlib.blake2b(digest_size=12)
    # Slab by slab: a second copy of a volume might not fit.
    for slab in values if values.ndim > 2 else [values]:
        hashed.update(np.ascontiguousarray(slab, dtype="<i8").data)
    return {"digest": f"{'x'.join(map(str, values.shape))} {hashed.hexdigest()}"}


def of_integers(values: Mapping[int, int]) -> Answer:
    """Answer of whole numbers that ids have; zeros and ids without any are alike."""
    listed = sorted((int(key), int(value)) for key, value in values.items() if value and key)
    return {"digest": hashlib.blake2b(json.dumps(listed).encode(), digest_size=12).hexdigest()}


def of_numbers(ids: Iterable[int], values: Iterable[float]) -> Answer:
    """Answer of a number for each id."""
    pairs = zip(ids, values, strict=True)
    return {"values": {str(int(key)): float(value) for key, value in pairs}}
