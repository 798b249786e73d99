"""What every format of structures is read as: rows with names, and the records that they become."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refspace.errors import FormatError, OntologyError
from refspace.formats.structures import fields
from refspace.structure_tree.records import Record
from refspace.types import BACKGROUND, MAX_LABEL


@dataclass(frozen=True)
class Row:
    """A structure as a file states it.

    Parameters
    ----------
    where
        Its place in the file, for messages, like ``line 3``.
    values
        What is stated, by the names of columns or keys.
    above
        Position of the row that holds this one, where records are nested.
    """

    where: str
    values: Mapping[str, Any]
    above: int | None = None


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Parameters
    ----------
    names
        Names of the columns, or the keys of records, in their order.
    rows
        The rows.
    are_keys
        Whether they are records of JSON: ids are stated in full, null is a value, and the order of
        rows means nothing.
    is_nested
        Whether rows lie in each other.
    has_names
        Whether the file states the names; if not, the caller cannot refer to them.
    """

    names: Sequence[str]
    rows: Sequence[Row]
    are_keys: bool = False
    is_nested: bool = False
    has_names: bool = True


def make_records(table: Table, chosen: Mapping[str, str]) -> list[Record]:
    """Make records for `StructureTree.clean_structures` of the rows of a file.

    Parameters
    ----------
    table
        The rows.
    chosen
        Names of columns by field, as the caller gives them.

    Raises
    ------
    FormatError
        If a row does not hold what it should; the message names it, and what it holds.

    Examples
    --------
    >>> table = Table(["idx", "name"], [Row("line 2", {"idx": "7.0", "name": " Cortex "})])
    >>> make_records(table, {})[0]["name"]
    'Cortex'
    """
    if chosen and not table.has_names:
        raise FormatError("has no names of columns; leave columns= away, or give it a header")
    return _Reader(table, chosen).records()


