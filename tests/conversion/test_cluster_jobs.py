"""Jobs on the workers of a dask cluster, some of whose processes are killed."""

import functools
import hashlib
import io
import itertools
import pickle
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client, SchedulerPlugin
from helpers.clusters import (
    Job,
    Killer,
    ended_before,
    local_workers,
    started_cluster,
    worker_pids,
)
from helpers.files import journal
from helpers.profiles import share

import refspace
from refspace import conversion
from refspace.errors import ClusterError, SourceError
from refspace.pools import ThreadPool, connected
from refspace.store import level_grids, open_atlas, verify_store, write
from refspace.store.block_writer import BlockWriter

KILLS = share(20)
# Many small blocks: each kill meets some.
CHUNKS = 24


@pytest.fixture(scope="module")
def space():
    return refspace.phantom(resolution=80)


@pytest.fixture(scope="module")
def sources(space, tmp_path_factory):
    """The same voxels as a store of other chunks, as NRRD, and as a group of xarray."""
    folder = tmp_path_factory.mktemp("sources")
    space.to_zarr(folder / "store.zarr", chunks=40)
    refspace.write_nrrd(folder / "annotation.nrrd", space.annotation)
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    return folder


@pytest.fixture(scope="module")
def digest(space, tmp_path_factory):
    """Digest of the store that threads write."""
    url = tmp_path_factory.mktemp("threads") / "atlas.zarr"
    space.to_zarr(url, chunks=CHUNKS)
    return digest_of(url)


def digest_of(url, **options):
    return open_atlas(str(url), **options).metadata["digest"]


def convert(sources, kind, target, **how):
    path = sources / {"zarr": "store.zarr", "stream": "annotation.nrrd"}[kind]
    return refspace.convert(path, sources / "structures.json", target, chunks=CHUNKS, **how)


# ----- the same, wherever it is done


