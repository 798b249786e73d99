"""The modules of AllenSDK for atlases, by its names, against a replay of its hosts.

AllenSDK's own tests and notebooks run against them too: ``scripts/run_allensdk_tests.py`` and
``scripts/run_allensdk_notebooks.py``. Queries, paths and manifests below are what AllenSDK 2.16.2
asks for and writes.
"""

import copy
import functools
import importlib
import json
import os
import pickle
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nrrd
import numpy as np
import pandas as pd
import pytest
from helpers.allen_replay import ARCHIVE, QUERY, answer, records, replay, sample, structure_sets
from helpers.serving import HTML, Server

import refspace
import refspace.allensdk
from refspace.allensdk.api.queries.mouse_connectivity_api import MouseConnectivityApi
from refspace.allensdk.api.queries.ontologies_api import OntologiesApi
from refspace.allensdk.api.queries.reference_space_api import ReferenceSpaceApi
from refspace.allensdk.api.queries.rma_api import RmaApi
from refspace.allensdk.config.manifest import Manifest, ManifestVersionError
from refspace.allensdk.core.mouse_connectivity_cache import MouseConnectivityCache
from refspace.allensdk.core.reference_space import ReferenceSpace
from refspace.allensdk.core.reference_space_cache import ReferenceSpaceCache
from refspace.allensdk.core.simple_tree import SimpleTree
from refspace.allensdk.core.structure_tree import StructureTree
from refspace.allensdk.missing import MODULES
from refspace.errors import (
    FormatError,
    GridError,
    MissingDependencyError,
    NotInRefspaceError,
    RemoteError,
    SettingError,
    SourceError,
    WriteError,
)
from refspace.remote import retry

PACKAGE = Path(refspace.allensdk.__path__[0])
KEY = "annotation/ccf_2017"
ANNOTATION = f"{ARCHIVE}/{KEY}/annotation_100.nrrd"
ONTOLOGY = QUERY.format(1)
BASE = "https://api.brain-map.org/api/v2/data/query.json?q="
ALL = "[num_rows$eq'all'][order$eqstructures.graph_order][count$eqfalse]"


@pytest.fixture(scope="module")
def space():
    return sample()


@pytest.fixture(scope="module")
def files(space):
    return replay(space) | structure_sets(space.structure_tree)


@pytest.fixture
def server(files, monkeypatch, tmp_path):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0, longest=0))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("REFSPACE_", "MOUSE_")):
            monkeypatch.delenv(name)
    with Server(dict(files)) as server:
        monkeypatch.setenv("REFSPACE_ALLEN_HOST", server.url)
        monkeypatch.setenv("REFSPACE_ALLEN_ARCHIVE", server.url + ARCHIVE)
        yield server


@pytest.fixture
def cache(server):
    return MouseConnectivityCache(resolution=100, manifest_file="ccf/manifest.json")


def visible(folder):
    """Files of a folder, without records of downloads."""
    found = Path(folder).rglob("*")
    return sorted(
        path.relative_to(folder).as_posix()
        for path in found
        if path.is_file() and path.name[0] != "."
    )


# ----- modules


