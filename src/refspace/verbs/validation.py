"""Inconsistencies between an annotation and its ontology, as a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refspace.blockwise.bounded import threads_for
from refspace.labels import HEMISPHERES
from refspace.ops.components import components, split_by_hemisphere
from refspace.ops.relabel import relabel
from refspace.safe_text import escaped
from refspace.structure_tree import Regions, RegionsLike
from refspace.verbs.counts import unknown_voxels
from refspace.verbs.grids import with_index
from refspace.verbs.space import Space
from refspace.verbs.tables import with_hemisphere
from refspace.verbs.unknown import unknown_ids

# Rows of a table that a report shows.
_SHOWN = 8


@dataclass(frozen=True)
class Validation:
    """Inconsistencies between an annotation and its ontology.

    Tables have the worst first; they are empty where nothing was found, and None where it was not
    looked for.

    Parameters
    ----------
    unknown
        Ids that the volume holds and the tree does not know, in the order of the ids: column
        ``voxels``, and ``start`` and ``stop``, the corners of their bounding box in µm.
    unassigned
        Ids of the structures that have no voxel, neither themselves nor in their subtree.
    structure_count
        Number of structures.
    uncovered
        Structures that have children and ``voxels`` of their own, which none of them covers; or,
        where regions were asked for, structures with voxels that are in none of these.
    doubly_covered
        Structures with ``voxels`` of their own that are in several of the regions asked for; if
        none were, in several structures of a ``structure_set``.
    asymmetric
        Regions of which one hemisphere has many more voxels: ``left``, ``right``, and
        ``asymmetry``, their difference over their sum; what tells the two apart is in its `attrs`.
    of_regions
        Whether regions were asked for.
    disconnected
        Regions that fall into several ``components`` in a ``hemisphere``: ``voxels``, and those
        ``outside`` the largest.
    deviating
        Structures whose ``volume`` in mm³ is not the one that is ``published``: ``deviation``,
        relative to the latter.
    likely_cast
        What has likely become of the unknown ids, as `UnknownIds.likely_cast` says.
    """

    unknown: pd.DataFrame
    unassigned: tuple[int, ...]
    structure_count: int
    uncovered: pd.DataFrame
    doubly_covered: pd.DataFrame
    asymmetric: pd.DataFrame
    of_regions: bool = False
    disconnected: pd.DataFrame | None = None
    deviating: pd.DataFrame | None = None
    likely_cast: str = ""

    @property
    def ok(self) -> bool:
        """Whether the tree knows every id of the volume; what else was found is to be judged."""
        return self.unknown.empty

    def __str__(self) -> str:
        """Report of all that was found, long tables cut."""
        without = f"{len(self.unassigned)} of {self.structure_count} structures have no voxels"
        if self.ok:
            lines = [f"every id of the volume is known; {without}"]
        else:
            voxels = int(self.unknown["voxels"].sum())
            held = f"{voxels} voxels hold ids that the structures lack:"
            cast = [self.likely_cast] if self.likely_cast else []
            lines = [held, _cut(self.unknown), *cast, without]
        uncovered, twice = (
            (
                "structures with voxels in no region",
                "structures in several regions",
            )
            if self.of_regions
            else (
                "structures with voxels of their own that no child covers",
                "structures in several structures of one set",
            )
        )
        for table, found in (
            (self.uncovered, uncovered),
            (self.doubly_covered, twice),
            (self.asymmetric, "regions of unequal hemispheres"),
            (self.disconnected, "regions in several pieces"),
            (self.deviating, "structures of another volume than published"),
        ):
            if table is not None and not table.empty:
                lines += [f"{found}: {len(table)}", _cut(table)]
        return "\n".join(lines)


def _cut(table: pd.DataFrame) -> str:
    """First rows of a table, and how many there are beyond."""
    text = table.head(_SHOWN).to_string(float_format="{:.3g}".format, index_names=False)
    text, more = escaped(text, "\n"), len(table) - _SHOWN
    return f"{text}\n… and {more} more" if more > 0 else text


def validate(
    space: Space,
    regions: RegionsLike | None = None,
    *,
    connectivity: bool = False,
    volumes: Mapping[Any, float] | pd.Series | None = None,
    tolerance: float = 0.1,
) -> Validation:
    """Look for what is wrong, or odd, with the volume and its structures.

    Parameters
    ----------
    regions
        Regions to check, as for `relabel`; all structures if not given.
    connectivity
        Whether to look for regions in several pieces too: voxels of one region and hemisphere
        hang together where they share faces. Structures are taken without their descendants,
        unless regions are asked for, and voxels of several regions are those of the nearest.
        Reads the volume once, and needs scipy.
    volumes
        Published volumes of structures in mm³: a mapping or a Series.
    tolerance
        Relative difference of hemispheres, and of volumes, that is still all right.

    Returns
    -------
    Validation
        Unknown ids and where they are, structures without voxels, and more; its text is a
        report. From the label index, without reading a voxel where it is stored, but for
        connectivity, and for hemispheres that are a volume of their own.

    Raises
    ------
    OntologyError, StructureNotFoundError
        As for `relabel`.
    MissingDependencyError
        If connectivity is asked for and scipy is not installed.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> found = space.validate(["CH", "CTX"], volumes={"VISp": 4, "TH": 15})  # mm³
    >>> round(float(found.deviating.deviation[385]), 2), len(found.deviating)
    (0.67, 1)
    >>> print(space.validate("root"))
    every id of the volume is known; 16 of 488 structures have no voxels
    """
    # Of a volume without an index one pass finds all but pieces.
    space = with_index(space)
    tree, is_chosen = space.structure_tree, regions is not None
    chosen = tree.regions(regions)
    pieces = chosen if is_chosen else tree.regions(direct_only=True)
    totals = space.total_voxel_map
    return Validation(
        _unknown(space),
        tuple(i for i in tree.node_ids() if not totals[i]),
        len(tree),
        _uncovered(space, chosen if is_chosen else None),
        _doubly_covered(space, chosen if is_chosen else None),
        _asymmetric(space, chosen, tolerance),
        is_chosen,
        _disconnected(space, pieces) if connectivity else None,
        None if volumes is None else _deviating(space, volumes, tolerance),
        unknown_ids(space).likely_cast,
    )


def _unknown(space: Space) -> pd.DataFrame:
    """Labels that the tree does not know, and where they are."""
    index, unknown = space.label_index, unknown_voxels(space)
    corners = [_corners(space, index.extent([i])) for i in unknown]
    return pd.DataFrame(
        {
            "voxels": [*unknown.values()],
            "start": [start for start, _ in corners],
            "stop": [stop for _, stop in corners],
        },
        index=pd.Index([*unknown], dtype=np.int64, name="id"),
    )


def _corners(
    space: Space, box: tuple[Sequence[int], Sequence[int]] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Corners of a box of voxels in µm."""
    crop = space.grid.crop(*box) if box else space.grid
    return crop.origin, tuple(crop.edges(dim)[1] for dim in crop.dims)


