"""Where structures are: bounding boxes, centroids, the space cropped to them, what a mask reads."""

import math
from typing import NamedTuple

import dask.array
import numpy as np
import pytest
import xarray as xr
from helpers.strategies import families, few
from helpers.volumes import (
    IDS,
    RESOLUTIONS,
    UNKNOWN,
    CountingSource,
    bounding_box,
    chunked,
    chunkings,
    padded,
    subtree,
    volumes,
)
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import AnnotationError, GridError, StructureNotFoundError
from refspace.grid import Grid
from refspace.labels import labelled


class Case(NamedTuple):
    """A volume somewhere in space, and structures to look for in it."""

    space: ReferenceSpace
    voxels: np.ndarray
    structures: list
    direct_only: bool

    @property
    def labels(self):
        """Labels of the structures' voxels."""
        tree = self.space.structure_tree
        inside = [[i] if self.direct_only else subtree(tree, i) for i in self.structures]
        return {i for ids in inside for i in ids}

    @property
    def box(self):
        """Corners of the structures; 0 is outside, even if a structure has that id."""
        return bounding_box(self.voxels, self.labels - {0})


@st.composite
def cases(draw):
    tree = draw(families(8, st.sampled_from([0, *IDS]))).tree()
    voxels = draw(volumes((*tree.node_ids(), *UNKNOWN)))
    spacing = draw(st.tuples(*[st.sampled_from(RESOLUTIONS)] * 3))
    origin = draw(st.tuples(*[st.sampled_from([0.0, -57.5, 1e4])] * 3))
    grid = Grid(voxels.shape, spacing, origin, draw(st.sampled_from(["PIR", "RAS", "SRA"])))
    space = ReferenceSpace(tree, labelled(chunked(voxels, draw(chunkings(voxels.shape))), grid))
    structures = draw(st.lists(st.sampled_from(tree.node_ids()), max_size=3))
    return Case(space, voxels, structures, draw(st.booleans()))


# In voxels; a tenth of a voxel is not exact in binary.
pads = st.tuples(*[st.sampled_from([0.0, 0.1, 0.7, 1.0, 1.1, 2.5, 100.0])] * 3)

# Two structures in a volume of 20 × 30 × 40 µm, and one without voxels.
TREE = StructureTree(
    {"id": i, "acronym": f"s{i}", "structure_id_path": [1] if i == 1 else [1, i]}
    for i in (1, 2, 3, 70000)
)
VOXELS = np.zeros((4, 6, 8), "u4")
VOXELS[1:3, 1:5, 2:6] = 2
VOXELS[2, 3:, 5] = 70000


@pytest.fixture
def space():
    return ReferenceSpace(TREE, VOXELS, (5, 5, 5))


# ----- bounding boxes


@given(cases())
@few
def test_bounds(case):
    box = case.box
    if box is None:
        with pytest.raises(AnnotationError, match=r"has no voxels here; total_voxel_map says"):
            case.space.bounds(case.structures, case.direct_only)
        return
    bounds = case.space.bounds(case.structures, case.direct_only)
    grid = case.space.grid
    for axis, dim in enumerate(grid.dims):
        start, stop = int(box[0][axis]), int(box[1][axis])
        assert bounds.voxels[dim] == slice(start, stop)
        edges = [grid.origin[axis] + n * grid.spacing[axis] for n in (start, stop)]
        assert bounds.positions[dim] == pytest.approx(edges)
    assert list(bounds.voxels) == list(bounds.positions) == list(grid.dims)


@given(cases())
@few
def test_centroids(case):
    places = np.argwhere(np.isin(case.voxels.astype("i8"), sorted(case.labels - {0})))
    if not len(places):
        with pytest.raises(AnnotationError, match=r"has no voxels here"):
            case.space.centroid(case.structures, case.direct_only)
        return
    grid = case.space.grid
    centroid = case.space.centroid(case.structures, case.direct_only)
    means = [grid.coordinates(dim)[n].mean() for dim, n in zip(grid.dims, places.T, strict=True)]
    assert list(centroid) == list(grid.dims)
    assert list(centroid.values()) == pytest.approx(means)


def test_bounds_are_what_isel_takes(space):
    bounds = space.bounds("s2")
    assert bounds.voxels == {"ap": slice(1, 3), "dv": slice(1, 5), "ml": slice(2, 6)}
    assert bounds.positions == {"ap": (5, 15), "dv": (5, 25), "ml": (10, 30)}
    assert (space.annotation.isel(bounds.voxels) == VOXELS[1:3, 1:5, 2:6]).all()


@pytest.mark.parametrize("verb", ["bounds", "centroid", "crop"])
@pytest.mark.parametrize(
    ("structures", "text"),
    [
        (3, r"^3 has no voxels here; total_voxel_map says which have$"),
        ("s3", r"^3 has no voxels here"),
        (("s3", 3), r"^3, 3 has no voxels here"),
        ([], r"^an empty list has no voxels here"),
    ],
)
def test_structures_without_voxels_are_nowhere(space, verb, structures, text):
    with pytest.raises(AnnotationError, match=text):
        getattr(space, verb)(structures)


