"""Voxels in a file, whatever its format: what is known of them once a header is read.

They are read lazily or slab by slab, in the order of the file: the first axis is the fastest.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
from numpy.typing import NDArray

from refspace.blockwise.content_identity import Identity
from refspace.formats.source_file import SourceFile
from refspace.grid import Grid
from refspace.labels import Midline

# Size of a block. Blocks are whole layers of the slowest axis: contiguous in the file, and views of
# the array that was read.
SLAB_BYTES = 16 * 2**20


def is_never(_: slice) -> bool:
    """False, of any layers."""
    return False


@dataclass(frozen=True)
class VoxelFile(ABC):
    """Shape and dtype of the voxels in a file; formats add where these are and how encoded.

    Parameters
    ----------
    files
        The file; or its header and then, in the last one, its voxels.
    shape
        Number of voxels along each axis, the fastest in the file first: three, but for images that
        have other axes than those of space.
    dtype
        Dtype of the voxels as stored, with its byte order.
    """

    files: tuple[SourceFile, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def path(self) -> str:
        """Path or URL of the file."""
        return self.files[0].path

    @property
    def nbytes(self) -> int:
        """Size of the decoded voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def stored_bytes(self) -> int:
        """Size of the file, or files."""
        return sum(file.size for file in self.files)

    @property
    def native(self) -> np.dtype[Any]:
        """Dtype of the voxels once they are read."""
        return self.dtype.newbyteorder("=")

    @property
    def identity(self) -> dict[str, Any]:
        """Paths and stamps: different for any other file, and after a change."""
        return _by_number([file.identity for file in self.files])

    def content_identity(self) -> Identity:
        """What tells the file from any other, once it is made sure that it is as it was opened.

        Raises
        ------
        FormatError
            If it has changed since.
        OSError
            If it is gone.
        """
        own = [file.content_identity() for file in self.files]
        doubts = [identity.doubt for identity in own if identity.doubt]
        facts = _by_number([identity.facts for identity in own])
        return Identity(facts, doubts[0] if doubts else None)

    def slab_shape(self) -> tuple[int, ...]:
        """Shape of blocks of whole layers, as many as `SLAB_BYTES` hold."""
        room = SLAB_BYTES // (self.dtype.itemsize * math.prod(self.shape[:2]))
        counts = []
        for length in self.shape[2:]:
            counts.append(min(length, max(1, room)))
            room //= length
        return (*self.shape[:2], *counts)

    @abstractmethod
    def lazy(self, kind: str) -> dask.array.Array:
        """Lazy array of the voxels, whose errors name the file.

        Parameters
        ----------
        kind
            Name of the format.
        """

    @abstractmethod
    def slabs(
        self,
        thickness: int,
        is_done: Callable[[slice], bool] = is_never,
        *,
        from_end: bool = False,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Voxels of a file of three axes, from the first layer of the last axis to the last.

        Parameters
        ----------
        thickness, is_done, from_end
            As for `VoxelStream.slabs`.

        Yields
        ------
        layers, slab
            As of `VoxelStream.slabs`, in the dtype of the file.
        """


def _by_number(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Facts of the only file, or of each by its number."""
    return {**facts[0]} if len(facts) == 1 else {str(n): one for n, one in enumerate(facts)}


def slab_cuts(layers: int, thickness: int, *, from_end: bool) -> list[slice]:
    """Slices of some layers each.

    Examples
    --------
    >>> slab_cuts(5, 2, from_end=True)
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    first = layers % thickness if from_end else 0
    bounds = [*([0] if first else []), *range(first, layers, thickness), layers]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


class VoxelStream:
    """Voxels of a file, slab by slab along the last axis of the file, never as a whole.

    Parameters
    ----------
    voxels
        The file.
    grid
        Grid of its voxels, in the order of the file.
    midline
        Midline, where the file states a world or the midline itself.
    volume_grid
        The same grid, its axes in the order in which the volume has them; that of the file if not
        given.
    """

    def __init__(
        self,
        voxels: VoxelFile,
        grid: Grid,
        midline: Midline | None = None,
        volume_grid: Grid | None = None,
    ) -> None:
        self.voxels, self.grid, self.midline = voxels, grid, midline
        self.volume_grid = grid if volume_grid is None else volume_grid
        self.dtype = voxels.native

    @property
    def path(self) -> str:
        """Path or URL of the file."""
        return self.voxels.path

    def content_identity(self) -> Identity:
        """What tells the voxels from any others, as of the file."""
        return self.voxels.content_identity()

    def values(self, slab: NDArray[Any]) -> NDArray[Any]:
        """What the stored numbers of a slab stand for."""
        return slab

    def slab_bytes(self, thickness: int) -> int:
        """Size in memory of a slab of some layers."""
        layers = self.voxels.shape[2]
        return self.voxels.nbytes * min(thickness, layers) // layers

    def slabs(
        self,
        thickness: int,
        is_done: Callable[[slice], bool] = is_never,
        *,
        from_end: bool = False,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Read the file from its first layer to its last.

        The last slab comes only once the whole file has been checked.

        Parameters
        ----------
        thickness
            Layers of each slab.
        is_done
            Whether layers are not wanted any more; they are left out.
        from_end
            Whether the file is cut from its end, so that the first slab may be a thinner one.

        Yields
        ------
        layers
            Slice of the slab along the last axis.
        slab
            Its voxels, in Fortran order. Its memory is used again for the next slab.
        """
        for cut, slab in self.voxels.slabs(thickness, is_done, from_end=from_end):
            yield cut, self.values(slab).astype(self.dtype, copy=False)
