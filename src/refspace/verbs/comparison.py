"""What differs between two volumes."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace import kernels
from refspace.errors import StructureNotFoundError
from refspace.formats.volumes import read_volume, read_voxels
from refspace.grid import Grid
from refspace.labels import LabelVolume, as_annotation, labelled
from refspace.ops.compare import check_same_grid, check_same_shape, confusion
from refspace.safe_text import escaped
from refspace.structure_tree import RegionLabel, Regions, RegionsLike, StructureTree
from refspace.structure_tree.named_regions import name_of_regions
from refspace.structure_tree.simple_tree import as_list
from refspace.types import BACKGROUND, ImageLike
from refspace.verbs.grids import in_frame, reorient
from refspace.verbs.space import Space

# Rows of a table that a report shows.
_SHOWN = 5


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two volumes on the same grid, voxel by voxel.

    Nothing is read until something is asked; the first question reads each volume once, and what
    was found is remembered.

    Parameters
    ----------
    structure_tree, other_tree
        The structures of the one volume and of the other; each is rolled up by its own tree.
    voxel_volume
        mm³ of a voxel.
    pairs
        Counts of the pairs of ids at the same places, lazy.
    """

    structure_tree: StructureTree
    other_tree: StructureTree
    voxel_volume: float
    pairs: Delayed

    @functools.cached_property
    def confusion(self) -> pd.DataFrame:
        """Pairs of ids at the same places, the most voxels first.

        Columns ``label``, ``other`` and ``voxels``; then what the trees call them: ``acronym``,
        ``name``, ``other_acronym`` and ``other_name``, empty of what is no structure.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=400)
        >>> found = space.compare(space).confusion
        >>> bool((found.label == found.other).all())
        True
        """
        table: pd.DataFrame = self.pairs.compute()
        for column, tree, prefix in (
            ("label", self.structure_tree, ""),
            ("other", self.other_tree, "other_"),
        ):
            for field in ("acronym", "name"):
                table[f"{prefix}{field}"] = _called(table[column], tree, field)
        return table

    @property
    def changed_voxels(self) -> int:
        """Number of voxels that have different ids."""
        table = self.confusion
        return int(table.voxels[table.label != table.other].sum())

    @property
    def agreement(self) -> float:
        """Share of all voxels, those outside too, that have equal ids."""
        return 1 - self.changed_voxels / int(self.confusion.voxels.sum())

    @property
    def only_here(self) -> tuple[int, ...]:
        """Ids that the one volume holds and the other does not."""
        return self._only("label", "other")

    @property
    def only_other(self) -> tuple[int, ...]:
        """Ids that the other volume holds and the one does not."""
        return self._only("other", "label")

    def _only(self, there: str, missing: str) -> tuple[int, ...]:
        ids = np.setdiff1d(self.confusion[there], self.confusion[missing])
        return tuple(ids[ids != BACKGROUND].tolist())

    @functools.cached_property
    def structures(self) -> xr.Dataset:
        """What `at` says of every structure of both trees.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=400)
        >>> float(space.compare(space).structures.dice.sel(structure=385))
        1.0
        """
        return self.at()

    def at(
        self, regions: RegionsLike | None = None, other_regions: Regions | None = None
    ) -> xr.Dataset:
        """Compare regions: how large they are in both volumes, and how far they agree.

        Parameters
        ----------
        regions
            As for `relabel`; all structures of both trees if not given. Structures, and those of a
            mapping, may be in one tree alone.
        other_regions
            Regions of the tree of the other volume, where they are not the same.

        Returns
        -------
        xarray.Dataset
            Over ``structure``: ``voxels`` and ``other_voxels`` of the regions, and those they have
            in ``common``; ``dice`` and ``jaccard``, NaN where both are empty; ``volume`` and
            ``other_volume`` in mm³, and ``change`` of the volume relative to the first.

        Raises
        ------
        OntologyError
            As for `relabel`, of either tree.
        StructureNotFoundError
            If a structure is in neither tree.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=400)
        >>> table = space.compare(space).at(space.structure_tree.regions(depth=2))
        >>> bool((table.voxels == table.common).all())
        True
        """
        one, other = self._regions_of_both(regions, other_regions)
        labels = tuple(dict.fromkeys((*one.labels, *other.labels)))
        inside = _inside(one, labels, self.confusion.label)
        other_inside = _inside(other, labels, self.confusion.other)
        counts, sizes = self.confusion.voxels.to_numpy(), np.zeros((3, len(labels)), np.int64)
        # One region at a time: all of them by all pairs may be too much.
        for region, (here, there) in enumerate(zip(inside, other_inside, strict=True)):
            sizes[:, region] = [counts[part].sum() for part in (here, there, here & there)]
        voxels, others, common = sizes
        variables = _measures(voxels, others, common, self.voxel_volume)
        return xr.Dataset(variables, _names(labels, one, other))

    def _regions_of_both(
        self, regions: RegionsLike | None, other_regions: Regions | None
    ) -> tuple[Regions, Regions]:
        if isinstance(regions, Regions):
            return regions, regions if other_regions is None else other_regions
        chosen = self._resolved(regions)
        one, other = (
            tree.regions(_within(tree, chosen)) for tree in (self.structure_tree, self.other_tree)
        )
        return one, other

    def _resolved(self, structures: Any) -> Any:
        """Ids of structures, which either tree may know; of a mapping, its keys."""
        if structures is None or name_of_regions(structures) is not None:
            return structures
        if isinstance(structures, Mapping):
            return {i: label for s, label in structures.items() for i in self._resolved([s])}
        ids = []
        for structure in as_list(structures):
            try:
                ids += self.structure_tree.resolve([structure])
            except StructureNotFoundError:
                ids += self.other_tree.resolve([structure])
        return ids

    def __repr__(self) -> str:
        return (
            f"<Comparison of a volume of {len(self.structure_tree)} structures with one of "
            f"{len(self.other_tree)}>"
        )

    def __str__(self) -> str:
        """Report of what differs."""
        total, changed = int(self.confusion.voxels.sum()), self.changed_voxels
        lines = [f"{changed} of {total} voxels changed: {self.agreement:.2%} agree"]
        for ids, where in ((self.only_here, "this volume"), (self.only_other, "the other")):
            if ids:
                more = ", …" if len(ids) > _SHOWN else ""
                listed = ", ".join(map(str, ids[:_SHOWN]))
                lines.append(f"ids in {where} alone: {listed}{more} ({len(ids)})")
        table = self.structures.to_dataframe()
        lost = table.voxels + table.other_voxels - 2 * table.common
        worst = lost[lost > 0].sort_values(ascending=False, kind="stable").index[:_SHOWN]
        if len(worst):
            columns = ["acronym", "voxels", "other_voxels", "common", "dice"]
            shown = table.loc[worst, columns]
            text = shown.to_string(float_format="{:.3f}".format, index_names=False)
            lines += ["structures that changed most:", escaped(text, "\n")]
        return "\n".join(lines)


