"""What the voxels hold that hold points: a code for each point, lazily."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import pandas as pd
from dask.delayed import Delayed
from numpy.typing import NDArray

from refspace import kernels
from refspace.blockwise.graphs import shared_value
from refspace.blockwise.lookup import PointsByBlock, look_up_partitions, look_up_points
from refspace.blockwise.relabel import blocks_to_read
from refspace.blockwise.sources import UNKNOWN
from refspace.grid import Grid
from refspace.label_index import BlockLabels, Chunks
from refspace.ops.point_voxels import sort_points
from refspace.ops.positions import in_micrometres, position_dims, positions_along_axes
from refspace.types import LengthUnit

Box = tuple[slice, ...]

# Codes of points that no voxel holds.
OUTSIDE, MISSING = -1, -2
# A code is a label, and above its bits the hemisphere.
LABEL_BITS = 32


@dataclass(frozen=True, eq=False)
class VoxelLookup:
    """What to look up in the voxels that hold points: a code for each.

    Dask does not look into it. Where the points themselves are lazy, each task looks up those of a
    partition, once it has them.

    Parameters
    ----------
    grid
        Where the voxels are.
    data
        Labels.
    block_labels
        Labels of each block, where they are known.
    labels_in
        Labels of the blocks of a part, where those of all blocks are too many to be read.
    codes
        Two rows: sorted labels, and the code of each; any other has the code 0. A label is its own
        code if not given.
    hemispheres
        Hemisphere of each voxel, where it is to be part of the code; chunked like the labels.
    unit
        Unit of the positions of points.
    """

    grid: Grid
    data: dask.array.Array
    block_labels: BlockLabels | None = None
    codes: NDArray[np.int64] | None = None
    hemispheres: dask.array.Array | None = None
    unit: LengthUnit = "um"
    labels_in: Callable[[Box], BlockLabels | None] | None = None

    @property
    def dims(self) -> tuple[str, str, str]:
        """Axes in the order in which positions without names have them."""
        return position_dims(self.grid, self.unit)

    def look_up(self, points: dask.array.Array | Sequence[NDArray[Any]]) -> dask.array.Array:
        """Codes of points; `OUTSIDE` or `MISSING` where no voxel is.

        Parameters
        ----------
        points
            Positions, as `positions_along_axes` gives them.

        Examples
        --------
        >>> data = dask.array.from_array(np.array([[[7, 0, 9]]], "u4"))
        >>> lookup = VoxelLookup(Grid((1, 1, 3), (10, 10, 10)), data)
        >>> lookup.look_up(np.array([[5.0, 5, 5], [5, 5, 5], [29, np.nan, 31]])).compute()
        array([ 9, -2, -1])
        """
        if isinstance(points, dask.array.Array):
            return look_up_partitions(points, _codes_of_partition, self.shared)
        positions = in_micrometres(points, self.grid, self.unit)
        held = sort_points(positions, self.grid, self.data.chunks)
        return look_up_points(
            held,
            points[0].shape,
            [self.data] if self.hemispheres is None else [self.data, self.hemispheres],
            self._labels_to_code(held),
            _codes_at,
            self.codes,
            (OUTSIDE, MISSING),
        )

    @property
    def shared(self) -> Delayed:
        """The look-up as one task, on which those of all partitions depend."""
        return shared_value("lookup", self)

    def _labels_to_code(self, points: PointsByBlock) -> NDArray[np.int64]:
        """Label with the code of all voxels of a block, `UNKNOWN` where it must be read.

        A block of several labels need not be read if all have one code: any of them will do.
        """
        known, blocks = self.block_labels, tuple(slice(0, n) for n in self.data.numblocks)
        if self.labels_in is not None and points.blocks:
            blocks, box = _box_of_blocks(points.blocks, self.data.chunks)
            known = self.labels_in(box)
        sole = np.full(self.data.numblocks, UNKNOWN)
        if known is None:
            return sole
        labels = known.labels.astype(np.int64)
        codes = labels if self.codes is None else _encode(labels, self.codes)
        first = labels[known.indptr[:-1]].reshape(known.shape)
        sole[blocks] = np.where(blocks_to_read(known, codes), UNKNOWN, first)
        return sole


def _box_of_blocks(flat_ids: Sequence[int], chunks: Chunks) -> tuple[Box, Box]:
    """Range of blocks along each axis that some blocks are in, and of their voxels."""
    blocks, box = [], []
    block_ids = np.unravel_index(flat_ids, tuple(map(len, chunks)))
    for along, sizes in zip(block_ids, chunks, strict=True):
        first, end = int(along.min()), int(along.max()) + 1
        blocks.append(slice(first, end))
        box.append(slice(sum(sizes[:first]), sum(sizes[:end])))
    return tuple(blocks), tuple(box)


def look_up_table(
    points: pd.DataFrame,
    lookup: VoxelLookup,
    columns: Sequence[Hashable] | None,
    attrs: Mapping[str, Any],
    scheduler: str | None = None,
) -> pd.Series:
    """Codes of the points of a table in memory, with its index.

    Parameters
    ----------
    points
        The table.
    lookup
        What to look up.
    columns
        Columns that hold the positions, as for `positions_along_axes`.
    attrs
        Attributes of the result.
    scheduler
        Dask's scheduler; the usual one if not given.
    """
    axes = positions_along_axes(points, lookup.dims, columns)
    series = pd.Series(
        lookup.look_up(axes).compute(scheduler=scheduler), points.index, name="structure"
    )
    series.attrs.update(attrs)
    return series


# ----- tasks


def _codes_of_partition(points: NDArray[Any], lookup: VoxelLookup) -> NDArray[np.int64]:
    """Codes of the points of a partition, computed within the task that has them."""
    # Another scheduler would start threads, or tasks, from within a task.
    codes: NDArray[np.int64] = lookup.look_up(np.moveaxis(points, -1, 0)).compute(
        scheduler="synchronous"
    )
    return codes


def _codes_at(
    table: NDArray[np.int64] | None,
    offsets: NDArray[Any],
    block: NDArray[Any],
    hemispheres: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Codes of some voxels of a block."""
    voxels = np.unravel_index(offsets, block.shape)
    codes = block[voxels]
    if table is not None:
        codes = _encode(codes, table)
    if hemispheres is None:
        return codes
    return codes.astype(np.int64) | hemispheres[voxels].astype(np.int64) << LABEL_BITS


def _encode(labels: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Code of each label; 0 for those without one."""
    ids, codes = table
    return np.append(codes, 0)[kernels.find(labels.astype(np.int64), ids)]
