"""Filters of numcodecs that are allowed: they compute, and run nothing that data bring along.

Others of its codecs make Python objects of what they decode; one of them, ``pickle``, runs code.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numcodecs
import numcodecs.abc
import numpy as np

from refspace.store.codecs.inflate import Bytes, Size

_DTYPE = re.compile(r"[<>|=]?[biuf](1|2|4|8)|bool|u?int(8|16|32|64)|float(16|32|64)")
_DTYPE_OPTIONS = ("dtype", "astype", "encode_dtype", "decode_dtype")
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class Filter:
    """A filter, with its options.

    Parameters
    ----------
    name
        Its name in numcodecs.
    codec
        What numcodecs makes of its options.
    encoded
        Number of bytes that it makes of a number of bytes.
    """

    name: str
    codec: numcodecs.abc.Codec
    encoded: Callable[[int], int]

    def undo(self, data: Bytes, size: Size) -> Bytes:
        """Bytes from which it made others.

        Raises
        ------
        SizeError
            If they are more or less than expected.
        """
        # numcodecs takes the checksum from where it should be, even if that is not there.
        if len(data) < self.encoded(0):
            raise ValueError(f"there is less than what {self.name} adds")
        values = np.ascontiguousarray(self.codec.decode(data))
        decoded: Bytes = values.reshape(-1).view(np.uint8)
        size.check(len(decoded), f"undoing {self.name} makes")
        return decoded


def make_filter(name: str, options: Mapping[str, Any], dtype: np.dtype[Any]) -> Filter:
    """Filter of a name that is among `FILTERS`.

    Parameters
    ----------
    name
        Its name in numcodecs.
    options
        Its options.
    dtype
        Type of the values, which some options default to.

    Raises
    ------
    ValueError
        If its options are none.
    """
    required, encoded = FILTERS[name]
    chosen: dict[str, Any] = dict.fromkeys(required, dtype.str) | {
        option: value for option, value in options.items() if value is not None
    }
    if name == "shuffle":
        chosen = {"elementsize": dtype.itemsize, **chosen}
    for option in _DTYPE_OPTIONS:
        value = chosen.get(option)
        if value is not None and not (isinstance(value, str) and _DTYPE.fullmatch(value)):
            raise ValueError(f"{name} has {option} {value!r}, which is no type of numbers")
    try:
        codec = numcodecs.get_codec({**chosen, "id": name})
    except Exception as error:  # whatever its constructor raises
        raise ValueError(f"{name} has options that are none: {error}") from error
    items = {
        option: np.dtype(chosen[option]).itemsize for option in _DTYPE_OPTIONS if option in chosen
    }
    return Filter(name, codec, lambda count: encoded(count, items))


def _same(count: int, _items: Mapping[str, int]) -> int:
    return count


def _checksummed(count: int, _items: Mapping[str, int]) -> int:
    return count + _CHECKSUM_BYTES


def _packed(count: int, _items: Mapping[str, int]) -> int:
    """Bits, behind a byte that says how many of the last are padding."""
    return 1 + -(-count // 8)


def _converted(count: int, items: Mapping[str, int]) -> int:
    return count // items["dtype"] * items.get("astype", items["dtype"])


def _cast(count: int, items: Mapping[str, int]) -> int:
    return count // items["decode_dtype"] * items["encode_dtype"]


FILTERS: Mapping[str, tuple[tuple[str, ...], Callable[[int, Mapping[str, int]], int]]] = {
    "delta": (("dtype",), _converted),
    "fixedscaleoffset": (("dtype",), _converted),
    "quantize": (("dtype",), _converted),
    "astype": (("decode_dtype",), _cast),
    "bitround": ((), _same),
    "shuffle": ((), _same),
    "packbits": ((), _packed),
    "crc32": ((), _checksummed),
    "crc32c": ((), _checksummed),
    "adler32": ((), _checksummed),
    "fletcher32": ((), _checksummed),
}
"""Filters by name: options that default to the type of the values, and the size that they make."""
