"""Arrays of a store of ours, each with what proves it, from the metadata of its root."""

import functools
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from zarr.core.metadata import ArrayV3Metadata

from refspace.errors import FormatError, RefspaceError
from refspace.signatures import kind_of_content
from refspace.store.codecs import array_decoder
from refspace.store.described_array import described_array
from refspace.store.digests import FORMAT, is_in_root, metadata_digest, records_path
from refspace.store.location import Location
from refspace.store.object_records import KnownRecords, ObjectRecord, Records
from refspace.store.record_table import RecordTable
from refspace.store.stored_array import StoredArray, native_dtype, refuse_huge, root_digest
from refspace.store.zarr_files import ZARR_JSON

REPAIR = "convert it again, or copy it again from where it is whole"
"""What to do about a store that is damaged."""


def read_document(location: Location, data: bytes) -> dict[str, Any]:
    """Metadata of a node, as its JSON says."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        kind = kind_of_content(data) or f"{error}; the store is damaged"
        raise FormatError(f"{location.url}: {ZARR_JSON} is no JSON ({kind}); {REPAIR}") from error
    if not isinstance(document, dict) or document.get("zarr_format") != 3:
        raise FormatError(
            f"{location.url}: {ZARR_JSON} is not the metadata of a zarr node; {REPAIR}"
        )
    attributes = document.setdefault("attributes", {})
    if not isinstance(attributes, dict):
        raise FormatError(
            f"{location.url}: {ZARR_JSON} has attributes that are no mapping; {REPAIR}"
        )
    return document


def check_digest(location: Location, document: Mapping[str, Any]) -> None:
    """Prove that the root's metadata are those that were written."""
    try:
        digest = metadata_digest(document)
    except KeyError as error:
        raise FormatError(f"{location.url}: {ZARR_JSON} has no {error}; {REPAIR}") from error
    stated = document["attributes"]["refspace"].get("metadata_sha256")
    if digest != stated or document.get("node_type") != "group":
        raise FormatError(
            f"{location.url}: {ZARR_JSON} is not what was written: it is damaged, or was changed; "
            f"{REPAIR}"
        )


def check_format(location: Location, metadata: Mapping[str, Any]) -> None:
    """Refuse a store of another format than the one that is read here.

    Raises
    ------
    FormatError
        With what to do about it.
    """
    there = metadata.get("format")
    if there == FORMAT:
        return
    if isinstance(there, int) and there < FORMAT:
        raise FormatError(
            f"{location.url} has format {there}, of an earlier refspace; this one reads {FORMAT}: "
            "write it again from what it was made of"
        )
    raise FormatError(
        f"{location.url} has format {there!r}; this refspace reads {FORMAT}: upgrade refspace"
    )


def arrays_of_store(location: Location, document: Mapping[str, Any]) -> dict[str, StoredArray]:
    """Arrays of a store of ours, by path, from the metadata that its root holds.

    Raises
    ------
    FormatError
        If these are none. What is wrong with those of one array is found when they are needed.
    """
    metadata = document["attributes"]["refspace"]
    with _as_format_errors(location):
        objects = {k: ObjectRecord.from_json(value) for k, value in metadata["objects"].items()}
        nodes = {
            path: node
            for path, node in document["consolidated_metadata"]["metadata"].items()
            if node["node_type"] == "array"
        }
        version = metadata["metadata_sha256"]
    records = _by_array(objects, nodes)
    arrays: dict[str, StoredArray] = {}
    # The name of a table of records is longer than that of the array, so that it comes before it.
    for path in sorted(nodes, key=len, reverse=True):
        table = None if is_in_root(path) else arrays.get(records_path(path))
        proof = records[path] if table is None else table
        arrays[path] = OwnArray(location, path, nodes[path], version, proof)
    return {path: arrays[path] for path in nodes}


def _by_array(
    objects: Mapping[str, ObjectRecord], paths: Collection[str]
) -> dict[str, dict[str, ObjectRecord]]:
    """Records of the objects of each array, by its path and their names."""
    records: dict[str, dict[str, ObjectRecord]] = {path: {} for path in paths}
    for key, record in objects.items():
        path = key.rpartition("/")[0]
        while path and path not in records:
            path = path.rpartition("/")[0]
        if path:
            records[path][key] = record
    return records


