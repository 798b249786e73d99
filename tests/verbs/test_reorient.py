"""Turned axes: the same voxels in the same places, and all that is known of them."""

import itertools
import math

import dask
import numpy as np
import pytest
import xarray as xr
from helpers.places import half, memory_url
from helpers.profiles import examples
from helpers.strategies import families
from helpers.volumes import IDS, UNKNOWN, chunkings, grids, volumes
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

import refspace
from refspace import ReferenceSpace
from refspace.errors import GridError, StoreError
from refspace.grid import Grid
from refspace.label_index import LabelIndex, cell_rows
from refspace.labels import in_frame, infer_grid, labelled, reorient
from refspace.store import verify_store
from refspace.store.stored_array import StoredArray

ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(["AP", "SI", "LR"])
    for letters in itertools.product(*axes)
]
OPPOSITE = dict(zip("ASLPIR", "PIRASL", strict=True))
VISP = 385


def turned(voxels, old, new):
    """Transposed and flipped by NumPy: an axis is flipped where its letter has changed."""
    letters = [letter if letter in old else OPPOSITE[letter] for letter in new]
    result = voxels.transpose([old.index(letter) for letter in letters])
    flips = [axis for axis in range(3) if letters[axis] != new[axis]]
    return np.flip(result, flips)


def test_there_are_48_orientations():
    assert len({*ORIENTATIONS}) == 48


# ----- volumes


@pytest.mark.parametrize("new", ORIENTATIONS)
@pytest.mark.parametrize("old", ["PIR", "RAS", "SLA"])
def test_volumes_are_turned_as_numpy_and_nibabel_turn_them(old, new):
    voxels = np.arange(24, dtype="u4").reshape(2, 3, 4)
    grid = Grid(voxels.shape, (10, 25, 33.3), (100, -57.5, 0), old)
    result = reorient(labelled(voxels, grid), new)
    np.testing.assert_array_equal(result, turned(voxels, old, new))
    transform = ornt_transform(axcodes2ornt(tuple(old)), axcodes2ornt(tuple(new)))
    np.testing.assert_array_equal(result, apply_orientation(voxels, transform))
    assert result.dims == grid.reorient(new).dims
    assert infer_grid(result) == grid.reorient(new)


@given(grids, st.sampled_from(ORIENTATIONS))
def test_there_and_back_is_the_same_to_the_last_digit(grid, orientation):
    volume = labelled(np.arange(math.prod(grid.shape), dtype="u4").reshape(grid.shape), grid)
    there = reorient(volume, orientation)
    xr.testing.assert_identical(reorient(there, grid.orientation), volume)
    for dim in grid.dims:
        assert there[dim].values.tolist() == grid.reorient(orientation).coordinates(dim).tolist()
        assert there[dim].attrs["direction"] == grid.frame_direction(dim)


@given(grids, st.sampled_from(ORIENTATIONS))
def test_xarray_aligns_what_is_stored_in_any_order(grid, orientation):
    voxels = np.arange(math.prod(grid.shape), dtype="i8").reshape(grid.shape)
    volume = labelled(voxels, grid)
    there = labelled(turned(voxels, grid.orientation, orientation), grid.reorient(orientation))
    assert (there + volume).size == volume.size
    assert ((there - volume) == 0).all()


@given(grids, st.sampled_from(ORIENTATIONS))
def test_another_frame_and_back_is_the_same_to_the_last_digit(grid, frame):
    volume = labelled(np.zeros(grid.shape, "u4"), grid)
    there = in_frame(volume, frame)
    assert set(infer_grid(there).frame) == set(frame)
    for dim in grid.dims:
        same = infer_grid(there).frame_direction(dim) == grid.frame_direction(dim)
        np.testing.assert_array_equal(there[dim], volume[dim] if same else -volume[dim].values)
    xr.testing.assert_identical(in_frame(there, grid.frame), volume)


def test_every_voxel_keeps_its_value_and_its_place():
    space = refspace.phantom(resolution=200)
    there = space.reorient("LAS").annotation
    here = space.annotation
    for index in [(10, 20, 30), (0, 0, 0), (65, 39, 56)]:
        voxel = here[index]
        place = {"ap": voxel.ap, "dv": voxel.dv, "ml": voxel.ml}
        assert there.sel(place).values == voxel.values
        assert there.sel(place).hemisphere == voxel.hemisphere