def _called(ids: "pd.Series[int]", tree: StructureTree, field: str) -> NDArray[np.object_]:
    """What a tree calls ids; nothing of those that it lacks, and of what is outside."""
    known = [i for i in ids.unique().tolist() if i != BACKGROUND and i in tree]
    called = {node["id"]: str(node.get(field) or "") for node in tree.nodes(known)}
    return np.array([called.get(i, "") for i in ids.tolist()], object)


def _within(tree: StructureTree, chosen: Any) -> Any:
    """Of chosen structures, those of a tree."""
    if isinstance(chosen, Mapping):
        return {i: label for i, label in chosen.items() if i in tree}
    if chosen is None or name_of_regions(chosen) is not None:
        return chosen
    return [i for i in chosen if i in tree]


def _inside(
    regions: Regions, region_labels: Sequence[RegionLabel], labels: "pd.Series[int]"
) -> Iterator[NDArray[np.bool_]]:
    """For each region, which of some labels are in it."""
    index = {label: region for region, label in enumerate(regions.labels)}
    ids, place = np.unique(labels, return_inverse=True)
    for label in region_labels:
        # One more at the end, for members that do not occur.
        inside = np.zeros(ids.size + 1, bool)
        if label in index:
            inside[kernels.find(regions.structures_in(index[label]), ids)] = True
        inside[-1] = False
        yield inside[place]