class _Reader:
    """Reads the rows of one table."""

    def __init__(self, table: Table, chosen: Mapping[str, str]) -> None:
        self._table = table
        self._columns = fields.choose_columns(table.names, chosen, are_keys=table.are_keys)
        self._is_told = "id" in map(fields.field_name, chosen)
        # BrainGlobe's paths are of identifiers, which may differ from the ids of voxels.
        self._by_identifier = _is_brainglobe(table.names, chosen)
        # What states paths is complete, as our own nodes are: nothing is added to it.
        self._is_complete = bool(self._columns["path"]) and not self._by_identifier
        self._has_paths = self._is_complete and not table.is_nested
        if not table.rows:
            raise FormatError("holds no structures, only the names of columns")
        self._missing_texts = self._texts_for_nothing()

    def _texts_for_nothing(self) -> Collection[str]:
        """Acronyms and names that are none; NA, for one, is an acronym in some atlases."""
        # In look-up tables, and those that pandas makes of records, whatever is there is a text.
        if self._table.are_keys or self._is_complete or not self._table.has_names:
            return fields.NO_TEXT
        cells = (cell for row in self._table.rows for cell in row.values.values())
        is_bids = any(isinstance(cell, str) and cell.strip() == "n/a" for cell in cells)
        return fields.BIDS_MISSING_TEXTS if is_bids else fields.MISSING_TEXTS

    def records(self) -> list[Record]:
        """Records of all rows but the background."""
        rows = self._table.rows
        ids = self._identifier_ids() if self._by_identifier else self._ids()
        self._refuse_twins(ids)
        parents = self._parents(ids)
        kept = [i for i, own in enumerate(ids) if self._is_structure(own, parents)]
        if not kept:
            raise FormatError("names no label but the background")
        records: list[Record] = [
            {"id": ids[i], "parent_structure_id": parents[i]} | self._stated(rows[i], order)
            for order, i in enumerate(kept)
        ]
        for i, record in zip(kept, records, strict=True):
            _check_path(rows[i], record)
        return records

    def _is_structure(self, own: int, parents: Sequence[int | None]) -> bool:
        """Whether a row is of a structure; one of label 0 names the background, as a rule."""
        is_list = not (self._table.are_keys or self._is_complete)
        return own != BACKGROUND or not is_list or BACKGROUND in parents

    def _refuse_twins(self, ids: Sequence[int]) -> None:
        if self._table.are_keys:
            return  # the tree lists all of them
        first: dict[int, str] = {}
        for row, own in zip(self._table.rows, ids, strict=True):
            if own in first:
                raise FormatError(
                    f"{row.where}: id {own} is on {first[own]} already; give each once"
                )
            first[own] = row.where

    # ----- ids and parents

    def _ids(self) -> list[int]:
        ids = [self._number(row, "id") for row in self._table.rows]
        if not (self._table.are_keys or self._is_told):
            self._refuse_rivals(ids)
        if not any(own is not None for own in ids):
            raise FormatError(
                f"no record has an id; keys are {fields.listed_names(self._table.names)}"
            )
        unused = max(own for own in ids if own is not None) + 1
        for i, (row, own) in enumerate(zip(self._table.rows, ids, strict=True)):
            if own is not None:
                continue
            if not self._table.is_nested:
                names = fields.listed_names(self._columns["id"])
                raise FormatError(f"{row.where} has no id; give it one in {names}")
            # A group of regions, which has no voxels of its own, and no label.
            ids[i], unused = unused, unused + 1
        return [own for own in ids if own is not None]

    def _refuse_rivals(self, ids: Sequence[int | None]) -> None:
        """Refuse a table with two columns that may equally well hold the ids, and differ."""
        taken = [name for names in self._columns.values() for name in names]
        for name in fields.rivals(self._table.names, self._columns["id"][0]):
            cells = [row.values.get(name) for row in self._table.rows]
            if name not in taken and fields.are_whole_numbers(cells, ids):
                own = self._columns["id"][0]
                raise FormatError(
                    f"columns {own[:40]!r} and {name[:40]!r} may both hold the ids; say which, as "
                    f"in columns={{'id': {name[:40]!r}}}"
                )

    def _parents(self, ids: Sequence[int]) -> list[int | None]:
        if self._table.is_nested:
            return [None if row.above is None else ids[row.above] for row in self._table.rows]
        if self._by_identifier:
            return self._identifier_parents(ids)
        known = set(ids)
        return [self._parent(row, known) for row in self._table.rows]

    def _parent(self, row: Row, known: set[int]) -> int | None:
        if fields.is_no_parent(self._value(row, "parent")):
            return None
        parent = self._number(row, "parent")
        # Tables write 0 where there is no parent, unless a structure has that id.
        return None if parent == BACKGROUND and BACKGROUND not in known else parent

    def _identifier_ids(self) -> list[int]:
        """Ids of BrainGlobe's structures: the values of their voxels, where they have any."""
        ids = [_first(row, ("annotation_value", "identifier")) for row in self._table.rows]
        return [
            self._whole(row.where, "id", value)
            for row, value in zip(self._table.rows, ids, strict=True)
        ]

    def _identifier_parents(self, ids: Sequence[int]) -> list[int | None]:
        """Ids of the parents of BrainGlobe's structures, which are named by their identifiers."""
        rows = self._table.rows
        identifiers = [_key(row.values.get("identifier")) for row in rows]
        known = dict(zip(identifiers, ids, strict=True))
        named = [_first(row, ("parent_identifier",)) for row in rows]
        parents: list[int | None] = []
        for row, value in zip(rows, named, strict=True):
            if value is None or _key(value) in known:
                parents.append(None if value is None else known[_key(value)])
                continue
            is_none = fields.is_no_parent(value) or _key(value) == str(BACKGROUND)
            parents.append(None if is_none else self._whole(row.where, "parent_identifier", value))
        return parents

    # ----- other fields

    def _stated(self, row: Row, order: int) -> Record:
        """Fields of a record that its row states, and those that follow from it."""
        record: Record = {}
        is_own = isinstance(self._value(row, "path"), list)
        for field, (name, read) in _READERS.items():
            if field == "path" and not self._has_paths:
                continue
            value = self._value(row, field)
            if value is not None:
                # Texts of our own records are kept to the letter.
                is_kept = is_own and isinstance(value, str) and read is _text
                record[name] = value if is_kept else self._read(row.where, field, value, read)
            elif self._table.are_keys and self._is_null(row, field):
                record[name] = None
        if record.get("color_hex_triplet") is None and (rgb := self._channels(row)):
            record["color_hex_triplet"] = rgb
        return record if self._is_complete else record | self._following(row, record, order)

    def _following(self, row: Row, record: Record, order: int) -> Record:
        """Fields that follow from others, in a file that is no list of whole records."""
        own: Record = {}
        name = record.get("name")
        if name is not None and "acronym" not in record:
            own["acronym"] = name
        if self._table.are_keys:
            return own
        is_list = self._columns["name"] and not self._columns["parent"]
        if name is None and "acronym" not in record and is_list:
            label = self._value(row, "id")
            raise FormatError(f"{row.where}: id {str(label)[:40]} has no name; give it one")
        if not self._columns["graph_order"]:
            own["graph_order"] = order
        return own

    def _channels(self, row: Row) -> list[int] | None:
        """Colour of three columns."""
        if not all(self._columns[channel] for channel in ("red", "green", "blue")):
            return None
        values = [self._value(row, channel) for channel in ("red", "green", "blue")]
        if all(value is None for value in values):
            return None
        return [self._whole(row.where, "colour", "" if v is None else v, 255) for v in values]

    # ----- cells

    def _value(self, row: Row, field: str) -> Any:
        """First cell of a field that holds something; None if none does."""
        # Where numbers are due, n/a is no text.
        is_text = field in ("acronym", "name")
        texts = self._missing_texts if is_text else fields.MISSING_TEXTS
        return _first(row, self._columns[field], texts)

    def _is_null(self, row: Row, field: str) -> bool:
        return any(name in row.values for name in self._columns[field])

    def _number(self, row: Row, field: str) -> int | None:
        value = self._value(row, field)
        return None if value is None else self._whole(row.where, field, value)

    def _whole(self, where: str, what: str, value: Any, most: int = MAX_LABEL) -> int:
        return int(self._read(where, what, value, lambda v: fields.whole_number(v, most)))

    def _read(self, where: str, what: str, value: Any, read: Callable[[Any], Any]) -> Any:
        try:
            return read(value)
        except ValueError as error:
            raise fields.bad_cell(where, what, value, error) from error


