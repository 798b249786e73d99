"""Surfaces of random masks in random blocks: closed, true to the voxels, the same in any blocks."""

from collections import Counter

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from helpers.profiles import examples
from hypothesis import given
from hypothesis import strategies as st

from refspace import kernels
from refspace.kernels import surfaces


def surface_of(mask, smoothing, cuts):
    """Surface of a mask that is cut into blocks, each with no more than its margin."""
    margin = smoothing + 1
    padded = np.pad(mask, margin)
    parts = []
    for block_id in np.ndindex(*(len(ends) - 1 for ends in cuts)):
        low = [ends[i] for ends, i in zip(cuts, block_id, strict=True)]
        high = [ends[i + 1] for ends, i in zip(cuts, block_id, strict=True)]
        box = zip(low, high, strict=True)
        block = padded[tuple(slice(a, b + 2 * margin) for a, b in box)]
        core = [slice(margin, margin + b - a) for a, b in zip(low, high, strict=True)]
        parts.append(kernels.block_surface(block, smoothing, core, low, mask.shape))
    return kernels.join_surfaces(parts)


def whole(mask, smoothing=2):
    """Positions and triangles of the surface of a mask in one block."""
    surface = surface_of(mask, smoothing, [[0, count] for count in mask.shape])
    return kernels.fit_surface(surface, mask.shape), surface.faces


def is_closed(faces):
    """Whether each edge is in two triangles, once in each direction."""
    edges = Counter((a, b) for f in faces.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True))
    return set(edges.values()) == {1} and all((b, a) in edges for a, b in edges)


def windings(points, positions, faces):
    """How often a surface goes around each point, from solid angles: 1 inside, 0 outside."""
    a, b, c = (positions[faces[:, i]] - points[:, None] for i in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    dot = lambda u, v: (u * v).sum(-1)  # noqa: E731
    triple = dot(a, np.cross(b, c))
    scale = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
    return 2 * np.arctan2(triple, scale).sum(1) / (4 * np.pi)


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7)).filter(np.any)


@examples(150)
@given(masks, st.integers(0, 5), st.data())
def test_any_mask_in_any_blocks(mask, smoothing, data):
    cuts = [
        sorted({0, count, *data.draw(st.lists(st.integers(0, count), max_size=3))})
        for count in mask.shape
    ]
    one = surface_of(mask, smoothing, [[0, count] for count in mask.shape])
    other = surface_of(mask, smoothing, cuts)
    positions = kernels.fit_surface(one, mask.shape)
    np.testing.assert_array_equal(one.names, other.names)
    np.testing.assert_array_equal(one.faces, other.faces)
    np.testing.assert_array_equal(positions, kernels.fit_surface(other, mask.shape))
    assert one.voxels == other.voxels == mask.sum()
    assert is_closed(one.faces)
    assert kernels.enclosed_volume(positions, one.faces) == pytest.approx(mask.sum(), rel=1.1e-3)
    inside = np.argwhere(mask)
    assert np.abs(positions.min(0) - (inside.min(0) - 0.5)).max() < 0.5
    assert np.abs(positions.max(0) - (inside.max(0) + 0.5)).max() < 0.5


@examples(60)
@given(masks, st.integers(0, 5))
def test_centres_of_voxels_are_on_their_side(mask, smoothing):
    positions, faces = whole(mask, smoothing)
    points = np.argwhere(np.ones(mask.shape, bool)).astype(float)
    found = windings(points, positions, faces)
    np.testing.assert_allclose(found, mask.ravel(), atol=1e-6)


def test_no_part_vanishes():
    mask = np.zeros((12, 12, 12), bool)
    mask[2, 2:9, 2:9] = True  # a sheet
    mask[8, 8, 1:11] = True  # a thread that touches it nowhere
    mask[5, 10, 10] = mask[6, 11, 11] = True  # two voxels that meet in a corner
    for smoothing in range(6):
        positions, faces = whole(mask, smoothing)
        found = windings(np.argwhere(mask).astype(float), positions, faces)
        np.testing.assert_allclose(found, 1, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0, 2, 4])
def test_a_ball_becomes_rounder(smoothing):
    centre = np.array([20.3, 19.6, 20.0])
    grid = np.moveaxis(np.indices((41, 41, 41)), 0, -1)
    mask = np.linalg.norm(grid - centre, axis=-1) < 17
    positions, faces = whole(mask, smoothing)
    radii = np.linalg.norm(positions - centre, axis=1)
    assert abs(radii - 17).max() < 0.87
    normals = kernels.vertex_normals(positions, faces)
    outward = (positions - centre) / radii[:, None]
    angles = np.degrees(np.arccos(np.clip((normals * outward).sum(1), -1, 1)))
    assert np.sqrt((angles**2).mean()) < {0: 25, 2: 6, 4: 4}[smoothing]


def test_averages_are_those_of_plain_numpy():
    mask = np.random.default_rng(3).random((5, 6, 7)) < 0.4
    padded = np.pad(mask, 3).astype(float)
    for axis in range(3):
        for _ in range(3):
            before, after = np.roll(padded, 1, axis), np.roll(padded, -1, axis)
            padded = before / 4 + padded / 2 + after / 4
    shares = surfaces.smooth_mask(np.pad(mask, 3), 3)
    np.testing.assert_allclose(shares[3:-3, 3:-3, 3:-3], padded[3:-3, 3:-3, 3:-3], atol=1e-6)


def test_blocks_of_one_value_have_no_surface():
    for value in (False, True):
        block = np.full((8, 8, 8), value)
        part = kernels.block_surface(block, 2, [slice(3, 5)] * 3, [9, 9, 9], [30] * 3)
        assert part.names.size == part.faces.size == 0
        assert part.voxels == 8 * value
