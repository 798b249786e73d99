"""Volumes as AllenSDK returns them: a NumPy array in memory, and the fields of the header."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from refspace.formats.nrrd import NRRD, header_fields
from refspace.types import PathLike

Volume: TypeAlias = tuple[NDArray[Any], dict[str, Any]]


def read_volume(path: PathLike) -> Volume:
    """Voxels of an NRRD file, in memory, and the fields of its header.

    Parameters
    ----------
    path
        Local file.

    Raises
    ------
    FormatError
        If it is damaged, or no volume.
    """
    voxels: NDArray[Any] = NRRD.voxels(NRRD.read_header(path)).values
    # A mapped or inflated file is read-only; AllenSDK's users write into what they get.
    return np.require(voxels, requirements="W"), header_fields(path)
