"""The phantom's labels as a pure function of position.

The brain is a list of organs, painted one over the other: a later organ takes the voxels that it
shares with an earlier one. Each is elementwise float64 arithmetic on the positions of the voxels
(see `shapes`), so that the label of a voxel depends neither on the block that it is computed in nor
on the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refspace.samples import forebrain, hindbrain
from refspace.samples.canvas import Slab
from refspace.samples.parcels import TRACTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from refspace.samples.canvas import Box
    from refspace.samples.shapes import Floats

EXTENT = (13200.0, 8000.0, 11400.0)
"""Size of the volume in µm along ap, dv and ml; that of the Allen CCF."""

MIDLINE = EXTENT[2] / 2
"""Position of the mirror plane on ml in µm."""

_SLAB_VOXELS = 1 << 17  # temporaries of a megabyte stay in the cache: 1.5 times as fast as one slab


def label_block(ap: Floats, dv: Floats, ml: Floats) -> NDArray[np.uint32]:
    """Label the voxels of a block.

    Parameters
    ----------
    ap, dv, ml
        Positions of the voxel centres in µm, 1-D, in any order, from the front, upper, left
        corner of the volume.

    Returns
    -------
    NDArray[np.uint32]
        Structure ids of shape (len(ap), len(dv), len(ml)); 0 outside the brain.

    Examples
    --------
    >>> import numpy as np
    >>> from refspace.samples.anatomy import label_block
    >>> label_block(np.array([9000.0]), np.array([1100.0]), np.array([3500.0, 7900.0]))
    array([[[721, 721]]], dtype=uint32)
    """
    # Sorted positions, each once: voxels that mirror each other across the midline are painted
    # once.
    axes = [np.unique(axis, return_inverse=True) for axis in (ap, dv, np.abs(ml - MIDLINE))]
    ap, dv, distance = (positions for positions, _ in axes)
    half = np.zeros((len(ap), len(dv), len(distance)), np.uint32)
    step = max(1, _SLAB_VOXELS // max(1, len(dv) * len(distance)))
    for start in range(0, len(ap), step):
        planes = slice(start, start + step)
        _paint(Slab.from_axes(ap[planes], dv, distance, half[planes]))
    return half[np.ix_(*(indices for _, indices in axes))]


def _paint(slab: Slab) -> None:
    for organ, box in _ORGANS:
        part = slab.crop(box)
        if part is not None:
            organ(part)


def _tracts(slab: Slab) -> None:
    for tract in TRACTS:
        slab.paint_tract(tract)


# In painting order, each with the (ap, dv, x) box in µm that holds it.
_ORGANS: tuple[tuple[Callable[[Slab], None], Box], ...] = (
    (forebrain.olfactory_bulb, ((150, 4000), (2300, 6400), (0, 2000))),
    (forebrain.cerebrum, ((1850, 10800), (250, 7650), (0, 5350))),
    (forebrain.lateral_ventricle, ((3500, 6700), (2100, 4500), (0, 2600))),
    (forebrain.diencephalon, ((4700, 8500), (2500, 7400), (0, 2800))),
    (hindbrain.cerebellum, ((9900, 13050), (750, 6300), (0, 4400))),
    (hindbrain.brainstem, ((7300, 13050), (900, 7600), (0, 3000))),
    (forebrain.third_ventricle, ((5000, 8000), (2700, 7300), (0, 100))),
    (hindbrain.fourth_ventricle, ((10100, 13000), (4200, 5500), (0, 900))),
    (_tracts, ((2500, 13000), (1200, 7700), (0, 3000))),
)
