"""Tables of the phantom: positions and sizes of its parts, in µm as (ap, dv, x).

`x` is the distance from the midline. The numbers were placed by eye and are round on purpose.
"""

from __future__ import annotations

from typing import NamedTuple


class Patch(NamedTuple):
    """A region of the flattened cortex: an ellipse in ap and the diamond angle of its direction."""

    acronym: str
    ap: float
    angle: float
    ap_radius: float
    angle_radius: float


class Parcel(NamedTuple):
    """An ellipsoid; a voxel of an organ belongs to the parcel in whose measure it is nearest."""

    acronym: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]


class Tract(NamedTuple):
    """A bundle of fibres: a tube along the straight pieces between `points`."""

    acronym: str
    radius: float
    points: tuple[tuple[float, float, float], ...]


class Lobule(NamedTuple):
    """A lobule of the cerebellum: a sector around the core, up to the diamond angle `end`.

    It carries the first of its `acronyms` in the vermis and the second in the hemispheres.
    The fissure behind it comes as near to the core as `reach` µm.
    """

    acronyms: tuple[str, str]
    end: float
    reach: float


# The angle runs from -1 (medial) over 0 (dorsal) and 1 (lateral) to 2 (ventral).
CORTEX = (
    Patch("FRP", 1800, 0.20, 900, 1.60),
    Patch("PL", 2800, -0.72, 750, 0.26),
    Patch("PL", 2900, 2.88, 700, 0.25),
    Patch("ORBl", 2600, 2.35, 600, 0.35),
    Patch("TT", 3650, 2.65, 450, 0.40),
    Patch("ACAd", 4300, -0.42, 1750, 0.07),
    Patch("ACAv", 4500, -0.58, 900, 0.10),
    Patch("MOs", 3100, -0.02, 1500, 0.33),
    Patch("MOs", 4600, -0.20, 1600, 0.13),
    Patch("MOp", 3700, 0.42, 800, 0.36),
    Patch("MOp", 4900, -0.02, 1000, 0.14),
    Patch("SSp-m", 4300, 0.78, 650, 0.30),
    Patch("SSp-ul", 5300, 0.24, 550, 0.14),
    Patch("SSp-ll", 5950, 0.00, 620, 0.15),
    Patch("SSp-n", 5600, 0.56, 550, 0.17),
    Patch("SSp-bfd", 6600, 0.40, 750, 0.19),
    Patch("SSs", 5900, 0.92, 1150, 0.19),
    Patch("VISC", 5600, 1.20, 1500, 0.07),
    Patch("ORBl", 2500, 1.60, 550, 0.35),
    Patch("AId", 3300, 1.30, 900, 0.13),
    Patch("AIp", 5800, 1.35, 1400, 0.06),
    Patch("VISa", 7100, 0.06, 350, 0.18),
    Patch("VISrl", 7500, 0.31, 400, 0.09),
    Patch("VISam", 7600, -0.06, 450, 0.08),
    Patch("VISal", 8000, 0.43, 420, 0.08),
    Patch("VISpm", 8500, -0.08, 600, 0.06),
    Patch("VISp", 9000, 0.18, 1000, 0.22),
    Patch("VISl", 9100, 0.49, 800, 0.08),
    Patch("RSPagl", 8000, -0.19, 1500, 0.06),
    Patch("RSPd", 8000, -0.29, 1700, 0.05),
    Patch("RSPv", 7900, -0.44, 1700, 0.09),
    Patch("AUDd", 7600, 0.57, 700, 0.08),
    Patch("AUDp", 7800, 0.73, 650, 0.09),
    Patch("AUDv", 7800, 0.89, 750, 0.08),
    Patch("TEa", 8900, 0.80, 1000, 0.14),
    Patch("TEa", 7800, 1.02, 800, 0.07),
    Patch("ECT", 8400, 1.10, 1300, 0.08),
    Patch("PIR", 4300, 1.58, 1500, 0.16),
    Patch("PIR", 6600, 1.52, 1600, 0.14),
    Patch("OT", 4600, 2.00, 850, 0.30),
    Patch("COA", 6900, 1.80, 1300, 0.13),
    Patch("ENTl", 8500, 1.38, 1150, 0.17),
    Patch("ENTm", 9500, 1.70, 800, 0.30),
    Patch("ENTm", 10300, 1.30, 500, 0.35),
)