def _measures(
    voxels: NDArray[np.int64],
    other: NDArray[np.int64],
    common: NDArray[np.int64],
    voxel_volume: float,
) -> dict[str, Any]:
    """Variables of a comparison."""
    with np.errstate(divide="ignore", invalid="ignore"):
        dice = 2 * common / (voxels + other)
        jaccard = common / (voxels + other - common)
        change = (other - voxels) / voxels
    units = {"units": "mm3"}
    return {
        "voxels": ("structure", voxels),
        "other_voxels": ("structure", other),
        "common": ("structure", common),
        "dice": ("structure", dice),
        "jaccard": ("structure", jaccard),
        "volume": ("structure", voxels * voxel_volume, units),
        "other_volume": ("structure", other * voxel_volume, units),
        "change": ("structure", change),
    }


def _names(labels: Sequence[RegionLabel], one: Regions, other: Regions) -> dict[str, Any]:
    """Coordinates of the regions of two trees; the names of the first where both have some."""
    coords: dict[str, Any] = {"structure": np.array(labels, None if labels else np.int64)}
    for field in ("acronyms", "names"):
        names = {
            label: name
            for regions in (other, one)
            for label, name in zip(regions.labels, getattr(regions, field), strict=False)
        }
        if names:
            coords[field[:-1]] = ("structure", [names[label] for label in labels])
    return coords


def compare(space: Space, other: Space | ImageLike, *, same_grid: bool = False) -> Comparison:
    """Compare the volume with another on the same grid, voxel by voxel.

    Parameters
    ----------
    other
        A reference space, whose tree may be another; or an annotation of the same structures:
        an array of the same shape, a DataArray, or the path of a file.
    same_grid
        Whether voxel i of the other is voxel i of this volume, whatever position it states.

    Returns
    -------
    Comparison
        Confusion table, Dice and Jaccard of every structure, changes of volume; its text is a
        report. Nothing is read until something is asked of it.

    Raises
    ------
    GridError
        If the voxels of the other are not at the same places, to a thousandth of one; or if its
        shape is another one.
    AnnotationError
        If it is no annotation.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> moved = space.annotation.copy(data=space.annotation.roll(ap=1).data)
    >>> found = space.compare(moved)
    >>> round(float(found.structures.dice.sel(structure=385)), 2)  # VISp
    0.84
    """
    if isinstance(other, Space):
        compared = other
    elif same_grid:
        volume = LabelVolume.from_array(voxels_on(space.grid, other))
        compared = Space(space.structure_tree, volume)
    else:
        compared = _as_space(space, other)
    if same_grid:
        check_same_shape(space.grid.shape, compared.grid.shape)
    else:
        compared = reorient(in_frame(compared, space.grid.frame), space.grid.orientation)
        check_same_grid(space.grid, compared.grid)
    pairs = confusion(
        space.annotation, compared.annotation, space.block_labels, compared.block_labels
    )
    trees = space.structure_tree, compared.structure_tree
    return Comparison(*trees, space.grid.voxel_volume, pairs)


def voxels_on(grid: Grid, annotation: ImageLike) -> xr.DataArray:
    """Voxels of an annotation as those of a grid, in their order, wherever it says that they are.

    Parameters
    ----------
    grid
        The grid.
    annotation
        An array of its shape, or the path of a file.

    Raises
    ------
    GridError
        If the shape is another one.
    AnnotationError
        If it is no annotation.
    """
    if isinstance(annotation, str | os.PathLike):
        annotation = read_voxels(annotation)
    data = annotation.data if isinstance(annotation, xr.DataArray) else annotation
    labels = as_annotation(data, grid.spacing, orientation=grid.orientation)
    check_same_shape(grid.shape, labels.shape)
    return labelled(labels.data, grid)


def _as_space(space: Space, annotation: ImageLike) -> Space:
    """Space of another annotation with the same tree; a bare array is on the same grid."""
    if isinstance(annotation, str | os.PathLike):
        annotation = read_volume(annotation)
    if not isinstance(annotation, xr.DataArray) and np.ndim(annotation) == 3:
        annotation = as_annotation(annotation, space.resolution, orientation=space.grid.orientation)
        if annotation.shape == space.grid.shape:
            annotation = labelled(annotation.data, space.grid)
    return Space(space.structure_tree, LabelVolume.from_array(annotation))