def test_the_modules_are_those_that_are_listed():
    parts = [path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")]
    names = {".".join(part) for part in parts if len(part) > 1 and part[-1] != "__init__"}
    assert names == {*MODULES}
    for name in MODULES:
        importlib.import_module(f"refspace.allensdk.{name}")


def test_trees_and_spaces_are_those_of_refspace():
    assert ReferenceSpace is refspace.ReferenceSpace
    assert StructureTree is refspace.StructureTree
    assert issubclass(StructureTree, SimpleTree)


@pytest.mark.parametrize(
    "code",
    [
        "import refspace.allensdk.brain_observatory.ecephys",
        "from refspace.allensdk import brain_observatory",
        "from refspace.allensdk.core import cell_types_cache",
        "from refspace.allensdk.core.cell_types_cache import CellTypesCache",
        "from refspace.allensdk.api.queries.grid_data_api import GridDataApi",
        "from refspace.allensdk.core.structre_tree import StructureTree",
    ],
)
def test_modules_that_are_not_there(code):
    with pytest.raises(MissingDependencyError) as raised:
        exec(code, {})
    message = str(raised.value)
    assert isinstance(raised.value, ImportError)
    assert message.startswith("refspace.allensdk has no module ")
    assert "core.structure_tree" in message
    assert (
        "it takes AllenSDK itself (pip install allensdk==2.16.2) in an environment of its"
        in message
    )


def test_other_imports_are_as_ever():
    for name in ("refspace.nothing", "allensdk_of_nobody"):
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
            importlib.import_module(name)
    importlib.reload(refspace.allensdk)
    assert sum("_MissingModules" in repr(type(finder)) for finder in sys.meta_path) == 1
    assert importlib.util.find_spec("refspace.allensdk.core.reference_space")
    assert importlib.util.find_spec("refspace.allensdk.__main__") is None


# ----- attributes


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (MouseConnectivityApi, "get_structure_unionizes"),
        (MouseConnectivityApi, "download_mouse_atlas_volume"),
        (OntologiesApi, "get_atlases_table"),
        (OntologiesApi, "service_query"),
        (Manifest, "check_dir"),
        (lambda: ReferenceSpaceCache(25, KEY), "load_csv"),
    ],
)
def test_attributes_that_are_not_there(made, name):
    value = made()
    with pytest.raises(NotInRefspaceError) as raised:
        getattr(value, name)
    message = str(raised.value)
    assert message.startswith(f"{type(value).__name__}.{name} is not in refspace, which has what")
    assert "It takes AllenSDK itself (pip install allensdk==2.16.2)" in message
    assert not hasattr(value, name)
    with pytest.raises(AttributeError, match=f"there is no {type(value).__name__}.get_anotation"):
        value.get_anotation()


def test_the_error_of_experiments_names_what_there_is(cache):
    with pytest.raises(
        NotInRefspaceError, match="get_annotation_volume, get_cache_path, get_reference"
    ):
        cache.get_experiments(dataframe=True)


def test_classes_are_copied_and_pickled(cache):
    for again in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert again.resolution == 100
        assert again.get_cache_path(None, "TEMPLATE", 100) == cache.manifest.get_path(
            "TEMPLATE", 100
        )


# ----- caches


def test_files_are_where_allensdk_puts_them(cache, server, space):
    assert visible("ccf") == ["manifest.json"]
    assert server.requests == []
    tree = cache.get_structure_tree()
    annotation, header = cache.get_annotation_volume()
    template, _ = cache.get_template_volume()
    mask, _ = cache.get_structure_mask(385)
    mesh = cache.get_structure_mesh(385)
    assert visible("ccf") == [
        f"{KEY}/annotation_100.nrrd",
        f"{KEY}/structure_masks/resolution_100/structure_385.nrrd",
        f"{KEY}/structure_meshes/structure_385.obj",
        "average_template_100.nrrd",
        "manifest.json",
        "structures.json",
    ]
    assert tree.nodes() == space.structure_tree.nodes()
    np.testing.assert_array_equal(annotation, space.annotation.values)
    np.testing.assert_array_equal(template, space.annotation.values % 500)
    np.testing.assert_array_equal(mask, space.make_structure_mask("VISp").values)
    assert (type(annotation), annotation.dtype, mask.dtype) == (np.ndarray, np.uint32, np.uint8)
    assert [part.shape for part in mesh] == [(4, 3), (4, 3), (2, 3), (2, 3)]
    annotation[0, 0, 0] = 7
    # As pynrrd reads the same file, which is what AllenSDK returns.
    expected, fields = nrrd.read(f"ccf/{KEY}/annotation_100.nrrd")
    expected[0, 0, 0] = 7
    np.testing.assert_array_equal(annotation, expected)
    assert list(header) == list(fields)
    for name, value in fields.items():
        np.testing.assert_array_equal(header[name], value)


