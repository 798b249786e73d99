"""A sample atlas that is computed, not downloaded: the phantom, a synthetic mouse brain."""

from collections.abc import Sequence
from typing import Any

import dask.array
import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from refspace.errors import GridError
from refspace.grid import Grid, parse_spacing
from refspace.labels import labelled
from refspace.reference_space import ReferenceSpace
from refspace.samples.anatomy import EXTENT, label_block
from refspace.samples.ontology import STRUCTURES
from refspace.structure_tree import StructureTree
from refspace.types import Resolution

__all__ = ["phantom"]

_CHUNK = 128
_FINEST = 1.0


def phantom(resolution: Resolution = 100) -> ReferenceSpace:
    """Synthetic mouse-like brain in the frame of the Allen CCF.

    Two hemispheres with a layered cortex, nuclei, fibre tracts and ventricles. Each chunk is
    computed from formulas when it is needed, with the same labels on every machine. It is a sample
    to learn and test with, not anatomy.

    Parameters
    ----------
    resolution
        µm per voxel, one number or one for each axis; from 1 µm up.

    Returns
    -------
    ReferenceSpace
        Lazy, 13.2 × 8 × 11.4 mm (ap, dv, ml) in chunks of 128³ voxels.

    Raises
    ------
    GridError
        If the resolution is no positive number, finer than 1 µm or coarser than the brain.

    Examples
    --------
    >>> space = phantom(resolution=50)
    >>> space.annotation.shape
    (264, 160, 228)
    >>> space.structure_tree.get_structures_by_acronym(["VISp"])[0]["name"]
    'Primary visual area'
    """
    spacing = parse_spacing(resolution)
    if min(spacing) < _FINEST:
        raise GridError(f"resolution {resolution} is too fine; the phantom goes down to 1 µm")
    whole = Grid((1, 1, 1), EXTENT)
    grid = whole.resample(spacing)
    chunks = dask.array.core.normalize_chunks(_CHUNK, grid.shape)
    data = dask.array.map_blocks(
        _block,
        grid=grid,
        bounds=tuple((0, *np.cumsum(sizes).tolist()) for sizes in chunks),
        chunks=chunks,
        name=f"phantom-{tokenize(grid)}",
        meta=np.empty((0, 0, 0), np.uint32),
    )
    return ReferenceSpace(StructureTree(STRUCTURES), labelled(data, grid))


def _block(grid: Grid, bounds: Sequence[Sequence[int]], block_id: tuple[int, ...]) -> NDArray[Any]:
    ap, dv, ml = (
        grid.coordinates(dim)[axis[i] : axis[i + 1]]
        for dim, axis, i in zip(grid.dims, bounds, block_id, strict=True)
    )
    return label_block(ap, dv, ml)
