"""Look-up tables: labels line by line, without names of columns.

Lines are ``IDX R G B A VIS MSH "LABEL"`` (ITK-SNAP), ``id name R G B A`` (FreeSurfer),
``id short long R G B A`` (MRtrix), or ``id name``; names may be in quotes. A comment above them
that names the columns, like ``# index short long R G B A``, is believed.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from refspace.errors import FormatError
from refspace.formats.structures.cells import NOT_STATED, Cells, Places
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
# Lines that are turned into columns at a time: so few that they are gone before Python looks for
# garbage, which takes half of the time where it goes through many.
_LINES_AT_ONCE = 250
# What separates a label from a name. Other blanks between words are whatever Python takes for some.
_BLANKS = frozenset(" \t")
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
    first = next(filter(_is_filled, map(str.strip, text.splitlines())), "")
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
    numbers, lines = _lines(text)
    if lines and _ITKSNAP_NUMBERS.match(lines[0]):
        return _table(numbers, _columns(map(_itksnap, numbers, lines)))
    stated = _stated_columns(text) if comment is None else plain_words(comment)
    if (columns := _columns_at_once(lines, stated)) is not None:
        return _table(numbers, columns)
    parsed = list(map(_labelled, numbers, lines))
    channels = _channels(parsed, stated)
    split = [_split(line, channels) for line in parsed]
    is_pair = _are_pairs(split, stated)
    kept = _without_repeats(split)
    rows = (_cells(line, channels, is_pair) for line in kept)
    return _table([line.number for line in kept], _columns(rows))


def _table(numbers: Sequence[int], columns: Sequence[Cells]) -> Table:
    by_name = dict(zip(_COLUMNS, columns, strict=False))
    return Table(_COLUMNS, by_name, Places("line", numbers), has_names=False)


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Columns of some rows; none of no rows."""
    columns: list[list[Any]] = []
    rows = iter(rows)
    while part := list(islice(rows, _LINES_AT_ONCE)):
        columns = columns or [[] for _ in part[0]]
        for column, cells in zip(columns, zip(*part, strict=True), strict=True):
            column += cells
    return columns


def _lines(text: str) -> tuple[list[int], list[str]]:
    """Numbers of the lines that are neither blank nor comments, and these lines."""
    lines = list(map(str.strip, text.splitlines()))
    numbers = [n for n, line in enumerate(lines, 1) if _is_filled(line)]
    return numbers, [lines[n - 1] for n in numbers]


def _is_filled(line: str) -> bool:
    """Whether a line without blanks around it is neither empty nor a comment."""
    return line[:1] not in ("", "#")


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
    if last and _ALPHA.fullmatch(last[-1]):
        count = 1
        while count < len(last) and _COLOUR.fullmatch(last[-1 - count]):
            count += 1
        return count
    return 0


def _channels(lines: Sequence[_Line], stated: Sequence[str]) -> int:
    """How many numbers at the ends of lines are a colour: 0, 3, or 4 with opacity."""
    if channels := _stated_channels(stated):
        return channels
    coloured = [line for line in lines if len(line.numbers) >= 3]
    if 2 * len(coloured) < len(lines):
        return 0
    full = [line for line in coloured if len(line.numbers) == 4]
    are_constant = len({line.numbers[-1] for line in full}) == 1
    if len(full) == len(coloured):
        return 3 if not are_constant and _numbers_name(full) else 4
    return 4 if are_constant and 2 * len(full) > len(coloured) else 3


def _stated_channels(stated: Sequence[str]) -> int:
    """How many numbers are a colour by the comment above; 0 where it tells of none."""
    if {"red", "green", "blue"} <= set(map(field_name, stated)):
        return 4 if any(plain_name(word) in ("a", "alpha") for word in stated) else 3
    return 0


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
    by_label = {line.label: line.words for line in lines}
    shorts, longs = zip(*by_label.values(), strict=True)
    return _are_short_and_long(shorts, longs, stated, all(line.numbers for line in lines))


