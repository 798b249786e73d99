"""Statistics of many images over regions, appended to a table as each image is done."""

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr
from dask.tokenize import tokenize

from refspace.batch.atlas_reference import AtlasReference
from refspace.batch.causes import cause_of, raise_if_hopeless
from refspace.batch.images import ImageOptions, identity_of, opened_image
from refspace.batch.row_sets import RowSets, open_row_sets
from refspace.errors import AnnotationError, JobError, SourceError
from refspace.grid import Grid, Hemisphere
from refspace.ops.aggregate import STATISTICS as KNOWN
from refspace.pools import Outcome, Pool, ThreadPool, make_pool
from refspace.reference_space.tables import statistics_table
from refspace.store import Progress, reachable
from refspace.structure_tree.parcellation import Level

if TYPE_CHECKING:
    from refspace.pools.choosing import Client

# Images of other machines that are asked for what they are at the same time.
_ASKED_TOGETHER = 16
STATISTICS = ("count", "mean", "std", "min", "max")


@dataclass(frozen=True)
class Image:
    """An image of a job.

    Parameters
    ----------
    path
        Path or URL, as it was given.
    place
        By which other processes reach it.
    identity
        What tells it from itself once it has changed; empty where that does not matter.
    """

    path: str
    place: str
    identity: str = field(default="", repr=False)

    @classmethod
    def of(cls, path: str, identity: str = "") -> "Image":
        """Image at a path or URL, which may be relative to the working directory."""
        return cls(path, reachable(path), identity)


@dataclass(frozen=True)
class Statistics:
    """What is asked of each image; small, and the same for all of them.

    Parameters
    ----------
    atlas
        Where the regions are.
    arguments
        JSON of the arguments of `ReferenceSpace.aggregate` beside the image.
    images
        How images are opened.
    valid
        Image that is 0 where voxels do not count; None if all do.
    scheduler
        What computes an image within a task: threads where it is the only task of its process.
    threads
        How many of them; as many as there are cores if not given.
    """

    atlas: AtlasReference
    arguments: str
    images: ImageOptions
    valid: Image | None = None
    scheduler: str = "synchronous"
    threads: int | None = None

    def of(self, image: str) -> pd.DataFrame:
        """Rows of an image: regions, and any leading dims of the image."""
        space, asked = self.atlas.open(), json.loads(self.arguments)
        opened = opened_image(image, space.grid, self.images)
        with opened as values, self._counted(space.grid) as valid:
            dataset = space.aggregate(values, valid=valid, **asked)
            dataset = dataset.compute(scheduler=self.scheduler, num_workers=self.threads)
        return statistics_table(dataset, asked["statistics"]).reset_index()

    def _counted(self, grid: Grid) -> AbstractContextManager[xr.DataArray | None]:
        """Opens what says which voxels count, as the images but for the name of a variable."""
        if self.valid is None:
            return nullcontext()
        return opened_image(self.valid.place, grid, replace(self.images, variable=None))

    def job(self) -> str:
        """Digest of what all rows have in common: the same voxels, regions and statistics."""
        space, asked = self.atlas.open(), json.loads(self.arguments)
        regions = space.parcellation(
            **{name: asked.get(name) for name in ("structures", "level", "structure_set")},
            direct_only=asked["direct_only"],
        )
        options = [self.images.variable, self.images.same_grid, self.images.geometry]
        named = [regions.regions, regions.members, regions.indptr, regions.acronyms]
        voxels = str(tokenize(space.annotation.data))
        return str(tokenize(voxels, named, sorted(asked.items()), options, self.valid))


def rows_of(image: Image, statistics: Statistics) -> pd.DataFrame:
    """Rows of an image, the first column of which is its name: the work of a task."""
    rows = statistics.of(image.place)
    rows.insert(0, "image", image.path)
    return rows


@dataclass(frozen=True)
class ImagesAggregated:
    """What `aggregate_images` has done.

    Parameters
    ----------
    path
        Where the table is.
    written
        Number of images whose rows were appended.
    kept
        Number of those whose rows were there.
    """

    path: str
    written: int
    kept: int


