"""Jobs of threads that are killed at random steps: the same bytes in the end, and nothing else."""

import itertools
import json
import os
import random
import signal
import sys
import threading
from pathlib import Path

import pytest
from helpers.clusters import Job
from helpers.files import contents, names
from helpers.profiles import share

import refspace
from refspace.store import Location
from refspace.store.staging import recorder

KILLS = share(20)
# What changes a disk.
STEPS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")
TARGETS = {
    "convert": "c.zarr",
    "downsample": "d.zarr",
    "masks": "m.zarr",
    "mask files": "masks",
    "index": "brain.label_index",
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    space = refspace.phantom(resolution=200)
    space.to_zarr(folder / "atlas.zarr", chunks=32)
    refspace.write_nrrd(folder / "a.nrrd", space.annotation)
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    space.to_ome_zarr(folder / "plain.ome.zarr", chunks=32)
    return folder


def work(kind, sources, target, options):
    """Do a job, and go on with what was done of it before."""
    how = {"threads": 2, "storage_options": options}
    store = f"{sources}/atlas.zarr"
    if kind == "convert":
        structures = f"{sources}/structures.json"
        refspace.convert(f"{sources}/a.nrrd", structures, target, chunks=32, **how)
    elif kind == "downsample":
        refspace.open(store).downsample(400, "mode").to_zarr(target, chunks=16, resume=True, **how)
    elif kind == "index":
        refspace.write_index(f"{sources}/plain.ome.zarr", target, **how)
    else:
        refspace.write_masks(store, target, ["TH", "CP", "VISp", "HY", "CB"], **how)


class Steps:
    """Counts steps of this process, and kills it before one of them."""

    def __init__(self, last):
        self.count, self._last, self._lock = 0, last, threading.Lock()

    def step(self):
        with self._lock:
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1

    def watch_disk(self, folder):
        """Take what changes a folder for steps."""

        def watch(event, args):
            if event not in STEPS or not str(args[0]).startswith(folder):
                return
            if event != "open" or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.step()

        sys.addaudithook(watch)

    def watch_requests(self):
        """Take requests to an object store for steps."""
        import s3fs

        call = s3fs.S3FileSystem._call_s3

        async def counted(fs, *args, **kwargs):
            self.step()
            return await call(fs, *args, **kwargs)

        s3fs.S3FileSystem._call_s3 = counted


def main(kind, sources, target, options, last, told):
    """Do a job in a process of its own, until its last step; tell how many there were."""
    recorder.RECORD_SECONDS = 0.0
    os.fsync = lambda descriptor: None  # nobody cuts the power
    steps = Steps(int(last))
    if "://" in target:
        steps.watch_requests()
    else:
        steps.watch_disk(os.path.dirname(target))  # noqa: PTH120
    work(kind, sources, target, json.loads(options))
    Path(told).write_text(str(steps.count))


class Disk:
    """A folder for targets."""

    options = None

    def __init__(self, folder):
        self.folder = folder

    def place(self, number):
        (self.folder / str(number)).mkdir()
        return self.folder / str(number)

    def found(self, place):
        return contents(place)

    def begun(self, place):
        return bool(names(place))


class Bucket:
    """A prefix of a bucket for targets."""

    def __init__(self, url, options):
        self.url, self.options = url, options

    def place(self, number):
        return f"{self.url}/{number}"

    def found(self, place):
        location = Location(place, self.options)
        return location.read_all(sorted(location.keys()))

    def begun(self, place):
        return bool(Location(place, self.options).keys())


def kill_again_and_again(kind, sources, places, told):
    """What jobs leave that were killed, target by target, and what one left that was not."""

    def run(place, last):
        target, options = f"{place}/{TARGETS[kind]}", json.dumps(places.options)
        status = Job(main, kind, sources, target, options, last, told).wait(300)
        assert status in (0, -signal.SIGKILL)
        return status == 0

    whole = places.place("whole")
    assert run(whole, -1)
    undisturbed, steps = places.found(whole), int(told.read_text())
    draw, kills, begun = random.Random(kind), 0, 0
    for number in itertools.count():
        place = places.place(number)
        while not run(place, draw.randrange(steps) if kills < KILLS else -1):
            kills += 1
            begun += places.begun(place)
        assert places.found(place) == undisturbed
        if kills == KILLS:
            break
    # Nearly all were killed when there was something to lose.
    assert begun > KILLS / 2


@pytest.mark.promise("a writer is killed at any step")
@pytest.mark.slow
@pytest.mark.parametrize("kind", TARGETS)
def test_on_a_disk(sources, tmp_path, kind):
    (tmp_path / "disk").mkdir()
    kill_again_and_again(kind, sources, Disk(tmp_path / "disk"), tmp_path / "steps")


@pytest.mark.promise("a writer is killed at any step")
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [kind for kind in TARGETS if kind != "index"]
)  # that is one object
def test_on_s3(sources, tmp_path, s3, kind):
    places = Bucket(f"s3://atlases/kills/{kind.replace(' ', '-')}", s3.writer)
    kill_again_and_again(kind, sources, places, tmp_path / "steps")
