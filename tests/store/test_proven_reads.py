"""Every read of a store of refspace is proven: what is not as it was written is an error."""

import json
import pickle
import shutil
from collections import Counter, OrderedDict
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import FormatError, StoreError, StoreReplacedError
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.store import block_writer, open_atlas, record_table, verify_store
from refspace.store.digests import metadata_digest
from refspace.store.images import open_image
from refspace.store.location import Location
from refspace.store.masks import open_stored_masks
from refspace.store.object_records import RECORD_BYTES, ObjectRecord, table_of
from refspace.store.record_table import RecordTable
from refspace.store.write import StoreWriter

TREE = StructureTree(
    [
        {
            "id": 1,
            "acronym": "root",
            "name": "root",
            "rgb_triplet": [1, 2, 3],
            "structure_id_path": [1],
        },
        {
            "id": 2,
            "acronym": "A",
            "name": "a",
            "rgb_triplet": [4, 5, 6],
            "structure_id_path": [1, 2],
        },
        {
            "id": 3,
            "acronym": "B",
            "name": "b",
            "rgb_triplet": [7, 8, 9],
            "structure_id_path": [1, 3],
        },
    ]
)
SHAPE = (8, 6, 10)
IMAGE = np.arange(np.prod(SHAPE), dtype="f4").reshape(SHAPE)
TEMPLATE = labelled(IMAGE, Grid(SHAPE, (25, 25, 25)), "template")


def space_of(seed=0, **options):
    voxels = np.random.default_rng(seed).choice([0, 2, 3], SHAPE).astype("u4")
    return ReferenceSpace(TREE, voxels, 25, **options)


@pytest.fixture(params=["plain", "sharded"])
def store(request, tmp_path):
    path = tmp_path / "atlas.zarr"
    shards = {"plain": None, "sharded": 4}[request.param]
    space_of(template=TEMPLATE).to_zarr(path, chunks=2 if shards else 4, shards=shards)
    return path


def exchange(one, other):
    a, b = one.read_bytes(), other.read_bytes()
    assert a != b
    one.write_bytes(b)
    other.write_bytes(a)


VERBS = {
    "aggregate": lambda s: s.aggregate(IMAGE, ["A", "B"]).compute(),
    "structure_at": lambda s: s.structure_at([[c * 25.0 + 12 for c in (1, 1, 9)]]).compute(),
    "mask": lambda s: s.make_structure_mask("A").compute(),
    "slice": lambda s: s.get_slice_image("ap", 30).compute(),
    "annotation": lambda s: s.annotation.compute(),
}
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


# ----- other chunks than those that were written


@pytest.mark.promise("two chunks are exchanged")
@verbs
def test_two_chunks_exchanged(store, verb):
    exchange(store / "s0/annotation/c/0/0/2", store / "s0/annotation/c/0/0/0")
    with pytest.raises(FormatError, match=r"chunk s0/annotation/c/0/0/\d is not the one that was"):
        verb(refspace.open(store))


@pytest.mark.promise("a chunk is of an older version, or of another store")
@verbs
@pytest.mark.parametrize("source", ["s1/annotation/c/0/0/0", "s0/template/c/0/0/2", "other"])
def test_a_chunk_of_another_level_array_or_store(store, source, tmp_path, verb):
    if source == "other":
        shutil.copytree(store, tmp_path / "other.zarr")
        space_of(1, template=TEMPLATE).to_zarr(tmp_path / "other.zarr", chunks=4, overwrite=True)
        other = tmp_path / "other.zarr/s0/annotation/c/0/0/2"
    else:
        other = store / source
    shutil.copy(other, store / "s0/annotation/c/0/0/2")
    with pytest.raises(FormatError, match="chunk s0/annotation/c/0/0/2 is not the one that was"):
        verb(refspace.open(store))


