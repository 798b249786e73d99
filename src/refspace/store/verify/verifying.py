"""Verifies a store: one of refspace by its digests, one of other programs by reading it."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dask.tokenize import tokenize

from refspace.errors import FormatError, GridError, RefspaceError
from refspace.pools import Pool, make_pool
from refspace.store.boxes import BlockId
from refspace.store.location import Location
from refspace.store.masks import is_mask_store, open_stored_masks
from refspace.store.read import INDEX_JSON, open_atlas
from refspace.store.report import Fault, Report, one_line
from refspace.store.stored_array import StoredArray
from refspace.store.stored_atlas import StoredAtlas
from refspace.store.verify.proof import AtlasProof
from refspace.store.write import Progress
from refspace.store.zarr_files import METADATA_FILES, NODE_FILES, ZARR_JSON

if TYPE_CHECKING:
    from refspace.pools.choosing import Client


def verify_store(
    url: str | os.PathLike[str],
    *,
    resolution: float | Sequence[float] | None = None,
    orientation: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> Report:
    """Read every file of a store, and list all that is not as it was written.

    Metadata, coordinates and structures are compared with the root, the voxels of every level with
    their digests, and the label index with the voxels. Of masks, every file is compared with its
    digest. Of a store that refspace has not written, every chunk is read.

    Parameters
    ----------
    url
        Path or URL of the store.
    resolution, orientation
        As for `refspace.open`, for a store of another program that does not state them.
    storage_options
        What fsspec needs to reach it.
    threads
        Number of threads of this process that do the work, each of which holds one block, even
        where a client is active.
    client
        Client of a dask cluster whose workers do the work. If neither is given, the active client
        (`distributed.get_client`), or else as many threads as there are cores.
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
    pool = make_pool(threads, client)
    location = Location(os.fspath(url), storage_options or {})
    links = [Fault(key, "is a symbolic link, which is not followed") for key in location.links()]
    if any(link.key in (*METADATA_FILES, INDEX_JSON) for link in links):
        return Report(location.url, 0, tuple(links), proven=False)
    report = _report(location, resolution, orientation, pool, progress or _silent)
    keys = {link.key for link in links}
    others = [fault for fault in report.faults if fault.key not in keys]
    return replace(report, faults=(*links, *others))


def _report(
    location: Location,
    resolution: float | Sequence[float] | None,
    orientation: str | None,
    pool: Pool,
    progress: Progress,
) -> Report:
    """All faults of a store but its links."""
    if is_mask_store(location):
        return _masks_report(location, progress)
    try:
        atlas = open_atlas(
            location.url,
            storage_options=location.storage_options,
            resolution=resolution,
            orientation=orientation,
        )
        atlas.check_arrays()
    except RefspaceError as error:
        ours = location.read(INDEX_JSON) is not None
        there = (
            [ZARR_JSON] if ours else [key for key in NODE_FILES if location.read(key) is not None]
        )
        # What a store of another program leaves open, like its orientation, is no damage.
        if not there or (isinstance(error, GridError) and not ours):
            raise
        return Report(location.url, 0, (Fault(there[0], one_line(error, location)),), proven=False)
    if atlas.metadata is None:
        return _read_all(atlas, pool, progress)
    return AtlasProof(atlas, atlas.metadata, pool, progress).report()


def _masks_report(location: Location, progress: Progress) -> Report:
    try:
        return open_stored_masks(location.url, location.storage_options).report(progress)
    except FormatError as error:
        return Report(location.url, 0, (Fault(ZARR_JSON, one_line(error, location)),), proven=False)


def _silent(_done: int, _total: int) -> None:
    pass


def _read_all(atlas: StoredAtlas, pool: Pool, progress: Progress) -> Report:
    """Read every chunk of a store that has no digests."""
    blocks = [(level.array, block_id) for level in atlas.levels for block_id in level.array.boxes]
    run = secrets.token_hex(8)  # files may change between two runs
    faults: dict[str, list[Fault]] = {}

    def key(block: tuple[StoredArray, BlockId]) -> str:
        return block[0].key(block[1])

    done = pool.results(
        _read, blocks, name="verify", token=lambda block: f"{tokenize(run, key(block))}"
    )
    for count, (block, own) in enumerate(done, 1):
        faults[key(block)] = own
        progress(count, len(blocks))
    listed = tuple(fault for block in blocks for fault in faults[key(block)])
    return Report(atlas.location.url, len(blocks), listed, proven=False)


def _read(block: tuple[StoredArray, BlockId]) -> list[Fault]:
    array, block_id = block
    try:
        array.block(block_id)
    except RefspaceError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        key = array.key(block_id)
        return [Fault(key, f"cannot be read: {one_line(cause, array.location, key)}")]
    return []
