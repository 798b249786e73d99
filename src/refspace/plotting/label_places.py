"""Where the name of a region fits into it: the place with most room around its box."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refspace import kernels

# How much larger than the text its box is tried, the largest first.
_GROWN = (4.0, 3.0, 2.5, 2.0, 1.7, 1.4, 1.2, 1.0)
# Pixels that a text is high at least where its place is looked for: coarse voxels are divided.
_FINE, _FINEST = 6, 8


@dataclass(frozen=True, eq=False)
class Piece:
    """A connected piece of a region in an image.

    Parameters
    ----------
    code
        Code of the region.
    row, column
        Where its box begins.
    mask
        Which pixels of the box are of the piece.
    """

    code: int
    row: int
    column: int
    mask: NDArray[np.bool_]


def connected_pieces(codes: NDArray[np.integer], smallest: int = 4) -> list[Piece]:
    """Connected pieces of the regions of an image, the largest first.

    Parameters
    ----------
    codes
        Code of the region of each pixel, 0 where there is none.
    smallest
        Pixels of the smallest piece.

    Examples
    --------
    >>> pieces = connected_pieces(np.array([[5, 5, 0, 5]]), smallest=1)
    >>> [(piece.code, piece.column, piece.mask.shape) for piece in pieces]
    [(5, 0, (1, 2)), (5, 3, (1, 1))]
    """
    pixels, labels, sizes = kernels.components(codes.astype(np.uint32))
    order = np.argsort(pixels, axis=None, kind="stable")[np.count_nonzero(pixels < 0) :]
    rows, columns = np.unravel_index(order, codes.shape)
    starts = np.cumsum([0, *sizes[:-1]])
    if not sizes.size:
        return []
    boxes = [
        (np.minimum.reduceat(along, starts), np.maximum.reduceat(along, starts) + 1)
        for along in (rows, columns)
    ]
    (top, bottom), (left, right) = boxes
    return [
        Piece(
            int(labels[i]),
            int(top[i]),
            int(left[i]),
            pixels[top[i] : bottom[i], left[i] : right[i]] == i,
        )
        for i in np.argsort(-sizes, kind="stable").tolist()
        if sizes[i] >= smallest
    ]


def place_in(mask: NDArray[np.bool_], height: float, width: float) -> tuple[float, float] | None:
    """Centre of the place in a mask that has most room for a box; None where the box does not fit.

    Parameters
    ----------
    mask
        Where the box may be.
    height, width
        Of the box, in pixels of the mask.

    Returns
    -------
    tuple of float
        Row and column of the centre, from the outer edge of the first pixel.

    Examples
    --------
    >>> mask = np.zeros((9, 9), bool)
    >>> mask[2:7, 1:8] = True
    >>> row, column = place_in(mask, 3, 5)
    >>> round(row), round(column)
    (4, 4)
    >>> place_in(mask, 6, 2) is None
    True
    """
    if height > mask.shape[0] or width > mask.shape[1] or height * width > np.count_nonzero(mask):
        return None
    finer = int(np.clip(np.ceil(_FINE / max(height, 1e-6)), 1, _FINEST))
    fine = mask.repeat(finer, axis=0).repeat(finer, axis=1)
    sums = np.zeros((fine.shape[0] + 1, fine.shape[1] + 1), np.int64)
    sums[1:, 1:] = fine.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    for grown in _GROWN:
        box = [max(1, int(np.ceil(size * finer * grown))) for size in (height, width)]
        if (corner := _corner_within(sums, *box)) is not None:
            row, column = (
                (start + size / 2) / finer for start, size in zip(corner, box, strict=True)
            )
            return float(row), float(column)
    return None


def _corner_within(sums: NDArray[np.int64], height: int, width: int) -> tuple[int, int] | None:
    """Corner of a box that is within the mask, the most central of all."""
    if height >= sums.shape[0] or width >= sums.shape[1]:
        return None
    covered = (
        sums[height:, width:]
        - sums[:-height, width:]
        - sums[height:, :-width]
        + sums[:-height, :-width]
    )
    corners = np.argwhere(covered == height * width)
    if not len(corners):
        return None
    off = np.square(corners - corners.mean(axis=0)).sum(axis=1)
    row, column = corners[int(off.argmin())].tolist()
    return row, column
