"""Regions: which structures' voxels make up each of them, in arrays that kernels can use."""

import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from refspace import kernels
from refspace.errors import OntologyError
from refspace.structure_tree.records import listing
from refspace.structure_tree.simple_tree import SimpleTree
from refspace.types import BACKGROUND, MAX_LABEL, StructuresLike

RegionLabel: TypeAlias = int | str


@dataclass(frozen=True, eq=False, repr=False)
class Regions:
    """Regions, and the structures whose voxels make up each of them.

    `StructureTree.regions` makes them; every verb on regions takes them. Regions may overlap: of a
    structure and its parent, each has all of its own subtree. Where every voxel is to be in one
    region at most, it is in that of the nearest structure above it. Printed, they say which
    structures are in several regions, and which in none.

    Parameters
    ----------
    labels
        Label of each region: the id of its structure, or what a mapping calls it.
    indptr
        Where the members of each region begin in `members`, and the end.
    members
        Ids of the structures whose own voxels are in each region, sorted within each; without 0,
        which is outside.
    nearest
        Index of the region of each structure that is in one: the nearest of several. None of
        regions that were made of others, of whose tree nothing is said any more.
    overlapping
        Ids of the structures whose voxels are in several regions.
    uncovered
        Ids of the structures whose voxels are in no region.
    acronyms, names
        Of the structure of each region; empty where the regions are those of a mapping.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> systems = tree.regions({"VISp": "visual", "VISl": "visual", "AUD": "auditory"})
    >>> systems.labels, systems.nearest_region[593]  # VISp1
    (('visual', 'auditory'), 0)
    >>> tree.regions(structure_set=167587189)
    <Regions: 137 regions; 0 structures are in several, 126 in none>
    """

    labels: tuple[RegionLabel, ...]
    indptr: NDArray[np.int64]
    members: NDArray[np.int64]
    nearest: Mapping[int, int] | None
    overlapping: tuple[int, ...]
    uncovered: tuple[int, ...]
    acronyms: tuple[str, ...]
    names: tuple[str, ...]

    def __repr__(self) -> str:
        if self.nearest is None:
            return f"<Regions: {self._count_text}>"
        return (
            f"<Regions: {self._count_text}; {len(self.overlapping)} structures are in several, "
            f"{len(self.uncovered)} in none>"
        )

    def __str__(self) -> str:
        """Report of what is in several regions, or in none."""
        lines = [self._count_text]
        if self.nearest is None:
            return lines[0]
        for text, ids in (("several", self.overlapping), ("no", self.uncovered)):
            line = f"{len(ids)} structures are in {text} region{'s' * (text == 'several')}"
            lines.append(f"{line}: {listing(ids)}" if ids else line)
        return "\n".join(lines)

    @property
    def _count_text(self) -> str:
        return f"{len(self)} region{'' if len(self) == 1 else 's'}"

    @property
    def nearest_region(self) -> Mapping[int, int]:
        """Index of the region of each structure that is in one: the nearest of several.

        Raises
        ------
        OntologyError
            If the regions are those of `select` or `without_names`.
        """
        if self.nearest is None:
            raise OntologyError(
                "of regions that were selected from others the nearest of a structure is not "
                "known; give regions as StructureTree.regions makes them"
            )
        return self.nearest

    def __len__(self) -> int:
        return len(self.labels)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        arrays = self.indptr.tobytes(), self.members.tobytes()
        return type(self).__name__, self.labels, *arrays, self.acronyms, self.names

    # ----- labels of regions

    @property
    def are_numbered(self) -> bool:
        """Whether the regions have texts for labels, so that voxels hold numbers from 1 instead."""
        return any(isinstance(label, str) for label in self.labels)

    @property
    def voxel_labels(self) -> Sequence[int]:
        """Label that voxels of each region have: its own, or a number from 1 where that is a text.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=400).structure_tree
        >>> tree.regions({"VIS": "visual", "AUD": "auditory"}).voxel_labels
        range(1, 3)
        """
        if self.are_numbered:
            return range(1, len(self) + 1)
        return [int(label) for label in self.labels]

    def label_voxels(self) -> dict[int, int]:
        """Label of the nearest region, of each structure that is in one.

        Raises
        ------
        OntologyError
            If voxels would have the label 0, which is outside: that of the structure with id 0.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=400).structure_tree
        >>> tree.regions(["VIS", "VISp"]).label_voxels()[593]  # VISp1
        385
        """
        labels = self.voxel_labels
        found = {i: labels[region] for i, region in self.nearest_region.items()}
        if BACKGROUND in found.values():
            raise OntologyError(
                "voxels of the region of structure 0 would have the label 0, which is outside; "
                "leave that structure out, or map it to another label (in Python, like {0: 1})"
            )
        return found

    def columns(self) -> dict[str, NDArray[Any]]:
        """Columns of a table with a row for each region: its label, and what it is called.

        That is the acronym and name of a structure, and the ``region`` of what has a text for a
        label.
        """
        columns = {"structure": np.array(self.labels, None if self.labels else np.int64)}
        if self.are_numbered:
            columns["region"] = np.array(self.labels, str)
        if self.acronyms:
            columns |= {"acronym": np.array(self.acronyms), "name": np.array(self.names)}
        return columns

    # ----- structures of regions

    @property
    def structures(self) -> NDArray[np.int64]:
        """Ids of the structures that are in any region, sorted."""
        return np.unique(self.members)

    def structures_in(self, region_index: int) -> NDArray[np.int64]:
        """Ids of the structures whose own voxels are in a region, sorted."""
        return self.members[self.indptr[region_index] : self.indptr[region_index + 1]]

    def region_index(self, structure_ids: NDArray[Any]) -> NDArray[np.intp]:
        """Index of the nearest region of each structure; -1 where it is in none.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=400).structure_tree
        >>> tree.regions(["VISp", "VISl"]).region_index(np.array([0, 593, 997]))
        array([-1,  0, -1])
        """
        ids = np.array(sorted(self.nearest_region), np.int64)
        nearest = np.array([*(self.nearest_region[i] for i in ids.tolist()), -1], np.intp)
        return nearest[kernels.find(structure_ids.astype(np.int64), ids)]

    def select(self, labels: Sequence[RegionLabel]) -> "Regions":
        """Some of the regions, in a given order, with their structures.

        What is said of all regions together is left out: the nearest region of each structure, and
        which structures are in several regions or in none.

        Parameters
        ----------
        labels
            Labels of regions.

        Raises
        ------
        OntologyError
            If no region has a label.

        Examples
        --------
        >>> import refspace
        >>> leaves = refspace.phantom(resolution=400).structure_tree.regions("leaves")
        >>> leaves.select([68, 667])
        <Regions: 2 regions>
        """
        index = {label: region for region, label in enumerate(self.labels)}
        if missing := [label for label in labels if label not in index]:
            raise OntologyError(
                f"no region is labelled {listing(missing)}; the labels are {listing(self.labels)}"
            )
        chosen = [index[label] for label in labels]
        parts = [self.structures_in(region) for region in chosen]
        return replace(
            self.without_names(),
            labels=tuple(labels),
            indptr=np.cumsum([0, *(part.size for part in parts)], dtype=np.int64),
            members=np.concatenate([np.empty(0, np.int64), *parts]),
            acronyms=tuple(self.acronyms[region] for region in chosen if self.acronyms),
            names=tuple(self.names[region] for region in chosen if self.names),
        )

    # ----- values of regions

    def without_names(self) -> "Regions":
        """What `reduce` needs, as tasks carry it: neither names nor nearest regions."""
        return replace(self, nearest=None, overlapping=(), uncovered=(), acronyms=(), names=())

    def reduce(
        self,
        structure_ids: NDArray[Any],
        values: NDArray[Any],
        ufunc: np.ufunc = np.add,
        empty: float = 0,
    ) -> NDArray[Any]:
        """Reduce a value per structure to one per region.

        Parameters
        ----------
        structure_ids
            Labels of voxels, sorted and unique, whether they are structures or not.
        values
            A value for each, along the last axis.
        ufunc
            What joins two values.
        empty
            Value of a region without voxels, and of a structure that is not among the ids: the one
            that changes nothing.

        Returns
        -------
        ndarray
            Values with the regions along the last axis.

        Examples
        --------
        >>> import refspace
        >>> tree = refspace.phantom(resolution=400).structure_tree
        >>> regions = tree.regions(["Isocortex", "VISp", "TH"])
        >>> regions.reduce(np.array([0, 593, 821]), np.array([9, 1, 2]))  # 0, VISp1, VISp2/3
        array([3, 3, 0])
        """
        nothing = np.asarray(empty, values.dtype)
        beside = np.broadcast_to(nothing, (*values.shape[:-1], 1))
        # One more at the end: `reduceat` has no place for regions that begin there.
        places = np.append(kernels.find(self.members, structure_ids.astype(np.int64)), -1)
        gathered = np.concatenate((values, beside), axis=-1)[..., places]
        reduced = ufunc.reduceat(gathered, self.indptr[:-1], axis=-1)
        reduced[..., np.diff(self.indptr) == 0] = nothing
        return reduced.astype(values.dtype, copy=False)