def test_what_is_there_is_not_asked_for_again(cache, server):
    methods = [cache.get_structure_tree, cache.get_annotation_volume, cache.get_template_volume]
    methods += [functools.partial(cache.get_structure_mask, "385"), cache.get_reference_space]
    methods += [functools.partial(cache.get_structure_mesh, 385)]
    first = [method() for method in methods]
    server.stop()
    for before, method in zip(first, methods, strict=True):
        if isinstance(after := method(), tuple):
            np.testing.assert_array_equal(after[0], before[0])
    again = MouseConnectivityCache(100, manifest_file=Path("ccf/manifest.json"))
    assert again.get_reference_space().total_voxel_map[385] > 0
    assert (
        again.get_structure_mask(385)[0].sum()
        == again.get_structure_mask(pd.Series([385]))[0].sum()
    )
    assert len(again.default_structure_ids) == len(
        again.get_structure_tree().get_structures_by_set_id([167587189])
    )


def test_files_that_are_named(cache, server):
    annotation, _ = cache.get_annotation_volume("mine/a.nrrd")
    tree = cache.get_structure_tree(Path("mine/s.json"))
    assert visible("mine") == ["a.nrrd", "s.json"]
    space = cache.get_reference_space("mine/s.json", "mine/a.nrrd")
    np.testing.assert_array_equal(space.annotation.values, annotation)
    assert space.structure_tree.node_ids() == tree.node_ids()
    assert len(server.requests) == 2
    assert visible("ccf") == ["manifest.json"]


def test_a_folder_that_allensdk_has_filled(space, tmp_path):
    nodes = [
        {name: node[name] for name in ("acronym", "rgb_triplet", "graph_order", "id", "name")}
        | {"graph_id": 1, "structure_id_path": node["structure_id_path"], "structure_set_ids": [1]}
        for node in space.structure_tree.nodes()
    ]
    Path(tmp_path, "structures.json").write_text(json.dumps(nodes, indent=2))
    Path(tmp_path, KEY).mkdir(parents=True)
    nrrd.write(str(tmp_path / KEY / "annotation_25.nrrd"), space.annotation.values)
    cache = MouseConnectivityCache(manifest_file=tmp_path / "manifest.json")
    found = cache.get_reference_space()
    assert found.total_voxel_map == space.total_voxel_map
    assert list(found.resolution) == [25, 25, 25]
    assert found.structure_tree.nodes() == nodes


def test_manifests_are_as_allensdk_writes_them(tmp_path):
    ReferenceSpaceCache(25, KEY, manifest=tmp_path / "a" / "manifest.json")
    MouseConnectivityCache(manifest_file=tmp_path / "b" / "manifest.json")
    first, second = (
        json.loads((tmp_path / name / "manifest.json").read_text())["manifest"] for name in "ab"
    )
    assert first[:4] == [
        {"type": "manifest_version", "value": 1.2},
        {"key": "BASEDIR", "type": "dir", "spec": "."},
        {
            "key": "STRUCTURE_TREE",
            "type": "file",
            "spec": "structures.json",
            "parent_key": "BASEDIR",
        },
        {"key": "REFERENCE_SPACE_VERSION", "type": "dir", "spec": "%s", "parent_key": "BASEDIR"},
    ]
    assert second[0]["value"] == 1.3
    assert second[1 : len(first)] == first[1:]
    assert [(entry["key"], entry["spec"]) for entry in second[len(first) :]] == [
        ("EXPERIMENTS", "experiments.json"),
        ("STRUCTURE_UNIONIZES", "experiment_%d/structure_unionizes.csv"),
        ("INJECTION_DENSITY", "experiment_%d/injection_density_%d.nrrd"),
        ("INJECTION_FRACTION", "experiment_%d/injection_fraction_%d.nrrd"),
        ("DATA_MASK", "experiment_%d/data_mask_%d.nrrd"),
        ("PROJECTION_DENSITY", "experiment_%d/projection_density_%d.nrrd"),
        ("DEFORMATION_FIELD_HEADER", "experiment_%d/dfmfld.mhd"),
        ("DEFORMATION_FIELD_VOXELS", "experiment_%d/dfmfld.raw"),
        ("ALIGNMENT3D", "experiment_%d/alignment3d.json"),
    ]
    # Both may use one folder.
    ReferenceSpaceCache(25, KEY, manifest=tmp_path / "b" / "manifest.json")
    MouseConnectivityCache(manifest_file=tmp_path / "a" / "manifest.json")