def test_coordinates_of_another_axis(store):
    shutil.copy(store / "s0/ml/c/0", store / "s0/ap/c/0")
    with pytest.raises(FormatError, match="chunk s0/ap/c/0 is not the one that was written"):
        refspace.open(store)


def test_templates_and_images_are_proven_too(store):
    exchange(store / "s0/template/c/0/0/0", store / "s0/template/c/0/0/1")
    with pytest.raises(FormatError, match=r"chunk s0/template/c/0/0/\d is not the one"):
        refspace.open(store).template.compute()
    with pytest.raises(FormatError, match=r"chunk s0/template/c/0/0/\d is not the one"):
        open_image(str(store)).compute()


def test_an_array_of_a_store_by_itself(store):
    whole = open_image(str(store / "s0/template")).compute()
    np.testing.assert_array_equal(whole, IMAGE)
    np.testing.assert_array_equal(
        open_atlas(str(store / "s0/annotation"), resolution=25).volume(0), space_of().annotation
    )
    np.testing.assert_array_equal(open_image(str(store / "s0"), variable="template"), IMAGE)
    centres = (store / "s0/ap/c/0").read_bytes()
    shutil.copy(store / "s0/ml/c/0", store / "s0/ap/c/0")
    with pytest.raises(FormatError, match="chunk s0/ap/c/0 is not the one that was written"):
        open_image(str(store / "s0"), variable="template")
    (store / "s0/ap/c/0").write_bytes(centres)
    (store / "s0/template/c/0/0/0").unlink()
    with pytest.raises(FormatError, match="chunk s0/template/c/0/0/0 is missing"):
        open_image(str(store / "s0/template")).compute()
    array = zarr.create_array(store / "s0/mine", shape=(2, 2, 2), dtype="u1")
    array[...] = 1
    with pytest.raises(FormatError, match=r"atlas\.zarr has no array s0/mine"):
        open_image(str(store / "s0/mine"))


def test_arrays_of_others_in_folders_of_such_names(tmp_path):
    array = zarr.create_array(tmp_path / "image.zarr/s0/data", shape=(2, 2, 2), dtype="u1")
    array[...] = 7
    assert (open_image(str(tmp_path / "image.zarr/s0/data")) == 7).all()


# ----- a store that is replaced beneath an open handle


@pytest.mark.promise("a store is replaced while it is open")
@verbs
def test_a_store_that_was_replaced_says_so(store, verb):
    space = refspace.open(store)
    counts = space.total_voxel_map
    space_of(1, template=TEMPLATE).to_zarr(store, chunks=4, overwrite=True)
    text = r"atlas\.zarr is not the store that was opened: it was replaced .*; open it again"
    with pytest.raises(StoreReplacedError, match=text):
        verb(space)
    again = refspace.open(store)
    verb(again)
    assert again.total_voxel_map != counts


@pytest.mark.promise("a store is replaced while it is open")
def test_counts_of_a_store_that_was_replaced(store):
    space = refspace.open(store)
    space_of(1, template=TEMPLATE).to_zarr(store, chunks=4, overwrite=True)
    with pytest.raises(StoreReplacedError, match="open it again"):
        _ = space.total_voxel_map


def test_a_store_that_was_removed(store):
    space = refspace.open(store)
    shutil.rmtree(store)
    with pytest.raises(StoreReplacedError, match="open it again"):
        space.annotation.compute()


def test_a_store_replaced_by_its_equal_goes_on(store, tmp_path):
    space = refspace.open(store)
    expected = space.annotation.compute()
    shutil.copytree(store, tmp_path / "copy.zarr")
    shutil.rmtree(store)
    (tmp_path / "copy.zarr").rename(store)
    np.testing.assert_array_equal(space.annotation, expected)


# ----- over a network


@pytest.fixture
def mirror(tmp_path):
    url = f"memory://{tmp_path.name}-mirror.zarr"
    space_of().to_zarr(url, chunks=4)
    return url


