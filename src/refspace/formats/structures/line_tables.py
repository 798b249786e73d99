"""Look-up tables: labels line by line, without names of columns.

Lines are ``IDX R G B A VIS MSH "LABEL"`` (ITK-SNAP), ``id name R G B A`` (FreeSurfer),
``id short long R G B A`` (MRtrix), or ``id name``; names may be in quotes. A comment above them
that names the columns, like ``# index short long R G B A``, is believed.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from refspace.errors import FormatError
from refspace.formats.structures.cells import NOT_STATED, Places
from refspace.formats.structures.fields import field_name, plain_name
from refspace.formats.structures.tables import Table

_ITKSNAP = re.compile(
    r"(?P<id>\d+)\s+(?P<red>\d+)\s+(?P<green>\d+)\s+(?P<blue>\d+)\s+(?P<alpha>[\d.eE+-]+)"
    r'\s+[01]\s+[01]\s+(?:"(?P<quoted>.*)"|(?P<plain>[^\s"][^"]*))',
    re.ASCII,
)
# The beginning of such a line: no table of names begins with seven numbers.
_ITKSNAP_NUMBERS = re.compile(r"(\d+\s+){4}[\d.eE+-]+\s+\d+\s+\d+\s+\S", re.ASCII)
_ITKSNAP_GROUPS = ("id", "red", "green", "blue", "quoted", "plain")
_LABELLED = re.compile(r"(\d+)\s+(\S.*)", re.ASCII)
_QUOTED = re.compile(r'"([^"]*)"\s*(.*)')
# A short name and a long one.
_QUOTED_PAIR = re.compile(r'"([^"]*)"\s+"([^"]*)"((?:\s+[\d.]+){3,4})?')
_COLOUR = re.compile(r"\d+", re.ASCII)
_ALPHA = re.compile(r"\d+(\.\d*)?", re.ASCII)
_COLUMNS = ("id", "name", "acronym", "red", "green", "blue")
# Cells of a line, one for each of these columns.
_Row: TypeAlias = tuple[Any, ...]
# Names of two words that are no pair of a short and a long name.
_FIRST_WORDS = frozenset({"left", "right", "l", "r", "lh", "rh", "area", "layer"})


class _Line(NamedTuple):
    """A line: its number, label, the words of its name, and the numbers after these."""

    number: int
    text: str
    label: str
    words: tuple[str, ...]
    numbers: tuple[str, ...]
    is_quoted: bool = False


def is_line_table(text: str) -> bool:
    r"""Whether a text is a table of labels whose lines begin with a number.

    Examples
    --------
    >>> is_line_table('# labels\n 1 255 0 0 1 1 1 "Cortex"'), is_line_table("index,name\n1,Left")
    (True, False)
    """
    first = next((line for _, line in _lines(text)), "")
    return re.match(r"\d+\s+\S", first, re.ASCII) is not None


def read_line_table(text: str, comment: str | None = None) -> Table:
    """Read a table of labels without names of columns.

    Parameters
    ----------
    text
        The table.
    comment
        Line that names its columns; the last comment above the table if not given.

    Raises
    ------
    FormatError
        If a line has another form than the others.

    Examples
    --------
    >>> read_line_table('1 255 0 0 1 1 1 "Cortex"').columns["name"]
    ['Cortex']
    >>> read_line_table("1 PC.L Precentral_L 25 5 25 255").columns["acronym"]
    ['PC.L']
    """
    lines = list(_lines(text))
    if lines and _ITKSNAP_NUMBERS.match(lines[0][1]):
        return _table([number for number, _ in lines], [_itksnap(*line) for line in lines])
    stated = _stated_columns(text) if comment is None else plain_words(comment)
    parsed = [_labelled(*line) for line in lines]
    channels = _channels(parsed, stated)
    split = [_split(line, channels) for line in parsed]
    is_pair = _are_pairs(split, stated)
    kept = _without_repeats(split)
    numbers = [line.number for line in kept]
    return _table(numbers, [_cells(line, channels, is_pair) for line in kept])


def _table(numbers: Sequence[int], rows: Sequence[_Row]) -> Table:
    columns = dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=False))
    return Table(_COLUMNS, columns, Places("line", numbers), has_names=False)


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines that are neither blank nor comments, and their numbers."""
    for number, line in enumerate(text.splitlines(), 1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield number, stripped


def _wrong(number: int, line: str, form: str) -> FormatError:
    return FormatError(f"line {number} is {line[:80]!r}; lines are {form}")


def _itksnap(number: int, line: str) -> _Row:
    match = _ITKSNAP.fullmatch(line)
    if match is None:
        raise _wrong(number, line, 'IDX R G B A VIS MSH "LABEL"')
    label, red, green, blue, quoted, plain = match.group(*_ITKSNAP_GROUPS)
    return label, quoted or plain, NOT_STATED, red, green, blue


# ----- lines that begin with the label and a name


def _labelled(number: int, text: str) -> _Line:
    match = _LABELLED.fullmatch(text)
    if match is None:
        raise _wrong(number, text, "id name, or id name R G B A")
    label, rest = match[1], match[2].strip()
    if quoted := _QUOTED.fullmatch(rest):
        numbers = tuple(quoted[2].split())
        if all(map(_ALPHA.fullmatch, numbers)) and len(numbers) in (0, 3, 4):
            return _Line(number, text, label, (quoted[1].strip(),), numbers, is_quoted=True)
        if pair := _QUOTED_PAIR.fullmatch(rest):
            both = (pair[1].strip(), pair[2].strip())
            return _Line(number, text, label, both, tuple((pair[3] or "").split()), is_quoted=True)
    words = rest.split()
    count = _trailing(words)
    cut = len(words) - count
    return _Line(number, text, label, tuple(words[:cut]), tuple(words[cut:]))


def _trailing(words: Sequence[str]) -> int:
    """How many words at the end may be a colour, of all but the first; at most four."""
    last = words[1:][-4:]
    if last and len(words) > 1 and _ALPHA.fullmatch(last[-1]):
        count = 1
        while count < len(last) and _COLOUR.fullmatch(last[-1 - count]):
            count += 1
        return count
    return 0


def _channels(lines: Sequence[_Line], stated: Sequence[str]) -> int:
    """How many numbers at the ends of lines are a colour: 0, 3, or 4 with opacity."""
    if {"red", "green", "blue"} <= set(map(field_name, stated)):
        return 4 if any(plain_name(word) in ("a", "alpha") for word in stated) else 3
    coloured = [line for line in lines if len(line.numbers) >= 3]
    if 2 * len(coloured) < len(lines):
        return 0
    full = [line for line in coloured if len(line.numbers) == 4]
    are_constant = len({line.numbers[-1] for line in full}) == 1
    if len(full) == len(coloured):
        return 3 if not are_constant and _numbers_name(full) else 4
    return 4 if are_constant and 2 * len(full) > len(coloured) else 3


def _numbers_name(lines: Sequence[_Line]) -> bool:
    """Whether names are told apart by the first of four numbers alone, as Area 1 and Area 2 are."""
    short = {line.words for line in lines}
    return len(short) < len(lines) == len({(*line.words, line.numbers[0]) for line in lines})


def _split(line: _Line, channels: int) -> _Line:
    """Line whose numbers are its colour, and whose words are its name."""
    count = len(line.numbers)
    if line.is_quoted:
        if channels and count not in (0, channels):
            raise _wrong(line.number, line.text, _form(channels))
        return line
    if count < channels:
        raise _wrong(line.number, line.text, _form(channels))
    if count == channels:
        return line
    cut = count - channels
    words, numbers = (*line.words, *line.numbers[:cut]), line.numbers[cut:]
    return _Line(line.number, line.text, line.label, words, numbers)


def _form(channels: int) -> str:
    return {0: "id name", 3: "id name R G B", 4: "id name R G B A"}[channels]


def _are_pairs(lines: Sequence[_Line], stated: Sequence[str]) -> bool:
    """Whether the names are pairs, of a short and a long one."""
    if any(len(line.words) != 2 for line in lines):
        return False
    if all(line.is_quoted for line in lines):
        return True
    known = list(map(field_name, stated))
    if "acronym" in known and "name" in known:
        return True
    if "name" in known or not all(line.numbers for line in lines):
        return False
    by_label = {line.label: line.words for line in lines}
    shorts, longs = zip(*by_label.values(), strict=True)
    return (
        len(set(shorts)) == len(set(longs)) == len(by_label)
        and all(len(short) <= len(long) for short, long in by_label.values())
        and _FIRST_WORDS.isdisjoint(map(str.lower, shorts))
    )


def _without_repeats(lines: Sequence[_Line]) -> list[_Line]:
    """Lines without those that repeat one before, in the same colour, by a longer name.

    So FreeSurfer has called the thalamus over time, and tables of MRtrix have both names.
    """
    first: dict[str, _Line] = {}
    kept = []
    for line in lines:
        before = first.setdefault(line.label, line)
        is_same = bool(line.numbers) and before.numbers == line.numbers
        is_longer = " ".join(line.words).startswith(" ".join(before.words))
        if before is line or not (is_same and is_longer):
            kept.append(line)
    return kept


def _cells(line: _Line, channels: int, is_pair: bool) -> _Row:
    name = line.words[-1] if is_pair else " ".join(line.words)
    acronym = line.words[0] if is_pair else NOT_STATED
    # Lines with quotes may have no numbers where others have.
    rgb = line.numbers[:3] if channels and line.numbers else (NOT_STATED,) * 3
    return line.label, name, acronym, *rgb


# ----- the comment above


def _stated_columns(text: str) -> list[str]:
    """Names of columns in the last comment above the table; none if it names none."""
    comments = []
    for line in text.splitlines():
        if (stripped := line.strip()) and not stripped.startswith("#"):
            break
        if stripped.strip("#"):
            comments.append(stripped)
    return plain_words(comments[-1]) if comments else []


def plain_words(comment: str) -> list[str]:
    """Words of a comment that names columns.

    Examples
    --------
    >>> plain_words("#No. Label Name:   R   G  B  A"), plain_words("# made by us")
    (['Label', 'Name', 'R', 'G', 'B', 'A'], [])
    """
    # FreeSurfer calls the column of names "Label Name:".
    words = [word.strip(":,") for word in comment.strip("# \t").split()]
    words = [word for word in words if plain_name(word) != "no"]
    known = [w for w in words if field_name(w) or plain_name(w) in ("a", "alpha")]
    return known if len(known) >= 2 and len(known) == len(words) else []
