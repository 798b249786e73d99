"""Masks of many structures in one pass: to a store and to files, on threads and clusters."""

import errno
import hashlib
import io
import itertools
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import cloudpickle
import dask
import ngff_zarr
import nrrd
import numpy as np
import ome_zarr.io
import ome_zarr.reader
import ome_zarr_models
import pytest
import tensorstore
import xarray as xr
import yaozarrs
import zarr
from helpers.clusters import (
    Job,
    Killer,
    ended_before,
    local_workers,
    started_cluster,
    worker_pids,
)
from helpers.commands import run
from helpers.files import contents, journal
from helpers.profiles import examples, share
from helpers.volumes import CountingSource, cases, in_memory_order
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, kernels
from refspace.batch import mask_files
from refspace.batch.mask_store import MaskRequest
from refspace.errors import (
    ClusterError,
    FormatError,
    JobError,
    LockedError,
    OntologyError,
    StoreError,
    WriteError,
)
from refspace.formats.volumes import write_volume
from refspace.pools import connected
from refspace.store import Location, verify_store
from refspace.store.masks import ShardWriter, layout, open_stored_masks
from refspace.store.staging import end_runs, recorder

NAMES = ["VISp", "TH", "Isocortex", "FRP6b"]
KILLS = share(6)
WORKERS = 2


@pytest.fixture(scope="module")
def space():
    return refspace.phantom(resolution=200)


