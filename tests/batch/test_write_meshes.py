"""Meshes of many structures as a job: what is written, kept, refused, and gone on with."""

import json
import shutil

import dask
import numpy as np
import pytest
import trimesh
from helpers.clusters import local_workers
from helpers.commands import run

import refspace
from refspace import ReferenceSpace
from refspace.batch import meshes as job
from refspace.errors import (
    AnnotationError,
    FormatError,
    GridError,
    JobError,
    LockedError,
    OntologyError,
    StoreError,
)
from refspace.files import exclusive_lock
from refspace.formats.meshes import read_neuroglancer_mesh
from refspace.store import Location
from refspace.verbs.meshes import mesh_from_mask

NAMES = ["VISp", "TH", "CP"]
IDS = (385, 549, 672)


@pytest.fixture(scope="module")
def space():
    return refspace.phantom(resolution=400)


@pytest.fixture(scope="module")
def store(space, tmp_path_factory):
    """Store in blocks of 16 voxels; not to be changed."""
    url = tmp_path_factory.mktemp("atlas") / "atlas.zarr"
    space.to_zarr(url, chunks=16)
    return url


def written_at(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.is_file()}


def same(found, mesh):
    np.testing.assert_allclose(found.vertices, mesh.vertices, rtol=1e-6)
    np.testing.assert_array_equal(found.face_vertices, mesh.face_vertices)


@pytest.mark.parametrize("format", ["obj", "ply", "stl", "glb"])
def test_files_are_those_of_single_meshes(space, store, tmp_path, format):
    steps = []
    done = refspace.write_meshes(
        store, tmp_path, NAMES, format=format, threads=2, progress=lambda *n: steps.append(n)
    )
    assert (done.structures, done.written, done.kept, done.empty) == (IDS, 3, 0, ())
    assert steps == [(n, 3) for n in range(4)]
    names = [f"structure_{i}.{format}" for i in IDS]
    assert sorted(p.name for p in tmp_path.iterdir()) == [".refspace", *names]
    for i, name in zip(IDS, names, strict=True):
        mesh = space.mesh(i)
        if format != "stl":
            same(refspace.read_mesh(tmp_path / name), mesh)
        assert trimesh.load_mesh(tmp_path / name).is_watertight
    before = written_at(tmp_path)
    again = refspace.write_meshes(space.with_index(), tmp_path, NAMES, format=format)
    assert again.written + again.kept == 3
    assert written_at(tmp_path) == before


def test_no_setting_of_the_process_is_touched(space, tmp_path, monkeypatch):
    """Threads share them: what one sets back, another may set again, for good."""
    seen = []

    def spied(*given, **options):
        seen.append(dask.config.get("scheduler", None))
        return mesh_from_mask(*given, **options)

    monkeypatch.setattr(job, "mesh_from_mask", spied)
    with dask.config.set(scheduler=None):
        refspace.write_meshes(space, tmp_path, NAMES, threads=2)
    assert seen == [None] * 3


def test_colours_are_those_of_the_structures(space, tmp_path):
    refspace.write_meshes(space, tmp_path, ["TH"], format="ply", threads=1)
    (node,) = space.structure_tree.nodes([549])
    found = trimesh.load_mesh(tmp_path / "structure_549.ply").visual.vertex_colors
    assert (found == [*node["rgb_triplet"], 255]).all()


def test_structures_without_a_colour_have_the_made_up_one(space, tmp_path):
    nodes = [{**node} for node in space.structure_tree.nodes()]
    for node in nodes:
        del node["rgb_triplet"]
    plain = ReferenceSpace(refspace.StructureTree(nodes), space.annotation)
    refspace.write_meshes(plain, tmp_path, ["TH"], format="ply")
    found = trimesh.load_mesh(tmp_path / "structure_549.ply").visual.vertex_colors[0, :3]
    assert found.tolist() == plain.structure_tree.get_colormap()[549]


def test_neuroglancer_folder(space, store, tmp_path):
    folder = tmp_path / "meshes"
    done = refspace.write_meshes(store, folder, NAMES, format="neuroglancer", threads=1)
    assert done.written == 3
    expected = {"info", *(f"{i}:0" for i in IDS), *(f"{i}.mesh" for i in IDS)}
    assert set(written_at(folder)) == expected
    for i in IDS:
        vertices, faces = read_neuroglancer_mesh(folder, i)
        mesh = space.mesh(i)
        np.testing.assert_allclose(vertices, mesh.vertices, rtol=1e-6)
        np.testing.assert_array_equal(faces, mesh.face_vertices)
    (folder / "info").write_text(json.dumps({"@type": "neuroglancer_multilod_draco"}))
    with pytest.raises(StoreError, match=r"^info is there, and is of other meshes; replace it"):
        refspace.write_meshes(store, folder, ["TH"], format="neuroglancer")
    refspace.write_meshes(store, folder, ["TH"], format="neuroglancer", overwrite=True)
    assert "legacy" in (folder / "info").read_text()


