"""Names of axes and of the planes across them: ap, dv and ml; coronal, horizontal and sagittal."""

from collections.abc import Sequence
from numbers import Integral

from refspace.errors import GridError
from refspace.types import AxisLike

PLANES = {"ap": "coronal", "dv": "horizontal", "ml": "sagittal"}
"""Name of the plane that a slice across each axis lies in."""

AXES = {
    **{plane: axis for axis, plane in PLANES.items()},
    # Of the brain. Scanners call axial what is across their bore, in rodents often coronal.
    "axial": "dv",
}
"""Axis that each plane is across."""

AXIS_NAMES = (*AXES, *PLANES)
"""Names that `axis_name` understands, planes first."""


def axis_name(axis: AxisLike, dims: Sequence[str] = tuple(PLANES)) -> str:
    """Name of an axis, from its name, its number, or the plane that a slice across it lies in.

    Parameters
    ----------
    axis
        ``"ap"``, ``"dv"`` or ``"ml"``; ``"coronal"``, ``"horizontal"`` (``"axial"`` means the same)
        or ``"sagittal"``; or the position of the axis in ``dims``: 0, 1 or 2.
    dims
        Names of the axes of an array in their order.

    Returns
    -------
    str
        One of ``dims``.

    Raises
    ------
    GridError
        If there is no such axis.

    Examples
    --------
    >>> axis_name("coronal"), axis_name("ml"), axis_name(0, ("dv", "ml", "ap"))
    ('ap', 'ml', 'dv')
    """
    if isinstance(axis, str):
        name = AXES.get(axis.lower(), axis)
        if name in dims:
            return name
    elif isinstance(axis, Integral) and type(axis) is not bool and axis in range(len(dims)):
        return dims[int(axis)]
    planes = [PLANES[dim] for dim in dims if dim in PLANES]
    *first, last = map(str, range(len(dims)))
    raise GridError(
        f"there is no axis {axis!r}; choose {', '.join((*dims, *planes, *first))} or {last}"
    )