def test_a_manifest_that_was_changed_counts(tmp_path, cache):
    manifest = Path("ccf/manifest.json")
    manifest.write_text(manifest.read_text().replace('"structures.json"', '"trees/mine.json"'))
    MouseConnectivityCache(100, manifest_file=manifest).get_structure_tree()
    assert visible("ccf") == ["manifest.json", "trees/mine.json"]


def test_the_folder_by_default(server, monkeypatch):
    assert MouseConnectivityCache().manifest_path == "mouse_connectivity/manifest.json"
    assert Path("mouse_connectivity/manifest.json").exists()
    monkeypatch.setenv("MOUSE_CONNECTIVITY_MANIFEST", "elsewhere/m.json")
    MouseConnectivityCache()
    assert Path("elsewhere/m.json").exists()


MANIFESTS = [
    ("no json", "is no manifest of AllenSDK; remove the file, and it is written anew"),
    ("[1]", "is no manifest of AllenSDK"),
    ('{"manifest": {}}', "is no manifest of AllenSDK"),
    ("[" * 100_000, "is no manifest of AllenSDK"),
    ('{"manifest": [5]}', "an entry of a manifest is no mapping but 5"),
    ('{"manifest": [{"key": "A"}]}', "has texts as key, spec and type; this is {'key': 'A'}"),
    (
        '{"manifest": [{"key": "A", "type": "file", "spec": "a", "parent_key": []}]}',
        "has texts as key, spec and type",
    ),
    (
        '{"manifest": [{"key": "A", "type": "file", "spec": "a", "parent_key": "B"}]}',
        "'A' is in 'B', which no entry before it has as key",
    ),
    (
        '{"manifest": [{"key": "A", "type": "file", "spec": "%999999999d"}]}',
        "'A' is no path with %d and %s alone: '%999999999d'",
    ),
    (
        '{"manifest": [{"key": "A", "type": "file", "spec": "%(A)s"}]}',
        "'A' is no path with %d and %s alone",
    ),
    *(
        (
            json.dumps({"manifest": [{"key": "A", "type": "file", "spec": spec}]}),
            "'A' leads out of the folder of the manifest, to ",
        )
        for spec in ("../a", "b/../../a", "/etc/passwd")
    ),
    (
        '{"manifest": [{"type": "manifest_version", "value": 0.2}]}',
        "the manifest is of version 0.2, and 1.2 or 1.3 is known; remove the file",
    ),
]


@pytest.mark.parametrize(("text", "message"), MANIFESTS)
def test_manifests_that_are_none(tmp_path, text, message):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(FormatError) as raised:
        ReferenceSpaceCache(25, KEY, manifest=path)
    assert message in str(raised.value)
    told = " ".join([str(raised.value), *getattr(raised.value, "__notes__", [])])
    assert str(path) in told
    assert path.read_text() == text


def test_a_manifest_that_is_too_large(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text('{"manifest": []}' + " " * 100)
    too_large = pytest.raises(
        FormatError, match=r"manifest.json has .* bytes or more, of at most 99"
    )
    with refspace.set_limits(metadata_bytes=99), too_large:
        ReferenceSpaceCache(25, KEY, manifest=path)


def test_another_graph(cache):
    cache.get_structure_tree()
    with pytest.raises(
        SourceError, match=r"structures.json has the structures of graph 1, and 17 is"
    ):
        cache.get_structure_tree(structure_graph_id=17)


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (lambda: ReferenceSpaceCache(33, KEY), GridError, "resolution is 33; .*10, 25, 50, 100 µm"),
        (lambda: ReferenceSpaceCache(25, "ccf_2018"), SourceError, "allen has no 'ccf_2018'"),
        (lambda: MouseConnectivityCache(cache=False), SettingError, "cache is False, but volumes"),
        (
            lambda: ReferenceSpaceCache(25, KEY).get_annotation_volume(),
            SettingError,
            "ReferenceSpaceCache has no manifest, so the file has no place; give file_name",
        ),
        (
            lambda: ReferenceSpaceCache(25, KEY).get_structure_mask("VISp"),
            ValueError,
            "structure_id is 'VISp', which is no number; structure_tree.get_id_acronym_map",
        ),
        (
            lambda: ReferenceSpaceCache.validate_structure_ids([1, None]),
            ValueError,
            "structure_id is 'None', which is no number",
        ),
    ],
)
def test_what_a_cache_refuses(server, made, error, message):
    with pytest.raises(error, match=message):
        made()


