import json
import socket

import numpy as np
import pytest
from helpers import brainglobe_replay as replay
from helpers.serving import Fault, Server

import refspace
from refspace.errors import FormatError, GridError, RemoteError, SourceError
from refspace.grid import Grid
from refspace.remote import retry
from refspace.sources.brainglobe import orientation_from_origin

SPEC = f"brainglobe:{replay.NAME}"
SHAPE = (66, 40, 57)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """Folder with a symmetric atlas; not to be changed."""
    return replay.write_bucket(tmp_path_factory.mktemp("bucket"))


@pytest.fixture
def server(bucket, monkeypatch, tmp_path):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0))
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))
    with Server(bucket) as running:
        monkeypatch.setenv("REFSPACE_BRAINGLOBE", running.url)
        yield running


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))


def chunk_requests(server):
    return [request.path for request in server.requests if "/c/" in request.path]


def test_an_atlas_is_queried_where_it_is(server, tmp_path):
    space = refspace.open(SPEC)
    opening = [request.path for request in server.requests]
    assert not chunk_requests(server)
    # The list of versions, manifest, table; of each image three times its root, two things that an
    # image of labels may have, and its levels.
    assert len(opening) <= 3 + 2 * (5 + 2)
    sample = replay.sample()
    # The first voxel is anterior, superior and right: indices grow to the other sides.
    assert space.grid == Grid(SHAPE, (200,) * 3, orientation="PIL")
    assert space.structure_tree.node_ids() == sample.structure_tree.node_ids()
    visp, theirs = (s.structure_tree.nodes(s.structure_tree.resolve("VISp"))[0]
                    for s in (space, sample))  # fmt: skip
    for field in ("name", "acronym", "rgb_triplet", "structure_id_path"):
        assert visp[field] == theirs[field]
    np.testing.assert_array_equal(space.annotation.values, sample.annotation.values)
    np.testing.assert_array_equal(space.template.values, sample.annotation.values % 251)
    assert space.total_voxel_map == sample.total_voxel_map
    assert space.provenance["version"] == "1.2"
    assert space.provenance["citation"] == "Nobody 2026"
    assert space.provenance["species"] == "Mus phantasma"
    assert space.provenance["source"].startswith(server.url)
    # Nothing is mirrored.
    assert not (tmp_path / "cache").exists()


def test_what_is_not_stored_is_background(server):
    space = refspace.open(SPEC)
    # All that is empty: the chunk is not there, and the server says so.
    corner = space.annotation.isel(ap=slice(0, 4), dv=slice(0, 4), ml=slice(0, 4)).values
    assert not corner.any()
    reads = chunk_requests(server)
    assert 1 <= len(reads) <= 2


def test_a_plane_reads_its_chunks_alone(server):
    space = refspace.open(SPEC)
    plane = space.annotation.isel(ap=40).values
    np.testing.assert_array_equal(plane, replay.sample().annotation.isel(ap=40).values)
    assert len(set(chunk_requests(server))) == 4


def test_an_odd_middle_is_left_as_it_is_there(server):
    space = refspace.open(SPEC)
    sides = space.hemispheres.isel(ap=0, dv=0).values
    # 57 voxels from right to left: 28 right, and 29 left with the middle one.
    assert sides.tolist() == [2] * 28 + [1] * 29
    assert space.midline == 5700


def test_other_levels_of_the_image(server):
    space = refspace.open(SPEC, resolution=400)
    assert space.grid == Grid((33, 20, 29), (400,) * 3, orientation="PIL")
    with pytest.raises(GridError, match="25"):
        refspace.open(SPEC, resolution=25)


def test_versions(server):
    assert refspace.open(f"{SPEC}@1.0").provenance["version"] == "1.0"
    # The list of the newest is not needed then.
    assert not any("last_versions" in request.path for request in server.requests)
    assert refspace.open(SPEC, version="1_0").provenance["version"] == "1.0"
    with pytest.raises(SourceError, match=r"no version 3\.1 of phantom_200um; the newest is 1\.2"):
        refspace.open(f"{SPEC}@3.1")
    with pytest.raises(SourceError, match=r"version 1\.2 and version 1\.0 are asked for; give one"):
        refspace.open(f"{SPEC}@1.2", version="1.0")
    with pytest.raises(SourceError, match=r"'\.\./x' is no version of an atlas; it is like '1\.2'"):
        refspace.open(f"{SPEC}@../x")


