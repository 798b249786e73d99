"""The job that indexes images of other programs: resumed, bounded, and never of two states."""

import errno
import itertools
import os
import shutil
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from helpers.files import names
from helpers.indexed_images import change_voxel, chunks_read, opened, sample, write_image

import refspace
from refspace.batch import kept_index
from refspace.batch.index_journal import Journal
from refspace.errors import AnnotationError, FormatError, GridError, LockedError, StoreError
from refspace.store.kept_index import PackedIndex
from refspace.store.staging import recorder

pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "brain.ome.zarr")


def index_of(image, out=None, **options):
    return refspace.write_index(image, out, orientation="PIL", **options)


class EnoughError(Exception):
    pass


def stopped_after(count):
    """A progress that stops the job after some chunks."""
    calls = itertools.count()

    def progress(done, total):
        if next(calls) >= count:
            raise EnoughError

    return progress


def test_each_chunk_is_read_once_and_nothing_is_left_over(image, monkeypatch):
    with chunks_read(monkeypatch) as keys:
        written = index_of(image)
    assert len(keys) == len({*keys}) == written.chunks
    stored = [p for level in ("s0", "s1") for p in (image / level / "c").rglob("*") if p.is_file()]
    assert written.missing == written.chunks - len(stored) > 0
    assert names(image.parent) == [image.name, f"{image.name}.label_index"]


def test_a_run_that_was_stopped_goes_on(image, monkeypatch):
    whole = index_of(image, image.parent / "whole")
    monkeypatch.setattr(recorder, "RECORD_SECONDS", 0.0)
    with pytest.raises(EnoughError) as stop:
        index_of(image, progress=stopped_after(20), threads=1)
    assert "20 of 72 chunks are recorded; run the same again" in stop.value.__notes__[0]
    told = []
    with chunks_read(monkeypatch) as keys:
        index_of(image, progress=lambda done, total: told.append((done, total)))
    assert len(keys) == whole.chunks - 20
    assert told[0] == (20, 72)
    beside = image.with_name(f"{image.name}.label_index")
    assert beside.read_bytes() == (image.parent / "whole").read_bytes()
    assert not [name for name in names(image.parent) if "parts" in name]


@pytest.mark.parametrize("how", ["resume=False", "changed", "written again", "damaged"])
def test_what_was_recorded_of_another_job_is_forgotten(image, monkeypatch, how):
    monkeypatch.setattr(recorder, "RECORD_SECONDS", 0.0)
    with pytest.raises(EnoughError):
        index_of(image, progress=stopped_after(20), threads=1)
    options = {"orientation": "PIL"}
    if how == "resume=False":
        options["resume"] = False
    elif how == "changed":
        change_voxel(image)
    elif how == "written again":
        array = zarr.open_array(image / "s1", mode="r+")
        array[...] = array[...]
    else:
        for path in image.with_name(f".{image.name}.label_index.parts").glob("*.npz"):
            path.write_bytes(path.read_bytes()[:-1])
    with chunks_read(monkeypatch) as keys:
        refspace.write_index(image, **options)
    assert len(keys) == 72
    with_index = opened(image)
    assert with_index.volume.index.counts() == {
        int(label): int(count)
        for label, count in zip(
            *np.unique(zarr.open_array(image / "s0")[...], return_counts=True), strict=True
        )
    }


@pytest.mark.promise("a source changes while it is read")
def test_an_image_that_changes_meanwhile_gets_no_index(image):
    calls = itertools.count()

    def progress(done, total):
        if next(calls) == 10:
            change_voxel(image)

    with pytest.raises(StoreError, match="has changed while it was read, so that no index is"):
        index_of(image, progress=progress, threads=1)
    assert names(image.parent) == [image.name]
    assert index_of(image).was_there is False
    assert opened(image).block_labels is not None


def test_a_chunk_that_comes_meanwhile(image):
    there = next(path for path in sorted((image / "s0/c").rglob("*")) if path.is_file())
    missing = next(
        path
        for path in (
            image / "s0/c" / "/".join(map(str, i))
            for i in itertools.product(range(5), range(3), range(4))
        )
        if not path.exists()
    )
    calls = itertools.count()

    def progress(done, total):
        if next(calls) == 60:
            missing.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(there, missing)

    with pytest.raises(StoreError, match="has changed while it was read"):
        index_of(image, progress=progress, threads=1)


def test_what_fits_is_left_as_it_is(image, monkeypatch):
    assert not index_of(image).was_there
    with chunks_read(monkeypatch) as keys:
        assert index_of(image).was_there
    assert not keys
    with chunks_read(monkeypatch) as keys:
        assert not index_of(image, overwrite=True).was_there
    assert len(keys) == 72
    change_voxel(image)
    assert not index_of(image).was_there  # nobody needs what no longer fits


def test_a_published_index_is_kept_once_it_is_proven(image, tmp_path, monkeypatch):
    made = index_of(image, tmp_path / "published")
    with chunks_read(monkeypatch) as keys:
        kept = index_of(image, published=made.place)
    assert not keys
    assert kept.where == "beside the image"
    assert opened(image).block_labels is not None
    change_voxel(image)
    with pytest.raises(FormatError, match=r"published is not the label index of the image: chunk"):
        index_of(image, published=made.place)
    with pytest.raises(FormatError, match=r"there is no label index at .*nothing"):
        index_of(image, published=tmp_path / "nothing")
    # What was kept before is as it was.
    assert image.with_name(f"{image.name}.label_index").exists()