def test_ids_are_integers():
    ids = [385, "385", 385.0, np.uint32(385), np.array([385]), pd.Series([385])]
    assert ReferenceSpaceCache.validate_structure_ids(ids) == [385] * len(ids)


# ----- requests


def test_downloads_replace_what_is_there(server, space):
    api = MouseConnectivityApi()
    first, _ = api.download_annotation_volume(None, 100, "new/a.nrrd")
    second, header = api.download_annotation_volume(api.CCF_2016, 100, "new/a.nrrd")
    np.testing.assert_array_equal(second, np.flip(first, 1))
    assert list(header["sizes"]) == list(first.shape)
    template, _ = api.download_template_volume(100, "new/t.nrrd")
    np.testing.assert_array_equal(template, space.annotation.values % 500)
    mask, _ = api.download_structure_mask(385, None, 100, "new/m.nrrd")
    assert mask.sum() == space.total_voxel_map[385]
    mesh = api.download_structure_mesh(385, api.CCF_VERSION_DEFAULT, "new/m.obj")
    assert mesh.vertices.max() == 100
    api.download_volumetric_data(api.ARA_NISSL, "ara_nissl_100.nrrd", 100)
    assert Path("ara_nissl_100.nrrd").exists()


def test_what_the_archive_has_not(server):
    api = ReferenceSpaceApi()
    with pytest.raises(FileNotFoundError, match=r"structure_997\.nrrd"):
        api.download_structure_mask(997, None, 100, "m.nrrd")
    with pytest.raises(SourceError, match="allen has no 'annotation/mouse_2011'"):
        api.download_annotation_volume(api.MOUSE_2011, 25, "a.nrrd")
    assert visible(".") == []


def test_a_web_page_is_no_volume(server, files):
    server.files = {**files, ANNOTATION: b"<html>log in</html>"}
    with pytest.raises((RemoteError, FormatError)):
        ReferenceSpaceApi().download_annotation_volume(None, 100, "a.nrrd")
    server.files = {**files, ONTOLOGY: HTML.body}
    with pytest.raises(RemoteError, match="web page"):
        OntologiesApi().get_structures_with_sets([1])
    assert visible(".") == []


def test_urls_of_files():
    api = ReferenceSpaceApi()
    root = "https://download.alleninstitute.org/informatics-archive"
    build = api.build_volumetric_data_download_url
    assert build("a", "b.nrrd") == f"{root}/current-release/mouse_ccf/a/b.nrrd"
    assert build("a", "b.nrrd", 25, "october", "other") == f"{root}/october/other/a/b.nrrd"
    assert build("a", "b.nrrd", release="october") == f"{root}/october/mouse_ccf/a/b.nrrd"


STRUCTURES = f"{BASE}model::Structure,rma::criteria,"


