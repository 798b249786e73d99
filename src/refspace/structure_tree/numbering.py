"""Nodes of a tree, or of several, numbered in pre-order: every subtree is one interval."""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refspace.errors import OntologyError
from refspace.structure_tree.records import (
    MAX_DEPTH,
    Record,
    listing,
    parent_id,
    stated_path,
    structure_id,
)

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, eq=False)
class Numbering:
    """Nodes of a tree, or of several, numbered in pre-order.

    What is needed of it now and then is computed when it is first asked for.

    Parameters
    ----------
    parents
        Parent of each node, None of a root, in the order of the records.
    children
        Children of each node that has any, in the same order.
    preorder
        The nodes in pre-order.
    """

    parents: Mapping[int, int | None]
    children: Mapping[int, list[int]]
    preorder: list[int]

    @classmethod
    def from_parents(cls, ids: Sequence[int], parents: Sequence[int | None]) -> "Numbering":
        """Numbering of nodes with their parents, checked to be a tree (or several).

        Parameters
        ----------
        ids
            The nodes.
        parents
            Parent of each, None of a root.

        Raises
        ------
        OntologyError
            If an id occurs twice, a parent is missing, nodes descend from themselves, or the tree
            is deeper than any ontology.

        Examples
        --------
        >>> numbering = Numbering.from_parents([2, 997, 3, 8], [8, None, 997, 997])
        >>> numbering.preorder, numbering.path(2)
        ([997, 3, 8, 2], [997, 8, 2])
        """
        by_id = dict(zip(ids, parents, strict=True))
        if len(by_id) != len(ids):
            twice = [node for node, count in Counter(ids).items() if count > 1]
            raise OntologyError(f"structure ids must be unique; more than once: {listing(twice)}")
        below: defaultdict[int | None, list[int]] = defaultdict(list)
        for node, parent in by_id.items():
            below[parent].append(node)
        roots = below.pop(None, [])
        children = {node: nodes for node, nodes in below.items() if node is not None}
        if not children.keys() <= by_id.keys():
            _refuse_orphans(by_id)
        numbering = cls(by_id, children, _preorder(roots, children))
        if len(numbering.preorder) != len(by_id):
            _refuse_cycle(numbering)
        if max(numbering.depths.values(), default=0) >= MAX_DEPTH:
            raise OntologyError(f"structures are nested deeper than {MAX_DEPTH} levels")
        return numbering

    @functools.cached_property
    def depths(self) -> Mapping[int, int]:
        """Number of nodes above each node, in pre-order."""
        depths: dict[int | None, int] = {None: -1}
        for node in self.preorder:
            depths[node] = depths[self.parents[node]] + 1
        del depths[None]
        return depths  # type: ignore[return-value]  # None is gone

    @functools.cached_property
    def starts(self) -> Mapping[int, int]:
        """Position of each node in pre-order, where its subtree begins."""
        return {node: position for position, node in enumerate(self.preorder)}

    @functools.cached_property
    def ends(self) -> Mapping[int, int]:
        """Position behind the last node of the subtree of each node."""
        ends: dict[int | None, int] = {}
        # Backwards, so that the first that tells a node its end is the last of its subtree.
        for position in range(len(self.preorder) - 1, -1, -1):
            node = self.preorder[position]
            end = ends.setdefault(node, position + 1)
            ends.setdefault(self.parents[node], end)
        ends.pop(None, None)
        return ends  # type: ignore[return-value]  # None is gone

    @property
    def roots(self) -> list[int]:
        """Nodes without a parent, in the order of the records."""
        return [node for node, parent in self.parents.items() if parent is None]

    @property
    def leaves(self) -> list[int]:
        """Nodes without children, in the order of the records."""
        return [node for node in self.parents if node not in self.children]

    def children_of(self, node: int) -> list[int]:
        """Children of a node, in the order of the records."""
        return [*self.children.get(node, ())]

    def subtree(self, node: int) -> list[int]:
        """A node and all below it, in pre-order."""
        return self.preorder[self.starts[node] : self.ends[node]]

    def ancestors(self, node: int) -> list[int]:
        """A node and all above it, up to its root."""
        found = []
        above: int | None = node
        while above is not None:
            found.append(above)
            above = self.parents[above]
        return found

    def path(self, node: int) -> list[int]:
        """Nodes from the root down to a node."""
        return self.ancestors(node)[::-1]

    def paths(self) -> dict[int, list[int]]:
        """Path of each node, in pre-order."""
        paths: dict[int | None, list[int]] = {None: []}
        for node in self.preorder:
            paths[node] = [*paths[self.parents[node]], node]
        del paths[None]
        return paths  # type: ignore[return-value]  # None is gone

    def graph(self) -> "nx.DiGraph[int]":
        """Graph with an edge from each parent to its child, in the order of the records."""
        # Late: what asks for no graph waits for no library of graphs.
        import networkx as nx

        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_nodes_from(self.parents)
        graph.add_edges_from((p, node) for node, p in self.parents.items() if p is not None)
        return graph


def with_paths(records: Sequence[Record]) -> list[Record]:
    """Give each record a path, derived from ``parent_structure_id`` where it states none."""
    if all(stated_path(r) or "parent_structure_id" not in r for r in records):
        return list(records)
    ids = [structure_id(record.get("id")) for record in records]
    paths = Numbering.from_parents(ids, [parent_id(record) for record in records]).paths()
    return [{**r, "structure_id_path": paths[i]} for i, r in zip(ids, records, strict=True)]


def _preorder(roots: Iterable[int], children: Mapping[int, list[int]]) -> list[int]:
    # By hand, with a stack: networkx takes five times as long for a table of a thousand labels
    # without a hierarchy.
    found: list[int] = []
    stack = [*roots][::-1]
    while stack:
        node = stack.pop()
        found.append(node)
        if node in children:
            stack += children[node][::-1]
    return found


def _refuse_orphans(parents: Mapping[int, int | None]) -> None:
    orphans = [
        f"{c} (parent {p})" for c, p in parents.items() if p is not None and p not in parents
    ]
    raise OntologyError(
        f"parents are missing from the structures: {listing(orphans)}; give whole trees"
    )


def _refuse_cycle(numbering: Numbering) -> None:
    """Name the nodes of a cycle: what no root leads to is one, or hangs on one."""
    reached = {*numbering.preorder}
    node: int | None = next(node for node in numbering.parents if node not in reached)
    above: dict[int | None, None] = {}
    while node not in above:
        above[node] = None
        node = numbering.parents[node]  # type: ignore[index]  # a root leads to its subtree
    cycle = [*above]
    raise OntologyError(
        f"structures descend from themselves: {listing(cycle[cycle.index(node) :])}; mend a parent"
    )
