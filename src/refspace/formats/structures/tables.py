"""What every format of structures is read as: columns with names, and the tree they become."""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refspace.errors import FormatError, OntologyError
from refspace.formats.structures import cells as cell_columns
from refspace.formats.structures import fields
from refspace.formats.structures.cells import NOT_STATED, Cells, Lists, Places, holds_nothing
from refspace.safe_text import has_surrogate
from refspace.structure_tree import StructureTree
from refspace.structure_tree.checked import LOOKED_UP, CheckedStructures
from refspace.structure_tree.numbering import Numbering
from refspace.structure_tree.records import Record, listing, refuse_surrogate, structure_id
from refspace.types import BACKGROUND, MAX_LABEL


@dataclass(frozen=True)
class Table:
    """Rows of a file, by columns.

    Parameters
    ----------
    names
        Names of the columns, or the keys of records, in their order.
    columns
        Cells of each column. There need be none of a name.
    where
        Places of the rows in the file.
    above
        Position of the row that holds each, where records are nested.
    are_keys
        Whether they are records of JSON: ids are stated in full, null is a value, and the order of
        rows means nothing.
    has_names
        Whether the file states the names; if not, the caller cannot refer to them.
    """

    names: Sequence[str]
    columns: Mapping[str, Cells]
    where: Places
    above: Sequence[int | None] | None = None
    are_keys: bool = False
    has_names: bool = True

    @property
    def is_nested(self) -> bool:
        """Whether rows lie in each other."""
        return self.above is not None


def make_tree(table: Table, chosen: Mapping[str, str]) -> StructureTree:
    """Make the structures of a file.

    Parameters
    ----------
    table
        Its rows.
    chosen
        Names of columns by field, as the caller gives them.

    Raises
    ------
    FormatError
        If a row does not hold what it should; the message names it, and what it holds.
    OntologyError
        If the structures do not form a tree.

    Examples
    --------
    >>> columns = {"idx": ["7.0"], "name": [" Cortex "]}
    >>> make_tree(Table(["idx", "name"], columns, Places("line", [2])), {})[7]["name"]
    'Cortex'
    """
    if chosen and not table.has_names:
        raise FormatError("has no names of columns; leave columns= away, or give it a header")
    return _Reader(table, chosen).tree()


