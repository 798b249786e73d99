"""What a file of a volume states, and what is assumed where it does not, in words and as JSON."""

from pathlib import Path
from typing import Any

from refspace.cli.describe import short_text, size_text
from refspace.formats.volumes import stated_spacing, stream_volume
from refspace.types import Resolution


def describe_file(
    path: str, *, resolution: Resolution | None, orientation: str | None, override: bool
) -> dict[str, Any]:
    """Facts about a file as JSON values; no voxel is read.

    Parameters
    ----------
    path, resolution, orientation, override
        As for `refspace.formats.volumes.read_volume`.
    """
    stream = stream_volume(path, resolution=resolution, orientation=orientation, override=override)
    stated, grid = stated_spacing(path), stream.grid
    return {
        "url": path,
        "kind": "file",
        "shape": list(grid.shape),
        "dtype": stream.dtype.name,
        "resolution_um": list(grid.spacing),
        "stated_resolution_um": None if stated.spacing is None else list(stated.spacing),
        "unit": _unit(stated.assumed, is_stated=stated.spacing is not None),
        "extent_mm": [length / 1000 for length in grid.extent],
        "origin_um": list(grid.origin),
        "orientation": grid.orientation,
        "directions": {dim: grid.direction(dim) for dim in grid.dims},
        "stored_bytes": Path(path).stat().st_size,
    }


def _unit(assumed: str | None, *, is_stated: bool) -> str:
    if not is_stated:
        return "no lengths stated"
    return "stated" if assumed is None else f"not stated; {assumed}"


def format_file_description(details: dict[str, Any]) -> str:
    """Facts, as `describe_file` gives them, as text."""
    stated, used = details["stated_resolution_um"], details["resolution_um"]
    directions = [f"{dim} grows to {end}" for dim, end in details["directions"].items()]
    overruled = stated not in (None, used)
    rows = {
        "voxels": f"{' × '.join(map(str, details['shape']))}, {details['dtype']}",
        "resolution": f"{short_text(used)} µm"
        + (f"; the header has {short_text(stated)} µm" if overruled else ""),
        "unit": details["unit"],
        "extent": f"{' × '.join(f'{length:g}' for length in details['extent_mm'])} mm",
        "origin": f"{', '.join(f'{corner:g}' for corner in details['origin_um'])} µm",
        "orientation": f"{details['orientation']}: {', '.join(directions)}",
        "stored": size_text(details["stored_bytes"]),
    }
    width = max(map(len, rows))
    lines = [f"{name:{width}}  {value}" for name, value in rows.items()]
    return "\n".join([f"{details['url']}: file of a volume", "", *lines])
