"""Jobs on the workers of a dask cluster, some of whose processes are killed."""

import functools
import hashlib
import io
import itertools
import pickle
import random
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from helpers.clusters import (
    cluster_of,
    ended,
    killing_workers,
    start,
    started_cluster,
    worker_pids,
)
from helpers.servers import seaweed

import refspace
from refspace import conversion
from refspace.errors import ClusterError
from refspace.pools import ThreadPool, connected
from refspace.store import level_grids, open_atlas, verify_store, write

KILLS = 20
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


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("weed")) as server:
        yield server


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


@pytest.mark.parametrize("kind", ["zarr", "stream"])
def test_what_tasks_do(sources, tmp_path, monkeypatch, digest, kind):
    """As on a cluster, but in this process."""

    class Elsewhere(ThreadPool):
        is_local = False

    monkeypatch.setattr(conversion, "pool_of", lambda *_: Elsewhere(2))
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


# ----- what is sent


def test_tasks_are_small_and_named_alike(sources, tmp_path, cluster):
    sent = []

    class Watched:
        """Client that tells what it sends."""

        def __getattr__(self, name):
            return getattr(cluster, name)

        def submit(self, work, item, *, key):
            sent.append((key, len(pickle.dumps((work, item)))))
            return cluster.submit(work, item, key=key)

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        convert(sources, "zarr", tmp_path / name / "atlas.zarr", client=Watched())
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


def test_workers_that_are_killed(sources, tmp_path, digest):
    with cluster_of(2) as client, killing_workers(lambda: worker_pids(client), every=2) as killed:
        for number in itertools.count():
            target = tmp_path / f"{number}.zarr"
            convert(sources, "zarr", target, client=client)
            assert digest_of(target) == digest
            if len(killed) >= 3:
                break
    assert verify_store(target).faults == ()


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
    for path in (partial / ".refspace").glob("*.record"):
        record = np.load(io.BytesIO(path.read_bytes()[hashlib.sha256().digest_size :]))
        array = str(record["path"])
        counts = [-(-count // CHUNKS) for count in grids[int(array[1])].shape]
        numbers = zip(*np.unravel_index(record["flat"], counts), strict=True)
        keys += [f"{array}/c/{'/'.join(map(str, number))}" for number in numbers]
    return files(partial, keys)


def files(folder, keys):
    found = {key: (folder / key).stat() for key in keys}
    return {key: (status.st_ino, status.st_mtime_ns) for key, status in found.items()}


def test_clients_that_are_killed(sources, tmp_path, digest):
    draw, kills, kept = random.Random(0), 0, 0
    with started_cluster(tmp_path) as (scheduler, _):
        for number in itertools.count():
            target = tmp_path / f"{number}.zarr"
            partial, before = tmp_path / f".{number}.zarr.partial", {}
            while not target.exists():
                process = start(__file__, scheduler.address, sources, target)
                if kills < KILLS and not ended(process, draw.uniform(1, 6)):
                    process.kill()
                    kills += 1
                assert process.wait(300) in (0, -signal.SIGKILL)
                place = target if target.exists() else partial
                # What the journal had is as it was.
                assert files(place, before) == before
                before = recorded(partial) if partial.exists() else before
                kept += bool(before)
            assert digest_of(target) == digest
            if kills == KILLS:
                break
    assert kept > KILLS // 4


def main(address, sources, target):
    """Convert on a cluster, with a journal that misses little."""
    write.StoreWriter = functools.partial(write.StoreWriter, record_seconds=0.05)
    with connected(address) as client:
        convert(Path(sources), "zarr", target, client=client)


if __name__ == "__main__":
    main(*sys.argv[1:])