def test_turning_computes_nothing():
    space = refspace.phantom(resolution=200)

    def refuse(*args, **kwargs):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        mask = space.reorient("LSA").hemisphere("left").make_structure_mask("VISp")
    chunks = space.hemisphere("left").annotation.chunks
    assert mask.chunks == (chunks[2][::-1], chunks[1][::-1], chunks[0][::-1])


def test_arrays_of_xarray_without_dask_stay_where_they_are(tmp_path):
    refspace.phantom(resolution=400).to_zarr(tmp_path / "a.zarr")
    lazy = xr.open_zarr(tmp_path / "a.zarr", group="s0", chunks=None).annotation
    there = reorient(lazy, "RAS")
    assert not there.variable._in_memory
    np.testing.assert_array_equal(there, turned(lazy.values, "PIR", "RAS"))


@pytest.mark.parametrize("wrong", ["", "PI", "PIRR", "PPR", "xyz", None, 3])
def test_what_is_no_orientation(wrong):
    space = refspace.phantom(resolution=400)
    for verb in (space.reorient, space.in_frame):
        with pytest.raises(GridError, match="is not a code of three letters"):
            verb(wrong)


def test_volumes_without_coordinates_cannot_be_turned():
    with pytest.raises(GridError, match="no coordinates; give a resolution"):
        reorient(xr.DataArray(np.zeros((1, 1, 1)), dims=("ap", "dv", "ml")), "RAS")


# ----- what is known of the blocks


@st.composite
def cut_volumes(draw):
    voxels = draw(volumes())
    return voxels, draw(chunkings(voxels.shape))


def index_of(voxels, chunks):
    return LabelIndex.from_rows(voxels.shape, chunks, [cell_rows(voxels, (0, 0, 0), chunks)])


@given(cut_volumes(), st.sampled_from(ORIENTATIONS))
def test_an_index_is_turned_as_its_volume(case, orientation):
    voxels, chunks = case
    index, turn = (
        index_of(voxels, chunks),
        Grid(voxels.shape, (1, 1, 1)).reorientation_to(orientation),
    )
    assert index.reorient(turn) == index_of(turned(voxels, "PIR", orientation), turn.chunks(chunks))
    assert index.reorient(turn).block_labels == index.block_labels.reorient(turn)


@given(cut_volumes(), st.data())
def test_an_index_is_cropped_as_its_volume(case, data):
    voxels, chunks = case
    ends = [np.cumsum((0, *sizes)).tolist() for sizes in chunks]
    pairs = [data.draw(st.sampled_from([*itertools.combinations(axis, 2)])) for axis in ends]
    start, stop = zip(*pairs, strict=True)
    kept = [
        tuple(np.diff([e for e in axis if a <= e <= b]).tolist())
        for axis, (a, b) in zip(ends, pairs, strict=True)
    ]
    part = voxels[tuple(slice(a, b) for a, b in pairs)]
    assert index_of(voxels, chunks).crop(start, stop) == index_of(part, tuple(kept))


@pytest.mark.parametrize(("start", "stop"), [(1, 4), (2, 2), (4, 2), (0, 5), (-2, 2)])
def test_an_index_is_cut_between_its_chunks_alone(start, stop):
    index = index_of(np.zeros((1, 1, 4), "u4"), ((1,), (1,), (2, 2)))
    with pytest.raises(GridError, match="is no union of whole chunks"):
        index.crop((0, 0, start), (1, 1, stop))


# ----- spaces


@st.composite
def situations(draw):
    tree = draw(families(6, st.sampled_from(IDS))).tree()
    voxels = draw(volumes((*tree.node_ids(), *UNKNOWN)))
    spacing = draw(st.tuples(*[st.sampled_from([10.0, 33.3, 39.0625, 1 / 3])] * 3))
    grid = Grid(voxels.shape, spacing, (0, -57.5, 1e4), draw(st.sampled_from(ORIENTATIONS)))
    beside = np.random.default_rng(7).integers(0, 4, grid.shape)
    sides = beside % 3
    own = None
    if draw(st.booleans()) and {1, 2} <= {*sides.ravel().tolist()}:
        own = labelled(sides, grid)
    template = labelled(beside.astype("f4"), grid)
    space = ReferenceSpace(tree, labelled(voxels, grid), template=template, hemispheres=own)
    return space, draw(st.sampled_from(ORIENTATIONS)), draw(st.sampled_from(tree.node_ids()))


