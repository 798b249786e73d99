"""Fields of structures in files: the names that their columns have, and what a cell may hold."""

import math
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from refspace.errors import FormatError
from refspace.structure_tree.records import hex_to_rgb
from refspace.types import MAX_LABEL

# Names of columns and keys by field, the preferred ones first, in the form that `plain_name` gives.
_SYNONYMS = {
    "id": (
        *("id", "structureid", "structuralid", "regionid", "labelindex", "labelid", "labelvalue"),
        *("annotationvalue", "grayvalue", "identifier", "index", "idx", "value", "label"),
    ),
    "name": (
        *("name", "structurename", "regionname", "labelname", "fullname", "longname"),
        *("safename", "long", "label"),
    ),
    "acronym": ("acronym", "abbreviation", "abbrev", "abbr", "shortname", "short"),
    "parent": (
        *("parentstructureid", "parentid", "parentregionid", "parentindex"),
        *("parentidentifier", "parent"),
    ),
    "path": ("structureidpath", "idpath"),
    "color": (
        *("colorhextriplet", "rgbtriplet", "colorhex", "hexcolor", "color", "colour", "hex", "rgb"),
    ),
    "red": ("red", "r"),
    "green": ("green", "g"),
    "blue": ("blue", "b"),
    "graph_order": ("graphorder",),
    "graph_id": ("graphid",),
    "sets": ("structuresetids", "structuresets", "sets"),
}
_ALL_SYNONYMS = frozenset(name for names in _SYNONYMS.values() for name in names)
# Keys of JSON that number records as often as they name the labels of an image.
_VAGUE_KEYS = frozenset({"index", "idx", "value", "label"})
# Texts that stand for nothing: of programs in general, of BIDS, and where texts are texts.
MISSING_TEXTS = frozenset({"", "n/a", "na", "nan", "none", "null", "<na>"})
BIDS_MISSING_TEXTS = frozenset({"", "n/a"})
NO_TEXT = frozenset({""})
_WHOLE = re.compile(r"(\d{1,10})(\.0*)?", re.ASCII)
_NO_PARENT = re.compile(r"-1(\.0*)?", re.ASCII)
_LIST = re.compile(r"(?:rgba?)?[\[(]?([\d\s,;.|/]*)[\])]?", re.ASCII | re.IGNORECASE)
_SET_ID = re.compile(r"['\"]id['\"]\s*:\s*(\d{1,10})\b", re.ASCII)
_ALLOWED = (
    "id, index, value or label, and with it name, acronym or abbreviation; parent_structure_id or "
    "structure_id_path; color, or red, green and blue"
)
_SHOWN_NAMES = 12

Columns = Mapping[str, Sequence[str]]
"""Names of columns by field, the preferred ones first."""


def plain_name(name: str) -> str:
    """Name of a column without case, blanks and what joins words.

    Examples
    --------
    >>> plain_name(" Parent-Structure_ID "), plain_name("labelIndex")
    ('parentstructureid', 'labelindex')
    """
    return re.sub(r"[\s._-]+", "", name).lower()


def listed_names(names: Iterable[str]) -> str:
    """Names for a message, no more and no longer than one can read.

    Examples
    --------
    >>> listed_names(["a", "b" * 100]), listed_names([])
    ('a, bbbbbbbbbbbbbbbbbbbbbbbbbbbbb…', 'none')
    """
    short = [name if len(name) < 30 else f"{name[:29]}…" for name in map(str, names)]
    more = [f"and {len(short) - _SHOWN_NAMES} more"] if len(short) > _SHOWN_NAMES else []
    return ", ".join([*short[:_SHOWN_NAMES], *more]) or "none"


