"""The forebrain of the phantom: olfactory bulb, cerebrum, hippocampus, thalamus, hypothalamus."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from refspace.samples.ontology import STRUCTURE_ID
from refspace.samples.parcels import CORTEX, FOREBRAIN, HYPOTHALAMUS, THALAMUS
from refspace.samples.shapes import (
    Curve,
    clip,
    curves,
    diamond_angle,
    smooth_max,
    smooth_min,
    square,
    surface_depth,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from refspace.samples.canvas import Mask, Slab
    from refspace.samples.shapes import Floats

# Half a coronal section of the cerebrum, station by station: it is widest at the height `widest`;
# its floor is lowest at the distance `lowest` from the midline and rises by `rise` towards it.
_OUTLINE = curves(
    (1900, 2750, 3500, 4250, 5000, 5750, 6500, 7250, 8000, 8750, 9500, 10250),
    width=(2500, 3000, 3650, 4150, 4600, 4900, 5120, 5250, 5250, 5150, 5000, 4900),
    top=(1750, 1450, 1150, 900, 720, 560, 420, 330, 300, 320, 480, 800),
    widest=(2900, 3200, 3600, 3750, 3850, 3900, 3950, 4000, 4000, 3900, 3600, 3300),
    bottom=(4200, 5000, 6600, 7200, 7350, 7350, 7450, 7500, 7250, 6800, 6200, 5500),
    lowest=(900, 900, 1000, 1800, 2400, 3000, 3400, 3500, 3450, 3400, 3400, 3500),
    rise=(600, 700, 800, 900, 900, 2000, 3200, 3500, 3500, 3500, 3000, 2600),
)
_FRONTAL_POLE, _OCCIPITAL_POLE = (3300.0, 1400.0), (9400.0, 1350.0)  # where it starts, how long
# Height of the floor of the fissure between the hemispheres, where the corpus callosum begins.
_FISSURE = Curve(
    (
        (3300, 8000),
        (3600, 6000),
        (3850, 3900),
        (4250, 3250),
        (5000, 2750),
        (5750, 2350),
        (6500, 1950),
        (7250, 1650),
        (8000, 1450),
        (8750, 1500),
        (9500, 1800),
    )
)
# Distance of the medial wall from the midline: the hemispheres part behind and show the colliculi.
_WALL = Curve(((7800, 30), (8750, 250), (9500, 1150), (10250, 2500), (10700, 3200)))
_PARTED = 8400.0  # behind, nothing joins them below the fissure either

# Thickness of the cortex and of the white matter below it, by diamond angle.
_GREY = Curve(
    ((-1, 850), (-0.4, 900), (0, 1000), (1.1, 1050), (1.3, 850), (1.5, 650), (2, 550), (3, 850))
)
_WHITE = Curve(
    (
        (-1, 150),
        (-0.3, 270),
        (0.6, 220),
        (1, 130),
        (1.3, 90),
        (1.5, 40),
        (1.7, 0),
        (2.4, 0),
        (3, 150),
    )
)
_LAYERS = ("1", "2/3", "4", "5", "6a", "6b")
_ENTORHINAL_LAYERS = ("1", "2", "3", "5", "6a", "6a")
_LAYER_ENDS = (0.13, 0.38, 0.50, 0.76, 0.94)  # of the thickness

# The flattened cortex is drawn once, with cells of 20 µm by 1/200 of a quadrant.
_AP_CELL, _ANGLE_CELLS = 20.0, 200.0
_FLAT_SHAPE = (660, 800)


def olfactory_bulb(slab: Slab) -> None:
    """Nested layers, and the anterior olfactory nucleus behind them."""
    depth = slab.depth((1400.0, 4350.0, 780.0), (1200.0, 1900.0, 740.0), squareness=0.35)
    shells = (
        ("In", 0),
        ("MOBgl", 80),
        ("MOBopl", 190),
        ("MOBmi", 300),
        ("MOBipl", 380),
        ("MOBgr", 440),
    )
    slab.paint_shells(depth, shells, depth > 0)
    nucleus = slab.depth((2800.0, 5000.0, 1050.0), (1100.0, 1250.0, 900.0))
    slab.paint("AON", nucleus > 0)


def cerebrum(slab: Slab) -> None:
    """Cortex as layered sheets below the surface, white matter, and what it wraps."""
    depth = _depth(slab)
    united = (depth.fissure > 0) & (slab.ap < _PARTED)
    inside = (depth.outer > 0) & ((depth.wall > 0) | united)
    if not inside.any():
        return
    areas, grey, white = _flat_map()
    angle = _angle_cell(slab)
    frontal = 1.0 + 0.6 * clip((3700.0 - slab.ap) / 1000.0, 0.0, 1.0)  # the pole is all cortex
    thickness = grey[angle] * frontal
    core = _below_cortex(depth, thickness)
    area = areas[np.broadcast_to(_ap_cell(slab), angle.shape), angle]
    slab.paint_labels(_layer_labels()[area, _layer(1.0 + core / thickness)], inside)

    deep = inside & (core > 0)
    below_white = core - white[angle]
    slab.paint_parcels(FOREBRAIN, deep)
    _hippocampus(slab, below_white, deep)
    _white_matter(slab, deep & (below_white < 0))
    slab.paint("fa", deep & (slab.ap < 3500.0))


class _Depth(NamedTuple):
    """Depths in µm below the outer surface, below it or the medial wall, below the fissure."""

    outer: Floats
    wall: Floats
    fissure: Floats


def _depth(slab: Slab) -> _Depth:
    at = {name: curve(slab.ap) for name, curve in _OUTLINE.items()}
    front, back = _FRONTAL_POLE[0] - slab.ap, slab.ap - _OCCIPITAL_POLE[0]
    pole = np.maximum(front / _FRONTAL_POLE[1], back / _OCCIPITAL_POLE[1])
    pole = np.maximum(pole, 0.0)
    lowest = at["lowest"] * np.sqrt(np.maximum(1.0 - square(pole), 0.0))

    medial = np.maximum((at["lowest"] - slab.x) / at["lowest"], 0.0)
    floor = at["bottom"] - at["rise"] * square(medial)
    upper = slab.dv < at["widest"]
    centre = np.where(upper, 0.0, lowest)
    radii = (
        _OCCIPITAL_POLE[1],
        np.where(upper, at["widest"] - at["top"], np.maximum(floor - at["widest"], 1.0)),
        at["width"] - np.where(upper, 0.0, at["lowest"]),
    )
    lateral = np.maximum(slab.x - centre, 0.0)
    offsets = (pole * _OCCIPITAL_POLE[1], slab.dv - at["widest"], lateral)
    outer = surface_depth(offsets, radii)
    wall = smooth_min(outer, slab.x - _WALL(slab.ap), radius=700.0)
    return _Depth(outer, wall, slab.dv - _FISSURE(slab.ap) + 0.45 * slab.x)


def _below_cortex(depth: _Depth, thickness: Floats) -> Floats:
    """Depth below the cortex; under the fissure there is cortex only on the floor of the brain."""
    under_fissure = np.minimum(depth.fissure, depth.outer - thickness)
    return smooth_max(depth.wall - thickness, under_fissure, radius=300.0)


def _layer(depth: Floats) -> NDArray[np.intp]:
    """Index of the layer at a depth, which is a fraction of the thickness of the cortex."""
    layer = np.zeros(depth.shape, np.intp)
    for end in _LAYER_ENDS:
        layer += depth > end
    return layer


def _angle_cell(slab: Slab) -> NDArray[np.intp]:
    """Column of the flat map: the direction seen from the middle of the white matter."""
    hub = 0.36 * _OUTLINE["width"](slab.ap)
    angle = diamond_angle(slab.x - hub, _OUTLINE["widest"](slab.ap) - slab.dv)
    cells = np.floor((angle + 1.0) * _ANGLE_CELLS).astype(np.intp)
    return np.minimum(cells, _FLAT_SHAPE[1] - 1)


def _ap_cell(slab: Slab) -> NDArray[np.intp]:
    cells = np.floor(slab.ap / _AP_CELL).astype(np.intp)
    return np.minimum(cells, _FLAT_SHAPE[0] - 1)


@cache
def _flat_map() -> tuple[NDArray[np.intp], Floats, Floats]:
    """Index of the area by (ap, angle) cell; thickness of grey and white matter by angle cell."""
    ap = (np.arange(_FLAT_SHAPE[0], dtype=np.float64)[:, None] + 0.5) * _AP_CELL
    angle = (np.arange(_FLAT_SHAPE[1], dtype=np.float64)[None, :] + 0.5) / _ANGLE_CELLS - 1.0
    nearest = np.full(_FLAT_SHAPE, np.inf)
    area = np.zeros(_FLAT_SHAPE, np.intp)
    for index, patch in enumerate(CORTEX):
        distance = square((ap - patch.ap) / patch.ap_radius)
        distance = distance + square((angle - patch.angle) / patch.angle_radius)
        closer = distance < nearest
        np.copyto(nearest, distance, where=closer)
        np.copyto(area, index, where=closer)
    return area, _GREY(angle[0]), _WHITE(angle[0])


@cache
def _layer_labels() -> NDArray[np.uint32]:
    """Label by (index of the area, layer)."""
    return np.array([_sheet_ids(patch.acronym) for patch in CORTEX], np.uint32)


def _sheet_ids(acronym: str) -> list[int]:
    """Ids of an area's six sheets; an area without layer 4 has a thicker layer 5."""
    if acronym + "2" in STRUCTURE_ID:
        return [STRUCTURE_ID[acronym + layer] for layer in _ENTORHINAL_LAYERS]
    if acronym + "1" not in STRUCTURE_ID:
        return [STRUCTURE_ID[acronym]] * len(_LAYERS)
    agranular = STRUCTURE_ID[acronym + "5"]
    return [STRUCTURE_ID.get(acronym + layer, agranular) for layer in _LAYERS]


