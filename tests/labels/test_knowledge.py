"""What is known of blocks: made once, when needed, and the same in another process."""

import functools
import pickle

import numpy as np
import pytest
from helpers.blocks import block_labels_of, blocks_of
from helpers.volumes import chunkings, volumes
from hypothesis import given
from hypothesis import strategies as st

from refspace.grid import Grid
from refspace.label_index import LabelIndex, chunk_rows
from refspace.labels.knowledge import UNKNOWN, BlockKnowledge, Once

VOXELS = np.random.default_rng(6).choice(np.array([0, 7, 9], "u4"), (4, 3, 5))
CHUNKS = ((2, 2), (3,), (4, 1))
CALLS = []


def counted(value):
    CALLS.append(value)
    return value


def index_of(voxels, chunks):
    starts = [np.cumsum([0, *sizes]) for sizes in chunks]
    parts = [
        chunk_rows(block, n, [int(s[i]) for s, i in zip(starts, block_id, strict=True)])
        for n, (block_id, block) in enumerate(blocks_of(voxels, chunks).items())
    ]
    return LabelIndex.from_rows(voxels.shape, chunks, parts)


def indexed(voxels, cells, chunks, stored=None):
    stored_bytes = (
        {} if stored is None else {"stored_bytes": Once(functools.partial(counted, stored))}
    )
    index = functools.partial(counted, index_of(voxels, cells))
    return BlockKnowledge.indexed(Once(index), chunks, **stored_bytes)


@pytest.fixture(autouse=True)
def _nothing_made():
    CALLS.clear()


# ----- once


@pytest.mark.parametrize("value", [25, None, 0])
def test_a_value_is_made_when_it_is_needed_and_once(value):
    known = Once(functools.partial(counted, value))
    assert CALLS == []
    assert known() is known() is value
    assert [value] == CALLS


def test_what_fails_is_tried_again():
    def make():
        CALLS.append("tried")
        if len(CALLS) == 1:
            raise OSError("gone")
        return 5

    known = Once(make)
    with pytest.raises(OSError, match="gone"):
        known()
    assert known() == known() == 5
    assert CALLS == ["tried"] * 2


def test_another_process_gets_how_it_is_made():
    known = Once(functools.partial(counted, 25))
    known()
    again = pickle.loads(pickle.dumps(known))
    assert CALLS == [25]
    assert again() == 25
    assert CALLS == [25, 25]


# ----- what is known


def test_by_default_nothing_is_known():
    box = (slice(0, 2),) * 3
    turned = Grid((4, 3, 5), 10).reorientation_to("RAS")
    for known in (UNKNOWN, BlockKnowledge(), UNKNOWN.crop(box, CHUNKS), UNKNOWN.reorient(turned)):
        assert known.index() is known.block_labels() is known.stored_bytes() is None


def test_an_index_is_not_read_before_it_is_needed():
    known = indexed(VOXELS, CHUNKS, CHUNKS, np.arange(4).reshape(2, 1, 2))
    turned = Grid(VOXELS.shape, 10).reorientation_to("RAS")
    part, other = known.crop((slice(1, 4),) * 3, CHUNKS), known.reorient(turned)
    assert CALLS == []
    part.block_labels(), other.index(), other.block_labels(), known.index()
    # Once for all that is made of it.
    assert len(CALLS) == 1
    part.stored_bytes(), other.stored_bytes()
    assert len(CALLS) == 2


def test_an_index_that_is_not_there_after_all():
    known = BlockKnowledge.indexed(Once(functools.partial(counted, None)), CHUNKS)
    turned = Grid(VOXELS.shape, 10).reorientation_to("RAS")
    for each in (known, known.crop((slice(0, 2),) * 3, CHUNKS), known.reorient(turned)):
        assert each.index() is each.block_labels() is each.stored_bytes() is None


def test_blocks_of_an_index_of_smaller_cells():
    cells = ((1, 1, 2), (3,), (2, 2, 1))
    known = indexed(VOXELS, cells, CHUNKS)
    assert known.index() == index_of(VOXELS, cells)
    assert known.block_labels() == index_of(VOXELS, CHUNKS).block_labels


def test_bounded_knowledge_has_no_index():
    labels = block_labels_of(VOXELS, CHUNKS)
    known = BlockKnowledge.bounded(labels)
    assert known.block_labels() is labels
    assert known.index() is known.stored_bytes() is None
    again = pickle.loads(pickle.dumps(known))
    assert again.block_labels() == labels


@st.composite
def chunked(draw):
    voxels = draw(volumes())
    return voxels, draw(chunkings(voxels.shape))


@given(chunked(), st.data())
def test_a_part_is_bounded(case, data):
    voxels, chunks = case
    box = []
    for count in voxels.shape:
        start, stop = sorted(
            data.draw(st.tuples(*[st.integers(0, count)] * 2).filter(lambda p: p[0] != p[1]))
        )
        box.append(slice(start, stop))
    blocks = np.arange(np.prod([*map(len, chunks)])).reshape([*map(len, chunks)])
    part = indexed(voxels, chunks, chunks, blocks).crop(tuple(box), chunks)
    assert part.index() is None
    labels = part.block_labels()
    assert labels == index_of(voxels, chunks).block_labels.crop(tuple(box))
    for block_id, block in blocks_of(voxels[tuple(box)], labels.chunks).items():
        assert {*np.unique(block)} <= {*labels.in_block(block_id)}
    # A number for each block that the part meets, in their order.
    number = np.empty(voxels.shape, int)
    edges = [np.cumsum([0, *sizes]) for sizes in chunks]
    for block_id in np.ndindex(blocks.shape):
        inside = tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, block_id, strict=True))
        number[inside] = blocks[block_id]
    expected = [b[0, 0, 0] for b in blocks_of(number[tuple(box)], labels.chunks).values()]
    assert part.stored_bytes().ravel().tolist() == expected
    assert part.stored_bytes().shape == labels.shape


@given(chunked(), st.sampled_from(["PIR", "RAS", "LPS", "ASR", "SLA"]))
def test_turned_knowledge_is_that_of_the_turned_voxels(case, orientation):
    voxels, chunks = case
    turn = Grid(voxels.shape, 10).reorientation_to(orientation)
    blocks = np.arange(np.prod([*map(len, chunks)])).reshape([*map(len, chunks)])
    turned = indexed(voxels, chunks, chunks, blocks).reorient(turn)
    expected = index_of(turn.apply(voxels), turn.chunks(chunks))
    assert turned.index() == expected
    assert turned.block_labels() == expected.block_labels
    np.testing.assert_array_equal(turned.stored_bytes(), turn.apply(blocks))
