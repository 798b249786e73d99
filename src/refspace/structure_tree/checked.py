"""Structures that were checked, as trees are built of them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refspace.errors import OntologyError
from refspace.structure_tree import records as rec
from refspace.structure_tree.numbering import Numbering
from refspace.structure_tree.records import Record

LOOKED_UP = ("acronym", "name")
"""Fields by which structures are looked up."""


@dataclass(frozen=True, eq=False)
class CheckedStructures:
    """Structures that were checked: by `check_structures`, or where they were read.

    Parameters
    ----------
    numbering
        Parents of the structures.
    records
        Record of each, with its path and colour as lists; it may be made when it is looked up.
    texts
        Values of each of the fields `LOOKED_UP`, in the order of the numbering; None where a
        structure has none.
    """

    numbering: Numbering
    records: Mapping[int, Record]
    texts: Mapping[str, Sequence[Hashable]]


def check_structures(nodes: Iterable[Mapping[str, Any]]) -> CheckedStructures:
    """Check structures, as `StructureTree` takes them.

    Raises
    ------
    OntologyError
        As for `StructureTree`.

    Examples
    --------
    >>> checked = check_structures([{"id": "8", "rgb_triplet": "BFDAE3"}])
    >>> checked.records[8]
    {'id': 8, 'rgb_triplet': [191, 218, 227], 'structure_id_path': [8]}
    """
    structures = [rec.as_record(node) for node in nodes]
    if any(node.get("children") for node in structures):
        structures = rec.flatten(structures)
    for node in structures:
        node["id"] = rec.structure_id(node.get("id"))
        if node.get("rgb_triplet") is not None:
            node["rgb_triplet"] = rec.hex_to_rgb(node["rgb_triplet"])
    rec.refuse_surrogates(structures)
    ids = [node["id"] for node in structures]
    # Parsed once: of published records, paths are texts.
    stated = [rec.stated_path(node) for node in structures]
    parents = [
        rec.parent_id(node) if not path else path[-2] if len(path) > 1 else None
        for node, path in zip(structures, stated, strict=True)
    ]
    numbering = Numbering.from_parents(ids, parents)
    _give_paths(structures, stated, numbering)
    texts = {field: _hashable(structures, field) for field in LOOKED_UP}
    return CheckedStructures(numbering, dict(zip(ids, structures, strict=True)), texts)


def _give_paths(
    structures: Sequence[Record], stated: Sequence[Sequence[int]], numbering: Numbering
) -> None:
    """Give each structure its path, and refuse a stated path that differs."""
    paths, wrong = numbering.paths(), []
    for node, path in zip(structures, stated, strict=True):
        if path and path != paths[node["id"]]:
            wrong.append(node["id"])
        node["structure_id_path"] = paths[node["id"]]
    if wrong:
        raise OntologyError(
            f"structure_id_path contradicts the parents' paths: {rec.listing(wrong)}"
        )


def _hashable(structures: Sequence[Record], field: str) -> list[Hashable]:
    """Acronyms or names, which are looked up."""
    for node in structures:
        if not isinstance(node.get(field), Hashable):
            raise OntologyError(f"the {field} of structure {node['id']} is no text")
    return [node.get(field) for node in structures]
