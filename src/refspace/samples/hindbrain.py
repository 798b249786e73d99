"""Midbrain and hindbrain of the phantom: colliculi, brain stem and cerebellum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refspace.samples.canvas import NO_STRUCTURE
from refspace.samples.parcels import (
    BRAINSTEM,
    CEREBELLAR_NUCLEI,
    COLLICULI,
    LOBULES,
)
from refspace.samples.shapes import (
    clip,
    curves,
    diamond_angle,
    diamond_direction,
    square,
    surface_depth,
)

if TYPE_CHECKING:
    from refspace.samples.canvas import Slab
    from refspace.samples.parcels import Lobule
    from refspace.samples.shapes import Floats

_STEM = curves(
    (7300, 8000, 8750, 9500, 10250, 11000, 11750, 12500, 13000),
    width=(1300, 1900, 2250, 2250, 2400, 2800, 2550, 2100, 1850),
    top=(3000, 2800, 2800, 3000, 3700, 4500, 4650, 4800, 4900),
    bottom=(5700, 6200, 6700, 7150, 7250, 7400, 7500, 7500, 7450),
)
_STEM_END = 13000.0  # where the spinal cord is cut off
_CISTERN = 90.0  # width of the empty space around the midbrain

_SUPERIOR_COLLICULUS = (
    ("SCzo", 0),
    ("SCsg", 80),
    ("SCop", 280),
    ("SCig", 430),
    ("SCiw", 750),
    ("SCdg", 1000),
    ("SCdw", 1250),
    ("MRN", 1400),
)

_CORE = (11500.0, 4000.0)  # (ap, dv) of the axis that the lobules fan out from
_VERMIS = 1000.0  # its half-width
_MOLECULAR, _GRANULAR = 150.0, 290.0  # depth of the lower side of the layer


def cerebellum(slab: Slab) -> None:
    """Lobules folded around a core of white matter, and the paraflocculus beside them."""
    offsets = slab.offsets((11600.0, 3000.0, 0.0))
    outline = surface_depth(offsets, (1420.0, 2200.0, 4200.0), squareness=0.35)
    _folia(slab, outline)
    paraflocculus = slab.depth((10900.0, 5200.0, 3700.0), (650.0, 1000.0, 550.0))
    shells = (("PFLmo", 0), ("PFLgr", _MOLECULAR), ("arb", _GRANULAR))
    slab.paint_shells(paraflocculus, shells, paraflocculus > 0)
    for nucleus in CEREBELLAR_NUCLEI:
        slab.paint(nucleus.acronym, slab.depth(nucleus.centre, nucleus.radii) > 0)


def _folia(slab: Slab, outline: Floats) -> None:
    """Fan of lobules; fissures count as surface, so that the layers line them."""
    back = slab.ap - _CORE[0] + square(slab.x) / 14000.0  # fissures bow forwards on the side
    up = _CORE[1] - slab.dv
    angle = diamond_angle(back, up)
    half_width = 12.0 + square(clip(1.0 - outline / 350.0, 0.0, 1.0)) * 55.0
    depth = outline
    for lobule in LOBULES:
        depth = np.minimum(depth, _fissure_distance(back, up, lobule) - half_width)
    tissue, start = depth > 0, -1.0
    for lobule in LOBULES:
        sector = tissue & (angle >= start) & (angle < lobule.end)
        for acronym, part in zip(
            lobule.acronyms, (slab.x < _VERMIS, slab.x >= _VERMIS), strict=True
        ):
            slab.paint(acronym + "mo", sector & part)
            slab.paint(acronym + "gr", sector & part & (depth > _MOLECULAR))
        start = lobule.end
    slab.paint("arb", depth > _GRANULAR)


def _fissure_distance(back: Floats, up: Floats, lobule: Lobule) -> Floats:
    """Distance to the fissure behind a lobule: a ray that starts `reach` µm from the core."""
    ray_back, ray_up = diamond_direction(lobule.end)
    along = back * ray_back + up * ray_up
    across = back * ray_up - up * ray_back
    return np.sqrt(square(across) + square(np.maximum(lobule.reach - along, 0.0)))


def brainstem(slab: Slab) -> None:
    """Colliculi on the tegmentum, pons and medulla, set off from the hemispheres above."""
    stem = _stem_depth(slab)
    superior = slab.depth((8800.0, 3700.0, 500.0), (1350.0, 2650.0, 1850.0))
    inferior = slab.depth((10050.0, 2700.0, 1050.0), (850.0, 1500.0, 1100.0))
    surface = np.maximum(np.maximum(stem, superior), inferior)
    around = (surface > -_CISTERN) & (surface <= 0)
    slab.paint(NO_STRUCTURE, around & (slab.ap > 8300.0))
    slab.paint_parcels(COLLICULI, inferior > 0)
    sheets = slab.depth((8800.0, 3700.0, 500.0), (2600.0, 2650.0, 2000.0))  # flatter than the hill
    slab.paint_shells(sheets, _SUPERIOR_COLLICULUS, superior > 0)
    slab.paint_parcels(BRAINSTEM, (stem > 0) & (slab.ap < _STEM_END))
    slab.paint("PAG", slab.depth((9200.0, 3500.0, 0.0), (1400.0, 750.0, 800.0)) > 0)
    slab.paint("Su3", slab.depth((9000.0, 4150.0, 0.0), (400.0, 150.0, 200.0)) > 0)
    slab.paint("AQ", slab.depth((9150.0, 3400.0, 0.0), (1450.0, 300.0, 160.0)) > 0)


def _stem_depth(slab: Slab) -> Floats:
    at = {name: curve(slab.ap) for name, curve in _STEM.items()}
    middle, height = 0.5 * (at["top"] + at["bottom"]), 0.5 * (at["bottom"] - at["top"])
    front = np.maximum(8400.0 - slab.ap, 0.0)
    offsets = (front, slab.dv - middle, slab.x)
    return surface_depth(offsets, (900.0, height, at["width"]), squareness=0.45)


def fourth_ventricle(slab: Slab) -> None:
    """The flat space between medulla and cerebellum, and the canal that leads on."""
    roof = slab.depth((11300.0, 4550.0, 0.0), (1100.0, 250.0, 850.0))
    slab.paint("V4", (roof > 0) & (slab.labels > 0))
    canal = slab.depth((12700.0, 5300.0, 0.0), (900.0, 130.0, 110.0))
    slab.paint("c", (canal > 0) & (slab.labels > 0))