@pytest.mark.parametrize("version", ["", "@1.2"])
def test_names_that_are_none(server, version):
    with pytest.raises(
        SourceError, match=r"no atlas 'alen_mouse_25um'; did you mean allen_mouse_2"
    ):
        refspace.open(f"brainglobe:alen_mouse_25um{version}")
    with pytest.raises(
        SourceError, match=r"no atlas 'zzz'; there are 3, like allen_mouse_10um \(1"
    ):
        refspace.open(f"brainglobe:zzz{version}")
    with pytest.raises(SourceError, match=r"'\.\./manifest' is no name of an atlas"):
        refspace.open("brainglobe:../manifest")
    with pytest.raises(SourceError, match="no option vresion; the source takes base, orientation"):
        refspace.open(SPEC, vresion="1")


def test_a_fetched_atlas_needs_no_network(bucket, server):
    stored = refspace.fetch(SPEC)
    server.stop()
    again = refspace.fetch(SPEC)
    sample = replay.sample()
    for space in (stored, again, refspace.open(SPEC)):
        assert space.total_voxel_map == sample.total_voxel_map
        assert space.grid.orientation == "PIL"
        assert space.provenance["citation"] == "Nobody 2026"
    np.testing.assert_array_equal(again.template.values, sample.annotation.values % 251)


def test_a_base_may_be_a_folder(bucket, cache):
    space = refspace.open(SPEC, base=str(bucket))
    assert space.total_voxel_map == replay.sample().total_voxel_map
    with pytest.raises(
        RemoteError, match=r"there are no atlases of BrainGlobe at .*nowhere: name t"
    ):
        refspace.open(SPEC, base=str(bucket / "nowhere"))


def test_hemispheres_of_an_asymmetric_atlas(tmp_path, cache):
    bucket = replay.write_bucket(tmp_path / "bucket", symmetric=False)
    space = refspace.open(SPEC, base=str(bucket))
    sides = space.hemispheres.isel(ap=0, dv=0).values
    assert sides.tolist() == [2] * 19 + [1] * 38
    stored = refspace.fetch(SPEC, base=str(bucket))
    voxels = replay.sample().annotation.values
    ids = replay.sample().structure_tree.descendant_ids(["VISp"])[0]
    expected = int(np.isin(voxels[..., :19], ids).sum())
    for atlas in (space, stored):
        right = atlas.hemisphere("right").total_voxel_counts()
        assert int(right[385]) == expected
    assert expected > 0


def test_axes_that_contradict_the_manifest(tmp_path, cache):
    bucket = str(replay.write_bucket(tmp_path / "b", sides={**replay.SIDES, "x": "left-to-right"}))
    with pytest.raises(
        GridError, match=r"contradicts the axes.*manifest says 'asr', which is 'PIL'"
    ):
        refspace.open(SPEC, base=bucket)
    for how in (refspace.open, refspace.fetch):
        assert how(SPEC, base=bucket, orientation="PIR").grid == Grid(SHAPE, (200,) * 3)


def test_axes_that_state_nothing(tmp_path, cache):
    bucket = str(replay.write_bucket(tmp_path / "b", sides=dict.fromkeys("zyx")))
    assert refspace.open(SPEC, base=bucket).grid.orientation == "PIL"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {"shape": [1, 2, 3]},
            GridError,
            r"the image has shape \(66, 40, 57\), the manifest \(1, 2",
        ),
        ({"resolution": [200]}, FormatError, "is no manifest of an atlas"),
        ({"resolution": "200"}, FormatError, "is no manifest of an atlas"),
        ({"orientation": "axr"}, FormatError, "is no manifest of an atlas"),
        ({"orientation": 3}, FormatError, "is no manifest of an atlas"),
        ({"annotation_set": None}, FormatError, "is no manifest of an atlas"),
        (
            {"terminology": {"location": "/../../secret"}},
            FormatError,
            "location of terminology is '/../../secret'; it must be a path below the folder",
        ),
        ({"terminology": {}}, FormatError, "location of terminology is None"),
        ({"annotation_set": {"location": 5}}, FormatError, "location of annotation_set is 5"),
    ],
)
def test_manifests_that_are_damaged(bucket, server, fields, error, message):
    path = f"atlases/{replay.NAME}/1_2/manifest.json"
    manifest = json.loads((bucket / path).read_text())
    body = json.dumps({**manifest, **fields}).encode()
    server.faults = lambda request: Fault(body=body) if request.path.endswith(path) else None
    with pytest.raises(error, match=message):
        refspace.open(SPEC)