def _uncovered(space: Space, regions: Regions | None) -> pd.DataFrame:
    """Own voxels of structures in none of some regions, or in none of their children."""
    if regions is None:
        succ = space.structure_tree.graph.succ
        return _own_voxels(space, [i for i in space.structure_tree.node_ids() if succ[i]])
    return _own_voxels(space, regions.uncovered)


def _doubly_covered(space: Space, regions: Regions | None) -> pd.DataFrame:
    """Own voxels of structures in several of some regions, or of each structure set."""
    if regions is not None:
        return _own_voxels(space, regions.overlapping, None)
    tree = space.structure_tree
    above = tree.get_ancestor_id_map()
    tables = [_own_voxels(space, [], None)]
    for number in sorted(tree.get_structure_sets()):
        ids = {node["id"] for node in tree.get_structures_by_set_id([number])}
        twice = [i for i, path in above.items() if len(ids.intersection(path)) > 1]
        tables.append(_own_voxels(space, twice, number))
    return pd.concat(tables)


def _own_voxels(space: Space, ids: Sequence[int], *structure_set: int | None) -> pd.DataFrame:
    """Voxels of those structures that have some of their own, the most first."""
    voxels = space.direct_voxel_map
    there = sorted((i for i in ids if voxels[i]), key=lambda i: -voxels[i])
    columns: dict[str, Any] = {
        "acronym": _acronyms(space, there),
        "voxels": np.array([voxels[i] for i in there], np.int64),
    }
    for number in structure_set:
        columns["structure_set"] = pd.array([number] * len(there), pd.Int64Dtype())
    return pd.DataFrame(columns, pd.Index(there, dtype=np.int64, name="structure"))