@contextmanager
def _as_format_errors(location: Location) -> Iterator[None]:
    """Whatever is found wrong with metadata, as an error of ours."""
    try:
        yield
    except RefspaceError:
        raise
    except Exception as error:  # whatever zarr finds wrong with metadata
        raise FormatError(
            f"{location.url}: {ZARR_JSON} has metadata that is none: {error!r}; {REPAIR}"
        ) from error


class OwnArray(StoredArray):
    """Array of a store of ours, whose metadata are parsed when they are first needed.

    Parameters
    ----------
    location
        The store.
    path
        Path of the array.
    document
        Its metadata as JSON.
    version
        Digest of the root's metadata.
    proof
        The table of the records of its blocks; of a small array, the records of its objects.
    """

    def __init__(
        self,
        location: Location,
        path: str,
        document: Mapping[str, Any],
        version: str,
        proof: "StoredArray | Mapping[str, ObjectRecord]",
    ) -> None:
        self.location = location
        self.version = version
        self._path, self._document, self._proof = path, document, proof

    @property
    def path(self) -> str:
        """Path of the array in the store."""
        return self._path

    @functools.cached_property
    def array(self) -> "zarr.Array[Any]":  # type: ignore[override]
        """The array, as zarr knows it.

        Raises
        ------
        FormatError
            If its metadata are none.
        """
        with _as_format_errors(self.location):
            array = _zarr_array(self._path, self._document)
            in_parts = isinstance(self._proof, StoredArray)
            is_table = in_parts and self._path.startswith("label_index/")
            refuse_huge(self.location, array, is_read_in_parts=is_table)
        return array

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Number of values along each axis."""
        stated = self._document.get("shape")
        # Grids of all levels are made of it, and most of their arrays are never asked for.
        if isinstance(stated, list) and all(type(n) is int and n >= 0 for n in stated):
            return tuple(stated)
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:  # type: ignore[override]
        """Number of axes."""
        return len(self.shape)

    @functools.cached_property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Type of the values."""
        return native_dtype(self.array)

    @functools.cached_property
    def records(self) -> Records:  # type: ignore[override]
        """What proves each of its objects."""
        if isinstance(self._proof, StoredArray):
            sides = zip(self.shape, self.block_shape, strict=True)
            return RecordTable(self._proof, [-(-count // size) for count, size in sides])
        # A small array is one object; an empty one is none.
        block_id = (0,) * self.ndim
        key = self.key(block_id)
        return KnownRecords({block_id: self._proof[key]} if key in self._proof else {})


def _zarr_array(path: str, node: Any) -> "zarr.Array[Any]":
    # Before zarr makes codecs of what metadata name.
    array_decoder(node, texts=True)
    metadata = ArrayV3Metadata.from_dict(node)
    if not isinstance(metadata.attributes, dict):
        raise FormatError(f"the attributes of {path} are no mapping")
    return described_array(metadata, path)


def owner(url: str) -> str | None:
    """URL of the store that a group or an array would lie in if it were a part of one of ours.

    Examples
    --------
    >>> owner("a.zarr/s0/annotation"), owner("s3://bucket/a.zarr/s2"), owner("a.zarr/image")
    ('a.zarr', 's3://bucket/a.zarr', None)
    """
    parts = re.fullmatch(r"(.+?)/+s\d+(/[^/]+)?", url)
    return None if parts is None else parts[1]


def stored_array(location: Location, array: "zarr.Array[Any]") -> StoredArray:
    """Array of any program, or, where it is one of a store of ours, that array with its records.

    Raises
    ------
    FormatError
        If that store is damaged.
    """
    url = "/".join(filter(None, (location.url, array.path)))
    root = None if (root_url := owner(url)) is None else location.with_url(root_url).read(ZARR_JSON)
    if root_url is None or root is None or root_digest(root) is None:
        return StoredArray(location, array)
    whole = location.with_url(root_url)
    document = read_document(whole, root)
    check_format(whole, document["attributes"]["refspace"])
    check_digest(whole, document)
    path = url.removeprefix(root_url).lstrip("/")
    try:
        return arrays_of_store(whole, document)[path]
    except KeyError as error:
        raise FormatError(f"{whole.url} has no array {path}; {REPAIR}") from error