def _check_path(row: Row, record: Record) -> None:
    """Refuse a path that does not lead to its structure, or not from the parent that is stated."""
    if not (path := record.get("structure_id_path")):
        return
    own, parent = record["id"], record["parent_structure_id"]
    if path[-1] != own:
        raise OntologyError(
            f"{row.where}: structure_id_path of id {own} ends in {path[-1]}; a path ends in the id "
            "itself"
        )
    above = path[-2] if len(path) > 1 else None
    if parent not in (None, above):
        what = "a root" if above is None else f"below {above}"
        raise OntologyError(
            f"{row.where}: the parent of id {own} is {parent}, but it is {what} by "
            "structure_id_path; mend one of them"
        )


def _is_brainglobe(names: Sequence[str], chosen: Mapping[str, str]) -> bool:
    is_told = not {"id", "parent"}.isdisjoint(map(fields.field_name, chosen))
    return not is_told and {"identifier", "parent_identifier"} <= set(names)


def _first(
    row: Row, names: Sequence[str], missing_texts: Collection[str] = fields.MISSING_TEXTS
) -> Any:
    values = (row.values.get(name) for name in names)
    return next((v for v in values if not fields.is_missing(v, missing_texts)), None)


def _key(value: Any) -> str:
    """Identifier as a text, whatever pandas has made of a number."""
    text = str(value).strip()
    return text[: -len(".0")] if text.endswith(".0") else text


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


# Names of fields in records, and what reads their cells.
_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "path": ("structure_id_path", fields.number_list),
    "color": ("color_hex_triplet", fields.color),
    "graph_order": ("graph_order", fields.integer),
    "graph_id": ("graph_id", fields.whole_number),
    "sets": ("structure_set_ids", fields.set_ids),
    "acronym": ("acronym", _text),
    "name": ("name", _text),
}