# Deep to the white matter of the hemisphere.
FOREBRAIN = (
    Parcel("CP", (5400, 3900, 2600), (1900, 1600, 1350)),
    Parcel("ACB", (4400, 5600, 1300), (800, 800, 800)),
    Parcel("LS", (5000, 3500, 450), (900, 1100, 450)),
    Parcel("MS", (4900, 4800, 150), (500, 900, 200)),
    Parcel("BST", (5500, 5000, 800), (400, 600, 450)),
    Parcel("SI", (5500, 6200, 1900), (900, 600, 700)),
    Parcel("GPe", (6100, 4700, 2600), (900, 1100, 650)),
    Parcel("GPi", (6600, 5100, 2400), (500, 500, 450)),
    Parcel("CEA", (6600, 5500, 3000), (600, 500, 450)),
    Parcel("MEA", (6700, 6500, 2400), (700, 500, 400)),
    Parcel("LA", (7000, 5000, 4000), (600, 500, 250)),
    Parcel("BLA", (6800, 5900, 3600), (800, 500, 400)),
    Parcel("BMA", (6900, 6700, 3100), (700, 400, 400)),
    Parcel("EPd", (5500, 5600, 3700), (1800, 600, 250)),
)

THALAMUS = (
    Parcel("AV", (6000, 3500, 800), (450, 450, 350)),
    Parcel("MD", (6700, 3900, 450), (650, 500, 400)),
    Parcel("PVT", (6500, 3150, 80), (1100, 300, 180)),
    Parcel("LD", (6300, 3200, 1150), (500, 350, 500)),
    Parcel("LP", (7300, 3300, 1450), (650, 400, 600)),
    Parcel("PO", (7100, 4000, 1250), (600, 450, 400)),
    Parcel("VPM", (6900, 4500, 1450), (650, 500, 450)),
    Parcel("VPL", (6700, 4500, 1950), (650, 550, 280)),
    Parcel("VAL", (6200, 4200, 1300), (450, 500, 450)),
    Parcel("VM", (6500, 4900, 900), (700, 300, 500)),
    Parcel("RT", (6100, 4200, 2000), (700, 900, 220)),
    Parcel("CM", (6500, 4350, 200), (600, 250, 400)),
    Parcel("RE", (6300, 4950, 200), (600, 350, 300)),
    Parcel("CL", (6700, 3600, 800), (600, 250, 200)),
    Parcel("PF", (7500, 4300, 600), (350, 600, 450)),
    Parcel("LGd", (7500, 3500, 2050), (500, 500, 280)),
    Parcel("MG", (7900, 4100, 1900), (500, 600, 450)),
    Parcel("MH", (7000, 2850, 180), (500, 250, 160)),
    Parcel("LH", (7000, 2950, 480), (500, 280, 220)),
)

HYPOTHALAMUS = (
    Parcel("MPO", (5200, 6000, 400), (450, 600, 350)),
    Parcel("PVH", (6000, 5900, 150), (400, 500, 150)),
    Parcel("AHN", (5900, 6300, 550), (500, 450, 400)),
    Parcel("LHA", (6700, 6200, 1300), (1300, 600, 450)),
    Parcel("ZI", (7100, 5350, 1400), (700, 200, 600)),
    Parcel("STN", (7200, 5650, 1700), (400, 250, 450)),
    Parcel("DMH", (6900, 6200, 350), (400, 350, 350)),
    Parcel("VMH", (6700, 6800, 550), (450, 400, 350)),
    Parcel("PH", (7400, 5700, 350), (500, 450, 400)),
    Parcel("MMm", (7900, 6800, 200), (250, 350, 200)),
    Parcel("MMl", (7900, 6800, 550), (250, 350, 200)),
)

