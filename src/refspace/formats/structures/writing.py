"""Writing structures as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from refspace.errors import OntologyError
from refspace.files import atomic_write
from refspace.structure_tree import StructureTree
from refspace.types import PathLike


def write_structures(path: PathLike, tree: StructureTree) -> None:
    """Write a structure tree as a JSON list of cleaned structures.

    Parameters
    ----------
    path
        Local file to write; it appears only when it is complete.
    tree
        The structures.

    Raises
    ------
    OntologyError
        If a structure holds what JSON does not carry.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/structures.json"
    >>> write_structures(path, StructureTree([{"id": 997, "structure_id_path": [997]}]))
    >>> import refspace
    >>> refspace.read_structures(path).node_ids()
    [997]
    """
    # One structure a line, so that versions of an ontology can be compared line by line.
    lines = ",\n".join(map(_line, tree.nodes()))
    with atomic_write(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")


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
