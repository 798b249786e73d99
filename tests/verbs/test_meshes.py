"""Meshes of structures: every structure of the sample brain, any order of storage, any frame."""

import numpy as np
import pytest
import trimesh
from helpers.profiles import examples
from helpers.volumes import CountingSource, cases, grids
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import AnnotationError, GridError, StructureNotFoundError
from refspace.labels import labelled

TREE = StructureTree(
    {"id": i, "acronym": f"s{i}", "name": f"s{i}", "structure_id_path": [1] if i == 1 else [1, i]}
    for i in (1, 2, 3)
)


@pytest.fixture(scope="module")
def space():
    return refspace.phantom(resolution=400).with_index()


def check(space, structure, mesh):
    """What must hold of the mesh of a structure."""
    count = space.total_voxel_map[structure]
    found = trimesh.Trimesh(mesh.vertices, mesh.face_vertices, process=False)
    assert mesh.is_closed
    assert found.is_watertight
    assert found.is_winding_consistent
    assert found.volume * 1e-9 == pytest.approx(count * space.grid.voxel_volume, rel=0.002)
    box = space.bounds(structure).positions
    expected = np.array([box[dim] for dim in space.grid.frame_dims]).T
    spacing = dict(zip(space.grid.dims, space.resolution, strict=True))
    voxel = np.array([spacing[dim] for dim in space.grid.frame_dims])
    assert (np.abs(mesh.bounds - expected) <= voxel / 2).all()


def structures(space, step):
    return [i for i, count in space.total_voxel_map.items() if count][::step]


def test_structures_of_the_sample_brain(space):
    for structure in structures(space, 12):
        check(space, structure, space.mesh(structure))


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [400, 200])
def test_all_structures_of_the_sample_brain(resolution):
    space = refspace.phantom(resolution=resolution).with_index()
    for structure in structures(space, 1):
        check(space, structure, space.mesh(structure))


@examples(30)
@given(cases(max_side=5), st.sampled_from(["PIR", "RAS", "LPS", "ASR", "SRA", "IRP"]), st.data())
def test_any_volume_in_any_chunks_and_order(case, orientation, data):
    space = case.space
    full = [i for i in case.tree.node_ids() if space.total_voxel_map[i]]
    if not full:
        return
    structure = data.draw(st.sampled_from(full))
    mesh = space.mesh(structure)
    check(space, structure, mesh)
    plain = ReferenceSpace(case.tree, case.voxels, space.resolution)
    for other in (plain, space.reorient(orientation), plain.with_index().reorient(orientation)):
        for one, two in zip(mesh, other.mesh(structure), strict=True):
            np.testing.assert_array_equal(one, two)


@examples(30)
@given(grids, st.data())
def test_any_grid(grid, data):
    seed = data.draw(st.integers(0, 99))
    voxels = np.random.default_rng(seed).integers(0, 3, grid.shape).astype("u1")
    space = ReferenceSpace(TREE, labelled(voxels, grid))
    if not (voxels == 2).any():
        with pytest.raises(AnnotationError, match="has no voxels"):
            space.mesh(2)
        return
    check(space, 2, space.mesh(2))


def test_positions_are_of_the_frame(space):
    there = space.in_frame("RAS")
    mesh, turned = space.mesh("VISp"), there.mesh("VISp")
    check(there, 385, turned)
    # From posterior, inferior, right to right, anterior, superior.
    low, high = mesh.bounds
    np.testing.assert_allclose(turned.bounds[0], [low[2], -high[0], -high[1]], atol=1)
    assert turned.volume == pytest.approx(mesh.volume, rel=0.002)


def test_normals_point_outward(space):
    mesh = space.mesh("TH")
    found = trimesh.Trimesh(mesh.vertices, mesh.face_vertices, process=False)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1)
    assert (mesh.vertex_normals * found.vertex_normals).sum(1).min() > 0


def test_unions_hemispheres_and_structures_alone(space):
    both = space.mesh(["VISp", "TH"])
    parts = space.mesh("VISp").volume + space.mesh("TH").volume
    assert both.volume == pytest.approx(parts, rel=0.002)
    left = space.hemisphere("left").mesh("VISp")
    assert left.is_closed
    assert left.bounds[1, 2] <= space.midline + 200
    own = [i for i in space.structure_tree.node_ids() if space.direct_voxel_map[i]]
    parent = next(i for i in own if space.total_voxel_map[i] > space.direct_voxel_map[i])
    expected = space.direct_voxel_map[parent] * space.grid.voxel_volume
    alone = space.mesh(parent, direct_only=True)
    assert alone.volume == pytest.approx(expected, rel=0.002)


def test_at_the_ends_of_the_volume():
    space = ReferenceSpace(TREE, np.full((3, 4, 5), 2, "u1"), 10)
    check(space, 2, space.mesh(2))


def test_coarser(space):
    coarse = space.downsample(800, method="mode")
    check(coarse, 997, coarse.mesh("root"))


def test_smoothing_is_chosen(space):
    rough, smooth = (space.mesh("TH", smoothing=count) for count in (0, 8))
    assert len(rough.vertices) == len(smooth.vertices)
    areas = [trimesh.Trimesh(m.vertices, m.face_vertices).area for m in (rough, smooth)]
    assert areas[0] > 1.05 * areas[1]
    for wrong in (-1, 11, 1.5, "a"):
        with pytest.raises(GridError, match=r"^smoothing is .*, 0 to 10$"):
            space.mesh("TH", smoothing=wrong)


def test_structures_that_are_none(space):
    with pytest.raises(StructureNotFoundError):
        space.mesh("VISq")
    empty = next(i for i, count in space.total_voxel_map.items() if not count)
    with pytest.raises(AnnotationError, match=f"{empty} has no voxels"):
        space.mesh(empty)


# ----- what is read

CHUNKS = ((8,) * 4, (8,) * 4, (8,) * 4)


def counted():
    """Space of a block of 2 in a larger one of 3, and what is read of it."""
    voxels = np.zeros((32, 32, 32), "u1")
    voxels[2:30, 2:30, 2:30] = 3
    voxels[9:22, 10:15, 3:6] = 2
    source = CountingSource(voxels)
    return source, ReferenceSpace(TREE, source.dask(CHUNKS), 10).with_index()


def test_chunks_of_the_box_alone_are_read_and_once():
    source, space = counted()
    planned = set(space.plan(2).blocks)
    source.reads.clear()
    check(space, 2, space.mesh(2))
    reads = source.chunk_reads(CHUNKS)
    assert set(reads) == planned == {(i, 1, 0) for i in (1, 2)}
    assert set(reads.values()) == {1}


def test_chunks_of_one_value_are_not_read():
    source, space = counted()
    planned = set(space.crop(1).plan(1).blocks)
    source.reads.clear()
    check(space, 1, space.mesh(1))
    reads = source.chunk_reads(CHUNKS)
    assert set(reads) == planned
    assert (1, 1, 2) not in reads
    assert set(reads.values()) == {1}
