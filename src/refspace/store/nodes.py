"""Groups and arrays of zarr stores, as their metadata describe them: read, and checked before use.

zarr makes a codec of whatever metadata name, and xarray decodes every coordinate of a group. Here
metadata are JSON until an array is asked for; then what may be decoded is looked at first, and only
then does zarr see it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zarr
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata
from zarr.errors import ZarrUserWarning

from refspace.errors import FormatError
from refspace.signatures import kind_of_content
from refspace.store.codecs import array_decoder
from refspace.store.described_array import described_array
from refspace.store.digests import json_digest
from refspace.store.location import Location
from refspace.store.zarr_files import NODE_FILES, ZARR_JSON, ZARRAY, ZATTRS, ZGROUP, ZMETADATA
from refspace.warning_filters import warnings_filtered

# Where xarray keeps the names of dims in zarr v2.
_DIMENSIONS = "_ARRAY_DIMENSIONS"
# Members of the metadata of an array that say nothing of its chunks.
_DESCRIBING = ("attributes", "dimension_names", "consolidated_metadata")
_FILES_V2 = (ZARRAY, ZGROUP, ZATTRS)


@dataclass(frozen=True)
class Node:
    """A group or an array.

    Parameters
    ----------
    location
        The store.
    path
        Its path in the store; empty for the root.
    zarr_format
        2 or 3.
    attributes
        Its attributes.
    document
        Metadata of an array as JSON; None for a group.
    members
        Nodes below, where the metadata of the group hold theirs.
    """

    location: Location
    path: str
    zarr_format: int
    attributes: Mapping[str, Any]
    document: Mapping[str, Any] | None = None
    members: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def is_array(self) -> bool:
        """Whether it is an array, and no group."""
        return self.document is not None

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dims of an array, as xarray writes them; none if it does not name them."""
        document = self.document or {}
        if self.zarr_format == 3:
            names = document.get("dimension_names")
        else:
            names = self.attributes.get(_DIMENSIONS)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return ()
        return tuple(names)

    @property
    def metadata_digest(self) -> str:
        """Digest of what says how an array's chunks are called and decoded, as it is written.

        Attributes and names of dims may change, and the voxels are the same.
        """
        document = dict(self.document or {})
        own = {key: value for key, value in document.items() if key not in _DESCRIBING and value}
        return json_digest([self.zarr_format, own])

    def array(self, *, texts: bool = False) -> "zarr.Array[Any]":
        """The array, as zarr knows it; nothing of it is decoded yet.

        Parameters
        ----------
        texts
            Whether it may hold texts, which are decoded as such and as nothing else.

        Raises
        ------
        FormatError
            If it is of another kind than integers, floats and booleans, or uses codecs that are not
            allowed, or its metadata are damaged.
        """
        try:
            return self._array(texts)
        except Exception as error:  # whatever zarr finds wrong with metadata
            reason = error if isinstance(error, FormatError) else f"cannot be opened: {error!r}"
            raise FormatError(f"{self.location.url}: {self._named}: {reason}") from error

    @property
    def _named(self) -> str:
        return self.path or "the array"

    def _array(self, texts: bool) -> "zarr.Array[Any]":
        document = dict(self.document or {})
        array_decoder(document, texts=texts)
        # That zarr 3 does not specify a codec of numcodecs, or that a list is empty.
        with warnings_filtered("ignore", ZarrUserWarning):
            if self.zarr_format == 3:
                metadata: Any = ArrayV3Metadata.from_dict(document)
            else:
                metadata = ArrayV2Metadata.from_dict(
                    {**document, "attributes": dict(self.attributes)}
                )
        return described_array(metadata, self.path)

    def array_at(self, path: str) -> "Node":
        """Array below a group.

        Raises
        ------
        FormatError
            If there is none, or its metadata are damaged.
        """
        (node,) = self.arrays_at([path])
        return node

    def arrays_at(self, paths: Sequence[str]) -> list["Node"]:
        """Arrays below a group, whose metadata are requested at the same time."""
        nodes = self.nodes_at(paths)
        for path, node in zip(paths, nodes, strict=True):
            if node is None:
                raise FormatError(f"{self.location.url}: there is no array {path!r}")
            if not node.is_array:
                raise FormatError(f"{self.location.url}: {path} is a group, and no array")
        return [node for node in nodes if node is not None]

    def nodes_at(self, paths: Sequence[str]) -> list["Node | None"]:
        """Nodes below a group, of its format; None where there is none."""
        if self.members is not None:
            return [
                self._node(path, self.members[path]) if path in self.members else None
                for path in paths
            ]
        files = (ZARR_JSON,) if self.zarr_format == 3 else _FILES_V2
        full = [f"{self.path}/{path}".lstrip("/") for path in paths]
        contents = self.location.read_all([f"{path}/{name}" for path in full for name in files])
        return [node_from_files(self.location, path, contents) for path in full]

    def _node(self, path: str, document: Any) -> "Node":
        return _node_v3(self.location, f"{self.path}/{path}".lstrip("/"), document)


