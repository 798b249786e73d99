"""A volume of labels: what it makes of the voxels is what NumPy makes of them."""

import itertools
import pickle
from typing import NamedTuple

import dask
import dask.array as da
import numpy as np
import pytest
from helpers.blocks import blocks_of
from helpers.profiles import examples
from helpers.volumes import IDS, CountingSource, chunkings, raising, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.errors import GridError
from refspace.grid import Grid
from refspace.label_index import MIXED, BlockLabels, LabelIndex
from refspace.labels import HEMISPHERES, LabelVolume, labelled
from refspace.labels.knowledge import BlockKnowledge

SIDES = ("left", "right")


class Case(NamedTuple):
    """A volume, its voxels, and the hemisphere of each as plain NumPy has it."""

    volume: LabelVolume
    voxels: np.ndarray
    sides: np.ndarray
    chunks: tuple


@st.composite
def cases(draw, own=None, max_side=6):
    voxels = draw(volumes((*IDS,), max_side))
    chunks = draw(chunkings(voxels.shape))
    orientation = draw(st.sampled_from(["PIR", "RAS", "LPS", "PIL", "SLA"]))
    grid = Grid(voxels.shape, draw(st.sampled_from([10.0, 25.0, 0.1])), (0, 0, 0), orientation)
    axis = grid.axis("ml")
    midline = draw(st.integers(-1, 2 * grid.shape[axis] + 1)) * grid.spacing[axis] / 2
    labels = labelled(da.from_array(voxels, chunks=chunks), grid)
    if draw(st.booleans()) if own is None else own:
        flags = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 3, grid.shape)
        hemispheres = labelled(da.from_array(flags, chunks=draw(chunkings(grid.shape))), grid)
        sides = flags
        volume = LabelVolume.from_array(labels, hemispheres=hemispheres, midline=midline)
    else:
        sides = sides_of(grid, midline)
        volume = LabelVolume.from_array(labels, midline=midline)
    if draw(st.booleans()):
        volume = volume.with_index()
    return Case(volume, voxels, sides, chunks)


def sides_of(grid, midline):
    """Hemisphere of each voxel: 1 left, its centre on the midline too, 2 right."""
    axis = grid.axis("ml")
    centres = grid.coordinates("ml")
    on_it = np.isclose(centres, midline, rtol=0, atol=1e-4 * grid.spacing[axis])
    beyond = centres > midline if grid.direction("ml") == "right" else centres < midline
    line = np.where(beyond & ~on_it, 2, 1)
    return np.broadcast_to(np.expand_dims(line, [a for a in range(3) if a != axis]), grid.shape)


def check(volume, voxels, sides):
    """A volume says of its voxels what they are, in blocks of its own."""
    np.testing.assert_array_equal(volume.data.compute(scheduler="sync"), voxels)
    assert volume.data.shape == volume.grid.shape == voxels.shape
    np.testing.assert_array_equal(volume.hemisphere_of_voxels.compute(scheduler="sync"), sides)
    labels, counts = np.unique(voxels, return_counts=True)
    expected = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    assert volume.label_counts == volume.label_index.counts() == expected
    known = volume.block_labels
    assert volume.index is None or known is not None
    if known is not None:
        assert known.chunks == volume.chunks
        for block_id, block in blocks_of(voxels, known.chunks).items():
            assert {*np.unique(block)} <= {*known.in_block(block_id)}


def in_side(case, side):
    return np.where(case.sides == HEMISPHERES[side], case.voxels, 0)


@given(cases(), st.sampled_from([None, *SIDES]))
@examples(60)
def test_a_volume_and_its_hemispheres(case, side):
    if side is None:
        check(case.volume, case.voxels, case.sides)
        assert case.volume.chunks == case.chunks
    else:
        volume = case.volume.hemisphere(side)
        check(volume, in_side(case, side), case.sides)
        # Once more changes nothing, and the other side of it is empty.
        check(volume.hemisphere(side), in_side(case, side), case.sides)
        other = SIDES[1 - SIDES.index(side)]
        check(volume.hemisphere(other), np.zeros_like(case.voxels), case.sides)


