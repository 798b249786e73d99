"""Opening a store to verify it, and reading those of other programs."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from refspace.errors import GridError, RefspaceError
from refspace.store.location import Location
from refspace.store.metadata import ROOT
from refspace.store.read import OURS, StoredAtlas, open_atlas
from refspace.store.staging.job import MARKERS
from refspace.store.stored_array import Box, StoredArray, boxes
from refspace.store.verify.proof import Proof
from refspace.store.verify.report import Fault, Report, said
from refspace.store.write import Progress


def verify_store(
    url: str | os.PathLike[str],
    *,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read every file of a store, and list all that is not as it was written.

    Metadata, coordinates and structures are held against the root, voxels against their digests,
    the label index against the voxels, and each coarser level against the one that it was made
    of. Of a store that refspace has not written, it is proven that every chunk can be read.

    Parameters
    ----------
    url
        Path or URL of the store.
    resolution, orientation
        As for `refspace.open`, for a store of another program that does not state them.
    storage_options
        What fsspec needs to reach it.
    workers
        Number of threads, each of which holds the eight blocks that make up one of the next level,
        and takes as much again to work on them; as many as there are cores if not given.
    progress
        Called with the numbers of blocks done and to be done.

    Returns
    -------
    Report
        Its ``faults`` are empty if all is well.

    Raises
    ------
    StoreError
        If there is no store, or it cannot be reached.
    GridError
        If resolution or orientation must be given.

    Examples
    --------
    >>> import refspace, tempfile
    >>> from pathlib import Path
    >>> store = Path(tempfile.mkdtemp(), "phantom.zarr")
    >>> refspace.phantom(resolution=200).to_zarr(store)
    >>> verify_store(store).faults
    ()
    >>> (store / "s0/annotation/c/0/0/0").unlink()
    >>> print(verify_store(store).faults[0])
    s0/annotation/c/0/0/0: is missing
    """
    location = Location(os.fspath(url), storage_options or {})
    try:
        atlas = open_atlas(
            location.url,
            storage_options=location.storage_options,
            resolution=resolution,
            orientation=orientation,
        )
    except RefspaceError as error:
        ours = location.read(OURS) is not None
        there = [ROOT] if ours else [key for key in MARKERS if location.read(key) is not None]
        # What a store of another program leaves open, like its orientation, is no damage.
        if not there or (isinstance(error, GridError) and not ours):
            raise
        return Report(location.url, 0, (Fault(there[0], said(error, location)),), proven=False)
    with _threads(workers) as pool:
        if atlas.facts is None:
            return _read_all(atlas, pool, progress or _silent)
        return Proof(atlas, atlas.facts, pool, progress or _silent).report()


def _silent(_done: int, _total: int) -> None:
    pass


@contextmanager
def _threads(workers: int | None) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _read_all(atlas: StoredAtlas, pool: ThreadPoolExecutor, progress: Progress) -> Report:
    """Read every chunk of a store that has no digests."""
    blocks = [
        (level.array, number, box)
        for level in atlas.levels
        for number, box in boxes(level.array.blocks).items()
    ]
    faults = []
    for done, found in enumerate(pool.map(_read, blocks), 1):
        faults += found
        progress(done, len(blocks))
    return Report(atlas.location.url, len(blocks), tuple(faults), proven=False)


def _read(block: tuple[StoredArray, tuple[int, ...], Box]) -> list[Fault]:
    array, number, box = block
    try:
        array[box]
    except RefspaceError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        key = array.key(number)
        return [Fault(key, f"cannot be read: {said(cause, array.location, key)}")]
    return []