def read_node(location: Location, root: bytes | None = None) -> Node | None:
    """Node at the root of a store; None if there is none.

    Parameters
    ----------
    location
        The store.
    root
        Content of its ``zarr.json``, where it was read before.

    Raises
    ------
    FormatError
        If its metadata are damaged.
    StoreError, RemoteError
        If they cannot be read.
    """
    root = location.read(ZARR_JSON) if root is None else root
    contents = location.read_all(_FILES_V2) if root is None else {ZARR_JSON: root}
    return node_from_files(location, "", contents)


def node_from_files(
    location: Location, path: str, contents: Mapping[str, bytes | None]
) -> Node | None:
    """Node at a path, from the contents of its files; None if there are none.

    Raises
    ------
    FormatError
        If its metadata are damaged.
    """
    prefix = f"{path}/" if path else ""
    there = {
        name: parse_json(location, prefix + name, data)
        for name in (*NODE_FILES, ZATTRS)
        if (data := contents.get(prefix + name)) is not None
    }
    if ZARR_JSON in there:
        return _node_v3(location, path, there[ZARR_JSON])
    if not there.keys() & {ZARRAY, ZGROUP}:
        return None
    key = ZARRAY if ZARRAY in there else ZGROUP
    document = _object(location, prefix + key, there[key])
    if document.get("zarr_format") != 2:
        raise FormatError(f"{location.url}: {prefix + key} is not of zarr 2; correct it")
    attributes = _object(location, prefix + ZATTRS, there.get(ZATTRS, {}))
    return Node(location, path, 2, attributes, document if key == ZARRAY else None)


def _node_v3(location: Location, path: str, content: Any) -> Node:
    key = f"{path}/{ZARR_JSON}".lstrip("/")
    document = _object(location, key, content)
    kind = document.get("node_type")
    if document.get("zarr_format") != 3 or kind not in ("array", "group"):
        raise FormatError(f"{location.url}: {key} is not the metadata of a zarr node; correct it")
    attributes = _object(location, f"attributes of {key}", document.get("attributes", {}))
    if kind == "array":
        return Node(location, path, 3, attributes, document)
    consolidated = document.get("consolidated_metadata")
    if consolidated is None:
        return Node(location, path, 3, attributes)
    what = f"consolidated metadata of {key}"
    members = _object(location, what, _object(location, what, consolidated).get("metadata"))
    return Node(location, path, 3, attributes, members=members)


def _object(location: Location, what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{location.url}: {what} is no JSON object; correct it")
    return value


def parse_json(location: Location, key: str, data: bytes) -> Any:
    """Value of a JSON file of a store.

    Raises
    ------
    FormatError
        If it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        kind = kind_of_content(data) or error
        raise FormatError(f"{location.url}: {key} is no JSON ({kind}); correct it") from error


def members_of(group: Node) -> dict[str, Node]:
    """Arrays directly below a group, by name.

    Raises
    ------
    FormatError
        If the metadata of one are damaged, or the store is on another machine and its root does not
        say what is in it.
    """
    names = _member_names(group)
    nodes = dict(zip(names, group.nodes_at(names), strict=True))
    return {name: node for name, node in nodes.items() if node is not None and node.is_array}


def _member_names(group: Node) -> list[str]:
    if group.members is not None:
        return [name for name in group.members if "/" not in name]
    location = group.location
    if group.zarr_format == 2 and (data := location.read(ZMETADATA)) is not None:
        metadata = _object(location, ZMETADATA, parse_json(location, ZMETADATA, data))
        keys = _object(location, f"metadata in {ZMETADATA}", metadata.get("metadata"))
        return sorted({name for name, slash, _ in (k.partition("/") for k in keys) if slash})
    if (folder := location.local_path) is None:
        raise FormatError(
            f"{location.url} does not say what is in it, and cannot be listed: consolidate its "
            "metadata, with zarr.consolidate_metadata"
        )
    return sorted(path.name for path in folder.iterdir() if path.is_dir())
