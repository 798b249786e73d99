"""What neuroglancer is told of structures and points; its own reader of points agrees."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from neuroglancer.read_precomputed_annotations import AnnotationReader

import refspace
from refspace import StructureTree
from refspace.errors import AnnotationError, FormatError
from refspace.grid import Grid
from refspace.viewer import points as points_module
from refspace.viewer.export import write_neuroglancer
from refspace.viewer.points import read_points
from refspace.viewer.segments import segment_colors, segment_properties, structures_json
from refspace.viewer.server import Server
from refspace.viewer.serving import Serving
from refspace.viewer.surfaces import Surfaces

GRID = Grid((40, 40, 40), (25, 25, 25))


def test_tags_are_subtrees() -> None:
    tree = refspace.phantom(resolution=400).structure_tree
    inline = segment_properties(tree)["inline"]
    label, _, tags = inline["properties"]
    cortex = tags["tags"].index("Isocortex")
    tagged = {
        int(i) for i, values in zip(inline["ids"], tags["values"], strict=True) if cortex in values
    }
    assert tagged == set(tree.descendant_ids(tree.resolve("Isocortex"))[0])
    assert all(values == sorted(set(values)) for values in tags["values"])
    assert label["values"][inline["ids"].index("549")] == "Thalamus (TH)"


def test_odd_acronyms_make_tags() -> None:
    nodes = [
        {"id": i, "acronym": acronym, "name": f"n{i}", "structure_id_path": [i]}
        for i, acronym in enumerate(["a b", "#a_b", "A_B", "###", "", "x" * 10_000, "\x1b[2J"], 1)
    ]
    inline = segment_properties(StructureTree([*nodes, {"id": 0, "structure_id_path": [0]}]))[
        "inline"
    ]
    tags = inline["properties"][2]["tags"]
    assert inline["ids"] == ["1", "2", "3", "4", "5", "6", "7"]  # 0 is outside
    assert len({tag.lower() for tag in tags}) == len(tags) == 7
    assert not any(" " in tag or tag.startswith("#") for tag in tags)
    assert max(map(len, tags)) < 300
    assert "\\u001b" not in json.dumps(inline)


def test_colors_are_the_ontologys() -> None:
    tree = refspace.phantom(resolution=400).structure_tree
    colors = segment_colors(tree)
    assert {i: list(bytes.fromhex(c[1:])) for i, c in colors.items()} == {
        str(i): rgb for i, rgb in tree.get_colormap().items()
    }
    rows = json.loads(structures_json(tree))
    assert [row[0] for row in rows] == tree.node_ids()
    assert [row[1] for row in rows] == tree.parent_ids(tree.node_ids())


def test_neuroglancers_reader_reads_our_points(tmp_path: Path) -> None:
    table = pd.DataFrame({"ml": [1.0, 2, np.nan], "ap": [3.0, 4, 5], "dv": [500.0, 600, 700]})
    points = read_points(table, GRID)
    for path in ("info", "spatial/0_0_0", "by_id/1", "by_id/2"):
        answer = points.get(path)
        assert answer is not None
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(answer[0])
    reader = AnnotationReader(f"file://{tmp_path}/")
    found = [reader.by_id[i].point.tolist() for i in (1, 2)]
    assert found == [[3, 500, 1], [4, 600, 2]]
    assert points.note == "2 of 3 points are shown"
    assert points.get("by_id/3") is points.get("by_id/0") is points.get("by_id/x") is None


def test_points_in_voxels_and_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_module, "MOST_POINTS", 100)
    points = read_points(np.full((1000, 3), 2), GRID, unit="voxel")
    assert len(points.positions) == 100
    assert points.positions[0].tolist() == [62.5] * 3
    assert points.note == "100 of 1000 points are shown"
    with pytest.raises(AnnotationError, match="none of 1 points has a position"):
        read_points(np.full((1, 3), np.nan), GRID)


def test_surfaces_are_those_of_the_mesh_verb() -> None:
    space = refspace.phantom(resolution=400)
    surfaces = Surfaces([space])
    leaf = next(i for i, n in space.direct_voxel_map.items() if n > 100)
    info, kind = surfaces.get(f"{leaf}:0") or (b"", "")
    assert (json.loads(info), kind) == ({"fragments": [f"{leaf}.mesh"]}, "application/json")
    data, _ = surfaces.get(f"{leaf}.mesh") or (b"", "")
    count = int(np.frombuffer(data, "<u4", 1)[0])
    vertices = np.frombuffer(data, "<f4", 3 * count, 4).reshape(-1, 3) / 1000
    assert np.allclose(vertices, space.mesh(leaf, direct_only=True).vertices, atol=1e-2)
    # Isocortex itself has no voxel; 5 is no structure.
    assert json.loads((surfaces.get("315:0") or (b"{}", ""))[0]) == {"fragments": []}
    assert surfaces.get("315.mesh") is surfaces.get("5:0") is surfaces.get("0:0") is None


def test_an_exported_state(tmp_path: Path) -> None:
    space = refspace.phantom(resolution=400)
    link = write_neuroglancer(
        space, tmp_path / "a", "https://h/x.zarr", "https://h/a", with_meshes=True
    )
    assert link == "#!https://h/a/state.json"
    state = json.loads((tmp_path / "a" / "state.json").read_text())
    sources = state["layers"][0]["source"]
    assert sources[:2] == [
        "zarr3://https://h/x.zarr/",
        "precomputed://https://h/a/segment_properties",
    ]
    assert list(sources[2]["transform"]["outputDimensions"]) == ["ap", "dv", "ml"]
    info = json.loads((tmp_path / "a" / "segment_properties" / "info").read_text())
    assert info["@type"] == "neuroglancer_segment_properties"
    for url in ("https://me:secret@h/x.zarr", "https://h/x.zarr?key=1", "s3://b/x.zarr"):
        with pytest.raises(FormatError, match="cannot be in a state for everybody") as caught:
            write_neuroglancer(space, tmp_path / "b", url, "https://h/a")
        assert "secret" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_places_are_asked_of_structures_alone() -> None:
    space = refspace.phantom(resolution=400)
    server = Server()
    Serving(server).page([space], {})
    try:
        page = server._sources["page"]
        place = json.loads((page("place/315") or (b"null", ""))[0])
        assert set(place) == {"ap", "dv", "ml"}
        assert place["ml"] < space.midline
        for path in (
            "place/0",
            "place/5",
            "place/x",
            "place/315/1",
            "place/",
            "place/99999999999999",
        ):
            assert page(path) is None
    finally:
        server.close()
