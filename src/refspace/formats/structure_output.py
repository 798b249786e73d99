"""Structures written to files that other programs, and `refspace.read_structures`, read."""

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from refspace.errors import FormatError, OntologyError
from refspace.files import atomic_write
from refspace.formats import itksnap
from refspace.formats.endings import checked_ending
from refspace.formats.tables import write_table
from refspace.safe_text import shown
from refspace.structure_tree import StructureTree
from refspace.structure_tree.colors import node_color
from refspace.types import PathLike

ENDINGS = (".json", ".csv", ".tsv", ".parquet", ".txt", ".label")
# What BIDS writes where there is no value.
_MISSING = "n/a"
_LARGEST_ITKSNAP_LABEL = 65535


def structures_ending(path: PathLike) -> str:
    """Ending of the name of a file of structures, checked to be one that is written.

    Raises
    ------
    FormatError
        If it is not among `ENDINGS`.

    Examples
    --------
    >>> structures_ending("atlas_dseg.TSV")
    '.tsv'
    """
    return checked_ending(path, ENDINGS, "structures are written as what the name ends in")


def write_structures(path: PathLike, tree: StructureTree, *, nested: bool = False) -> None:
    """Write a structure tree, in the format of the ending of the name.

    ======================  ====================================================================
    ending                  what is written
    ======================  ====================================================================
    ``.json``               a list of structures with all their fields, one a line; or nested
    ``.csv``, ``.parquet``  a row for each structure, called as the Allen Institute calls columns
    ``.tsv``                a label table of BIDS (``_dseg.tsv``), with the id of the parent
    ``.txt``, ``.label``    a label description of ITK-SNAP, with acronyms as labels
    ======================  ====================================================================

    `read_structures` reads each back with what it carries. JSON carries all; CSV and Parquet ids,
    acronyms, names, parents, colours, sets and the order; TSV these but the sets. A label
    description carries labels and colours, and no hierarchy.

    Parameters
    ----------
    path
        Local file to write; it appears only when it is complete.
    tree
        The structures.
    nested
        Whether JSON has the structures within their parents, as ``children``.

    Raises
    ------
    FormatError
        If the name has another ending, or anything but JSON is to be nested.
    OntologyError
        If a structure holds what JSON does not carry, or, of a label description, has an id above
        65 535.
    MissingDependencyError
        If pyarrow is missing for Parquet.

    Examples
    --------
    >>> import tempfile
    >>> from refspace import read_structures
    >>> path = tempfile.mkdtemp() + "/structures.json"
    >>> write_structures(path, StructureTree([{"id": 997, "structure_id_path": [997]}]))
    >>> read_structures(path).node_ids()
    [997]
    """
    ending = structures_ending(path)
    if nested and ending != ".json":
        raise FormatError(f"nested=True is for JSON, and {shown(str(path))} is none; leave it out")
    if ending == ".json":
        _write_text(path, _nested_json(tree) if nested else _json(tree))
    elif ending == ".tsv":
        write_table(path, [bids_table(tree)])
    elif ending in (".csv", ".parquet"):
        write_table(path, [_allen_table(tree, as_text=ending == ".csv")])
    else:
        _write_itksnap(path, tree)


