"""Label indices that are kept of other programs' images: found, proven, and used or told."""

import hashlib
import itertools
import json
import os
import pickle
import random
import shutil
import warnings

import dask
import numpy as np
import pytest
import zarr
from helpers import brainglobe_replay as replay
from helpers.brainglobe_replay import NAME, write_bucket
from helpers.indexed_images import (
    blocks_to_read,
    change_voxel,
    chunks_read,
    opened,
    sample,
    write_image,
)
from helpers.serving import PAGE, Fault, Server
from hypothesis import given, settings
from hypothesis import strategies as st

import refspace
from refspace.errors import AnnotationError, FormatError, StoreReplacedError
from refspace.label_index import LabelIndex, cell_rows
from refspace.limits import set_limits
from refspace.remote import retry
from refspace.store import open_atlas
from refspace.store.kept_index import IndexedArray, PackedIndex, proof
from refspace.store.kept_index.packed import MAGIC

pytestmark = pytest.mark.usefixtures("no_sync")
TOLD = "is not used: "


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(retry, "POLICY", retry.Retry(1, 0.01))
    return tmp_path / "cache"


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "brain.ome.zarr")


@pytest.fixture
def index(image):
    """Index beside the image."""
    refspace.write_index(image, orientation="PIL")
    return image.with_name("brain.ome.zarr.label_index")


