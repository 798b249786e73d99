"""Columns of cells: what they hold, converted column by column.

Tables of labels have up to millions of rows. What a column holds is looked at all at once, which
takes a tenth of the time; cell by cell it is read where cells are of several kinds, and where one
is wrong and its row has to be named.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

from refspace.formats.structures import fields
from refspace.types import MAX_LABEL

# Digits that a whole number has.
_LENGTHS = frozenset(range(1, 11))

Cells = Sequence[Any]
"""Cells of a column: values, None for nothing, and `NOT_STATED`."""


class _NotStated:
    """A key that a record does not have."""

    def __repr__(self) -> str:
        return "NOT_STATED"

    def __reduce__(self) -> str:
        # The same object in other processes: it is told by identity.
        return "NOT_STATED"


NOT_STATED: Final = _NotStated()


@dataclass(frozen=True)
class Places:
    """Places of rows in a file, for messages, like ``line 3``.

    Examples
    --------
    >>> Places("line", [1, 3])[1]
    'line 3'
    """

    kind: str
    numbers: Sequence[int]

    def __getitem__(self, row: int) -> str:
        return f"{self.kind} {self.numbers[row]}"

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Sequence[int]) -> "Places":
        """Places of some of the rows."""
        return Places(self.kind, [self.numbers[row] for row in rows])


class RecordColumns(Mapping[str, Cells]):
    """Columns of records with keys, each made when it is looked up.

    Records of a hostile file have a million keys between them, of which few are looked up.

    Examples
    --------
    >>> RecordColumns([{"id": 8, "name": None}, {"id": 9}])["name"]
    [None, NOT_STATED]
    """

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self._records = records
        self._names = dict.fromkeys(name for record in records for name in record)

    def __getitem__(self, name: str) -> Cells:
        if name not in self._names:
            raise KeyError(name)
        return [record.get(name, NOT_STATED) for record in self._records]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Lists(Sequence[list[Any]]):
    """Column of lists of a value of each of some columns, made when they are looked up.

    A million lists take longer than all else, for Python looks for garbage among them.

    Examples
    --------
    >>> lists = Lists([[1, 2], [10, 20]])
    >>> lists[1], len(lists), [*lists]
    ([2, 20], 2, [[1, 10], [2, 20]])
    """

    def __init__(self, columns: Sequence[Cells]) -> None:
        self._columns = columns

    @overload
    def __getitem__(self, row: int) -> list[Any]: ...

    @overload
    def __getitem__(self, row: slice) -> "Lists": ...

    def __getitem__(self, row: int | slice) -> "list[Any] | Lists":
        cells = [column[row] for column in self._columns]
        return Lists(cells) if isinstance(row, slice) else cells

    def __len__(self) -> int:
        return len(self._columns[0])


def holds_nothing(cell: object) -> bool:
    """Whether a cell of a column is None or not stated."""
    return cell is None or cell is NOT_STATED


def holds_any_nothing(cells: Cells) -> bool:
    """Whether a cell of a column, or several, are None or not stated."""
    return None in cells or NOT_STATED in cells


def without_missing(cells: Cells, texts: Collection[str]) -> Cells:
    """Cells with None for each that holds nothing.

    Parameters
    ----------
    cells
        The cells.
    texts
        Texts that stand for nothing, in lower case.

    Examples
    --------
    >>> without_missing(["7", " ", "N/A", NOT_STATED], {"", "n/a"})
    ['7', None, None, NOT_STATED]
    """
    if _is_nothing_stated(cells):
        return cells
    if _are_all(cells, str) and frozenset(texts).isdisjoint(map(str.lower, map(str.strip, cells))):
        return cells
    return [None if fields.is_missing(cell, texts) else cell for cell in cells]


def first_of(columns: Sequence[Cells], rows: int) -> Cells:
    """Of several columns, the first cell of each row that holds something.

    Where none does, it is None if any is.

    Examples
    --------
    >>> first_of([[7, None, NOT_STATED], [8, 9, None]], 3)
    [7, 9, None]
    """
    found: Cells | None = None
    for cells in columns:
        found = cells if found is None else list(map(_first, found, cells))
    return [NOT_STATED] * rows if found is None else found


def _first(cell: Any, other: Any) -> Any:
    if not holds_nothing(cell):
        return cell
    return other if cell is NOT_STATED or not holds_nothing(other) else cell


def holds_text(cells: Cells, text: str) -> bool:
    """Whether any cell is a text, blanks around it aside.

    Examples
    --------
    >>> holds_text(["7", " n/a"], "n/a"), holds_text([7, 8], "n/a")
    (True, False)
    """
    return text in map(str.strip, (cell for cell in cells if isinstance(cell, str)))


# ----- conversion


def convert(cells: Cells, where: Places, what: str, read: Callable[[Any], Any]) -> list[Any]:
    """Cells as a function reads them; those that hold nothing stay as they are.

    Parameters
    ----------
    cells
        The cells.
    where
        Places of their rows.
    what
        What they hold, for messages.
    read
        Reads a cell; a ValueError says what is allowed.

    Raises
    ------
    FormatError
        If a cell holds anything else.
    """
    if _is_nothing_stated(cells):
        return list(cells)
    converted = []
    for row, cell in enumerate(cells):
        try:
            converted.append(cell if holds_nothing(cell) else read(cell))
        except ValueError as error:
            raise fields.bad_cell(where[row], what, cell, error) from error
    return converted


def whole_numbers(cells: Cells, where: Places, what: str, most: int = MAX_LABEL) -> list[Any]:
    """Whole numbers from 0 on; cells that hold nothing stay as they are.

    Parameters
    ----------
    cells, where, what
        As for `convert`.
    most
        The largest number that is allowed.

    Raises
    ------
    FormatError
        If a cell holds anything else.

    Examples
    --------
    >>> whole_numbers(["7", None, "8.0"], Places("line", [1, 2, 3]), "id")
    [7, None, 8]
    """
    present = cells
    if holds_any_nothing(cells):
        present = [cell for cell in cells if not holds_nothing(cell)]
    numbers = _whole_numbers_at_once(present)
    if numbers is None or (numbers and not 0 <= min(numbers) <= max(numbers) <= most):
        return convert(cells, where, what, lambda cell: fields.whole_number(cell, most))
    if len(present) == len(cells):
        return numbers
    following = iter(numbers)
    return [cell if holds_nothing(cell) else next(following) for cell in cells]


def _whole_numbers_at_once(cells: Sequence[Any]) -> list[int] | None:
    """Numbers of cells that are all integers, or all digits; None if they are anything else."""
    if _are_all(cells, int):
        return list(cells)
    if not _are_all(cells, str):
        return None
    texts = set(cells)
    digits, lengths = "".join(texts), set(map(len, texts))
    # As many as `fields.whole_number` takes.
    is_plain = digits.isascii() and digits.isdecimal() and lengths <= _LENGTHS
    if not is_plain:
        return None
    # Of colours there are few, each of them on many rows.
    numbers = {text: int(text) for text in texts} if 2 * len(texts) < len(cells) else None
    return list(map(int if numbers is None else numbers.__getitem__, cells))


def texts(cells: Cells, where: Places, what: str, read: Callable[[Any], Any]) -> list[Any]:
    """Texts without the blanks around them, by `convert` where any cell is something else."""
    if _are_all(cells, str):
        return list(map(str.strip, cells))
    return convert(cells, where, what, read)


def _is_nothing_stated(cells: Cells) -> bool:
    return cells.count(NOT_STATED) == len(cells)


def _are_all(cells: Sequence[Any], kind: type) -> bool:
    """Whether all cells are of one type, and none of a subclass: bool is one of int."""
    return set(map(type, cells)) == {kind}