@pytest.mark.parametrize("verb", ["bounds", "centroid", "crop", "plan"])
def test_unknown_structures_are_nowhere(space, verb):
    with pytest.raises(StructureNotFoundError, match=r"'S2'; did you mean s2"):
        getattr(space, verb)("S2")


def test_the_background_is_nowhere():
    tree = StructureTree([{"id": 0, "structure_id_path": [0]}])
    zeros = ReferenceSpace(tree, np.zeros((2, 2, 2), "u1"), 25)
    for verb in (zeros.bounds, zeros.centroid, zeros.crop):
        with pytest.raises(AnnotationError, match=r"^0 has no voxels here"):
            verb(0)
    assert not zeros.make_structure_mask(0).any()
    assert zeros.plan(0).blocks == () or zeros.block_labels is None


VERBS = {
    "mask": lambda s, ids: s.make_structure_mask(ids),
    "cropped mask": lambda s, ids: s.make_structure_mask(ids, crop=True),
    "coverage": lambda s, ids: s.validate_structures(ids, VOXELS)[1],
    "crop": lambda s, ids: s.crop(ids).annotation,
    "bounds": lambda s, ids: s.bounds(ids),
    "centroid": lambda s, ids: s.centroid(ids),
    "plan": lambda s, ids: s.plan(ids),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_structures_may_come_one_by_one(space, verb):
    once, listed = verb(space, iter(["s2", 70000])), verb(space, ["s2", 70000])
    assert once.identical(listed) if isinstance(listed, xr.DataArray) else once == listed


# ----- crops


@given(cases(), pads)
@few
def test_crops(case, pads):
    if (box := case.box) is None:
        return
    grid = case.space.grid
    pad = [round(n * s, 9) for n, s in zip(pads, grid.spacing, strict=True)]
    part = case.space.crop(case.structures, pad=pad, direct_only=case.direct_only)
    inside = padded(box, pad, grid.spacing, case.voxels.shape)
    expected = case.space.annotation.isel(dict(zip(grid.dims, inside, strict=True)))
    xr.testing.assert_identical(part.annotation, expected)
    np.testing.assert_array_equal(part.annotation, case.voxels[inside])
    assert part.structure_tree is case.space.structure_tree
    assert part.grid.shape == expected.shape
    assert (part.grid.spacing, part.grid.orientation) == (grid.spacing, grid.orientation)
    origin = [o + a.start * s for o, a, s in zip(grid.origin, inside, grid.spacing, strict=True)]
    assert part.grid.origin == pytest.approx(origin)


@given(cases())
@few
def test_cropped_masks(case):
    if (box := case.box) is None:
        return
    mask = case.space.make_structure_mask(case.structures, case.direct_only, crop=True)
    inside = padded(box, (0, 0, 0), case.space.resolution, case.voxels.shape)
    expected = np.isin(case.voxels[inside].astype("i8"), sorted(case.labels - {0}))
    np.testing.assert_array_equal(mask, expected)
    assert (mask.dtype, mask.name) == (bool, "mask")
    assert mask.attrs["structure_ids"] == case.structures
    part = case.space.crop(case.structures, direct_only=case.direct_only)
    xr.testing.assert_identical(mask.coords.to_dataset(), part.annotation.coords.to_dataset())


@pytest.mark.parametrize(
    ("pad", "shape"),
    [
        (0, (2, 4, 4)),
        (-0.0, (2, 4, 4)),
        (1e-9, (2, 4, 4)),
        (0.1, (4, 6, 6)),
        (5, (4, 6, 6)),
        (5.1, (4, 6, 8)),
        (1e9, (4, 6, 8)),
        ((0, 0, 5), (2, 4, 6)),
        ([5, 0, 0], (4, 4, 4)),
        (np.array([0, 5, 7]), (2, 6, 8)),
        (np.float32(5), (4, 6, 6)),
    ],
)
def test_pads(space, pad, shape):
    assert space.crop("s2", pad=pad).annotation.shape == shape


@pytest.mark.parametrize(
    "pad", [-1, (5, 5, -5), math.nan, math.inf, None, "far", [], (5, 5), (5,) * 4, {"ap": 5}]
)
def test_pads_that_are_no_lengths(space, pad):
    with pytest.raises(GridError, match=r"^pad is .*; give µm to add on each side, one number or "):
        space.crop("s2", pad=pad)


def test_a_crop_keeps_template_and_provenance(tmp_path):
    template = labelled(
        np.arange(VOXELS.size, dtype="u2").reshape(VOXELS.shape), Grid(VOXELS.shape, 5)
    )
    plain = ReferenceSpace(TREE, VOXELS, 5, template=template)
    space = ReferenceSpace.from_volume(
        TREE, plain.volume, template=plain.template, provenance={"version": "7"}
    )
    space.to_zarr(tmp_path / "atlas.zarr", chunks=3)
    for whole in (space, refspace.open(tmp_path / "atlas.zarr")):
        part = whole.crop("s2")
        xr.testing.assert_equal(part.template, template[1:3, 1:5, 2:6])
        assert part.template.dtype == template.dtype
        assert part.provenance["version"] == "7"


def test_a_crop_of_a_crop(space):
    part = space.crop("s2").crop(70000, pad=(5, 0, 0))
    np.testing.assert_array_equal(part.annotation, VOXELS[1:3, 3:5, 5:6])
    assert part.bounds(70000).positions == {"ap": (10, 15), "dv": (15, 25), "ml": (25, 30)}
    assert part.total_voxel_map == {1: 4, 2: 2, 3: 0, 70000: 2}


# ----- plans


def mixed_blocks(voxels, chunks, labels):
    """Blocks in which some voxels have one of the labels and others have not."""
    inside = np.isin(voxels.astype("i8"), sorted(labels))
    parts = dask.array.core.slices_from_chunks(chunks)
    numbers = np.ndindex(*map(len, chunks))
    return {n: part for n, part in zip(numbers, parts, strict=True) if 0 < inside[part].mean() < 1}


@given(cases())
@few
def test_plans(case):
    chunks = case.space.annotation.chunks
    unknown = case.space.plan(case.structures, case.direct_only)
    blocks = tuple(np.ndindex(*map(len, chunks)))
    assert unknown.blocks == blocks
    assert (unknown.block_count, unknown.nbytes) == (len(blocks), case.voxels.nbytes)
    assert unknown.stored_bytes is None
    plan = case.space.with_index().plan(case.structures, case.direct_only)
    expected = mixed_blocks(case.voxels, chunks, case.labels - {0})
    assert plan.blocks == tuple(expected)
    assert plan.nbytes == sum(case.voxels[part].nbytes for part in expected.values())
    assert (plan.block_count, plan.stored_bytes) == (len(blocks), None)


@given(cases(), pads)
@few
def test_masks_read_what_was_planned(case, pads):
    chunks = case.space.annotation.chunks
    source = CountingSource(case.voxels)
    space = ReferenceSpace(
        case.space.structure_tree, labelled(source.dask(chunks), case.space.grid)
    )
    space = space.with_index()
    source.reads.clear()
    plan = space.plan(case.structures, case.direct_only)
    space.make_structure_mask(case.structures, case.direct_only).compute(scheduler="sync")
    assert source.chunk_reads(chunks) == dict.fromkeys(plan.blocks, 1)
    if case.box is not None:
        part = space.crop(case.structures, pad=np.multiply(pads, space.resolution))
        source.reads.clear()
        plan = part.plan(case.structures, case.direct_only)
        part.make_structure_mask(case.structures, case.direct_only).compute(scheduler="sync")
        assert len(source.reads) == len(source.chunk_reads(chunks)) == len(plan.blocks)


def test_a_plan_tells_what_it_reads(space):
    assert str(space.plan("s2")) == "reads 1 of 1 blocks: 0.000768 MB"
    space = space.with_index()
    assert str(space.plan("s3")) == "reads 0 of 1 blocks: 0 MB"
    assert space.plan([]).blocks == ()


@pytest.mark.parametrize("shards", [None, 6])
def test_a_plan_of_a_store_knows_the_size_of_its_files(space, tmp_path, shards):
    url = tmp_path / "atlas.zarr"
    space.to_zarr(url, chunks=3, shards=shards)
    stored = refspace.open(url)
    # The second crop begins and ends where chunks do.
    for part in (stored, stored.crop(70000, pad=(0, 5, 0)), stored.crop(70000, pad=(0, 0, 10))):
        plan = part.plan("s2")
        numbers = [part_of_whole(stored, part, number) for number in plan.blocks]
        files = [url / "s0/annotation/c" / "/".join(map(str, number)) for number in numbers]
        assert plan.stored_bytes == sum(file.stat().st_size for file in files) > 0
        assert str(plan).endswith(f"{plan.stored_bytes / 1e6:.3g} MB as stored")


def part_of_whole(whole, part, number):
    """Number of a block of a part among those of the whole."""
    place = [
        float(part.annotation[dim][sum(sizes[:i])])
        for dim, sizes, i in zip(part.grid.dims, part.annotation.chunks, number, strict=True)
    ]
    index = [whole.grid.index(dim, p) for dim, p in zip(whole.grid.dims, place, strict=True)]
    ends = [np.cumsum(sizes) for sizes in whole.annotation.chunks]
    return [int(np.searchsorted(e, i, side="right")) for e, i in zip(ends, index, strict=True)]