RegionsLike: TypeAlias = Regions | StructuresLike | Mapping[Any, RegionLabel]
"""Regions, or what `StructureTree.regions` makes them of: structures, a mapping, or a name."""


def subtree_regions(tree: SimpleTree, ids: Sequence[int], *, direct_only: bool = False) -> Regions:
    """One region for each of some structures: its subtree, or the structure alone.

    Parameters
    ----------
    tree
        The structures.
    ids
        Ids of structures, each once.
    direct_only
        Whether to leave out their descendants.
    """
    members = [[i] for i in ids] if direct_only else tree.descendant_ids(ids)
    nodes = [tree.records[i] for i in ids]
    return _build(
        tree,
        tuple(ids),
        members,
        _nearest(tree, {i: index for index, i in enumerate(ids)}, direct_only),
        tuple(str(node.get("acronym") or "") for node in nodes),
        tuple(str(node.get("name") or "") for node in nodes),
    )


def partition(
    tree: SimpleTree, labels: Mapping[Any, RegionLabel], *, direct_only: bool = False
) -> Regions:
    """Regions that do not overlap, from the label of some structures.

    Parameters
    ----------
    tree
        The structures.
    labels
        Label of the region of each structure, an integer or a text. A structure that has none is in
        the region of the nearest structure above it that has one.
    direct_only
        Whether to leave those out.

    Raises
    ------
    OntologyError
        If a structure has two labels, or a label is neither a text nor an integer.
    """
    label_of_id = _resolved_labels(tree, labels)
    regions = tuple(dict.fromkeys(label_of_id.values()))
    if len({type(label) for label in regions}) > 1:
        raise OntologyError("regions are labelled by integers and texts; give one or the other")
    index = {label: region for region, label in enumerate(regions)}
    chosen = {i: index[label] for i, label in label_of_id.items()}
    nearest = _nearest(tree, chosen, direct_only)
    members: list[list[int]] = [[] for _ in regions]
    for i, region in nearest.items():
        members[region].append(i)
    return _build(tree, regions, members, nearest, (), ())


