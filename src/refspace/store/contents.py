"""What is in a group of zarr that is no image itself, and which of it to open."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from refspace.errors import FormatError
from refspace.store.location import Location
from refspace.store.nodes import Node, parse_json, read_node
from refspace.store.ome.collections import field_paths, is_fileset, series_paths, well_paths
from refspace.store.ome.images import label_names
from refspace.store.ome.values import ome_metadata
from refspace.store.zarr_files import NODE_FILES, ZARR_JSON, ZARRAY, ZATTRS, ZMETADATA

# Most that a message names.
_MOST_NAMED = 6
_LONGEST_NAME = 80
# Most folders that are looked at, and how deep, to say what is in a store without a list.
_MOST_FOLDERS = 300
_DEEPEST = 3
# Groups of this name beside images hold texts and no image.
_OME = "OME"


def only_image(location: Location, group: Node) -> tuple[Location, Node]:
    """The one image of a plate, a well or a fileset; any other group as it is.

    Raises
    ------
    FormatError
        If there are several images, or none; the message names those that there are.
    StoreError, RemoteError
        If they cannot be read.
    """
    # A fileset may be a plate, and a plate holds wells.
    for _ in range(_DEEPEST):
        what, paths, count = _images_of(group)
        if what is None:
            return location, group
        if not paths:
            raise FormatError(f"{location.url} is {what}, but it holds no image; write it again")
        if count > 1:
            raise FormatError(
                f"{location.url} is {what}: open one image of it, like "
                f"{_listed(location, paths, count)}"
            )
        location.refuse_links(paths[0])
        location = location.with_url(f"{location.url}/{paths[0]}")
        node = read_node(location)
        if node is None:
            raise FormatError(f"{location.url} is named as an image, but there is none")
        group = node
    return location, group


def _images_of(group: Node) -> tuple[str | None, list[str], int]:
    """What a group of images is, the paths of the first, and at least how many there are."""
    attributes = group.attributes
    if wells := well_paths(attributes):
        return _images_of_plate(group, wells)
    if fields := field_paths(attributes):
        return f"a well of {len(fields)} fields", fields[:_MOST_NAMED], len(fields)
    if "multiscales" in ome_metadata(attributes) or not is_fileset(attributes):
        return None, [], 0
    series = _series(group)
    return "a fileset of bioformats2raw", series[:_MOST_NAMED], len(series)


def _images_of_plate(group: Node, wells: Sequence[str]) -> tuple[str, list[str], int]:
    first = wells[:_MOST_NAMED]
    paths: list[str] = []
    for well, node in zip(first, group.nodes_at(first), strict=True):
        fields = [] if node is None else field_paths(node.attributes)
        paths += [f"{well}/{field}" for field in fields]
    # Of wells that were not looked at, each has an image.
    count = len(paths) + len(wells) - len(first)
    return f"a plate of {len(wells)} wells", paths[:_MOST_NAMED], count


def _series(group: Node) -> list[str]:
    """Paths of the images of a fileset: those that it lists, else 0, 1 and so on."""
    (listed,) = group.nodes_at([_OME])
    if listed is not None and (paths := series_paths(listed.attributes)):
        return paths
    numbers = [str(number) for number in range(_MOST_NAMED + 1)]
    nodes = group.nodes_at(numbers)
    return [number for number, node in zip(numbers, nodes, strict=True) if node is not None]


# ----- for messages


def named_inside(location: Location, group: Node) -> str:
    """End of a message: what is in a group, by the URLs to open it; empty if that is not known.

    Looked up for a message alone, and not far: a few folders, or what the metadata list.
    """
    images, labels, arrays = [], [], []
    for path, attributes in _inside(location, group):
        if attributes is None:
            arrays.append(path)
        elif "image-label" in attributes or "/labels/" in f"/{path}":
            labels.append(path)
        else:
            images.append(path)
    images_in = tuple(f"{path}/" for path in (*images, *labels))
    arrays = [path for path in arrays if not path.startswith(images_in)]
    kinds = {"the label image": labels, "the image": images, "the array": arrays}
    parts = [
        f"{kind}{'s' if len(paths) > 1 else ''} {_listed(location, paths, len(paths))}"
        for kind, paths in kinds.items()
        if paths
    ]
    return f"; it holds {' and '.join(parts)}: open one of these" if parts else ""


def _listed(location: Location, paths: Sequence[str], count: int) -> str:
    named = [f"{location.url}/{_short(path)}" for path in paths[:_MOST_NAMED]]
    return ", ".join(named) + (" and others" if count > len(named) else "")


def _short(path: str) -> str:
    return path if len(path) <= _LONGEST_NAME else f"{path[:_LONGEST_NAME]}…"


def _inside(location: Location, group: Node) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """Paths of images, with OME-Zarr's part of their attributes, and of arrays, with None."""
    labels = _label_paths(group)
    yield from ((name, {"image-label": {}}) for name in labels)
    for path, is_array, attributes in _nodes(location, group):
        content = attributes.get("ome", attributes)
        if is_array:
            yield path, None
        elif path not in labels and isinstance(content, dict) and "multiscales" in content:
            yield path, content