def asked_of_images(
    atlas: AtlasReference | str | os.PathLike[str],
    *,
    structures: Any = None,
    level: Level | None = None,
    structure_set: int | Sequence[int] | None = None,
    direct_only: bool = False,
    hemisphere: Hemisphere | None = None,
    statistics: Sequence[str] = STATISTICS,
    quantiles: Sequence[float] = (),
    valid: str | os.PathLike[str] | None = None,
    images: ImageOptions | None = None,
) -> Statistics:
    """What is asked of each image, checked before any of them is opened.

    Parameters
    ----------
    atlas, structures, level, structure_set, direct_only, hemisphere, statistics, quantiles, valid
        As for `aggregate_images`.
    images
        How images are opened.
    """
    if not isinstance(atlas, AtlasReference):
        atlas = AtlasReference.of(atlas)
    atlas = atlas.pinned()
    if isinstance(structures, Mapping):
        raise SourceError("a mapping of structures cannot be sent to other processes; give a list")
    if structures is not None:
        structures = atlas.open().structure_tree.resolve(structures)
    unknown = [name for name in _as_tuple(statistics) if name not in KNOWN]
    if unknown:
        raise AnnotationError(
            f"there is no statistic {unknown[0]!r}; choose from {', '.join(KNOWN)}"
        )
    sets = structure_set if structure_set is None else list(_as_tuple(structure_set))
    regions = {"structures": structures, "level": level, "structure_set": sets}
    asked = {name: value for name, value in regions.items() if value is not None}
    asked |= {"direct_only": direct_only, "hemisphere": hemisphere}
    asked |= {"statistics": list(_as_tuple(statistics)), "quantiles": list(_as_tuple(quantiles))}
    images, counted = images or ImageOptions(), None
    if valid is not None:
        counted = Image.of(os.fspath(valid), identity_of(os.fspath(valid), images))
    return Statistics(atlas, json.dumps(asked, default=float), images, counted)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, str | int | float) else tuple(value)


