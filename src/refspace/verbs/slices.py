"""Slices through a volume, in the structures' colours."""

import operator
from collections.abc import Mapping

import xarray as xr

from refspace.axes import axis_name
from refspace.ops.positions import check_unit, position_in_micrometres
from refspace.ops.relabel import Color, colors
from refspace.types import BACKGROUND, AxisLike, LengthUnit, StructureLike
from refspace.verbs.space import Space

BLACK = (0, 0, 0)
MAGENTA = (255, 0, 255)


def get_slice_image(
    space: Space,
    axis: AxisLike,
    position: float,
    cmap: Mapping[StructureLike, Color] | None = None,
    *,
    unknown_color: Color = MAGENTA,
    unit: LengthUnit = "um",
) -> xr.DataArray:
    """Picture of a slice in the structures' colours.

    Parameters
    ----------
    axis
        ``"coronal"``, ``"horizontal"`` (or ``"axial"``) or ``"sagittal"``; or the axis that the
        slice is across, ``"ap"``, ``"dv"`` or ``"ml"``; or the number of that axis.
    position
        Where to cut along the axis; the voxel that contains it is shown.
    cmap
        Colour of each structure, three numbers from 0 to 255 or six hexadecimal digits; the
        ontology's colours if not given.
    unknown_color
        Colour of ids that have none. 0, outside, is black unless ``cmap`` says otherwise; what
        it says of 0 is not heard where a structure has that id, for no voxel is of it.
    unit
        Unit of the position, as for `count_points`.

    Returns
    -------
    xarray.DataArray
        uint8 over the other two axes and ``rgb``; lazy.

    Raises
    ------
    PositionError
        If the position is outside the volume.
    GridError
        If there is no such axis or unit.

    Examples
    --------
    >>> import refspace
    >>> image = refspace.phantom(resolution=100).get_slice_image("coronal", 7000)
    >>> image.dims, image.shape
    (('dv', 'ml', 'rgb'), (80, 114, 3))
    """
    dim = axis_name(axis, space.grid.dims)
    check_unit(unit)
    index = space.grid.index(dim, position_in_micrometres(position, dim, space.grid, unit))
    plane = space.annotation.isel({dim: index})
    key = tuple(index if d == dim else slice(None) for d in space.grid.dims)
    labels = space.volume.block_labels_in(key)
    return colors(plane, _colormap(space, cmap), unknown_color, labels)


def _colormap(space: Space, cmap: Mapping[StructureLike, Color] | None) -> dict[int, Color]:
    if cmap is None:
        return {**space.structure_tree.get_colormap(), BACKGROUND: BLACK}
    # Ids that the tree does not know may have a colour too; acronyms and names must be known.
    resolve = space.structure_tree.resolve
    ids = [resolve(key)[0] if isinstance(key, str) else operator.index(key) for key in cmap]
    given = {BACKGROUND: BLACK, **dict(zip(ids, cmap.values(), strict=True))}
    # As a whole colour map of the tree has it, with the colour of a structure.
    return given | {BACKGROUND: BLACK} if BACKGROUND in space.structure_tree else given
