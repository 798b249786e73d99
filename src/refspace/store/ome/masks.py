"""Masks of many structures as an image of many channels."""

from collections.abc import Mapping, Sequence
from typing import Any

from refspace.grid import Grid
from refspace.store.ome.labels import axes_metadata, transformations
from refspace.structure_tree.colors import node_color


def mask_attributes(path: str, grid: Grid, nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metadata of masks as an OME-Zarr 0.5 image: the value of the key ``ome``.

    Parameters
    ----------
    path
        Path of the array, over structures and the axes of the grid.
    grid
        Where the voxels are.
    nodes
        The structure of each mask, as `StructureTree.nodes` gives them. ``omero``, which viewers
        read, calls each channel by its acronym and paints it in its colour.

    Returns
    -------
    dict
        Plain JSON values.

    Examples
    --------
    >>> node = {"id": 385, "acronym": "VISp", "rgb_triplet": [8, 133, 140]}
    >>> ome = mask_attributes("s0/mask", Grid((4, 4, 4), (25, 25, 25)), [node])
    >>> [axis["name"] for axis in ome["multiscales"][0]["axes"]]
    ['structure', 'ap', 'dv', 'ml']
    >>> ome["omero"]["channels"][0]["color"]
    '08858C'
    """
    scale, translation = transformations(grid)
    image = {
        "name": "masks",
        "type": "none",
        "metadata": {"description": "1 inside the structure of the channel, 0 outside; one level"},
        "axes": [{"name": "structure", "type": "channel"}, *axes_metadata(grid)],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, *scale["scale"]]},
                    {"type": "translation", "translation": [0.0, *translation["translation"]]},
                ],
            }
        ],
    }
    # Viewers show a few at first: hundreds at once would be one blur.
    channels = [_channel(node, active=i < 3) for i, node in enumerate(nodes)]
    return {"version": "0.5", "multiscales": [image], "omero": {"channels": channels}}


def _channel(node: Mapping[str, Any], *, active: bool) -> dict[str, Any]:
    red, green, blue = node_color(node)
    return {
        "label": str(node.get("acronym") or node["id"]),
        "color": f"{red:02X}{green:02X}{blue:02X}",
        "window": {"min": 0, "max": 1, "start": 0, "end": 1},
        "active": active,
    }
