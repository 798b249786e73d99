"""Structures in XML: the Allen Institute's structure graph, atlases of FSL and SPM, and others.

Nothing but elements and their texts is taken: files with a document type or entities are refused,
so that nothing is expanded, and nothing else is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

from refspace.errors import FormatError
from refspace.formats.structures import fields
from refspace.formats.structures.cells import Places, RecordColumns
from refspace.formats.structures.tables import Table
from refspace.structure_tree.records import MAX_DEPTH

# A structure is an element within the element of the children of another.
_MOST_LEVELS = 2 * MAX_DEPTH + 10
# The graph of the mouse has 15 000.
_MOST_ELEMENTS = 200_000
_LONGEST_ERROR = 200


@dataclass
class _Element:
    """An element: its name without a prefix, attributes, elements in it, and its own text."""

    name: str
    line: int
    attributes: Mapping[str, str]
    inner: "list[_Element]" = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Text without the blanks, and the quotes, around it."""
        text = "".join(self.texts).strip()
        # The Allen Institute's names are in quotes.
        is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
        return text[1:-1].strip() if is_quoted else text

    def find(self, *names: str) -> "_Element | None":
        """First element within that has one of some names."""
        return next((element for element in self.inner if element.name in names), None)


class _Builder:
    """Makes elements of what the parser reports."""

    def __init__(self, data: bytes) -> None:
        self.root: _Element | None = None
        self._open: list[_Element] = []
        self._count = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise FormatError(f"not valid XML: {error}") from error
        except FormatError:
            raise
        except (ValueError, LookupError) as error:  # of an encoding that Python does not have
            raise FormatError(f"not valid XML: {str(error)[:80]}") from error

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._count += 1
        if self._count > _MOST_ELEMENTS:
            raise FormatError(f"has more than {_MOST_ELEMENTS} elements, too many for an ontology")
        if len(self._open) >= _MOST_LEVELS:
            raise FormatError("nested too deeply for an ontology")
        plain = fields.plain_name(name.rpartition(":")[2])
        element = _Element(plain, self._parser.CurrentLineNumber, attributes)
        if self._open:
            self._open[-1].inner.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _characters(self, text: str) -> None:
        self._open[-1].texts.append(text)

    def _refuse(self, *_: object) -> NoReturn:
        raise FormatError(
            "has a document type or entities, which no file of structures needs; remove them"
        )


def read_xml(data: bytes) -> Table:
    """Read structures in XML.

    The labels of an atlas of FSL are the values of its label image: its indices where the atlas is
    of type Label, and its indices plus one where it is probabilistic, for these count the volumes
    of a series from 0.

    Raises
    ------
    FormatError
        If it is damaged, may be hostile, is a server's report of failure, or holds no structures.

    Examples
    --------
    >>> table = read_xml(
    ...     b"<atlas><header><type>Label</type></header>"
    ...     b'<data><label index="3" x="0" y="0" z="0">Thalamus</label></data></atlas>'
    ... )
    >>> table.columns["id"], table.columns["name"]
    ([3], ['Thalamus'])
    """
    root = _Builder(data).root
    if root is None:
        raise FormatError("holds no element of XML")
    _refuse_failure(root)
    if root.name == "atlas" and (labels := root.find("data")) is not None:
        return _atlas(root, labels)
    rows, lines, above = _nested(root)
    if not rows:
        inner = dict.fromkeys(element.name for element in root.inner)
        raise FormatError(
            f"XML whose root is {root.name[:40]!r}, with {fields.listed_names(inner)} in it; of "
            "XML, atlases of FSL, structure graphs of the Allen Institute, and labels with an id "
            "and a name are read"
        )
    columns = RecordColumns(rows)
    is_nested = any(holder is not None for holder in above)
    where = Places("line", lines)
    return Table(list(columns), columns, where, above if is_nested else None, are_keys=True)


def _refuse_failure(root: _Element) -> None:
    """Refuse what servers send where a file is missing, or not to be read by everyone."""
    is_failure = root.attributes.get("success", "true").lower() != "true"
    if root.name == "error" or is_failure:
        parts = [element.text for element in root.inner[:2]] or [root.text]
        text = ": ".join(part for part in parts if part)[:_LONGEST_ERROR]
        raise FormatError(f"the server reported a failure: {text}")


# ----- atlases of FSL, and of SPM, whose labels are elements


def _atlas(root: _Element, data: _Element) -> Table:
    labels = [element for element in data.inner if element.name == "label"]
    if not labels:
        raise FormatError("an atlas in XML without a label")
    header = root.find("header")
    kind = None if header is None else header.find("type")
    rows: list[dict[str, Any]] = []
    for label in labels:
        where = f"line {label.line}"
        if "index" in label.attributes:
            shift = _shift(where, kind)
            index = _index(where, label.attributes["index"])
            rows.append({"id": index + shift, "name": label.text})
        else:
            values = {element.name: element.text for element in label.inner}
            if "index" not in values:
                raise FormatError(f"{where}: a label has no index; give it the value of its voxels")
            rows.append({"id": values["index"], "name": values.get("name", "")})
    places = Places("line", [label.line for label in labels])
    return Table(["id", "name"], RecordColumns(rows), places, has_names=False)


def _shift(where: str, kind: _Element | None) -> int:
    """What is added to the indices of FSL to make the values of its label images."""
    text = "" if kind is None else kind.text.lower()
    if not text:
        raise FormatError(
            f"{where}: the header states no type; of Label, labels are the values of voxels, and "
            "of Probabilistic, one less: give it"
        )
    return 0 if text == "label" else 1


def _index(where: str, text: str) -> int:
    try:
        return fields.whole_number(text)
    except ValueError as error:
        raise fields.bad_cell(where, "index", text, error) from error


# ----- structures within each other


def _nested(root: _Element) -> tuple[list[dict[str, Any]], list[int], list[int | None]]:
    """Fields of all elements that have an id and a name, as elements or as attributes.

    With them, their lines, and the position of what holds each.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    above: list[int | None] = []
    stack: list[tuple[_Element, int | None]] = [(root, None)]
    while stack:
        element, holder = stack.pop()
        if values := _values(element):
            rows.append(values)
            lines.append(element.line)
            above.append(holder)
            holder = len(rows) - 1
        stack += [(inner, holder) for inner in reversed(element.inner)]
    return rows, lines, above


def _values(element: _Element) -> dict[str, Any]:
    """Fields of an element that is a structure; none of one that is not."""
    values: dict[str, str | None] = dict(element.attributes)
    values |= {inner.name: inner.text or None for inner in _leaves(element)}
    plain = set(map(fields.plain_name, values))
    is_structure = "id" in plain and not plain.isdisjoint({"name", "acronym", "abbreviation"})
    return {name: value for name, value in values.items() if value} if is_structure else {}


def _leaves(element: _Element) -> Iterator[_Element]:
    return (inner for inner in element.inner if not inner.inner)
