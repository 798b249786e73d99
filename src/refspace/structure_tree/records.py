"""Structures as they are published, made into the records that a tree is built from.

Three shapes are in use: flat records with a path (``"/997/8/"``) or a ``parent_structure_id``,
as the Allen Institute's query API serves them, and nested ones with ``children``, as its structure
graph download does.
"""

import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx

from refspace.errors import OntologyError

Record = dict[str, Any]

MAX_ID = 2**32 - 1
# Real ontologies are some ten levels deep. The bound keeps the paths of a hostile one small.
MAX_DEPTH = 1000
_NAMED_OFFENDERS = 5


def structure_id(value: Any) -> int:
    """Check a structure id: an integer from 0 to 2**32 - 1, never a float.

    Raises
    ------
    OntologyError
        If it is not one.

    Examples
    --------
    >>> structure_id("997")
    997
    """
    try:
        if isinstance(value, str) and value.isascii() and value.strip().isdigit():
            number = int(value)
        elif isinstance(value, bool):
            raise TypeError("a bool is no id")
        else:
            number = operator.index(value)
    except (TypeError, ValueError) as error:
        raise OntologyError(
            f"{value!r} is not a structure id; ids are integers from 0 to {MAX_ID}, never floats"
        ) from error
    if not 0 <= number <= MAX_ID:
        raise OntologyError(f"structure id {number} is out of range; ids go from 0 to {MAX_ID}")
    return number


def path_to_list(path: str | Iterable[Any]) -> list[int]:
    """Ids of a structure path, ``"/997/8/"`` or already a list."""
    parts = path.strip("/").split("/") if isinstance(path, str) else path
    return [structure_id(part) for part in parts if part != ""]


def hex_to_rgb(color: str | Iterable[float]) -> list[int]:
    """Red, green and blue of a hexadecimal colour, or of a triplet that is one already.

    Tables that went through a spreadsheet have lost leading zeros: short colours are padded.

    Raises
    ------
    OntologyError
        If it is not a colour.

    Examples
    --------
    >>> hex_to_rgb("#019399"), hex_to_rgb("19399")
    ([1, 147, 153], [1, 147, 153])
    """
    try:
        if not isinstance(color, str):
            red, green, blue = (int(part) for part in color)
            return [red, green, blue]
        digits = color.strip().removeprefix("#").rjust(6, "0")
        red, green, blue = bytes.fromhex(digits)
    except (TypeError, ValueError) as error:
        raise OntologyError(
            f"{color!r} is not a colour; give six hexadecimal digits or three numbers"
        ) from error
    return [red, green, blue]


def flatten(roots: Iterable[Mapping[str, Any]]) -> list[Record]:
    """Flat records with paths, in depth-first order, of records nested by ``children``.

    Raises
    ------
    OntologyError
        If they are nested deeper than any ontology.

    Examples
    --------
    >>> flat = flatten([{"id": 997, "children": [{"id": 8, "children": []}]}])
    >>> [record["structure_id_path"] for record in flat]
    [[997], [997, 8]]
    """
    flat: list[Record] = []
    stack: list[tuple[Mapping[str, Any], list[int]]] = [(root, []) for root in roots]
    stack.reverse()
    while stack:
        node, above = stack.pop()
        path = [*above, structure_id(node.get("id"))]
        if len(path) > MAX_DEPTH:
            raise OntologyError(f"structures are nested deeper than {MAX_DEPTH} levels")
        record = {key: value for key, value in node.items() if key != "children"}
        flat.append({**record, "structure_id_path": path})
        stack += [(child, path) for child in node.get("children") or ()][::-1]
    return flat


def collect_sets(record: Mapping[str, Any]) -> list[int]:
    """Ids of the sets that a structure is in, sorted; given as ids, as records, or both."""
    ids = {structure_id(value) for value in record.get("structure_set_ids") or ()}
    ids |= {structure_id(item["id"]) for item in record.get("structure_sets") or ()}
    return sorted(ids)