@pytest.fixture(scope="module")
def store(space, tmp_path_factory):
    """Store with blocks of 16 voxels; not to be changed."""
    url = tmp_path_factory.mktemp("atlas") / "atlas.zarr"
    space.to_zarr(url, chunks=16)
    return url


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Store with as many blocks, of 32 voxels, which leave time for kills; not to be changed."""
    url = tmp_path_factory.mktemp("large") / "atlas.zarr"
    refspace.phantom(resolution=100).to_zarr(url, chunks=32)
    return url


@pytest.fixture(scope="module")
def digest(large, tmp_path_factory):
    """Digest of all masks of the large store, as threads write them."""
    url = tmp_path_factory.mktemp("threads") / "masks.zarr"
    refspace.write_masks(large, url)
    return digest_of(url)


def digest_of(url, options=None):
    return open_stored_masks(str(url), options).metadata["digest"]


def inside(space, structure, direct_only=False):
    """Mask by plain NumPy."""
    ids = [structure] if direct_only else space.structure_tree.descendant_ids([structure])[0]
    return np.isin(space.annotation.values, ids).astype("u1")


def written_at(folder, keys):
    return {
        key: (Path(folder, key).stat().st_ino, Path(folder, key).stat().st_mtime_ns) for key in keys
    }


# ----- what is written


@given(st.data())
def test_kernel(data):
    block = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=40))
    shape = data.draw(st.sampled_from([(-1,), (1, -1), (-1, 1, 1)]))
    block = in_memory_order(np.array(block, "u4").reshape(shape), data.draw(st.sampled_from("CF")))
    ids = np.array(sorted(data.draw(st.sets(st.integers(0, 6)))), "u4")
    members = data.draw(st.lists(st.sets(st.sampled_from([*ids.tolist(), 99])), max_size=4))
    table = np.array([[i in group for group in members] for i in ids.tolist()], bool)
    found = list(kernels.masks(block, ids, table.reshape(len(ids), len(members))))
    assert len(found) == len(members)
    for mask, group in zip(found, members, strict=True):
        np.testing.assert_array_equal(mask, np.isin(block, sorted(group - {99})))
        assert mask.dtype == bool


@examples(30)
@given(cases(), st.data())
def test_any_volume(case, data):
    ids = data.draw(st.lists(st.sampled_from(case.tree.node_ids()), min_size=1, max_size=5))
    direct_only = data.draw(st.booleans())
    space = case.space
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Of few masks, several shards.
        patch.setattr(layout, "_SHARD_BYTES", data.draw(st.sampled_from([1, 60, 2**28])))
        regions = case.tree.regions(ids, direct_only=direct_only)
        done = refspace.write_masks(space, f"{folder}/m.zarr", regions)
        masks = refspace.open_masks(f"{folder}/m.zarr")
        assert done.structures == tuple(masks.structure.values) == tuple(dict.fromkeys(ids))
        for structure in ids:
            mask = masks.sel(structure=structure)
            np.testing.assert_array_equal(mask, inside(space, structure, direct_only))
            for dim in space.annotation.dims:
                np.testing.assert_array_equal(mask[dim], space.annotation[dim])
        assert verify_store(f"{folder}/m.zarr").faults == ()


@pytest.mark.parametrize("hemisphere", [None, "left", "right"])
@pytest.mark.parametrize(
    "named",
    [
        {"structures": NAMES},
        *(
            pytest.param(named, marks=pytest.mark.slow)
            for named in ({"depth": 5}, {"structure_set": 167587189}, {})
        ),
    ],
)
def test_structures_and_hemispheres(store, space, tmp_path, named, hemisphere):
    sets = {i for node in space.structure_tree.nodes() for i in node.get("structure_set_ids") or ()}
    if not {named.get("structure_set", None)} <= {None, *sets}:
        pytest.skip("the phantom has no such set")
    stored, whole = refspace.open(store), space
    if hemisphere is not None:
        stored, space = stored.hemisphere(hemisphere), space.hemisphere(hemisphere)
    regions = space.structure_tree.regions(**named)
    refspace.write_masks(stored, tmp_path / "m.zarr", regions if named else None)
    masks = refspace.open_masks(tmp_path / "m.zarr")
    if named:
        assert masks.structure.values.tolist() == list(regions.labels)
    else:
        some = [i for i, count in space.total_voxel_map.items() if count]
        assert sorted(masks.structure.values) == sorted(some)
    for structure in masks.structure.values[:: max(1, masks.structure.size // 7)]:
        expected = space.make_structure_mask([structure])
        np.testing.assert_array_equal(masks.sel(structure=structure), expected)
        here = np.isin(whole.annotation["hemisphere"], [hemisphere or ("left", "right")])
        np.testing.assert_array_equal(expected, inside(whole, structure) * here)


def test_hemispheres_of_their_own(space, tmp_path):
    sides = xr.full_like(space.annotation, 2, "u1").assign_attrs(flag_values=[1, 2])
    sides[:, :10] = 1
    own = ReferenceSpace(
        space.structure_tree, space.annotation.drop_vars("hemisphere"), hemispheres=sides
    )
    left = own.hemisphere("left")
    refspace.write_masks(left, tmp_path / "m.zarr", NAMES)
    masks = refspace.open_masks(tmp_path / "m.zarr")
    for structure in masks.structure.values:
        expected = left.make_structure_mask([structure])
        np.testing.assert_array_equal(masks.sel(structure=structure), expected)
        np.testing.assert_array_equal(expected, inside(own, structure) * (sides == 1))


def test_a_lazy_selection(store, space, tmp_path):
    refspace.write_masks(store, tmp_path / "m.zarr", NAMES)
    masks = refspace.open_masks(tmp_path / "m.zarr")
    assert masks.chunks[0] == (1,) * 4
    assert masks.chunks[1:] == refspace.open(store).annotation.chunks
    whole = masks.values
    for key in (np.s_[1, ::-2, 5], np.s_[::2, 3:90:7, :, -1], np.s_[2:2], np.s_[-1, 40:70, 1, 1]):
        np.testing.assert_array_equal(masks[key], whole[key])
    assert list(masks.acronym.values) == NAMES
    assert masks.sel(structure=385)["name"].item() == "Primary visual area"


# ----- what others read


def test_other_readers(store, space, tmp_path):
    url = tmp_path / "m.zarr"
    refspace.write_masks(store, url, NAMES)
    expected = np.stack([inside(space, i) for i in space.structure_tree.resolve(NAMES)])
    group = zarr.open_group(url, mode="r")
    np.testing.assert_array_equal(group["s0/mask"][...], expected)
    dataset = xr.open_zarr(url, group="s0")
    np.testing.assert_array_equal(dataset["mask"].sel(structure=385), expected[0])
    np.testing.assert_array_equal(dataset["ap"], space.annotation["ap"])
    assert dataset["acronym"].values.tolist() == NAMES
    array = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{url}/s0/mask"}}, read=True
    ).result()
    np.testing.assert_array_equal(array.read().result(), expected)
    (node,) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(url))()
    np.testing.assert_array_equal(node.data[0], expected)
    np.testing.assert_array_equal(ngff_zarr.from_ngff_zarr(url).images[0].data, expected)


def test_validators(store, tmp_path):
    url = tmp_path / "m.zarr"
    refspace.write_masks(store, url, NAMES)
    yaozarrs.validate_zarr_store(url)
    group = zarr.open_group(url, mode="r")
    model = ome_zarr_models.open_ome_zarr(group)
    assert type(model).__name__ == "Image"
    ngff_zarr.validate(dict(group.attrs), version="0.5", model="image", strict=True)
    (image,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["structure", "ap", "dv", "ml"]
    scale, translation = image["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [1.0, 200.0, 200.0, 200.0]
    assert translation["translation"] == [0.0, 100.0, 100.0, 100.0]
    assert [channel["label"] for channel in group.attrs["ome"]["omero"]["channels"]] == NAMES


def test_it_is_no_atlas(store, tmp_path):
    refspace.write_masks(store, tmp_path / "m.zarr", NAMES)
    with pytest.raises(
        FormatError, match=r"holds masks, and no annotation: open it with refspace\."
    ):
        refspace.open(tmp_path / "m.zarr")
    with pytest.raises(FormatError, match=r"holds no masks; an atlas opens with refspace\.open"):
        refspace.open_masks(store)
    with pytest.raises(StoreError, match="there is no store of masks at"):
        refspace.open_masks(str(tmp_path / "n.zarr"))


# ----- what is read, and what is sent


@pytest.fixture
def reads(monkeypatch):
    """How often each object was read."""
    seen = Counter()
    read = Location.read

    def counted(self, key, *limit):
        seen[key] += 1
        return read(self, key, *limit)

    monkeypatch.setattr(Location, "read", counted)
    return seen


def chunk_reads(reads):
    return {key: count for key, count in reads.items() if "/annotation/c/" in key}


@pytest.mark.parametrize("count", [1, 4, None])
def test_each_chunk_is_read_once_at_most(store, tmp_path, reads, count):
    space = refspace.open(store)
    masks_wanted = MaskRequest.from_space(space, None if count is None else NAMES[:count])
    assert chunk_reads(reads) == {}
    blocks = list(masks_wanted.blocks({}))
    assert chunk_reads(reads) == {}
    done = refspace.write_masks(
        space, tmp_path / "m.zarr", None if count is None else NAMES[:count]
    )
    assert set(chunk_reads(reads).values()) == {1}
    assert len(chunk_reads(reads)) == sum(block.voxels is not None for block in blocks)
    assert done.written == len(blocks) == masks_wanted.count()
    # What holds none of them is no task.
    assert len(blocks) < np.prod(masks_wanted.numblocks) or count is None


def test_what_is_known_is_not_read(tmp_path):
    voxels = np.zeros((8, 4, 4), "u4")
    voxels[:4], voxels[4:, 2:] = 385, 549
    source = CountingSource(voxels)
    tree = refspace.phantom(resolution=400).structure_tree
    known = ReferenceSpace(tree, source.dask((4, 4, 4)), 25).with_index()
    source.reads.clear()
    refspace.write_masks(known, tmp_path / "a.zarr", ["VISp", "TH"])
    assert source.chunk_reads(((4, 4), (4,), (4,))) == {(1, 0, 0): 1}
    source.reads.clear()
    unknown = ReferenceSpace(tree, source.dask((4, 4, 4)), 25)
    refspace.write_masks(unknown, tmp_path / "b.zarr", ["VISp", "TH"])
    assert set(source.chunk_reads(((4, 4), (4,), (4,))).values()) == {1}
    a, b = (refspace.open_masks(tmp_path / f"{name}.zarr").values for name in "ab")
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hemisphere_of_one_label(tmp_path, side):
    """A block that the midline cuts is not all of one label in a hemisphere."""
    source = CountingSource(np.full((4, 4, 12), 385, "u4"))
    tree = refspace.phantom(resolution=400).structure_tree
    space = ReferenceSpace(tree, source.dask((4, 4, 4)), 25).with_index()
    source.reads.clear()
    half = space.hemisphere(side)
    refspace.write_masks(half, tmp_path / "m.zarr", ["VISp"])
    # The other two are known to be all inside, or all outside.
    assert source.chunk_reads(((4,), (4,), (4, 4, 4))) == {(0, 0, 1): 1}
    expected = np.zeros((4, 4, 12), "u1")
    expected[..., np.s_[:6] if side == "left" else np.s_[6:]] = 1
    (mask,) = refspace.open_masks(tmp_path / "m.zarr")
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(half.make_structure_mask("VISp"), expected)


def test_tasks_are_small(store, space):
    for of in (refspace.open(store), refspace.open(store, resolution=400)):
        sizes = [
            len(cloudpickle.dumps(block)) for block in MaskRequest.from_space(of, None).blocks({})
        ]
        assert max(sizes) < 10_000
    one, two = (MaskRequest.from_space(refspace.open(store), None) for _ in range(2))
    assert one.identity == two.identity
    assert one.identity != MaskRequest.from_space(refspace.open(store), NAMES).identity


def test_nothing_is_computed_while_asking(store):
    with dask.config.set(scheduler=refuse):
        list(MaskRequest.from_space(refspace.open(store).hemisphere("left"), None).blocks({}))


def refuse(*args, **kwargs):
    raise AssertionError("something is computed")


# ----- what is there


def test_the_same_again(store, tmp_path):
    url = tmp_path / "m.zarr"
    first = refspace.write_masks(store, url, NAMES)
    before = contents(tmp_path)
    again = refspace.write_masks(store, url, NAMES)
    assert (again.written, again.kept) == (0, first.written)
    assert contents(tmp_path) == before
    with pytest.raises(StoreError, match="exists; give another name, or replace it"):
        refspace.write_masks(store, url, NAMES[:1])
    assert contents(tmp_path) == before
    refspace.write_masks(store, url, NAMES[:1], overwrite=True)
    assert refspace.open_masks(url).sizes["structure"] == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_store_is_not_taken_for_whole(store, tmp_path, damage):
    url = tmp_path / "m.zarr"
    refspace.write_masks(store, url, NAMES)
    shards = open_stored_masks(str(url)).shards
    path = next(path for path in sorted((url / "s0/mask/c").rglob("*")) if path.is_file())
    data = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(
        data[:-1] if damage == "cut" else bytes([data[0] ^ 1]) + data[1:]
    )
    with pytest.raises(StoreError, match=r"is there, and damaged: s0/mask/c/.*--overwrite"):
        refspace.write_masks(store, url, NAMES)
    report = verify_store(url)
    assert len(report.faults) == 1
    assert report.blocks == len(shards)
    refspace.write_masks(store, url, NAMES, overwrite=True)


@pytest.mark.promise("two writers want the same store or table")
@pytest.mark.slow
def test_two_writers(store, tmp_path):
    def again(done, total):
        with pytest.raises(LockedError, match=r"(is being written|another process writes)"):
            refspace.write_masks(store, tmp_path / name, NAMES)

    for name in ("m.zarr", "files"):
        refspace.write_masks(store, tmp_path / name, NAMES, progress=again)


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"regions": ["nothing"]}, KeyError, "no structure has acronym, name or id 'nothing'"),
        ({"regions": []}, OntologyError, "no structures are asked for"),
        ({"regions": {"VISp": "v"}}, OntologyError, "a mapping has labels of its own"),
        ({"format": "tiff"}, FormatError, "format is 'tiff'; there are nrrd and nifti"),
    ],
)
def test_misuse(store, tmp_path, how, error, text):
    with pytest.raises(error, match=text):
        refspace.write_masks(store, tmp_path / "m", **how)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise("a mask store is damaged")
@pytest.mark.parametrize("key", ["zarr.json", "s0/acronym/c/0", "label_index/shards/c/0/0"])
@pytest.mark.parametrize("damage", ["nonsense", "other"])
def test_damage_beside_the_masks(store, tmp_path, key, damage):
    url = tmp_path / "m.zarr"
    refspace.write_masks(store, url, NAMES)
    data = (url / key).read_bytes()
    other = data.replace(b'"midline"', b'"middle"').replace(b"VISp", b"VISl")
    (url / key).write_bytes(b"nonsense" if damage == "nonsense" else other[:-9] + other[-8:])
    with pytest.raises(FormatError, match=r"write (the masks|it) again|holds no masks"):
        refspace.open_masks(str(url)).compute()
    if "acronym" not in key and (damage, key) != ("nonsense", "zarr.json"):
        with pytest.raises((StoreError, FormatError)):
            refspace.write_masks(store, url, NAMES)


@pytest.mark.promise("a mask store is damaged", "an error that names the file; verify names it")
def test_a_shard_that_is_damaged_is_told(store, tmp_path):
    url = tmp_path / "m.zarr"
    refspace.write_masks(store, url, NAMES)
    for path in (url / "s0/mask/c").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        FormatError, match=r"chunk s0/mask/c/\S+ is not the one that was written; .* write it again"
    ):
        refspace.open_masks(str(url)).compute()


def test_progress_and_places_of_files(store, tmp_path):
    told = []
    refspace.write_masks(store, tmp_path / "a", NAMES, progress=lambda *n: told.append(n))
    assert told[-1] == (4, 4)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"is a file; give the name of a folder for the masks"):
        refspace.write_masks(store, tmp_path / "file", NAMES)
    with pytest.raises(FileNotFoundError, match="make it, then try again"):
        refspace.write_masks(store, tmp_path / "no" / "masks", NAMES)


def test_files_of_programs_that_write_no_geometry(store, space, tmp_path):
    for i in space.structure_tree.resolve(NAMES):
        nrrd.write(str(tmp_path / f"structure_{i}.nrrd"), inside(space, i))
    before = contents(tmp_path)
    refspace.write_masks(store, tmp_path, NAMES)
    assert {k: v for k, v in contents(tmp_path).items() if ".refspace" not in k} == before


# ----- the command


@pytest.mark.parametrize(
    "switches",
    [[], ["--threads", "1"], pytest.param(["--workers", "1"], marks=pytest.mark.cluster)],
)
def test_command(store, space, tmp_path, switches):
    out = tmp_path / "m.zarr"
    words = ["masks", store, "-s", "VISp,TH", "--hemisphere", "left", "--out", out, *switches]
    assert run(*words).stdout.startswith(f"wrote {out}: 2 masks, ")
    assert run(*words).stdout.endswith(" were there\n")
    mask = refspace.open_masks(str(out)).sel(structure=385)
    np.testing.assert_array_equal(mask, space.hemisphere("left").make_structure_mask(385))
    assert run("verify", out).exit_code == 0
    other = run(*words[:3], "TH", *words[4:])
    assert other.exit_code == 1
    assert "exists; give another name, or replace it with --overwrite" in other.stderr
    assert run(*words[:3], "TH", *words[4:], "--overwrite").exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("switches", [[], ["--direct-only"], ["--depth", "leaves"]])
def test_command_of_all_structures(store, space, tmp_path, switches):
    out, tree = tmp_path / "m.zarr", space.structure_tree
    assert run("masks", store, "--out", out, *switches).exit_code == 0
    masks = refspace.open_masks(str(out))
    ids = [i for i, count in space.total_voxel_map.items() if count]
    if "--depth" in switches:
        ids = [*tree.regions("leaves").labels]
    assert sorted(masks.structure.values) == sorted(ids)
    for structure in masks.structure.values[::29]:
        expected = inside(space, structure, direct_only="--direct-only" in switches)
        np.testing.assert_array_equal(masks.sel(structure=structure), expected)


def test_command_lists_what_fails(store, tmp_path):
    out = tmp_path / "masks"
    words = ["masks", store, "-s", "VISp,TH", "--out", out, "--format", "nifti"]
    assert run(*words).stdout == f"wrote {out}: 2 masks, 2 files\n"
    (out / "structure_385.nii.gz").write_bytes(b"notes")
    failed = run(*words)
    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[-2:] == [
        "structure_385.nii.gz: structure_385.nii.gz is there, and was changed since it was written "
        "here; replace it with --overwrite (Python: overwrite=True)",
        "Error: 1 of 2 masks failed; what is done is not done again",
    ]


# ----- files


@pytest.mark.parametrize(("format", "ending"), [("nrrd", ".nrrd"), ("nifti", ".nii.gz")])
def test_files(store, space, tmp_path, format, ending):
    folder = tmp_path / "masks"
    done = refspace.write_masks(store, folder, NAMES, format=format)
    assert (done.written, done.kept) == (4, 0)
    ids = space.structure_tree.resolve(NAMES)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert names == sorted(f"structure_{i}{ending}" for i in ids)
    read = {"nrrd": refspace.read_nrrd, "nifti": refspace.read_nifti}[format]
    for i in ids:
        np.testing.assert_array_equal(read(folder / f"structure_{i}{ending}"), inside(space, i))
    assert list((folder / ".refspace").glob("masks-*")) == []
    before = written_at(folder, names)
    again = refspace.write_masks(store, folder, [*NAMES, "CP"], format=format)
    assert (again.written, again.kept) == (1, 4)
    assert written_at(folder, names) == before


def test_files_are_those_of_check_and_write(store, space, tmp_path):
    write = lambda i, make: ReferenceSpace.check_and_write(tmp_path / "a", i, make)  # noqa: E731
    ids = list(space.many_structure_masks(NAMES, write))
    refspace.write_masks(store, tmp_path / "b", NAMES)
    for i in ids:
        one, two = (refspace.read_nrrd(tmp_path / name / f"structure_{i}.nrrd") for name in "ab")
        xr.testing.assert_identical(one, two)
    # Those are right, and stay.
    before = contents(tmp_path / "a")
    done = refspace.write_masks(store, tmp_path / "a", NAMES)
    after = {key: data for key, data in contents(tmp_path / "a").items() if ".refspace" not in key}
    assert after == before
    assert done.written == 4


@pytest.mark.parametrize(("format", "ending"), [("nrrd", ".nrrd"), ("nifti", ".nii.gz")])
def test_files_of_others_are_the_same_masks(store, space, tmp_path, format, ending):
    """Of programs that know the world alone, where the store has another frame."""
    sitk = pytest.importorskip("SimpleITK")
    refspace.write_masks(store, tmp_path / "ours", NAMES[:2], format=format)
    (tmp_path / "theirs").mkdir()
    for path in (tmp_path / "ours").glob(f"*{ending}"):
        image = sitk.ReadImage(str(path))
        for key in image.GetMetaDataKeys():
            image.EraseMetaData(key)
        sitk.WriteImage(image, str(tmp_path / "theirs" / path.name))
        assert b"refspace" not in (tmp_path / "theirs" / path.name).read_bytes()
    before = contents(tmp_path / "theirs")
    done = refspace.write_masks(store, tmp_path / "theirs", NAMES[:2], format=format)
    assert done.structures == tuple(space.structure_tree.resolve(NAMES[:2]))
    after = contents(tmp_path / "theirs")
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("there", ["another mask", "another shape", "no volume", "a folder"])
def test_files_that_are_something_else(store, space, tmp_path, there):
    path = tmp_path / "structure_385.nrrd"
    if there == "a folder":
        path.mkdir()
    elif there == "no volume":
        path.write_bytes(b"notes")
    else:
        other = space if there == "another mask" else space.downsample(400)
        refspace.write_nrrd(path, other.make_structure_mask("CP"))
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(JobError, match="1 of 4 masks failed") as caught:
        refspace.write_masks(store, tmp_path, NAMES)
    assert "is no mask of that structure; replace it" in caught.value.failures[path.name]
    assert (path.read_bytes() if path.is_file() else None) == before
    assert len(list(tmp_path.glob("*.nrrd"))) == 4
    if there != "a folder":
        done = refspace.write_masks(store, tmp_path, NAMES, overwrite=True)
        assert (done.written, done.kept) == (1, 3)
        np.testing.assert_array_equal(refspace.read_nrrd(path), inside(space, 385))


def test_a_link_is_written_to_what_it_names(store, space, tmp_path):
    path, elsewhere = tmp_path / "masks/structure_385.nrrd", tmp_path / "elsewhere.nrrd"
    refspace.write_nrrd(elsewhere, space.make_structure_mask("CP"))
    path.parent.mkdir()
    path.symlink_to(elsewhere)
    refspace.write_masks(store, path.parent, NAMES, overwrite=True)
    assert path.is_symlink()
    np.testing.assert_array_equal(refspace.read_nrrd(elsewhere), inside(space, 385))


def test_files_of_a_run_that_has_ended_meanwhile(store, tmp_path, monkeypatch):
    """As of tasks that a killed client has left, when the next one begins."""

    def write(path, *args, **kwargs):
        write_volume(path, *args, **kwargs)
        end_runs(Location(str(tmp_path)))

    with monkeypatch.context() as patch:
        patch.setattr(mask_files, "write_volume", write)
        with pytest.raises(JobError, match="4 of 4 masks failed") as caught:
            refspace.write_masks(store, tmp_path, NAMES, threads=1)
    assert all("its job was ended" in cause for cause in caught.value.failures.values())
    assert [path.name for path in tmp_path.iterdir()] == [".refspace"]
    assert refspace.write_masks(store, tmp_path, NAMES).written == 4


def test_a_file_that_was_damaged_is_not_believed(store, tmp_path):
    refspace.write_masks(store, tmp_path, NAMES)
    path = tmp_path / "structure_385.nrrd"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(JobError, match="1 of 4 masks failed"):
        refspace.write_masks(store, tmp_path, NAMES)
    path.unlink()
    assert refspace.write_masks(store, tmp_path, NAMES).written == 1


def test_a_finished_pass_serves_a_second_run(store, tmp_path, reads):
    (tmp_path / "structure_385.nrrd").write_bytes(b"notes")
    for _ in range(2):
        with pytest.raises(JobError):
            refspace.write_masks(store, tmp_path, NAMES)
    assert set(chunk_reads(reads).values()) == {1}
    # Of another atlas, it is another pass.
    other = refspace.open(store, resolution=400)
    with pytest.raises(JobError):
        refspace.write_masks(other, tmp_path, NAMES)


# ----- what fails


@pytest.mark.parametrize("target", ["m.zarr", "files"])
def test_a_block_that_fails(space, tmp_path, target):
    url = tmp_path / "atlas.zarr"
    space.to_zarr(url, chunks=16)
    path = url / "s0/annotation/c/2/1/1"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(JobError, match=r"1 of \d+ blocks failed") as caught:
        refspace.write_masks(url, tmp_path / target, NAMES)
    ((part, cause),) = caught.value.failures.items()
    assert part == "block (2, 1, 1)"
    assert "s0/annotation/c/2/1/1 is not the one that was written" in cause
    path.write_bytes(data)
    done = refspace.write_masks(url, tmp_path / target, NAMES)
    if target == "m.zarr":
        assert done.written == 1
        assert done.kept > 10
    assert not list(tmp_path.glob(".m.zarr*"))


def test_a_full_disk(store, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "RECORD_SECONDS", 0)
    put, calls = ShardWriter.put, itertools.count()

    def full(self, block):
        if next(calls) >= 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(self, block)

    monkeypatch.setattr(ShardWriter, "put", full)
    with pytest.raises(WriteError, match="no space left on") as caught:
        refspace.write_masks(store, tmp_path / "m.zarr", NAMES, threads=1)
    assert "what is done lies in" in caught.value.__notes__[-1]
    monkeypatch.setattr(ShardWriter, "put", put)
    assert refspace.write_masks(store, tmp_path / "m.zarr", NAMES).kept == 10
    assert [path.name for path in tmp_path.iterdir()] == ["m.zarr"]


# ----- clusters


@pytest.mark.parametrize("target", ["m.zarr", "files"])
def test_a_cluster_writes_the_same(store, tmp_path, cluster, target):
    for name, how in {"threads": {}, "cluster": {"client": cluster}}.items():
        (tmp_path / name).mkdir()
        done = refspace.write_masks(store, tmp_path / name / target, NAMES, **how)
        assert done.written > 3
    one, two = (contents(tmp_path / name) for name in ("threads", "cluster"))
    assert one.keys() == two.keys()
    assert [key for key in one if one[key] != two[key]] == []


def test_paths_relative_to_where_the_command_runs(store, tmp_path, monkeypatch, cluster):
    """The workers run elsewhere."""
    monkeypatch.chdir(store.parent)
    target = os.path.relpath(tmp_path / "m.zarr")
    assert refspace.write_masks(store.name, target, NAMES, client=cluster).written > 1
    assert refspace.open_masks(target).sizes["structure"] == 4


def test_of_files_and_arrays(space, tmp_path, cluster):
    refspace.write_nrrd(tmp_path / "a.nrrd", space.annotation)
    of_file = refspace.open(tmp_path / "a.nrrd", structures=space.structure_tree)
    for number, of in enumerate((of_file, refspace.phantom(resolution=400))):
        refspace.write_masks(of, tmp_path / f"{number}.zarr", NAMES, client=cluster)
        masks = refspace.open_masks(tmp_path / f"{number}.zarr")
        np.testing.assert_array_equal(masks.sel(structure=549), inside(of, 549))


@pytest.mark.parametrize("target", ["m.zarr", "files"])
def test_masks_on_s3(store, space, tmp_path, cluster, s3, target):
    url, access = f"s3://atlases/{target}", {"storage_options": s3.writer}
    first = refspace.write_masks(store, url, NAMES, client=cluster, **access)
    again = refspace.write_masks(store, url, NAMES, **access)
    assert (again.written, again.kept) == (0, first.written)
    if target == "m.zarr":
        masks = refspace.open_masks(url, storage_options=s3.reader)
        np.testing.assert_array_equal(masks.sel(structure=385), inside(space, 385))
        assert verify_store(url, storage_options=s3.reader).faults == ()
    else:
        # By threads too.
        assert refspace.write_masks(store, url, [*NAMES, "CP"], **access).written == 1
        data = Location(url, s3.reader).read("structure_385.nrrd")
        (tmp_path / "a.nrrd").write_bytes(data)
        np.testing.assert_array_equal(refspace.read_nrrd(tmp_path / "a.nrrd"), inside(space, 385))


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_that_are_killed(large, tmp_path, digest):
    with local_workers(2) as client:
        killer = Killer(lambda: worker_pids(client), parts=10)
        for number in itertools.count():
            target = tmp_path / f"{number}.zarr"
            refspace.write_masks(large, target, client=client, progress=killer.progress)
            assert digest_of(target) == digest
            if len(killer.killed) >= 3:
                break


@pytest.mark.slow
@pytest.mark.cluster
def test_a_scheduler_that_is_killed(large, tmp_path, digest):
    target, partial = tmp_path / "m.zarr", tmp_path / ".m.zarr.partial"
    with started_cluster(tmp_path) as (scheduler, _), connected(scheduler.address) as client:

        def kill(done, total):
            if done > total // 2:
                scheduler.kill()

        with pytest.raises(ClusterError, match="the scheduler of the cluster is gone"):
            refspace.write_masks(large, target, client=client, progress=kill)
    keys = recorded(partial)
    before = written_at(partial, keys)
    assert len(keys) > 10
    done = refspace.write_masks(large, target)
    assert done.kept > 10
    assert written_at(target, keys) == before
    assert digest_of(target) == digest


def recorded(partial):
    """Shards that the journal of an unfinished store has."""
    return shards_in(path.read_bytes() for path in journal(partial))


def shards_in(records):
    """Shards that some records of a journal tell of."""
    keys = []
    for record in records:
        table = np.load(io.BytesIO(record[hashlib.sha256().digest_size :]))["shards"]
        # 100 µm in blocks of 32 voxels.
        numbers = zip(table[:, 1], *np.unravel_index(table[:, 0], (5, 3, 4)), strict=True)
        keys += ["/".join(["s0/mask/c", *map(str, number)]) for number in numbers]
    return keys


@pytest.mark.promise("a writer is killed at any step")
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("target", ["m.zarr", "files"])
def test_clients_that_are_killed(large, tmp_path, digest, target):
    """Killed at random moments, for each kind of target."""
    draw, kills = random.Random(target), 0
    with started_cluster(tmp_path) as (scheduler, _):
        for number in itertools.count():
            folder = tmp_path / str(number)
            folder.mkdir()
            before = {}
            while True:
                process = Job(main, scheduler.address, large, folder / target)
                enough = len(before) + draw.randint(0, 40)
                if kills < KILLS and not ended_before(process, reached(folder, target, enough)):
                    time.sleep(draw.uniform(0, 0.05))
                    process.kill()
                code = process.wait(300)
                assert code in (0, -signal.SIGKILL)
                kills += code == -signal.SIGKILL
                if is_being_renamed(folder):
                    continue
                after = done_files(folder, target)
                assert {k: v for k, v in after.items() if k in before} == before
                before = after
                if code == 0:
                    break
                assert len(before) >= enough
            if target == "m.zarr":
                assert digest_of(folder / target) == digest
            else:
                assert len(list((folder / target).glob("*.nrrd"))) == len(before) > 100
            if kills == KILLS:
                break


def reached(folder, target, count):
    """Tells whether the journal has so many files."""
    return lambda: len(done_files(folder, target)) >= count


def is_being_renamed(folder):
    """Whether a store is whole, and on its way to its final name: its journal goes before."""
    partial = folder / ".m.zarr.partial"
    return partial.exists() and not (partial / ".refspace/job.json").exists()


@pytest.mark.slow
@pytest.mark.cluster
def test_clients_that_are_killed_on_s3(large, tmp_path, digest, s3):
    url, before = "s3://atlases/killed.zarr", {}
    place = Location(url, s3.writer)
    with started_cluster(tmp_path, WORKERS) as (scheduler, _):
        for more in (0, 10, 1000):
            process = Job(main, scheduler.address, large, url, json.dumps(s3.writer))
            enough = len(before) + more
            if not ended_before(process, lambda n=enough: len(noted(place)) > n, pause=0.2):
                process.kill()
            code = process.wait(300)
            # What was noted is as it was, as long as there are notes; but a task that had looked at
            # its lease, one for each worker, may write an object again: of the same bytes.
            if now := noted(place):
                assert [key for key in before if now[key][0] != before[key][0]] == []
                assert sum(now[key] != before[key] for key in before) <= WORKERS
            before = now
    assert code == 0
    assert digest_of(url, s3.reader) == digest


def noted(place):
    """Digest and time of what the journal of a store on S3 has; nothing once it is complete."""
    fs, root = place._resolved()
    fs.invalidate_cache()
    names = fs.glob(f"{root}/.refspace/*.record")
    records = [place.read(name.removeprefix(f"{root}/")) for name in names]
    keys = shards_in(filter(None, records))
    found = {key: fs.info(f"{root}/{key}") for key in keys}
    return {key: (info["ETag"], str(info["LastModified"])) for key, info in found.items()}


def done_files(folder, target):
    """When what the journal has was written, by name."""
    if target == "m.zarr":
        partial, whole = folder / ".m.zarr.partial", folder / "m.zarr"
        if whole.exists():
            keys = [
                p.relative_to(whole).as_posix()
                for p in (whole / "s0/mask/c").rglob("*")
                if p.is_file()
            ]
            return written_at(whole, keys)
        return written_at(partial, recorded(partial))
    records = (folder / target / ".refspace").glob("structure_*.json")
    return written_at(folder / target, [path.name.removesuffix(".json") for path in records])


def main(address, store, target, options="null"):
    """Write masks on a cluster, with a journal that misses little."""
    recorder.RECORD_SECONDS = 0.05
    with connected(address) as client:
        refspace.write_masks(store, target, client=client, storage_options=json.loads(options))


# ----- the real one


@pytest.mark.ccf
def test_all_structures_of_the_ccf(ccf_store, tmp_path, reads):
    space = refspace.open(ccf_store)
    done = refspace.write_masks(space, tmp_path / "m.zarr")
    assert len(done.structures) == 839
    assert set(chunk_reads(reads).values()) == {1}
    assert len(chunk_reads(reads)) <= 60
    masks = refspace.open_masks(tmp_path / "m.zarr")
    for structure in (997, 315, 385, 1011, done.structures[-1]):
        expected = space.make_structure_mask([structure])
        np.testing.assert_array_equal(masks.sel(structure=structure), expected)
    assert (
        max(
            len(cloudpickle.dumps(block))
            for block in MaskRequest.from_space(space, None).blocks({})
        )
        < 20_000
    )