def _white_matter(slab: Slab, where: Mask) -> None:
    """Corpus callosum from front to back, and the external capsule on the side."""
    for acronym, start in (("ccg", 0.0), ("ccb", 4600.0), ("ccs", 7000.0)):
        slab.paint(acronym, where & (slab.ap >= start))
    slab.paint("fp", where & (slab.ap >= 7400.0) & (slab.x > 1500.0))
    slab.paint("ec", where & (slab.dv > 2600.0) & (slab.x > 2000.0))


def _hippocampus(slab: Slab, below_white: Floats, where: Mask) -> None:
    """The space between white matter and thalamus, rolled up around the dentate gyrus."""
    start = 5750.0 + 0.33 * slab.x + 0.35 * np.maximum(slab.dv - 3000.0, 0.0)
    behind = slab.ap - start - 0.6 * clip(below_white - 250.0, 0.0, 650.0)
    where = where & (behind > 0)
    if not where.any():
        return
    above_thalamus = -_thalamic_depth(slab)
    slab.paint_shells(below_white, (("alv", -np.inf), ("CA1", 60), ("CA3", 520)), where)
    slab.paint("CA2", where & (below_white > 400) & (below_white < 620) & (behind < 700))
    slab.paint("fi", where & (above_thalamus < 150) & (behind < 900))
    gyrus = smooth_min(below_white - 520.0, behind - 350.0, radius=300.0)
    gyrus = smooth_min(gyrus, above_thalamus - 150.0, radius=200.0)
    slab.paint_shells(gyrus, (("DG-mo", 0), ("DG-sg", 160), ("DG-po", 240)), where)
    slab.paint("SUB", where & (behind > 1700))
    slab.paint("PRE", where & (behind > 2300))


