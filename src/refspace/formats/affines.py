"""Affines to RAS+ in headers whose numbers are in single precision: NIfTI and MGH, by nibabel."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import GridError, MissingDependencyError
from refspace.formats.directions import (
    WORLD,
    fit_axes,
    micrometres,
    orientation_from_steps,
    origin_from_centre,
    triple,
    world_affine,
)
from refspace.formats.headers import Form
from refspace.grid import Triple


def nibabel(files: str = "NIfTI") -> Any:
    """Import the package that parses headers.

    Parameters
    ----------
    files
        Name of the format, for the message.

    Raises
    ------
    MissingDependencyError
        If nibabel is not installed.
    """
    try:
        import nibabel as package
    except ImportError as error:
        raise MissingDependencyError(
            f"{files} files need nibabel, which is not installed: pip install nibabel"
        ) from error
    return package


def form_from_affine(
    affine: NDArray[np.float64],
    name: str,
    scale: float,
    shape: Sequence[int],
    noise: float | None = None,
) -> Form:
    """Statement on the position of the voxels, of an affine from their indices to RAS+.

    Parameters
    ----------
    affine
        Of four rows.
    name
        What the header calls it.
    scale
        µm per unit.
    shape
        Number of voxels along each axis.
    noise
        As of `fit_axes`.

    Raises
    ------
    GridError
        If it is of no volume.

    Examples
    --------
    >>> form = form_from_affine(np.diag([-2.0, 0.5, 1, 1]), "sform", 1000, (3, 2, 2))
    >>> form.orientation, form.spacing, form.origin
    ('LAS', (2000.0, 500.0, 1000.0), (-5000.0, -250.0, -500.0))
    """
    vectors, first = affine[:3, :3].T, affine[:3, 3].tolist()
    how = {} if noise is None else {"noise": noise}
    axes = fit_axes(vectors, first, shape, f"the vectors of the {name},", **how)
    lengths = [single_micrometres(step, scale, name) for step in axes.steps]
    centre = [single_micrometres(x, scale, name) for x in axes.centre]
    return Form(
        name,
        orientation_from_steps(lengths, axes.world, WORLD),
        positive_spacing([abs(length) for length in lengths]),
        origin_from_centre(lengths, axes.world, centre, shape, WORLD),
        axes.deviation,
        world_affine(vectors, first, [scale] * 3, WORLD) if axes.deviation else None,
    )


def positive_spacing(lengths: Sequence[float]) -> Triple:
    """Lengths of a voxel, each above 0.

    Raises
    ------
    GridError
        If one is not.
    """
    if not min(lengths) > 0:
        raise GridError(f"voxels are {list(lengths)} µm apart; lengths must be positive")
    return triple(lengths)


def single_micrometres(value: float, scale: float, name: str) -> float:
    """Length in µm of a number in single precision: 0.025 is meant, not 0.02500000037.

    Raises
    ------
    FormatError
        If it is no length.

    Examples
    --------
    >>> single_micrometres(float(np.float32(0.025)), 1000, "pixdim")
    25.0
    """
    # NIfTI-2 stores doubles, which need not fit single precision.
    with np.errstate(over="ignore"):
        single = np.float32(value)
    close = math.isclose(single, value, rel_tol=1e-12)
    return micrometres(float(str(single)) if close else float(value), scale, name)