@pytest.mark.parametrize(
    ("ask", "url"),
    [
        (
            lambda api: api.get_structures_with_sets([1, 17]),
            f"{STRUCTURES}[graph_id$in1,17],rma::include,structure_sets,rma::options{ALL}",
        ),
        (
            lambda api: api.get_structures_with_sets(1, ["x"], num_rows=3, count=True),
            f"{STRUCTURES}[graph_id$in1],rma::include,structure_sets,"
            "rma::options[num_rows$eq3][order$eqx][count$eqtrue]",
        ),
        (lambda api: api.get_structures(1), f"{STRUCTURES}[graph_id$in1],rma::options{ALL}"),
        (
            lambda api: api.get_structures(structure_graph_names=api.quote_string("Mouse")),
            f"{STRUCTURES}graph[structure_graphs.name$in'Mouse'],rma::options{ALL}",
        ),
        (
            lambda api: api.get_structures(structure_set_ids=np.array([7, 8])),
            f"{STRUCTURES}[structure_set_id$in7,8],rma::options{ALL}",
        ),
        (
            lambda api: api.get_structures(structure_set_names=["'a'", "'b'"], order=None),
            f"{STRUCTURES}structure_sets[name$in'a','b'],"
            "rma::options[num_rows$eq'all'][count$eqfalse]",
        ),
        (
            lambda api: api.get_structure_sets({5, 2}),
            f"{BASE}model::StructureSet,rma::criteria,[id$in2,5],"
            "rma::options[num_rows$eq'all'][count$eqfalse]",
        ),
        (
            lambda api: api.get_structure_sets(),
            f"{BASE}model::StructureSet,rma::options[num_rows$eq'all'][count$eqfalse]",
        ),
        (
            lambda api: api.get_structure_graphs(),
            f"{BASE}model::StructureGraph,rma::options[num_rows$eq'all'][count$eqfalse]",
        ),
        (
            lambda api: api.get_atlases(),
            f"{BASE}model::Atlas,rma::options[num_rows$eq'all'][count$eqfalse]",
        ),
        (
            lambda api: api.model_query("Gene", only=["id", "name"], num_rows=10, start_row=5),
            f"{BASE}model::Gene,rma::options[only$eqid,name][num_rows$eq10][start_row$eq5]",
        ),
        (lambda api: api.model_query("Gene"), f"{BASE}model::Gene"),
    ],
)
def test_queries(monkeypatch, ask, url):
    monkeypatch.delenv("REFSPACE_ALLEN_HOST", raising=False)
    urls = []
    monkeypatch.setattr(RmaApi, "json_msg_query", lambda api, url: urls.append(url) or [{}])
    ask(OntologiesApi())
    assert urls == [url]


def test_answers(server, space, files):
    api = OntologiesApi(base_uri=server.url)
    structures = api.get_structures_with_sets([1])
    assert structures == records(space.structure_tree)
    assert StructureTree(StructureTree.clean_structures(structures)).nodes() == (
        space.structure_tree.nodes()
    )
    assert len(api.get_structure_sets(space.structure_tree.get_structure_sets())) > 0
    # A percent sign in a URL stands for what it encodes.
    assert api.json_msg_query(f"{server.url}{ONTOLOGY}".replace("[", "%5B")) == structures
    server.files = {**files, ONTOLOGY: answer([{"id": 997}], total_rows=1327)}
    with pytest.raises(RemoteError, match="the server sends 1 of 1327 structures"):
        api.get_structures_with_sets(1)
    server.files = {**files, ONTOLOGY: answer([], success=False, msg="no such model")}
    with pytest.raises(RemoteError, match="the server reports a failure: no such model"):
        api.get_structures_with_sets(1)
    server.files = {**files, ONTOLOGY: answer([])}
    with pytest.raises(SourceError, match="graph 1 has no structures; graphs are 1 adult mouse"):
        api.get_structures_with_sets(1)


def test_queries_that_are_refused():
    api = OntologiesApi()
    with pytest.raises(SourceError, match="no graph and no set is named; name structure_graph_ids"):
        api.get_structures()
    with pytest.raises(SourceError, match=r"graph_id is '1\]'; give a number: 1 adult"):
        api.get_structures_with_sets("1]")
    with pytest.raises(SourceError, match="holds a quotation mark, which ends a text in RMA"):
        api.quote_string("a' or 'b")


def test_ancestors_of_a_table():
    table = pd.DataFrame({"structure_id_path": ["/997/", "/997/8/567/"]}, index=[5, 6])
    assert OntologiesApi().unpack_structure_set_ancestors(table) is None
    assert [list(row) for row in table["structure_set_ancestor"]] == [[997], [997, 8, 567]]


# ----- manifests


def test_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Manifest.safe_mkdir("a/b/c") == "a/b/c"
    assert Manifest.safe_mkdir("a/b/c") is None
    assert Manifest.safe_mkdir(Path("p/q")) == Path("p/q")
    assert Manifest.safe_mkdir("/") is None
    assert Manifest.safe_mkdir(".") is None
    assert Manifest.safe_make_parent_dirs("x/y/z.txt") == "x/y"
    assert Manifest.safe_make_parent_dirs("x/y/z.txt") is None
    assert Manifest.safe_make_parent_dirs("z.txt") is None
    assert sorted(path.name for path in Path().iterdir()) == ["a", "p", "x"]
    Path("file").touch()
    for path in ("file", "file/a"):
        with pytest.raises((WriteError, OSError)):
            Manifest.safe_mkdir(path)


