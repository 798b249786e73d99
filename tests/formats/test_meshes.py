"""Meshes in files: read by trimesh and by us, and files that are damaged or hostile."""

import json
import struct
import sys
from contextlib import suppress

import numpy as np
import pytest
import trimesh

import refspace
from refspace.errors import FormatError, MissingDependencyError, OntologyError
from refspace.formats.meshes import (
    Mesh,
    read_neuroglancer_mesh,
    read_obj,
    write_neuroglancer_meshes,
)

ENDINGS = [".obj", ".ply", ".stl", ".glb"]
COLORS = {"VISp": "08858c", "TH": (255, 112, 128)}


@pytest.fixture(scope="module")
def meshes():
    space = refspace.phantom(resolution=400)
    return {name: space.mesh(name) for name in COLORS}


def triangles(vertices, faces):
    """Triangles as sorted rows of rounded positions, from their lowest corner."""
    corners = np.round(np.asarray(vertices, float)[faces], 1)
    rows = []
    for triangle in corners.tolist():
        first = triangle.index(min(triangle))
        rows.append(triangle[first:] + triangle[:first])
    return sorted(rows)


def same(one, vertices, faces):
    """Whether triangles are the same, to the precision of single floats."""
    expected, found = triangles(*one), triangles(vertices, faces)
    assert len(expected) == len(found)
    np.testing.assert_allclose(found, expected, atol=0.11)


