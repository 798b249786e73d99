"""A tree of records over a networkx graph, with AllenSDK's ``SimpleTree`` interface."""

import difflib
import functools
import operator
import reprlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from refspace.errors import MissingFieldError, NotUniqueError, StructureNotFoundError
from refspace.structure_tree.numbering import Numbering
from refspace.structure_tree.records import Record, listing
from refspace.types import StructureLike, StructuresLike

if TYPE_CHECKING:
    import networkx as nx

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SimpleTree:
    """Records that form a tree, or several, looked up by id, family or property.

    Parameters
    ----------
    nodes
        The records. They are copied.
    node_id_cb
        Returns the id of a record.
    parent_id_cb
        Returns the id of a record's parent, None for a root.

    Raises
    ------
    OntologyError
        If ids are not unique, a parent is missing, or nodes descend from themselves.

    Examples
    --------
    >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 1}]
    >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
    >>> tree.child_ids([1]), tree.parent_ids([3, 1])
    ([[2, 3]], [1, None])
    """

    def __init__(
        self,
        nodes: Iterable[Mapping[str, Any]],
        node_id_cb: Callable[[Record], int],
        parent_id_cb: Callable[[Record], int | None],
    ) -> None:
        records = {}
        ids, parents = [], []
        for record in map(dict, nodes):
            node_id = node_id_cb(record)
            ids.append(node_id)
            parents.append(parent_id_cb(record))
            records[node_id] = record
        self._set(Numbering.from_parents(ids, parents), records, node_id_cb, parent_id_cb)

    def _set(
        self,
        numbering: Numbering,
        records: Mapping[int, Record],
        node_id_cb: Callable[[Record], int],
        parent_id_cb: Callable[[Record], int | None],
    ) -> None:
        self.node_id_cb = node_id_cb
        self.parent_id_cb = parent_id_cb
        #: Parents, children and positions in pre-order. Made once: a changed tree is a new tree.
        self.numbering = numbering
        #: The records by id, those of the tree itself; `nodes` copies them.
        self.records = records

    @functools.cached_property
    def graph(self) -> "nx.DiGraph[int]":
        """Edges from parent to child, node = id, the record's fields as node attributes.

        It is made when it is first asked for, and frozen: numbering is made once, so a changed tree
        is a new tree.
        """
        # Late: what asks for no graph waits for no library of graphs.
        import networkx as nx

        graph = self.numbering.graph()
        graph.add_nodes_from(self.records.items())
        frozen: nx.DiGraph[int] = nx.freeze(graph)
        return frozen

    def __len__(self) -> int:
        return len(self.numbering.parents)

    def __iter__(self) -> Iterator[int]:
        """Ids of all nodes, in the order of the records, like the keys of a mapping."""
        return iter(self.numbering.parents)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self.numbering.parents

    def __getitem__(self, node_id: StructureLike) -> Record:
        """Record of one node.

        Raises
        ------
        StructureNotFoundError
            If there is no such node.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree[2], list(tree)
        ({'id': 2, 'up': 1}, [1, 2])
        """
        value: Any = plain(node_id)
        if not isinstance(value, Hashable) or isinstance(value, tuple):
            raise StructureNotFoundError(
                f"{reprlib.repr(value)} is not one structure; nodes() takes several"
            )
        return _copied(self.records[self._resolve_one(value)])

    def resolve(self, node_ids: StructuresLike) -> list[int]:
        """Check ids; a single one is taken as a list of one.

        Raises
        ------
        StructureNotFoundError
            If there is no such node.
        """
        return [self._resolve_one(value) for value in as_list(node_ids)]

    def _resolve_one(self, value: Any) -> int:
        if value not in self:
            raise StructureNotFoundError(f"there is no node {value!r}; node_ids() lists all")
        return int(value)

    def node_ids(self) -> list[int]:
        """Ids of all nodes, in the order of the records.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.node_ids()
        [1, 2, 3]
        """
        return list(self.numbering.parents)

    def nodes(self, node_ids: StructuresLike | None = None) -> list[Any]:
        """Records of some nodes, or of all; None for an id that is not in the tree.

        Examples
        --------
        >>> SimpleTree([{"id": 1}], lambda node: node["id"], lambda node: None).nodes([1, 2])
        [{'id': 1}, None]
        """
        # Copies, so that a caller who edits a record does not edit the tree.
        if node_ids is None:
            return [_copied(record) for record in self.records.values()]
        return [
            None
            if isinstance(value, Integral) and value not in self
            else _copied(self.records[self._resolve_one(value)])
            for value in as_list(node_ids)
        ]

    def parent_ids(self, node_ids: StructuresLike) -> list[int | None]:
        """Id of the parent of each node, None for a root.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.parent_ids([3, 1])
        [2, None]
        """
        return [self.numbering.parents[i] for i in self.resolve(node_ids)]

    def parents(self, node_ids: StructuresLike) -> list[Any]:
        """Record of the parent of each node, None for a root.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.parents([3, 1])
        [{'id': 2, 'up': 1}, None]
        """
        return [None if i is None else _copied(self.records[i]) for i in self.parent_ids(node_ids)]

    def child_ids(self, node_ids: StructuresLike) -> list[list[int]]:
        """Ids of the children of each node.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.child_ids([1, 3])
        [[2], []]
        """
        return [self.numbering.children_of(i) for i in self.resolve(node_ids)]

    def children(self, node_ids: StructuresLike) -> list[list[Record]]:
        """Records of the children of each node.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.children([2])
        [[{'id': 3, 'up': 2}]]
        """
        return [self.nodes(ids) for ids in self.child_ids(node_ids)]

    def ancestor_ids(self, node_ids: StructuresLike) -> list[list[int]]:
        """Ids from each node, itself included, up to its root.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.ancestor_ids([3, 1])
        [[3, 2, 1], [1]]
        """
        return [self.numbering.ancestors(i) for i in self.resolve(node_ids)]

    def ancestors(self, node_ids: StructuresLike) -> list[list[Record]]:
        """Records from each node, itself included, up to its root.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.ancestors([2])
        [[{'id': 2, 'up': 1}, {'id': 1, 'up': None}]]
        """
        return [self.nodes(ids) for ids in self.ancestor_ids(node_ids)]

    def descendant_ids(self, node_ids: StructuresLike) -> list[list[int]]:
        """Ids of each node's subtree, itself first, in depth-first order.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.descendant_ids([1, 2])
        [[1, 2, 3], [2, 3]]
        """
        return [self.numbering.subtree(i) for i in self.resolve(node_ids)]

    def descendants(self, node_ids: StructuresLike) -> list[list[Record]]:
        """Records of each node's subtree, itself first, in depth-first order.

        Examples
        --------
        >>> nodes = [{"id": 1, "up": None}, {"id": 2, "up": 1}, {"id": 3, "up": 2}]
        >>> tree = SimpleTree(nodes, lambda node: node["id"], lambda node: node["up"])
        >>> tree.descendants([3])
        [[{'id': 3, 'up': 2}]]
        """
        return [self.nodes(ids) for ids in self.descendant_ids(node_ids)]

    # AllenSDK has both names of each.
    node = nodes
    parent = parents
    parent_id = parent_ids

    def filter_nodes(self, criterion: Callable[[Record], bool]) -> list[Record]:
        """Records for which a criterion holds.

        Examples
        --------
        >>> tree = SimpleTree([{"id": 1}, {"id": 2}], lambda node: node["id"], lambda node: None)
        >>> tree.filter_nodes(lambda node: node["id"] > 1)
        [{'id': 2}]
        """
        return [record for record in self.nodes() if criterion(record)]

    def value_map(
        self, from_fn: Callable[[Record], Key], to_fn: Callable[[Record], Value]
    ) -> dict[Key, Value]:
        """Map one property of the nodes to another.

        Raises
        ------
        NotUniqueError
            If two nodes share the first property.

        Examples
        --------
        >>> tree = SimpleTree([{"id": 1, "a": "x"}], lambda node: node["id"], lambda node: None)
        >>> tree.value_map(lambda node: node["a"], lambda node: node["id"])
        {'x': 1}
        """
        values: dict[Key, Value] = {}
        for record in self.nodes():
            key = from_fn(record)
            if key in values:
                raise NotUniqueError(
                    f"{key!r} belongs to more than one node; map a property that is unique"
                )
            values[key] = to_fn(record)
        return values

    def nodes_by_property(
        self,
        key: str | Callable[[Record], Any],
        values: Iterable[Any],
        to_fn: Callable[[Record], Any] | None = None,
    ) -> list[Any]:
        """Nodes whose property has one of the values, in the order of the values.

        Parameters
        ----------
        key
            Name of the property, or a function that returns it.
        values
            Values to look for.
        to_fn
            Returns the result for each node; by default its record.

        Raises
        ------
        MissingFieldError
            If nodes do not have the property.
        NotUniqueError
            If several nodes have one of the values.
        StructureNotFoundError
            If no node has a value.
        """
        from_fn = key if callable(key) else self._getter(key)
        ids: dict[Any, list[int]] = {}
        for node_id, record in zip(self.node_ids(), self.nodes(), strict=True):
            ids.setdefault(from_fn(record), []).append(node_id)
        name = str(getattr(key, "__name__", key))
        matches = self.nodes([sole_match(ids, value, name) for value in as_list(values)])
        return matches if to_fn is None else [to_fn(record) for record in matches]

    def _getter(self, field: str) -> Callable[[Record], Any]:
        lacking = [i for i, record in self.records.items() if field not in record]
        if lacking:
            raise MissingFieldError(f"nodes have no {field}: {listing(lacking)}")
        return operator.itemgetter(field)