def _resolved_labels(tree: SimpleTree, labels: Mapping[Any, RegionLabel]) -> dict[int, RegionLabel]:
    resolved: dict[int, RegionLabel] = {}
    for structure, value in labels.items():
        label = _checked_label(value)
        for i in tree.resolve([structure]):
            if resolved.setdefault(i, label) != label:
                raise OntologyError(
                    f"structure {i} is mapped to {resolved[i]!r} and to {label!r}; give one label"
                )
    return resolved


def _checked_label(label: RegionLabel) -> RegionLabel:
    if isinstance(label, str) and label:
        return label
    with suppress(TypeError):
        if not isinstance(label, bool) and 0 < (number := operator.index(label)) <= MAX_LABEL:  # type: ignore[arg-type]
            return number
    raise OntologyError(
        f"a region is labelled {label!r}; give an integer from 1 to {MAX_LABEL}, or a text"
    )


def _build(
    tree: SimpleTree,
    labels: tuple[RegionLabel, ...],
    members: Sequence[Sequence[int]],
    nearest: Mapping[int, int],
    acronyms: tuple[str, ...],
    names: tuple[str, ...],
) -> Regions:
    inside = [sorted(set(ids) - {BACKGROUND}) for ids in members]
    lengths = [len(ids) for ids in inside]
    flat = np.array([i for ids in inside for i in ids], np.int64)
    often = dict(zip(*(a.tolist() for a in np.unique(flat, return_counts=True)), strict=True))
    inner = [i for i in tree.node_ids() if i != BACKGROUND]
    return Regions(
        labels,
        np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        flat,
        {i: region for i, region in nearest.items() if i != BACKGROUND},
        tuple(i for i in inner if often.get(i, 0) > 1),
        tuple(i for i in inner if i not in often),
        acronyms,
        names,
    )


def _nearest(tree: SimpleTree, chosen: Mapping[int, int], direct_only: bool) -> dict[int, int]:
    """What is chosen for the nearest structure above each structure, or for itself."""
    if direct_only:
        return dict(chosen)
    parents = tree.numbering.parents
    nearest: dict[int | None, int] = {}
    # From the roots down: what is nearest to the parent is, unless a structure is chosen itself.
    for i in tree.numbering.preorder:
        region = chosen.get(i, nearest.get(parents[i]))
        if region is not None:
            nearest[i] = region
    return {i: nearest[i] for i in tree.node_ids() if i in nearest}