def test_what_is_in_the_way(image, tmp_path):
    out = tmp_path / "notes.txt"
    out.write_text("notes")
    with pytest.raises(StoreError, match=r"notes.txt is there, and is not the label index of the"):
        index_of(image, out)
    beside = image.with_name(f"{image.name}.label_index")
    beside.write_text("notes")
    with pytest.raises(StoreError, match="it is no label index of refspace; give another name"):
        index_of(image)
    assert beside.read_text() == out.read_text() == "notes"
    other = write_image(tmp_path / "other.ome.zarr")
    change_voxel(other)
    index_of(other, tmp_path / "of_other")
    with pytest.raises(StoreError, match="has changed since the image was indexed; give another"):
        index_of(image, tmp_path / "of_other")
    index_of(image, tmp_path / "of_other", overwrite=True)
    assert opened(image).with_index(tmp_path / "of_other").block_labels is not None


@pytest.mark.parametrize("out", [".", "..", "", "there", "there/", "missing/..", "memory://there/"])
def test_a_folder_is_refused_before_anything_is_read(image, tmp_path, out, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    before = names(tmp_path)
    with (
        chunks_read(monkeypatch) as keys,
        pytest.raises(StoreError, match="is a folder; give the name of a file"),
    ):
        index_of(image, out)
    assert keys == []
    assert names(tmp_path) == before


def test_a_folder_beside_the_image(image):
    image.with_name(f"{image.name}.label_index").mkdir()
    assert index_of(image).where == "in the cache"
    assert opened(image).block_labels is not None


@pytest.mark.parametrize(
    "url", ["file://{}/a/of_brain", "memory://of_brain", "memory://a/of_brain"]
)
def test_a_url_is_where_the_index_is_written(image, tmp_path, url, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    url = url.format(tmp_path)
    index_of(image, url)
    assert names(tmp_path / "here") == []
    with fsspec.open(url) as file:
        assert PackedIndex.from_bytes(file.read()).entries
    assert opened(image).with_index(url).block_labels is not None


def test_a_place_that_takes_nothing(image, cache, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    written = index_of(image)
    assert written.where == "in the cache"
    assert written.place.startswith(str(cache / "indices" / "brain.ome.zarr-"))
    assert names(image.parent) == [image.name, "cache"]
    assert opened(image).block_labels is not None


def test_a_full_disk_beside_the_image(image, cache, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if path.suffix == ".label_index" and cache not in path.parents:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert index_of(image).where == "in the cache"
    assert names(image.parent) == [image.name, "cache"]
    assert opened(image).block_labels is not None


def test_a_link_in_the_cache_is_not_followed(image, cache, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    cache.mkdir()
    (cache / "indices").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a symbolic link, which is not followed in the cache"):
        index_of(image)


def test_one_at_a_time(image):
    with (
        Journal.opened(f"{image}.label_index.parts"),
        pytest.raises(LockedError, match="another process makes the index"),
    ):
        index_of(image)


def test_stores_of_ours_have_an_index(tmp_path):
    sample().to_zarr(tmp_path / "a.zarr")
    with pytest.raises(FormatError, match="is a store of refspace, which holds its label index"):
        refspace.write_index(tmp_path / "a.zarr")
    with pytest.raises(FormatError, match="is a store of refspace, which holds its label index"):
        refspace.write_index(tmp_path / "a.zarr/s0/annotation", resolution=200)


def test_a_web_server_takes_no_index(image):
    with pytest.raises(StoreError, match="is on a web server, which takes no files; write the"):
        index_of(image, "https://host/index")


def test_what_is_no_annotation(tmp_path):
    zarr.create_array(tmp_path / "a", data=np.full((4, 4, 4), -1, "i4"), chunks=(2, 2, 2))
    with pytest.raises(AnnotationError, match="annotation holds -1"):
        refspace.write_index(tmp_path / "a", resolution=25)
    with pytest.raises(GridError, match="is an array without geometry; give its resolution"):
        refspace.write_index(tmp_path / "a")
    assert not (tmp_path / "a.label_index").exists()


def test_large_chunks_take_turns(image, monkeypatch):
    """As many threads as memory allows, and a word where even one chunk is too much."""
    running, most, lock = 0, 0, threading.Lock()
    measure = kept_index.measured_rows

    def counted(*args):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return measure(*args)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(kept_index, "measured_rows", counted)
    block = 16**3 * 4
    index_of(image, image.parent / "a", memory=3 * block, threads=8)
    assert most == 1
    with pytest.warns(UserWarning, match="each chunk holds 16384 bytes once it is decoded, and is"):
        index_of(image, image.parent / "b", memory=block)
    with pytest.raises(GridError, match="memory is 'much'; give bytes"):
        index_of(image, image.parent / "c", memory="much")


def test_large_chunks_are_measured_in_slabs(tmp_path, monkeypatch):
    from refspace.label_index import rows

    image = write_image(tmp_path / "a.ome.zarr")
    index_of(image, tmp_path / "whole")
    monkeypatch.setattr(rows, "_SLAB_VOXELS", 300)
    index_of(image, tmp_path / "slabs")
    assert (tmp_path / "slabs").read_bytes() == (tmp_path / "whole").read_bytes()


def test_on_workers(image, cluster):
    index_of(image, image.parent / "threads", threads=2)
    index_of(image, image.parent / "workers", client=cluster)
    assert (image.parent / "threads").read_bytes() == (image.parent / "workers").read_bytes()


def test_the_file_is_small(image):
    """Rows are packed: what is published is a small part of what it saves."""
    written = index_of(image)
    packed = PackedIndex.from_bytes(image.with_name(f"{image.name}.label_index").read_bytes())
    assert [*packed.entries] == ["s0", "s1"]
    stored = sum(path.stat().st_size for path in image.rglob("*") if path.is_file())
    assert written.nbytes < stored