class _Reader:
    """Reads the columns of one table."""

    def __init__(self, table: Table, chosen: Mapping[str, str]) -> None:
        self._table = table
        self._columns = fields.choose_columns(table.names, chosen, are_keys=table.are_keys)
        self._is_told = "id" in map(fields.field_name, chosen)
        # BrainGlobe's paths are of identifiers, which may differ from the ids of voxels.
        self._by_identifier = _is_brainglobe(table.names, chosen)
        # What states paths is complete, as our own nodes are: nothing is added to it.
        self._is_complete = bool(self._columns["path"]) and not self._by_identifier
        self._has_paths = self._is_complete and not table.is_nested
        if not len(table.where):
            raise FormatError("holds no structures, only the names of columns")
        self._missing_texts = self._texts_for_nothing()

    def _texts_for_nothing(self) -> Collection[str]:
        """Acronyms and names that are none; NA, for one, is an acronym in some atlases."""
        # In look-up tables, and those that pandas makes of records, whatever is there is a text.
        if self._table.are_keys or self._is_complete or not self._table.has_names:
            return fields.NO_TEXT
        columns = self._table.columns.values()
        is_bids = any(cell_columns.holds_text(cells, "n/a") for cells in columns)
        return fields.BIDS_MISSING_TEXTS if is_bids else fields.MISSING_TEXTS

    def tree(self) -> StructureTree:
        """Structures of all rows but the background."""
        ids = self._identifier_ids() if self._by_identifier else self._ids()
        self._refuse_twins(ids)
        parents = self._parents(ids)
        kept = [row for row, own in enumerate(ids) if self._is_structure(own, parents)]
        if not kept:
            raise FormatError("names no label but the background")
        rows = _Rows(self._table.where, None)
        if len(kept) < len(ids):
            rows = _Rows(self._table.where.take(kept), kept)
        own, above = rows.take(ids), rows.take(parents)
        stated = self._stated(rows)
        paths = stated.pop("structure_id_path", None)
        if paths is not None:
            above = _parents_by_paths(rows.where, own, above, paths)
        numbering = Numbering.from_parents(own, above)
        if paths is not None:
            _refuse_other_paths(numbering, paths)
        texts = {name: _or_none(stated.get(name), len(own)) for name in LOOKED_UP}
        for name, column in texts.items():
            _refuse_surrogates(own, name, column)
        return StructureTree(CheckedStructures(numbering, _Records(numbering, stated), texts))

    def _is_structure(self, own: int, parents: Sequence[int | None]) -> bool:
        """Whether a row is of a structure; one of label 0 names the background, as a rule."""
        is_list = not (self._table.are_keys or self._is_complete)
        return own != BACKGROUND or not is_list or BACKGROUND in parents

    def _refuse_twins(self, ids: Sequence[int]) -> None:
        # Of keys, the tree lists all of them.
        if self._table.are_keys or len(set(ids)) == len(ids):
            return
        where, first = self._table.where, dict[int, int]()
        for row, own in enumerate(ids):
            if own in first:
                raise FormatError(
                    f"{where[row]}: id {own} is on {where[first[own]]} already; give each once"
                )
            first[own] = row

    # ----- ids and parents

    def _ids(self) -> list[int]:
        where = self._table.where
        ids = cell_columns.whole_numbers(self._cells("id"), where, "id")
        if not (self._table.are_keys or self._is_told):
            self._refuse_rivals(ids)
        if not cell_columns.holds_any_nothing(ids):
            return ids
        lacking = [row for row, own in enumerate(ids) if holds_nothing(own)]
        if len(lacking) == len(ids):
            raise FormatError(
                f"no record has an id; keys are {fields.listed_names(self._table.names)}"
            )
        if not self._table.is_nested:
            names = fields.listed_names(self._columns["id"])
            raise FormatError(f"{where[lacking[0]]} has no id; give it one in {names}")
        unused = max(own for own in ids if not holds_nothing(own)) + 1
        for number, row in enumerate(lacking):
            # A group of regions, which has no voxels of its own, and no label.
            ids[row] = unused + number
        return ids

    def _refuse_rivals(self, ids: Sequence[int | None]) -> None:
        """Refuse a table with two columns that may equally well hold the ids, and differ."""
        taken = [name for names in self._columns.values() for name in names]
        for name in fields.rivals(self._table.names, self._columns["id"][0]):
            cells = self._table.columns.get(name, ())
            if cells and name not in taken and fields.are_whole_numbers(cells, ids):
                own = self._columns["id"][0]
                raise FormatError(
                    f"columns {own[:40]!r} and {name[:40]!r} may both hold the ids; say which, as "
                    f"in columns={{'id': {name[:40]!r}}}"
                )

    def _parents(self, ids: Sequence[int]) -> list[int | None]:
        if self._table.above is not None:
            return [None if row is None else ids[row] for row in self._table.above]
        if self._by_identifier:
            return self._identifier_parents(ids)
        cells = [_stated_parent(cell) for cell in self._cells("parent")]
        parents = cell_columns.whole_numbers(cells, self._table.where, "parent")
        # Tables write 0 where there is no parent, unless a structure has that id.
        if BACKGROUND in ids:
            return parents
        return [None if parent == BACKGROUND else parent for parent in parents]

    def _identifier_ids(self) -> list[int]:
        """Ids of BrainGlobe's structures: the values of their voxels, where they have any."""
        cells = self._first_of(("annotation_value", "identifier"))
        for row, cell in enumerate(cells):
            if holds_nothing(cell):
                allowed = f"a whole number from 0 to {MAX_LABEL}"
                raise fields.bad_cell(self._table.where[row], "id", None, allowed)
        return cell_columns.whole_numbers(cells, self._table.where, "id")

    def _identifier_parents(self, ids: Sequence[int]) -> list[int | None]:
        """Ids of the parents of BrainGlobe's structures, which are named by their identifiers."""
        identifiers = map(_key, self._table.columns["identifier"])
        known = dict(zip(identifiers, ids, strict=True))

        def parent(cell: Any) -> int | None:
            key = _key(cell)
            if key in known:
                return known[key]
            is_none = fields.is_no_parent(cell) or key == str(BACKGROUND)
            # The tree says which it lacks.
            return None if is_none else fields.whole_number(cell)

        named = self._first_of(("parent_identifier",))
        parents = cell_columns.convert(named, self._table.where, "parent_identifier", parent)
        return [None if each is NOT_STATED else each for each in parents]

    # ----- other fields

    def _stated(self, rows: "_Rows") -> dict[str, Cells]:
        """Columns of records: what the rows state, and what follows from it."""
        own_texts = self._own_texts(rows)
        stated: dict[str, Cells] = {}
        for field, (name, read) in _READERS.items():
            if not self._columns[field] or (field == "path" and not self._has_paths):
                continue
            cells = rows.take(self._cells(field))
            if field in LOOKED_UP:
                stated[name] = _texts(cells, rows.where, field, own_texts)
            else:
                stated[name] = cell_columns.convert(cells, rows.where, field, read)
        if "structure_set_ids" in stated:
            stated["structure_set_ids"] = list(map(_sorted_sets, stated["structure_set_ids"]))
        self._add_channels(rows, stated)
        if not self._is_complete:
            self._add_following(rows, stated)
        return stated

    def _own_texts(self, rows: "_Rows") -> Sequence[bool] | None:
        """Whether each row is one of our own records, whose texts are kept to the letter."""
        if not self._columns["path"]:
            return None
        return [isinstance(cell, list) for cell in rows.take(self._cells("path"))]

    def _add_channels(self, rows: "_Rows", stated: dict[str, Cells]) -> None:
        """Add colours of three columns, to those rows that state none otherwise."""
        if not all(self._columns[channel] for channel in _CHANNELS):
            return
        channels = [rows.take(self._cells(channel)) for channel in _CHANNELS]
        has_none = "rgb_triplet" not in stated
        if has_none and not any(map(cell_columns.holds_any_nothing, channels)):
            stated["rgb_triplet"] = Lists(_channel_numbers(channels, rows.where))
            return
        colors = list(stated.get("rgb_triplet", [NOT_STATED] * len(rows.where)))
        lacking = [
            row
            for row, cells in enumerate(zip(colors, *channels, strict=True))
            if holds_nothing(cells[0]) and not all(map(holds_nothing, cells[1:]))
        ]
        filled = [
            ["" if holds_nothing(cells[row]) else cells[row] for row in lacking]
            for cells in channels
        ]
        numbers = _channel_numbers(filled, rows.where.take(lacking))
        for row, rgb in zip(lacking, zip(*numbers, strict=True), strict=True):
            colors[row] = list(rgb)
        stated["rgb_triplet"] = colors

    def _add_following(self, rows: "_Rows", stated: dict[str, Cells]) -> None:
        """Add fields that follow from others, in a file that is no list of whole records."""
        nothing = [NOT_STATED] * len(rows.where)
        names, acronyms = stated.get("name", nothing), stated.get("acronym", nothing)
        lacks = [cell is NOT_STATED for cell in acronyms]
        if not self._table.are_keys and self._columns["name"] and not self._columns["parent"]:
            for row, name in enumerate(names):
                if lacks[row] and holds_nothing(name):
                    label = rows.take(self._cells("id"))[row]
                    raise FormatError(
                        f"{rows.where[row]}: id {str(label)[:40]} has no name; give it one"
                    )
        if any(lacks):
            stated["acronym"] = [
                (NOT_STATED if name is None else name) if lacking else acronym
                for lacking, name, acronym in zip(lacks, names, acronyms, strict=True)
            ]
        if not (self._table.are_keys or self._columns["graph_order"]):
            stated["graph_order"] = range(len(rows.where))

    # ----- cells

    def _cells(self, field: str) -> Cells:
        """First cell of a field in each row that holds something."""
        # Where numbers are due, n/a is no text.
        texts = self._missing_texts if field in LOOKED_UP else fields.MISSING_TEXTS
        return self._first_of(self._columns[field], texts)

    def _first_of(
        self, names: Sequence[str], texts: Collection[str] = fields.MISSING_TEXTS
    ) -> Cells:
        columns = (self._table.columns.get(name) for name in names)
        found = cell_columns.first_of(
            [cell_columns.without_missing(cells, texts) for cells in columns if cells is not None],
            len(self._table.where),
        )
        if self._table.are_keys:
            return found
        # Null is a value in JSON alone.
        return [NOT_STATED if cell is None else cell for cell in found] if None in found else found


