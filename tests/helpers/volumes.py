"""Random annotation volumes, chunkings, geometries and trees, and what plain NumPy says of them."""

import math
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

import dask.array as da
import hypothesis.extra.numpy as hnp
import numpy as np
from dask.base import tokenize
from hypothesis import strategies as st

from helpers.strategies import Family, families
from refspace import ReferenceSpace, StructureTree
from refspace.grid import Grid
from refspace.labels import labelled

# Ids that float32, uint16, uint8 and int32 would each damage.
IDS = [1, 2, 5, 8, 254, 255, 256, 997, 65535, 65536, 70000, 2**24, 2**24 + 1, 614454277, 2**32 - 1]
UNKNOWN = [3, 200, 300, 65537, 2**24 + 3, 2**31]
RESOLUTIONS = [1.0, 10.0, 25.0, 33.3, 39.0625, 1.8]
# Target over source: finer, equal, exact halves, ratios that share no edge, far coarser.
RATIOS = [0.25, 0.5, 0.75, 1.0, 1.3, 1.5, 2.0, 2.5, 3.0, 4.0]


# One or several trees; acronyms do not sort as their ids do.
trees = families(8, st.sampled_from(IDS)).map(Family.tree)


@st.composite
def volumes(draw, labels=(*IDS, *UNKNOWN), max_side=6):
    """Labels of uint8, uint16 or uint32, in C or Fortran order, or a view with strides."""
    dtype = np.dtype(draw(st.sampled_from(["u1", "u2", "u4"])))
    fitting = [label for label in (0, *labels) if label <= np.iinfo(dtype).max]
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=max_side))
    voxels = draw(hnp.arrays(dtype, shape, elements=st.sampled_from(fitting)))
    return in_memory_order(voxels, draw(st.sampled_from(MEMORY_ORDERS)))


MEMORY_ORDERS = ["C", "F", "strided", "reversed"]


def in_memory_order(voxels, order):
    """The same voxels, laid out otherwise."""
    if order == "strided":
        return np.repeat(voxels, 2, axis=-1)[..., ::2]
    if order == "reversed":
        return np.ascontiguousarray(voxels[::-1])[::-1]
    return np.array(voxels, order=order)


@st.composite
def chunkings(draw, shape):
    """Irregular chunks: each axis cut at random places."""
    chunks = []
    for count in shape:
        inner = st.lists(st.integers(1, count - 1), unique=True) if count > 1 else st.just([])
        chunks.append(tuple(np.diff([0, *sorted(draw(inner)), count]).tolist()))
    return tuple(chunks)


def chunked(voxels, chunks):
    """Lazy array whose blocks have the memory order of the whole: `from_array` copies to C."""
    name = f"voxels-{tokenize(voxels, chunks)}-{voxels.flags.f_contiguous}"
    views = [voxels[part] for part in da.core.slices_from_chunks(chunks)]
    if voxels.flags.f_contiguous:
        views = map(np.asfortranarray, views)
    keys = [(name, *index) for index in np.ndindex(*map(len, chunks))]
    return da.Array(dict(zip(keys, views, strict=True)), name, chunks, dtype=voxels.dtype)


@st.composite
def annotations(draw, **kwargs):
    """A volume with coordinates in random chunks."""
    voxels = draw(volumes(**kwargs))
    spacing = draw(st.tuples(*[st.sampled_from(RESOLUTIONS)] * 3))
    data = chunked(voxels, draw(chunkings(voxels.shape)))
    return labelled(data, Grid(voxels.shape, spacing))


class Case(NamedTuple):
    """A reference space and what it was made from."""

    space: ReferenceSpace
    tree: StructureTree
    voxels: np.ndarray
    chunks: tuple


@st.composite
def cases(draw, max_side=6):
    """A reference space over a random volume, in memory or in random chunks."""
    tree = draw(trees)
    voxels = draw(volumes((*tree.node_ids(), *UNKNOWN), max_side))
    chunks = draw(chunkings(voxels.shape))
    resolution = draw(st.tuples(*[st.sampled_from(RESOLUTIONS)] * 3))
    annotation = chunked(voxels, chunks) if draw(st.booleans()) else voxels
    return Case(ReferenceSpace(tree, annotation, resolution), tree, voxels, chunks)


