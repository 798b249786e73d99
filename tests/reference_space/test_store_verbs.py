"""Every verb gives the same answers, wherever the volume lies and however it is cut."""

import copy
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.places import (
    CUT,
    GRID,
    TREE,
    VOXELS,
    Cut,
    foreign,
    in_dask,
    measured,
    memory_url,
    sharded,
    stored,
    stored_tree,
    tree,
    unindexed,
)
from helpers.profiles import examples
from helpers.strategies import families
from helpers.volumes import (
    IDS,
    RATIOS,
    RESOLUTIONS,
    UNKNOWN,
    bounding_box,
    chunkings,
    padded,
    subtree,
    volumes,
)
from hypothesis import given
from hypothesis import strategies as st

from refspace import ReferenceSpace, StructureTree
from refspace.errors import RefspaceError
from refspace.grid import Grid
from refspace.labels import labelled, with_hemispheres

MAGENTA_TOO = (250, 0, 250)


class Question(NamedTuple):
    """What the verbs are asked."""

    structures: list
    factors: tuple = (2.0, 1.5, 1.0)
    fraction: float = 0.5
    seed: int = 0
    pad: float = 0.0
    cmap: Mapping[int, Any] = {}


class Part(NamedTuple):
    """Structures to which a volume is cropped."""

    structures: list
    pad: float


# ----- where a volume may lie


WAYS = [in_dask, measured, stored, sharded, unindexed, foreign, tree, stored_tree]


def place(plain, elsewhere, part):
    """A space elsewhere beside the one in memory, or parts of both: that in memory by NumPy."""
    if part is None:
        return elsewhere, plain
    tree, grid, voxels = plain.structure_tree, plain.grid, plain.annotation.values
    labels = {i for s in tree.resolve(part.structures) for i in subtree(tree, s)} - {0}
    if (box := bounding_box(voxels, labels)) is None:
        return elsewhere, plain
    inside = padded(box, [part.pad] * 3, grid.spacing, voxels.shape)
    smaller = grid.crop([axis.start for axis in inside], [axis.stop for axis in inside])
    piece = with_hemispheres(labelled(voxels[inside], smaller), plain.volume.hemispheres.line)
    expected = ReferenceSpace(tree, piece)
    return elsewhere.crop(part.structures, pad=part.pad), expected


# ----- verbs


def domain(space, asked):
    return np.random.default_rng(asked.seed).random(space.grid.shape) < 0.5


def centre(space, dim, asked):
    """Centre of a voxel."""
    grid, axis = space.grid, space.grid.axis(dim)
    return grid.coordinates(dim)[int(asked.fraction * grid.shape[axis])]


def downsampled(method):
    def verb(space, asked):
        target = [s * f for s, f in zip(space.resolution, asked.factors, strict=True)]
        return space.downsample(target, method, upsample=True).annotation

    return verb


def sliced(dim):
    return lambda space, asked: space.get_slice_image(dim, centre(space, dim, asked))


def sliced_in_own_colors(space, asked):
    return space.get_slice_image(
        "ml", centre(space, "ml", asked), asked.cmap, unknown_color=MAGENTA_TOO
    )


def unassigned(space, asked):
    again = ReferenceSpace(space.structure_tree, space.annotation)
    kept = [sorted(node.items()) for node in again.remove_unassigned()]
    return kept, again.structure_tree.node_ids(), again.voxel_counts()


def cropped(space, asked):
    part = space.crop(asked.structures, pad=asked.pad)
    return part.annotation, part.voxel_counts(), part.make_structure_mask(asked.structures)


def whole_index(space, asked):
    return space.label_index.coarsen([[n] for n in space.grid.shape]).table.tolist()


VERBS = {
    "grid": lambda s, q: (s.grid.shape, s.grid.spacing, s.grid.origin, s.grid.orientation),
    "annotation": lambda s, q: s.annotation,
    "direct counts": lambda s, q: (s.direct_voxel_map, s.direct_voxel_counts()),
    "total counts": lambda s, q: (s.total_voxel_map, s.total_voxel_counts()),
    "voxel_counts": lambda s, q: s.voxel_counts(),
    "remove_unassigned": unassigned,
    "mask": lambda s, q: s.make_structure_mask(q.structures),
    "direct mask": lambda s, q: s.make_structure_mask(q.structures, direct_only=True),
    "empty mask": lambda s, q: s.make_structure_mask([]),
    "cropped mask": lambda s, q: s.make_structure_mask(q.structures, crop=True),
    "cropped direct mask": lambda s, q: s.make_structure_mask(q.structures, True, crop=True),
    "many masks": lambda s, q: dict(s.many_structure_masks(q.structures)),
    "check_coverage": lambda s, q: s.check_coverage(q.structures, domain(s, q)),
    "validate_structures": lambda s, q: s.validate_structures(q.structures, domain(s, q)),
    "validate": lambda s, q: vars(s.validate()),
    "bounds": lambda s, q: vars(s.bounds(q.structures)),
    "centroid": lambda s, q: s.centroid(q.structures),
    "direct centroid": lambda s, q: s.centroid(q.structures, direct_only=True),
    "crop": cropped,
    "label_index": whole_index,
    "slice in own colours": sliced_in_own_colors,
    **{f"{dim} slice": sliced(dim) for dim in ("ap", "dv", "ml")},
    **{
        f"{method} downsample": downsampled(method)
        for method in ("nearest", "mode", "corner", "allensdk")
    },
    **{
        f"itksnap in {dtype}": lambda s, q, dtype=dtype: s.export_itksnap_labels(dtype)
        for dtype in ("u1", "u2", "i4", "u4")
    },
}


def outcome(verb, space, asked):
    """What a verb returns, or says is wrong, of a space that remembers nothing of other verbs."""
    try:
        return verb(copy.copy(space), asked)
    except RefspaceError as error:
        return type(error), str(error)


