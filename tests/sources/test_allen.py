"""The source allen, ReferenceSpaceCache and `refspace fetch`, against a replay of the hosts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.allen_replay import ARCHIVE, MESH, QUERY, answer, nrrd, records, replay, sample
from helpers.commands import run
from helpers.serving import HTML, RESET, Fault, Server

import refspace
from refspace.cli.progress import FetchProgress
from refspace.errors import GridError, OntologyError, RefspaceError, RemoteError, SourceError
from refspace.formats.meshes import read_obj
from refspace.remote import retry
from refspace.sources import Cache, ReferenceSpaceCache
from refspace.sources.allen import CITATION, AllenFiles

ANNOTATION = f"{ARCHIVE}/annotation/ccf_2017/annotation_100.nrrd"
TEMPLATE = f"{ARCHIVE}/average_template/average_template_100.nrrd"
ONTOLOGY = QUERY.format(1)


@pytest.fixture(scope="module")
def space():
    return sample()


@pytest.fixture(scope="module")
def files(space):
    return replay(space)


@pytest.fixture
def server(files, monkeypatch, tmp_path):
    """Server of both hosts, which the environment names, as it names the cache."""
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0, longest=0))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("REFSPACE_"):
            monkeypatch.delenv(name)
    with Server(dict(files)) as server:
        monkeypatch.setenv("REFSPACE_ALLEN_HOST", server.url)
        monkeypatch.setenv("REFSPACE_ALLEN_ARCHIVE", server.url + ARCHIVE)
        monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))
        yield server


def fetch(**how):
    return refspace.fetch("allen:ccf_2017", **{"resolution": 100, **how})


def stores(tmp_path):
    return sorted((tmp_path / "cache" / "atlases" / "allen").glob("*"))


# ----- the source


def test_fetch_makes_a_store_once(server, space, tmp_path):
    fetched = fetch()
    np.testing.assert_array_equal(fetched.annotation.values, space.annotation.values)
    assert fetched.grid == space.grid
    assert fetched.structure_tree.nodes() == space.structure_tree.nodes()
    assert fetched.label_index is not None
    assert fetched.template is None
    assert sorted(server.paths()) == sorted([ONTOLOGY, ANNOTATION])
    (store,) = stores(tmp_path)
    assert store.name.startswith("ccf_2017_100um-")
    server.stop()
    for again in (fetch(), fetch(resolution=100.0), fetch(resolution=[100, 100, 100])):
        assert again.total_voxel_map == fetched.total_voxel_map
    assert len(server.requests) == 2
    assert refspace.open("allen:ccf_2017", resolution=100).total_voxel_map == space.total_voxel_map


def test_the_query_is_sent_as_the_api_wants_it(server):
    fetch()
    (path,) = [request.path for request in server.requests if "query" in request.path]
    assert path == (
        "/api/v2/data/query.json?q=model::Structure,rma::criteria,%5Bgraph_id$in1%5D,rma::include,"
        "structure_sets,rma::options%5Bnum_rows$eq%27all%27%5D"
        "%5Border$eqstructures.graph_order%5D%5Bcount$eqfalse%5D"
    )


def test_hosts_by_default():
    files = AllenFiles()
    assert files.structures_url(1).startswith("https://api.brain-map.org/api/v2/data/query.json?q=")
    assert files.annotation_url("ccf_2017", 25) == (
        "https://download.alleninstitute.org/informatics-archive/current-release/mouse_ccf/"
        "annotation/ccf_2017/annotation_25.nrrd"
    )


def test_open_fetches(server, space, tmp_path):
    opened = refspace.open("allen:ccf_2017", resolution=100)
    assert opened.total_voxel_map == space.total_voxel_map
    assert len(stores(tmp_path)) == 1
    fetch()
    assert len(server.requests) == 2


def test_provenance(server, tmp_path):
    provenance = fetch(template=True).provenance
    annotation = Cache().path(server.url + ANNOTATION)
    assert provenance["source"] == server.url + ANNOTATION
    assert provenance["version"] == "ccf_2017"
    assert provenance["graph_id"] == 1
    assert provenance["citation"] == CITATION
    assert "10.1016/j.cell.2020.04.007" in CITATION
    assert provenance["licence"] == "https://alleninstitute.org/legal/terms-use/"
    assert provenance["structures"].startswith(server.url)
    assert provenance["template"] == server.url + TEMPLATE
    sha256 = subprocess.check_output(["sha256sum", annotation], text=True).split()[0]
    assert provenance["sha256"] == sha256
    assert len(provenance["template_sha256"]) == len(provenance["structures_sha256"]) == 64


@pytest.mark.parametrize(
    ("template", "offset"), [(True, 0), ("average_template", 0), ("ara_nissl", 1)]
)
def test_templates(server, space, template, offset):
    fetched = fetch(template=template)
    expected = space.annotation.values % 500 + offset
    np.testing.assert_array_equal(fetched.template.values, expected)


def test_what_differs_is_kept_apart(server, files, space, tmp_path, monkeypatch):
    server.files = {**files, QUERY.format(17): files[ONTOLOGY]}
    fetch()
    fetch(template=True)
    fetch(graph_id=17)
    fetch(template=False, graph_id=None)
    flipped = refspace.fetch("allen:ccf_2016", resolution=100)
    np.testing.assert_array_equal(flipped.annotation, np.flip(space.annotation.values, 1))
    assert len(stores(tmp_path)) == 4
    assert server.paths().count(ANNOTATION) == 1
    with Server(files) as mirror:
        fetch(archive=mirror.url + ARCHIVE)
        assert mirror.paths() == [ANNOTATION]
        fetch(host=mirror.url + "/")
        assert mirror.paths() == [ANNOTATION, ONTOLOGY]
        monkeypatch.setenv("REFSPACE_ALLEN_HOST", mirror.url)
        fetch()
    assert len(stores(tmp_path)) == 7


def test_another_cache(server, tmp_path):
    fetch(cache=tmp_path / "other")
    fetch(cache=Cache(tmp_path / "other"))
    assert stores(tmp_path) == []
    assert len(server.requests) == 2


def test_refresh(server, files, space, tmp_path):
    first = fetch()
    server.files = {**files, ANNOTATION: nrrd(np.flip(space.annotation.values, 0), 100)}
    assert fetch().provenance == first.provenance
    second = fetch(refresh=True)
    np.testing.assert_array_equal(second.annotation, np.flip(space.annotation.values, 0))
    assert len(stores(tmp_path)) == 1
    assert len(server.requests) == 4
    server.stop()
    with pytest.raises(RemoteError):
        fetch(refresh=True)
    np.testing.assert_array_equal(fetch().annotation, np.flip(space.annotation.values, 0))


def test_progress(server):
    calls = []
    fetch(progress=lambda *call: calls.append(call))
    names = list(dict.fromkeys(name for name, *_ in calls))
    assert [Path(name).suffix for name in names] == [".json", ".nrrd", ".zarr"]
    for name in names:
        last = [call for call in calls if call[0] == name][-1]
        assert last[1] == last[2] > 0


@pytest.mark.parametrize(
    ("spec", "how", "error", "text"),
    [
        (
            "allen:ccf_2018",
            {},
            SourceError,
            "allen has no 'ccf_2018'; it has ccf_2015, ccf_2016, c",
        ),
        (
            "allen:ccf_2017",
            {"resolution": None},
            GridError,
            "no resolution is given; the Allen CCF",
        ),
        (
            "allen:ccf_2017",
            {"resolution": 20},
            GridError,
            "resolution is 20.* at 10, 25, 50, 100 µm",
        ),
        ("allen:ccf_2017", {"resolution": [10, 10, 20]}, GridError, "published at 10, 25, 50, 100"),
        (
            "allen:ccf_2017",
            {"template": "mri"},
            SourceError,
            "has no template 'mri'; it has average",
        ),
        (
            "allen:ccf_2017",
            {"graph_id": "x"},
            SourceError,
            "graph_id is 'x'; give a number: 1 adult",
        ),
        (
            "allen:ccf_2017",
            {"hots": "x"},
            SourceError,
            "no option hots; the source takes archive, ",
        ),
        (
            "alien:ccf_2017",
            {},
            SourceError,
            "'alien:ccf_2017' is no source and atlas: there is no source alien; did you mean",
        ),
        (
            "ccf_2017",
            {},
            SourceError,
            "'ccf_2017' is no source and atlas: did you mean 'allen:ccf_2017'",
        ),
    ],
)
def test_what_there_is_not(server, tmp_path, spec, how, error, text):
    with pytest.raises(error, match=text):
        refspace.fetch(spec, **{"resolution": 100, **how})
    assert server.requests == []
    assert not (tmp_path / "cache").exists()


# ----- hosts that fail


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=500),
        RESET,
        Fault(truncate=1000),
        Fault(truncate=1000, reset=True),
    ],
)
def test_faults_that_pass(server, space, fault):
    server.faults = [fault, None, fault, None]
    assert fetch().total_voxel_map == space.total_voxel_map
    assert len(server.requests) == 4


ANSWERS = [
    (
        answer([], success=False, msg="Model 'Structures' not found."),
        "a failure: Model 'Structures'",
    ),
    (answer([], success=False), r"the server reports a failure: \[\]"),
    (answer([], msg="Query timed out"), "the server reports a failure: Query timed out"),
    (answer([{"id": 997}], total_rows=1327), "the server sends 1 of 1327 structures; try again"),
    (b"{}", "the server sends no answer of the Allen API"),
    (b"[1]", "the server sends no answer of the Allen API"),
    (b"no json", "the server sends no answer of the Allen API.*is the host right"),
    (b"[" * 100_000, "the server sends no answer of the Allen API"),
    (HTML.body, "answers with a web page where a file should be"),
]


@pytest.mark.parametrize(("body", "text"), ANSWERS)
def test_answers_that_are_failures_are_not_kept(server, files, space, body, text):
    server.files = {**files, ONTOLOGY: body}
    with pytest.raises(RemoteError, match=text):
        fetch()
    server.files = files
    assert fetch().total_voxel_map == space.total_voxel_map


def test_answers_that_are_too_large_are_not_kept(server, files, space):
    size = len(files[ONTOLOGY])
    too_large = f"the answer has {size} bytes, of at most {size - 1}; .*ontology_bytes"
    with refspace.set_limits(ontology_bytes=size - 1), pytest.raises(RemoteError, match=too_large):
        fetch()
    assert fetch().total_voxel_map == space.total_voxel_map


def test_a_graph_without_structures(server, files):
    server.files = {**files, QUERY.format(99): answer([])}
    with pytest.raises(SourceError, match="graph 99 has no structures; graphs are 1 adult mouse"):
        fetch(graph_id=99)


def test_an_answer_that_does_not_count(server, files, space):
    server.files = {**files, ONTOLOGY: answer(records(space.structure_tree), total_rows=0)}
    assert fetch().total_voxel_map == space.total_voxel_map


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (ONTOLOGY, answer([{"id": 1, "structure_id_path": "/7/1/"}]), "parents are missing"),
        (ONTOLOGY, b'{"success": true, "msg": [1]}', "holds no list of structures"),
        (ANNOTATION, b'{"success": false}', "not an NRRD file"),
    ],
)
def test_what_is_no_atlas_is_not_kept(server, files, space, tmp_path, path, content, message):
    server.files = {**files, path: content}
    with pytest.raises(RefspaceError, match=message):
        fetch()
    server.files = files
    assert fetch().total_voxel_map == space.total_voxel_map


@pytest.mark.promise("a download in the cache is damaged", "it does not become a store")
def test_a_damaged_download_does_not_become_a_store(server, files, space, tmp_path):
    server.files = {**files, ANNOTATION: files[ANNOTATION][:-100]}
    with pytest.raises(RefspaceError, match="damaged") as caught:
        fetch()
    assert "fetch it again with --refresh" in caught.value.__notes__[-1]
    assert not any(store.suffix == ".zarr" for store in stores(tmp_path))
    server.files = files
    assert fetch(refresh=True).total_voxel_map == space.total_voxel_map


OFFICIAL = f"http://download.alleninstitute.org{ARCHIVE}"


def test_a_known_digest_is_asked_for(server, files, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"{OFFICIAL}/annotation/ccf_2017/annotation_25.nrrd"
    server.files = {**files, url: b"not the one"}
    with pytest.raises(RemoteError, match=r"sha256 c620cbcc5.* expected, .* got"):
        fetch(resolution=25, archive=OFFICIAL)
    assert server.paths()[-1] == url
    assert not list((tmp_path / "cache").rglob("annotation_25.nrrd"))


def test_out_of_reach(server, monkeypatch):
    server.stop()
    with pytest.raises(RemoteError) as raised:
        fetch(resolution=25)
    text = str(raised.value)
    assert "cannot be reached: " in text
    assert "name another host by host= or REFSPACE_ALLEN_HOST" in text
    assert "set REFSPACE_CACHE to a copy of the cache of a machine that has it" in text
    server.start()
    AllenFiles().structures(1)
    server.stop()
    monkeypatch.setenv("http_proxy", server.url)
    with pytest.raises(RemoteError) as raised:
        fetch(resolution=25, archive=OFFICIAL)
    text = str(raised.value)
    path = Cache().path(f"{OFFICIAL}/annotation/ccf_2017/annotation_25.nrrd")
    assert "put the file with sha256 c620cbcc56" in text
    assert f"at {path}" in text
    assert "name another host by archive= or REFSPACE_ALLEN_ARCHIVE" in text


def test_a_copy_of_a_cache_is_enough(server, space, tmp_path, monkeypatch):
    AllenFiles().structures(1)
    AllenFiles().annotation("ccf_2017", 100)
    server.stop()
    (tmp_path / "cache").rename(tmp_path / "copy")
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "copy"))
    assert fetch().total_voxel_map == space.total_voxel_map


@pytest.mark.slow
def test_two_processes_fetch_once(server, tmp_path):
    server.faults = lambda request: Fault(seconds=0.1)
    code = "import refspace; refspace.fetch('allen:ccf_2017', resolution=100)"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(server.paths()) == sorted([ONTOLOGY, ANNOTATION])
    assert [path.suffix for path in stores(tmp_path)] == [".zarr"]


KILLED = """
import os, sys, refspace
def kill(name, done, total):
    if name.endswith(sys.argv[1]) and done >= int(sys.argv[2]) * total // 4:
        os.kill(os.getpid(), 9)