@pytest.mark.promise("a chunk is of an older version, or of another store")
def test_a_stale_copy_of_a_mirror(mirror):
    files = fsspec.filesystem("memory")
    stale = f"{mirror}-old"
    space_of(1).to_zarr(stale, chunks=4)
    files.copy(f"{stale}/s0/annotation/c/0/0/0", f"{mirror}/s0/annotation/c/0/0/0")
    with pytest.raises(FormatError, match="chunk s0/annotation/c/0/0/0 is not the one"):
        refspace.open(mirror).annotation.compute()


def test_a_wrong_copy_in_the_cache_is_read_again(mirror, tmp_path):
    cache = tmp_path / "cache"
    expected = refspace.open(mirror, chunk_cache=cache).annotation.compute()
    location = Location(mirror, chunk_cache=cache)
    version = open_atlas(mirror).levels[0].array.version
    key = "s0/annotation/c/0/0/0"
    location.put_in_cache(key, version, b"something else")
    np.testing.assert_array_equal(refspace.open(mirror, chunk_cache=cache).annotation, expected)
    assert location.read_cached(key, version) == location.read(key)


# ----- records


def test_records_weigh_little_in_tasks_and_are_read_once_in_a_process(store, monkeypatch):
    array = open_atlas(str(store)).levels[0].array
    array.block((0, 0, 0))
    assert isinstance(array.records, RecordTable)
    copies = [pickle.loads(pickle.dumps(array)) for _ in range(3)]
    assert len(pickle.dumps(array.records)) < 5_000
    assert len({id(copy.records) for copy in copies}) == 1
    reads, read = Counter(), Location.read

    def counted(self, key, *limit):
        reads[key] += 1
        return read(self, key, *limit)

    monkeypatch.setattr(Location, "read", counted)
    for copy in copies:
        copy.block((0, 0, 1))
    assert reads.pop("label_index/s0/annotation_objects/c/0/0/0/0") == 1
    assert reads == {"s0/annotation/c/0/0/1": 3}


def test_a_process_keeps_few_tables(tmp_path, monkeypatch):
    monkeypatch.setattr("refspace.store.record_table._MOST_TABLES", 2)
    # Without those of the tests before.
    monkeypatch.setattr("refspace.store.record_table._TABLES", OrderedDict())
    for number in range(4):
        space_of(number).to_zarr(tmp_path / f"{number}.zarr", chunks=4)
        records = open_atlas(str(tmp_path / f"{number}.zarr")).levels[0].array.records
        pickle.loads(pickle.dumps(records)).record((0, 0, 0))
    assert len(record_table._TABLES) == 2


def test_a_table_of_records_is_as_the_page_says():
    data = b"object"
    table = table_of([ObjectRecord.of(data)] * 2)
    assert table.shape == (2, RECORD_BYTES)
    assert ObjectRecord.from_bytes(table[1]) == ObjectRecord.of(data)
    assert ObjectRecord.from_json(ObjectRecord.of(data).to_json()) == ObjectRecord.of(data)