grids = st.builds(
    Grid,
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    spacing=st.tuples(*[st.sampled_from([*RESOLUTIONS, 1 / 3])] * 3),
    origin=st.tuples(*[st.sampled_from([0.0, -57.5, 100.0, 1 / 3, 1e4])] * 3),
    orientation=st.sampled_from(["PIR", "RAS", "LPS", "ASR", "SRA", "IRP"]),
    frame=st.sampled_from(["", "RAS", "PIR", "SLA"]),
)


class CountingSource:
    """Array-like that remembers which part of it was asked for."""

    def __init__(self, voxels):
        self.voxels = voxels
        self.shape, self.dtype, self.ndim = voxels.shape, voxels.dtype, voxels.ndim
        self.reads = []

    def __getitem__(self, key):
        self.reads.append(key)
        return self.voxels[key]

    def dask(self, chunks):
        meta = np.empty((0,) * self.ndim, self.dtype)
        return da.from_array(self, chunks=chunks, meta=meta, name=f"source-{id(self)}")

    def chunk_reads(self, chunks):
        """How often each chunk was read, whole or in part."""
        stops = [np.cumsum(sizes) for sizes in chunks]
        return Counter(
            tuple(
                int(np.searchsorted(stop, k.start if isinstance(k, slice) else k, side="right"))
                for k, stop in zip(key, stops, strict=True)
            )
            for key in self.reads
        )


def raising(*_args, **_kwargs):
    """Scheduler of dask where nothing may be computed."""
    raise AssertionError("computed while building")


# ----- oracles


def subtree(tree, structure_id):
    """Ids whose path leads through a structure."""
    return [n["id"] for n in tree.nodes() if structure_id in n["structure_id_path"]]


def bounding_box(voxels, labels):
    """First voxel and end of what has some labels; None if nothing has."""
    places = np.argwhere(np.isin(voxels.astype("i8"), sorted(labels)))
    return (places.min(axis=0), places.max(axis=0) + 1) if len(places) else None


def padded(box, pads, spacing, shape):
    """Slices of a box and whole voxels around it, as many as some lengths begin."""
    more = [math.ceil(ratio) for ratio in exact_ratios(spacing, pads)]
    axes = zip(*box, more, shape, strict=True)
    return tuple(slice(max(0, int(a) - n), min(count, int(b) + n)) for a, b, n, count in axes)


def exact_ratios(spacing, target):
    """Voxels per cell along each axis."""
    return [Fraction(str(t)) / Fraction(str(s)) for s, t in zip(spacing, target, strict=True)]


def nearest(voxels, ratios, shape):
    """The voxel that contains the centre of each cell, or the last one beyond the end."""
    index = [
        [min(math.floor((cell + Fraction(1, 2)) * ratio), count - 1) for cell in range(cells)]
        for count, cells, ratio in zip(voxels.shape, shape, ratios, strict=True)
    ]
    return voxels[np.ix_(*index)]


def corner(voxels, ratios, shape):
    """The voxel that contains the first corner of each cell, or the last one beyond the end."""
    index = [
        [min(math.floor(cell * ratio), count - 1) for cell in range(cells)]
        for count, cells, ratio in zip(voxels.shape, shape, ratios, strict=True)
    ]
    return voxels[np.ix_(*index)]


def allensdk(voxels, shape):
    """The voxels that AllenSDK takes: the first and last of both grids coincide.

    Where rounding puts the last position beyond the last voxel, its plane is empty.
    """
    padded = np.pad(voxels, (0, 1))
    index = []
    for count, cells in zip(voxels.shape, shape, strict=True):
        positions = [cell * ((count - 1) / max(cells - 1, 1)) for cell in range(cells)]
        index.append([math.floor(p + 0.5) if p <= count - 1 else count for p in positions])
    return padded[np.ix_(*index)]


def mode(voxels, ratios, shape):
    """The label that fills most of each cell, in exact volumes; the smaller one of equals."""
    result = np.empty(shape, voxels.dtype)
    for cell in np.ndindex(*shape):
        axes = [
            [(v, w) for v in range(n) if (w := min((c + 1) * r, v + 1) - max(c * r, v)) > 0]
            for c, r, n in zip(cell, ratios, voxels.shape, strict=True)
        ]
        filled = Counter()
        for (i, wi), (j, wj), (k, wk) in (
            (a, b, c) for a in axes[0] for b in axes[1] for c in axes[2]
        ):
            filled[int(voxels[i, j, k])] += wi * wj * wk
        result[cell] = min(filled, key=lambda label: (-filled[label], label))
    return result
