"""Parts of arrays: boxes of voxels, and the blocks that they are stored in."""

import itertools
from collections.abc import Sequence
from itertools import accumulate

Box = tuple[slice, ...]
"""Part of an array, a slice along each axis."""

BlockId = tuple[int, ...]
"""Index of a block along each axis."""


def block_boxes(blocks: Sequence[Sequence[int]]) -> dict[BlockId, Box]:
    """Part of the array that each block covers, by block id, in C order."""
    block_ids = itertools.product(*(range(len(sizes)) for sizes in blocks))
    sides = [
        [slice(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]
        for sizes in blocks
    ]
    return dict(zip(block_ids, itertools.product(*sides), strict=True))


def block_lengths(shape: Sequence[int], block_shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Lengths of the blocks along each axis of an array, of which the last may be shorter.

    Examples
    --------
    >>> block_lengths((5, 4), (2, 4))
    ((2, 2, 1), (4,))
    """
    return tuple(
        tuple(min(size, count - start) for start in range(0, count, size)) or (0,)
        for count, size in zip(shape, block_shape, strict=True)
    )


def common_box(one: Box, other: Box) -> Box:
    """What two parts of an array have in common, where they have anything."""
    return tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )


def within(part: Box, box: Box) -> Box:
    """A part of a box, counted from the start of that."""
    return tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
