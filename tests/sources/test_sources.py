"""The cache, atlases by name, and sources of other packages."""

import errno
import importlib.metadata
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from helpers.serving import Server
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.cli import main
from refspace.cli.progress import FetchProgress
from refspace.errors import GridError, RemoteError, SourceError, StoreError, WriteError
from refspace.labels import labelled
from refspace.remote import retry
from refspace.remote.download import read_record
from refspace.sources import AtlasParts, Cache, Request, cache, opening, source
from refspace.sources.cache import default_root
from refspace.sources.source import find_source, parse_spec, source_names

PHANTOM = refspace.phantom(400)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(delay=0, longest=0))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    for name in list(os.environ):
        if name.startswith("REFSPACE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))


# ----- places in the cache


def test_the_folder_of_the_cache(monkeypatch, tmp_path):
    assert Cache().root == default_root() == tmp_path / "cache"
    monkeypatch.setenv("REFSPACE_CACHE", "~/atlases")
    assert Cache().root == Path.home() / "atlases"
    monkeypatch.delenv("REFSPACE_CACHE")
    assert Cache().root.name == "refspace"
    assert Cache().root.is_absolute()
    assert Cache("~/here").root == Path.home() / "here"
    assert repr(Cache("here")) == "Cache('here')"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://a.org/b/c.nrrd", "a.org/b/c.nrrd"),
        ("http://A.org:8080/b/c.nrrd", "a.org_8080/b/c.nrrd"),
        ("https://a.org/b%20c/d.json", r"a.org/_b_c/d-[0-9a-f]{8}.json"),
        ("https://a.org/q.json?q=1", r"a.org/q-[0-9a-f]{8}.json"),
        ("https://a.org/../../b", r"a.org/_/_/b-[0-9a-f]{8}"),
        ("https://a.org/%2e%2e/%2E%2e/b", r"a.org/_/_/b-[0-9a-f]{8}"),
        ("https://a.org/..%2F..%2Fetc%2Fpasswd", r"a.org/_/_/etc/passwd-[0-9a-f]{8}"),
        ("https://a.org/..%5C..%5Cb", r"a.org/__-[0-9a-f]{8}.._b"),
        ("https://a.org//etc/passwd", r"a.org/_/etc/passwd-[0-9a-f]{8}"),
        ("https://a.org/", r"a.org/_-[0-9a-f]{8}"),
        ("https://a.org/.hidden", r"a.org/_hidden-[0-9a-f]{8}"),
        ("https://a.org/CON.txt", r"a.org/_CON-[0-9a-f]{8}.txt"),
        ("https://a.org/C:/b", r"a.org/_C_/b-[0-9a-f]{8}"),
        ("https://a.org/b%00c", r"a.org/_b_c-[0-9a-f]{8}"),
        ("https://user:secret@a.org/b", r"a.org/b-[0-9a-f]{8}"),
        ("https://[::1]:80/b", r"___1_80/b-[0-9a-f]{8}"),
        (f"https://a.org/{'x' * 300}.nii.gz", r"a.org/_x{73}-[0-9a-f]{8}.nii.gz"),
    ],
)
def test_places_of_downloads(tmp_path, url, path):
    place = Cache(tmp_path).path(url).relative_to(tmp_path / "downloads").as_posix()
    assert re.fullmatch(path, place), place


PARTS = st.sampled_from(
    ["..", ".", "", "a", "b.nrrd", "%2e%2e", "%2F", "..%2f..", "\\", "%5c..", "~", "$HOME", "a:b"]
)


@given(st.lists(st.one_of(PARTS, st.text(max_size=5)), max_size=6), st.text(max_size=5))
def test_no_download_leaves_its_folder(parts, query):
    url = f"https://a.org/{'/'.join(parts)}?{query}"
    root = Path("/cache/downloads")
    place = Cache("/cache").path(url)
    assert Path(os.path.normpath(place)) == place
    assert place.is_relative_to(root / "a.org")
    assert place != root / "a.org"
    assert all(name.isascii() and len(name) < 120 for name in place.parts)


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3), min_size=2, max_size=2))
def test_different_urls_have_different_places(urls):
    first, second = (f"https://a.org/{'/'.join(parts)}" for parts in urls)
    assert (first == second) == (Cache("/c").path(first) == Cache("/c").path(second))