refspace.fetch("allen:ccf_2017", resolution=100, progress=kill)
"""


@pytest.mark.parametrize("words", [("json", 4), ("nrrd", 1), ("nrrd", 4), ("zarr", 0), ("zarr", 4)])
def test_killed_fetches_go_on(server, space, tmp_path, words):
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], check=False)
    assert killed.returncode == -9
    assert not any(store.suffix == ".zarr" for store in stores(tmp_path) if store.name[0] != ".")
    assert fetch().total_voxel_map == space.total_voxel_map
    assert server.paths().count(ONTOLOGY) <= 2
    (store,) = (path for path in stores(tmp_path) if path.suffix == ".zarr")
    assert run("verify", store).exit_code == 0


def test_an_interrupted_conversion_of_another_file_starts_anew(server, files, space, tmp_path):
    def stop(name, done, total):
        if name.endswith(".zarr") and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(progress=stop)
    changed = nrrd(np.flip(space.annotation.values, 0), 100)
    for path in (tmp_path / "cache" / "downloads").rglob("*annotation_100*"):
        path.unlink()
    server.files = {**files, ANNOTATION: changed}
    np.testing.assert_array_equal(fetch().annotation, np.flip(space.annotation.values, 0))


def test_a_damaged_store_says_what_to_do(server, tmp_path):
    fetch()
    (store,) = stores(tmp_path)
    (store / "zarr.json").write_text("{}")
    with pytest.raises(RefspaceError) as raised:
        fetch()
    assert "fetch it again with --refresh (Python: refresh=True)" in raised.value.__notes__
    fetch(refresh=True)


# ----- as AllenSDK's users ask


@pytest.fixture
def cache(server, tmp_path):
    return ReferenceSpaceCache(
        100, "annotation/ccf_2017", manifest=tmp_path / "mine" / "manifest.json"
    )


def test_nothing_is_touched_before_it_is_asked_for(cache, server, tmp_path):
    assert repr(cache) == f"<ReferenceSpaceCache of ccf_2017 at 100 µm, in {tmp_path / 'mine'}>"
    assert server.requests == []
    assert not (tmp_path / "mine").exists()


def test_the_notebook(cache, server, space, tmp_path):
    tree = cache.get_structure_tree(structure_graph_id=1)
    assert tree.nodes() == space.structure_tree.nodes()
    annotation, meta = cache.get_annotation_volume()
    np.testing.assert_array_equal(annotation.values, space.annotation.values)
    assert annotation.dims == ("ap", "dv", "ml")
    assert list(meta["sizes"]) == list(space.grid.shape)
    assert (meta["type"], meta["dimension"]) == ("uint32", 3)
    template, _ = cache.get_template_volume()
    np.testing.assert_array_equal(template.values, space.annotation.values % 500)
    nissl, _ = cache.get_template_volume(template="ara_nissl")
    np.testing.assert_array_equal(nissl.values, template.values + 1)
    mask, _ = cache.get_structure_mask(385)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask.values, space.make_structure_mask([385]).values)
    rsp = cache.get_reference_space()
    assert rsp.total_voxel_map == space.total_voxel_map
    assert rsp.label_index is not None
    assert len(server.requests) == len(set(server.paths())) == 5
    server.stop()
    again = ReferenceSpaceCache(100, manifest=str(tmp_path / "mine" / "manifest.json"))
    assert again.get_reference_space().total_voxel_map == space.total_voxel_map
    assert again.get_structure_mask("VISp")[0].sum() == mask.sum()
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"atlases", "downloads"}


def test_files_of_ones_own(cache, server, space, files, tmp_path):
    structures, annotation = tmp_path / "structures.json", tmp_path / "annotation.nrrd"
    rsp = cache.get_reference_space(structures, str(annotation))
    assert rsp.total_voxel_map == space.total_voxel_map
    assert annotation.read_bytes() == files[ANNOTATION]
    server.stop()
    flipped = np.flip(space.annotation.values, 0)
    annotation.write_bytes(nrrd(flipped, 100))
    np.testing.assert_array_equal(cache.get_annotation_volume(annotation)[0].values, flipped)
    refspace.write_structures(structures, refspace.StructureTree(space.structure_tree.nodes()[:1]))
    assert len(cache.get_structure_tree(structures).node_ids()) == 1


def test_meshes(cache):
    vertices, vertex_normals, face_vertices, face_normals = cache.get_structure_mesh(385)
    # What AllenSDK makes of this file.
    np.testing.assert_array_equal(vertices, [[0, 0, 0], [100, 0, 0], [0, 100, 0], [0, 0, 100]])
    assert vertex_normals[3].tolist() == [0.577] * 3
    assert face_vertices.tolist() == face_normals.tolist() == [[0, 1, 2], [0, 1, 3]]
    assert face_vertices.dtype == np.int64


def test_structures_without_published_files(cache):
    with pytest.raises(
        FileNotFoundError, match=r"not every structure has a published one.*make_st"
    ):
        cache.get_structure_mask(997)
    with pytest.raises(FileNotFoundError, match=r"997\.obj: there is no such file on the server"):
        cache.get_structure_mesh("root")


@pytest.mark.parametrize("structure", [[385], 385.5, True, -385])
def test_what_is_no_structure_is_not_asked_for(cache, server, structure):
    with pytest.raises(OntologyError, match=r"structure id.* ids (are integers|go) from 0"):
        cache.get_structure_mask(structure)
    assert not server.requests


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ((30, "annotation/ccf_2017"), GridError, "resolution is 30; the Allen CCF is published at"),
        (
            (25, "annotation/ccf_2011"),
            SourceError,
            "allen has no 'annotation/ccf_2011'; it has ccf_",
        ),
    ],
)
def test_spaces_that_there_are_not(words, error, text):
    with pytest.raises(error, match=text):
        ReferenceSpaceCache(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0\n", "line 1: 'v 0 0' is none of a mesh of triangles with normals"),
        ("\n# a\nv 0 0 x\n", "line 3: 'v 0 0 x' is none"),
        ("v 0 0 nan\n", "line 1"),
        ("p 1\n", "line 1: 'p 1'"),
        (MESH + "f 1 2 3\n", "line 14: 'f 1 2 3'"),
        (MESH + "f 1//1 2//2 3//3 4//4\n", "line 14"),
        (MESH + "f 1//1 2//2 5//3\n", "a triangle names vertex 5; there are 1 to 4"),
        (MESH + "f 1//1 2//2 3//0\n", "a triangle names normal 0; there are 1 to 4"),
        (MESH + "f 1//1 2//2 3//-1\n", "a triangle names normal -1; there are 1 to 4"),
        (MESH + f"f 1//1 2//2 3//{10**30}\n", "line 14"),
        (MESH + f"f 1//1 2//2 {-(10**30)}//3\n", "line 14"),
        ("v 0 0 " + "1" * 10**6, r"line 1: 'v 0 0 1{54}…' is none"),
        ("\xff", "not text, and so no OBJ mesh"),
    ],
)
def test_meshes_that_are_none(tmp_path, text, message):
    path = tmp_path / "mesh.obj"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(refspace.errors.FormatError, match=message):
        read_obj(path)


def test_meshes_that_are_too_large(tmp_path):
    path = tmp_path / "mesh.obj"
    path.write_text(MESH)
    size = len(MESH)
    with refspace.set_limits(mesh_bytes=size):
        read_obj(path)
    with (
        refspace.set_limits(mesh_bytes=size - 1),
        pytest.raises(refspace.errors.FormatError, match=f"mesh.obj has {size} bytes, of at most"),
    ):
        read_obj(path)


def test_meshes_with_names_and_textures(tmp_path):
    path = tmp_path / "mesh.obj"
    path.write_text("o VISp\ng all\ns 1\nvt 0 0\n" + MESH.replace("//", "/1/"))
    assert read_obj(path).face_vertices.tolist() == [[0, 1, 2], [0, 1, 3]]
    path.write_text("")
    assert [len(part) for part in read_obj(path)] == [0, 0, 0, 0]


# ----- commands


def test_fetch_command(server, space, tmp_path):
    words = ["fetch", "allen", "ccf_2017", "--resolution", "100"]
    extra = ["--template", "--masks", "385", "--meshes", "VISp"]
    result = run(*words, *extra)
    assert result.exit_code == 0, result.output
    (store,) = stores(tmp_path)
    lines = result.stdout.splitlines()
    assert [line.split(":")[0].split()[-1].split("-")[0] for line in lines[:3]] == [
        "query",
        "annotation_100.nrrd",
        "average_template_100.nrrd",
    ]
    assert lines[-3].startswith(f"{store}: ")
    assert lines[-3].endswith(" s")
    assert "structure_385.nrrd: " in lines[-2]
    assert "385.obj: " in lines[-1]
    server.stop()
    again = run("fetch", "allen:ccf_2017", "--resolution", "100", *extra)
    assert again.exit_code == 0, again.output
    assert again.stdout.count("was there already") == 3
    assert "downloaded" not in again.stdout


def test_fetch_command_with_hosts(server, tmp_path, monkeypatch):
    monkeypatch.delenv("REFSPACE_ALLEN_HOST")
    monkeypatch.delenv("REFSPACE_ALLEN_ARCHIVE")
    words = ["fetch", "allen", "ccf_2017", "--resolution", "100", "--graph-id", "1"]
    hosts = ["--host", server.url, "--archive", server.url + ARCHIVE]
    assert run(*words, *hosts).exit_code == 0
    hosts = ["-O", f"host={server.url}", "-O", f"archive={server.url}{ARCHIVE}"]
    result = run(*words, *hosts)
    assert "was there already" in result.stdout
    assert run(*words, *hosts, "--refresh").exit_code == 0
    assert len(server.requests) == 4
    assert len(stores(tmp_path)) == 1


def test_names_stand_for_annotations(server, space, tmp_path):
    result = run("counts", "allen:ccf_2017", "--resolution", "100", "-s", "VISp")
    assert result.exit_code == 0, result.output
    assert str(space.total_voxel_map[385]) in result.stdout
    mask = tmp_path / "mask.nrrd"
    result = run("mask", "allen:ccf_2017", "--resolution", "100", "-s", "VISp", "-o", mask)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(
        refspace.read_nrrd(mask).values, space.make_structure_mask("VISp").values
    )
    coarse = tmp_path / "coarse.nrrd"
    result = run("downsample", "allen:ccf_2017", "--resolution", "100", "--to", "200", "-o", coarse)
    assert result.exit_code in (0, 2), result.output


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("fetch allen ccf_2018 --resolution 25", "Error: allen has no 'ccf_2018'"),
        ("fetch allen ccf_2017", "Error: no resolution is given; the Allen CCF is published at 10"),
        ("fetch alien ccf_2017", "there is no source alien; did you mean 'allen:ccf_2017'?"),
        ("fetch allen ccf_2017 -O host", "'host' is no KEY=VALUE"),
        ("fetch allen ccf_2017 --resolution 100 -O a=b", "Error: there is no option a; the source"),
        ("fetch abc ccf_2020 --masks 385", "Error: abc publishes no masks and meshes"),
        ("counts allen:ccf_2017 -s VISp", "Error: no resolution is given; the Allen CCF"),
        (
            "counts alien:ccf_2017 -s VISp",
            "there is no file, store or atlas alien:ccf_2017: there is no source alien",
        ),
        ("counts C:ccf_2017 -s VISp", "there is no file, store or atlas C:ccf_2017: did you"),
        ("counts allen:ccf_2017 --orientation RAS", "there is no option orientation"),
    ],
)
def test_commands_that_fail(server, words, text):
    result = run(*words.split())
    assert result.exit_code in (1, 2)
    assert text in result.stderr.splitlines()[-1]
    assert server.requests == []


def test_progress_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(FetchProgress, "_is_due", lambda self: True)
    with FetchProgress("fetching allen:ccf_2017") as progress:
        progress("query.json", 1_500_000, 0)
        progress("annotation_25.nrrd", 8_000_000, 32_000_000)
        progress("ccf_2017_25um-0a1b2c3d.zarr", 30, 60)
    lines = capsys.readouterr().err.split("fetching allen:ccf_2017 … ")
    assert lines[1:4] == [
        "query.json, 1.5 MB",
        "annotation_25.nrrd, 25 %, 8.0 of 32.0 MB",
        "converting, 50 %, 30 of 60 blocks",
    ]
    assert progress.downloads == {"query.json": 1_500_000, "annotation_25.nrrd": 8_000_000}


# ----- the real files


@pytest.mark.ccf
def test_the_real_annotation(server, ccf_data, tmp_path):
    tree = refspace.read_structures(ccf_data / "structures_1.json")
    annotation = (ccf_data / "annotation_25.nrrd").read_bytes()
    path = f"{ARCHIVE}/annotation/ccf_2017/annotation_25.nrrd"
    server.files = {ONTOLOGY: answer(records(tree)), path: annotation}
    server.faults = lambda request: Fault(truncate=2_000_000) if request.range is None else None
    space = fetch(resolution=25)
    assert [request.range for request in server.requests] == [None, None, "bytes=2000000-"]
    assert space.grid.orientation == "PIR"
    counts = space.total_voxel_map
    assert [counts[number] for number in (385, 315, 1011)] == [452_664, 7_891_055, 77_718]


# ----- the hosts themselves


@pytest.mark.network
def test_the_hosts_themselves(tmp_path):
    cache = ReferenceSpaceCache(100, cache=tmp_path)
    tree = cache.get_structure_tree()
    assert len(tree.node_ids()) > 1000
    rsp = cache.get_reference_space()
    assert rsp.annotation.shape == (132, 80, 114)
    published, _ = cache.get_structure_mask(385)
    np.testing.assert_array_equal(published.values, rsp.make_structure_mask([385]).values)
    vertices, *_ = cache.get_structure_mesh(385)
    assert vertices.shape[1] == 3
