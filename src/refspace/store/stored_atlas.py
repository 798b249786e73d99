"""A store that was opened: its metadata, and lazy arrays of what it holds."""

import copy
import functools
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, RefspaceError, StoreReplacedError
from refspace.grid import Grid
from refspace.label_index import FIELDS, Chunks, LabelIndex, PartedIndex
from refspace.labels import Midline, resolve_midline
from refspace.labels.midline import STATED_BY_STORE
from refspace.store.digests import (
    INDEX,
    INDEX_PARTS,
    INDEX_TOTALS,
    array_sha256,
    index_cells,
    total_cells,
)
from refspace.store.index_parts import StoredIndexParts
from refspace.store.levels import find_level
from refspace.store.location import Location, map_concurrently
from refspace.store.ome import LabelStructures
from refspace.store.own_arrays import REPAIR
from refspace.store.record_table import RecordTable
from refspace.store.stored_array import StoredArray

if TYPE_CHECKING:
    import xarray as xr

    from refspace.store.kept_index import KeptIndex

_OF_ANOTHER = "it is the index of another volume"


@dataclass(frozen=True)
class StoredLevel:
    """One resolution of a stored volume.

    Parameters
    ----------
    path
        Path of the array in its group.
    grid
        Where the voxels are.
    array
        The voxels.
    axes
        Which axes of the array are those of space; any others have the length 1.
    kept
        Label index of an array of another program, where one is kept.
    """

    path: str
    grid: Grid
    array: StoredArray
    axes: tuple[int, ...] = (0, 1, 2)
    kept: "KeptIndex | None" = None


