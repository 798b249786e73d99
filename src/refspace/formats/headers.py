"""What a file says of its volume before a voxel is read, whatever its format, and where that is.

A file states up to two times in which directions its axes run and where its first voxel is; what it
leaves open, the caller says.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refspace.errors import GridError
from refspace.formats.directions import WORLD, Affine, settle_tilt, tilted_affine
from refspace.formats.intensities import ImageFile
from refspace.formats.sides import NO_SIDES, StatedSides
from refspace.formats.source_file import naming
from refspace.formats.spacing import (
    UNSTATED,
    StatedSpacing,
    grid_like,
    refuse_fault,
    scaled_origin,
    settle_orientation,
    settle_spacing,
    spacing_like,
)
from refspace.grid import Grid, Triple
from refspace.labels import Midline
from refspace.types import Resolution

# Relative error of lengths in single precision.
_SINGLE = 1e-5


@dataclass(frozen=True)
class Form:
    """One of the two statements of a header on orientation and position of the voxels.

    Parameters
    ----------
    name
        ``"sform"`` or ``"qform"``.
    orientation
        Direction in which the index of each axis grows.
    spacing
        µm per voxel along each axis; None for a form that is only compared.
    origin
        Lowest world coordinate of the volume along each axis in µm; None for a form that is only
        compared.
    deviation
        How far voxels are off that lie along the nearest axes, as of `FittedAxes`.
    affine
        From indices to positions in the world in µm, where the axes are oblique.
    """

    name: str
    orientation: str
    spacing: Triple | None = None
    origin: Triple | None = None
    deviation: float = 0.0
    affine: Affine | None = None


@dataclass(frozen=True)
class VolumeHeader:
    """What a file says of its volume.

    Parameters
    ----------
    image
        Its voxels, and what their numbers stand for.
    stated
        What it says of the µm per voxel.
    forms
        Statements on the position of the voxels, the one that counts first. The second one may be
        oblique.
    sides
        What it states of its frame and of hemispheres.
    fault
        What is wrong with its geometry, where it is of no volume; None if nothing is.
    precision
        Relative error of the lengths that it states.
    unoriented
        What it lacks that would say in which directions the axes run, in words.
    """

    image: ImageFile
    stated: StatedSpacing = UNSTATED
    forms: tuple[Form, ...] = ()
    sides: StatedSides = NO_SIDES
    fault: str | None = None
    precision: float = 1e-6
    unoriented: str = "the file does not say in which directions its axes run"

    @property
    def path(self) -> str:
        """Path or URL of the file."""
        return self.image.voxels.path

    @property
    def is_askew(self) -> bool:
        """Whether the axes that it states are oblique, or those of no volume."""
        return self.fault is not None or any(form.deviation for form in self.forms)

    @property
    def name(self) -> str:
        """Name of the file without its folder and ending."""
        return Path(Path(self.path).name.removesuffix(".gz")).stem

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis of space, in the order in which the volume has them."""
        return self.image.shape

    def refuse_other_spacing(self, spacing: Triple) -> None:
        """Refuse lengths that differ from those of another volume by more than their unit.

        Where none is stated, what the caller says of a file counts; what another volume says, not.

        Raises
        ------
        GridError
            If they do.
        """
        with naming(self.path):
            strict = replace(self.stated, is_open=False)
            settle_spacing(strict, spacing, path=self.path, rtol=_SINGLE)


def grid_and_midline(
    header: VolumeHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool = False,
    like: Grid | None = None,
) -> tuple[Grid, Midline | None]:
    """Grid and midline of a file, from its header and the arguments of the caller."""
    refuse_fault(header.fault, resolution, orientation, override, like)
    if like is not None:
        if override or not header.forms:
            how: dict[str, Any] = {"path": header.path, "rtol": header.precision}
            grid = grid_like(header.shape, header.stated, like, override=override, **how)
            return grid, None
        resolution = spacing_like(header.stated, header.forms[0].orientation, like)
    spacing, factor = settle_spacing(
        header.stated, resolution, override=override, path=header.path, rtol=header.precision
    )
    used = _orientation(header, orientation, override)
    form = header.forms[0] if header.forms else None
    # An origin holds only in the orientation that it is stated for.
    if form is None or form.origin is None or form.orientation != used:
        return Grid(header.shape, spacing, orientation=used), None
    settle_tilt(form.deviation, orientation, form.orientation, header.path)
    origin = scaled_origin(form.origin, factor, header.path)
    grid = header.sides.in_frame(Grid(header.shape, spacing, origin, used, WORLD))
    return grid, header.sides.midline(grid)


def affine_of(
    header: VolumeHeader,
    resolution: Resolution | None,
    orientation: str | None,
    override: bool,
) -> Affine | None:
    """Affine of a file whose axes are oblique; None of others, and where they are overruled."""
    form = header.forms[0] if header.forms else None
    if form is None or tilted_affine(form.affine, form.deviation, 1) is None:
        return None
    if _orientation(header, orientation, override) != form.orientation:
        return None
    _, factor = settle_spacing(
        header.stated, resolution, override=override, path=header.path, rtol=header.precision
    )
    return tilted_affine(form.affine, form.deviation, factor)


def _orientation(header: VolumeHeader, orientation: str | None, override: bool) -> str:
    stated = [form.orientation for form in header.forms]
    used = settle_orientation(stated, orientation, override=override)
    if used is not None:
        return used
    listed = " and ".join(f"{form.name} {form.orientation}" for form in header.forms)
    raise GridError(
        (f"the header has two orientations, {listed}" if listed else header.unoriented)
        + "; give orientation=, the directions in which the indices grow, like 'RAS'"
    )
