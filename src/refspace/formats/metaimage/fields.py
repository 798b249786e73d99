"""The lines of a MetaImage header, and the values in them."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from refspace.errors import FormatError
from refspace.limits import how_to_raise, limit
from refspace.safe_text import shown

# The last key of a header: the voxels follow, or are in the file that it names.
DATA_FILE = "ElementDataFile"
# Names that keys had in older versions of the format.
_SYNONYMS = {
    "TransformMatrix": ("TransformMatrix", "Rotation", "Orientation"),
    "Offset": ("Offset", "Position", "Origin"),
    "BinaryDataByteOrderMSB": ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
}
_WHOLE = re.compile("-?[0-9]{1,12}")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
# Of a text that is shown.
_LONGEST = 60


def read_fields(file: BinaryIO) -> tuple[dict[str, str], int]:
    r"""Values of a header by key, and the position at which it ends.

    Parameters
    ----------
    file
        The file, at its first byte.

    Raises
    ------
    FormatError
        If a line is no ``key = value``, a key stands twice, or there is no end within the limit
        ``header_bytes``.

    Examples
    --------
    >>> import io
    >>> read_fields(io.BytesIO(b"NDims = 3\nElementDataFile = LOCAL\n voxels"))
    ({'NDims': '3', 'ElementDataFile': 'LOCAL'}, 34)
    """
    fields: dict[str, str] = {}
    most = limit("header_bytes")
    while DATA_FILE not in fields:
        line = file.readline(most)
        if file.tell() > most or (len(line) == most and not line.endswith(b"\n")):
            raise FormatError(
                f"the header has no {DATA_FILE} within {most} bytes; the file is damaged, get it "
                f"again: or else, {how_to_raise('header_bytes')}"
            )
        if not line:
            raise FormatError(f"the header ends without {DATA_FILE}; the file is cut short")
        if line.strip():
            _add(fields, line.decode("utf-8", "replace"))
    return fields, file.tell()


def _add(fields: dict[str, str], line: str) -> None:
    key, sign, value = (part.strip() for part in line.partition("="))
    if not sign or not key:
        raise FormatError(
            f"line {len(fields) + 1} of the header is {excerpt(line.strip())}, and not key = "
            "value; the file is damaged, or no MetaImage: get it again"
        )
    if key in fields:
        raise FormatError(f"the header has {excerpt(key)} twice; remove one")
    fields[key] = value


def excerpt(text: str) -> str:
    """Text for a message, as Python writes it, and not all of a long one."""
    return shown(repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"))


def value(fields: Mapping[str, str], key: str) -> str | None:
    """Value of a key, whichever of its names it has; None where it is not stated.

    Raises
    ------
    FormatError
        If it stands there by two names.

    Examples
    --------
    >>> value({"Position": "0 0 0"}, "Offset")
    '0 0 0'
    """
    found = [name for name in _SYNONYMS.get(key, (key,)) if name in fields]
    if len(found) > 1:
        raise FormatError(f"the header has both {found[0]} and {found[1]}; remove one")
    return fields[found[0]] if found else None


def whole(fields: Mapping[str, str], key: str, default: int | None = None) -> int:
    """Whole number of a key.

    Raises
    ------
    FormatError
        If it is missing without a default, or no whole number.

    Examples
    --------
    >>> whole({"NDims": "3"}, "NDims"), whole({}, "HeaderSize", 0)
    (3, 0)
    """
    (number,) = wholes(fields, key, 1, None if default is None else [default])
    return number


def wholes(
    fields: Mapping[str, str], key: str, count: int, default: Sequence[int] | None = None
) -> list[int]:
    """Whole numbers of a key, as many as there must be.

    Raises
    ------
    FormatError
        As for `whole`; if there are more or fewer.
    """
    text = value(fields, key)
    if text is None:
        if default is None:
            raise FormatError(f"the header has no {key}; the file is damaged, get it again")
        return [*default]
    words = text.split()
    if len(words) != count or not all(map(_WHOLE.fullmatch, words)):
        what = "a whole number" if count == 1 else f"{count} whole numbers"
        raise FormatError(f"{key} is {excerpt(text)}; it must be {what}: correct the header")
    return [int(word) for word in words]


def truth(fields: Mapping[str, str], key: str, default: bool) -> bool:
    """Whether a key is true.

    Raises
    ------
    FormatError
        If it is neither true nor false.

    Examples
    --------
    >>> truth({"CompressedData": "True"}, "CompressedData", False)
    True
    """
    text = value(fields, key)
    if text is None:
        return default
    if text.lower() not in _BOOLEANS:
        raise FormatError(f"{key} is {excerpt(text)}; it must be True or False")
    return _BOOLEANS[text.lower()]


def numbers(fields: Mapping[str, str], key: str, count: int) -> list[float] | None:
    """Numbers of a key, as many as there must be; None where it is not stated.

    Raises
    ------
    FormatError
        If there are more or fewer, or one is not finite.

    Examples
    --------
    >>> numbers({"Offset": "0 0.5 -1e2"}, "Offset", 3)
    [0.0, 0.5, -100.0]
    """
    text = value(fields, key)
    if text is None:
        return None
    found = [_number(word) for word in text.split()[: count + 1]]
    if len(found) != count or not all(map(math.isfinite, found)):
        raise FormatError(
            f"{key} is {excerpt(text)}; it must be {count} numbers: correct the header"
        )
    return found


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
