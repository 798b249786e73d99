"""Metadata of a plain image with its labels, as programs of others expect both.

An image is the root, and its labels are beneath it, at ``labels/annotation``. The axes of both are
called ``z``, ``y`` and ``x``. Where there is no other image, the labels themselves are the image:
readers begin at the root, and some take a label image only from below one.

napari's readers make a column of each property of the labels. Those of napari-ome-zarr from 0.11 on
find the row of a label by the column ``index``, and without one show the names of other labels. In
0.8 to 0.10 the reader adds that column itself, and napari refuses labels that have it already.
Source: ``napari_ome_zarr/ome_zarr_reader.py`` of 0.8.2, 0.10.0 and 0.11.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from refspace.grid import Grid
from refspace.store.ome.labels import image_metadata, plain_value
from refspace.structure_tree.colors import node_color
from refspace.types import BACKGROUND

Version: TypeAlias = Literal["0.4", "0.5"]
Levels: TypeAlias = Sequence[tuple[str, Grid]]

LABELS = "labels"
NAME = "annotation"
AXES = ("z", "y", "x")
_LABEL, _INDEX = "label-value", "index"


def root_attributes(
    version: Version, labels: Levels, image: Levels, image_name: str
) -> dict[str, Any]:
    """Attributes of the root: those of an image.

    Parameters
    ----------
    version
        Version of OME-Zarr.
    labels
        Path, from the root, and grid of each level of the annotation, the finest first.
    image
        The same of the image; empty where there is none.
    image_name
        Name of the image.

    Examples
    --------
    >>> levels = [("labels/annotation/0", Grid((4, 4, 4), (25, 25, 25), orientation="SPL"))]
    >>> image = root_attributes("0.5", levels, [], "template")["ome"]["multiscales"][0]
    >>> image["name"], [axis["name"] for axis in image["axes"]], image["datasets"][0]["path"]
    ('annotation', ['z', 'y', 'x'], 'labels/annotation/0')
    """
    if image:
        entry = image_metadata(image_name, image, method="mean", axis_names=AXES)
    else:
        entry = image_metadata(NAME, labels, axis_names=AXES)
    return _attributes(version, {"multiscales": [_versioned(version, entry)]})


def group_attributes(version: Version) -> dict[str, Any]:
    """Attributes of the group that holds the labels of an image.

    Examples
    --------
    >>> group_attributes("0.5")
    {'ome': {'version': '0.5', 'labels': ['annotation']}}
    >>> group_attributes("0.4")
    {'labels': ['annotation']}
    """
    return _attributes(version, {"labels": [NAME]})


def label_group_attributes(
    version: Version, levels: Levels, nodes: Sequence[Mapping[str, Any]], *, with_index: bool
) -> dict[str, Any]:
    """Attributes of the label image.

    Parameters
    ----------
    version
        Version of OME-Zarr.
    levels
        Path, from the label image, and grid of each level, the finest first.
    nodes
        Structures as `StructureTree.nodes` gives them.
    with_index
        Whether each structure has its id as the property ``index`` too.

    Raises
    ------
    OntologyError
        If a field of a structure is nothing that JSON carries as it is.

    Examples
    --------
    >>> nodes = [{"id": 8, "name": "grey", "rgb_triplet": [1, 2, 3], "structure_id_path": [8]}]
    >>> levels = [("0", Grid((4, 4, 4), (25, 25, 25), orientation="SPL"))]
    >>> label_group_attributes("0.5", levels, nodes, with_index=True)["ome"]["image-label"]
    {'version': '0.5', 'colors': [{'label-value': 8, 'rgba': [1, 2, 3, 255]}], 'properties': [{'label-value': 8, 'index': 8, 'acronym': None, 'name': 'grey', 'parent_structure_id': None}], 'source': {'image': '../../'}}
    """  # noqa: E501
    label = {
        "version": version,
        "colors": [_color(node) for node in nodes],
        "properties": [_property(node, with_index) for node in nodes],
        "source": {"image": "../../"},
    }
    if not nodes:
        del label["colors"], label["properties"]
    entry = _versioned(version, image_metadata(NAME, levels, axis_names=AXES))
    return _attributes(version, {"multiscales": [entry], "image-label": label})


def _attributes(version: Version, content: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a group: from 0.5 on under a key of their own."""
    if version == "0.4":
        return dict(content)
    return {"ome": {"version": version, **content}}


def _versioned(version: Version, entry: dict[str, Any]) -> dict[str, Any]:
    """Image that says its version, as in 0.4 each does."""
    return {"version": version, **entry} if version == "0.4" else entry


def _color(node: Mapping[str, Any]) -> dict[str, Any]:
    # Every label has one: some readers know no colour that is missing. Outside is transparent.
    alpha = 0 if node["id"] == BACKGROUND else 255
    return {_LABEL: node["id"], "rgba": [*node_color(node), alpha]}


def _property(node: Mapping[str, Any], with_index: bool) -> dict[str, Any]:
    """Single values alone, the same ones of every structure."""
    path = node["structure_id_path"]
    values = {
        "acronym": node.get("acronym"),
        "name": node.get("name"),
        "parent_structure_id": path[-2] if len(path) > 1 else None,
    }
    kept = {
        name: plain_value(value, f"structure {node['id']} has {name} {value!r}")
        for name, value in values.items()
    }
    return {_LABEL: node["id"], **({_INDEX: node["id"]} if with_index else {}), **kept}