WHITELIST = (
    "acronym",
    "color_hex_triplet",
    "graph_id",
    "graph_order",
    "id",
    "name",
    "structure_id_path",
    "structure_set_ids",
)
RENAMES = {"color_hex_triplet": "rgb_triplet"}
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "id": structure_id,
    "structure_id_path": path_to_list,
    "color_hex_triplet": hex_to_rgb,
}


def clean(
    records: Iterable[Mapping[str, Any]],
    fields: Collection[str],
    transforms: Mapping[str, Callable[[Any], Any]],
    renames: Mapping[str, str],
) -> list[Record]:
    """Keep some fields of each record, convert their values, then rename them."""
    kept_as_is = set(renames.values())
    return [
        {
            renames.get(key, key): transforms[key](value) if key in transforms else value
            for key, value in record.items()
            if key in fields or key in kept_as_is
        }
        for record in records
    ]


def with_paths(records: Sequence[Record]) -> list[Record]:
    """Records with a path each; derived from ``parent_structure_id`` where none is given."""
    if all("structure_id_path" in r or "parent_structure_id" not in r for r in records):
        return list(records)
    ids = [structure_id(record.get("id")) for record in records]
    paths = tree_paths(tree_graph([(i, parent_id(r)) for i, r in zip(ids, records, strict=True)]))
    return [{**r, "structure_id_path": paths[i]} for i, r in zip(ids, records, strict=True)]


def parent_id(record: Mapping[str, Any]) -> int | None:
    """Id of the parent: from the path where there is one, else from ``parent_structure_id``."""
    path = record.get("structure_id_path")
    if path:
        ids = path_to_list(path)
        return ids[-2] if len(ids) > 1 else None
    value = record.get("parent_structure_id")
    return None if value in (None, "") else structure_id(value)


def tree_graph(parents: Sequence[tuple[int, int | None]]) -> "nx.DiGraph[int]":
    """Graph with an edge from each parent to its child, checked to be a tree (or several).

    Nodes and the children of a node stand in the order in which they were given.

    Raises
    ------
    OntologyError
        If an id occurs twice, a parent is missing, or structures descend from themselves.
    """
    counts = Counter(child for child, _ in parents)
    twice = [child for child, count in counts.items() if count > 1]
    if twice:
        raise OntologyError(f"structure ids must be unique; more than once: {listing(twice)}")
    orphans = [f"{c} (parent {p})" for c, p in parents if p is not None and p not in counts]
    if orphans:
        raise OntologyError(
            f"parents are missing from the structures: {listing(orphans)}; give whole trees"
        )
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(counts)
    graph.add_edges_from((parent, child) for child, parent in parents if parent is not None)
    if not nx.is_directed_acyclic_graph(graph):
        cycle = [child for _, child in nx.find_cycle(graph)]
        raise OntologyError(f"structures descend from themselves: {listing(cycle)}; mend a parent")
    return graph


def tree_paths(graph: "nx.DiGraph[int]") -> dict[int, list[int]]:
    """Path from the root to each structure, keyed in depth-first order.

    Raises
    ------
    OntologyError
        If the tree is deeper than any ontology.
    """
    paths: dict[int, list[int]] = {}
    stack = [[node] for node in graph if not graph.pred[node]][::-1]
    while stack:
        path = stack.pop()
        if len(path) > MAX_DEPTH:
            raise OntologyError(f"structures are nested deeper than {MAX_DEPTH} levels")
        paths[path[-1]] = path
        stack += [[*path, child] for child in graph.succ[path[-1]]][::-1]
    return paths


def listing(offenders: Sequence[Any]) -> str:
    """List the first offenders, and how many more there are."""
    shown = ", ".join(map(str, offenders[:_NAMED_OFFENDERS]))
    more = len(offenders) - _NAMED_OFFENDERS
    return f"{shown} and {more} more" if more > 0 else shown
