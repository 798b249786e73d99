"""Verbs that compare a volume with another, and with its ontology."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from refspace.grid import Hemisphere
from refspace.labels import HEMISPHERES, as_annotation, labelled
from refspace.ops.compare import check_same_grid, confusion
from refspace.ops.components import components, split_by_hemisphere
from refspace.ops.relabel import relabel
from refspace.reference_space.comparison import Comparison
from refspace.reference_space.shaping import Shaping
from refspace.reference_space.validation import Validation
from refspace.structure_tree import Level, Regions


class Checking(Shaping):
    """What differs, and what is wrong."""

    def compare(self, other: Any) -> Comparison:
        """Compare the volume with another on the same grid, voxel by voxel.

        Parameters
        ----------
        other
            A reference space, whose tree may be another; or an annotation of the same structures:
            an array of the same shape, a DataArray, or the path of a file.

        Returns
        -------
        Comparison
            Confusion table, Dice and Jaccard of every structure, changes of volume; its text is a
            report. Nothing is read until something is asked of it.

        Raises
        ------
        GridError
            If the voxels of the other are not at the same places.
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
        space = other if isinstance(other, Checking) else self._of(other)
        check_same_grid(self.grid, space.grid)
        pairs = confusion(
            self.annotation, space.annotation, self._block_labels, space._block_labels
        )
        return Comparison(self.structure_tree, space.structure_tree, self.grid.voxel_volume, pairs)

    def _of(self, annotation: Any) -> "Checking":
        """Space of another annotation with the same tree; one without coordinates lies here."""
        if not isinstance(annotation, xr.DataArray) and np.ndim(annotation) == 3:
            annotation = as_annotation(
                annotation, self.resolution, orientation=self.grid.orientation
            )
            if annotation.shape == self.grid.shape:
                annotation = labelled(annotation.data, self.grid)
        return type(self)(self.structure_tree, annotation)

    # ----- validation

    def validate(
        self,
        structures: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        connectivity: bool = False,
        volumes: Mapping[Any, float] | None = None,
        tolerance: float = 0.1,
    ) -> Validation:
        """Look for what is wrong, or odd, with the volume and its structures.

        Parameters
        ----------
        structures, level, structure_set
            Regions to check, as for `parcellation`; if none of them is given, all structures.
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
            As for `parcellation`.
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
        tree = self.structure_tree
        asked = not (structures is None and level is None and structure_set is None)
        regions = self.parcellation(structures, level=level, structure_set=structure_set)
        table = self._unknown()
        # The map may be older than the tree.
        ids = tree.node_ids()
        pieces = None
        if connectivity:
            pieces = regions if asked else self.parcellation(direct_only=True)
        return Validation(
            table,
            tuple(i for i in ids if not self.total_voxel_map[i]),
            len(tree),
            self._uncovered(regions if asked else None),
            self._doubly_covered(regions if asked else None),
            self._asymmetric(regions, tolerance),
            asked,
            None if pieces is None else self._disconnected(pieces),
            None if volumes is None else self._deviating(volumes, tolerance),
        )

    def _unknown(self) -> pd.DataFrame:
        """Labels that the tree does not know, and where they are."""
        index, unknown = self.label_index, self._unknown_ids()
        corners = [self._corners(index.extent([i])) for i in unknown]
        return pd.DataFrame(
            {
                "voxels": [self._label_counts[i] for i in unknown],
                "start": [start for start, _ in corners],
                "stop": [stop for _, stop in corners],
            },
            index=pd.Index(unknown, dtype=np.int64, name="id"),
        )

    def _corners(
        self, box: tuple[Sequence[int], Sequence[int]] | None
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Corners of a box of voxels in µm."""
        crop = self.grid.crop(*box) if box else self.grid
        return crop.origin, tuple(o + e for o, e in zip(crop.origin, crop.extent, strict=True))

    def _uncovered(self, regions: Regions | None) -> pd.DataFrame:
        """Own voxels of structures in none of some regions, or in none of their children."""
        if regions is None:
            succ = self.structure_tree.graph.succ
            return self._own_voxels([i for i in self.structure_tree.node_ids() if succ[i]])
        return self._own_voxels(regions.uncovered)

    def _doubly_covered(self, regions: Regions | None) -> pd.DataFrame:
        """Own voxels of structures in several of some regions, or of each structure set."""
        if regions is not None:
            return self._own_voxels(regions.overlapping, None)
        tree = self.structure_tree
        above = tree.get_ancestor_id_map()
        tables = [self._own_voxels([], None)]
        for number in sorted(tree.get_structure_sets()):
            ids = {node["id"] for node in tree.get_structures_by_set_id([number])}
            twice = [i for i, path in above.items() if len(ids.intersection(path)) > 1]
            tables.append(self._own_voxels(twice, number))
        return pd.concat(tables)

    def _own_voxels(self, ids: Sequence[int], *structure_set: int | None) -> pd.DataFrame:
        """Voxels of those structures that have some of their own, the most first."""
        there = sorted((i for i in ids if self._voxels_of(i)), key=lambda i: -self._voxels_of(i))
        columns: dict[str, Any] = {
            "acronym": self._acronyms(there),
            "voxels": np.array([self._voxels_of(i) for i in there], np.int64),
        }
        for number in structure_set:
            columns["structure_set"] = pd.array([number] * len(there), pd.Int64Dtype())
        return pd.DataFrame(columns, pd.Index(there, dtype=np.int64, name="structure"))

    def _acronyms(self, ids: Sequence[int]) -> NDArray[np.object_]:
        nodes = self.structure_tree.nodes(ids) if ids else []
        return np.array([str(node.get("acronym") or "") for node in nodes], object)

    def _asymmetric(self, regions: Regions, tolerance: float) -> pd.DataFrame:
        """Regions whose hemispheres differ by more than a share of their sum."""
        left, right = (self._voxels_in(regions, side) for side in HEMISPHERES)
        asymmetry = np.abs(left - right) / np.maximum(left + right, 1)
        columns = {"left": left, "right": right, "asymmetry": asymmetry}
        table = _table(regions, np.arange(len(regions)), columns)
        return _worst(table[table.asymmetry > tolerance], "asymmetry")

    def _voxels_in(
        self, regions: Regions, hemisphere: Hemisphere | None = None
    ) -> NDArray[np.int64]:
        """Voxels of regions."""
        counts = self._part(hemisphere)._label_counts
        labels, voxels = (np.array([*part], np.int64) for part in (counts, counts.values()))
        return regions.reduce(labels, voxels)

    def _disconnected(self, regions: Regions) -> pd.DataFrame:
        """Regions that fall into several pieces in a hemisphere."""
        numbers = relabel(
            self._annotation,
            {i: owner + 1 for i, owner in regions.nearest_region.items()},
            0,
            dtype=np.uint32,
            name="regions",
            attrs={},
            block_labels=self._block_labels,
        )
        found = components(split_by_hemisphere(numbers.data, self.hemispheres.data)).compute()
        sides = {number: side for side, number in HEMISPHERES.items()}
        columns = {
            "hemisphere": [sides.get(i, "neither") for i in (found.labels % 3).tolist()],
            "components": found.count,
            "voxels": found.voxels,
            "outside": found.voxels - found.largest,
        }
        table = _table(regions, found.labels // 3 - 1, columns)
        return _worst(table[table.components > 1], "outside")

    def _deviating(self, volumes: Mapping[Any, float], tolerance: float) -> pd.DataFrame:
        """Structures whose volume is not the published one."""
        resolve = self.structure_tree.resolve
        published = {resolve([structure])[0]: float(v) for structure, v in volumes.items()}
        regions = self.parcellation([*published])
        volume = self._voxels_in(regions) * self.grid.voxel_volume
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