@pytest.mark.parametrize("kind", ["zarr", "stream"])
def test_conversion(sources, tmp_path, cluster, digest, kind):
    done = []
    target = tmp_path / "atlas.zarr"
    convert(
        sources, kind, target, client=cluster, progress=lambda n, total: done.append((n, total))
    )
    assert digest_of(target) == digest
    assert done == sorted(done)
    assert done[-1][0] == done[-1][1] > 200
    assert verify_store(target).faults == ()
    assert [path.name for path in tmp_path.iterdir()] == ["atlas.zarr"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zarr", "stream"])
def test_what_tasks_do(sources, tmp_path, monkeypatch, digest, kind):
    """As on a cluster, but in this process."""

    class Elsewhere(ThreadPool):
        is_local = False

    monkeypatch.setattr(conversion, "make_pool", lambda *_: Elsewhere(2))
    convert(sources, kind, tmp_path / "atlas.zarr")
    assert digest_of(tmp_path / "atlas.zarr") == digest


def test_a_space(space, tmp_path, cluster, digest):
    space.to_zarr(tmp_path / "atlas.zarr", chunks=CHUNKS, client=cluster)
    assert digest_of(tmp_path / "atlas.zarr") == digest
    coarse = refspace.open(tmp_path / "atlas.zarr").downsample(200, "mode")
    coarse.to_zarr(tmp_path / "coarse.zarr", client=cluster)
    stored = refspace.open(tmp_path / "coarse.zarr").annotation
    np.testing.assert_array_equal(stored, space.downsample(200, "mode").annotation)


def test_template_and_other_ids(sources, space, tmp_path, cluster):
    template = (space.annotation % 251).astype("u2")
    ids = {0: 0, **{i: i + 1 for i in space.label_index.counts() if i}}
    tree = refspace.StructureTree(
        [
            {**node, "id": node["id"] + 1, "structure_id_path": None, "parent_structure_id": parent}
            for node, parent in zip(
                space.structure_tree.nodes(), parents_of(space.structure_tree), strict=True
            )
        ]
    )
    digests = set()
    for name, how in {"threads": {}, "cluster": {"client": cluster}}.items():
        target = tmp_path / f"{name}.zarr"
        # Of dask: what is lazy is computed by the workers.
        volume = xr.open_zarr(sources / "store.zarr", group="s0")["annotation"]
        refspace.convert(
            space.annotation.copy(data=volume.data),
            tree,
            target,
            template=template,
            ids=ids,
            chunks=CHUNKS,
            **how,
        )
        digests.add(digest_of(target))
    assert len(digests) == 1


def parents_of(tree):
    paths = [node["structure_id_path"] for node in tree.nodes()]
    return [path[-2] + 1 if len(path) > 1 else None for path in paths]


@pytest.mark.parametrize("damage", [None, "chunk"])
def test_verification(sources, tmp_path, cluster, damage):
    target = tmp_path / "atlas.zarr"
    convert(sources, "zarr", target)
    if damage:
        for key in ("s0/annotation/c/1/1/1", "s1/annotation/c/0/1/0"):
            path = target / key
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    there, here = (verify_store(target, **how) for how in ({"client": cluster}, {}))
    assert there == here
    assert bool(there.faults) == bool(damage)


def test_stores_on_s3(sources, cluster, s3, digest):
    url = "s3://atlases/cluster.zarr"
    convert(sources, "zarr", url, client=cluster, storage_options=s3.writer)
    assert digest_of(url, storage_options=s3.reader) == digest
    assert verify_store(url, client=cluster, storage_options=s3.reader).faults == ()


@pytest.mark.parametrize("where", ["threads", pytest.param("cluster", marks=pytest.mark.cluster)])
def test_nothing_is_left_of_a_job_that_fails(space, tmp_path, monkeypatch, request, where):
    """While it is removed, nothing writes to it."""
    how = {"client": request.getfixturevalue("cluster")} if where == "cluster" else {"threads": 2}
    put = BlockWriter.put

    def slow(self, *block):
        time.sleep(0.1)
        return put(self, *block)

    monkeypatch.setattr(BlockWriter, "put", slow)

    def fail(done, total):
        if done > 3:
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller") as caught:
        space.to_zarr(tmp_path / "atlas.zarr", chunks=CHUNKS, progress=fail, **how)
    assert not hasattr(caught.value, "__notes__")
    time.sleep(0.5)
    assert list(tmp_path.iterdir()) == []


# ----- the active client


class Done(SchedulerPlugin):
    """Collects the names of the tasks that workers have done."""

    def __init__(self):
        self.names = set()

    def transition(self, key, start, finish, *args, **kwargs):
        if (start, finish) == ("processing", "memory"):
            self.names.add(str(key).rpartition("-")[0])


@pytest.fixture
def done(cluster):
    """Names of the tasks that the workers of the cluster do from now on."""
    plugin = Done()
    cluster.cluster.scheduler.add_plugin(plugin, name="done")
    yield plugin.names
    cluster.cluster.scheduler.remove_plugin("done")


JOBS = {
    "to_zarr": "store-s0-annotation",
    "convert": "store-s0-annotation",
    "write_masks": "mask",
    "aggregate_images": "aggregate",
    "verify": "verify-s0-annotation",
}


def run(job, space, sources, tmp_path, **how):
    """Run a job by its name; what it has done is the same wherever that is."""
    if job == "to_zarr":
        space.to_zarr(tmp_path / "a.zarr", chunks=64, **how)
        return digest_of(tmp_path / "a.zarr")
    if job == "convert":
        structures = sources / "structures.json"
        refspace.convert(sources / "store.zarr", structures, tmp_path / "a.zarr", chunks=64, **how)
        return digest_of(tmp_path / "a.zarr")
    if job == "write_masks":
        refspace.write_masks(sources / "store.zarr", tmp_path / "m.zarr", ["TH"], **how)
        return int(refspace.open_masks(tmp_path / "m.zarr").sum().compute(scheduler="threads"))
    if job == "aggregate_images":
        images, table = [sources / "annotation.nrrd"], tmp_path / "t.csv"
        refspace.aggregate_images(sources / "store.zarr", images, table, ["TH"], **how)
        return table.read_text()
    return verify_store(sources / "store.zarr", **how)


@pytest.mark.parametrize("job", JOBS)
def test_jobs_use_the_active_client(space, sources, tmp_path, cluster, done, job):
    results = []
    with Client(cluster.scheduler.address):
        for name, how in {"active": {}, "threads": {"threads": 2}}.items():
            done.clear()
            (tmp_path / name).mkdir()
            results.append(run(job, space, sources, tmp_path / name, **how))
            if name == "active":
                assert JOBS[job] in done
            else:
                assert not done
    done.clear()
    (tmp_path / "none").mkdir()
    results.append(run(job, space, sources, tmp_path / "none"))
    assert not done
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("job", JOBS)
def test_threads_and_a_client_are_an_error(space, sources, tmp_path, cluster, job):
    with pytest.raises(SourceError, match="a job uses one of them; give threads for threads of"):
        run(job, space, sources, tmp_path, threads=1, client=cluster)
    assert list(tmp_path.iterdir()) == []


# ----- what is sent


def test_tasks_are_small_and_named_alike(sources, tmp_path, cluster, monkeypatch):
    sent = []
    submit = cluster.submit

    def watched(work, item, *, key):
        sent.append((key, len(pickle.dumps((work, item)))))
        return submit(work, item, key=key)

    monkeypatch.setattr(cluster, "submit", watched)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        convert(sources, "zarr", tmp_path / name / "atlas.zarr", client=cluster)
    blocks = verify_store(tmp_path / "a" / "atlas.zarr").blocks
    # As many as there are blocks, at most: no matter how many structures there are.
    assert len(sent) <= 2 * blocks
    assert max(size for _, size in sent) < 20_000
    assert {key.rpartition("-")[0] for key, _ in sent} == {
        f"store-s{level}-annotation" for level in range(4)
    }
    # Of another target, another task.
    assert len({key for key, _ in sent}) == len(sent)


# ----- what dies


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_that_are_killed(sources, tmp_path, digest):
    with local_workers(2) as client:
        killer = Killer(lambda: worker_pids(client), parts=50)
        for number in itertools.count():
            target = tmp_path / f"{number}.zarr"
            convert(sources, "zarr", target, client=client, progress=killer.progress)
            assert digest_of(target) == digest
            if len(killer.killed) >= 3:
                break
    assert verify_store(target).faults == ()


@pytest.mark.slow
@pytest.mark.cluster
def test_a_scheduler_that_is_killed(sources, tmp_path, digest):
    target, partial = tmp_path / "atlas.zarr", tmp_path / ".atlas.zarr.partial"
    with started_cluster(tmp_path) as (scheduler, _), connected(scheduler.address) as client:

        def kill(done, total):
            if done > total // 2:
                scheduler.kill()

        with pytest.raises(ClusterError, match="the scheduler of the cluster is gone") as caught:
            convert(sources, "zarr", target, client=client, progress=kill)
    assert caught.value.__notes__[-1].startswith(f"what is done lies in {partial}; continue it")
    before = recorded(partial)
    assert len(before) > 100
    with started_cluster(tmp_path) as (scheduler, _), connected(scheduler.address) as client:
        convert(sources, "zarr", target, client=client)
    assert digest_of(target) == digest
    assert files(target, before) == before


def recorded(partial):
    """Files of the blocks that an unfinished store has recorded, and when each was written."""
    grids = level_grids(refspace.phantom(resolution=80).grid, (CHUNKS,) * 3)
    keys = []
    for path in journal(partial):
        record = np.load(io.BytesIO(path.read_bytes()[hashlib.sha256().digest_size :]))
        array = str(record["path"])
        counts = [-(-count // CHUNKS) for count in grids[int(array[1])].shape]
        numbers = zip(*np.unravel_index(record["flat"], counts), strict=True)
        keys += [f"{array}/c/{'/'.join(map(str, number))}" for number in numbers]
    return files(partial, keys)


def files(folder, keys):
    found = {key: (folder / key).stat() for key in keys}
    return {key: (status.st_ino, status.st_mtime_ns) for key, status in found.items()}


@pytest.mark.slow
@pytest.mark.cluster
def test_clients_that_are_killed(sources, tmp_path, digest):
    draw, kills = random.Random(0), 0
    with started_cluster(tmp_path) as (scheduler, _):
        for number in itertools.count():
            target = tmp_path / f"{number}.zarr"
            partial, before = tmp_path / f".{number}.zarr.partial", {}
            while not target.exists():
                process = Job(main, scheduler.address, sources, target)
                enough = len(before) + draw.randint(0, 60)
                if kills < KILLS and not ended_before(process, reached(partial, enough)):
                    time.sleep(draw.uniform(0, 0.05))  # at any moment of its work
                    process.kill()
                status = process.wait(300)
                assert status in (0, -signal.SIGKILL)
                kills += status == -signal.SIGKILL
                # What the journal had is as it was: tasks of a client that was killed still end,
                # but write nothing once the next client has begun.
                assert files(target if target.exists() else partial, before) == before
                # Without a job, all is done, and the journal goes.
                if (partial / ".refspace/job.json").exists():
                    before = recorded(partial)
                    assert len(before) >= enough
            assert digest_of(target) == digest
            if kills == KILLS:
                break


def reached(partial, count):
    """Tells whether an unfinished store has recorded so many blocks."""
    return lambda: len(recorded(partial)) >= count


def main(address, sources, target):
    """Convert on a cluster, with a journal that misses little."""
    write.StoreWriter = functools.partial(write.StoreWriter, record_seconds=0.05)
    with connected(address) as client:
        convert(Path(sources), "zarr", target, client=client)