def _write_text(path: PathLike, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


# ----- JSON


def _json(tree: StructureTree) -> str:
    # One structure a line, so that versions of an ontology can be compared line by line.
    lines = ",\n".join(map(_line, tree.nodes()))
    return f"[\n{lines}\n]\n"


def _nested_json(tree: StructureTree) -> str:
    """Structures within their parents, whose paths follow from that; one a line too."""
    children: dict[int | None, list[dict[str, Any]]] = {}
    for node in tree.nodes():
        children.setdefault(_parent(node), []).append(node)

    def lines(parent: int | None, indent: str) -> str:
        return ",\n".join(line(node, indent) for node in children.get(parent, ()))

    def line(node: dict[str, Any], indent: str) -> str:
        fields = _line({k: v for k, v in node.items() if k != "structure_id_path"})
        within = f"\n{lines(node['id'], indent + ' ')}\n{indent}" if node["id"] in children else ""
        return f'{indent}{fields[:-1]}, "children": [{within}]}}'

    return f"[\n{lines(None, '')}\n]\n"


def _line(node: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(node, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise OntologyError(
            f"structure {node['id']} cannot be written as JSON: {error}; give texts, numbers, "
            "lists and dicts of these"
        ) from error
    return text


# ----- tables


def bids_table(tree: StructureTree) -> pd.DataFrame:
    """Label table of BIDS: ``index``, ``name``, ``abbreviation``, ``color`` and ``parent``.

    What a structure does not have is ``n/a``. Source: the specification of BIDS, "Imaging data
    derivatives", on look-up tables of labels; it allows further columns.

    Examples
    --------
    >>> tree = StructureTree([{"id": 8, "acronym": "grey", "rgb_triplet": [191, 218, 227]}])
    >>> print(bids_table(tree).to_csv(index=False))
    index,name,abbreviation,color,parent
    8,grey,grey,#bfdae3,n/a
    <BLANKLINE>
    """
    rows = [
        {
            "index": node["id"],
            "name": _first(node, "name", "acronym"),
            "abbreviation": _stripped(node, "acronym") or _MISSING,
            "color": _hex(node) or _MISSING,
            "parent": _MISSING if (above := _parent(node)) is None else above,
        }
        for node in tree.nodes()
    ]
    table = pd.DataFrame(rows, columns=["index", "name", "abbreviation", "color", "parent"])
    return table.assign(**{name: _unquoted(table[name]) for name in ("name", "abbreviation")})


def _unquoted(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Texts that need no quotes in a table with tabs between its cells."""
    return column.map(lambda text: re.sub(r"\s", " ", str(text)).replace('"', "'"))


def _allen_table(tree: StructureTree, *, as_text: bool) -> pd.DataFrame:
    """Columns as the Allen Institute calls them; those that no structure has are left out.

    Parameters
    ----------
    tree
        The structures.
    as_text
        Whether lists become texts.
    """
    nodes = tree.nodes()
    lists: Callable[[Any], Any] = json.dumps if as_text else list
    columns: dict[str, Any] = {
        "id": pd.array([node["id"] for node in nodes], "Int64"),
        "acronym": [_text(node.get("acronym")) for node in nodes],
        "name": [_text(node.get("name")) for node in nodes],
        "parent_structure_id": pd.array([_parent(node) for node in nodes], "Int64"),
        "structure_id_path": [f"/{'/'.join(map(str, n['structure_id_path']))}/" for n in nodes],
        "graph_id": pd.array([_whole(node, "graph_id") for node in nodes], "Int64"),
        "graph_order": pd.array([_whole(node, "graph_order") for node in nodes], "Int64"),
        "color_hex_triplet": [_hex(node) for node in nodes],
        "structure_set_ids": [
            None if (sets := node.get("structure_set_ids")) is None else lists(sets)
            for node in nodes
        ],
    }
    table = pd.DataFrame(columns)
    needed = ["id", "acronym", "name", "parent_structure_id", "structure_id_path"]
    return table[[n for n in table if n in needed or table[n].notna().any()]]


def _stripped(node: Mapping[str, Any], field: str) -> str:
    """Text of a field without the blanks around it; empty where there is none."""
    value = node.get(field)
    return "" if value is None else str(value).strip()


def _first(node: Mapping[str, Any], *names: str) -> str:
    """First field that holds a text, or else the id: label tables have a name for each label."""
    return next(filter(None, (_stripped(node, name) for name in names)), str(node["id"]))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _hex(node: Mapping[str, Any]) -> str | None:
    rgb = node.get("rgb_triplet")
    # With the sign: spreadsheets take digits alone for a number.
    return None if rgb is None else "#{:02x}{:02x}{:02x}".format(*rgb)


def _parent(node: Mapping[str, Any]) -> int | None:
    path = node["structure_id_path"]
    return path[-2] if len(path) > 1 else None


def _whole(node: Mapping[str, Any], field: str) -> int | None:
    value = node.get(field)
    if value is None:
        return None
    # Tables make floats of integers where some are missing.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise OntologyError(
            f"structure {node['id']} has {field} {reprlib.repr(value)}; a table takes integers"
        )
    return int(value)


# ----- ITK-SNAP


def _write_itksnap(path: PathLike, tree: StructureTree) -> None:
    nodes = tree.nodes()
    if large := [node["id"] for node in nodes if node["id"] > _LARGEST_ITKSNAP_LABEL]:
        raise OntologyError(
            f"structure {large[0]} has an id above {_LARGEST_ITKSNAP_LABEL}, the largest label of "
            "ITK-SNAP; write the volume and its labels together, which numbers both anew: "
            "write_itksnap_labels, or 'refspace export itksnap'"
        )
    rows = [
        [node["id"], *node_color(node), 1.0, 1, 1, _first(node, "acronym", "name")]
        for node in nodes
    ]
    table = itksnap.hide_outside(pd.DataFrame(rows, columns=[*itksnap.COLUMNS]))
    with atomic_write(path) as temporary:
        itksnap.write_label_description(temporary, table, itksnap_header=True)
