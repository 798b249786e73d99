"""Arrays of a store of ours, each with what proves it, from the metadata of its root."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import zarr
from zarr.core.metadata import ArrayV3Metadata

from refspace.errors import FormatError, RefspaceError
from refspace.signatures import kind_of_content
from refspace.store.codecs import array_decoder
from refspace.store.described_array import described_array
from refspace.store.digests import FORMAT, metadata_digest, records_path
from refspace.store.location import Location
from refspace.store.object_records import KnownRecords, ObjectRecord, Records
from refspace.store.record_table import RecordTable
from refspace.store.stored_array import StoredArray, root_digest
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
        If these are none.
    """
    metadata = document["attributes"]["refspace"]
    try:
        objects = {k: ObjectRecord.from_json(value) for k, value in metadata["objects"].items()}
        opened = {
            path: _zarr_array(path, node)
            for path, node in document["consolidated_metadata"]["metadata"].items()
            if node["node_type"] == "array"
        }
        # The tables of records are among the small arrays, whose records are in the root.
        return _Arrays(location, metadata["metadata_sha256"], opened, objects).all()
    except RefspaceError:
        raise
    except Exception as error:  # whatever zarr finds wrong with metadata
        raise FormatError(
            f"{location.url}: {ZARR_JSON} has metadata that is none: {error!r}; {REPAIR}"
        ) from error


@dataclass(frozen=True)
class _Arrays:
    """Arrays of a store of ours, and what proves them.

    Parameters
    ----------
    location
        The store.
    version
        Digest of its root metadata.
    opened
        The arrays by path, as zarr knows them.
    objects
        Record of every small object, by its name.
    """

    location: Location
    version: str
    opened: Mapping[str, "zarr.Array[Any]"]
    objects: Mapping[str, ObjectRecord]

    def all(self) -> dict[str, StoredArray]:
        """The arrays by path."""
        return {path: self._stored(path) for path in self.opened}

    def _stored(self, path: str) -> StoredArray:
        array = self.opened[path]
        return StoredArray(
            self.location, array, records=self._records(path, array), version=self.version
        )

    def _records(self, path: str, array: "zarr.Array[Any]") -> Records:
        if (table := records_path(path)) in self.opened:
            sides = zip(array.shape, array.shards or array.chunks, strict=True)
            return RecordTable(self._stored(table), [-(-count // size) for count, size in sides])
        # A small array is one object; an empty one is none.
        block_id = (0,) * array.ndim
        key = f"{path}/{array.metadata.encode_chunk_key(block_id)}"
        return KnownRecords({block_id: self.objects[key]} if key in self.objects else {})


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
