"""Outlines of a structure tree: text with a line for each structure, and guides between them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from refspace.structure_tree.simple_tree import SimpleTree

_GUIDE, _LAST_GUIDE = "├─ ", "└─ "
_LINE, _NO_LINE = "│  ", "   "


class Outline(str):
    """Text that is shown as it is where Python shows a value, as in a notebook."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class _Line:
    """A structure, what stands before it, and how many structures below it are left out."""

    structure_id: int
    guides: str
    hidden: int


def draw(
    tree: SimpleTree,
    roots: Sequence[int],
    *,
    depth: int | None = None,
    counts: Mapping[int, float] | None = None,
    most: int | None = None,
    width: int | None = None,
) -> Outline:
    """Draw structures and those below them, a line for each.

    Parameters
    ----------
    tree
        The structures.
    roots
        Ids of those to begin with.
    depth
        How many levels below them to draw; all if not given.
    counts
        Numbers to write before structures, by their ids.
    most
        How many lines to draw; all if not given.
    width
        Number of characters at which lines are cut.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> draw(tree, tree.resolve("AUD"), depth=1, counts={247: 27, 1011: 8}, width=40)
    27  AUD Auditory areas (247)
     8  ├─ AUDd Dorsal auditory a… … 6 below
        ├─ AUDp Primary auditory … … 6 below
        └─ AUDv Ventral auditory … … 6 below
    """
    lines = [line for root in roots for line in _lines(tree, root, depth)]
    shown = lines if most is None else lines[:most]
    numbers = ["" if counts is None else _number(counts.get(line.structure_id)) for line in shown]
    column = max(map(len, numbers), default=0)
    rows = []
    for line, number in zip(shown, numbers, strict=True):
        before = f"{number:>{column}}  " if counts is not None else ""
        after = f" … {line.hidden} below" if line.hidden else ""
        text = f"{before}{line.guides}{structure_label(tree, line.structure_id)}"
        rows.append(_cut(text, width and width - len(after)) + after)
    if rest := sum(1 + line.hidden for line in lines[len(shown) :]):
        rows.append(f"… and {rest} more structures")
    return Outline("\n".join(rows) or "no structures")


def structure_label(tree: SimpleTree, node_id: int) -> str:
    """Acronym, name and id of a structure, on one line."""
    record = tree.records[node_id]
    known = [str(record[key]) for key in ("acronym", "name") if record.get(key) is not None]
    text = " ".join([*dict.fromkeys(known), f"({node_id})"])
    # A line break would tear the drawing, and a terminal obeys control characters.
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _lines(tree: SimpleTree, root: int, depth: int | None) -> Iterator[_Line]:
    """Lines of a subtree. With a stack of its own: Python's is for other things."""
    stack = [(root, "", "", 0)]
    while stack:
        node_id, guides, below, level = stack.pop()
        children = tree.numbering.children_of(node_id)
        if level == depth:
            yield _Line(node_id, guides, len(tree.descendant_ids([node_id])[0]) - 1)
            continue
        yield _Line(node_id, guides, 0)
        last = len(children) - 1
        stack += [
            (
                child,
                below + (_LAST_GUIDE if place == last else _GUIDE),
                below + (_NO_LINE if place == last else _LINE),
                level + 1,
            )
            for place, child in enumerate(children)
        ][::-1]


def _number(value: float | None) -> str:
    """Number before a structure, of three decimals where it is not whole; empty where none is."""
    if value is None or math.isnan(value):
        return ""
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else f"{text[: max(width - 1, 0)]}…"