def joined(meshes):
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes.values())])
    parts = zip(meshes.values(), starts, strict=False)
    return (
        np.concatenate([m.vertices for m in meshes.values()]),
        np.concatenate([m.face_vertices + start for m, start in parts]),
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_trimesh_reads_what_is_written(meshes, tmp_path, ending):
    path = tmp_path / f"TH{ending}"
    refspace.write_mesh(meshes["TH"], path)
    found = trimesh.load_mesh(path)
    assert found.is_watertight
    assert found.is_winding_consistent
    assert found.volume * 1e-9 == pytest.approx(meshes["TH"].volume, rel=1e-4)
    np.testing.assert_allclose(found.bounds, meshes["TH"].bounds, atol=0.01)


@pytest.mark.parametrize("ending", ENDINGS)
def test_we_read_what_is_written(meshes, tmp_path, ending):
    path = tmp_path / f"both{ending}"
    refspace.write_mesh(meshes, path)
    found = refspace.read_mesh(path)
    same(joined(meshes), found.vertices, found.face_vertices)
    np.testing.assert_allclose(np.linalg.norm(found.vertex_normals, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("ending", ENDINGS)
def test_we_read_what_trimesh_writes(tmp_path, ending):
    ball = trimesh.creation.icosphere(radius=500)
    ball.vertex_normals  # noqa: B018 - which it writes once they are known
    path = tmp_path / f"ball{ending}"
    ball.export(path, **({"include_normals": True} if ending == ".obj" else {}))
    found = refspace.read_mesh(path)
    assert found.is_closed
    assert found.volume * 1e9 == pytest.approx(ball.volume, rel=1e-4)


def test_scenes_have_names_and_colours(meshes, tmp_path):
    path = tmp_path / "both.glb"
    refspace.write_mesh(meshes, path, colors=COLORS)
    scene = trimesh.load_scene(path)
    assert set(scene.graph.nodes_geometry) == set(COLORS)
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    tree = json.loads(data[20 : 20 + length])
    assert tree["asset"]["extras"] == {"units": "micrometer"}
    colors = {m["name"]: m["pbrMetallicRoughness"]["baseColorFactor"] for m in tree["materials"]}
    # Linear in the file; as screens have them, those that were given.
    for name, expected in {"VISp": (8, 133, 140), "TH": (255, 112, 128)}.items():
        *rgb, alpha = colors[name]
        shown = [12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055 for x in rgb]
        np.testing.assert_allclose(np.multiply(shown, 255), expected, atol=1e-3)
        assert alpha == 1


def test_tables_of_points_have_colours(meshes, tmp_path):
    path = tmp_path / "both.ply"
    refspace.write_mesh(meshes, path, colors={"TH": "ff7080"})
    found = trimesh.load_mesh(path, process=False).visual.vertex_colors
    count = len(meshes["VISp"].vertices)
    assert (found[:count] == 255).all()
    assert (found[count:] == [255, 112, 128, 255]).all()
    refspace.write_mesh(meshes["TH"], path)
    assert b"red" not in path.read_bytes()[:500]


def test_names_begin_no_statements(meshes, tmp_path):
    path = tmp_path / "a.obj"
    refspace.write_mesh({"a\nv 1 2 3\n\x1b[2J b": meshes["TH"]}, path)
    lines = path.read_bytes().splitlines()
    assert sum(line.startswith(b"v ") for line in lines) == len(meshes["TH"].vertices)
    assert b"\x1b" not in lines[0]
    assert len(lines[0].split()) == 2
    same(meshes["TH"][:3:2], *read_obj(path)[:3:2])


def test_normals_of_their_own(tmp_path):
    corners = np.array([[0.0, 0, 0], [5, 0, 0], [0, 5, 0]])
    mesh = Mesh(corners, np.array([[0.0, 0, 1]]), np.array([[0, 1, 2]]), np.array([[0, 0, 0]]))
    for ending in ENDINGS:
        refspace.write_mesh(mesh, tmp_path / f"a{ending}")
        found = refspace.read_mesh(tmp_path / f"a{ending}")
        assert (found.vertex_normals[found.face_normals] == [0, 0, 1]).all()
        assert not found.is_closed


def test_what_is_no_mesh_is_not_written(meshes, tmp_path):
    none = Mesh(np.empty((0, 3)), np.empty((0, 3)), *np.empty((2, 0, 3), int))
    with pytest.raises(FormatError, match="no triangle to write"):
        refspace.write_mesh(none, tmp_path / "a.obj")
    with pytest.raises(FormatError, match=r"does not end in \.obj, \.ply, \.stl or \.glb"):
        refspace.write_mesh(meshes, tmp_path / "a.vtk")
    with pytest.raises(FormatError, match="a colour for 'V1', but no mesh"):
        refspace.write_mesh(meshes, tmp_path / "a.ply", colors={"V1": "08858c"})
    with pytest.raises(OntologyError):
        refspace.write_mesh(meshes, tmp_path / "a.ply", colors="teal")
    with pytest.raises(FileNotFoundError):
        refspace.write_mesh(meshes, tmp_path / "none" / "a.ply")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS[1:])
@pytest.mark.parametrize("content", [b"", b"nothing", b"glTF" + bytes(20), b"solid\n", b"ply\n"])
def test_files_that_are_none(tmp_path, ending, content):
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"a{ending}"):
        refspace.read_mesh(path)


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_damaged_files(meshes, tmp_path, ending):
    path, rng = tmp_path / f"a{ending}", np.random.default_rng(5)
    refspace.write_mesh(meshes["TH"], path)
    data = path.read_bytes()
    for _ in range(8):
        broken = bytearray(data[: rng.integers(len(data))])
        broken += bytes(rng.integers(0, 256, 40, np.uint8))
        path.write_bytes(broken)
        with suppress(FormatError):
            found = refspace.read_mesh(path)
            assert found.face_vertices.max() < len(found.vertices)


def test_other_files_are_not_followed(tmp_path):
    """A scene may name its buffers by path."""
    (tmp_path / "secret.bin").write_bytes(bytes(36))
    text = json.dumps(
        {
            "asset": {"version": "2.0"},
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
            "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
            "bufferViews": [{"buffer": 0, "byteLength": 36}],
            "buffers": [{"uri": str(tmp_path / "secret.bin"), "byteLength": 36}],
        }
    ).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 20 + len(text)) + struct.pack(
        "<I4s", len(text), b"JSON"
    )
    (tmp_path / "a.glb").write_bytes(head + text)
    with pytest.raises(FormatError):
        refspace.read_mesh(tmp_path / "a.glb")


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_that_are_too_large(meshes, tmp_path, ending):
    path = tmp_path / f"a{ending}"
    refspace.write_mesh(meshes["TH"], path)
    with (
        refspace.set_limits(mesh_bytes=100),
        pytest.raises(FormatError, match=r"of at most 100; .*set_limits\(mesh_bytes=\.\.\.\)"),
    ):
        refspace.read_mesh(path)