def aggregate_images(
    atlas: AtlasReference | str | os.PathLike[str],
    images: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    structures: Any = None,
    *,
    level: Level | None = None,
    structure_set: int | Sequence[int] | None = None,
    direct_only: bool = False,
    hemisphere: Hemisphere | None = None,
    statistics: Sequence[str] = STATISTICS,
    quantiles: Sequence[float] = (),
    valid: str | os.PathLike[str] | None = None,
    image_options: ImageOptions | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> ImagesAggregated:
    """Aggregate many images over regions, into one table.

    The rows of an image are appended when it is done. A run that was stopped, whatever stopped it,
    is continued by the same call, which leaves images whose rows are there, and adds those of new
    ones; an image that has changed is done again.

    Parameters
    ----------
    atlas
        Path or URL of a store, or an `AtlasReference` to whatever `refspace.open` opens.
    images
        Paths and URLs of images: NRRD and NIfTI files, and zarr, as the command ``aggregate`` takes
        them.
    out
        The table: path or URL ending in ``.parquet``, for a folder with a file for each image,
        which pandas and others read as one table; or path ending in ``.csv`` or ``.tsv``.
    structures, level, structure_set, direct_only
        The regions, as for `ReferenceSpace.parcellation`; all structures if not given.
    hemisphere, statistics, quantiles
        As for `ReferenceSpace.aggregate`.
    valid
        Path or URL of an image that is 0 where voxels of the images do not count.
    image_options
        What the images do not say themselves.
    overwrite
        Whether to replace a table that is there, but for rows that would be the same.
    storage_options
        What fsspec needs to reach `out`.
    threads
        Number of threads that work on one image after the other; as many as there are cores if not
        given.
    client
        Client of a dask cluster, each thread of whose workers takes an image at a time.
    progress
        Called with the numbers of images done and to be done.

    Returns
    -------
    ImagesAggregated
        How many images were done, and how many had been.

    Raises
    ------
    StoreError
        If the table is there and is something else, or is being written.
    JobError
        If some images failed; the rows of the others are in the table.
    ClusterError
        If the scheduler is gone; rows that are in the table stay.

    Examples
    --------
    >>> import pandas, refspace, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> space = refspace.phantom(resolution=400)
    >>> space.to_zarr(f"{folder}/atlas.zarr")
    >>> for name in "ab":
    ...     refspace.write_nrrd(f"{folder}/{name}.nrrd", space.make_structure_mask("TH"))
    >>> images = [f"{folder}/{name}.nrrd" for name in "ab"]
    >>> table = f"{folder}/table.parquet"
    >>> aggregate_images(f"{folder}/atlas.zarr", images, table, ["TH", "CP"]).written
    2
    >>> pandas.read_parquet(table)["mean"].tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    asked = asked_of_images(
        atlas,
        structures=structures,
        level=level,
        structure_set=structure_set,
        direct_only=direct_only,
        hemisphere=hemisphere,
        statistics=statistics,
        quantiles=quantiles,
        valid=valid,
        images=image_options,
    )
    target, names = os.fspath(out), [*dict.fromkeys(os.fspath(image) for image in images)]
    with open_row_sets(
        target, asked.job(), overwrite=overwrite, storage_options=storage_options
    ) as table:
        failures: dict[str, str] = {}
        found = _found(names, asked.images, failures)
        if overwrite:
            # Also those of images not asked for. What is out of reach now may be what it was.
            known = table.done.keys() - failures.keys()
            table.drop({name for name in known if not _has(table, found.get(name))})
        missing = [image for image in found.values() if not _has(table, image)]
        kept = done = len(names) - len(missing) - len(failures)
        if progress is not None:
            progress(done, len(names))
        for outcome in outcomes_of(asked, missing, make_pool(threads, client), threads):
            image = outcome.item
            cause = _append(table, outcome)
            if cause is not None:
                failures[image.path] = cause
                continue
            done += 1
            if progress is not None:
                progress(done, len(names))
    if failures:
        raise JobError(
            f"{len(failures)} of {len(names)} images failed; the rows of the others are in "
            f"{target}, and are not made again",
            failures,
        )
    return ImagesAggregated(target, done - kept, kept)


def outcomes_of(
    asked: Statistics, images: Sequence[Image], pool: Pool, threads: int | None = None
) -> Iterator[Outcome[Image, pd.DataFrame]]:
    """Rows of each image, as they come."""
    if pool.is_local:
        # One image after the other, each by all threads: of large ones few blocks are in memory.
        pool = ThreadPool(1)
        # Errors name them as they were given.
        images = [replace(image, place=image.path) for image in images]
        asked = replace(asked, scheduler="threads", threads=threads)
    return pool.outcomes(
        functools.partial(rows_of, statistics=asked),
        images,
        name="aggregate",
        token=lambda image: str(tokenize(asked, image)),
    )


def _found(
    names: Sequence[str], options: ImageOptions, failures: dict[str, str]
) -> dict[str, Image]:
    """Images as they are now, by name, in the order of the names."""
    pool = ThreadPool(_ASKED_TOGETHER)
    identify = functools.partial(identity_of, options=options)
    identities = {}
    for outcome in pool.outcomes(identify, names, name="identify", token=str):
        if outcome.error is None:
            identities[outcome.item] = str(outcome.result)
        else:
            failures[outcome.item] = cause_of(outcome.error)
    return {name: Image.of(name, identities[name]) for name in names if name in identities}


def _has(table: RowSets, image: Image | None) -> bool:
    """Whether the rows of an image are in a table as they would be now."""
    return image is not None and table.done.get(image.path) == image.identity


def _append(table: RowSets, outcome: Outcome[Image, pd.DataFrame]) -> str | None:
    """Add the rows of an image to the table; why not, if that failed."""
    image = outcome.item
    if outcome.error is not None or outcome.result is None:
        return cause_of(outcome.error)
    try:
        table.append(image.path, image.identity, outcome.result)
    except Exception as error:
        raise_if_hopeless(error)
        return cause_of(error)
    return None
