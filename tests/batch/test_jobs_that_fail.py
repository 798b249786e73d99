"""Jobs that fail while parts of them are in flight: these end before anything is removed."""

import itertools
import threading

import pytest

import refspace
from refspace.batch import mask_files, output_files, statistics
from refspace.batch.image_table import ImageTable
from refspace.errors import JobError, LockedError, StoreError
from refspace.store import Location
from refspace.store.block_writer import BlockWriter
from refspace.store.masks import ShardWriter

# What a part waits for does not come, unless its job ends before it.
SECONDS = 0.5


class Parts:
    """Parts of a job, of which all but the first last until the job has failed, and longer."""

    def __init__(self):
        self.in_flight = 0
        self._lock, self._count = threading.Lock(), itertools.count()
        self._begun, self.job_ended = threading.Event(), threading.Event()

    def slow(self, work):
        """Work of a part, which lasts."""

        def last(*args, **kwargs):
            with self._lock:
                self.in_flight += 1
            try:
                if next(self._count):
                    self._begun.set()
                    self.job_ended.wait(SECONDS)
                return work(*args, **kwargs)
            finally:
                with self._lock:
                    self.in_flight -= 1

        return last

    def fail(self, *_):
        """Fail when a part is done, and another one in flight."""
        if next(self._count) > 1:
            assert self._begun.wait(60)
            raise ZeroDivisionError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store, its annotation as a stream, and two images."""
    folder = tmp_path_factory.mktemp("sources")
    space = refspace.phantom(resolution=200)
    space.to_zarr(folder / "atlas.zarr", chunks=16)
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    for name in ("annotation.nrrd", "a.nrrd", "b.nrrd", "c.nrrd"):
        refspace.write_nrrd(folder / name, space.annotation)
    return folder


def to_zarr(folder, target, progress):
    refspace.open(folder / "atlas.zarr").to_zarr(
        f"{target}/a.zarr", chunks=16, threads=2, progress=progress
    )


def downsample(folder, target, progress):
    coarse = refspace.open(folder / "atlas.zarr").downsample(400, "mode")
    coarse.to_zarr(f"{target}/a.zarr", chunks=16, threads=2, progress=progress)


def convert(folder, target, progress):
    refspace.convert(
        folder / "annotation.nrrd",
        folder / "structures.json",
        f"{target}/a.zarr",
        chunks=16,
        threads=2,
        progress=progress,
    )


def masks(folder, target, progress):
    refspace.write_masks(
        folder / "atlas.zarr", f"{target}/m.zarr", ["TH", "CP"], threads=2, progress=progress
    )


STORES = {
    "to_zarr": (to_zarr, BlockWriter, "put"),
    "downsample": (downsample, BlockWriter, "put"),
    "convert": (convert, BlockWriter, "put"),
    "masks": (masks, ShardWriter, "put"),
}


@pytest.fixture
def bucket():
    """Prefix in memory."""
    url = "memory://jobs-that-fail"
    yield url
    Location(url).remove_keys(Location(url).keys())


@pytest.mark.promise("a job fails")
@pytest.mark.parametrize("where", ["disk", "memory"])
@pytest.mark.parametrize("job", STORES)
def test_of_stores_nothing_is_left(folder, tmp_path, bucket, monkeypatch, job, where):
    run, place, name = STORES[job]
    parts = Parts()
    monkeypatch.setattr(place, name, parts.slow(getattr(place, name)))
    target = tmp_path if where == "disk" else bucket
    with pytest.raises(ZeroDivisionError) as caught:
        run(folder, target, parts.fail)
    assert parts.in_flight == 0
    parts.job_ended.set()
    assert not hasattr(caught.value, "__notes__")
    assert list(tmp_path.iterdir()) == []
    assert Location(bucket).keys() == set()


def test_of_files_of_masks_none_is_in_the_making(folder, tmp_path, monkeypatch):
    parts, target = Parts(), tmp_path / "masks"
    monkeypatch.setattr(mask_files, "_write_file", parts.slow(mask_files._write_file))
    # Not while the store is written from which the files are made.
    written = itertools.count()

    def record(*_):
        if next(written):
            parts.fail()

    monkeypatch.setattr(output_files, "write_whole", record)
    with pytest.raises(ZeroDivisionError):
        refspace.write_masks(
            folder / "atlas.zarr", target, ["TH", "CP", "HY", "VISp"], format="nrrd", threads=2
        )
    assert parts.in_flight == 0
    parts.job_ended.set()
    assert not list(target.glob(".refspace/runs"))
    assert not list(target.glob(".structure*"))


def test_of_tables_no_image_is_at_work(folder, tmp_path, monkeypatch):
    class TwoThreads(statistics.ThreadPool):
        def __init__(self, threads=None):
            super().__init__(2)

    parts = Parts()
    monkeypatch.setattr(statistics, "ThreadPool", TwoThreads)
    monkeypatch.setattr(statistics, "compute_rows", parts.slow(statistics.compute_rows))

    def full(*_):
        parts.fail()
        parts.fail()

    monkeypatch.setattr(ImageTable, "add", full)
    # What all images would meet ends the job.
    monkeypatch.setattr(statistics, "raise_if_hopeless", lambda error: (_ for _ in ()).throw(error))
    with pytest.raises(ZeroDivisionError):
        refspace.aggregate_images(
            folder / "atlas.zarr",
            [folder / f"{name}.nrrd" for name in "abc"],
            tmp_path / "t.parquet",
            ["TH"],
            threads=2,
        )
    assert parts.in_flight == 0
    parts.job_ended.set()


# ----- two jobs at once, where there are no lock files


@pytest.mark.parametrize("job", ["table", "files"])
@pytest.mark.parametrize("second", ["comes", "takes over"])
def test_a_second_job_at_a_url(folder, bucket, job, second):
    """It is refused; and where somebody takes the first for dead, the first does not succeed."""
    target = f"{bucket}/{'t.parquet' if job == 'table' else 'masks'}"
    key = ".writer.json" if job == "table" else ".refspace/holder.json"
    atlas, refused = folder / "atlas.zarr", []

    def run(**how):
        if job == "table":
            images = [folder / f"{name}.nrrd" for name in "abc"]
            return refspace.aggregate_images(atlas, images, target, ["TH"], threads=1, **how)
        return refspace.write_masks(atlas, target, ["TH", "CP"], threads=1, **how)

    def meet(done, total):
        # Not while the store is written from which files are made: that has a lock of its own.
        if done == 1 and total in (2, 3) and not refused:
            if second == "takes over":
                Location(target).remove(key)
                run()
                refused.append(None)
            else:
                with pytest.raises(LockedError, match="is being written by process") as caught:
                    run()
                refused.append(caught.value)

    if second == "comes":
        run(progress=meet)
    else:
        message = r"while this process was writing|sees no store in"
        with pytest.raises((StoreError, JobError), match=message):
            run(progress=meet)
    assert len(refused) == 1
    assert run().written == 0
    assert not [name for name in Location(target).keys() if name == key]  # noqa: SIM118