def choose_columns(
    names: Sequence[str], chosen: Mapping[str, str], *, are_keys: bool = False
) -> Columns:
    """Find the columns of fields by their names.

    Parameters
    ----------
    names
        Names of the columns, or the keys of records.
    chosen
        Names of columns by field, which count instead of those that are found.
    are_keys
        Whether they are keys of JSON, of which those that number records are no ids.

    Raises
    ------
    FormatError
        If there is no such field or column, two columns are the same, or none holds the ids.

    Examples
    --------
    >>> columns = choose_columns(["index", "label", "abbr"], {})
    >>> columns["id"], columns["name"], columns["acronym"]
    (['index'], ['label'], ['abbr'])
    """
    own = _chosen(names, chosen)
    found: dict[str, list[str]] = {}
    # Records may have any number of keys, of which a few are known.
    plain = {name: short for name in names if (short := plain_name(name)) in _ALL_SYNONYMS}
    for field, synonyms in _SYNONYMS.items():
        taken = {*own.values(), *found.get("id", ())}
        free = [name for name in plain if name not in taken and plain[name] in synonyms]
        if field == "id" and are_keys:
            free = [name for name in free if plain[name] not in _VAGUE_KEYS]
        free.sort(key=lambda name: synonyms.index(plain[name]))
        found[field] = [own[field]] if field in own else free
        # The ids are those of one column, but keys of records may differ.
        if field == "id" and not are_keys:
            found[field] = found[field][:1]
    for same in dict.fromkeys(name for known in found.values() for name in known):
        if not are_keys and list(names).count(same) > 1:
            raise FormatError(f"two columns are called {same[:40]!r}; give each its own name")
    # A table of ids and other things alone, like points, is none of structures.
    is_more = are_keys or any(found[field] for field in ("name", "acronym", "parent", "path"))
    if not (found["id"] and is_more):
        raise FormatError(_none_of_structures(names, are_keys))
    return found


def _none_of_structures(names: Sequence[str], are_keys: bool) -> str:
    vague = [name for name in names if plain_name(name) in _VAGUE_KEYS]
    which = [*vague, *names, "number"][0][:40]
    hint = f"or say which is which, as in columns={{'id': {which!r}}}"
    if are_keys:
        return f"no record has an id; keys are {listed_names(names)}: give ids, {hint}"
    return (
        f"columns are {listed_names(names)}; a table of structures has {_ALLOWED}: give these, "
        f"{hint}"
    )