def _label_paths(group: Node) -> list[str]:
    """Paths of the label images that a group, or the one of its name below, lists."""
    if names := label_names(group.attributes):
        return names
    (labels,) = group.nodes_at(["labels"])
    below = [] if labels is None else label_names(labels.attributes)
    return [f"labels/{name}" for name in below]


def _nodes(location: Location, group: Node) -> Iterator[tuple[str, bool, Mapping[str, Any]]]:
    """Path of each node of a group, whether it is an array, and its attributes."""
    if group.members is not None:
        documents: Mapping[str, Any] = group.members
    elif (folder := location.local_path) is not None:
        documents = dict(_documents_in(location, folder))
    elif group.zarr_format == 2 and (data := location.read(ZMETADATA)) is not None:
        documents = _consolidated_v2(parse_json(location, ZMETADATA, data))
    else:
        documents = {}
    for path, document in sorted(documents.items()):
        if isinstance(document, dict):
            attributes = document.get("attributes", {})
            is_array = document.get("node_type") == "array"
            yield path, is_array, attributes if isinstance(attributes, dict) else {}


def _documents_in(location: Location, folder: Path) -> Iterator[tuple[str, Any]]:
    """Metadata of the nodes in a folder of this machine, in the form of zarr v3."""
    for path in folders_of_zarr(folder):
        name = path.relative_to(folder).as_posix()
        try:
            document = _document(location, name, path)
        except FormatError:
            continue
        yield name, document


def _document(location: Location, name: str, path: Path) -> Any:
    def read(file: str) -> Any:
        data = location.read(f"{name}/{file}")
        return None if data is None else parse_json(location, f"{name}/{file}", data)

    if (document := read(ZARR_JSON)) is not None:
        return document
    kind = "array" if (path / ZARRAY).is_file() else "group"
    return {"node_type": kind, "attributes": read(ZATTRS) or {}}


def folders_of_zarr(folder: Path) -> list[Path]:
    """Groups and arrays below a folder of this machine, as far as is looked; arrays end the way."""
    found: list[Path] = []
    seen, level = 0, [folder]
    for _ in range(_DEEPEST):
        below: list[Path] = []
        for each in level:
            for path in _subfolders(each):
                seen += 1
                if seen > _MOST_FOLDERS:
                    return found
                if any((path / name).is_file() for name in NODE_FILES):
                    found.append(path)
                below.append(path)
        level = [path for path in below if not _is_array(path)]
    return found


def _subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, no links, in the order of their names."""
    try:
        with os.scandir(folder) as entries:
            named = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(named)]


def _is_array(path: Path) -> bool:
    return (path / ZARRAY).is_file() or (path / "c").is_dir()


def _consolidated_v2(content: Any) -> dict[str, Any]:
    """Nodes that consolidated metadata of zarr v2 list, in the form of zarr v3."""
    keys = content.get("metadata") if isinstance(content, dict) else None
    documents: dict[str, Any] = {}
    for key, value in keys.items() if isinstance(keys, dict) else ():
        path, _, name = key.rpartition("/")
        if path and name == ZARRAY:
            documents.setdefault(path, {})["node_type"] = "array"
        elif path and name == ZATTRS:
            documents.setdefault(path, {})["attributes"] = value
    return documents
