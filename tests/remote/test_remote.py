"""Stores on other machines: what is asked of them, and what happens when they fail."""

import os
import pickle
import shutil
import socket
import sys
import threading
from functools import partial
from types import SimpleNamespace

import aiohttp
import dask
import fsspec
import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFileSystem
from helpers.foreign_stores import VOXELS, nested, opened, write
from helpers.servers import Proxy, nginx
from helpers.serving import HTML, RESET, Fault, Server

import refspace
from refspace.errors import FormatError, MissingDependencyError, RemoteError, StoreError
from refspace.limits import set_limits
from refspace.remote import buckets, chunk_cache, objects, retry
from refspace.store import dask_graphs, open_atlas, verify_store
from refspace.store.location import Location, map_concurrently

AUDD, VISP = 1011, 385
ENGINES = ["fsspec", "obstore"]
CHUNK = "s0/annotation/c/"
RECORDS = "label_index/s0/annotation_objects/c/0/0/0/0"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(attempts=4, delay=0))


@pytest.fixture(
    scope="module", params=["phantom_store", pytest.param("ccf_store", marks=pytest.mark.ccf)]
)
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def at_nginx(store, tmp_path_factory):
    with nginx(store, tmp_path_factory.mktemp("nginx")) as url:
        yield url


def same(one, other):
    """Two spaces answer alike."""
    assert one.total_voxel_map == other.total_voxel_map
    assert one.centroid("VISp") == other.centroid("VISp")
    for structures in ("AUDd", "VISp"):
        masks = [space.make_structure_mask(structures, crop=True) for space in (one, other)]
        xr.testing.assert_identical(*(mask.compute() for mask in masks))


def voxels(url, **options):
    return refspace.open(url, **options).annotation.values


def chain(requests):
    """Most requests of which each began when the one before had its answer: the rounds of waiting.

    The latency of a network passes at least as often.
    """
    count, end = 0, -np.inf
    for request in sorted(requests, key=lambda request: request.ended):
        if request.started >= end:
            count, end = count + 1, request.ended
    return count


# ----- real servers


@pytest.mark.parametrize("engine", ENGINES)
def test_nginx(store, at_nginx, engine):
    same(refspace.open(at_nginx, engine=engine), refspace.open(store))


def test_what_is_not_there(at_nginx):
    with pytest.raises(StoreError, match=f"there is no zarr store at {at_nginx}/elsewhere"):
        refspace.open(f"{at_nginx}/elsewhere")


def test_verifying_where_nothing_can_be_listed(at_nginx):
    assert not verify_store(at_nginx).faults


@pytest.mark.parametrize("engine", ENGINES)
def test_s3(phantom_store, s3, engine):
    url = f"s3://atlases/{engine}.zarr"
    local = refspace.open(phantom_store)
    local.to_zarr(url, chunks=64, storage_options=s3.writer)
    # Everybody may read it, and may not list it.
    space = refspace.open(url, storage_options=s3.reader, engine=engine)
    same(space, local)
    np.testing.assert_array_equal(space.annotation, local.annotation)
    assert not verify_store(url, storage_options=s3.writer).faults
    with pytest.raises(StoreError, match="exists; give another name"):
        local.to_zarr(url, storage_options=s3.writer)
    local.to_zarr(url, chunks=64, storage_options=s3.writer, overwrite=True)
    assert not verify_store(url, storage_options=s3.writer).faults


@pytest.mark.parametrize("engine", ENGINES)
def test_s3_without_the_right(s3, engine):
    wrong = {**s3.writer, "secret": "guessed"}
    with pytest.raises(RemoteError, match=r"zarr\.json cannot be read: access is denied.*'anon'"):
        refspace.open("s3://atlases/none.zarr", storage_options=wrong, engine=engine)


def test_converting_to_s3_is_resumed(phantom_store, s3):
    url, space = "s3://atlases/resumed.zarr", refspace.open(phantom_store)

    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        space.to_zarr(url, chunks=64, storage_options=s3.writer, progress=stop)
    with pytest.raises(StoreError, match="run it again with the same command"):
        refspace.open(url, storage_options=s3.writer)
    done = []
    space.to_zarr(
        url, chunks=64, storage_options=s3.writer, resume=True, progress=lambda n, _: done.append(n)
    )
    assert done[0] > 0
    assert not verify_store(url, storage_options=s3.writer).faults
    facts = open_atlas(url, storage_options=s3.writer).metadata
    assert facts["digest"] == open_atlas(str(phantom_store)).metadata["digest"]


