"""Structures as neuroglancer has them: colours, properties of segments, and a tree for the page."""

import json
import re
from collections.abc import Mapping
from typing import Any

from refspace.safe_text import escaped
from refspace.structure_tree import StructureTree
from refspace.types import BACKGROUND

_NO_TAG = re.compile(r"[\s#]+")
# More of one text helps nobody, and names come from files.
_LONGEST = 200


def structure_ids(tree: StructureTree) -> list[int]:
    """Ids of the structures that voxels may be of."""
    return [i for i in tree.node_ids() if i != BACKGROUND]


def segment_colors(tree: StructureTree) -> dict[str, str]:
    """Colour of each structure, as the ontology has it.

    Examples
    --------
    >>> segment_colors(StructureTree([{"id": 8, "rgb_triplet": [1, 2, 255]}]))
    {'8': '#0102ff'}
    """
    colors = tree.get_colormap()
    return {str(i): "#{:02x}{:02x}{:02x}".format(*colors[i]) for i in structure_ids(tree)}


def segment_properties(tree: StructureTree) -> dict[str, Any]:
    """Properties of segments: names, acronyms, and a tag for each structure above a structure.

    In neuroglancer's own list of segments, ``#CTX`` is all of the cerebral cortex.

    Returns
    -------
    dict
        What belongs in a file ``info``: ``neuroglancer_segment_properties``.

    Examples
    --------
    >>> nodes = [{"id": 8, "acronym": "CH", "name": "Cerebrum"}]
    >>> tree = StructureTree(nodes)
    >>> [p["id"] for p in segment_properties(tree)["inline"]["properties"]]
    ['label', 'description', 'tags']
    """
    ids = structure_ids(tree)
    described = {i: _described(node) for i, node in zip(ids, tree.nodes(ids), strict=True)}
    tags = _tags({i: described[i][0] for i in ids})
    order = {tag: n for n, tag in enumerate(sorted(tags.values()))}
    above = dict(zip(ids, tree.ancestor_ids(ids), strict=True))
    values = [sorted(order[tags[a]] for a in above[i] if a in tags) for i in ids]
    properties = [
        {"id": "label", "type": "label", "values": [label(*described[i]) for i in ids]},
        {"id": "description", "type": "description", "values": [described[i][1] for i in ids]},
        {"id": "tags", "type": "tags", "tags": [*order], "values": values},
    ]
    inline = {"ids": [str(i) for i in ids], "properties": properties}
    return {"@type": "neuroglancer_segment_properties", "inline": inline}


def label(acronym: str, name: str) -> str:
    """What a structure is called.

    Examples
    --------
    >>> label("VISp", "Primary visual area"), label("root", "root")
    ('Primary visual area (VISp)', 'root')
    """
    return name if acronym in ("", name) else f"{name} ({acronym})"


def structures_json(tree: StructureTree) -> bytes:
    """The structures for the page, in the order of the tree: id, parent, acronym, name, colour."""
    colors = segment_colors(tree)
    ids = structure_ids(tree)
    rows = []
    for i, parent, node in zip(ids, tree.parent_ids(ids), tree.nodes(ids), strict=True):
        above = None if parent in (None, BACKGROUND) else parent
        rows.append([i, above, *_described(node), colors[str(i)]])
    return json.dumps(rows).encode()


def _described(node: Mapping[str, Any]) -> tuple[str, str]:
    """Acronym and name, without control characters; the id where there is none."""
    acronym = _text(node.get("acronym"))
    name = _text(node.get("name")) or acronym or str(node["id"])
    return acronym, name


def _text(value: object) -> str:
    return escaped(str(value))[:_LONGEST] if isinstance(value, str) else ""


def _tags(acronyms: Mapping[int, str]) -> dict[int, str]:
    """Tag of each structure, each once: tags have no blanks and no ``#``."""
    taken: set[str] = set()
    tags = {}
    for i, acronym in acronyms.items():
        tag = _NO_TAG.sub("_", acronym).strip("_") or str(i)
        # The client finds tags whatever their case.
        if tag.lower() in taken:
            tag = f"{tag}_{i}"
        taken.add(tag.lower())
        tags[i] = tag
    return tags