@given(cases(own=False), st.sampled_from(SIDES))
@examples(60)
def test_the_blocks_of_a_hemisphere_of_an_indexed_volume_are_known_exactly(case, side):
    volume = case.volume.with_index().hemisphere(side)
    voxels = in_side(case, side)
    assert volume.index is not None
    assert volume.index == volume.label_index
    assert volume.index.coarsen(volume.chunks).block_labels == volume.block_labels
    for block_id, block in blocks_of(voxels, volume.chunks).items():
        np.testing.assert_array_equal(volume.block_labels.in_block(block_id), np.unique(block))


@given(cases(own=True), st.sampled_from(SIDES))
@examples(30)
def test_an_index_says_nothing_exact_where_a_volume_separates_the_hemispheres(case, side):
    volume = case.volume.with_index().hemisphere(side)
    assert volume.index is None
    assert volume.block_labels == case.volume.with_index().block_labels.with_label(0)


@st.composite
def boxes(draw, shape):
    box = []
    for count in shape:
        start = draw(st.integers(0, count - 1))
        box.append(slice(start, draw(st.integers(start + 1, count))))
    return tuple(box)


@given(cases(), st.data(), st.sampled_from([None, *SIDES]))
@examples(60)
def test_parts(case, data, side):
    box = data.draw(boxes(case.voxels.shape))
    volume = case.volume if side is None else case.volume.hemisphere(side)
    part = volume.crop(box)
    voxels = case.voxels if side is None else in_side(case, side)
    check(part, voxels[box], case.sides[box])
    assert part.grid == case.volume.grid.crop([s.start for s in box], [s.stop for s in box])
    assert part.hemispheres.midline == volume.hemispheres.midline
    assert part.hemispheres.side == side
    # The index of the whole says nothing exact of a part.
    assert part.index is None


@given(
    cases(), st.sampled_from(["PIR", "RAS", "LPS", "ASR", "SLA"]), st.sampled_from([None, *SIDES])
)
@examples(60)
def test_turned_volumes(case, orientation, side):
    volume = case.volume if side is None else case.volume.hemisphere(side)
    turned, turn = volume.reorient(orientation), volume.grid.reorientation_to(orientation)
    voxels = case.voxels if side is None else in_side(case, side)
    check(turned, turn.apply(voxels), turn.apply(case.sides))
    assert turned.grid.orientation == orientation
    assert (turned.index is None) is (volume.index is None)
    back = turned.reorient(volume.grid.orientation)
    check(back, voxels, case.sides)
    assert back.grid == volume.grid
    assert back.hemispheres.midline == volume.hemispheres.midline


@given(cases(), st.data(), st.sampled_from([None, *SIDES]))
@examples(60)
def test_other_chunks(case, data, side):
    volume = case.volume if side is None else case.volume.hemisphere(side)
    chunks = data.draw(chunkings(case.voxels.shape))
    other = volume.rechunk(chunks)
    assert other.chunks == chunks
    assert other.hemispheres.side is None
    check(other, case.voxels if side is None else in_side(case, side), case.sides)
    assert (other.block_labels is None) is (volume.block_labels is None)
    if side is None:
        assert volume.rechunk(volume.chunks) is volume


@given(cases(), st.sampled_from([None, *SIDES]))
@examples(40)
def test_a_volume_with_an_index(case, side):
    volume = case.volume if side is None else case.volume.hemisphere(side)
    found = volume.with_index()
    check(found, case.voxels if side is None else in_side(case, side), case.sides)
    assert found.hemispheres is volume.hemispheres
    assert found.with_index() is found
    known = found.block_labels
    for block_id, block in blocks_of(found.data.values, known.chunks).items():
        exact = {*np.unique(block)}
        assert {*known.in_block(block_id)} >= exact
        if side is None:
            assert {*known.in_block(block_id)} == exact


@given(cases(), st.sampled_from([None, *SIDES]), st.lists(st.sampled_from(IDS), max_size=3))
@examples(60)
def test_the_blocks_that_a_mask_reads(case, side, ids):
    volume = case.volume if side is None else case.volume.hemisphere(side)
    read = volume.blocks_read(ids)
    assert read.shape == volume.data.data.numblocks
    voxels = case.voxels if side is None else in_side(case, side)
    for block_id, block in blocks_of(voxels, volume.chunks).items():
        inside = np.isin(block, ids)
        if not read[block_id] and volume.hemispheres.volume is None:
            assert inside.all() or not inside.any()