def test_places_of_stores():
    key = {"source": "allen", "name": "ccf/../2017", "resolution": [10.0, 10.0, 20.0]}
    place = Cache("/c").store(key)
    assert place.parent == Path("/c/atlases/allen")
    assert place.name.startswith("ccf_.._2017_10x10x20um-")
    assert place.suffix == ".zarr"
    assert Cache("/c").store(dict(reversed(key.items()))) == place
    others = [{**key, "options": {"a": 1}}, {**key, "name": "x"}, {**key, "resolution": None}]
    assert len({place, *map(Cache("/c").store, others)}) == 4


def test_files_come_once(tmp_path):
    with Server({"a/b.txt": b"voxels"}) as server:
        url = f"{server.url}/a/b.txt"
        path = Cache().file(url, nbytes=6)
        assert path == Cache().path(url)
        assert path.read_bytes() == b"voxels"
        assert Cache().file(url) == path
        assert len(server.requests) == 1
        Cache(refresh=True).file(url)
        assert len(server.requests) == 2
        elsewhere = Cache().file(url, target=tmp_path / "b")
        assert elsewhere.read_bytes() == b"voxels"
    assert read_record(path).bytes == 6


def test_one_process_makes_a_store(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", "refspace")
    code = (
        "import sys; from pathlib import Path; from refspace.sources import Cache\n"
        "with Cache(sys.argv[1]).locked(Path(sys.argv[1], 'a.zarr')):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        # It holds the lock until this process says that it waits.
        release, logger = logging.Handler(), logging.getLogger("refspace")
        release.emit = lambda record: holder.stdin.close()
        monkeypatch.setattr(logger, "handlers", [*logger.handlers, release])
        with Cache(tmp_path).locked(tmp_path / "a.zarr"):
            assert holder.wait() == 0
    assert "waiting for another process that is making" in caplog.text
    assert list(tmp_path.iterdir()) == []


# ----- names


def test_names_of_sources():
    assert {"allen", "brainglobe", "abc"} <= set(source_names())
    with pytest.raises(SourceError, match="there is no source alan; there are abc, allen, brain"):
        find_source("alan")


@pytest.mark.parametrize(
    "text",
    [
        "annotation.nrrd",
        "C:\\annotation.nrrd",
        "C:/annotation.nrrd",
        "C:ccf_2017",
        "s3://bucket/a",
        "allen://a",
        "allen:",
        "allen",
        "Allen:ccf_2017",
        "other:ccf_2017",
        ":ccf_2017",
        "memory:a",
        Path("allen:ccf_2017"),
        None,
    ],
)
def test_what_is_no_name(text):
    assert parse_spec(text) is None


def test_a_file_of_that_name_is_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_spec("allen:ccf_2017.zarr") == ("allen", "ccf_2017.zarr")
    PHANTOM.to_zarr("allen:ccf_2017.zarr")
    assert parse_spec("allen:ccf_2017.zarr") is None
    assert refspace.open("allen:ccf_2017.zarr").total_voxel_map == PHANTOM.total_voxel_map


# ----- sources of other packages

calls: list[Request] = []


def lazy(request):
    """Source of a volume that can be queried where it is."""
    calls.append(request)
    return AtlasParts(
        PHANTOM.annotation,
        PHANTOM.structure_tree,
        template=PHANTOM.annotation.astype("u2").rename("template"),
        provenance={"name": request.name},
    )


def from_file(request):
    """Source of a file."""
    calls.append(request)
    request.check_options(["reverse"])
    path = request.cache.root / "own.nrrd"
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = PHANTOM.annotation.values[:: -1 if request.options.get("reverse") else 1]
    refspace.write_nrrd(path, labelled(voxels, PHANTOM.grid))
    return AtlasParts(path, PHANTOM.structure_tree, resolution=400, orientation="PIR")


@pytest.fixture
def installed(monkeypatch):
    """Sources that another package names in its entry points."""
    entries = importlib.metadata.EntryPoints(
        importlib.metadata.EntryPoint(name, f"{__name__}:{value}", source.ENTRY_POINTS)
        for name, value in [("lazy", "lazy"), ("file", "from_file"), ("broken", "nothing")]
    )
    monkeypatch.setattr(source, "entry_points", entries.select)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    calls.clear()


def test_a_lazy_volume_is_opened_in_place(installed, tmp_path):
    space = refspace.open("lazy:one", resolution=400, storage_options={"anon": True}, version="2")
    assert space.total_voxel_map == PHANTOM.total_voxel_map
    assert isinstance(space.template, xr.DataArray)
    assert space.provenance == {"name": "one"}
    (request,) = calls
    assert (request.name, request.resolution) == ("one", 400.0)
    assert request.options == {"version": "2"}
    assert request.access == {"storage_options": {"anon": True}, "engine": "fsspec"}
    assert not (tmp_path / "cache").exists()


def test_a_lazy_volume_is_fetched(installed, tmp_path):
    space = refspace.fetch("lazy:one")
    np.testing.assert_array_equal(space.annotation.values, PHANTOM.annotation.values)
    np.testing.assert_array_equal(space.template.values, PHANTOM.annotation.astype("u2").values)
    assert space.provenance["name"] == "one"
    assert refspace.fetch("lazy:one").total_voxel_map == space.total_voxel_map
    # What was fetched is nearer than the original.
    assert refspace.open("lazy:one").label_index is not None
    assert len(calls) == 1
    (store,) = (tmp_path / "cache" / "atlases" / "lazy").iterdir()
    assert store.name.startswith("one-")


def test_a_file_becomes_a_store(installed):
    opened = refspace.open("file:one")
    reverse = refspace.open("file:one", reverse=True)
    np.testing.assert_array_equal(reverse.annotation, opened.annotation.values[::-1])
    assert refspace.open("file:one").total_voxel_map == PHANTOM.total_voxel_map
    assert refspace.open("file:one", reverse=False).grid == PHANTOM.grid
    assert len(calls) == 2
    other = refspace.open("file:one", cache=Cache(Cache().root / "other"))
    assert other.total_voxel_map == PHANTOM.total_voxel_map
    assert len(calls) == 3


def test_variables_of_a_source_tell_stores_apart(installed, monkeypatch):
    refspace.fetch("file:one")
    monkeypatch.setenv("REFSPACE_FILE_HOST", "https://example.org")
    refspace.fetch("file:one")
    monkeypatch.setenv("REFSPACE_OTHER_HOST", "https://example.org")
    refspace.fetch("file:one")
    assert len(calls) == 2


def test_a_source_that_cannot_be_loaded(installed):
    with pytest.raises(SourceError, match=r"^the source broken, of .*:nothing, cannot be loaded: "):
        refspace.open("broken:one")


def test_a_source_that_gives_something_else(installed, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "lazy", lambda request: {})
    for get in (refspace.open, refspace.fetch):
        with pytest.raises(SourceError, match="the source lazy gives a dict, and no AtlasParts"):
            get("lazy:one")


def test_a_source_that_nobody_knows(installed):
    with pytest.raises(StoreError) as caught:
        refspace.open("lasy:one")
    said = "there is no file, store or atlas lasy:one: there is no source lasy; did you mean "
    assert str(caught.value) == f"{said}'lazy:one'?"
    result = CliRunner().invoke(main, ["counts", "lasy:one"])
    assert said in " ".join(result.output.split())


@pytest.mark.parametrize("resolution", [np.array([400, 400, 400]), np.float32(400), (400.0,) * 3])
def test_resolutions_of_any_type(installed, resolution):
    refspace.open("lazy:one", resolution=resolution)
    assert calls[-1].resolution == 400.0


@pytest.mark.parametrize("resolution", ["many", -5, [1, 2], np.nan])
def test_what_is_no_resolution(installed, resolution):
    with pytest.raises(GridError, match="is not one positive number of µm per voxel"):
        refspace.open("lazy:one", resolution=resolution)


@pytest.mark.parametrize("spec", ["lazy:one", "abc:ccf_2020"])
def test_a_cache_that_cannot_be(installed, tmp_path, monkeypatch, spec):
    (tmp_path / "file").touch()
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="file") as caught:
        refspace.fetch(spec)
    assert caught.value.__notes__ == [
        f"the cache is {tmp_path / 'file'}; REFSPACE_CACHE can name another folder"
    ]


def test_the_command_says_what_it_waits_for(capsys, monkeypatch):
    level = logging.getLogger("refspace").level
    with FetchProgress("fetching lazy:one"):
        logging.getLogger("refspace").info("waiting for %s", "another")
    logging.getLogger("refspace").info("later")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == [
        "fetching lazy:one … waiting for",
        "fetching lazy:one … 0.0",
    ]
    assert logging.getLogger("refspace").level == level
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with FetchProgress("fetching lazy:one"):
        assert capsys.readouterr().err == "\r\033[Kfetching lazy:one … "


def test_options_that_a_source_does_not_take(installed):
    with pytest.raises(SourceError, match="there is no option revers; the source takes reverse"):
        refspace.fetch("file:one", revers=True)
    with pytest.raises(SourceError, match="there is no option a, b; the source takes none"):
        Request("x", options={"b": 1, "a": 2}).check_options([])


def test_arguments_that_an_atlas_by_name_does_not_take(installed):
    with pytest.raises(SourceError, match="lazy:one has its own structures; leave them out"):
        refspace.open("lazy:one", structures=PHANTOM.structure_tree)
    with pytest.raises(SourceError, match="there is no option orientation; the source takes"):
        refspace.open("allen:ccf_2017", resolution=25, orientation="RAS")
    with pytest.raises(
        SourceError, match=r"atlas\.zarr is no atlas of a source, and takes no version"
    ):
        refspace.open("atlas.zarr", version=2)
    assert calls == []


def test_everything_else_is_opened_as_it_was(tmp_path):
    PHANTOM.to_zarr(tmp_path / "a.zarr")
    for url in (tmp_path / "a.zarr", str(tmp_path / "a.zarr")):
        assert refspace.open(url, resolution=400).total_voxel_map == PHANTOM.total_voxel_map
    with pytest.raises(StoreError, match="there is no source other; sources are abc, allen"):
        refspace.open("other:atlas")
    with pytest.raises(StoreError, match="ccf_2017: did you mean 'allen:ccf_2017'"):
        refspace.open("ccf_2017")


def test_a_conversion_that_fails_is_not_repeated_for_nothing(installed, monkeypatch):
    tried = []

    def convert(*words, **how):
        tried.append(how.get("resume", False))
        raise WriteError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(opening, "convert", convert)
    with pytest.raises(WriteError, match=r"^no space left$"):
        refspace.fetch("file:one")
    assert tried == [True]


def test_a_store_that_another_process_has_made_meanwhile_is_taken(installed, monkeypatch):
    def slow(request):
        monkeypatch.setattr(opening, "find_source", find_source)
        made = refspace.fetch("file:one")
        monkeypatch.setattr(opening, "convert", None)
        return AtlasParts(made.annotation, made.structure_tree)

    monkeypatch.setattr(opening, "find_source", lambda name: slow)
    assert refspace.fetch("file:one").total_voxel_map == PHANTOM.total_voxel_map


def test_other_sources_of_the_command(installed):
    result = CliRunner().invoke(main, ["fetch", "file:one", "-O", "reverse=true"])
    assert result.exit_code == 0, result.output
    assert calls[-1].options == {"reverse": "true"}
    result = CliRunner().invoke(
        main, ["fetch", "lazy", "one", "-O", "a=1", "-O", "b=1.10", "-O", "c=x=y"]
    )
    assert result.exit_code == 0, result.output
    # As they were written: a version of 1.10 is not 1.1.
    assert calls[-1].options == {"a": "1", "b": "1.10", "c": "x=y"}
    result = CliRunner().invoke(main, ["counts", "lazy:two", "-s", "VISp"])
    assert str(PHANTOM.total_voxel_map[385]) in result.stdout


def test_nothing_is_touched_at_import(tmp_path):
    code = "import refspace; refspace.fetch, refspace.open, refspace.ReferenceSpaceCache(25)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert cache.CACHE_VARIABLE in os.environ


# ----- what the cache holds is proven


def test_a_file_that_was_changed_comes_again(tmp_path, caplog):
    with Server({"a.txt": b"voxels"}) as server:
        path = Cache(tmp_path).file(f"{server.url}/a.txt")
        # Of the same size, so that only its content tells.
        path.write_bytes(b"vOxels")
        with caplog.at_level(logging.INFO):
            assert Cache(tmp_path).file(f"{server.url}/a.txt").read_bytes() == b"voxels"
        assert "is not what was downloaded" in caplog.text
        assert server.paths() == ["/a.txt"] * 2
        path.write_bytes(b"vOxels")
    with pytest.raises(RemoteError, match=r"put .*a\.txt back as it was downloaded, with sha256"):
        Cache(tmp_path).file(f"{server.url}/a.txt")


@pytest.mark.parametrize("level", ["a.txt", "a", "downloads"])
def test_links_in_the_cache_are_refused(tmp_path, level):
    with Server({"a/a.txt": b"voxels"}) as server:
        path = Cache(tmp_path / "cache").file(f"{server.url}/a/a.txt")
        here = {"a.txt": path, "a": path.parent, "downloads": tmp_path / "cache/downloads"}[level]
        here.rename(tmp_path / "outside")
        here.symlink_to(tmp_path / "outside")
        with pytest.raises(StoreError, match=r"is a symbolic link, .* by REFSPACE_CACHE"):
            Cache(tmp_path / "cache").file(f"{server.url}/a/a.txt")
        # The folder itself may be one.
        (tmp_path / "link").symlink_to(tmp_path / "fresh")
        (tmp_path / "fresh").mkdir()
        assert Cache(tmp_path / "link").file(f"{server.url}/a/a.txt").read_bytes() == b"voxels"


@pytest.mark.parametrize("ending", [".json", ".part", ".part.json", ".lock"])
def test_nothing_is_written_through_links_beside_a_download(tmp_path, ending):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    with Server({"a.txt": b"voxels"}) as server:
        path = Cache(tmp_path / "cache").path(f"{server.url}/a.txt")
        path.parent.mkdir(parents=True)
        path.with_name(f".a.txt{ending}").symlink_to(victim)
        with pytest.raises(RemoteError, match="symbolic link"):
            Cache(tmp_path / "cache").file(f"{server.url}/a.txt")
    assert victim.read_text() == "mine"


def test_records_of_downloads_hold_no_signature(tmp_path):
    with Server({"a.txt": b"voxels"}) as server:
        url = f"{server.url}/a.txt?X-Amz-Signature=s1gned"
        path = Cache(tmp_path).file(url)
        again = Cache(tmp_path).file(url.replace("s1gned", "s2gned"))
        assert again == path
        assert len(server.requests) == 1
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert all("s1gned" not in str(file) + file.read_text("latin-1") for file in files)


@pytest.mark.parametrize("user", ["me:secret@", "me@"])
@pytest.mark.parametrize("query", ["", "?token=secret"])
def test_hosts_of_sources_are_named_without_secrets(monkeypatch, user, query):
    url = f"https://{user}host.invalid/atlas{query}"
    for spec, variable in (
        ("allen:ccf_2017", "REFSPACE_ALLEN_ARCHIVE"),
        ("abc:ccf_2020", "REFSPACE_ABC"),
        ("brainglobe:a_25um", "REFSPACE_BRAINGLOBE"),
    ):
        monkeypatch.setenv(variable, url)
        monkeypatch.setenv("REFSPACE_ALLEN_HOST", url)
        with pytest.raises(SourceError) as caught:
            refspace.open(spec, resolution=10)
        assert "host.invalid" in str(caught.value)
        assert "secret" not in str(caught.value)


def test_credentials_choose_no_other_store():
    def place(**storage_options):
        return opening.locate("brainglobe:a", storage_options=storage_options or None)[2]

    assert place(key="mine") == place(key="yours") == place()
    assert place(endpoint_url="https://a") != place(endpoint_url="https://b")
    assert place(client_kwargs={"endpoint_url": "https://a"}) != place()
