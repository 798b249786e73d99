"""Drawings of a structure tree: in one line, and as HTML for notebooks."""

import html

from refspace.structure_tree.colors import node_color
from refspace.structure_tree.outline import structure_label
from refspace.structure_tree.records import listing
from refspace.structure_tree.simple_tree import SimpleTree

# A drawing shows the upper levels, as far as they fit a screen.
_SHOWN_LEVELS = 4


def summarize(tree: SimpleTree) -> str:
    """Number of structures and roots, in one line.

    Examples
    --------
    >>> import refspace
    >>> summarize(refspace.phantom(resolution=400).structure_tree)
    '<StructureTree of 488 structures: root (997)>'
    """
    roots = [structure_label(tree, i) for i in tree.numbering.roots]
    return f"<StructureTree of {len(tree)} structures: {listing(roots)}>"


def draw_html(tree: SimpleTree) -> str:
    """Draw a tree as nested lists that open by a click, with the colours of the structures.

    Examples
    --------
    >>> tree = SimpleTree([{"id": 8, "acronym": "a<b"}], lambda node: node["id"], lambda _: None)
    >>> draw_html(tree).partition("&#9632;")[2]
    '</span> a&lt;b (8)</div>'
    """
    depths = tree.numbering.depths
    parts: dict[int, str] = {}
    # Backwards, so that children are drawn before the parent that holds them.
    for node_id in reversed(tree.numbering.preorder):
        label = f"{_swatch(tree, node_id)} {html.escape(structure_label(tree, node_id))}"
        inner = "".join(parts.pop(child) for child in tree.numbering.children_of(node_id))
        opened = " open" if depths[node_id] < _SHOWN_LEVELS - 1 else ""
        parts[node_id] = (
            f"<details{opened} style='margin-left:1.2em'><summary>{label}</summary>{inner}"
            "</details>"
            if inner
            else f"<div style='margin-left:2.2em'>{label}</div>"
        )
    return f"<b>StructureTree</b> of {len(tree)} structures{''.join(reversed(parts.values()))}"


def _swatch(tree: SimpleTree, node_id: int) -> str:
    """A small square in the colour of a structure."""
    rgb = ",".join(map(str, node_color({"id": node_id} | tree.records[node_id])))
    return f"<span style='color:rgb({html.escape(rgb)})'>&#9632;</span>"
