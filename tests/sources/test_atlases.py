"""The list of atlases: what sources have, and what is here."""

import importlib.metadata
import json
import os
import shutil
import socket
import sys

import fsspec
import pytest
from click.testing import CliRunner
from helpers import brainglobe_packaging as packaging
from helpers import brainglobe_replay as replay
from helpers.serving import Fault, Server

import refspace
from refspace.cli import main
from refspace.errors import SourceError
from refspace.remote import retry
from refspace.sources import AtlasEntry, AtlasParts, Cache, source
from refspace.sources.listing import COLUMNS
from refspace.sources.source import LISTINGS

PHANTOM = refspace.phantom(400)
SPEC = f"brainglobe:{replay.NAME}"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0, longest=0))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    for name in list(os.environ):
        if name.startswith("REFSPACE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """Bucket with a list of versions; not to be changed."""
    return replay.write_bucket(tmp_path_factory.mktemp("bucket"))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Folder of BrainGlobe's own packaging, without a list; not to be changed."""
    folder = tmp_path_factory.mktemp("packed")
    for sample in (packaging.mouse(), packaging.rat()):
        packaging.write_packaging(folder, sample)
    return folder


@pytest.fixture
def server(bucket, monkeypatch):
    with Server(bucket) as running:
        monkeypatch.setenv("REFSPACE_BRAINGLOBE", running.url)
        yield running


@pytest.fixture
def offline(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("REFSPACE_BRAINGLOBE", f"http://127.0.0.1:{free.getsockname()[1]}")
        yield


def rows(table, *columns):
    return [tuple(row) for row in table[list(columns)].itertuples(index=False)]


# ----- what sources have


def test_what_allen_and_abc_have():
    table = refspace.atlases("allen")
    assert list(table.columns) == list(COLUMNS)
    assert rows(table, "name", "resolution") == [
        (f"ccf_{year}", resolution)
        for year in (2015, 2016, 2017)
        for resolution in (10.0, 25.0, 50.0, 100.0)
    ]
    assert set(table["species"]) == {"Mus musculus"}
    assert table["here"].isna().all()
    (row,) = rows(refspace.atlases("abc"), "version", "resolution", "spec")
    assert row == ("20230630", 10.0, "abc:ccf_2020")


def test_a_bucket_is_asked_for_its_list_alone(server):
    table = refspace.atlases("brainglobe")
    assert server.paths() == ["/atlases/last_versions.conf"]
    assert rows(table, "name", "version", "resolution", "spec") == [
        ("allen_mouse_10um", "1.2", 10.0, "brainglobe:allen_mouse_10um"),
        ("allen_mouse_25um", "1.2", 25.0, "brainglobe:allen_mouse_25um"),
        (replay.NAME, "1.2", 200.0, SPEC),
    ]
    assert table["here"].isna().all()
    assert table["species"].isna().all()


def test_all_sources_are_listed(server, tmp_path):
    table = refspace.atlases()
    assert table["source"].value_counts(sort=False).to_dict() == {
        "abc": 1, "allen": 12, "brainglobe": 3
    }  # fmt: skip
    # Nothing is made where there is no cache yet.
    assert not (tmp_path / "cache").exists()


def test_a_folder_has_all_versions_and_says_more(packed):
    table = refspace.atlases("brainglobe", base=packed)
    names = ["phantom_mouse_100um"] * 2 + ["phantom_mouse_200um"] * 2 + ["phantom_rat_25.0um"]
    assert table["name"].tolist() == names
    assert table["version"].tolist() == ["3.10", "3.9", "3.10", "3.9", "3.0"]
    lengths = [(100.0, 50.0, 50.0)] * 2 + [(200.0, 100.0, 100.0)] * 2 + [25.0]
    assert table["resolution"].tolist() == lengths
    assert table["species"].iloc[-1] == "Rattus phantasma"
    for row in table.to_dict("records"):
        by_name = refspace.open(row["spec"], base=packed, resolution=row["resolution"])
        by_path = refspace.open(row["here"])
        for space in (by_name, by_path):
            assert space.provenance["version"] == row["version"]
            assert space.grid == by_name.grid
        assert f"/{row['name']}/" in row["here"]


def test_a_damaged_manifest_hides_no_other(packed, tmp_path):
    base = shutil.copytree(packed / packaging.ROOT, tmp_path / "copy")
    manifests = sorted(base.glob("atlases/*/*/manifest.json"))
    manifests[0].write_text("{")
    fields = json.loads(manifests[-1].read_text())
    manifests[-1].write_text(json.dumps(fields | {"species": ["x"], "annotation_set": {}}))
    table = refspace.atlases("brainglobe", base=base)
    assert table["here"].isna().tolist() == [True, False, False, False, True]
    assert table["resolution"].tolist()[0] == 100.0
    assert table["species"].tolist()[-1] is None


def test_a_bucket_without_a_list_is_listed(packed):
    memory = fsspec.filesystem("memory")
    memory.put(str(packed / packaging.ROOT), "/lab/atlas", recursive=True)
    memory.pipe("/lab/atlas/atlases/notes.json", b"{}")
    try:
        table = refspace.atlases("brainglobe", base="memory://lab/atlas")
    finally:
        memory.rm("/lab", recursive=True)
    assert table["version"].tolist() == ["3.10", "3.9", "3.10", "3.9", "3.0"]
    assert table["resolution"].tolist() == [100.0, 100.0, 200.0, 200.0, 25.0]
    assert table["spec"].tolist()[1] == "brainglobe:phantom_mouse_100um@3.9"
    assert table["here"].isna().all()


def test_where_there_is_no_list(packed, tmp_path):
    for base in (str(tmp_path / "nothing"), "memory://nothing"):
        with pytest.raises(
            SourceError, match=rf"^there are no atlases of BrainGlobe at {base}: na"
        ):
            refspace.atlases("brainglobe", base=base)
    refused = pytest.raises(SourceError, match="a web server cannot be asked what it has; if there")
    with Server(packed / packaging.ROOT) as server, refused:
        refspace.atlases("brainglobe", base=server.url)


def test_names_that_cannot_be_asked_for_are_not_listed(tmp_path):
    (tmp_path / "atlases").mkdir()
    names = "a_25um = 1.2\n\x1b[2J_25um = 1.0\n../b_25um = 1.0\nc_25um = newest\nd = 1_0\n"
    with Server({"atlases/last_versions.conf": f"[atlases]\n{names}".encode()}) as server:
        table = refspace.atlases("brainglobe", base=server.url)
    assert rows(table, "name", "version", "resolution") == [
        ("a_25um", "1.2", 25),
        ("d", "1.0", None),
    ]


@pytest.mark.parametrize(
    ("name", "resolution"),
    [("a_16.752um", 16.752), ("a_500nm", 0.5), ("a_1.5mm", 1500), ("a_um", None), ("a", None)],
)
def test_lengths_in_names(name, resolution):
    with Server({"atlases/last_versions.conf": f"[atlases]\n{name} = 1.0\n".encode()}) as server:
        (found,) = refspace.atlases("brainglobe", base=server.url)["resolution"]
    assert found == resolution


def test_what_does_not_fit_a_list(server):
    with pytest.raises(SourceError, match="there is no source alan; there are abc, allen, brain"):
        refspace.atlases("alan")
    with pytest.raises(SourceError, match="options are of one source: name that of base, version"):
        refspace.atlases(version="1", base="x")
    with pytest.raises(SourceError, match="there is no option version; the source takes base"):
        refspace.atlases("brainglobe", version="1")
    with pytest.raises(SourceError, match="there is no option base; the source takes none"):
        refspace.atlases("allen", base="x")


# ----- what is here


def test_what_was_fetched_is_here(server, tmp_path):
    space = refspace.fetch(SPEC)
    row = refspace.atlases("brainglobe").iloc[-1]
    assert row["here"] == space.url
    assert (row["spec"], row["version"], row["resolution"]) == (SPEC, "1.2", 200.0)
    assert row["species"] == "Mus phantasma"
    assert len(refspace.atlases("brainglobe")) == 3
    # Of another cache there is nothing.
    for other in (tmp_path / "other", Cache(tmp_path / "other")):
        assert refspace.atlases("brainglobe", cache=other)["here"].isna().all()


def test_without_a_network_what_is_here_is_listed(bucket, offline, monkeypatch):
    away = os.environ["REFSPACE_BRAINGLOBE"]
    with Server(bucket) as server:
        monkeypatch.setenv("REFSPACE_BRAINGLOBE", server.url)
        fetched = refspace.fetch(SPEC)
    with pytest.warns(
        UserWarning, match=r"^the atlases of brainglobe cannot be listed: http.*conf"
    ):
        table = refspace.atlases()
    assert rows(table, "name", "here")[-1] == (replay.NAME, fetched.url)
    assert len(table) == 14
    monkeypatch.setenv("REFSPACE_BRAINGLOBE", away)
    with pytest.warns(UserWarning, match="cannot be listed"):
        (row,) = refspace.atlases("brainglobe").to_dict("records")
    # Under another host the name is another store: its path is what opens it.
    assert row["spec"] == row["here"] == fetched.url
    assert refspace.open(row["spec"]).total_voxel_map == fetched.total_voxel_map


def test_an_older_version_that_is_here(bucket, tmp_path):
    base = shutil.copytree(bucket, tmp_path / "bucket")
    newest = base / f"atlases/{replay.NAME}/1_2"
    newest.rename(tmp_path / "1_2")
    old = refspace.fetch(SPEC, base=base)
    (tmp_path / "1_2").rename(newest)
    with Server(base) as server:
        table = refspace.atlases("brainglobe", base=server.url)
        mine = table[table["name"] == replay.NAME]
        assert rows(mine, "version", "spec", "here") == [
            ("1.2", SPEC, None),
            ("1.0", old.url, old.url),
        ]
        # Where the name alone opens the older one, the newest is asked for by its version.
        again = refspace.fetch(f"{SPEC}@1.0", base=server.url)
        mine = refspace.atlases("brainglobe", base=server.url).query("name == @replay.NAME")
        assert ("1.0", f"{SPEC}@1.0", again.url) in rows(mine, "version", "spec", "here")


def test_the_newest_is_pinned_beside_an_older_one_of_that_name(bucket, monkeypatch):
    versions = ["1.0", "1.2"]

    def last(request):
        return None if "last_versions" not in request.path else fault(versions[0])

    def fault(version):
        return Fault(body=f"[atlases]\n{replay.NAME} = {version}\n".encode())

    with Server(bucket) as server:
        server.faults = last
        monkeypatch.setenv("REFSPACE_BRAINGLOBE", server.url)
        old = refspace.fetch(SPEC)
        del versions[0]
        table = refspace.atlases("brainglobe")
        assert rows(table, "version", "spec", "here") == [
            ("1.2", f"{SPEC}@1.2", None),
            ("1.0", SPEC, old.url),
        ]
        for row in table.to_dict("records"):
            assert refspace.open(row["spec"]).provenance["version"] == row["version"]


def test_stores_that_are_none_are_left_out(server, tmp_path):
    path = refspace.fetch(SPEC).url
    folder = tmp_path / "cache/atlases/brainglobe"
    (folder / "empty.zarr").mkdir()
    (folder / "link.zarr").symlink_to(path)
    shutil.copytree(path, folder / "cut.zarr")
    (folder / "cut.zarr/zarr.json").write_text("{")
    PHANTOM.to_zarr(folder / "other.zarr")
    assert refspace.atlases("brainglobe")["here"].dropna().tolist() == [path]


# ----- sources of other packages

entries: list[object] = []


def lazy(request):
    return AtlasParts(PHANTOM.annotation, PHANTOM.structure_tree, provenance={"version": "2"})


def list_lazy(request):
    assert request.name == ""
    request.check_options(["host"])
    return entries


@pytest.fixture
def installed(monkeypatch):
    """A source with a list, one without, and one whose list cannot be loaded."""
    sources = [("lazy", "lazy"), ("silent", "lazy"), ("broken", "lazy")]
    lists = [("lazy", "list_lazy"), ("broken", "nothing")]
    named = importlib.metadata.EntryPoints(
        importlib.metadata.EntryPoint(name, f"{__name__}:{value}", group)
        for group, pairs in ((source.ENTRY_POINTS, sources), (LISTINGS, lists))
        for name, value in pairs
    )
    monkeypatch.setattr(source, "entry_points", named.select)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    entries[:] = [
        AtlasEntry("rat", version="2", resolution=400, species="Rattus", asked="rat@2"),
        AtlasEntry("rat", version="1", resolution=[400, 400, 400], asked="rat@1"),
        AtlasEntry("cat", resolution=(10, 20, 20)),
    ]


def test_lists_of_other_packages(installed):
    assert rows(refspace.atlases("lazy", host="x"), "name", "version", "resolution", "spec") == [
        ("cat", None, (10.0, 20.0, 20.0), "lazy:cat"),
        ("rat", "2", 400.0, "lazy:rat"),
        ("rat", "1", 400.0, "lazy:rat@1"),
    ]
    fetched = refspace.fetch("lazy:rat")
    refspace.fetch("lazy:dog")
    table = refspace.atlases("lazy")
    assert rows(table, "name", "version")[1] == ("dog", "2")
    assert rows(table.dropna(subset="here"), "name", "version", "here")[1:] == [
        ("rat", "2", fetched.url)
    ]
    with pytest.raises(SourceError, match="there is no option hots; the source takes host"):
        refspace.atlases("lazy", hots="x")


def test_a_source_without_a_list(installed):
    refspace.fetch("silent:dog")
    with pytest.warns(UserWarning, match="^the source silent does not say which atlases it has$"):
        table = refspace.atlases("silent")
    assert rows(table, "name", "spec") == [("dog", "silent:dog")]


def test_a_list_that_is_broken_keeps_no_other_from_being_listed(installed, server):
    entries.append({"name": "dog"})
    with pytest.warns(UserWarning, match="cannot be listed") as caught:
        table = refspace.atlases()
    texts = sorted(str(warning.message) for warning in caught)
    assert [text[:45] for text in texts] == [
        "the atlases of broken cannot be listed: the s",
        "the atlases of lazy cannot be listed: its lis",
    ]
    assert "has a dict, and no AtlasEntry" in texts[1]
    assert {"abc", "allen", "brainglobe"} == set(table["source"])
    with pytest.raises(SourceError, match="has a dict, and no AtlasEntry"):
        refspace.atlases("lazy")
    with pytest.raises(SourceError, match=r"the source broken, of .*:nothing, cannot be"):
        refspace.atlases("broken")


def test_what_a_list_raises_is_told_without_secrets(installed, monkeypatch, server):
    def raising(request):
        raise ValueError("https://me:hunter2@host.invalid/a failed")

    monkeypatch.setattr(sys.modules[__name__], "list_lazy", raising)
    with pytest.warns(UserWarning, match="cannot be listed") as caught:
        refspace.atlases()
    assert any("lazy cannot be listed: Val" in str(warning.message) for warning in caught)
    assert "hunter2" not in "".join(str(warning.message) for warning in caught)


# ----- the command


def run(*words):
    return CliRunner().invoke(main, ["list", *map(str, words)])


def test_the_command_lists(packed):
    result = run("brainglobe", "-O", f"base={packed}")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["atlas", "version", "µm", "here"],
        ["brainglobe:phantom_mouse_100um", "3.10", "100,50,50", "yes"],
    ]
    assert len(lines) == 6
    names = "\n".join(f"{'x' * 90}{n}_25um = 1.{n}" for n in range(3))
    with Server({"atlases/last_versions.conf": f"[atlases]\n{names}\n".encode()}) as server:
        result = run("brainglobe", "-O", f"base={server.url}")
    # A pipe gets names as they are; the width of a terminal is another test's.
    assert f"brainglobe:{'x' * 90}0_25um" in result.stdout


def test_the_command_for_other_programs(packed, tmp_path):
    result = run("brainglobe", "-O", f"base={packed}", "--json")
    records = json.loads(result.stdout)["atlases"]
    assert records[0]["resolution"] == [100.0, 50.0, 50.0]
    assert list(records[0]) == list(COLUMNS)
    result = run("allen", "--json")
    assert json.loads(result.stdout)["atlases"][0]["here"] is None
    result = run("brainglobe", "-O", f"base={packed}", "--output", tmp_path / "list.csv")
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "list.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1].startswith('brainglobe,phantom_mouse_100um,3.10,"100,50,50",Mus phantasma')


def test_the_command_without_a_network(offline):
    result = run()
    assert result.exit_code == 0, result.output
    assert "Warning: the atlases of brainglobe cannot be listed" in result.stderr
    assert "allen:ccf_2017" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sources", "abc"], "--sources lists all sources: leave out the rest"),
        (["-O", "base=x"], "options are of one source: name that of base"),
        (["alan"], "there is no source alan; there are abc"),
        (["abc", "--output", "list.doc"], "list.doc does not end in .csv, .tsv or .parquet"),
        (["abc", "--output", "https://host/list.csv"], "is a URL"),
    ],
)
def test_what_the_command_refuses(words, message):
    result = run(*words)
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())


def test_what_is_here_asks_no_host(packed, offline):
    result = run("--here", "--json")
    assert (result.exit_code, json.loads(result.stdout)["atlases"]) == (0, [])
    assert result.stderr == ""
    result = run("brainglobe", "-O", f"base={packed}", "--here", "--json")
    records = json.loads(result.stdout)["atlases"]
    assert all(row["here"] for row in records)
    assert len(records) == len(refspace.atlases("brainglobe", base=packed))


def test_sources_are_described():
    rows = json.loads(run("--sources", "--json").stdout)["sources"]
    assert [row["source"] for row in rows][:2] == ["abc", "allen"]
    assert all(row["description"] for row in rows)
