"""One format of files of volumes, and all that can be done with a file of it.

A format reads headers. From a header, labels and images are opened in the same way in all formats.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import xarray as xr

from refspace.formats.directions import Affine
from refspace.formats.headers import VolumeHeader, affine_of, grid_and_midline
from refspace.formats.source_file import SourceFile, naming, opened_source
from refspace.formats.voxel_files import VoxelStream
from refspace.grid import Grid
from refspace.labels import Midline, labelled, with_hemispheres
from refspace.types import PathLike, Resolution


class HeaderParser(Protocol):
    """Parses and checks the header of a file; no voxel is read."""

    def __call__(
        self, source: SourceFile, file: BinaryIO, *, is_image: bool = False, geometry: bool = True
    ) -> VolumeHeader:
        """Parse the header of a volume of labels, or of an image of intensities.

        Parameters
        ----------
        source
            The file.
        file
            Its content from the first byte on; of a file of another machine, the first bytes alone.
        is_image
            Whether numbers may be scaled, and there may be more axes than three.
        geometry
            Whether to read where the voxels are; else it counts as not stated.

        Raises
        ------
        FormatError
            If the file is not of the format, is damaged, or holds what cannot be read.
        MissingDependencyError
            If a package that reads it is not installed.
        """
        ...


@dataclass(frozen=True)
class Given:
    """What the caller says of a file.

    Parameters
    ----------
    resolution, orientation, override, like
        As for `read_nrrd`.
    """

    resolution: Resolution | None = None
    orientation: str | None = None
    override: bool = False
    like: Grid | None = None


@dataclass(frozen=True)
class VolumeFormat:
    """A format of files of volumes.

    Parameters
    ----------
    name
        Its name, in small letters.
    parse
        Parses the header of a file.
    place
        Grid and midline of a file, from its header and what the caller says.
    tilt
        Affine of a file whose axes are oblique; None of others, and where the caller overrules it.
    """

    name: str
    parse: HeaderParser
    place: Callable[..., tuple[Grid, Midline | None]] = grid_and_midline
    tilt: Callable[..., Affine | None] = affine_of

    def read_header(
        self,
        path: PathLike,
        *,
        is_image: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> VolumeHeader:
        """Read and check the header of a file; no voxel is read."""
        with opened_source(path, storage_options) as (source, file):
            return self.parse(source, file, is_image=is_image)

    def read(
        self, path: PathLike, given: Given, storage_options: Mapping[str, Any] | None = None
    ) -> xr.DataArray:
        """Open a file as a lazy volume of labels."""
        return self.labels(self.read_header(path, storage_options=storage_options), given)

    def read_image(
        self, path: PathLike, given: Given, storage_options: Mapping[str, Any] | None = None
    ) -> xr.DataArray:
        """Open a file as a lazy image of intensities."""
        header = self.read_header(path, is_image=True, storage_options=storage_options)
        return self.image(header, given)

    # ----- of a header

    def labels(self, header: VolumeHeader, given: Given) -> xr.DataArray:
        """Lazy volume of labels."""
        grid, midline = self._place(header, given)
        values = header.image.values(self.name)
        volume = labelled(values, grid, header.name, header.sides.attrs)
        return volume if midline is None else with_hemispheres(volume, midline)

    def image(self, header: VolumeHeader, given: Given) -> xr.DataArray:
        """Lazy image of intensities."""
        with naming(header.path):
            tilt = self.tilt(header, given.resolution, given.orientation, given.override)
        place: Grid | Affine = self._place(header, given)[0] if tilt is None else tilt
        return header.image.lazy_image(self.name, place, header.name)

    def voxels(self, header: VolumeHeader) -> xr.DataArray:
        """Lazy array, whatever is stated of where its voxels are."""
        return header.image.lazy_image(self.name, None, header.name)

    def stream(self, header: VolumeHeader, given: Given, *, is_image: bool = False) -> VoxelStream:
        """Values of one volume, to be read slab by slab."""
        grid, midline = self._place(header, given)
        return header.image.stream(grid, None if is_image else midline)

    def _place(self, header: VolumeHeader, given: Given) -> tuple[Grid, Midline | None]:
        with naming(header.path):
            return self.place(
                header, given.resolution, given.orientation, given.override, given.like
            )
