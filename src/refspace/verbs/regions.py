"""Between structures and regions: relabelling, painting, boundaries."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from refspace.axes import axis_name
from refspace.errors import GridError, OntologyError
from refspace.ops.boundaries import boundaries as mark_boundaries
from refspace.ops.paint import paint as paint_codes
from refspace.ops.paint import split_values
from refspace.ops.relabel import relabel as replace_labels
from refspace.structure_tree import Regions, RegionsLike, StructureTree
from refspace.types import AxisLike
from refspace.verbs.space import Space

ValuesLike: TypeAlias = Mapping[Any, float] | pd.Series | xr.DataArray
"""A number for each of some structures, or several along other dims."""


def relabel(space: Space, regions: RegionsLike) -> xr.DataArray:
    """Annotation in which each voxel names its region instead of its structure.

    Parameters
    ----------
    regions
        The regions, as `StructureTree.regions` makes them, or what it makes them of.

    Returns
    -------
    xarray.DataArray
        uint32, the label of the nearest region: the id of its structure, or the integer to which a
        mapping maps it; texts are numbered from 1. 0 where there is no region. Lazy, dims,
        coordinates and chunks of the annotation; blocks that are known to become one value are not
        read. Attributes ``overlapping`` and ``uncovered``: ids of structures that are in several
        regions, or in none; ``regions``: what is numbered, where labels are texts.

    Raises
    ------
    OntologyError, StructureNotFoundError
        As for `StructureTree.regions`.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> coarse = space.relabel(["VIS", "AUD", "TH"])
    >>> sorted(set(coarse.values.ravel().tolist()))
    [0, 247, 549, 669]
    >>> summary = space.relabel(space.structure_tree.regions(structure_set=167587189))
    >>> bool((summary == 385).sum() == space.total_voxel_map[385])
    True
    """
    chosen = space.structure_tree.regions(regions)
    attrs = {
        "long_name": "region",
        "overlapping": list(chosen.overlapping),
        "uncovered": list(chosen.uncovered),
        **region_names(chosen),
        **space.volume.hemispheres.attrs,
    }
    return _relabelled(space, chosen.label_voxels(), np.uint32).assign_attrs(attrs)


def region_names(regions: Regions) -> dict[str, list[Any]]:
    """Attribute that says which regions are numbered; empty where their labels are integers."""
    return {"regions": list(regions.labels)} if regions.are_numbered else {}


def _relabelled(space: Space, values: Mapping[int, int], dtype: npt.DTypeLike) -> xr.DataArray:
    """Values of labels, 0 for any other."""
    return space.volume.map_labels(
        lambda volume, known: replace_labels(
            volume, values, 0, dtype=dtype, name="regions", attrs={}, block_labels=known
        ),
        [*values],
    )


# ----- values of regions


def paint(space: Space, values: ValuesLike, regions: RegionsLike | None = None) -> xr.DataArray:
    """Image of values of structures: what `aggregate` does, the other way round.

    Parameters
    ----------
    values
        A number for each of some structures: a mapping, a pandas Series indexed by structures, or a
        DataArray over ``structure`` and other dims, like a variable of what `aggregate` returns.
    regions
        As for `relabel`, where values are those of other regions than the subtrees of the
        structures that have one. They are looked up by the labels of the regions, of which some may
        have no value.

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
        If there are several values of a structure, or of a label without a region; or as for
        `relabel`.
    AnnotationError
        If the values are not real numbers of structures.
    GridError
        If the values have a dim of the annotation.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> image = space.paint({"Isocortex": 1, "VISp": 2.5})
    >>> float(image.sel(ap=8900, dv=1500, ml=3300, method="nearest"))
    2.5
    >>> table = space.aggregate(image, space.structure_tree.regions(depth=6), statistics="mean")
    >>> space.paint(table["mean"]).dims
    ('ap', 'dv', 'ml')

    Values of hemispheres become an image each; to give each voxel that of its side:

    >>> cells = space.count_points(np.array([[8900, 1500, 3300]]), by_hemisphere=True)
    >>> image = space.paint(cells["points"]).sel(hemisphere=space.annotation.hemisphere)
    >>> [float(image.sel(ap=8900, dv=1500, ml=ml, method="nearest")) for ml in (3300, 8100)]
    [1.0, 0.0]
    """
    keys, painted = split_values(values)
    tree = space.structure_tree
    chosen = tree.regions(tree.resolve(keys) if regions is None else regions)
    indices = region_indices(tree, keys, chosen)
    # A code for each region that has a value; 0 is for voxels without one.
    code_of_region = {region: code for code, region in enumerate(indices, 1)}
    codes = {
        i: code_of_region[region]
        for i, region in chosen.nearest_region.items()
        if region in code_of_region
    }
    dtype = np.min_scalar_type(len(indices))
    image = paint_codes(painted, _relabelled(space, codes, dtype))
    return image.assign_attrs(space.volume.hemispheres.attrs)


def region_indices(tree: StructureTree, keys: Sequence[Any], regions: Regions) -> list[int]:
    """Indices of the regions that some labels or structures name, each once.

    Raises
    ------
    StructureNotFoundError
        If there is no such structure.
    OntologyError
        If one names no region, or two the same.
    """
    if regions.acronyms:
        keys = tree.resolve(keys)
    index = {label: region for region, label in enumerate(regions.labels)}
    unknown = [key for key in keys if key not in index]
    if unknown:
        raise OntologyError(
            f"there are values of {unknown[0]!r}, which is no region; the regions are "
            f"{', '.join(map(str, regions.labels[:5])) or 'none'}"
            f"{' and others' if len(regions) > 5 else ''}"
        )
    if len({*keys}) < len(keys):
        often = next(key for key in keys if keys.count(key) > 1)
        raise OntologyError(f"there are several values of {often!r}; give one")
    return [index[key] for key in keys]


# ----- where regions meet


def boundaries(
    space: Space,
    regions: RegionsLike | None = None,
    *,
    axis: AxisLike | None = None,
    position: float | None = None,
) -> xr.DataArray:
    """Mask of the voxels of regions at whose faces another region, or no region, begins.

    Parameters
    ----------
    regions
        As for `relabel`; each label of the volume is a region if not given. Voxels of several
        regions are those of the nearest.
    axis, position
        As for `get_slice_image`, where boundaries are asked for in one slice: of the voxel that
        contains the position, in µm.

    Returns
    -------
    xarray.DataArray
        bool, True at a boundary; lazy, dims, coordinates and chunks of the annotation, or of the
        slice. The ends of the volume are no boundary, and what is outside has none. Each chunk is
        read once, of a slice those that it cuts, and none that is known to be within one region.

    Raises
    ------
    OntologyError, StructureNotFoundError
        As for `relabel`.
    GridError
        If there is no such axis, or an axis without a position.
    PositionError
        If the position is outside the volume.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=200)
    >>> regions = space.structure_tree.regions(depth=2)
    >>> edges = space.boundaries(regions, axis="coronal", position=7000)
    >>> edges.dims, bool(edges.any())
    (('dv', 'ml'), True)
    """
    annotation = space.annotation
    if axis is None and position is None:
        labels = space.block_labels
    else:
        if axis is None or position is None:
            raise GridError(f"axis is {axis!r} and position {position!r}; give both or none")
        key: dict[str, Any] = dict.fromkeys(space.grid.dims, slice(None))
        key[axis_name(axis, space.grid.dims)] = space.grid.index(axis, position)
        annotation = annotation.isel(key)
        labels = space.volume.block_labels_in(tuple(key.values()))
    if regions is not None:
        chosen = space.structure_tree.regions(regions)
        codes = {i: region + 1 for i, region in chosen.nearest_region.items()}
        annotation = replace_labels(
            annotation,
            codes,
            0,
            dtype=np.min_scalar_type(len(chosen)),
            name="regions",
            attrs={},
            block_labels=labels,
        )
        labels = None
    return mark_boundaries(annotation, labels)