def test_without_trimesh(meshes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    for ending in ENDINGS[1:]:
        with pytest.raises(MissingDependencyError, match="pip install trimesh"):
            refspace.write_mesh(meshes, tmp_path / f"a{ending}")
    refspace.write_mesh(meshes, tmp_path / "a.obj")
    assert [path.name for path in tmp_path.iterdir()] == ["a.obj"]


def test_without_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(MissingDependencyError, match="pip install scikit-image"):
        refspace.phantom(resolution=400).mesh("TH")


# ----- Neuroglancer


def test_neuroglancer_meshes(meshes, tmp_path):
    folder = tmp_path / "meshes"
    write_neuroglancer_meshes(folder, {385: meshes["VISp"], 2**32 - 1: meshes["TH"]})
    assert json.loads((folder / "info").read_text()) == {"@type": "neuroglancer_legacy_mesh"}
    for segment, mesh in {385: meshes["VISp"], 2**32 - 1: meshes["TH"]}.items():
        (name,) = json.loads((folder / f"{segment}:0").read_text())["fragments"]
        data = (folder / name).read_bytes()
        # As the format says, by plain Python.
        (count,) = struct.unpack_from("<I", data)
        assert count == len(mesh.vertices)
        nanometres = struct.unpack_from(f"<{3 * count}f", data, 4)
        np.testing.assert_allclose(np.reshape(nanometres, (-1, 3)), mesh.vertices * 1e3, rtol=1e-6)
        indices = struct.unpack_from(f"<{(len(data) - 4 - 12 * count) // 4}I", data, 4 + 12 * count)
        np.testing.assert_array_equal(np.reshape(indices, (-1, 3)), mesh.face_vertices)
        vertices, faces = read_neuroglancer_mesh(folder, segment)
        np.testing.assert_allclose(vertices, mesh.vertices, rtol=1e-6)
        np.testing.assert_array_equal(faces, mesh.face_vertices)
    with pytest.raises(FileNotFoundError):
        read_neuroglancer_mesh(folder, 7)


@pytest.mark.parametrize("segment", [0, -1, 2**32])
def test_segments_that_are_none(meshes, tmp_path, segment):
    with pytest.raises(FormatError, match=f"segment {segment} has no mesh"):
        write_neuroglancer_meshes(tmp_path / "m", {segment: meshes["TH"]})
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("manifest", "fragment"),
    [
        (b'{"fragments": ["../secret"]}', b""),
        (b'{"fragments": ["/etc/passwd"]}', b""),
        (b'{"fragments": [".."]}', b""),
        (b'{"fragments": 7}', b""),
        (b'{"fragments": [7]}', b""),
        (b'{"fragments": ["\\ud800"]}', b""),
        (b'{"fragments": ["a", "' + b"b" * 5000 + b'"]}', b""),
        (b"[", b""),
        (b"[" * 10**5, b""),
        (b'{"fragments": ["a"]}', b""),
        (b'{"fragments": ["a"]}', b"\xff\xff\xff\xff"),
        (b'{"fragments": ["a"]}', struct.pack("<I3f3I", 1, 0, 0, 0, 0, 0, 1)),
        (b'{"fragments": ["a"]}', struct.pack("<I3f3I", 1, np.nan, 0, 0, 0, 0, 0)),
        (b'{"fragments": ["a"]}', struct.pack("<I3f", 1, 0, 0, 0) + b"1"),
    ],
)
def test_hostile_meshes_of_neuroglancer(tmp_path, manifest, fragment):
    (tmp_path / "secret").write_bytes(struct.pack("<I", 0))
    folder = tmp_path / "meshes"
    folder.mkdir()
    (folder / "7:0").write_bytes(manifest)
    (folder / "a").write_bytes(fragment)
    with pytest.raises(FormatError, match="meshes"):
        read_neuroglancer_mesh(folder, 7)


def test_fragments_are_joined(tmp_path):
    triangle = struct.pack("<I9f3I", 3, *range(9), 0, 1, 2)
    (tmp_path / "7:0").write_text('{"fragments": ["a", "b"]}')
    for name in "ab":
        (tmp_path / name).write_bytes(triangle)
    vertices, faces = read_neuroglancer_mesh(tmp_path, 7)
    assert (len(vertices), faces.tolist()) == (6, [[0, 1, 2], [3, 4, 5]])
