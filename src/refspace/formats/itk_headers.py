"""Headers of the formats that ITK writes, which may lack a unit, or state directions at random.

ITK takes all lengths as millimetres, and all positions as left-posterior-superior. The Allen
Institute writes its volumes in micrometres; programs that do not know the directions leave those
that the axes of the file would have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refspace.errors import GridError
from refspace.formats import headers
from refspace.formats.allen_volumes import ORIENTATION, has_allen_extent, is_allen_volume
from refspace.formats.directions import WORLD
from refspace.formats.headers import Form, VolumeHeader
from refspace.formats.spacing import (
    StatedSpacing,
    scaled_origin,
    settle_orientation,
    settle_spacing,
)
from refspace.grid import Grid
from refspace.labels import Midline
from refspace.types import Resolution

# Without a unit, in an anatomical space: the volumes of the Allen Institute are known, all others
# are as ITK takes them.
_ALLEN = StatedSpacing(
    assumed="µm, as the Allen Institute writes those of its mouse brain", notice="note"
)
# They cannot write a unit; ITK does not read one.
_ITK = StatedSpacing(
    assumed="millimetres, as ITK, SimpleITK and Slicer write them", notice="warning", is_open=True
)
_ALLENSDK = StatedSpacing(
    assumed="µm, as AllenSDK writes volumes without an anatomical space",
    notice="note",
    is_open=True,
)


@dataclass(frozen=True)
class ItkHeader(VolumeHeader):
    """The header of a file of a format that ITK writes.

    Parameters
    ----------
    space
        Directions in which the world coordinates grow; None if the space is not anatomical.
    is_sure
        Whether the program that wrote it is known to know the directions.
    usual
        Orientation of files that state none; None where it has to be asked for.
    """

    space: str | None = None
    is_sure: bool = False
    usual: str | None = None


def assumed_unit(
    shape: Sequence[int], numbers: Sequence[float], space: str | None
) -> tuple[StatedSpacing, float]:
    """What lengths are taken for of which a header states no unit, and the µm per unit.

    Parameters
    ----------
    shape
        Number of voxels along each axis.
    numbers
        Length of a voxel along each axis, as stated.
    space
        As of `ItkHeader`.

    Examples
    --------
    >>> assumed_unit((10, 10, 10), (0.2, 0.2, 0.2), "LPS")[1]
    1000.0
    """
    if has_allen_extent(shape, numbers):
        return _ALLEN, 1.0
    return (_ITK, 1e3) if space else (_ALLENSDK, 1.0)


def grid_and_midline(
    header: VolumeHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool = False,
    like: Grid | None = None,
) -> tuple[Grid, Midline | None]:
    """Grid and midline of a file, from its header and the arguments of the caller."""
    if header.fault is None:
        is_doubtful = _is_ambiguous(header) and not _is_allen(header)
        grid = _grid_on(header, like) if like and is_doubtful and not override else None
        if grid is not None:
            return grid, header.sides.midline(grid)
        header = replace(header, forms=_believed_forms(header, orientation, is_alone=like is None))
        if not header.forms and like is None and isinstance(header, ItkHeader):
            orientation = orientation or header.usual
    return headers.grid_and_midline(header, resolution, orientation, override, like)


def _believed_forms(
    header: VolumeHeader, orientation: str | None, *, is_alone: bool
) -> tuple[Form, ...]:
    """Statements of a header on its position, without one that contradicts the voxels.

    Parameters
    ----------
    header
        The header.
    orientation
        What the caller says.
    is_alone
        Whether no other volume says where the voxels are.
    """
    if not _is_ambiguous(header):
        return header.forms
    if (given := settle_orientation([], orientation)) is not None:
        return tuple(form for form in header.forms if form.orientation == given)
    if _is_allen(header):
        return (Form("the volumes of the Allen Institute", ORIENTATION),)
    if not is_alone:
        return ()
    raise GridError(
        "the header says left-posterior-superior with directions along the axes, as files of the "
        "Allen Institute do whose voxels run to posterior, inferior and right; give "
        "orientation='PIR' for such data, or 'LPS' to trust the header"
    )


def _grid_on(header: VolumeHeader, like: Grid) -> Grid | None:
    """Grid that a header states that may be wrong, where it lies on that of another volume.

    None where it does not: then the header is not believed.
    """
    (form,) = header.forms
    if form.origin is None:
        return None
    wanted = like.reorient(form.orientation).spacing
    try:
        spacing, factor = settle_spacing(header.stated, wanted, path=header.path)
    except GridError:
        return None
    origin = scaled_origin(form.origin, factor, header.path)
    grid = header.sides.in_frame(Grid(header.shape, spacing, origin, form.orientation, WORLD))
    lies_on = grid.in_frame(like.frame).reorient(like.orientation).matches(like)
    return grid if lies_on else None


def _is_ambiguous(header: VolumeHeader) -> bool:
    """Whether directions are along the axes of the file in left-posterior-superior.

    That is what programs write that do not know the orientation; none that does not knows a tilt.
    """
    if not isinstance(header, ItkHeader) or header.space != "LPS" or header.is_sure:
        return False
    return [(form.orientation, form.affine) for form in header.forms] == [("LPS", None)]


def _is_allen(header: VolumeHeader) -> bool:
    return is_allen_volume(header.shape, header.stated.spacing)