# ----- what is asked of a server


@pytest.mark.parametrize("engine", ENGINES)
def test_requests_are_few_and_together(store, at_nginx, engine):
    """The latency of 50 ms passes twice for opening, once for all counts, once for a mask."""
    with Proxy(at_nginx, lambda request: Fault(seconds=0.05)) as server:
        opened = refspace.open(server.url, engine=engine)
        opening = server.ended()
        assert len(opening) <= 5
        assert chain(opening) <= 2 * 2
        server.requests.clear()
        assert opened.voxel_counts().total.sel(structure=AUDD) > 0
        assert len(server.requests) <= 2
        assert chain(server.ended()) <= 2
        server.requests.clear()
        mask = opened.make_structure_mask("AUDd", crop=True)
        assert server.requests == []
        mask.compute()
        assert 0 < len(server.requests) <= 7
        assert chain(server.ended()) <= 2
        asked = {path.lstrip("/") for path in server.paths()}
    numbers = refspace.open(store).plan("AUDd").blocks
    # And, together with the chunks, what proves them.
    assert asked == {RECORDS, *(CHUNK + "/".join(map(str, number)) for number in numbers)}
    assert len(asked) == len(server.requests)


def test_bytes_are_those_of_the_chunks(store, at_nginx):
    plan = refspace.open(store).plan("AUDd")
    with Proxy(at_nginx) as server:
        space = refspace.open(server.url)
        space.make_structure_mask("AUDd").compute()  # the index too
        sent = [r.sent for r in server.ended() if CHUNK in r.path]
    assert sum(sent) == plan.stored_bytes


def test_a_template_costs_no_more_to_open(tmp_path):
    space = refspace.phantom(resolution=200)
    template = space.annotation.astype("u1").rename("template")
    refspace.ReferenceSpace(space.structure_tree, space.annotation, template=template).to_zarr(
        tmp_path / "a.zarr"
    )
    with Server(tmp_path / "a.zarr") as server:
        assert refspace.open(server.url).template is not None
        assert len(server.requests) == 4


def test_parts_of_results_read_their_blocks_alone(phantom_store):
    with Server(phantom_store) as server:
        space = refspace.open(server.url)
        server.requests.clear()
        corner = space.annotation.isel(ap=slice(0, 3), dv=slice(70, 73), ml=5)
        part = corner.compute()
        assert sorted(server.paths()) == [f"/{RECORDS}", f"/{CHUNK}0/1/0"]
    local = refspace.open(phantom_store).annotation
    xr.testing.assert_identical(part, local.isel(ap=slice(0, 3), dv=slice(70, 73), ml=5).compute())