def assert_same(found, expected):
    """Values are equal; positions to the last digits, which depend on how they are computed."""
    assert type(found) is type(expected)
    if isinstance(expected, xr.DataArray):
        assert (found.dims, found.dtype) == (expected.dims, expected.dtype)
        assert found.name == expected.name
        assert found.attrs == expected.attrs
        np.testing.assert_array_equal(found.values, expected.values)
        assert_same(coordinates(found), coordinates(expected))
    elif isinstance(expected, xr.Dataset):
        xr.testing.assert_identical(found, expected)
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif isinstance(expected, dict):
        assert_same(list(found.items()), list(expected.items()))
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-9)
    else:
        assert found == expected


def coordinates(array):
    return {str(dim): (c.values.tolist(), c.attrs) for dim, c in sorted(array.coords.items())}


# ----- a volume with everything that has gone wrong somewhere

# 0 is in the tree, 12997 not in the volume, 4242 and 2**31 not in the tree.
QUESTIONS = {
    "some": Question(["s8", 9], (2.0, 1.5, 1.0), 0.8, 1, 30.0, {8: (1, 2, 3), 4242: "0a0b0c"}),
    "all": Question([0, "s997"], (0.5, 1.0, 2.0), 0.1, 2, 1e6, {0: (9, 9, 9)}),
}
PLACES = {
    **{way.__name__: (way, None) for way in WAYS},
    "part of stored": (stored, Part(["s8"], 40.0)),
}


@pytest.fixture(scope="module")
def plain():
    return ReferenceSpace(TREE, labelled(VOXELS, GRID))


@pytest.fixture(scope="module")
def answers():
    """What the verbs gave in memory, so that they need not be asked for every place."""
    return {}


@pytest.fixture(scope="module", params=PLACES)
def pair(request, plain, tmp_path_factory):
    """The space elsewhere, and what it should be."""
    way, part = PLACES[request.param]
    url = str(tmp_path_factory.mktemp("verbs") / "atlas.zarr")
    return place(plain, way(plain, CUT, url), part)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("asked", QUESTIONS)
def test_verbs(pair, answers, verb, asked):
    found, expected = pair
    question = expected, verb, asked
    with dask.config.set(scheduler="sync"):
        if question not in answers:
            (answers[question],) = dask.compute(outcome(VERBS[verb], expected, QUESTIONS[asked]))
        assert_same(outcome(VERBS[verb], found, QUESTIONS[asked]), answers[question])


def test_validation_is_of_the_tree_as_it_is(plain):
    space = copy.copy(plain)
    assert 12997 in space.validate().unassigned
    space.remove_unassigned()
    assert space.validate().unassigned == ()


@pytest.mark.parametrize("way", [in_dask, measured, stored])
@pytest.mark.parametrize(("id_type", "largest"), [("u1", 255), ("u2", 65535), ("i4", 2**31 - 1)])
def test_itksnap_ids_at_the_limit(way, id_type, largest):
    tree = StructureTree([{"id": 8, "acronym": "s8", "rgb_triplet": [1, 2, 3]}])
    voxels = np.array([8, largest, largest + 1, 2**32 - 1, 0, 8, 8, 8], "u4").reshape(2, 2, 2)
    space = ReferenceSpace(tree, voxels, 10)
    with memory_url() as url:
        found = way(space, Cut((1, 2, 2), (1, 1, 1), ((1, 1), (2,), (1, 1))), url)
        labels = found.export_itksnap_labels(id_type)[0]
        assert labels.dtype == id_type
        assert labels.values.ravel().tolist() == [8, largest, 0, 0, 0, 8, 8, 8]


# ----- any volume


@st.composite
def situations(draw):
    """A volume in memory, how to cut it, and what to ask."""
    tree = draw(families(8, st.sampled_from([0, *IDS]))).tree()
    voxels = draw(volumes((*tree.node_ids(), *UNKNOWN)))
    spacing = draw(st.tuples(*[st.sampled_from(RESOLUTIONS)] * 3))
    origin = draw(st.tuples(*[st.sampled_from([0.0, -57.5, 1e4])] * 3))
    grid = Grid(voxels.shape, spacing, origin, draw(st.sampled_from(["PIR", "RAS", "SRA"])))
    # Few blocks: each takes a millisecond to read.
    chunks = tuple(max(1, math.ceil(n / draw(st.integers(1, 2)))) for n in voxels.shape)
    shards = draw(st.tuples(*[st.integers(1, 3)] * 3))
    structures = st.lists(st.sampled_from(tree.node_ids()))
    colors = st.tuples(*[st.integers(0, 255)] * 3)
    asked = st.builds(
        Question,
        structures,
        st.tuples(*[st.sampled_from(RATIOS)] * 3),
        st.floats(0, 0.99),
        st.integers(0, 2**16),
        st.sampled_from([0.0, 0.3, 25.0, 1e6]),
        st.dictionaries(st.sampled_from([*tree.node_ids(), *UNKNOWN]), colors),
    )
    part = draw(st.none() | st.builds(Part, structures, st.sampled_from([0.0, 30.0])))
    space = ReferenceSpace(tree, labelled(voxels, grid))
    return space, Cut(chunks, shards, draw(chunkings(voxels.shape))), part, draw(asked)


@given(situations(), st.sampled_from(WAYS))
@examples(15)
def test_verbs_of_any_volume(situation, way):
    plain, cut, part, asked = situation
    with dask.config.set(scheduler="sync"), memory_url() as url:
        found, expected = place(plain, way(plain, cut, url), part)
        for verb in VERBS.values():
            assert_same(outcome(verb, found, asked), outcome(verb, expected, asked))
