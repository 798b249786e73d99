"""Pictures as files, in the size and with the fonts of print."""

import os
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from refspace.errors import FormatError
from refspace.files import atomic_write
from refspace.safe_text import shown
from refspace.types import PathLike

DPI = 300.0
# Texts stay texts, which other programs can search and edit.
_TEXTS: Any = {"svg.fonttype": "none", "pdf.fonttype": 42, "ps.fonttype": 42}


def save_figure(path: PathLike, figure: Figure, dpi: float = DPI) -> None:
    """Write a figure to a file, in the format of its ending.

    Parameters
    ----------
    path
        File to write, like ``slice.pdf``; it appears only when it is complete.
    figure
        The figure.
    dpi
        Pixels per inch of what has pixels.

    Raises
    ------
    FormatError
        If matplotlib knows no format of that ending.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "empty.svg")
    >>> save_figure(path, Figure())
    >>> path.exists()
    True
    """
    ending = picture_ending(path).removeprefix(".")
    with atomic_write(path) as temporary, rc_context(_TEXTS):
        figure.savefig(temporary, dpi=dpi, format=ending)


def picture_ending(path: PathLike) -> str:
    """Ending of the name of a picture, checked to be one of a format of matplotlib.

    Raises
    ------
    FormatError
        If it is not.

    Examples
    --------
    >>> picture_ending("slice.PNG")
    '.png'
    """
    formats = FigureCanvasBase.get_supported_filetypes()
    ending = Path(path).suffix.lower()
    if ending.removeprefix(".") not in formats:
        raise FormatError(
            f"{shown(os.fspath(path))} does not end in .{', .'.join(formats)}; pictures are "
            "written as what their names end in"
        )
    return ending