@dataclass(frozen=True)
class _Rows:
    """Rows that are of structures: some of those of a table, or all."""

    where: Places
    kept: Sequence[int] | None

    def take(self, cells: Cells) -> Cells:
        """Cells of these rows."""
        return cells if self.kept is None else [cells[row] for row in self.kept]


class _Records(Mapping[int, Record]):
    """Records of structures by id, each made when it is looked up.

    They are not kept: those of a million structures take a gigabyte, the columns a third of it.
    """

    def __init__(self, numbering: Numbering, columns: Mapping[str, Cells]) -> None:
        self._numbering = numbering
        self._columns = columns
        self._rows = {own: row for row, own in enumerate(numbering.parents)}

    def __getitem__(self, own: int) -> Record:
        return self._record(own, self._rows[own])

    def _record(self, own: int, row: int) -> Record:
        stated = {name: cells[row] for name, cells in self._columns.items()}
        record = {"id": own} | {n: cell for n, cell in stated.items() if cell is not NOT_STATED}
        record.setdefault("structure_set_ids", [])
        record["structure_id_path"] = self._numbering.path(own)
        return record

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _parents_by_paths(
    where: Places, ids: Sequence[int], parents: Sequence[int | None], paths: Cells
) -> list[int | None]:
    """Parents, from the path where there is one; refuse paths that contradict what is stated.

    A path leads to its structure, and from the parent that is stated.
    """
    by_paths = []
    for row, (own, parent, path) in enumerate(zip(ids, parents, paths, strict=True)):
        if holds_nothing(path) or not path:
            by_paths.append(parent)
            continue
        if path[-1] != own:
            raise OntologyError(
                f"{where[row]}: structure_id_path of id {own} ends in {path[-1]}; a path ends in "
                "the id itself"
            )
        above = path[-2] if len(path) > 1 else None
        if parent not in (None, above):
            what = "a root" if above is None else f"below {above}"
            raise OntologyError(
                f"{where[row]}: the parent of id {own} is {parent}, but it is {what} by "
                "structure_id_path; mend one of them"
            )
        by_paths.append(above)
    return by_paths


