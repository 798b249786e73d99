"""Verbs that go between structures and regions: relabelling, painting, boundaries."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from refspace.errors import GridError, OntologyError
from refspace.grid import Hemisphere
from refspace.labels import HEMISPHERES
from refspace.ops.boundaries import boundaries
from refspace.ops.paint import paint, split_values
from refspace.ops.relabel import relabel
from refspace.ops.sides import keep
from refspace.reference_space.masking import Masking
from refspace.structure_tree import Level, Regions, _regions


class Parcelling(Masking):
    """Regions of structures: where they are, and values given to them."""

    def parcellation(
        self,
        structures: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        direct_only: bool = False,
    ) -> Regions:
        """Regions, as every verb takes them that asks for regions: named in one of four ways.

        Printed, it says which structures are in several regions, and which in none.

        Parameters
        ----------
        structures
            The structures whose subtrees are the regions. Or a mapping from structures to the
            labels of their regions, integers or texts: a structure belongs to the region of the
            nearest structure above it, or itself, that is in the mapping. All structures, if
            regions are named in no other way either.
        level
            Depth of the structures in the tree: 0 for its roots. Leaves that are less deep are
            regions too. ``"leaf"`` for all leaves.
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
        >>> space = refspace.phantom(resolution=400)
        >>> regions = space.parcellation({"VISp": "visual", "VISl": "visual", "AUD": "auditory"})
        >>> regions.labels
        ('visual', 'auditory')
        >>> print(space.parcellation(["Isocortex", "VISp", "fiber tracts"]))  # doctest: +ELLIPSIS
        3 regions
        7 structures are in several regions: 385, 593, 821, 721, 778 and 2 more
        ... structures are in no region: ...
        """
        return _regions(
            self.structure_tree,
            structures,
            level=level,
            structure_set=structure_set,
            direct_only=direct_only,
        )

    # ----- regions of voxels

    def relabel(
        self,
        to: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        direct_only: bool = False,
        hemisphere: Hemisphere | None = None,
    ) -> xr.DataArray:
        """Annotation in which each voxel names its region instead of its structure.

        Parameters
        ----------
        to, level, structure_set, direct_only
            The regions, as for `parcellation`, one of whose ways must be chosen.
        hemisphere
            ``"left"`` or ``"right"``, where the result is to be 0 in the other.

        Returns
        -------
        xarray.DataArray
            uint32, the label of the nearest region: the id of its structure, or the integer to
            which a mapping maps it; texts are numbered from 1. 0 where no region is. Lazy, dims,
            coordinates and chunks of the annotation; blocks that are known to become one value are
            not read. Attributes ``covered_twice`` and ``uncovered``: ids of structures that are in
            several regions, or in none; ``regions``: what is numbered, where labels are texts.

        Raises
        ------
        OntologyError
            If no way to name regions is chosen, or several are; or as for `parcellation`.
        StructureNotFoundError
            As for `parcellation`.
        GridError
            If there is no such hemisphere.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> coarse = space.relabel(["VIS", "AUD", "TH"])
        >>> sorted(set(coarse.values.ravel().tolist()))
        [0, 247, 549, 669]
        >>> summary = space.relabel(structure_set=167587189)
        >>> bool((summary == 385).sum() == space.total_voxel_map[385])
        True
        """
        ways = {"to": to, "level": level, "structure_set": structure_set}
        chosen = [way for way, value in ways.items() if value is not None]
        if len(chosen) != 1:
            raise OntologyError(
                f"regions are named by {' and '.join(chosen) or 'nothing'}; give one of "
                f"{', '.join(ways)}"
            )
        regions = self.parcellation(
            to, level=level, structure_set=structure_set, direct_only=direct_only
        )
        attrs = {
            "long_name": "region",
            "covered_twice": list(regions.overlapping),
            "uncovered": list(regions.uncovered),
            **names_of(regions),
        }
        labels = labels_of(regions)
        values = {i: labels[number] for i, number in regions.nearest_region.items()}
        result = self._relabelled(values, np.uint32, hemisphere).rename("regions")
        return result.assign_attrs(attrs | ({"hemisphere": hemisphere} if hemisphere else {}))

    def _relabelled(
        self, values: Mapping[int, int], dtype: npt.DTypeLike, hemisphere: Hemisphere | None = None
    ) -> xr.DataArray:
        """Values of labels, 0 for any other and in the other hemisphere."""
        side, own, known = self._part(hemisphere), self._own_hemispheres, self._block_labels
        if hemisphere is not None and own is not None:
            side = self
        result = relabel(
            side.annotation,
            values,
            0,
            dtype=dtype,
            name="regions",
            attrs={},
            block_labels=side._block_labels,
        )
        if hemisphere is None or self._is_empty(hemisphere):
            return result
        if own is None:
            return self._in_place(result, hemisphere)
        verdicts = None if known is None else known.verdicts(list(values))
        return keep(result, own, HEMISPHERES[hemisphere], verdicts)

    # ----- values of regions

    def paint(
        self,
        values: Any,
        structures: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        hemisphere: Hemisphere | None = None,
    ) -> xr.DataArray:
        """Image of values of structures: what `aggregate` does, the other way round.

        Parameters
        ----------
        values
            A number for each of some structures: a mapping, a pandas Series indexed by structures,
            or a DataArray over ``structure`` and other dims, like a variable of what `aggregate`
            returns.
        structures, level, structure_set
            As for `parcellation`, where values are those of other regions than the subtrees of the
            structures that have one. They are looked up by the labels of the regions, of which some
            may have no value.
        hemisphere
            ``"left"`` or ``"right"``, where the result is to be NaN in the other.

        Returns
        -------
        xarray.DataArray
            Over the other dims of the values, then those of the annotation, lazy: the value of the
            nearest structure above each voxel's, or of itself, that has one, and NaN if none has. A
            value of NaN is one too. float64, or the type of the values if that is a float.

        Raises
        ------
        StructureNotFoundError
            If there is no such structure.
        OntologyError
            If there are several values of a structure, or of what is no region; or as for
            `parcellation`.
        AnnotationError
            If the values are not real numbers of structures.
        GridError
            If there is no such hemisphere, or the values have a dim of the annotation.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> image = space.paint({"Isocortex": 1, "VISp": 2.5})
        >>> float(image.sel(ap=8900, dv=1500, ml=3300, method="nearest"))
        2.5
        >>> table = space.aggregate(image, level=6, statistics="mean")
        >>> space.paint(table["mean"]).dims
        ('ap', 'dv', 'ml')

        Values of hemispheres become an image each; to give each voxel that of its side:

        >>> cells = space.count_points(np.array([[8900, 1500, 3300]]), by_hemisphere=True)
        >>> image = space.paint(cells["points"]).sel(hemisphere=space.annotation.hemisphere)
        >>> [float(image.sel(ap=8900, dv=1500, ml=ml, method="nearest")) for ml in (3300, 8100)]
        [1.0, 0.0]
        """
        keys, painted = split_values(values)
        if structures is None and level is None and structure_set is None:
            structures = self.structure_tree.resolve(keys)
        regions = self.parcellation(structures, level=level, structure_set=structure_set)
        numbers = self._numbers_of(keys, regions)
        # A code for each region that has a value; 0 is for what has none.
        places = {number: place for place, number in enumerate(numbers, 1)}
        codes = {
            i: places[number] for i, number in regions.nearest_region.items() if number in places
        }
        dtype = np.min_scalar_type(len(numbers))
        image = paint(painted, self._relabelled(codes, dtype, hemisphere))
        return image if hemisphere is None else image.assign_attrs(hemisphere=hemisphere)

    def _numbers_of(self, keys: Sequence[Any], regions: Regions) -> list[int]:
        """Numbers of the regions that some labels or structures name, each once."""
        if regions.acronyms:
            keys = self.structure_tree.resolve(keys)
        number = {region: n for n, region in enumerate(regions.labels)}
        unknown = [key for key in keys if key not in number]
        if unknown:
            raise OntologyError(
                f"there are values of {unknown[0]!r}, which is no region; the regions are "
                f"{', '.join(map(str, regions.labels[:5])) or 'none'}"
                f"{' and others' if len(regions) > 5 else ''}"
            )
        if len({*keys}) < len(keys):
            often = next(key for key in keys if keys.count(key) > 1)
            raise OntologyError(f"there are several values of {often!r}; give one")
        return [number[key] for key in keys]

    # ----- where regions meet

    def boundaries(
        self,
        structures: Any = None,
        *,
        level: Level | None = None,
        structure_set: int | Sequence[int] | None = None,
        axis: str | None = None,
        position: float | None = None,
    ) -> xr.DataArray:
        """Mask of the voxels of regions at whose faces another region begins, or none is.

        Parameters
        ----------
        structures, level, structure_set
            As for `parcellation`; but if none of them is given, each label of the volume is a
            region. Voxels of several regions are those of the nearest.
        axis, position
            ``"ap"``, ``"dv"`` or ``"ml"``, and µm along it, where boundaries are asked for in one
            slice: of the voxel that contains the position.

        Returns
        -------
        xarray.DataArray
            uint8, 1 at a boundary; lazy, dims, coordinates and chunks of the annotation, or of the
            slice. The ends of the volume are no boundary, and what is outside has none. Each chunk
            is read once, of a slice those that it cuts, and none that is known to be within one
            region.

        Raises
        ------
        OntologyError, StructureNotFoundError
            As for `parcellation`.
        GridError
            If there is no such axis, or an axis without a position.
        PositionError
            If the position is outside the volume.

        Examples
        --------
        >>> import refspace
        >>> space = refspace.phantom(resolution=200)
        >>> edges = space.boundaries(level=2, axis="ap", position=7000)
        >>> edges.dims, int(edges.max())
        (('dv', 'ml'), 1)
        """
        annotation, labels = self._annotation, self._block_labels
        if axis is not None or position is not None:
            if axis is None or position is None:
                raise GridError(f"axis is {axis!r} and position {position!r}; give both or none")
            key: dict[str, Any] = dict.fromkeys(self.grid.dims, slice(None))
            key[axis] = self.grid.index(axis, position)
            annotation = annotation.isel(key)
            labels = None if labels is None else labels.crop(tuple(key.values()))
        if structures is not None or level is not None or structure_set is not None:
            regions = self.parcellation(structures, level=level, structure_set=structure_set)
            codes = {i: number + 1 for i, number in regions.nearest_region.items()}
            dtype = np.min_scalar_type(len(regions))
            annotation = relabel(
                annotation, codes, 0, dtype=dtype, name="regions", attrs={}, block_labels=labels
            )
            labels = None
        return boundaries(annotation, labels)


def labels_of(regions: Regions) -> Sequence[int]:
    """Label of each region as an integer: texts are numbered from 1.

    Examples
    --------
    >>> import refspace
    >>> tree = refspace.phantom(resolution=400).structure_tree
    >>> labels_of(_regions(tree, {"VIS": "visual", "AUD": "auditory"}))
    range(1, 3)
    """
    if names_of(regions):
        return range(1, len(regions) + 1)
    return [int(region) for region in regions.labels]


def names_of(regions: Regions) -> dict[str, list[Any]]:
    """Attribute that says which regions are numbered: none where their labels are integers."""
    texts = [region for region in regions.labels if isinstance(region, str)]
    return {"regions": texts} if texts else {}
