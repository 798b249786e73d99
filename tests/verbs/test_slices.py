"""Slices in colours, and what they read: chunks in which a box of two colours meets the plane."""

import dask
import numpy as np
import pytest
from helpers.blocks import blocks_of
from helpers.volumes import CountingSource

import refspace

PHANTOM = refspace.phantom(resolution=400)
VOXELS = PHANTOM.annotation.values
CHUNKS = tuple((10,) * (n // 10) + ((n % 10,) if n % 10 else ()) for n in VOXELS.shape)


def meets(block, label, axis, index):
    """Whether the bounding box of a label in a block meets a plane."""
    places = np.argwhere(block == label)[:, axis]
    return places.min() <= index <= places.max()


def read_by(axis, index, value):
    """Chunks that a plane has to read: those in which its labels may have several values."""
    chunks = set()
    for block_id, block in blocks_of(VOXELS, CHUNKS).items():
        within = index - sum(CHUNKS[axis][: block_id[axis]])
        if 0 <= within < block.shape[axis]:
            labels = [i for i in np.unique(block).tolist() if meets(block, i, axis, within)]
            if len({value(label) for label in labels}) > 1:
                chunks.add(block_id)
    return chunks


def color(label):
    return tuple(PHANTOM.structure_tree.get_colormap()[label]) if label else (0, 0, 0)


@pytest.fixture
def source():
    return CountingSource(VOXELS)


@pytest.fixture
def space(source):
    annotation = PHANTOM.annotation.copy(data=source.dask(CHUNKS))
    indexed = refspace.ReferenceSpace(PHANTOM.structure_tree, annotation).with_index()
    source.reads.clear()
    return indexed


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_reads_only_chunks_whose_boxes_it_meets(axis, source, space):
    dim, fewer = space.grid.dims[axis], 0
    for index, position in enumerate(space.grid.coordinates(dim).tolist()):
        source.reads.clear()
        image = space.get_slice_image(dim, position)
        assert source.reads == []
        with dask.config.set(scheduler="synchronous"):
            np.testing.assert_array_equal(image, PHANTOM.get_slice_image(dim, position))
        expected = read_by(axis, index, color)
        assert {*source.chunk_reads(CHUNKS)} == expected
        block = int(np.searchsorted(np.cumsum(CHUNKS[axis]), index, side="right"))
        of_labels = {
            block_id
            for block_id, voxels in blocks_of(VOXELS, CHUNKS).items()
            if block_id[axis] == block and len({*map(color, np.unique(voxels).tolist())}) > 1
        }
        fewer += len(of_labels - expected)
    assert fewer > 0


def test_a_mask_of_one_plane_reads_only_chunks_whose_boxes_it_meets(source, space):
    ids = set(PHANTOM.structure_tree.descendant_ids([315])[0])
    whole = PHANTOM.make_structure_mask("Isocortex").values
    for index in range(VOXELS.shape[0]):
        source.reads.clear()
        box = (slice(index, index + 1), slice(None), slice(None))
        mask = space.with_volume(space.volume.crop(box)).make_structure_mask("Isocortex")
        np.testing.assert_array_equal(mask, whole[box])
        assert {*source.chunk_reads(CHUNKS)} == read_by(0, index, ids.__contains__)


def test_a_drawn_slice_reads_only_chunks_of_several_labels(source, space):
    plt = pytest.importorskip("matplotlib.pyplot")
    index = min(range(VOXELS.shape[0]), key=lambda i: len(read_by(0, i, int)))
    with dask.config.set(scheduler="synchronous"):
        space.plot.slice("coronal", float(space.grid.coordinates("ap")[index]), template=False)
    plt.close("all")
    expected = read_by(0, index, int)
    assert {*source.chunk_reads(CHUNKS)} == expected
    assert len(expected) < len(CHUNKS[1]) * len(CHUNKS[2])
