"""Hemispheres of a volume: those that the midline separates, or those of a volume of their own."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refspace.errors import AnnotationError, GridError
from refspace.grid import Grid, Hemisphere
from refspace.labels.annotation import infer_grid, labelled
from refspace.labels.midline import GIVEN, STATED_BY_ARRAY, Midline

# What a volume of hemispheres holds; 0 is in neither, and nothing else is allowed.
HEMISPHERES: Mapping[Hemisphere, int] = MappingProxyType({"left": 1, "right": 2})
HEMISPHERES_ATTRS: Mapping[str, Any] = MappingProxyType(
    {"long_name": "hemisphere", "flag_values": [1, 2], "flag_meanings": "left right"}
)


@dataclass(frozen=True, eq=False)
class Hemispheres:
    """How the hemispheres of a volume are told apart.

    Parameters
    ----------
    midline
        Position of the midline along ml in µm. Voxels whose centre is on it are left.
    volume
        Hemisphere of each voxel, as `as_hemispheres` makes it, where the midline does not decide.
    side
        The hemisphere that the volume was reduced to; None where it has both.
    midline_from
        How the midline came to be known, in words.
    """

    midline: float
    volume: xr.DataArray | None = None
    side: Hemisphere | None = None
    midline_from: str = GIVEN

    def __str__(self) -> str:
        if self.volume is not None:
            return "told apart by a volume of hemispheres"
        return f"told apart by the midline at {self.line}"

    @property
    def line(self) -> Midline:
        """The midline, and how it came to be known."""
        return Midline(self.midline, self.midline_from)

    def map_volume(self, change: Callable[[xr.DataArray], xr.DataArray]) -> "Hemispheres":
        """The same hemispheres over another part or order of the voxels."""
        return self if self.volume is None else replace(self, volume=change(self.volume))

    @property
    def identity(self) -> tuple[object, ...]:
        """What distinguishes these hemispheres from others, for `dask.tokenize`."""
        return self.midline if self.volume is None else self.volume.data, self.side

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of whatever is made of a volume: the hemisphere that it was reduced to."""
        return {} if self.side is None else {"hemisphere": self.side, **self.separation}

    @property
    def separation(self) -> dict[str, Any]:
        """Attributes of whatever tells the hemispheres apart: how it does."""
        if self.volume is not None:
            return {"hemispheres_from": "volume"}
        return {"hemispheres_from": "midline", **midline_attrs(self.line)}


def midline_attrs(midline: Midline) -> dict[str, Any]:
    """Attributes that state a midline: its position, the unit, and how it came to be known."""
    return {
        "midline": midline.position,
        "midline_units": "micrometer",
        "midline_from": midline.source,
    }


def with_hemispheres(annotation: xr.DataArray, midline: float | Midline) -> xr.DataArray:
    """Give a volume the coordinate ``hemisphere``: left or right, for each place along ``ml``.

    Parameters
    ----------
    annotation
        Volume with coordinates.
    midline
        The midline, or its position along ``ml`` in µm. Voxels whose centre is on it are left.

    Examples
    --------
    >>> volume = labelled(np.zeros((1, 1, 3), "u4"), Grid((1, 1, 3), (10, 10, 10)))
    >>> with_hemispheres(volume, 15.0).hemisphere.values.tolist()
    ['left', 'left', 'right']
    """
    given = midline if isinstance(midline, Midline) else Midline.from_value(midline)
    line = hemisphere_line(infer_grid(annotation), given.position)
    sides = np.where(line == HEMISPHERES["left"], "left", "right")
    attrs = {"long_name": "hemisphere", **midline_attrs(given)}
    return annotation.assign_coords(hemisphere=("ml", sides, attrs))


def hemisphere_line(grid: Grid, midline: float) -> NDArray[np.uint8]:
    """Hemisphere of each plane across ml, as `HEMISPHERES` numbers them.

    Examples
    --------
    >>> hemisphere_line(Grid((1, 1, 3), (10, 10, 10)), 15.0)
    array([1, 1, 2], dtype=uint8)
    """
    line = np.full(grid.shape[grid.axis("ml")], HEMISPHERES["right"], np.uint8)
    line[grid.hemisphere_slice("left", midline)] = HEMISPHERES["left"]
    return line


def stated_midline(annotation: object) -> Midline | None:
    """Midline that a volume states with its coordinate ``hemisphere``; None if it states none.

    Raises
    ------
    GridError
        If what it states is no position.
    """
    if not isinstance(annotation, xr.DataArray) or "hemisphere" not in annotation.coords:
        return None
    attrs = annotation.coords["hemisphere"].attrs
    if attrs.get("midline") is None:
        return None
    return Midline.from_value(attrs["midline"], str(attrs.get("midline_from", STATED_BY_ARRAY)))


