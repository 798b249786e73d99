"""What a file of a volume states, and what is assumed where it does not, in words and as JSON."""

from typing import Any

from refspace.cli.describe import (
    describe_axes,
    describe_sides,
    format_axes,
    format_sides,
    short_text,
    size_text,
)
from refspace.formats.headers import VolumeHeader
from refspace.formats.voxel_files import VoxelStream


def describe_file(
    path: str,
    header: VolumeHeader,
    stream: VoxelStream,
    *,
    frame: str | None = None,
    midline: float | None = None,
    hemispheres: str | None = None,
) -> dict[str, Any]:
    """Facts about a file as JSON values; no voxel of it is read.

    Parameters
    ----------
    path, header, stream
        The file, its header, and its volume.
    frame
        Frame of coordinates, if not that of the file.
    midline, hemispheres
        What tells the hemispheres apart instead of what the file states.
    """
    grid, stated = stream.volume_grid, header.stated
    return {
        "url": path,
        "kind": "file",
        "shape": list(grid.shape),
        "dtype": stream.dtype.name,
        "resolution_um": list(grid.spacing),
        "stated_resolution_um": None if stated.spacing is None else list(stated.spacing),
        "unit": _unit(stated.assumed, is_stated=stated.spacing is not None),
        "extent_mm": [length / 1000 for length in grid.extent],
        **describe_axes(grid, frame),
        **describe_sides(grid, stream.midline, frame=frame, midline=midline, volume=hemispheres),
        "stored_bytes": stream.voxels.stored_bytes,
    }


def _unit(assumed: str | None, *, is_stated: bool) -> str:
    if not is_stated:
        return "no lengths stated"
    return "stated" if assumed is None else f"not stated; {assumed}"


def format_file_description(details: dict[str, Any]) -> str:
    """Facts, as `describe_file` gives them, as text."""
    stated, used = details["stated_resolution_um"], details["resolution_um"]
    overruled = stated not in (None, used)
    rows = {
        "voxels": f"{' × '.join(map(str, details['shape']))}, {details['dtype']}",
        "resolution": f"{short_text(used)} µm"
        + (f"; the header has {short_text(stated)} µm" if overruled else ""),
        "unit": details["unit"],
        "extent": f"{' × '.join(f'{length:g}' for length in details['extent_mm'])} mm",
        **format_axes(details),
        "midline": format_sides(details),
        "stored": size_text(details["stored_bytes"]),
    }
    width = max(map(len, rows))
    lines = [f"{name:{width}}  {value}" for name, value in rows.items()]
    return "\n".join([f"{details['url']}: file of a volume", "", *lines])
