"""Which structures make up which region: all, a level, a set, or whatever is asked for."""

import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from refspace import kernels
from refspace.errors import OntologyError
from refspace.structure_tree.records import listing
from refspace.structure_tree.simple_tree import as_list
from refspace.structure_tree.structure_tree import StructureTree
from refspace.types import BACKGROUND, MAX_LABEL

Level: TypeAlias = int | Literal["leaf"]
Region: TypeAlias = int | str


@dataclass(frozen=True, eq=False, repr=False)
class Parcellation:
    """Regions, and the structures whose voxels make up each of them.

    Regions may overlap: of a structure and its parent each has all of its own subtree. Where every
    voxel is to be in one region at most, it is in that of the nearest structure above it.

    Parameters
    ----------
    regions
        Label of each region: the id of its structure, or what a mapping calls it.
    indptr
        Where the members of each region begin in `members`, and the end.
    members
        Ids of the structures whose own voxels are in each region, sorted within each; without 0,
        which is outside.
    owners
        Number of the region of each structure that is in one: the nearest of several.
    covered_twice
        Ids of the structures whose voxels are in several regions.
    uncovered
        Ids of the structures whose voxels are in none.
    acronyms, names
        Of the structure of each region; empty where the regions are those of a mapping.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> visual = Parcellation.of(tree, {"VISp": "visual", "VISl": "visual", "AUD": "auditory"})
    >>> visual.regions, visual.owners[593]  # VISp1
    (('visual', 'auditory'), 0)
    """

    regions: tuple[Region, ...]
    indptr: NDArray[np.int64]
    members: NDArray[np.int64]
    owners: Mapping[int, int]
    covered_twice: tuple[int, ...]
    uncovered: tuple[int, ...]
    acronyms: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        tree: StructureTree,
        structures: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        direct_only: bool = False,
    ) -> "Parcellation":
        """Regions of a tree, by one of four ways to name them; of all structures if by none.

        Parameters
        ----------
        tree
            The structures.
        structures
            The structures whose subtrees are the regions; or a mapping from structures to the
            labels of their regions, integers or texts, by which each structure belongs to the
            region of the nearest structure above it that is in the mapping.
        level
            Depth of the structures: 0 for the roots. Leaves that are less deep are regions too.
            ``"leaf"`` for all leaves.
        structure_set
            Id of a structure set, or several: the structures that are in one of them.
        direct_only
            Whether to leave out the descendants of structures.

        Raises
        ------
        OntologyError
            If regions are named in several ways, or the tree has no such level or set.
        StructureNotFoundError
            If there is no such structure.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=400).structure_tree
        >>> Parcellation.of(tree, level=2).acronyms[:3]
        ('CH', 'BS', 'CB')
        >>> Parcellation.of(tree, structure_set=167587189)
        <Parcellation of 137 regions; 0 structures are in several, 126 in none>
        """
        given = {"structures": structures, "level": level, "structure_set": structure_set}
        ways = [way for way, value in given.items() if value is not None]
        if len(ways) > 1:
            raise OntologyError(f"regions are named by {' and '.join(ways)}; give one of them")
        if isinstance(structures, Mapping):
            return _partition(tree, structures, direct_only)
        if level is not None:
            ids = _at_level(tree, level)
        elif structure_set is not None:
            ids = _of_sets(tree, structure_set)
        else:
            # Each once: a region that is named twice is one region.
            ids = list(
                dict.fromkeys(tree.node_ids() if structures is None else tree.resolve(structures))
            )
        return _subtrees(tree, ids, direct_only)

    def __repr__(self) -> str:
        return (
            f"<Parcellation of {len(self)} regions; {len(self.covered_twice)} structures are in "
            f"several, {len(self.uncovered)} in none>"
        )

    def __str__(self) -> str:
        """Report of what is in several regions, or in none."""
        lines = [f"{len(self)} regions"]
        for text, ids in (("several", self.covered_twice), ("no", self.uncovered)):
            there = f"{len(ids)} structures are in {text} region{'s' * (text == 'several')}"
            lines.append(f"{there}: {listing(ids)}" if ids else there)
        return "\n".join(lines)

    def __len__(self) -> int:
        return len(self.regions)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Columns of a table with a row for each region: its label, and what it is called."""
        columns = {"structure": np.array(self.regions, None if self.regions else np.int64)}
        if self.acronyms:
            columns |= {"acronym": np.array(self.acronyms), "name": np.array(self.names)}
        return columns

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of the voxels that are in any region, sorted."""
        return np.unique(self.members)

    def nameless(self) -> "Parcellation":
        """What `pool` needs, as tasks carry it: not what regions are called, nor their owners."""
        return replace(self, owners={}, covered_twice=(), uncovered=(), acronyms=(), names=())

    def of_region(self, number: int) -> NDArray[np.int64]:
        """Ids of the structures whose own voxels are in a region."""
        return self.members[self.indptr[number] : self.indptr[number + 1]]

    def numbers(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        """Number of the region of each label, the nearest of several; -1 where it is in none.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=400).structure_tree
        >>> Parcellation.of(tree, ["VISp", "VISl"]).numbers(np.array([0, 593, 997]))
        array([-1,  0, -1])
        """
        ids = np.array(sorted(self.owners), np.int64)
        owner = np.array([*(self.owners[i] for i in ids.tolist()), -1], np.intp)
        return owner[kernels.find(labels.astype(np.int64), ids)]

    def pool(
        self, labels: NDArray[Any], values: NDArray[Any], ufunc: np.ufunc = np.add, empty: Any = 0
    ) -> NDArray[Any]:
        """Reduce a value per label to one per region.

        Parameters
        ----------
        labels
            Labels, sorted and unique; those of structures or not.
        values
            A value for each, along the last axis.
        ufunc
            How two are made one.
        empty
            What there is of a region without labels, and of a label that is not among them: what
            changes nothing.

        Returns
        -------
        ndarray
            Values with the regions along the last axis.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=400).structure_tree
        >>> regions = Parcellation.of(tree, ["Isocortex", "VISp", "TH"])
        >>> regions.pool(np.array([0, 593, 821]), np.array([9, 1, 2]))  # 0, VISp1, VISp2/3
        array([3, 3, 0])
        """
        empty = np.asarray(empty, values.dtype)
        beside = np.broadcast_to(empty, (*values.shape[:-1], 1))
        # One more at the end: `reduceat` has no place for regions that begin there.
        places = np.append(kernels.find(self.members, labels.astype(np.int64)), -1)
        gathered = np.concatenate((values, beside), axis=-1)[..., places]
        pooled = ufunc.reduceat(gathered, self.indptr[:-1], axis=-1)
        pooled[..., np.diff(self.indptr) == 0] = empty
        return pooled.astype(values.dtype, copy=False)


def _subtrees(tree: StructureTree, ids: Sequence[int], direct_only: bool) -> Parcellation:
    """One region for each structure: its subtree, or itself alone."""
    members = [[i] for i in ids] if direct_only else tree.descendant_ids(ids)
    chosen = {i: number for number, i in enumerate(ids)}
    nodes = tree.nodes(ids)
    return _made(
        tree,
        tuple(ids),
        members,
        _nearest(tree, chosen, direct_only),
        tuple(str(node.get("acronym") or "") for node in nodes),
        tuple(str(node.get("name") or "") for node in nodes),
    )


def _partition(tree: StructureTree, labels: Mapping[Any, Any], direct_only: bool) -> Parcellation:
    """Regions that a mapping from structures to labels names, none of which overlap."""
    chosen: dict[int, Region] = {}
    for structure, given in labels.items():
        label = _label(given)
        for i in tree.resolve([structure]):
            if chosen.setdefault(i, label) != label:
                raise OntologyError(
                    f"structure {i} is mapped to {chosen[i]!r} and to {label!r}; give one label"
                )
    regions = tuple(dict.fromkeys(chosen.values()))
    if len({type(region) for region in regions}) > 1:
        raise OntologyError("regions are labelled by integers and texts; give one or the other")
    number = {region: n for n, region in enumerate(regions)}
    owners = _nearest(tree, {i: number[region] for i, region in chosen.items()}, direct_only)
    members: list[list[int]] = [[] for _ in regions]
    for i, owner in owners.items():
        members[owner].append(i)
    return _made(tree, regions, members, owners, (), ())


def _made(
    tree: StructureTree,
    regions: tuple[Region, ...],
    members: Sequence[Sequence[int]],
    owners: Mapping[int, int],
    acronyms: tuple[str, ...],
    names: tuple[str, ...],
) -> Parcellation:
    inside = [sorted(set(ids) - {BACKGROUND}) for ids in members]
    lengths = [len(ids) for ids in inside]
    flat = np.array([i for ids in inside for i in ids], np.int64)
    often = dict(zip(*(a.tolist() for a in np.unique(flat, return_counts=True)), strict=True))
    inner = [i for i in tree.node_ids() if i != BACKGROUND]
    return Parcellation(
        regions,
        np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        flat,
        {i: owner for i, owner in owners.items() if i != BACKGROUND},
        tuple(i for i in inner if often.get(i, 0) > 1),
        tuple(i for i in inner if i not in often),
        acronyms,
        names,
    )


def _nearest(tree: StructureTree, chosen: Mapping[int, int], direct_only: bool) -> dict[int, int]:
    """What is chosen of the nearest structure above each structure, or of itself."""
    if direct_only:
        return dict(chosen)
    owners: dict[int, int] = {}
    for i, above in tree.get_ancestor_id_map().items():
        nearest = next((chosen[a] for a in above if a in chosen), None)
        if nearest is not None:
            owners[i] = nearest
    return owners


def _label(label: Any) -> Region:
    if isinstance(label, str) and label:
        return label
    with suppress(TypeError):
        if not isinstance(label, bool) and 0 < (number := operator.index(label)) <= MAX_LABEL:
            return number
    raise OntologyError(
        f"a region is labelled {label!r}; give an integer from 1 to {MAX_LABEL}, or a text"
    )


def _at_level(tree: StructureTree, level: Level) -> list[int]:
    """Structures of a depth, and leaves that are less deep."""
    leaves = {i for i in tree.node_ids() if not tree.graph.succ[i]}
    if level == "leaf":
        return [i for i in tree.node_ids() if i in leaves]
    depths = {i: len(above) - 1 for i, above in tree.get_ancestor_id_map().items()}
    deepest = max(depths.values(), default=-1)
    if isinstance(level, bool) or level not in range(deepest + 1):
        raise OntologyError(
            f"level is {level!r}; give a depth from 0, that of the roots, to {deepest}, or 'leaf'"
        )
    return [i for i, depth in depths.items() if depth == level or (depth < level and i in leaves)]


def _of_sets(tree: StructureTree, structure_set: int | Sequence[int]) -> list[int]:
    known = tree.get_structure_sets()
    try:
        wanted = [operator.index(i) for i in as_list(structure_set)]
    except TypeError as error:
        raise OntologyError(f"structure_set is {structure_set!r}; give ids of sets") from error
    missing = [i for i in wanted if i not in known]
    if missing or not wanted:
        raise OntologyError(
            f"no structure is in set {listing(missing) or 'none'}; the sets of this tree are "
            f"{listing(sorted(known)) or 'none'}"
        )
    return [node["id"] for node in tree.get_structures_by_set_id(wanted)]
