"""Opens a store: its metadata, and lazy arrays of what it holds; no voxel is read."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refspace.errors import FormatError, GridError, StoreError
from refspace.remote.chunk_cache import trim
from refspace.store import ome
from refspace.store.digests import MASKS
from refspace.store.location import Location
from refspace.store.own_arrays import (
    REPAIR,
    arrays_of_store,
    check_digest,
    check_format,
    read_document,
)
from refspace.store.proven_roots import PROVEN_ROOTS, ProvenRoot
from refspace.store.stored_array import StoredArray
from refspace.store.stored_atlas import StoredAtlas, StoredLevel
from refspace.store.zarr_files import ZARR_JSON

# Every store of refspace has it, and no other.
INDEX_JSON = f"label_index/{ZARR_JSON}"


def open_atlas(
    url: str,
    *,
    storage_options: Mapping[str, Any] | None = None,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
    engine: str = "fsspec",
    chunk_cache: str | os.PathLike[str] | None = None,
) -> StoredAtlas:
    """Open a store written by refspace, or labels in zarr of any other program.

    Parameters
    ----------
    url
        Path or URL; of another program, that of an OME-Zarr image, of a group of one alone, of a
        group with a variable, or of an array, each of one volume.
    storage_options
        What fsspec needs to reach it.
    resolution
        µm per voxel of the finest level, for a store that states no unit of length.
    orientation
        Direction in which the index of each axis grows, for a store that does not state it.
    engine
        What reads from other machines: ``"fsspec"`` or ``"obstore"``.
    chunk_cache
        Folder for copies of what is read from other machines.

    Raises
    ------
    StoreError
        If there is no store, or an incomplete one.
    RemoteError
        If it cannot be reached.
    FormatError
        If it is damaged, or no annotation volume.
    GridError
        If its geometry is missing or contradictory.
    """
    cache_folder = None if chunk_cache is None else Path(chunk_cache).absolute()
    if cache_folder is not None:
        trim(cache_folder)
    location = Location(url, storage_options or {}, engine, cache_folder)
    root = location.read(ZARR_JSON)
    if root is not None and (proven := _proven(location, root)) is not None:
        return _open_own(location, proven, orientation)
    if root is not None and location.read(INDEX_JSON) is not None:
        # Without its digests it proves nothing, and must not pass for another program's store.
        raise FormatError(
            f"{location.url}: what refspace wrote about the store into {ZARR_JSON} is gone; "
            f"{REPAIR}"
        )
    # Late: what opens stores of ours needs no array library.
    from refspace.store.foreign import open_foreign

    try:
        return open_foreign(location, root, resolution, orientation)
    except (FormatError, GridError) as error:
        named = location.url in str(error)
        raise error if named else type(error)(f"{location.url}: {error}") from error


def _proven(location: Location, root: bytes) -> ProvenRoot | None:
    """Root metadata of a store of refspace, proven to be what was written; None of any other."""
    if (known := PROVEN_ROOTS.get(root)) is not None:
        _check_metadata(location, known.document["attributes"]["refspace"])
        return known
    document = read_document(location, root)
    if "refspace" not in (attributes := document["attributes"]):
        return None
    _check_metadata(location, attributes["refspace"])
    check_digest(location, document)
    proven = ProvenRoot(document, ome.LabelStructures.from_label(attributes))
    PROVEN_ROOTS.put(root, proven)
    return proven


def _open_own(location: Location, proven: ProvenRoot, orientation: str | None) -> StoredAtlas:
    """Open a store of refspace, whose metadata are proven."""
    attributes = proven.document["attributes"]
    arrays = arrays_of_store(location, proven.document)
    first, *others = ome.read_multiscales(attributes)
    levels, *beside = (
        tuple(
            _own_level(location, arrays, multiscale, dataset, orientation)
            for dataset in multiscale.datasets
        )
        for multiscale in (first, *others)
    )
    named = {image.name: stored for image, stored in zip(others, beside, strict=True)}
    return StoredAtlas(
        location,
        "0.5",
        levels,
        named.get("template", ()),
        named.get("hemispheres", ()),
        proven.structures,
        attributes["refspace"],
        arrays,
    )


def _own_level(
    location: Location,
    arrays: Mapping[str, StoredArray],
    multiscale: ome.Multiscale,
    dataset: ome.Dataset,
    orientation: str | None,
) -> StoredLevel:
    path = dataset.path
    if path not in arrays:
        raise FormatError(f"{location.url}: there is no {path}; {REPAIR}")
    grid, _ = ome.dataset_grid(multiscale, dataset, arrays[path].shape, orientation=orientation)
    return StoredLevel(path, grid, arrays[path])


def _check_metadata(location: Location, metadata: Any) -> None:
    if not isinstance(metadata, dict) or metadata.get("complete") is not True:
        raise StoreError(
            f"{location.url} is not complete: the run that wrote it was interrupted; run the same "
            "again to go on with it. What xarray saved of a DataTree opens with "
            "xarray.open_datatree and ReferenceSpace.from_datatree"
        )
    if metadata.get("kind") == MASKS:
        raise FormatError(
            f"{location.url} holds masks, and no annotation: open it with refspace.open_masks"
        )
    check_format(location, metadata)
    arrays = metadata.get("arrays")
    digests = arrays.values() if isinstance(arrays, dict) else ()
    mappings = [metadata.get("provenance"), metadata.get("objects"), arrays, *digests]
    if not all(isinstance(value, dict) for value in mappings):
        raise FormatError(f"{location.url}: its provenance or digests are none; {REPAIR}")
    midline = metadata.get("midline", 0.0)
    if type(midline) not in (int, float) or not math.isfinite(midline):
        raise FormatError(f"{location.url}: its midline is {midline!r}, no position; {REPAIR}")