def _are_short_and_long(
    shorts: Sequence[str], longs: Sequence[str], stated: Sequence[str], are_coloured: bool
) -> bool:
    """Whether words of each label are a short and a long name."""
    known = list(map(field_name, stated))
    if "acronym" in known and "name" in known:
        return True
    if "name" in known or not are_coloured:
        return False
    return (
        len(set(shorts)) == len(set(longs)) == len(shorts)
        and all(len(short) <= len(long) for short, long in zip(shorts, longs, strict=True))
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


# ----- lines that are all alike


def _columns_at_once(lines: Sequence[str], stated: Sequence[str]) -> list[Cells] | None:
    """Columns of lines that are all alike, as `_cells` has them; None where they may not be.

    Alike are lines without quotes, each of another label, that end in as many numbers. They are
    taken apart all together, in a third of the time that they take one by one.
    """
    try:
        labels, rests = _columns(line.split(None, 1) for line in lines)
        ending = _trailing(rests[0].split())
        count = ending if ending >= 3 else 0
        names, *numbers = _columns(rest.rsplit(None, count) for rest in rests)
    except ValueError:  # lines of fewer words
        return None
    names = [" ".join(words) for words in map(str.split, names)]
    are_alike = _are_plain(lines, labels, rests) and _are_numbers(numbers)
    if not are_alike or _channels_at_once(names, numbers, stated) != count:
        return None
    acronyms: Cells = [NOT_STATED] * len(names)
    if all(name.count(" ") == 1 for name in names):
        shorts, longs = _columns(map(str.split, names))
        if _are_short_and_long(shorts, longs, stated, bool(count)):
            acronyms, names = shorts, longs
    # Each text of a number once, of which there are few: the rest of them is memory.
    rgb: list[Cells] = [list(map(sys.intern, column)) for column in numbers[:3]]
    rgb = rgb or [[NOT_STATED] * len(names)] * 3
    return [labels, names, acronyms, *rgb]


def _are_plain(lines: Sequence[str], labels: Sequence[str], rests: Sequence[str]) -> bool:
    """Whether lines begin with a label, each with its own, and go on without quotes."""
    after = {line[len(label)] for line, label in zip(lines, labels, strict=True)}
    is_quoted = any(rest[0] == '"' for rest in rests)
    is_unique = len(set(labels)) == len(labels)
    return after <= _BLANKS and is_unique and not is_quoted and _are_digits(labels)


def _are_digits(words: Sequence[str]) -> bool:
    digits = "".join(words)
    return digits.isascii() and digits.isdecimal()


def _are_numbers(columns: Sequence[Sequence[str]]) -> bool:
    """Whether columns of words are a colour, as `_trailing` takes it."""
    if not columns:
        return True
    *whole, last = columns
    is_last = _are_digits(last) or all(map(_ALPHA.fullmatch, last))
    return is_last and all(map(_are_digits, whole))


def _channels_at_once(
    names: Sequence[str], numbers: Sequence[Sequence[str]], stated: Sequence[str]
) -> int | None:
    """How many numbers are a colour, as `_channels` tells it; None where it has to.

    Parameters
    ----------
    names
        What is before the numbers, with one blank between words.
    numbers
        Columns of the numbers at the ends of all lines: none, three or four.
    """
    if channels := _stated_channels(stated):
        return channels
    words = map(str.split, names)
    if not numbers:
        coloured = sum(_trailing(each) >= 3 for each in words)
        return 0 if 2 * coloured < len(names) else None
    if len(numbers) == 3:
        has_fourth = any(len(each) > 1 and _COLOUR.fullmatch(each[-1]) for each in words)
        return None if has_fourth else 3
    is_clear = len(set(numbers[-1])) == 1 or len(set(names)) == len(names)
    return 4 if is_clear else None


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
