"""Formats that people have where a zarr store is expected: recognised by content, and named."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from refspace.errors import FormatError, RefspaceError, StoreError
from refspace.remote.objects import read_url
from refspace.signatures import START_BYTES, kind_of_content
from refspace.store.contents import folders_of_zarr
from refspace.store.location import Location
from refspace.store.staging import leftover_hint
from refspace.store.zarr_files import JSON_FILES

_DOCUMENT_BYTES = 2**20
_TENSORSTORE = "copy it to zarr, for instance with tensorstore (driver {driver!r})"
_MOST_NAMED = 6


def missing_store(location: Location) -> RefspaceError:
    """Error to raise where there is no zarr store: what is there instead, and the way out.

    Returns
    -------
    FormatError or StoreError
        The former if there is something of another format.
    """
    if kind := _kind_of_file(location) or _kind_of_folder(location):
        return FormatError(f"{location.url} is no zarr store, but {kind}")
    hint = leftover_hint(location.url, location.storage_options) or _stores_around(location)
    return StoreError(f"there is no zarr store at {location.url}" + (f": {hint}" if hint else ""))


def what_is_there(location: Location) -> str:
    """End of a message on a folder that is no zarr store; empty if nothing in it is known.

    Examples
    --------
    >>> import tempfile
    >>> what_is_there(Location(tempfile.mkdtemp()))
    ''
    """
    if kind := _kind_of_folder(location):
        return f", but {kind}"
    stores = _stores_in(location)
    return f", but holds some, {stores}" if stores else ""


def _kind_of_file(location: Location) -> str | None:
    """Format of a file by its first bytes; None if it is unknown, or no file."""
    return kind_of_content(_start(location), location.name)


def _start(location: Location) -> bytes:
    path = location.local_path
    if path is not None and not path.is_file():
        return b""
    with suppress(OSError, RefspaceError):
        url = location.url if path is None else str(path)
        return read_url(url, location.storage_options, limit=START_BYTES)
    return b""


def _kind_of_folder(location: Location) -> str | None:
    """Format of a folder by the JSON that it has in place of zarr's."""
    attributes = _document(location, "attributes.json")
    if attributes.keys() & {"n5", "dimensions", "multiScale", "downsamplingFactors"}:
        return f"N5, which is not read: {_TENSORSTORE.format(driver='n5')}"
    info = _document(location, "info")
    if str(info.get("@type")).startswith("neuroglancer") or "scales" in info:
        way = _TENSORSTORE.format(driver="neuroglancer_precomputed")
        return f"Neuroglancer's precomputed format, which is not read: {way}"
    return None


def _document(location: Location, key: str) -> Mapping[str, Any]:
    """JSON object in a folder; an empty one if there is none."""
    with suppress(OSError, RefspaceError, ValueError, RecursionError):
        content = json.loads(location.read(key, _DOCUMENT_BYTES) or b"{}")
        return content if isinstance(content, dict) else {}
    return {}


def _stores_around(location: Location) -> str | None:
    """What to give in place of a folder that holds stores, or of a file of a store."""
    path = location.local_path
    if path is not None and path.name in JSON_FILES and path.is_file():
        return f"it is a file of one; give its folder, {path.parent}"
    stores = _stores_in(location)
    return f"it is a folder with stores in it; open one of {stores}" if stores else None


def _stores_in(location: Location) -> str:
    """Paths of the first stores in a folder of this machine, for a message."""
    path = location.local_path
    found = folders_of_zarr(path) if path is not None and path.is_dir() else []
    inner = {*found}
    # Others may be parts of a store that has lost its root.
    outer = [each for each in found if each.parent not in inner and each.suffix == ".zarr"]
    others = " and others" if len(outer) > _MOST_NAMED else ""
    return ", ".join(map(str, outer[:_MOST_NAMED])) + others