@dataclass(frozen=True)
class StoredAtlas:
    """An opened store: an annotation volume at several resolutions, with its metadata.

    Parameters
    ----------
    location
        The store.
    version
        Version of OME-Zarr.
    levels
        The annotation, the finest resolution first.
    template
        The template at the same resolutions, where there is one.
    hemispheres
        The hemispheres at the same resolutions, where they are a volume.
    structures
        The structures, checked; None for a store that refspace has not written.
    metadata
        What refspace wrote about the store: provenance, digests.
    arrays
        All arrays of a store of ours, by path.
    """

    location: Location
    version: str
    levels: tuple[StoredLevel, ...]
    template: tuple[StoredLevel, ...] = ()
    hemispheres: tuple[StoredLevel, ...] = ()
    structures: LabelStructures | None = None
    metadata: Mapping[str, Any] | None = None
    arrays: Mapping[str, StoredArray] = field(default_factory=dict)
    _read_centres: dict[Any, list[NDArray[Any]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def states_geometry(self) -> bool:
        """Whether the store says where its voxels are; a bare array, without a path, does not."""
        return bool(self.levels[0].path)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the atlas comes from."""
        # A copy to the last level: the metadata may be those of other openings, too.
        return copy.deepcopy((self.metadata or {}).get("provenance", {}))

    @property
    def midline(self) -> float | None:
        """Position of the midline along ml in µm; None if the store does not state it."""
        midline: float | None = (self.metadata or {}).get("midline")
        return midline

    @property
    def line(self) -> Midline:
        """The midline, of whatever level: as the store states it, else the middle of the finest."""
        stated, source = self.midline, (self.metadata or {}).get("midline_from", STATED_BY_STORE)
        return resolve_midline(
            None, None if stated is None else Midline(stated, str(source)), self.levels[0].grid
        )

    def level(self, resolution: float | Sequence[float] | None) -> int:
        """Level of a resolution in µm; the finest if None.

        Raises
        ------
        GridError
            If there is no such level.
        """
        return find_level([level.grid for level in self.levels], resolution, self.location.url)

    def volume(self, level: int, name: str = "annotation") -> "xr.DataArray":
        """Lazy ``annotation``, ``template`` or ``hemispheres`` of a level, with coordinates."""
        # Late: describing a store takes no array library.
        from refspace.labels import labelled
        from refspace.store.dask_graphs import lazy_array

        stored = self._levels(name)[level]
        data = lazy_array(stored.array, self._token(stored))
        if data.ndim > 3:
            data = data[tuple(slice(None) if a in stored.axes else 0 for a in range(data.ndim))]
        attrs = copy.deepcopy(dict(stored.array.array.attrs)) if self.metadata else {}
        centres = self._centres(level, stored.grid) if self.metadata else None
        return labelled(data, stored.grid, name, attrs, centres)

    def index(self, level: int) -> LabelIndex | None:
        """Label index of a level; None if there is no index, or it is one of another array.

        Warns
        -----
        UserWarning
            If there is an index that must not be trusted.
        """
        stored = self.levels[level]
        if stored.kept is not None:
            return stored.kept.index()
        digests = self._array_metadata(stored)
        if not {INDEX, INDEX_TOTALS} & digests.keys():
            return None
        try:
            if INDEX not in digests:
                return self._index_in_parts(level, digests)
            table = self._small_array(f"label_index/s{level}/table", (len(FIELDS), None))
            if array_sha256(table) != digests[INDEX]:
                raise FormatError(_OF_ANOTHER)
            return LabelIndex(stored.array.shape, self._cells(stored), table)
        except StoreReplacedError:
            raise  # nor are its voxels those that were asked for
        except RefspaceError as error:
            warnings.warn(
                f"{self.location.name}: the label index of {stored.path} is not used: {error}. "
                "Voxels are read instead, which takes longer",
                stacklevel=2,
            )
            return None

    def _index_in_parts(self, level: int, digests: Mapping[str, str]) -> PartedIndex:
        """Label index of a level whose totals are read now, and its parts when they are needed."""
        stored = self.levels[level]
        totals = self._small_array(f"label_index/s{level}/totals", (len(FIELDS), None))
        if array_sha256(totals) != digests[INDEX_TOTALS]:
            raise FormatError(_OF_ANOTHER)
        shape, cells = stored.array.shape, self._cells(stored)
        coarse = LabelIndex(shape, total_cells(stored.grid, cells, self.midline), totals)
        parts = StoredIndexParts(
            self._array(f"label_index/s{level}/table"),
            functools.partial(self._small_array, f"label_index/s{level}/spans", (2, None)),
            digests.get(INDEX_PARTS),
            shape,
            cells,
        )
        return PartedIndex(shape, cells, coarse, parts.crop)

    def _cells(self, level: StoredLevel) -> Chunks:
        """Chunks of the label index of a level."""
        return index_cells(level.grid, level.array.blocks, self.midline)

    def with_given_index(
        self, level: int, url: str, storage_options: Mapping[str, Any] | None
    ) -> "StoredAtlas":
        """The same store of another program, one level of which has the index at a path or URL.

        Parameters
        ----------
        level
            The level.
        url, storage_options
            The index, and what fsspec needs to reach it: what the store needs, if not given.
        """
        from refspace.store.kept_index import given_place

        stored = self.levels[level]
        assert stored.kept is not None
        options = self.location.storage_options if storage_options is None else storage_options
        kept = stored.kept.at_given(given_place(url, options))
        levels = list(self.levels)
        levels[level] = replace(stored, array=kept.read_array, kept=kept)
        return replace(self, levels=tuple(levels))

    def stored_bytes(
        self, level: int, name: str = "annotation", blocks: Sequence[slice] | None = None
    ) -> NDArray[np.int64]:
        """Bytes that blocks take in the store, in the shape of their grid.

        Parameters
        ----------
        level, name
            The volume.
        blocks
            Range of blocks along each axis; all if not given.
        """
        array = self._levels(name)[level].array
        assert isinstance(array.records, RecordTable)
        return array.records.stored_bytes(blocks or [slice(0, len(n)) for n in array.blocks])

    @property
    def are_records_in_parts(self) -> bool:
        """Whether the bytes of all blocks are in many objects."""
        records = self.levels[0].array.records
        return isinstance(records, RecordTable) and records.is_in_parts

    # ----- arrays and digests

    def check_arrays(self) -> None:
        """Look at the metadata of all arrays of a store of ours, needed or not.

        Raises
        ------
        FormatError
            If they are none.
        """
        for array in self.arrays.values():
            _ = array.array

    def _levels(self, name: str) -> tuple[StoredLevel, ...]:
        beside = {"template": self.template, "hemispheres": self.hemispheres}
        return self.levels if name == "annotation" else beside[name]

    def _token(self, level: StoredLevel) -> str:
        """Token that distinguishes the voxels of a level from any others."""
        digest = self._array_metadata(level).get("voxels")
        metadata = level.array.array.metadata.to_dict()
        return digest or f"{self.location.identity} {json.dumps(metadata, default=str)}"

    def _array_metadata(self, level: StoredLevel) -> Mapping[str, str]:
        metadata: Mapping[str, str] = (self.metadata or {}).get("arrays", {}).get(level.path, {})
        return metadata

    def _centres(self, level: int, grid: Grid) -> dict[str, NDArray[Any]]:
        """Coordinates as they were written, to the last digit."""
        sizes = tuple(zip(grid.dims, grid.shape, strict=True))
        if (level, sizes) not in self._read_centres:

            def read(size: tuple[str, int]) -> NDArray[Any]:
                dim, count = size
                return self._small_array(f"s{level}/{dim}", (count,), np.float64)

            # Files of this machine are read before threads have begun.
            is_local = self.location.local_path is not None
            read_all = map if is_local else map_concurrently
            # Once for all volumes.
            self._read_centres[level, sizes] = list(read_all(read, sizes))
        return dict(zip(grid.dims, self._read_centres[level, sizes], strict=True))

    def _small_array(
        self, path: str, shape: Sequence[int | None], dtype: Any = np.int64
    ) -> NDArray[Any]:
        """Values of an array, once its shape is checked; None stands for any length."""
        array = self._array(path)
        fits = len(array.shape) == len(shape) and all(
            n == m or m is None for n, m in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype != dtype:
            raise FormatError(f"{self.location.url}: {path} is not what it should be; {REPAIR}")
        return array.values()

    def _array(self, path: str) -> StoredArray:
        if path not in self.arrays:
            raise FormatError(f"{self.location.url}: there is no {path}; {REPAIR}")
        return self.arrays[path]