BRAINSTEM = (
    Parcel("MRN", (8700, 4300, 1200), (900, 900, 700)),
    Parcel("RN", (8700, 4900, 650), (400, 400, 350)),
    Parcel("SNr", (8400, 5600, 1500), (500, 350, 600)),
    Parcel("SNc", (8300, 5300, 1200), (450, 150, 500)),
    Parcel("VTA", (8400, 5700, 400), (400, 350, 350)),
    Parcel("APN", (8000, 3500, 1000), (500, 500, 500)),
    Parcel("CUN", (9900, 3900, 1300), (450, 500, 450)),
    Parcel("NLL", (9400, 5200, 1750), (500, 700, 300)),
    Parcel("PB", (10100, 4300, 1400), (450, 450, 500)),
    Parcel("PSV", (10000, 5200, 1900), (500, 600, 350)),
    Parcel("SOC", (9900, 6700, 1100), (500, 300, 450)),
    Parcel("PG", (9000, 6600, 600), (500, 350, 550)),
    Parcel("PRNr", (9500, 5600, 800), (700, 800, 600)),
    Parcel("TRN", (9500, 6500, 500), (500, 400, 350)),
    Parcel("V", (10000, 5700, 1450), (300, 400, 300)),
    Parcel("CN", (10600, 5200, 2450), (500, 700, 350)),
    Parcel("SPVI", (11800, 5700, 1900), (800, 650, 400)),
    Parcel("SPVC", (12700, 5700, 1600), (700, 800, 450)),
    Parcel("MV", (11100, 4900, 700), (800, 350, 500)),
    Parcel("SPIV", (11500, 5000, 1350), (600, 400, 350)),
    Parcel("NTS", (12200, 5000, 600), (700, 350, 350)),
    Parcel("VII", (10800, 6900, 1500), (400, 400, 400)),
    Parcel("GRN", (11200, 6100, 600), (900, 800, 500)),
    Parcel("IRN", (11700, 6000, 1150), (1000, 700, 400)),
    Parcel("PARN", (11400, 5600, 1600), (800, 500, 350)),
    Parcel("IO", (12200, 7150, 400), (600, 250, 400)),
    Parcel("MDRN", (12700, 6200, 700), (600, 800, 600)),
    Parcel("XII", (12100, 5500, 150), (500, 250, 200)),
    Parcel("CU", (12700, 5000, 900), (400, 300, 400)),
)

COLLICULI = (
    Parcel("ICc", (10200, 2700, 1000), (500, 700, 500)),
    Parcel("ICd", (10300, 1800, 700), (650, 500, 600)),
    Parcel("ICe", (10100, 2700, 1750), (700, 900, 300)),
)

CEREBELLAR_NUCLEI = (
    Parcel("FN", (11500, 4000, 650), (350, 300, 350)),
    Parcel("IP", (11400, 4000, 1400), (350, 300, 400)),
    Parcel("DN", (11300, 4000, 2150), (300, 300, 350)),
)

# Around the core of the cerebellum, from its lower front edge backwards: vermis, hemisphere. A
# lobule on two lines is folded once more.
LOBULES = (
    Lobule(("CENT3", "CENT3"), -0.82, 1200),
    Lobule(("CENT3", "CENT3"), -0.60, 600),
    Lobule(("CUL4, 5", "CUL4, 5"), -0.38, 1600),
    Lobule(("CUL4, 5", "CUL4, 5"), -0.15, 500),
    Lobule(("DEC", "SIM"), 0.05, 1900),
    Lobule(("DEC", "SIM"), 0.25, 600),
    Lobule(("PYR", "ANcr1"), 0.42, 1800),
    Lobule(("PYR", "ANcr1"), 0.60, 600),
    Lobule(("UVU", "ANcr2"), 0.78, 1300),
    Lobule(("UVU", "ANcr2"), 0.96, 600),
    Lobule(("NOD", "PRM"), 3.00, 9000),
)

TRACTS = (
    Tract("aco", 130, ((2800, 5000, 1500), (4500, 5200, 1150), (5200, 5200, 500))),
    Tract("act", 130, ((5250, 5200, 0), (5300, 5250, 1500), (5700, 5700, 2400))),
    Tract("fx", 130, ((5000, 3600, 150), (5300, 4600, 250), (5900, 5600, 400), (7700, 6300, 500))),
    Tract(
        "cing", 150, ((4000, 2600, 750), (5000, 2250, 900), (6500, 1750, 950), (7800, 1450, 900))
    ),
    Tract(
        "opt", 170, ((5500, 7150, 300), (6200, 6900, 1500), (7000, 5900, 2250), (7700, 4200, 2500))
    ),
    Tract("cpd", 280, ((6700, 5300, 2300), (7600, 5600, 2000), (8500, 6150, 1300))),
    Tract("py", 200, ((8700, 6300, 800), (9700, 6950, 450), (12900, 7300, 350))),
    Tract("mcp", 280, ((9400, 6300, 1900), (10300, 5200, 2400), (11200, 4300, 2300))),
    Tract("sptV", 170, ((10300, 5600, 2350), (12800, 5600, 1800))),
)