def test_a_run_goes_on(store, tmp_path, monkeypatch):
    real = job.mesh_from_mask

    def failing(mask, *given, **options):
        if 549 in np.atleast_1d(mask.attrs["structure_ids"]):
            raise ValueError("of two\nlines")
        return real(mask, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(job, "mesh_from_mask", failing)
        with pytest.raises(JobError, match=r"1 of 3 meshes failed") as caught:
            refspace.write_meshes(store, tmp_path, NAMES, threads=1)
        assert caught.value.failures == {"structure_549.obj": "of two lines"}
    before = written_at(tmp_path)
    done = refspace.write_meshes(store, tmp_path, NAMES, threads=1)
    assert (done.written, done.kept) == (1, 2)
    assert {name: written_at(tmp_path)[name] for name in before} == before
    # All there: no mesh is made, and nothing is read of the annotation.
    monkeypatch.setattr(job, "mesh_from_mask", failing)
    assert refspace.write_meshes(store, tmp_path, NAMES, threads=1).kept == 3


def test_what_is_there_and_something_else(store, tmp_path):
    refspace.write_meshes(store, tmp_path, ["TH"], threads=1)
    path = tmp_path / "structure_549.obj"
    whole = path.read_bytes()
    path.write_bytes(whole + b"# mine\n")
    changed = r"structure_549.obj is there, and was changed since it was written here; replace it"
    with pytest.raises(JobError, match=changed):
        refspace.write_meshes(store, tmp_path, ["TH"], threads=1)
    assert path.read_bytes() == whole + b"# mine\n"
    refspace.write_meshes(store, tmp_path, ["TH"], threads=1, overwrite=True)
    assert path.read_bytes() == whole
    # Another smoothing makes another mesh, and another one is not replaced unasked.
    with pytest.raises(JobError, match="is there, and is no such mesh"):
        refspace.write_meshes(store, tmp_path, ["TH"], smoothing=1, threads=1)
    done = refspace.write_meshes(store, tmp_path, ["TH"], smoothing=1, threads=1, overwrite=True)
    assert done.written == 1
    assert path.read_bytes() != whole
    # A file without a record is believed by its content.
    path.write_bytes(whole)
    shutil.rmtree(tmp_path / ".refspace")
    stamp = path.stat().st_mtime_ns
    refspace.write_meshes(store, tmp_path, ["TH"], threads=1)
    assert path.stat().st_mtime_ns == stamp


def test_another_annotation_makes_others(space, tmp_path):
    refspace.write_meshes(space, tmp_path, ["TH", "CP"], threads=1)
    voxels = space.annotation.values.copy()
    voxels[:, :, voxels.shape[2] // 2 :] = 0
    other = ReferenceSpace(space.structure_tree, space.annotation.copy(data=voxels))
    with pytest.raises(JobError, match="2 of 2 meshes failed") as caught:
        refspace.write_meshes(other, tmp_path, ["TH", "CP"], threads=1)
    assert "is no such mesh" in caught.value.failures["structure_549.obj"]
    refspace.write_meshes(other, tmp_path, ["TH", "CP"], threads=1, overwrite=True)
    same(refspace.read_mesh(tmp_path / "structure_549.obj"), other.mesh("TH"))


def test_hemispheres(space, tmp_path):
    left = space.hemisphere("left")
    refspace.write_meshes(left, tmp_path, ["TH"], threads=1)
    same(refspace.read_mesh(tmp_path / "structure_549.obj"), left.mesh("TH"))


def test_structures_without_voxels(space, tmp_path):
    empty = [i for i, count in space.total_voxel_map.items() if not count][:2]
    done = refspace.write_meshes(space, tmp_path, [*empty, "TH"], threads=1)
    assert (done.structures, done.empty) == ((549,), tuple(empty))
    with pytest.raises(AnnotationError, match="none of 2 structures has voxels here"):
        refspace.write_meshes(space, tmp_path, empty)


def test_what_cannot_be_asked_for(space, tmp_path):
    with pytest.raises(FormatError, match="format is 'vtk'; there are obj, ply"):
        refspace.write_meshes(space, tmp_path, format="vtk")
    with pytest.raises(GridError, match="smoothing is 99"):
        refspace.write_meshes(space, tmp_path, smoothing=99)
    with pytest.raises(OntologyError, match="no structures are asked for"):
        refspace.write_meshes(space, tmp_path, [])
    with pytest.raises(OntologyError, match="a mapping has labels of its own"):
        refspace.write_meshes(space, tmp_path, {"TH": "a"})
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file; give the name of a folder for the meshes"):
        refspace.write_meshes(space, tmp_path / "file", ["TH"])
    (tmp_path / ".refspace").mkdir()
    with exclusive_lock(tmp_path / ".refspace" / "lock"), pytest.raises(LockedError):
        refspace.write_meshes(space, tmp_path, ["TH"])


def test_links_are_not_followed(space, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    folder = tmp_path / "meshes"
    folder.mkdir()
    (folder / "structure_549.obj").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(JobError, match="is a symbolic link"):
        refspace.write_meshes(space, folder, ["TH"], threads=1, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_on_another_file_system(space, store):
    url = "memory://meshes-of-many"
    done = refspace.write_meshes(store, url, ["TH"], format="neuroglancer", threads=1)
    assert done.written == 1
    assert {"info", "549:0", "549.mesh"} <= Location(url).keys()
    assert refspace.write_meshes(store, url, ["TH"], format="neuroglancer", threads=1).kept == 1
    Location(url).remove_keys(Location(url).keys())


@pytest.mark.cluster
def test_workers_make_the_same(space, store, tmp_path):
    refspace.write_meshes(store, tmp_path / "threads", NAMES, threads=1)
    with local_workers(2) as client:
        refspace.write_meshes(store, tmp_path / "stored", NAMES, client=client)
        refspace.write_meshes(space, tmp_path / "memory", NAMES, client=client)
    for folder in ("stored", "memory"):
        for i in IDS:
            name = f"structure_{i}.obj"
            assert (tmp_path / folder / name).read_bytes() == (
                tmp_path / "threads" / name
            ).read_bytes()


# ----- the command


def test_command_for_one_file(store, tmp_path):
    result = run("mesh", store, "-s", "VISp,TH", "-o", tmp_path / "a.glb")
    assert result.exit_code == 0, result.output
    assert "a.glb: 2 meshes, " in result.output
    scene = trimesh.load_scene(tmp_path / "a.glb")
    assert set(scene.graph.nodes_geometry) == {"VISp", "TH"}
    result = run("mesh", store, "-s", "VISp,TH", "--union", "-o", tmp_path / "a.ply")
    assert "a.ply: 1 meshes, " in result.output
    space = refspace.open(store)
    same(refspace.read_mesh(tmp_path / "a.ply"), space.mesh(["VISp", "TH"]))
    result = run("mesh", store, "-s", "TH", "-o", tmp_path / "a.obj", "--hemisphere", "left")
    assert result.exit_code == 0
    same(refspace.read_mesh(tmp_path / "a.obj"), space.hemisphere("left").mesh("TH"))


def test_command_for_a_folder(store, tmp_path):
    folder = tmp_path / "meshes"
    result = run("mesh", store, "-s", "TH,12997", "-o", folder)
    assert result.exit_code == 0, result.output
    assert f"wrote {folder}: 1 meshes, 1 files" in result.output
    result = run("mesh", store, "-s", "TH,CP", "-o", folder)
    assert "2 meshes, 1 files, 1 were there" in result.output
    result = run("mesh", store, "-s", "TH", "-o", tmp_path / "n", "--format", "neuroglancer")
    assert set(written_at(tmp_path / "n")) == {"info", "549:0", "549.mesh"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "a.glb"], "a.glb is one file, and all structures are many"),
        (["-s", "TH", "-o", "a.vtk"], "a.vtk does not end in .obj, .ply, .stl or .glb"),
        (["-s", "TH", "-o", "a.glb", "--format", "ply"], "--format is for a folder"),
        (["-s", "TH", "-o", "a", "--union"], "--union makes one mesh"),
        (["-s", "TH", "-o", "s3://bucket/a.glb"], "s3://bucket/a.glb is a URL"),
        (["-s", "TH", "-o", "none/a.glb"], "none does not exist"),
        (["-s", "TH", "--smoothing", "11"], "0<=x<=10"),
    ],
)
def test_command_refuses(store, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = run("mesh", store, *words)
    assert result.exit_code
    assert message in result.output
    assert list(tmp_path.iterdir()) == []