@given(situations(), st.booleans())
@examples(60)
def test_answers_of_a_turned_space_are_turned_answers(situation, is_stored):
    plain, new, structure = situation
    old, sizes = plain.grid.orientation, [max(1, n // 2) for n in plain.grid.shape]
    with dask.config.set(scheduler="sync"), memory_url() as url:
        space = plain
        if is_stored:
            plain.to_zarr(url, chunks=sizes)
            space = refspace.open(url)
        there = space.reorient(new)
        assert there.grid.orientation == new
        for name in ("annotation", "template", "hemispheres"):
            found, expected = getattr(there, name), getattr(plain, name)
            np.testing.assert_array_equal(found, turned(expected.values, old, new))
        for hemisphere in (None, "left", "right"):
            before, after = half(plain, hemisphere), half(there, hemisphere)
            mask = before.make_structure_mask(structure).values
            found = after.make_structure_mask(structure)
            np.testing.assert_array_equal(found, turned(mask, old, new))
            counts = before.total_voxel_counts()
            assert after.total_voxel_counts() == counts
            assert after.plan(structure).nbytes == half(space, hemisphere).plan(structure).nbytes
            if counts[structure]:
                check_centroids(plain, there, structure, hemisphere)
        back = there.reorient(old)
        xr.testing.assert_identical(back.annotation.compute(), plain.annotation.compute())
        assert (back.grid, back.midline) == (plain.grid, plain.midline)


def check_centroids(plain, there, structure, hemisphere):
    before = half(plain, hemisphere).centroid(structure)
    for dim, position in half(there, hemisphere).centroid(structure).items():
        assert position == pytest.approx(before[dim], abs=1e-5)


def test_what_is_known_of_a_part_is_turned_too(phantom_store):
    part = refspace.open(phantom_store).crop("VISp", pad=3000)
    there = part.reorient("LPS")
    plan, before = there.plan("VISp"), part.plan("VISp")
    assert (plan.nbytes, plan.stored_bytes) == (before.nbytes, before.stored_bytes)
    assert len(plan.blocks) < plan.block_count


def test_a_turned_store_is_asked_without_reading(phantom_store, monkeypatch):
    space = refspace.open(phantom_store)
    expected = space.total_voxel_map, space.bounds("VISp").positions, space.centroid("VISp")

    def refuse(self, key, data):
        assert self.ndim != 3, f"{key} was read"
        return decoded(self, key, data)

    decoded = StoredArray.decoded
    monkeypatch.setattr(StoredArray, "decoded", refuse)
    there = refspace.open(phantom_store).reorient("RAS")
    assert there.total_voxel_map == expected[0]
    assert there.bounds("VISp").positions == expected[1]
    assert there.centroid("VISp") == pytest.approx(expected[2])
    low, high = expected[1]["ap"]
    assert there.in_frame("RAS").bounds("VISp").positions["ap"] == (-high, -low)
    assert there.plan("VISp").stored_bytes == space.plan("VISp").stored_bytes


def test_a_turned_space_is_stored_as_any_other(tmp_path):
    there = refspace.phantom(resolution=200).reorient("LPS")
    there.to_zarr(tmp_path / "a.zarr", chunks=32)
    stored = refspace.open(tmp_path / "a.zarr")
    # Along the frame, its axes in the order of the array.
    assert (stored.grid, stored.midline) == (there.grid.reorient("RPI"), there.midline)
    assert verify_store(tmp_path / "a.zarr").faults == ()
    np.testing.assert_array_equal(stored.annotation, turned(there.annotation.values, "LPS", "RPI"))
    assert (stored.annotation == there.annotation).all()
    assert stored.hemisphere("left").total_voxel_counts() == (
        there.hemisphere("left").total_voxel_counts()
    )


def test_a_turned_store_is_not_written_over_while_it_is_read():
    with memory_url() as url:
        refspace.phantom(resolution=400).to_zarr(url)
        with pytest.raises(StoreError, match="written over while it is read"):
            refspace.open(url).reorient("RAS").to_zarr(url, overwrite=True)


@pytest.mark.ccf
def test_the_real_annotation_turned(ccf_store):
    space = refspace.open(ccf_store)
    there = space.reorient("RAS")
    assert there.annotation.shape == (456, 528, 320)
    assert there.total_voxel_map[VISP] == 452_664
    mask = there.hemisphere("left").make_structure_mask("VISp")
    assert int(mask.sum()) == space.hemisphere("left").total_voxel_counts()[VISP]