def _refuse_other_paths(numbering: Numbering, paths: Cells) -> None:
    """Refuse paths that are stated and do not follow from the parents."""
    pairs = zip(numbering.parents, paths, strict=True)
    stated = [(own, path) for own, path in pairs if not holds_nothing(path) and path]
    wrong = [own for own, path in stated if path != numbering.path(own)]
    if wrong:
        raise OntologyError(f"structure_id_path contradicts the parents' paths: {listing(wrong)}")


def _is_brainglobe(names: Sequence[str], chosen: Mapping[str, str]) -> bool:
    is_told = not {"id", "parent"}.isdisjoint(map(fields.field_name, chosen))
    return not is_told and {"identifier", "parent_identifier"} <= set(names)


def _stated_parent(cell: Any) -> Any:
    """Cell of a parent; None where it holds nothing, or what stands for no parent."""
    is_none = holds_nothing(cell) or ("-" in str(cell) and fields.is_no_parent(cell))
    return None if is_none else cell


def _key(value: Any) -> str:
    """Identifier as a text, whatever pandas has made of a number."""
    text = str(value).strip()
    return text[: -len(".0")] if text.endswith(".0") else text


def _or_none(cells: Cells | None, rows: int) -> list[Any]:
    """Cells with None for those that are not stated."""
    if cells is None:
        return [None] * rows
    return [None if cell is NOT_STATED else cell for cell in cells]


def _refuse_surrogates(ids: Sequence[int], field: str, values: Sequence[Any]) -> None:
    # All at once, and one by one where any is wrong.
    if has_surrogate("".join(value for value in values if isinstance(value, str))):
        for own, value in zip(ids, values, strict=True):
            refuse_surrogate(own, field, value)


def _sorted_sets(ids: Any) -> Any:
    """Ids of sets, each once; not stated stays so."""
    return ids if ids is NOT_STATED else sorted(set(map(structure_id, ids or ())))


def _channel_numbers(channels: Sequence[Cells], where: Places) -> list[list[int]]:
    """Numbers of columns of cells that are each a channel of colours."""
    return [cell_columns.whole_numbers(cells, where, "colour", 255) for cells in channels]


def _texts(cells: Cells, where: Places, field: str, own_texts: Sequence[bool] | None) -> list[Any]:
    """Acronyms or names."""
    read = cell_columns.texts(cells, where, field, _text)
    if own_texts is None or not any(own_texts):
        return read
    return [
        cell if is_own and isinstance(cell, str) else text
        for is_own, cell, text in zip(own_texts, cells, read, strict=True)
    ]


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, Hashable):
        raise ValueError("a text")
    # Tables of numbers hold acronyms that are digits as numbers.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


_CHANNELS = ("red", "green", "blue")
# Names of fields in records, and what reads their cells.
_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "path": ("structure_id_path", fields.number_list),
    "color": ("rgb_triplet", fields.color),
    "graph_order": ("graph_order", fields.integer),
    "graph_id": ("graph_id", fields.whole_number),
    "sets": ("structure_set_ids", fields.set_ids),
    "acronym": ("acronym", _text),
    "name": ("name", _text),
}
