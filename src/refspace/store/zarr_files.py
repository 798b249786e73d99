"""Names of the files that make a folder a zarr store, and whether it is one."""

from pathlib import Path

ZARR_JSON = "zarr.json"
"""Metadata of a group or an array of zarr v3, attributes included."""

ZGROUP, ZARRAY, ZATTRS = ".zgroup", ".zarray", ".zattrs"
"""Metadata of a group, of an array, and the attributes of either, of zarr v2."""

ZMETADATA = ".zmetadata"
"""Metadata of all nodes of a group of zarr v2 in one file, where a program wrote it."""

NODE_FILES = (ZARR_JSON, ZGROUP, ZARRAY)
"""Any of these makes a folder a group or an array."""

METADATA_FILES = (*NODE_FILES, ZATTRS)
"""All metadata that a node may have, whatever its version."""

JSON_FILES = (*METADATA_FILES, ZMETADATA)
"""All files of a store that are JSON."""


def is_zarr_folder(folder: Path) -> bool:
    """Whether a folder is a group or an array of zarr, of either version.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> before = is_zarr_folder(folder)
    >>> _ = (folder / "zarr.json").write_text("{}")
    >>> before, is_zarr_folder(folder)
    (False, True)
    """
    return any((folder / name).is_file() for name in NODE_FILES)
