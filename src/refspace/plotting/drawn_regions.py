"""Regions of planes as they are drawn: a code for each pixel, colours and names of the codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refspace import kernels
from refspace.plotting.planes import Plane
from refspace.structure_tree import Regions, StructureTree
from refspace.types import BACKGROUND
from refspace.verbs.slices import MAGENTA

# Colours of regions that have none of their own, which all eyes tell apart (Okabe and Ito).
_PALETTE = ("E69F00", "56B4E9", "009E73", "F0E442", "0072B2", "D55E00", "CC79A7", "999999")


@dataclass(frozen=True, eq=False)
class DrawnRegions:
    """What each label is drawn as.

    Parameters
    ----------
    labels
        Labels, sorted.
    codes
        Code of each label, from 1; of any other label it is 0, which is not drawn.
    colors
        Red, green and blue of each code, uint8; shape (codes + 1, 3).
    names
        Name of each code, empty where it has none.
    """

    labels: NDArray[np.int64]
    codes: NDArray[np.int64]
    colors: NDArray[np.uint8]
    names: Mapping[int, str]

    @classmethod
    def of_labels(cls, tree: StructureTree, planes: Sequence[Plane]) -> "DrawnRegions":
        """Each label of some planes for itself, in the colour of the ontology."""
        present = np.unique(np.concatenate([np.unique(plane.labels) for plane in planes]))
        labels = present[present != BACKGROUND].astype(np.int64)
        colormap, ids = tree.get_colormap(), labels.tolist()
        colors = [(0, 0, 0), *(colormap.get(i, MAGENTA) for i in ids)]
        called = names_of(tree, labels)
        names = {code: called.get(i, "") for code, i in enumerate(ids, 1)}
        codes = np.arange(1, labels.size + 1)
        return cls(labels, codes, np.array(colors, np.uint8), names)

    @classmethod
    def of_regions(cls, tree: StructureTree, regions: Regions) -> "DrawnRegions":
        """Regions, each as a whole: in the colour of its structure, or one of a palette."""
        nearest = {i: r + 1 for i, r in regions.nearest_region.items() if i != BACKGROUND}
        labels = np.array(sorted(nearest), np.int64)
        codes = np.array([nearest[i] for i in labels.tolist()], np.int64)
        if regions.acronyms:
            colormap = tree.get_colormap()
            colors = [colormap[int(label)] for label in regions.labels]
            names = [a or n for a, n in zip(regions.acronyms, regions.names, strict=True)]
        else:
            palette = [StructureTree.hex_to_rgb(color) for color in _PALETTE]
            colors = [palette[i % len(palette)] for i in range(len(regions))]
            names = [str(label) for label in regions.labels]
        table = np.array([(0, 0, 0), *colors], np.uint8)
        return cls(labels, codes, table, dict(enumerate(names, 1)))

    def codes_of(self, plane: Plane) -> NDArray[np.int64]:
        """Code of each pixel of a plane."""
        found = kernels.find(np.asarray(plane.labels).astype(np.int64), self.labels)
        return np.append(self.codes, 0)[found]

    def image(self, codes: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Picture of codes: red, green, blue and opacity, 0 where nothing is drawn."""
        opacity = np.where(codes > 0, 255, 0).astype(np.uint8)
        return np.concatenate((self.colors[codes], opacity[..., None]), axis=-1)


def names_of(tree: StructureTree, labels: NDArray[np.integer]) -> dict[int, str]:
    """Acronyms of the structures among some labels; their names where they have none."""
    ids = [i for i in np.unique(labels).tolist() if i != BACKGROUND and i in tree]
    return {
        node["id"]: str(node.get("acronym") or node.get("name") or "") for node in tree.nodes(ids)
    }