def has_index(image, **options):
    """Whether an index is used, and whether one is told not to fit."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        used = opened(image, **options).block_labels is not None
    assert len(told) <= 1, "told once"
    return used, [str(each.message) for each in told]


def refused(image, match, **options):
    used, told = has_index(image, **options)
    assert not used
    assert TOLD in told[0]
    assert match in told[0]
    # Results are right all the same.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        space = opened(image, **options)
        level = 0 if options.get("resolution") in (None, 200) else 1
        voxels = zarr.open_group(image, mode="r")[f"s{level}"][...]
        counts = space.volume.label_counts
    labels, expected = np.unique(voxels, return_counts=True)
    assert counts == dict(zip(labels.tolist(), expected.tolist(), strict=True))


# ----- what is read


def test_queries_read_what_those_of_our_stores_do(image, index, monkeypatch):
    space, expected = opened(image), sample()
    with chunks_read(monkeypatch) as keys:
        assert space.total_voxel_map == expected.total_voxel_map
        assert space.bounds("VISp")
        assert not keys
        mask = space.make_structure_mask("VISp").values
        assert mask.sum() == expected.total_voxel_map[385]
        ids = expected.structure_tree.descendant_ids([385])[0]
        assert len(keys) == blocks_to_read(expected.annotation.values, ids) > 0


def test_a_hemisphere_is_answered_by_the_index(image, index, monkeypatch):
    plain = opened(image).hemisphere("left").total_voxel_map
    index.unlink()
    space = opened(image).hemisphere("left")
    assert space.total_voxel_map == plain
    refspace.write_index(image, orientation="PIL")
    with chunks_read(monkeypatch) as keys:
        assert opened(image).hemisphere("left").total_voxel_map == plain
    assert not keys


def test_each_level_has_its_own(image, index, monkeypatch):
    voxels = zarr.open_group(image, mode="r")["s1"][...]
    coarse = opened(image, resolution=400)
    with chunks_read(monkeypatch) as keys:
        counts = coarse.volume.label_counts
        assert [level.block_labels is None for level in opened(image).levels] == [False, False]
    assert not keys
    labels, expected = np.unique(voxels, return_counts=True)
    assert counts == dict(zip(labels.tolist(), expected.tolist(), strict=True))


def test_opening_asks_for_nothing_more(image, index, tmp_path):
    with Server(tmp_path) as server:
        opened(f"{server.url}/{image.name}")
        assert not any(".label_index" in path for path in server.paths())


def test_over_http_without_listing(image, tmp_path):
    """An index of what a server has, in the cache: counts and masks ask for what they need."""
    expected = sample()
    with Server(tmp_path) as server:
        url = f"{server.url}/{image.name}"
        written = refspace.write_index(url, orientation="PIL")
        assert written.where == "in the cache"
        assert written.missing > 0
        space = opened(url)
        server.requests.clear()
        assert space.total_voxel_map == expected.total_voxel_map
        asked = [(r.method, r.status, "/c/" in r.path) for r in server.requests]
        # One look beside the image, and at a handful of chunks: at those that are there by their
        # headers, at those that are not by their names.
        assert asked.count(("GET", 404, False)) == len([a for a in asked if not a[2]]) == 1
        assert ("GET", 200, True) not in asked
        assert len(asked) <= 10
        server.requests.clear()
        assert space.make_structure_mask("VISp").values.sum() == expected.total_voxel_map[385]
        ids = expected.structure_tree.descendant_ids([385])[0]
        needed = blocks_to_read(expected.annotation.values, ids)
        assert [r.method for r in server.requests] == ["GET"] * needed


def test_beside_an_image_on_a_server(image, index, tmp_path):
    """Made of the files, and found by those who read them by HTTP: contents prove it."""
    with Server(tmp_path) as server:
        space = opened(f"{server.url}/{image.name}")
        server.requests.clear()
        assert space.total_voxel_map == sample().total_voxel_map
        besides = [path for path in server.paths() if "/c/" not in path]
        assert besides == [f"/{index.name}"]
        assert sum(r.status == 200 for r in server.requests if "/c/" in r.path) <= 16


@pytest.mark.parametrize("answer", [Fault(status=403), Fault(body=PAGE), Fault(status=404)])
def test_servers_that_have_none_say_so_in_many_ways(image, tmp_path, answer):
    def faults(request):
        return answer if ".label_index" in request.path else None

    with Server(tmp_path, faults) as server:
        space = opened(f"{server.url}/{image.name}")
        assert space.block_labels is None
        assert space.total_voxel_map == sample().total_voxel_map


def test_an_atlas_of_brainglobe(tmp_path):
    bucket = write_bucket(tmp_path / "bucket")
    expected = sample()
    with Server(bucket) as server:
        atlas = {"url": f"brainglobe:{NAME}", "base": server.url}
        refspace.write_index(
            f"{server.url}/annotation-sets/phantom/1_0/annotations_compressed.ome.zarr",
            orientation="PIL",
        )
        space = refspace.open(**atlas)
        server.requests.clear()
        assert space.total_voxel_map == expected.total_voxel_map
        assert not [r for r in server.requests if "/c/" in r.path and r.status == 200 and r.sent]
        server.requests.clear()
        assert space.make_structure_mask("VISp").values.sum() == expected.total_voxel_map[385]
        ids = expected.structure_tree.descendant_ids([385])[0]
        needed = blocks_to_read(expected.annotation.values, ids, side=32)
        assert len([r for r in server.requests if "/c/" in r.path]) == needed


def test_in_an_archive(image, tmp_path):
    """Nothing is beside what is within an archive; its entries have checksums."""

    def pack():
        shutil.make_archive(str(tmp_path / "brain"), "zip", image)
        return f"zip://::{tmp_path}/brain.zip"

    assert refspace.write_index(pack(), orientation="PIL").where == "in the cache"
    assert has_index(pack()) == (True, [])
    change_voxel(image)
    used, told = has_index(pack())
    assert not used
    assert "has changed since the image was indexed" in told[0]


def test_on_a_file_system_of_another_kind(image):
    import fsspec

    fs, url = fsspec.filesystem("memory"), "memory://indexed/brain.ome.zarr"
    fs.put(str(image), url.removeprefix("memory:/"), recursive=True)
    try:
        assert refspace.write_index(url, orientation="PIL").where == "beside the image"
        assert fs.exists("/indexed/brain.ome.zarr.label_index")
        assert has_index(url) == (True, [])
        chunk = next(key for key in fs.find("/indexed/brain.ome.zarr/s0/c"))
        fs.pipe(chunk, fs.cat(chunk))  # another time, and the same content
        assert has_index(url) == (True, [])
        fs.pipe(chunk, fs.cat(chunk) + b"1")
        assert "has changed since the image was indexed" in has_index(url)[1][0]
    finally:
        fs.rm("/indexed", recursive=True)


# ----- an index as a file


def test_the_real_annotation(tmp_path, ccf_store):
    """As BrainGlobe has it: counts read no chunk, and a mask of AUDd six."""
    own = refspace.open(ccf_store)
    voxels = np.ascontiguousarray(own.annotation.values[:, :, ::-1])
    replay.write_image(tmp_path / "brain.ome.zarr", [voxels], resolution=25, chunks=128)
    with Server(tmp_path) as server:
        url = f"{server.url}/brain.ome.zarr"
        refspace.write_index(url, orientation="PIL")
        space = opened(url, own)
        server.requests.clear()
        assert space.total_voxel_map == own.total_voxel_map
        assert not [r for r in server.requests if "/c/" in r.path and r.status == 200 and r.sent]
        server.requests.clear()
        assert space.make_structure_mask("AUDd").values.sum() == 77718
        assert [r.method for r in server.requests] == ["GET"] * 6


def test_a_published_index(image, tmp_path):
    out = tmp_path / "published" / "brain.label_index"
    written = refspace.write_index(image, out, orientation="PIL")
    assert written.place == str(out)
    space = opened(image)
    assert space.block_labels is None
    with Server(out.parent) as server:
        for source in (out, str(out), f"{server.url}/{out.name}"):
            with_index = space.with_index(source)
            assert with_index.block_labels is not None
            assert with_index.total_voxel_map == sample().total_voxel_map
            turned = with_index.in_frame("RAS").hemisphere("left")
            assert turned.total_voxel_map == space.hemisphere("left").total_voxel_map
    with pytest.raises(FormatError, match="there is no label index at"):
        space.with_index(tmp_path / "nothing")
    with pytest.raises(AnnotationError, match="give it to the space as it was opened"):
        space.crop("VISp").with_index(out)
    with pytest.raises(AnnotationError, match="give it to the space as it was opened"):
        sample().with_index(out)


def test_a_published_index_of_a_brainglobe_atlas(tmp_path):
    bucket = write_bucket(tmp_path / "bucket")
    url = bucket / "annotation-sets/phantom/1_0/annotations_compressed.ome.zarr"
    refspace.write_index(url, tmp_path / "i", orientation="PIL")
    space = refspace.open(f"brainglobe:{NAME}", base=str(bucket))
    assert space.block_labels is None
    indexed = space.with_index(tmp_path / "i")
    assert indexed.total_voxel_map == sample().total_voxel_map
    assert indexed.block_labels is not None


@pytest.mark.promise("the index of an image is damaged, hostile, or of another image")
def test_a_published_index_of_another_image(image, index, tmp_path):
    other = write_image(tmp_path / "other.ome.zarr")
    change_voxel(other)
    with pytest.raises(FormatError, match="has changed since the image was indexed"):
        opened(other).with_index(index)


# ----- what no longer fits


@pytest.mark.promise(
    "an image of another program changes after it was indexed",
    "its index is told and not used; in use it is an error, never two states in one number",
)
def test_a_voxel_that_was_changed_in_its_place(image, index):
    change_voxel(image)
    refused(image, "has changed since the image was indexed")


@pytest.mark.promise("an image of another program changes after it was indexed")
def test_a_change_that_hides_its_time(image, index):
    chunk = next(path for path in (image / "s0/c").rglob("*") if path.is_file())
    times = chunk.stat()
    change_voxel(image)
    for path in (image / "s0/c").rglob("*"):
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    refused(image, "has changed since the image was indexed")


@pytest.mark.promise("an image of another program changes after it was indexed")
def test_a_missing_chunk_that_was_filled_later(image, index):
    missing = next(
        key
        for key in ("/".join(map(str, i)) for i in itertools.product(range(5), range(3), range(4)))
        if not (image / "s0/c" / key).exists()
    )
    there = next(path for path in sorted((image / "s0/c").rglob("*")) if path.is_file())
    (image / "s0/c" / missing).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(there, image / "s0/c" / missing)
    refused(image, "was not there when the image was indexed")


def test_a_chunk_that_is_gone(image, index):
    next(path for path in sorted((image / "s0/c").rglob("*")) if path.is_file()).unlink()
    refused(image, "is gone")


@pytest.mark.promise("an image of another program changes after it was indexed")
def test_another_image_in_the_place(image, index):
    shutil.rmtree(image)
    space = sample()
    voxels = space.annotation.values.copy()
    voxels[voxels == 385] = 997
    write_image(image, space.with_volume(type(space.volume).from_array(voxels[::-1], 200)))
    refused(image, "chunk")


@pytest.mark.promise("an image of another program changes after it was indexed")
def test_other_metadata(image, index):
    """The same chunks, which stand for other voxels."""
    path = image / "s0/zarr.json"
    metadata = json.loads(path.read_text())
    metadata["fill_value"] = 997
    path.write_text(json.dumps(metadata))
    refused(image, "the metadata of s0 have changed since it was made")


def test_attributes_may_change(image, index):
    path = image / "s0/zarr.json"
    metadata = json.loads(path.read_text())
    metadata["attributes"] = {"note": "seen"}
    path.write_text(json.dumps(metadata, indent=1))
    assert has_index(image) == (True, [])


def test_a_copy_has_other_times_and_is_the_same_image(image, index, tmp_path):
    copy = shutil.copytree(image, tmp_path / "copy" / image.name, copy_function=shutil.copy)
    assert has_index(copy) == (False, [])
    shutil.copy(index, tmp_path / "copy")
    assert has_index(copy) == (True, [])
    change_voxel(copy)
    refused(copy, "has changed since the image was indexed")


def test_an_image_that_was_renamed(image, index, tmp_path):
    moved = image.rename(tmp_path / "moved.ome.zarr")
    assert has_index(moved) == (False, [])
    index.rename(tmp_path / "moved.ome.zarr.label_index")
    assert has_index(moved) == (True, [])


@pytest.mark.promise("the index of an image is damaged, hostile, or of another image")
def test_the_index_of_another_level(image, index, tmp_path):
    """A bare array of the same shape as another: their chunks tell them apart."""
    levels = zarr.open_group(image, mode="r")
    for name in ("a", "b"):
        array = zarr.create_array(tmp_path / name, data=levels["s1"][...], chunks=(16, 16, 16))
        array[0, 0, 0] = 1 if name == "a" else 2
    refspace.write_index(tmp_path / "a", resolution=400)
    shutil.copy(tmp_path / "a.label_index", tmp_path / "b.label_index")
    space = refspace.open(tmp_path / "b", resolution=400, structures=sample().structure_tree)
    with pytest.warns(UserWarning, match="has changed since the image was indexed"):
        assert space.block_labels is None


@pytest.mark.promise("an image of another program changes after it was indexed")
def test_changes_that_the_proof_does_not_see_are_seen_where_they_are_read(image, tmp_path):
    """A server states the same of a chunk after as before: what is read is proven all the same."""
    plain = {"ETag": '"1"', "Last-Modified": None}
    with Server(tmp_path, lambda request: Fault(headers=plain)) as server:
        url = f"{server.url}/{image.name}"
        refspace.write_index(url, orientation="PIL")
        space = opened(url)
        mask = space.make_structure_mask("root")
        array = zarr.open_array(image / "s0", mode="r+")
        values = array[...]
        array[...] = np.where(values == 0, 0, values[::-1, ::-1, ::-1])
        with pytest.raises(StoreReplacedError, match="the image has changed since; open it again"):
            mask.values  # noqa: B018


def test_what_is_said_of_such_a_change_helps(image, tmp_path, monkeypatch):
    """To index once more is not enough where the proof takes the index for one of the image."""
    for count in ("_RICH", "_PRESENT"):
        monkeypatch.setattr(proof, count, 0)
    with Server(tmp_path) as server:
        url = f"{server.url}/{image.name}"
        refspace.write_index(url, orientation="PIL")
        change_voxel(image)
        assert refspace.write_index(url, orientation="PIL").was_there
        space = opened(url)
        assert space.block_labels is not None
        with pytest.raises(
            StoreReplacedError, match="'refspace index --overwrite' \\(Python: write"
        ):
            space.annotation.compute()
        refspace.write_index(url, orientation="PIL", overwrite=True)
        voxels = opened(url).annotation
        np.testing.assert_array_equal(voxels, zarr.open_array(image / "s0")[...])


def test_changes_on_a_server(image, tmp_path):
    with Server(tmp_path, lambda request: Fault(headers={"Last-Modified": None})) as server:
        url = f"{server.url}/{image.name}"
        refspace.write_index(url, orientation="PIL")
        assert has_index(url) == (True, [])
        array = zarr.open_array(image / "s0", mode="r+")
        array[...] = array[...][::-1]
        used, told = has_index(url)
        assert not used
        assert TOLD in told[0]


def test_a_server_that_states_nothing(image, tmp_path):
    """Without ETag and time, contents of a few chunks are compared."""
    none = {"ETag": None, "Last-Modified": None}
    with Server(tmp_path, lambda request: Fault(headers=none)) as server:
        url = f"{server.url}/{image.name}"
        refspace.write_index(url, orientation="PIL")
        server.requests.clear()
        assert has_index(url) == (True, [])
        assert 0 < sum(r.method == "GET" and r.status == 200 and "/c/" in r.path
                       for r in server.requests) <= 16  # fmt: skip


@pytest.mark.promise("the index of an image is damaged, hostile, or of another image")
def test_an_index_that_lies(image, index):
    """Someone publishes an index whose digests are right, and whose labels are not."""
    packed = PackedIndex.from_bytes(index.read_bytes())
    levels = open_atlas(str(image), orientation="PIL").levels
    arrays = [packed.array(level.path, level.array.blocks) for level in levels]
    true = arrays[0]
    table = true.index.table.copy()
    table[1][table[1] == table[1].max()] = table[1].max() + 1
    lie = LabelIndex(true.index.shape, true.index.chunks, table)
    stamps = np.where(true.is_absent, 0, 1).astype("u8")
    arrays[0] = IndexedArray(true.path, true.metadata, lie, true.records, stamps)
    index.write_bytes(PackedIndex.from_arrays(arrays).data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "_MEASURED", 64)
        refused(image, "holds other labels than the index says")


# ----- damaged and hostile ones


def resealed(data):
    rest = data[40:]
    return MAGIC + hashlib.sha256(rest).digest() + rest


def with_header(data, change):
    count = int.from_bytes(data[40:48], "little")
    header = json.loads(data[48 : 48 + count])
    change(header)
    text = json.dumps(header).encode()
    rest = len(text).to_bytes(8, "little") + text + data[48 + count :]
    return resealed(bytes(40) + rest)


def set_field(name, value):
    def change(header):
        header["arrays"][0][name] = value

    return change


HOSTILE = {
    "empty": lambda data: b"",
    "another file": lambda data: b"P6 640 480",
    "cut": lambda data: data[:-1],
    "a bit": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "no header": lambda data: resealed(data[:40]),
    "header of any length": lambda data: resealed(data[:40] + b"\xff" * 8 + data[48:]),
    "no JSON": lambda data: resealed(data[:48] + b"\0" + data[49:]),
    "format": lambda data: with_header(data, lambda header: header.update(format=2)),
    "rows": lambda data: with_header(data, set_field("rows", 2**60)),
    "rows that are none": lambda data: with_header(data, set_field("rows", "many")),
    "some rows": lambda data: with_header(data, set_field("rows", 7)),
    "blocks": lambda data: with_header(data, set_field("blocks", 2**50)),
    "negative": lambda data: with_header(data, set_field("stored", [-1, 2, 3])),
    "true": lambda data: with_header(data, set_field("blocks", True)),
    "cells": lambda data: with_header(data, set_field("cells", [[1] * 66, [1] * 40, [1] * 57])),
    "empty cells": lambda data: with_header(data, set_field("cells", [[], [], []])),
    "no cells": lambda data: with_header(data, set_field("cells", [0] * 3)),
    "shape": lambda data: with_header(data, set_field("shape", [2**40] * 3)),
    "deep": lambda data: resealed(
        bytes(40) + (10**5).to_bytes(8, "little") + b"[" * 10**5 + data[-99:]
    ),
    "more": lambda data: resealed(data + b"0"),
}


@pytest.mark.promise(
    "the index of an image is damaged, hostile, or of another image", "it is told and not used"
)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_indices_are_told_and_not_used(image, index, kind):
    index.write_bytes(HOSTILE[kind](index.read_bytes()))
    refused(image, "brain.ome.zarr.label_index is not used: ")
    with pytest.raises(FormatError, match="is not used"):
        opened(image).with_index(index)


def test_an_index_beyond_the_limit(image, index):
    with set_limits(index_bytes=1000):
        refused(image, "has more than 1000 bytes")
    with set_limits(index_bytes=len(index.read_bytes())):
        refused(image, "of at most")


def test_an_index_behind_a_link(image, index, tmp_path):
    index.rename(tmp_path / "elsewhere")
    index.symlink_to(tmp_path / "elsewhere")
    refused(image, "is a symbolic link")


def test_random_damage(image, index):
    whole, chance = index.read_bytes(), random.Random(0)
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        for damaged in (bytes(data), resealed(bytes(data))):
            if damaged == whole:
                continue
            try:
                packed = PackedIndex.from_bytes(damaged)
                for path, blocks in (("s0", opened(image).annotation.chunks),):
                    packed.array(path, blocks)
            except (FormatError, AnnotationError, refspace.RefspaceError):
                continue


# ----- other processes


def test_tasks_of_other_processes_prove_what_they_read(image, index):
    space = opened(image)
    assert space.block_labels is not None
    mask = space.make_structure_mask("VISp")
    again = pickle.loads(pickle.dumps(mask))
    assert again.values.sum() == sample().total_voxel_map[385]
    again = pickle.loads(pickle.dumps(space.make_structure_mask("VISp")))
    array = zarr.open_array(image / "s0", mode="r+")
    array[...] = np.where(array[...] == 0, 0, 997)
    with pytest.raises(StoreReplacedError, match="the image has changed since"):
        again.values  # noqa: B018


def test_a_process_that_finds_no_index_reads_without(image, index):
    mask = opened(image).make_structure_mask("VISp")
    data = pickle.dumps(mask)
    index.unlink()
    from refspace.store.kept_index import kept

    kept._KEPT.clear()
    assert pickle.loads(data).values.sum() == sample().total_voxel_map[385]


def test_on_a_cluster(image, index, cluster):
    with dask.config.set(scheduler=cluster.get):
        mask = opened(image).make_structure_mask("VISp")
        assert mask.sum().compute() == sample().total_voxel_map[385]


# ----- properties


@st.composite
def arrays(draw):
    shape = tuple(draw(st.integers(1, 7)) for _ in range(3))
    chunks = tuple(draw(st.integers(1, 4)) for _ in range(3))
    dtype = draw(st.sampled_from(["u1", "u2", "u4", "i4", "i8", "f4", ">u4"]))
    labels = draw(st.lists(st.sampled_from([0, 1, 7, 200]), min_size=1, unique=True))
    seed = draw(st.integers(0, 99))
    voxels = np.random.default_rng(seed).choice(labels, shape).astype(dtype)
    fill = draw(st.sampled_from([0, 0, 7]))
    shards = draw(st.sampled_from([None, 2]))
    extra = draw(st.integers(0, 2))
    zarr_format = draw(st.sampled_from([2, 3])) if shards is None and dtype != ">u4" else 3
    return voxels, chunks, fill, shards, extra, zarr_format


@settings(deadline=None, max_examples=40)
@given(case=arrays())
def test_the_index_is_that_of_the_voxels(tmp_path_factory, case):
    voxels, chunks, fill, shards, extra, zarr_format = case
    folder = tmp_path_factory.mktemp("property")
    ones = (1,) * extra
    array = zarr.create_array(
        folder / "a",
        shape=ones + voxels.shape,
        dtype=voxels.dtype.newbyteorder("="),
        chunks=ones + chunks,
        shards=None if shards is None else (*ones, *(shards * n for n in chunks)),
        fill_value=fill,
        zarr_format=zarr_format,
    )
    array[...] = voxels.reshape(ones + voxels.shape)  # blocks of the fill value are left out
    written = refspace.write_index(folder / "a", resolution=25)
    space = refspace.open(folder / "a", resolution=25, structures=sample().structure_tree)
    index = space.volume.index
    assert index is not None
    blocks = space.annotation.chunks
    plain = voxels.astype("u4")
    expected = LabelIndex.from_rows(
        voxels.shape, index.chunks, [cell_rows(plain, (0, 0, 0), index.chunks)]
    )
    assert index == expected
    assert written.chunks == np.prod([len(sizes) for sizes in blocks])
    np.testing.assert_array_equal(space.annotation.values, plain)
    bytes_of_blocks = space.volume.stored_bytes
    assert (bytes_of_blocks == 0).sum() == written.missing


# ----- on S3


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
@pytest.mark.parametrize("who", ["writer", "reader"])
def test_on_s3(tmp_path, s3, who, engine):
    """In a bucket the index is beside the image, and costs its readers no chunk."""
    import fsspec
    import s3fs

    name = f"indexed-{who}-{engine}"
    image = write_image(tmp_path / "brain.ome.zarr")
    fs = fsspec.filesystem("s3", **s3.writer)
    fs.put(str(image), f"atlases/{name}/brain.ome.zarr", recursive=True)
    url = f"s3://atlases/{name}/brain.ome.zarr"
    written = refspace.write_index(url, orientation="PIL", storage_options=s3.writer)
    assert written.where == "beside the image"
    assert fs.exists(f"atlases/{name}/brain.ome.zarr.label_index")
    space = opened(url, storage_options=getattr(s3, who), engine=engine)
    calls = []
    call = s3fs.S3FileSystem._call_s3

    async def noted(self, method, *args, **kwargs):
        calls.append((method, kwargs.get("Key") or kwargs.get("Prefix") or args))
        return await call(self, method, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_call_s3", noted)
        assert space.total_voxel_map == sample().total_voxel_map
        if engine == "fsspec":
            read = [key for method, key in calls if method == "get_object" and "/c/" in str(key)]
            assert len(calls) <= 16
            # Who may list looks at all; others at a few, and asks for those that are missing.
            missing = [key for key in read if not fs.exists(f"atlases/{key}")]
            assert read == missing
            assert bool(read) == (who == "reader")
    assert space.make_structure_mask("VISp").values.sum() == sample().total_voxel_map[385]


def test_a_bucket_that_takes_no_index(tmp_path, s3):
    import fsspec

    image = write_image(tmp_path / "brain.ome.zarr")
    fs = fsspec.filesystem("s3", **s3.writer)
    fs.put(str(image), "atlases/read-only/brain.ome.zarr", recursive=True)
    url = "s3://atlases/read-only/brain.ome.zarr"
    written = refspace.write_index(url, orientation="PIL", storage_options=s3.reader)
    assert written.where == "in the cache"
    assert opened(url, storage_options=s3.reader).block_labels is not None