def test_paths_by_key(tmp_path):
    entries = [
        {"key": "BASEDIR", "type": "dir", "spec": "/base"},
        {"key": "A", "type": "file", "spec": "a_%d.nrrd", "parent_key": "BASEDIR"},
        {"key": "R", "type": "dir", "spec": "rel"},
    ]
    manifest = Manifest(entries, relative_base_dir=tmp_path)
    assert manifest.get_path("A", 5) == "/base/a_5.nrrd"
    assert manifest.get_path("A") == "/base/a_%d.nrrd"
    assert manifest.get_path("R") == str(tmp_path / "rel")
    manifest.add_path("K", "kk", parent_key="BASEDIR")
    assert list(manifest.as_dataframe().index) == ["BASEDIR", "A", "R", "K"]
    assert manifest.path_info["K"] == {"type": "dir", "spec": "/base/kk"}
    with pytest.raises(FormatError, match="the manifest has no 'Z'; it has BASEDIR, A, R, K"):
        manifest.get_path("Z")
    with pytest.raises(FormatError, match="does not fit"):
        manifest.get_path("A", "x")


def test_versions_of_manifests():
    stated = [{"type": "manifest_version", "value": 1.0}]
    Manifest(stated, version=1.0)
    Manifest(stated)
    with pytest.raises(ManifestVersionError, match=r"of version 1\.0, and 2\.0 is known") as raised:
        Manifest(stated, version=2.0)
    assert (raised.value.version, raised.value.found_version) == (2.0, 1.0)


# ----- the notebook


def test_the_notebook_with_its_imports_changed(server, space):
    """Each call of AllenSDK's notebook of the reference space, as it stands there."""
    structure_graph = OntologiesApi().get_structures_with_sets([1])
    tree = StructureTree(StructureTree.clean_structures(structure_graph))
    (area,) = tree.get_structures_by_name(["Primary visual area"])
    assert tree.parent([area["id"]])[0]["id"] == tree.parents([385])[0]["id"]
    assert tree.get_name_map()[385] == "Primary visual area"
    assert tree.structure_descends_from(385, 315)
    assert tree.value_map(lambda x: x["id"], lambda y: y["acronym"])[385] == "VISp"

    annotation_dir = "annotation"
    Manifest.safe_mkdir(annotation_dir)
    annotation_path = os.path.join(annotation_dir, "annotation.nrrd")  # noqa: PTH118
    MouseConnectivityApi().download_annotation_volume(KEY, 100, annotation_path)
    annotation, _ = nrrd.read(annotation_path)
    rsp = ReferenceSpace(tree, annotation, [100, 100, 100])

    mask = rsp.make_structure_mask([315])
    assert mask.sum() == space.total_voxel_map[315]
    sets = rsp.structure_tree.get_structures_by_set_id([167587189])
    many = rsp.make_structure_mask([structure["id"] for structure in sets])
    figure, (left, right) = plt.subplots(1, 2)
    left.imshow(mask[33, :], interpolation="none", cmap=plt.cm.afmhot)
    right.imshow(many[:, 20, :], interpolation="none", cmap=plt.cm.afmhot)

    writer = functools.partial(ReferenceSpace.check_and_write, annotation_dir)
    generator = rsp.many_structure_masks([385, 1097], writer)
    assert visible(annotation_dir) == ["annotation.nrrd"]
    assert list(generator) == [385, 1097]
    assert visible(annotation_dir)[1:] == ["structure_1097.nrrd", "structure_385.nrrd"]

    empty = [number for number, count in rsp.total_voxel_map.items() if not count]
    rsp.remove_unassigned()
    assert not {*empty} & {*rsp.structure_tree.node_ids()}
    left.imshow(rsp.get_slice_image(1, 2000), interpolation="none")
    coarse = rsp.downsample([200, 200, 200])
    assert coarse.annotation.shape == (33, 20, 28)
    right.imshow(coarse.get_slice_image(1, 2000), interpolation="none")
    coarse.write_itksnap_labels("labels.nrrd", "labels.txt")
    assert {"labels.nrrd", "labels.txt"} <= {*visible(".")}
    plt.close(figure)
