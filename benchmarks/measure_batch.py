"""One measurement of a batch job, in a process of its own.

    python measure_batch.py make DATA WORK RESOLUTION FACTOR
    python measure_batch.py masks WORK FACTOR STRUCTURES WORKERS
    python measure_batch.py allensdk DATA STRUCTURES

``bench_batch.py`` starts it and reads the line of JSON that it prints. AllenSDK's own Python, which
has no refspace, runs the last of these.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import loaded_space, peak_megabytes

if TYPE_CHECKING:
    from refspace import ReferenceSpace

# How many times as many voxels, and along which axes.
STEPS = {1: (1, 1, 1), 8: (2, 2, 2), 16: (4, 2, 2)}


def make(data: str, work: str, resolution: str, factor: str) -> dict[str, float]:
    """Store of the annotation, or of the phantom, with each voxel repeated; if it is not there."""
    import refspace

    url = store(work, int(factor))
    if url.exists():
        return {}
    if int(factor) > 1:
        space = refspace.open(store(work, 1))
        steps = zip(space.resolution, STEPS[int(factor)], strict=True)
        fine = [length / step for length, step in steps]
        space.downsample(fine, upsample=True).to_zarr(url)
    elif data:
        refspace.convert(Path(data, "annotation_25.nrrd"), Path(data, "structures_1.json"), url)
    else:
        refspace.phantom(resolution=float(resolution)).to_zarr(url, chunks=64)
    return {}


def store(work: str, factor: int) -> Path:
    """Where the store of a volume is."""
    return Path(work, f"atlas_{factor}.zarr")


def masks(work: str, factor: str, structures: str, workers: str) -> dict[str, float]:
    """Time the masks of many structures in one pass; by threads if there are no workers."""
    import refspace

    space = refspace.open(store(work, int(factor)))
    ids = spread(occurring(space), int(structures))
    target, totals = Path(work, "masks.zarr"), [0]
    with local_client(int(workers)) as client:
        before = each_process(client, read_megabytes)
        start = time.perf_counter()
        refspace.write_masks(
            store(work, int(factor)),
            target,
            ids,
            overwrite=True,
            client=client,
            progress=lambda done, total: totals.append(total),
        )
        seconds = time.perf_counter() - start
        figures = {
            "seconds": seconds,
            "structures": len(ids),
            "worker": max(each_process(client, peak_megabytes)),
            "tasks": totals[-1],
            "read": sum(each_process(client, read_megabytes)) - sum(before),
            "written": sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
            / 1e6,
        }
    shutil.rmtree(target)
    return figures


def occurring(space: "ReferenceSpace") -> list[int]:
    """Structures that have voxels, of their own or of their descendants."""
    return [structure for structure, voxels in space.total_voxel_map.items() if voxels]


def spread(ids: Sequence[int], count: int) -> list[int]:
    """Some of the structures, from all over the tree; all if 0."""
    if not 0 < count < len(ids):
        return list(ids)
    return [ids[position * len(ids) // count] for position in range(count)]


@contextmanager
def local_client(workers: int) -> Iterator[Any]:
    """Client of so many worker processes, which have imported what they need; None for threads."""
    from refspace.pools import local_cluster

    if not workers:
        yield None
        return
    with local_cluster(workers) as client:
        client.wait_for_workers(workers)
        client.run(imported)
        yield client


def imported() -> None:
    """Import what a worker needs: that is not timed."""
    import refspace.batch  # noqa: F401


def each_process(client: Any, figure: Any) -> list[float]:
    """A figure of each process that does the work."""
    return [figure()] if client is None else list(client.run(figure).values())


def read_megabytes() -> float:
    """What this process has read so far, from a disk or from the system's cache of it."""
    status = Path("/proc/self/io")
    if not status.exists():
        return float("nan")
    return int(status.read_text().split()[1]) / 1e6


def allensdk(data: str, structures: str) -> dict[str, float]:
    """Time each of some of AllenSDK's masks; voxels are in memory, nothing is written."""
    space = loaded_space("allensdk", Path(data))
    ids = spread(
        [structure for structure, n in space.total_voxel_map.items() if n], int(structures)
    )
    start = time.perf_counter()
    for _ in space.many_structure_masks(ids):
        pass
    return {"seconds": (time.perf_counter() - start) / len(ids), "structures": len(ids)}


COMMANDS: dict[str, Callable[..., dict[str, float]]] = {
    "make": make,
    "masks": masks,
    "allensdk": allensdk,
}


def main(command: str, *arguments: str) -> None:
    """Measure, and print the result."""
    result = COMMANDS[command](*arguments)
    print(json.dumps({**result, "megabytes": peak_megabytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
