"""Stores as iohub 0.2.3 writes them; ``scripts/compare_iohub.py`` proves that they are the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zarr
from numpy.typing import NDArray


def iohub_plate(
    folder: Path,
    fields: Sequence[str],
    voxels: NDArray[Any],
    scale: Sequence[float] = (25.0, 25.0, 25.0),
) -> None:
    """Plate of zarr v2 as iohub 0.2.3 writes it; fields are paths like ``A/1/0``."""
    root = zarr.open_group(folder, mode="w", zarr_format=2)
    wells: dict[str, list[str]] = {}
    for field in fields:
        well, _, image = field.rpartition("/")
        wells.setdefault(well, []).append(image)
        iohub_field(folder / field, voxels, scale)
    rows = sorted({well.split("/")[0] for well in wells})
    columns = sorted({well.split("/")[1] for well in wells})
    for well, images in wells.items():
        group = zarr.open_group(f"{folder}/{well}", mode="a", zarr_format=2)
        entries: list[Any] = [{"acquisition": 0, "path": image} for image in images]
        group.attrs["well"] = {"images": entries, "version": "0.4"}
    for row in rows:
        zarr.open_group(f"{folder}/{row}", mode="a", zarr_format=2)
    root.attrs["plate"] = {
        "acquisitions": [{"id": 0}],
        "columns": [{"name": name} for name in columns],
        "rows": [{"name": name} for name in rows],
        "version": "0.4",
        "wells": [
            {
                "columnIndex": columns.index(well.split("/")[1]),
                "path": well,
                "rowIndex": rows.index(well.split("/")[0]),
            }
            for well in wells
        ],
    }


def iohub_field(
    folder: Path | str, voxels: NDArray[Any], scale: Sequence[float] = (25.0, 25.0, 25.0)
) -> None:
    """Image over T, C, Z, Y and X as iohub 0.2.3 writes it, but for its `omero`."""
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    slashes: Any = {"name": "v2", "separator": "/"}
    group.create_array(
        "0", data=voxels[None, None], chunks=(1, 1, 4, 4, 4), chunk_key_encoding=slashes
    )
    space = [{"name": name, "type": "space", "unit": "micrometer"} for name in "ZYX"]
    time = {"name": "T", "type": "time", "unit": "second"}
    steps: list[Any] = [{"scale": [1.0, 1.0, *scale], "type": "scale"}]
    group.attrs["multiscales"] = [
        {
            "axes": [time, {"name": "C", "type": "channel"}, *space],
            "coordinateTransformations": [{"type": "identity"}],
            "datasets": [{"coordinateTransformations": steps, "path": "0"}],
            "name": "0",
            "version": "0.4",
        }
    ]