def _acronyms(space: Space, ids: Sequence[int]) -> NDArray[np.object_]:
    nodes = space.structure_tree.nodes(ids) if ids else []
    return np.array([str(node.get("acronym") or "") for node in nodes], object)


def _asymmetric(space: Space, regions: Regions, tolerance: float) -> pd.DataFrame:
    """Regions whose hemispheres differ by more than a share of their sum."""
    left, right = (_voxels_in(with_hemisphere(space, side), regions) for side in HEMISPHERES)
    asymmetry = np.abs(left - right) / np.maximum(left + right, 1)
    columns = {"left": left, "right": right, "asymmetry": asymmetry}
    table = _table(regions, np.arange(len(regions)), columns)
    found = _worst(table[table.asymmetry > tolerance], "asymmetry")
    found.attrs.update(space.volume.hemispheres.separation)
    return found


def _voxels_in(space: Space, regions: Regions) -> NDArray[np.int64]:
    """Voxels of regions."""
    counts = space.volume.label_counts
    labels, voxels = (np.array([*part], np.int64) for part in (counts, counts.values()))
    return regions.reduce(labels, voxels)


def _disconnected(space: Space, regions: Regions) -> pd.DataFrame:
    """Regions that fall into several pieces in a hemisphere."""
    numbers = relabel(
        space.annotation,
        {i: region + 1 for i, region in regions.nearest_region.items()},
        0,
        dtype=np.uint32,
        name="regions",
        attrs={},
        block_labels=space.block_labels,
    )
    found = components(split_by_hemisphere(numbers.data, space.hemispheres.data)).compute(
        num_workers=threads_for(numbers.data, space.hemispheres.data)
    )
    sides = {number: side for side, number in HEMISPHERES.items()}
    columns = {
        "hemisphere": [sides.get(i, "neither") for i in (found.labels % 3).tolist()],
        "components": found.count,
        "voxels": found.voxels,
        "outside": found.voxels - found.largest,
    }
    table = _table(regions, found.labels // 3 - 1, columns)
    return _worst(table[table.components > 1], "outside")


def _deviating(
    space: Space, volumes: Mapping[Any, float] | pd.Series, tolerance: float
) -> pd.DataFrame:
    """Structures whose volume is not the published one."""
    resolve = space.structure_tree.resolve
    published = {resolve([structure])[0]: float(v) for structure, v in dict(volumes).items()}
    regions = space.structure_tree.regions([*published])
    volume = _voxels_in(space, regions) * space.grid.voxel_volume
    columns = {"volume": volume, "published": [*published.values()]}
    table = _table(regions, np.arange(len(regions)), columns)
    table["deviation"] = (table.volume - table.published) / table.published
    return _worst(table[table.deviation.abs() > tolerance], "deviation")


def _table(regions: Regions, numbers: NDArray[Any], columns: Mapping[str, Any]) -> pd.DataFrame:
    """Table with a row for each of some regions."""
    labels = regions.columns()
    index = pd.Index(labels["structure"][numbers], name="structure")
    table = pd.DataFrame(columns, index)
    if regions.acronyms:
        table.insert(0, "acronym", labels["acronym"][numbers].astype(object))
    return table


def _worst(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Table sorted by the size of a column, the largest first; equal rows as they were."""
    return table.iloc[np.argsort(-np.abs(table[by].to_numpy()), kind="stable")]