def sole_match(ids: Mapping[Any, Sequence[int]], value: object, name: str) -> int:
    """Id of the one node that has a value of a property.

    Parameters
    ----------
    ids
        Ids of the nodes that have each value.
    value
        The value.
    name
        What the property is called.

    Raises
    ------
    StructureNotFoundError
        If no node has the value.
    NotUniqueError
        If several have.
    """
    matches = ids.get(value, ())
    if not matches:
        raise StructureNotFoundError(f"no structure has {name} {value!r}{did_you_mean(value, ids)}")
    if len(matches) > 1:
        raise NotUniqueError(
            f"{name} {value!r} belongs to several structures, {listing(matches)}; give one id"
        )
    return matches[0]


def as_list(values: object) -> list[Any]:
    """Make a list of one of a single id or name, and a list of any collection."""
    given: Any = plain(values)
    single = isinstance(given, str) or not isinstance(given, Iterable)
    return [given] if single else [plain(value) for value in given]


def plain(value: object) -> Any:
    """Turn a NumPy scalar, or an array without dims, lazy or not, into Python's own value."""
    return np.asarray(value).item() if getattr(value, "ndim", None) == 0 else value


def _copied(record: Mapping[str, Any]) -> Record:
    """Copy a record and the lists in it.

    Records have no deeper values. All 1327 of the mouse take 0.9 ms, with ``copy.deepcopy`` 7 ms.
    """
    return {
        key: value.copy() if isinstance(value, list) else value for key, value in record.items()
    }


def did_you_mean(value: object, candidates: Iterable[object]) -> str:
    """Half a sentence that suggests similar candidates, capitals aside; empty without any."""
    by_lower = {str(candidate).lower(): str(candidate) for candidate in candidates}
    near = difflib.get_close_matches(str(value).lower(), by_lower, n=3)
    return f"; did you mean {' or '.join(by_lower[name] for name in near)}?" if near else ""