# ----- what is read

SHAPE, CHUNKS = (4, 4, 6), ((2, 2), (4,), (2, 2, 2))
VOXELS = np.random.default_rng(2).integers(1, 4, SHAPE).astype("u4")


def counted(**kwargs):
    source = CountingSource(VOXELS)
    grid = Grid(SHAPE, 10)
    return source, LabelVolume.from_array(labelled(source.dask(CHUNKS), grid), **kwargs)


def test_nothing_is_read_before_it_is_needed():
    with dask.config.set(scheduler=raising):
        source, volume = counted(midline=30)
        left = volume.hemisphere("left")
        for each in (volume, left, left.crop((slice(1, 3),) * 3), left.reorient("RAS")):
            each.data, each.block_labels, each.index, each.hemisphere_of_voxels  # noqa: B018
            each.blocks_read([2])
            each.downsample(20)
    assert source.reads == []


def test_of_the_other_hemisphere_nothing_is_read():
    source, volume = counted(midline=30)
    left = volume.hemisphere("left")
    assert left.chunks == ((2, 2), (4,), (2, 1, 1, 2))
    left.data.compute()
    assert {block[2] for block in source.chunk_reads(CHUNKS)} == {0, 1}
    source.reads.clear()
    assert left.label_counts[0] == VOXELS[..., 3:].size
    assert {block[2] for block in source.chunk_reads(CHUNKS)} == {0, 1}
    np.testing.assert_array_equal(left.blocks_read([2])[0, 0], [True, True, False, False])


def test_an_index_is_measured_in_one_pass_and_once():
    source, volume = counted(midline=30)
    every = {*itertools.product(range(2), range(1), range(3))}
    index = volume.label_index
    assert source.chunk_reads(CHUNKS) == dict.fromkeys(every, 1)
    found = volume.with_index()
    assert found.index is index
    assert len(source.reads) == len(every)
    for each in (found, *map(found.hemisphere, SIDES), found.reorient("LIA")):
        each.label_counts, each.label_index, each.block_labels  # noqa: B018
    assert len(source.reads) == len(every)


def test_blocks_of_one_label_are_not_read_where_a_volume_separates_the_hemispheres():
    voxels = np.array(VOXELS)
    voxels[:, :, 2:4] = 0
    voxels[:2, :, 4:] = 3
    source, grid = CountingSource(voxels), Grid(SHAPE, 10)
    flags = labelled(np.broadcast_to(np.array([1, 2] * 3, "u1"), SHAPE).copy(), grid)
    volume = LabelVolume.from_array(labelled(source.dask(CHUNKS), grid), hemispheres=flags)
    right = volume.with_index().hemisphere("right")
    source.reads.clear()
    np.testing.assert_array_equal(right.data, np.where(flags == 2, voxels, 0))
    assert {*source.chunk_reads(CHUNKS)} == {(0, 0, 0), (1, 0, 0), (1, 0, 2)}


def test_bytes_of_blocks_that_the_midline_cuts():
    _, volume = counted(midline=30)
    stored = np.arange(6).reshape(2, 1, 3)
    known = BlockKnowledge(stored_bytes=type(volume.blocks.stored_bytes)(lambda: stored))
    volume = volume.with_knowledge(known)
    np.testing.assert_array_equal(volume.stored_bytes, stored)
    left = volume.hemisphere("left").stored_bytes
    np.testing.assert_array_equal(left, stored[..., [0, 1, 1, 2]])


def test_a_volume_is_a_value():
    _, volume = counted(midline=30)
    with pytest.raises(AttributeError):
        volume.grid = None
    with pytest.raises(GridError, match="hemisphere is 'both'; give 'left' or 'right'"):
        volume.hemisphere("both")
    plain = LabelVolume.from_array(VOXELS, 10, midline=30).with_index().hemisphere("left")
    again = pickle.loads(pickle.dumps(plain))
    np.testing.assert_array_equal(again.data, plain.data)
    assert again.block_labels == plain.block_labels
    assert isinstance(again.block_labels, BlockLabels)
    assert isinstance(again.index, LabelIndex)
    assert (again.blocks_read([2]) == (plain.block_labels.verdicts([2]) == MIXED)).all()