def lateral_ventricle(slab: Slab) -> None:
    """A sheet between septum and striatum whose upper edge bends outwards."""
    bend = square(np.maximum(3800.0 - slab.dv, 0.0)) / 2200.0
    offsets = (slab.ap - 5100.0, slab.dv - 3300.0, slab.x - 850.0 - bend)
    sheet = surface_depth(offsets, (1500.0, 1100.0, 130.0))
    slab.paint("VL", (sheet > 0) & (slab.labels > 0))


def _thalamic_depth(slab: Slab) -> Floats:
    return slab.depth((6850.0, 4150.0, 0.0), (1450.0, 1300.0, 2200.0), squareness=0.5)


def diencephalon(slab: Slab) -> None:
    """Thalamus on hypothalamus, with the internal capsule around them."""
    thalamus = _thalamic_depth(slab)
    hypothalamus = slab.depth((6600.0, 6200.0, 0.0), (1850.0, 1150.0, 1750.0), squareness=0.4)
    lateral = (slab.x > 1150.0) & (slab.ap < 7300.0) & (slab.dv > 3100.0)
    slab.paint("int", (thalamus > -250.0) & lateral)
    slab.paint_parcels(HYPOTHALAMUS, hypothalamus > 0)
    slab.paint_parcels(THALAMUS, thalamus > 0)


def third_ventricle(slab: Slab) -> None:
    """A slit in the midline, around the bridge between the two thalami."""
    slit = slab.depth((6500.0, 5000.0, 0.0), (1450.0, 2250.0, 75.0))
    bridge = slab.depth((6750.0, 4250.0, 0.0), (850.0, 900.0, 1000.0))
    slab.paint("V3", (slit > 0) & (bridge < 0) & (slab.labels > 0))