@pytest.mark.parametrize(
    "scheduler", ["threads", "synchronous", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_schedulers(phantom_store, scheduler):
    local = refspace.open(phantom_store).annotation
    with Server(phantom_store) as server, dask.config.set(scheduler=scheduler):
        remote = refspace.open(server.url).annotation
        np.testing.assert_array_equal(remote, local)
        assert int(remote.max()) == int(local.max())


def test_each_block_is_asked_for_once(phantom_store):
    with Server(phantom_store) as server:
        space = refspace.open(server.url)
        server.requests.clear()
        np.testing.assert_array_equal(space.annotation, refspace.open(phantom_store).annotation)
        paths = server.paths()
    assert len(paths) == len(set(paths)) == space.annotation.data.npartitions + 1


def test_graphs_of_reads(phantom_store):
    data = refspace.open(phantom_store).annotation.data
    with Server(phantom_store) as server:
        far = refspace.open(server.url).annotation.data
        again = refspace.open(server.url).annotation.data
        assert far.name == again.name
        layer = far.dask.layers[far.name]
        assert isinstance(layer, dask_graphs.ReadLayer)
        assert len(layer) == len(set(layer)) == far.npartitions
        assert (far.name, 0, 0, 0) in layer
        for strange in [(far.name, 0, 0), (far.name, 0, 0, 99), ("other", 0, 0, 0), "x"]:
            assert strange not in layer
        with pytest.raises(KeyError):
            layer[far.name, 0, 0, 99]
        # Without a graph that was optimized, block by block.
        (block,) = dask.get(dict(layer), [(far.name, 1, 0, 0)])
        np.testing.assert_array_equal(block, data.blocks[1, 0, 0])
        few = far.blocks[:1, :1].__dask_graph__().cull({(far.name, 0, 0, 0), (far.name, 0, 0, 1)})
        # What a task takes to another process is small.
        for task in few.to_dict().values():
            assert len(pickle.dumps(task)) < 5000


def test_graphs_of_reads_that_a_scheduler_has_at_the_same_time(phantom_store):
    """Groups that begin with the same block are not the same."""
    expected = refspace.open(phantom_store).annotation.values
    with Server(phantom_store) as server:
        data = refspace.open(server.url).annotation.data
        layer = data.dask.layers[data.name]
        keys = list(layer)
        for some, others in ((keys, keys[::2]), (keys[::2], keys), (keys, keys[:-1])):
            tasks = [dict(layer.cull(set(part), set(part))[0]) for part in (some, others)]
            blocks = dask.get({**tasks[0], **tasks[1]}, keys)
            np.testing.assert_array_equal(_joined(blocks, data.numblocks), expected)


def _joined(blocks, counts):
    grid = np.empty(counts, object)
    for number, block in zip(np.ndindex(counts), blocks, strict=True):
        grid[number] = block
    return np.block(grid.tolist())


def test_how_many_are_asked_for_together(phantom_store):
    def together(url, nbytes):
        array = open_atlas(str(url)).levels[0].array
        array.array = type("Chunks", (), {"shards": None, "chunks": (nbytes // 4,)})
        array.dtype = np.dtype("u4")
        return dask_graphs.group_size(array)

    assert together(phantom_store, 2**20) == 1  # a disk of this machine needs no patience
    with Server(phantom_store) as server:
        assert together(server.url, 2**20) == 16
        assert together(server.url, 32 * 2**20) == 4
        assert together(server.url, 2**30) == 1


# ----- what fails


def failing_once(fault):
    """Each object fails at first."""
    seen = set()

    def decide(request):
        first = request.path not in seen
        seen.add(request.path)
        return fault if first else None

    return decide


FAULTS = {
    "overburdened": Fault(status=503),
    "too many requests": Fault(status=429, headers={"Retry-After": "0"}),
    "internal": Fault(status=500),
    "reset": RESET,
    "reset halfway": Fault(reset=True, truncate=40),
    "truncated": Fault(truncate=40),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_fails_for_the_moment_is_read_again(phantom_store, fault, engine):
    expected = voxels(phantom_store)
    with Server(phantom_store, failing_once(fault)) as server:
        np.testing.assert_array_equal(voxels(server.url, engine=engine), expected)
        paths = server.paths()
    assert len(paths) == 2 * len(set(paths))


@pytest.mark.promise(
    "a server sends wrong bytes for the moment",
    "they are read again; the answer is right",
)
def test_wrong_bytes_are_read_again(phantom_store):
    wrong = failing_once(Fault(body=b"(\xb5/\xfdnonsense"))
    with Server(phantom_store, lambda r: wrong(r) if CHUNK in r.path else None) as server:
        np.testing.assert_array_equal(voxels(server.url), voxels(phantom_store))


@pytest.mark.promise(
    "a server sends wrong bytes for good, or a web page",
    "an error that names URL, file and cause",
)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(status=503), "HTTP status 503, 4 times"),
        (RESET, ".*, 4 times"),
        (Fault(truncate=9), ".*, 4 times"),
        (Fault(status=403), "access is denied .*403.*credentials"),
        (HTML, "the server answers with a web page; it wants a login"),
    ],
    ids=["503", "reset", "truncated", "403", "page"],
)
def test_what_fails_for_good_names_url_chunk_and_cause(phantom_store, fault, cause, engine):
    with Server(phantom_store, lambda r: fault if "annotation/c/1/0/1" in r.path else None) as s:
        space = refspace.open(s.url, engine=engine)
        with pytest.raises(RemoteError, match=f"{s.url}: {CHUNK}1/0/1 cannot be read: {cause}"):
            space.annotation.compute()


@pytest.mark.promise("a server sends wrong bytes for good, or a web page")
def test_damage_for_good(phantom_store):
    with Server(phantom_store, lambda r: Fault(body=b"x") if CHUNK in r.path else None) as server:
        space = refspace.open(server.url)
        with pytest.raises(FormatError, match=f"{server.url}: chunk {CHUNK}./././? is not the one"):
            space.annotation.compute()


def test_a_missing_chunk(phantom_store):
    with Server(phantom_store, lambda r: Fault(status=404) if "c/0/0/1" in r.path else None) as s:
        space = refspace.open(s.url)
        with pytest.raises(FormatError, match=f"{s.url}: chunk {CHUNK}0/0/1 is missing"):
            space.annotation.compute()


def test_a_host_that_is_not_there(phantom_store):
    with Server(phantom_store) as server:
        url = server.url
    for engine in ENGINES:
        with pytest.raises(RemoteError, match=f"{url}: zarr.json cannot be read: .*, 4 times"):
            refspace.open(url, engine=engine)


@pytest.mark.promise("a server sends wrong bytes for good, or a web page")
def test_pages_instead_of_stores():
    with Server({}, lambda request: HTML) as server:
        with pytest.raises(
            RemoteError, match=r"zarr\.json cannot be read: the server answers with"
        ):
            refspace.open(server.url)
        with pytest.raises(RemoteError, match=r"s\.json cannot be read: the server answers with"):
            refspace.read_structures(f"{server.url}/s.json")


# ----- copies on this machine


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "copies"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_second_query_is_free(phantom_store, folder, engine):
    expected = refspace.open(phantom_store)
    with Server(phantom_store) as server:
        for asked in (None, ["/zarr.json"]):
            server.requests.clear()
            space = refspace.open(server.url, engine=engine, chunk_cache=folder)
            same(space, expected)
            assert asked is None or server.paths() == asked


@pytest.mark.promise(
    "a copy in a cache is damaged, or of another store at the same URL",
    "it is read again",
)
def test_copies_are_proven(phantom_store, folder):
    with Server(phantom_store) as server:
        expected = voxels(server.url, chunk_cache=folder)
        copies = [path for path in folder.rglob("*") if path.is_file()]
        for path in copies:
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        server.requests.clear()
        np.testing.assert_array_equal(voxels(server.url, chunk_cache=folder), expected)
        assert len(server.requests) == len(copies) + 1


def test_wrong_bytes_are_not_kept(phantom_store, folder):
    wrong = failing_once(Fault(body=b"(\xb5/\xfdnonsense"))
    with Server(phantom_store, lambda r: wrong(r) if CHUNK in r.path else None) as server:
        voxels(server.url, chunk_cache=folder)
        server.requests.clear()
        np.testing.assert_array_equal(voxels(server.url, chunk_cache=folder), voxels(phantom_store))
        assert server.paths() == ["/zarr.json"]


@pytest.mark.promise("a copy in a cache is damaged, or of another store at the same URL")
def test_copies_of_another_store_at_the_same_url(tmp_path, folder):
    one, other = refspace.phantom(resolution=200), refspace.phantom(resolution=200)
    one.to_zarr(tmp_path / "one.zarr")
    changed = other.annotation.where(other.annotation != VISP, 0).astype("u4")
    refspace.ReferenceSpace(other.structure_tree, changed).to_zarr(tmp_path / "two.zarr")
    with Server(tmp_path / "one.zarr") as server:
        voxels(server.url, chunk_cache=folder)
        server.files = tmp_path / "two.zarr"
        np.testing.assert_array_equal(voxels(server.url, chunk_cache=folder), changed)


def test_copies_that_cannot_be_made(phantom_store, folder):
    folder.write_text("a file where the folder should be")
    with Server(phantom_store) as server:
        np.testing.assert_array_equal(voxels(server.url, chunk_cache=folder), voxels(phantom_store))


def test_empty_objects_are_no_missing_ones(tmp_path, folder):
    """The chunk that is missing holds fill values; the one that came empty is damaged."""
    write(tmp_path / "flat.zarr")
    chunks = [path for path in (tmp_path / "flat.zarr").rglob("c/*/*/*") if path.is_file()]
    name = str(chunks[0].relative_to(tmp_path))
    with Server(tmp_path, lambda r: Fault(body=b"") if name in r.path else None) as server:
        for _ in range(2):
            with pytest.raises(FormatError, match="the file is empty"):
                opened(f"{server.url}/flat.zarr", chunk_cache=folder).annotation.compute()
        server.faults = ()
        np.testing.assert_array_equal(
            opened(f"{server.url}/flat.zarr", chunk_cache=folder).annotation, VOXELS
        )


def test_stores_of_this_machine_are_not_copied(phantom_store, folder):
    voxels(phantom_store, chunk_cache=folder)
    assert not folder.exists()


def test_what_was_of_no_use_for_longest_makes_room(folder):
    copies = chunk_cache.ChunkCache(folder, "https://host/a.zarr")
    for number in range(5):
        copies.put(str(number), "1", bytes(1000))
    for seconds, number in enumerate((3, 1, 4, 0, 2)):
        path = copies._path(str(number), "1")
        os.utime(path, (seconds, seconds))
    assert copies.get("3", "1") == bytes(1000)  # of use again
    chunk_cache.trim(folder, limit=3 * 1032)
    assert [n for n in range(5) if copies.get(str(n), "1") is not None] == [0, 2, 3]
    chunk_cache.trim(folder)
    assert copies.get("2", "1") is not None
    chunk_cache.trim(folder / "none")


# ----- stores of others


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("engine", ENGINES)
def test_foreign_stores_on_a_server_that_cannot_list(tmp_path, version, engine):
    write(tmp_path / "flat.zarr", version, omit={(0, 0, 0)})
    nested(tmp_path / "nested.zarr", version)
    expected = VOXELS.copy()
    expected[:4, :4, :4] = 0  # chunks that are not there hold fill values
    with Server(tmp_path, failing_once(Fault(status=500))) as server:
        for name, values in (("flat.zarr", expected), ("nested.zarr", VOXELS)):
            space = opened(f"{server.url}/{name}", engine=engine)
            np.testing.assert_array_equal(space.annotation, values)


def test_copies_of_foreign_stores(tmp_path, folder):
    write(tmp_path / "flat.zarr", omit={(0, 0, 0)})
    with Server(tmp_path) as server:
        for read in ({"000", "010", "100", "110"}, {"000"}):
            space = opened(f"{server.url}/flat.zarr", chunk_cache=folder)
            server.requests.clear()
            space.annotation.compute()
            # A chunk that is not there is asked for again: fsspec does so where HEAD finds none.
            got = {r.path[-5:].replace("/", "") for r in server.requests if r.method == "GET"}
            assert got == read
            assert len([r for r in server.requests if r.method == "HEAD"]) == 4


# ----- engines, accounts, protocols


def test_public_buckets_need_no_account():
    assert buckets.add_anonymous_access("s3://brainglobe/atlas", {}) == {"anon": True}
    assert buckets.add_anonymous_access("gcs://neuroglancer-public-data/a", {}) == {"token": "anon"}
    assert buckets.add_anonymous_access("s3://allen-atlas-assets", {"profile": "me"}) == {
        "profile": "me"
    }
    # A bucket of this name on another host is another bucket.
    own = {"endpoint_url": "http://127.0.0.1:9000"}
    assert buckets.add_anonymous_access("s3://brainglobe/atlas", own) == own
    assert buckets.add_anonymous_access("https://brainglobe/atlas", {}) == {}
    fs, path = objects.file_system("s3://brainglobe/atlas", {})
    assert (fs.anon, path) == (True, "brainglobe/atlas")
    assert buckets.bucket_region("s3://allen-brain-cell-atlas/x") == "us-west-2"


def test_engines_that_there_are_not(phantom_store):
    with pytest.raises(StoreError, match="engine is 'wget'; there are fsspec and obstore"):
        refspace.open(phantom_store, engine="wget")
    with pytest.raises(RemoteError, match="obstore reads s3, gs, http and https; leave engine out"):
        refspace.open("memory://nowhere/a.zarr", engine="obstore")
    with pytest.raises(RemoteError, match=r"obstore takes the storage options anon.*not profile"):
        refspace.open("s3://x/a.zarr", engine="obstore", storage_options={"profile": "me"})


@pytest.mark.parametrize("module", ["obstore.store", "s3fs"])
def test_packages_that_are_missing(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    objects._obstore.cache_clear()
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    engine = "obstore" if module.startswith("obstore") else "fsspec"
    package, _, _ = module.partition(".")
    with pytest.raises(MissingDependencyError, match=f"pip install {package}"):
        refspace.open("s3://some-bucket/a.zarr", engine=engine)


def test_a_package_to_write_is_not_needed_to_read(s3, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(StoreError, match="there is no zarr store at s3://atlases/none"):
        refspace.open("s3://atlases/none.zarr", engine="obstore", storage_options=s3.writer)


def test_options_that_obstore_would_pass_over(phantom_store):
    with Server(phantom_store) as server:
        options = {"headers": {"Authorization": "secret"}, "client_kwargs": {"trace": object()}}
        with pytest.raises(RemoteError, match="no storage options, not client_kwargs, headers"):
            refspace.open(server.url, engine="obstore", storage_options=options)
    with pytest.raises(RemoteError, match="no storage options, not token"):
        refspace.open("gs://x/a.zarr", engine="obstore", storage_options={"token": "key.json"})


@pytest.mark.promise("a password or key is in a URL or in options")
def test_keys_are_not_shown():
    location = Location("s3://x/a.zarr", {"secret": "very-secret"})
    assert "very-secret" not in repr(location)


def test_web_servers_take_no_stores(phantom_store):
    with Server(phantom_store) as server:
        url = server.url.replace("://", "://me:very-secret@")
        with pytest.raises(StoreError, match="cannot be written to: HTTP status 501; give") as told:
            refspace.phantom(resolution=400).to_zarr(f"{url}/new.zarr")
    assert "Authorization" not in str(told.value)


@pytest.mark.promise("a password or key is in a URL or in options")
def test_passwords_are_not_stored(phantom_store, tmp_path):
    with Server(phantom_store) as server:
        url = server.url.replace("://", "://me:very-secret@")
        refspace.convert(url, refspace.open(phantom_store).structure_tree, tmp_path / "a.zarr")
    source = refspace.open(tmp_path / "a.zarr").provenance["source"]
    assert source == server.url
    assert b"very-secret" not in (tmp_path / "a.zarr" / "zarr.json").read_bytes()


def read_all_cached(location, keys):
    return map_concurrently(partial(location.read_cached, version="1"), keys)


def test_one_that_fails_does_not_wait_for_the_others(monkeypatch):
    go_on = threading.Event()

    def read(self, key, limit=None):
        if key == "fails":
            raise RemoteError("at once")
        assert go_on.wait(30)

    monkeypatch.setattr(Location, "read", read)
    for read_together in (Location.read_all, read_all_cached):
        with pytest.raises(RemoteError, match="at once"):
            read_together(Location("memory://a.zarr"), ["fails", "hangs"])
        assert not go_on.is_set()
    go_on.set()


def test_locations_pickle_without_connections(phantom_store):
    with Server(phantom_store) as server:
        location = Location(server.url, {}, "obstore")
        location.read("zarr.json")
        again = pickle.loads(pickle.dumps(location))
        assert again == location
        assert again.read("zarr.json") == location.read("zarr.json")
        assert again.size("zarr.json") == len(location.read("zarr.json"))


# ----- trying again


class Answers:
    """What is said one time after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    def __call__(self):
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class StatusError(Exception):
    def __init__(self, status, headers=None):
        self.status, self.headers = status, headers or {}


@pytest.mark.parametrize("status", sorted(retry.TRANSIENT_STATUS))
def test_statuses_that_pass(status):
    ask = Answers(StatusError(status), StatusError(status), b"voxels")
    assert retry.Retry(attempts=3, delay=0).run(ask) == b"voxels"


@pytest.mark.parametrize(
    "error", [StatusError(404), StatusError(403), StatusError(400), ValueError("x")]
)
def test_what_trying_again_cannot_help(error):
    ask = Answers(error, b"voxels")
    with pytest.raises(type(error)):
        retry.Retry(attempts=3, delay=0).run(ask)
    assert ask.asked == 1


def test_the_last_error_is_told():
    ask = Answers(ConnectionResetError("first"), TimeoutError("second"), b"never")
    with pytest.raises(TimeoutError, match="second"):
        retry.Retry(attempts=2, delay=0).run(ask)


def test_how_long_is_waited(monkeypatch):
    waited = []
    monkeypatch.setattr(retry.time, "sleep", waited.append)
    policy = retry.Retry(attempts=9, delay=1, longest=20)
    with pytest.raises(StatusError):
        policy.run(Answers(*[StatusError(503)] * 9))
    for number, seconds in enumerate(waited):
        assert min(20, 0.5 * 2**number) <= seconds <= min(20, 1.5 * 2**number)
    waited.clear()
    answers = [
        StatusError(429, {"Retry-After": text}) for text in ("7", "3600", "Wed, 21 Oct 2015")
    ]
    assert policy.run(Answers(*answers, b"voxels")) == b"voxels"
    assert (waited[0], waited[1]) == (7, 20)
    assert waited[2] <= 6


@pytest.mark.parametrize(
    ("number", "again"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)]
)
def test_names_that_nobody_knows(number, again):
    error = aiohttp.ClientConnectorDNSError(None, socket.gaierror(number, "not known"))
    error.__cause__ = socket.gaierror(number, "not known")
    assert retry.is_transient(error) is again
    assert retry.is_transient(socket.gaierror(number, "not known")) is again


def test_a_host_that_nobody_knows():
    with pytest.raises(RemoteError, match="there is no such host, or no network: atlases that"):
        refspace.open("http://no-such-host.invalid/a.zarr")


def test_causes_of_causes():
    error = OSError("translated")
    error.__cause__ = ConnectionResetError()
    assert retry.is_transient(error)
    assert not retry.is_transient(OSError("no space left"))


# ----- copies


def test_copies_of_files(tmp_path):
    target = tmp_path / "copy"
    with Server(
        {"a.nrrd": bytes(10**6)}, [Fault(status=503), Fault(), Fault(truncate=9)]
    ) as server:
        objects.copy_object(f"{server.url}/a.nrrd", target)
        assert target.read_bytes() == bytes(10**6)
        with pytest.raises(FileNotFoundError, match=r"b\.nrrd does not exist"):
            objects.copy_object(f"{server.url}/b.nrrd", target)
        with (
            set_limits(download_bytes=10**5),
            pytest.raises(
                RemoteError, match=r"a\.nrrd has 1000000 bytes, of at most 100000; .*down"
            ),
        ):
            objects.copy_object(f"{server.url}/a.nrrd", target)
        # More comes than was announced before.
        server.faults = lambda request: (
            Fault(headers={"Content-Length": "9"}) if request.method == "HEAD" else None
        )
        with pytest.raises(RemoteError, match="more comes than the 9 bytes that were announced"):
            objects.copy_object(f"{server.url}/a.nrrd", target)
    with fsspec.open("memory://copied/a", "wb") as file:
        file.write(b"remembered")
    objects.copy_object("memory://copied/a", target)
    assert target.read_bytes() == b"remembered"


def test_copies_that_are_cut_short(tmp_path, monkeypatch):
    with fsspec.open("memory://copied/b", "wb") as file:
        file.write(b"remembered")
    told = {"name": "/copied/b", "size": 11, "type": "file"}
    monkeypatch.setattr(MemoryFileSystem, "info", lambda self, path, **how: told)
    with pytest.raises(RemoteError, match="it ended after 10 of 11 bytes, 4 times"):
        objects.copy_object("memory://copied/b", tmp_path / "copy")


def test_copies_that_the_disk_has_no_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**26 + 9))
    with fsspec.open("memory://copied/c", "wb") as file:
        file.write(b"remembered")
    with pytest.raises(RemoteError, match=rf"the disk of {tmp_path} has room for 9; make room, or"):
        objects.copy_object("memory://copied/c", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


# ----- small documents


def test_reading_a_document(tmp_path):
    with Server({"a.json": bytes(1000)}, [Fault(status=503), Fault(truncate=10)]) as server:
        assert objects.read_url(f"{server.url}/a.json") == bytes(1000)
        # A server may send the whole where a part would do.
        server.faults = lambda request: Fault(ranges=False)
        assert objects.read_url(f"{server.url}/a.json", limit=10) == bytes(11)
        assert objects.read_url(f"{server.url}/a.json", limit=5000) == bytes(1000)
        assert {request.method for request in server.requests} == {"GET"}
        with pytest.raises(FileNotFoundError, match=f"{server.url}/b.json does not exist"):
            objects.read_url(f"{server.url}/b.json")
    (tmp_path / "a::b").write_bytes(b"local")
    assert objects.read_url(str(tmp_path / "a::b")) == b"local"
    with fsspec.open("memory://doc.txt", "wb") as file:
        file.write(b"remembered")
    assert objects.read_url("memory://doc.txt", limit=3) == b"reme"
