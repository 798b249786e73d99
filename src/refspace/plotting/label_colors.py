"""Colours of labels as a colour map and a norm, exact for each of many ids."""

from typing import Any

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba

from refspace.structure_tree import StructureTree
from refspace.types import BACKGROUND
from refspace.verbs.slices import BLACK, MAGENTA


def label_colors(tree: StructureTree, background: str | None = None) -> dict[str, Any]:
    """Colour map and norm of labels; see `SpacePlots.colors`."""
    colormap = {**tree.get_colormap(), BACKGROUND: BLACK}
    ids = np.array(sorted(colormap), np.float64)
    rgb = np.array([(*colormap[int(i)], 255) for i in ids], np.float64) / 255
    if background is not None:
        rgb[0] = to_rgba(background)
    unknown = np.array([(*MAGENTA, 255)], np.float64) / 255
    # An interval of one id, and one up to the next id, of labels that the tree does not know. That
    # is empty where the next id follows: the boundaries are then one.
    edges = np.stack((ids - 0.5, ids + 0.5), axis=1).ravel()
    colors = np.stack((rgb, np.broadcast_to(unknown, rgb.shape)), axis=1).reshape(-1, 4)
    is_empty = np.append(edges[1:] == edges[:-1], True)
    edges, colors = edges[np.append(True, edges[1:] != edges[:-1])], colors[~is_empty]
    cmap = ListedColormap([*colors], name="structures").with_extremes(
        bad=unknown[0], under=unknown[0], over=unknown[0]
    )
    return {"cmap": cmap, "norm": BoundaryNorm(edges, len(colors)), "add_colorbar": False}