def check_hemisphere(hemisphere: object) -> Hemisphere:
    """Check the name of a hemisphere.

    Raises
    ------
    GridError
        If there is no such hemisphere.

    Examples
    --------
    >>> check_hemisphere("left")
    'left'
    """
    for name in HEMISPHERES:
        if isinstance(hemisphere, str) and hemisphere == name:
            return name
    raise GridError(f"hemisphere is {hemisphere!r}; give 'left' or 'right'")


# ----- hemispheres of a volume of their own


def as_hemispheres(hemispheres: object, grid: Grid) -> xr.DataArray:
    """Volume of hemispheres on the grid of an annotation: uint8, 1 left and 2 right; lazy.

    Parameters
    ----------
    hemispheres
        DataArray of integers, 1 left, 2 right and 0 neither. One in memory is checked here, a lazy
        one as it is computed.
    grid
        Grid of the annotation.

    Raises
    ------
    GridError
        If it is no DataArray, or lies elsewhere.
    AnnotationError
        If it does not hold integers, or others than these.

    Examples
    --------
    >>> grid = Grid((1, 1, 4), (10, 10, 10))
    >>> sides = as_hemispheres(labelled(np.array([[[1, 1, 0, 2]]]), grid), grid)
    >>> sides.dtype, sides.values.tolist()
    (dtype('uint8'), [[[1, 1, 0, 2]]])
    """
    if not isinstance(hemispheres, xr.DataArray) or not infer_grid(hemispheres).matches(grid):
        raise GridError("hemispheres must be a DataArray on the grid of the annotation")
    check_hemispheres_dtype(hemispheres.dtype)
    if hemispheres.variable._in_memory and hemispheres.chunks is None:
        hemisphere_flags(hemispheres.values)
    chunked = hemispheres.chunk() if hemispheres.chunks is None else hemispheres
    data = chunked.data.map_blocks(hemisphere_flags, meta=np.empty((0, 0, 0), np.uint8))
    return labelled(data, grid, "hemispheres", HEMISPHERES_ATTRS)


def check_hemispheres_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse a type that cannot say which hemisphere a voxel is in."""
    if dtype.kind not in "ui":
        raise AnnotationError(
            f"hemispheres have dtype {dtype}; give integers, 1 left and 2 right, 0 neither"
        )


def hemisphere_flags(block: NDArray[Any]) -> NDArray[np.uint8]:
    """Hemisphere of each voxel of a block, as uint8: 1 left, 2 right, 0 neither.

    Raises
    ------
    AnnotationError
        If it holds anything else.

    Examples
    --------
    >>> hemisphere_flags(np.array([1, 2, 0]))
    array([1, 2, 0], dtype=uint8)
    """
    if block.size and not 0 <= block.min() <= block.max() <= max(HEMISPHERES.values()):
        wrong = block[(block < 0) | (block > max(HEMISPHERES.values()))]
        raise AnnotationError(
            f"the volume of hemispheres holds {wrong.flat[0]}; 1 is left, 2 right and 0 neither: "
            "give it those values"
        )
    return block.astype(np.uint8)


def check_both_sides(blocks: Iterable[NDArray[Any]]) -> None:
    """Refuse a volume of hemispheres that lacks one; blocks are taken until both were seen.

    Raises
    ------
    AnnotationError
        If one is lacking, or as for `hemisphere_flags`.

    Examples
    --------
    >>> check_both_sides([np.array([1, 1]), np.array([0, 2])])
    """
    lacking = dict(HEMISPHERES)
    for block in blocks:
        flags = hemisphere_flags(block)
        lacking = {side: flag for side, flag in lacking.items() if not (flags == flag).any()}
        if not lacking:
            return
    raise AnnotationError(
        f"no voxel of the volume of hemispheres is {' or '.join(lacking)}; 1 is left, 2 right and "
        "0 neither: give one that has both, or a midline"
    )


def blocks_from_both_ends(volume: xr.DataArray) -> Iterator[NDArray[Any]]:
    """Blocks of a volume, computed one by one, from both of its ends: soon of both hemispheres."""
    data = volume.data
    if not isinstance(data, dask.array.Array):
        yield np.asarray(data)
        return
    block_ids = list(np.ndindex(data.numblocks))
    for number in range(len(block_ids)):
        block_id = block_ids[number // 2 if number % 2 == 0 else -1 - number // 2]
        yield data.blocks[block_id].compute()