@pytest.mark.parametrize(
    ("path", "body", "error", "message"),
    [
        ("manifest.json", b"[]", FormatError, "is no manifest of an atlas"),
        ("manifest.json", b"{" * 5000, FormatError, "is no manifest of an atlas"),
        ("manifest.json", b" " * 100_009, FormatError, "100001 bytes or more, of at most 100000; "),
        (
            "terminology.csv",
            b" " * 99_999,
            FormatError,
            "90001 bytes or more, of at most 90000; if",
        ),
        ("last_versions.conf", b"no list", FormatError, "is no list of versions"),
        ("last_versions.conf", b"[atlases]\nphantom_200um = ../x\n", FormatError, "version '../x'"),
        ("last_versions.conf", b"<!DOCTYPE html>", RemoteError, "the server answers with a web p"),
        ("terminology.csv", b"a,b\n1,2\n", FormatError, r"terminology\.csv: columns are a, b"),
    ],
)
def test_documents_that_are_damaged(server, path, body, error, message):
    server.faults = lambda request: Fault(body=body) if request.path.endswith(path) else None
    limits = refspace.set_limits(metadata_bytes=100_000, ontology_bytes=90_000)
    with limits, pytest.raises(error, match=message):
        refspace.open(SPEC)


def test_a_server_that_fails_for_a_while(server):
    failing = {}

    def fault(request):
        failing[request.path] = failing.get(request.path, 0) + 1
        return Fault(status=503) if failing[request.path] == 1 else None

    server.faults = fault
    assert refspace.open(SPEC).total_voxel_map == replay.sample().total_voxel_map


def test_a_host_out_of_reach(monkeypatch, cache):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RemoteError, match=r"last_versions\.conf cannot be read"):
        refspace.open(SPEC, base=base)


def test_passwords_are_kept_nowhere(cache):
    with pytest.raises(SourceError, match="holds a user's name or password") as caught:
        refspace.open(SPEC, base="https://user:secret@host.invalid/atlas")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "field", ['"shape": [Infinity, 1, 1]', f'"resolution": [1{"0" * 400}, 1, 1]']
)
def test_numbers_that_are_too_large(tmp_path, cache, field):
    bucket = replay.write_bucket(tmp_path / "bucket")
    path = bucket / "atlases" / replay.NAME / "1_2/manifest.json"
    path.write_text(f"{path.read_text()[:-1]}, {field}}}")
    with pytest.raises(FormatError, match=r"no manifest of an atlas \(OverflowError"):
        refspace.open(SPEC, base=str(bucket))


def test_orientation_by_origin():
    assert orientation_from_origin("asr") == "PIL"
    assert orientation_from_origin("LPI") == "RAS"


@pytest.mark.network
def test_the_real_bucket(cache):
    space = refspace.open("brainglobe:allen_mouse_100um")
    assert space.grid == Grid((132, 80, 114), (100,) * 3, orientation="PIL")
    assert space.structure_tree.resolve("VISp") == [385]
    assert space.template.shape == space.annotation.shape
    assert space.total_voxel_map[997] > 400_000
    fetched = refspace.fetch("brainglobe:allen_mouse_100um")
    assert fetched.total_voxel_map == space.total_voxel_map
    with pytest.raises(SourceError, match="did you mean allen_mouse_100um"):
        refspace.open("brainglobe:allen_mouse_100")