def _chosen(names: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Columns that the caller names, by field."""
    own = {}
    for field, name in chosen.items():
        if (known := field_name(field)) is None:
            raise FormatError(
                f"columns= has a field {str(field)[:40]!r}; fields are {', '.join(_SYNONYMS)}"
            )
        match = [n for n in names if n == name] or [n for n in names if n.lower() == name.lower()]
        if not match:
            raise FormatError(
                f"there is no column {name[:40]!r} for {known}; there are {listed_names(names)}"
            )
        own[known] = match[0]
    return own


def field_name(text: str) -> str | None:
    """Field that a text names by any of its names; None if it names none.

    Examples
    --------
    >>> field_name("Parent_Structure_ID"), field_name("weight")
    ('parent', None)
    """
    plain = plain_name(str(text))
    if (own := {plain_name(field): field for field in _SYNONYMS}.get(plain)) is not None:
        return own
    return next((field for field, names in _SYNONYMS.items() if plain in names), None)


def rivals(names: Iterable[str], column: str) -> list[str]:
    """Other columns that are called as columns of ids are, no less clearly than one of them.

    Examples
    --------
    >>> rivals(["index", "value", "name"], "index"), rivals(["index", "id"], "id")
    (['value'], [])
    """
    is_vague = plain_name(column) in _VAGUE_KEYS
    return [
        name
        for name in names
        if name != column
        and (plain := plain_name(name)) in _SYNONYMS["id"]
        and (plain in _VAGUE_KEYS) == is_vague
    ]


# ----- what cells hold


def is_missing(value: object, texts: Collection[str] = MISSING_TEXTS) -> bool:
    """Whether a cell holds nothing.

    Parameters
    ----------
    value
        The cell.
    texts
        Texts that stand for nothing, in lower case.

    Examples
    --------
    >>> [is_missing(value) for value in (None, " ", "n/a", float("nan"), 0)]
    [True, True, True, True, False]
    >>> is_missing("NA", NO_TEXT)
    False
    """
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in texts


def whole_number(value: object, most: int = MAX_LABEL) -> int:
    """Whole number from 0 on, of a number or a text, like ``997`` or ``997.0``.

    Raises
    ------
    ValueError
        If it is none; the message says what is allowed.

    Examples
    --------
    >>> whole_number("997.0"), whole_number(8.0)
    (997, 8)
    """
    number = -1
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value.strip())):
        number = int(match[1])
    elif isinstance(value, float | np.floating):
        number = int(value) if float(value).is_integer() else -1
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        number = int(value)
    if not 0 <= number <= most:
        raise ValueError(f"a whole number from 0 to {most}")
    return number


def are_whole_numbers(cells: Iterable[object], others: Iterable[object]) -> bool:
    """Whether all cells are whole numbers, and not the same as some others.

    Examples
    --------
    >>> are_whole_numbers(["1", "2.0"], [1, 2]), are_whole_numbers(["1", "3"], [1, 2])
    (False, True)
    """
    try:
        return list(map(whole_number, cells)) != list(others)
    except ValueError:
        return False


def integer(value: object) -> int:
    """Integer of any sign, of a number or a text; ClearMap orders its universe as -1.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> integer("-1"), integer(3.0)
    (-1, 3)
    """
    text = str(value).strip()
    if not text.startswith("-"):
        return whole_number(value)
    return -whole_number(text[1:])


def is_no_parent(value: object) -> bool:
    """Whether a cell of a parent holds -1, which stands for none.

    Examples
    --------
    >>> is_no_parent(-1), is_no_parent("-1.0"), is_no_parent("8")
    (True, True, False)
    """
    return _NO_PARENT.fullmatch(str(value).strip()) is not None


def number_list(value: object) -> list[int]:
    """Whole numbers of a list, or of a text like ``[997, 8]``, ``[997 8]`` or ``/997/8/``.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> number_list("/997/8/"), number_list("[997   8]"), number_list([997.0, 8])
    ([997, 8], [997, 8], [997, 8])
    """
    if isinstance(value, str):
        match = _LIST.fullmatch(value.strip())
        parts: Iterable[Any] = (
            [] if match is None else filter(None, re.split(r"[\s,;|/]+", match[1]))
        )
        if match is None:
            raise ValueError("whole numbers, like [997, 8] or /997/8/")
    elif isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        parts = value
    else:
        parts = [value]
    return [whole_number(part) for part in parts]


def color(value: object) -> list[int]:
    """Red, green and blue of six hexadecimal digits, ``#rrggbbaa``, or three or four numbers.

    Raises
    ------
    ValueError
        If it is no colour.

    Examples
    --------
    >>> color("#0a0b0cff"), color("19399.0"), color("[1, 2, 3]"), color("1 2 3 255")
    ([10, 11, 12], [1, 147, 153], [1, 2, 3], [1, 2, 3])
    """
    allowed = "six hexadecimal digits or three integers from 0 to 255"
    try:
        if isinstance(value, int | float | np.number):
            # Digits that were taken for a number.
            value = str(whole_number(value, 999_999))
        if isinstance(value, str) and not re.search(r"[\s,;\[(]", value.strip()):
            text = value.strip()
            # Tables of which a colour is missing in a row may make floats of the others.
            text = text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text
            return hex_to_rgb(text[:7] if re.fullmatch("#[0-9a-fA-F]{8}", text) else text)
        numbers = number_list(value)
        if len(numbers) not in (3, 4) or max(numbers) > 255:
            raise ValueError(allowed)
    except ValueError as error:
        raise ValueError(allowed) from error
    return numbers[:3]


def set_ids(value: object) -> list[int]:
    """Ids of structure sets, of a list of ids or of records, or of either as a text.

    Examples
    --------
    >>> set_ids("[12, 3]"), set_ids([{"id": 12}, 3]), set_ids("[{'id': 12, 'name': 'x'}]")
    ([12, 3], [12, 3], [12])
    """
    if isinstance(value, str) and "{" in value:
        return [int(found) for found in _SET_ID.findall(value)]
    if isinstance(value, str) or not isinstance(value, Iterable):
        return number_list(value)
    items = list(value)
    return number_list([i.get("id") if isinstance(i, Mapping) else i for i in items])


def bad_cell(where: str, what: str, value: object, allowed: object) -> FormatError:
    """Error of a cell that does not hold what it should.

    Examples
    --------
    >>> str(bad_cell("line 3", "id", "x", "a whole number"))
    "line 3: id is 'x'; it must be a whole number"
    """
    return FormatError(f"{where}: {what} is {reprlib.repr(value)}; it must be {allowed}")