def sign(store, change):
    document = json.loads((store / "zarr.json").read_text())
    change(document["attributes"]["refspace"]["objects"])
    document["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(document)
    (store / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "record", [None, [], [1], [1, "zz"], [1, "00"], [-1, "00" * 32], [1.5, "00" * 32], ["1", 2]]
)
def test_records_that_are_none(store, record):
    sign(store, lambda objects: objects.update({"s0/ap/c/0": record}))
    with pytest.raises(
        FormatError, match=r"zarr\.json has metadata that is none: .* copy it again"
    ):
        refspace.open(store)


def test_an_object_without_a_record(store):
    sign(store, lambda objects: objects.pop("s0/ap/c/0"))
    with pytest.raises(FormatError, match="there is no record of block"):
        refspace.open(store)


def test_a_table_of_records_of_another_shape(store):
    def change(document):
        nodes = document["consolidated_metadata"]["metadata"]
        nodes["label_index/s0/annotation_objects"] = nodes["label_index/s0/table"]

    document = json.loads((store / "zarr.json").read_text())
    change(document)
    document["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(document)
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(
        FormatError, match=r"annotation_objects is int64 of shape .*, and no record"
    ):
        refspace.open(store).annotation.compute()


# ----- jobs that are resumed


class Stopped(BaseException):
    """Stands for a kill."""


def interrupted(target, monkeypatch, after):
    """Begin a conversion, and stop it once some blocks are recorded."""
    put, calls = block_writer.BlockWriter.put, Counter()

    def counted(self, block_id, block):
        calls["put"] += 1
        if calls["put"] > after:
            raise KeyboardInterrupt
        return put(self, block_id, block)

    with monkeypatch.context() as patch:
        patch.setattr(block_writer.BlockWriter, "put", counted)
        patch.setattr(StoreWriter, "record_seconds", 0.0)
        with pytest.raises(KeyboardInterrupt):
            space_of().to_zarr(target, chunks=4, threads=1)
    return target.with_name(f".{target.name}.partial")


DAMAGES = {
    "removed": lambda one, other: one.unlink(),
    "exchanged": exchange,
    "cut": lambda one, other: one.write_bytes(one.read_bytes()[:-3]),
    "of no bytes": lambda one, other: one.write_bytes(b""),
}


@pytest.mark.promise("what a stopped conversion recorded is damaged or lost")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("after", [7, 13])
def test_recorded_chunks_that_are_lost_are_done_again(tmp_path, monkeypatch, damage, after):
    space_of().to_zarr(tmp_path / "whole.zarr", chunks=4)
    target = tmp_path / "atlas.zarr"
    partial = interrupted(target, monkeypatch, after)
    damage(partial / "s0/annotation/c/0/0/0", partial / "s0/annotation/c/0/1/0")
    space_of().to_zarr(target, chunks=4)
    assert verify_store(target).faults == ()
    files = [p.relative_to(target) for p in target.rglob("*") if p.is_file()]
    for key in files:
        if "/c/" in str(key):
            assert (target / key).read_bytes() == (tmp_path / "whole.zarr" / key).read_bytes()


@pytest.mark.promise(
    "a finer level is damaged while coarser ones are made", "an error that names the chunk"
)
def test_a_level_is_made_of_proven_blocks_alone(tmp_path, monkeypatch):
    put = block_writer.put_coarse_block

    def damaged(block, writer, name, finer):
        folder = Path(finer.location.url)
        exchange(folder / "s0/annotation/c/0/0/0", folder / "s0/annotation/c/0/1/0")
        return put(block, writer, name, finer)

    monkeypatch.setattr("refspace.store.write.put_coarse_block", damaged)
    with pytest.raises(FormatError, match=r"chunk s0/annotation/c/0/[01]/0 is not the one"):
        space_of().to_zarr(tmp_path / "atlas.zarr", chunks=4, threads=1)
    assert not (tmp_path / "atlas.zarr").exists()


# ----- masks


@pytest.fixture
def masks(tmp_path):
    space_of().to_zarr(tmp_path / "source.zarr", chunks=4)
    refspace.write_masks(tmp_path / "source.zarr", tmp_path / "masks.zarr", ["root", "A", "B"])
    return tmp_path / "masks.zarr"


def files_of(store):
    return sorted(str(p.relative_to(store)) for p in store.rglob("*") if p.is_file())


def test_masks_are_what_they_were(masks):
    expected = [space_of().make_structure_mask(name).values for name in ("root", "A", "B")]
    opened = refspace.open_masks(masks)
    np.testing.assert_array_equal(opened, expected)
    np.testing.assert_array_equal(opened[1:, ::-2, 3, 1:7], np.array(expected)[1:, ::-2, 3, 1:7])
    assert verify_store(masks).faults == ()


@pytest.mark.promise("a mask store is damaged")
def test_every_file_of_masks_is_proven(masks):
    whole = {key: (masks / key).read_bytes() for key in files_of(masks)}
    expected = refspace.open_masks(masks).compute()
    for key, data in whole.items():
        others = [o for k, o in whole.items() if k != key and o != data]
        for damaged in (None, b"", data[:-1], others[0], others[-1]):
            (masks / key).unlink()
            if damaged is not None:
                (masks / key).write_bytes(damaged)
            # Groups and arrays are described in the root.
            if key.endswith("/zarr.json"):
                assert refspace.open_masks(masks).compute().identical(expected)
            else:
                with pytest.raises((FormatError, StoreError), match=r"masks\.zarr"):
                    refspace.open_masks(masks).compute()
            if key == "zarr.json":
                with pytest.raises((FormatError, StoreError)):
                    refspace.open_masks(masks)
            else:
                assert key in [fault.key for fault in verify_store(masks).faults]
            (masks / key).write_bytes(data)
    assert verify_store(masks).faults == ()


def test_strays_among_masks_are_named(masks):
    (masks / "s0/mask/c/0/0/0/9").write_bytes(b"mask")
    (line,) = map(str, verify_store(masks).faults)
    assert line == "s0/mask/c/0/0/0/9: belongs to nothing in the store; remove it"


def test_masks_whose_records_are_lost(masks):
    (masks / "label_index/shard_records/c/0/0").unlink()
    assert list(map(str, verify_store(masks).faults)) == [
        "label_index/shard_records/c/0/0: is missing",
        "s0/mask: its shards cannot be proven: their records are damaged",
    ]


@pytest.mark.promise("a store is replaced while it is open")
def test_masks_that_were_replaced(masks, tmp_path):
    opened = refspace.open_masks(masks)
    space_of(1).to_zarr(tmp_path / "source.zarr", chunks=4, overwrite=True)
    refspace.write_masks(tmp_path / "source.zarr", masks, ["root", "A", "B"], overwrite=True)
    with pytest.raises(StoreReplacedError, match=r"masks\.zarr is not the store that was opened"):
        opened.compute()


def test_a_shard_is_requested_once_for_all_its_masks(masks, monkeypatch):
    reads, read = Counter(), Location.read

    def counted(self, key, *limit):
        reads[key] += 1
        return read(self, key, *limit)

    stored = open_stored_masks(str(masks))
    monkeypatch.setattr(Location, "read", counted)
    volume = stored.volume()
    volume.compute(scheduler="synchronous")
    shards = {key: count for key, count in reads.items() if key.startswith("s0/mask/c")}
    assert shards == dict.fromkeys(shards, 1)
    assert len(shards) == len(stored.shards)


def test_few_shards_are_kept(masks, monkeypatch):
    monkeypatch.setattr("refspace.store.masks.shard_reader._CACHE_BYTES", 0)
    expected = [space_of().make_structure_mask(name).values for name in ("root", "A", "B")]
    np.testing.assert_array_equal(refspace.open_masks(masks), expected)


@pytest.mark.promise("what a stopped job of masks recorded is damaged or lost", "it is done again")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_recorded_shards_that_are_lost_are_done_again(masks, tmp_path, monkeypatch, damage):
    from refspace.batch import mask_store

    finish = mask_store.finish_masks

    def stopped(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mask_store, "finish_masks", stopped)
        with pytest.raises(KeyboardInterrupt):
            refspace.write_masks(tmp_path / "source.zarr", tmp_path / "m.zarr", ["root", "A", "B"])
    assert mask_store.finish_masks is finish
    partial = tmp_path / ".m.zarr.partial"
    shards = sorted(path for path in (partial / "s0/mask/c").rglob("*") if path.is_file())
    damage(shards[0], shards[1])
    refspace.write_masks(tmp_path / "source.zarr", tmp_path / "m.zarr", ["root", "A", "B"])
    for key in files_of(masks):
        assert (tmp_path / "m.zarr" / key).read_bytes() == (masks / key).read_bytes()
