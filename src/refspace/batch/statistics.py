"""Statistics of many images over regions, in one table, as one job."""

import functools
import os
import secrets
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.tokenize import tokenize
from numpy.typing import NDArray

from refspace.batch.atlas_reference import AtlasReference
from refspace.batch.causes import one_line, raise_if_hopeless
from refspace.batch.image_table import ImageTable
from refspace.batch.images import ImageOptions, image_identity, open_any_image
from refspace.batch.tables import open_image_table
from refspace.blockwise.bounded import threads_for
from refspace.errors import AnnotationError, GridError, JobError, StoreError
from refspace.formats.tables import table_ending, without_formulas
from refspace.grid import Grid
from refspace.pools import Outcome, Pool, ThreadPool, make_pool
from refspace.safe_text import shown, url_identity
from refspace.store import Progress, reachable
from refspace.structure_tree import Regions, RegionsLike
from refspace.types import PathLike
from refspace.verbs.images import (
    DEFAULT_STATISTICS,
    ORIGIN_NOTE,
    StatisticsOptions,
    statistics_of_image,
)
from refspace.verbs.tables import statistics_table

if TYPE_CHECKING:
    from refspace.pools.choosing import Client

# Images whose identity is read at the same time: on another machine, reading is mostly waiting.
_IDENTIFIED_TOGETHER = 16
_CHANGED = "has changed while it was read, so that its rows are not kept; run the same again"
# Attribute of rows, beside which they have none.
_NOTE = "note"
_PLACE_HINT = (
    "check that both are in the same space; where voxel i of the image is voxel i of the "
    "annotation, give same_grid=True"
)


@dataclass(frozen=True)
class Image:
    """An image of a job.

    Parameters
    ----------
    path
        Path or URL, as the caller wrote it.
    url
        Absolute path or URL, by which other processes reach it.
    identity
        Text that changes when the image does; empty where that does not matter.
    doubt
        Why images of the same identity may differ; None if they are the same.
    """

    path: str = field(repr=False)
    url: str = field(repr=False)
    identity: str = field(default="", repr=False)
    doubt: str | None = None

    def __repr__(self) -> str:
        return f"Image({self.name!r})"

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return self.name, url_identity(self.url), self.identity

    @property
    def name(self) -> str:
        """The path or URL without secrets, as tables and messages have it."""
        return url_identity(self.path)

    @classmethod
    def from_path(cls, path: str, identity: str = "", doubt: str | None = None) -> "Image":
        """Image at a path or URL, which may be relative to the working directory."""
        return cls(path, reachable(path), identity, doubt)


@dataclass(frozen=True)
class StatisticsRequest:
    """What to compute of each image; small, and the same for all of them.

    Parameters
    ----------
    atlas
        Where the regions are.
    options
        What is asked of an image, and of which regions.
    by_hemisphere
        Whether the hemispheres are kept apart.
    image_options
        How images are opened.
    valid
        Image that is 0 where voxels do not count; None if all do.
    scheduler
        Scheduler of dask that computes an image: within a task, the thread of the task.
    threads
        Number of threads of that scheduler; `threads_for` image and annotation if not given.
    """

    atlas: AtlasReference
    options: StatisticsOptions
    by_hemisphere: bool
    image_options: ImageOptions
    valid: Image | None = None
    scheduler: str = "synchronous"
    threads: int | None = None

    @classmethod
    def from_arguments(
        cls,
        atlas: AtlasReference | PathLike,
        *,
        regions: RegionsLike | None = None,
        by_hemisphere: bool = False,
        statistics: str | Sequence[str] = DEFAULT_STATISTICS,
        quantiles: float | Sequence[float] = (),
        valid: PathLike | None = None,
        nodata: float | None = None,
        valid_min: float | None = None,
        image_options: ImageOptions | None = None,
    ) -> "StatisticsRequest":
        """Request with the arguments of `aggregate_images`, checked before any image is opened.

        Parameters
        ----------
        atlas, regions, by_hemisphere, statistics, quantiles, valid, nodata, valid_min
            As for `aggregate_images`.
        image_options
            How images are opened.
        """
        if not isinstance(atlas, AtlasReference):
            atlas = AtlasReference.from_arguments(atlas)
        atlas = atlas.pinned()
        image_options = image_options or ImageOptions()
        space = atlas.open()
        how = _options_of_valid(image_options)
        valid_image = None if valid is None else _identified(os.fspath(valid), space.grid, how)
        chosen = space.structure_tree.regions(regions)
        options = StatisticsOptions.from_arguments(
            chosen, statistics, quantiles, nodata=nodata, valid_min=valid_min
        )
        return cls(atlas, options, by_hemisphere, image_options, valid_image)

    def compute_rows(self, url: str) -> pd.DataFrame:
        """Compute the rows of an image: by region, hemisphere and leading dims of the image."""
        space, asked = self.atlas.open(), self.options
        image = open_any_image(url, space.grid, self.image_options)
        threads = self.threads or threads_for(image.data, space.annotation.data)
        dataset = statistics_of_image(
            space,
            image,
            asked,
            self.image_options.place,
            valid=self._open_valid(space.grid),
            by_hemisphere=self.by_hemisphere,
        ).compute(scheduler=self.scheduler, num_workers=threads)
        note = str(dataset["note"].item()) if "note" in dataset else ""
        _refuse_nothing(dataset["covered"].values, note)
        rows = statistics_table(dataset.drop_vars("note", errors="ignore"), asked.statistics)
        rows = rows.reset_index()
        notes = [f"{note}; {_PLACE_HINT}" if note else "", dataset.attrs.get(ORIGIN_NOTE, "")]
        rows.attrs[_NOTE] = [*filter(None, notes)]
        return rows

    def _open_valid(self, grid: Grid) -> xr.DataArray | None:
        """Open the image of the voxels that count, as other images but for a variable's name."""
        if self.valid is None:
            return None
        return open_any_image(self.valid.url, grid, _options_of_valid(self.image_options))

    def refuse_changed(self, image: Image) -> None:
        """Refuse an image that has changed since the job began, or whose atlas or mask has.

        Raises
        ------
        StoreError
            If any has.
        """
        grid = self.atlas.open().grid
        if _differs(image, grid, self.image_options):
            raise StoreError(f"{image.path} {_CHANGED}")
        if self.valid and _differs(self.valid, grid, _options_of_valid(self.image_options)):
            raise StoreError(f"{self.valid.path} {_CHANGED}")
        self.atlas.refuse_changed()

    @functools.cached_property
    def doubt(self) -> str | None:
        """Why rows of an earlier run may be of other voxels; None if they are of the same."""
        return self.atlas.identity().doubt or (self.valid.doubt if self.valid else None)

    def digest(self) -> str:
        """Digest of what all rows have in common: voxels, regions, statistics and options.

        Where voxels are in doubt, it is another one each time.
        """
        images = self.image_options
        given = [images.variable, images.same_grid, images.image_origin, images.override]
        opened = [*given, images.geometry]
        space = self.atlas.open()
        # The grid too: what overrules the header of a file leaves its voxels as they are.
        sides = space.volume.hemispheres.identity
        facts = dict(self.atlas.identity().facts)
        voxels = str(tokenize(facts, space.grid, sides, self.doubt and secrets.token_hex(8)))
        return str(tokenize(voxels, self.options, self.by_hemisphere, opened, self.valid))

    def without_names(self) -> "StatisticsRequest":
        """Request as tasks carry it: names are most of what regions weigh."""
        regions = self.options.regions.without_names()
        return replace(self, options=replace(self.options, regions=regions))


def _refuse_nothing(covered: NDArray[np.float64], note: str) -> None:
    """Refuse an image that says nothing of any region."""
    # Of regions without voxels nothing can be said, whatever the image.
    if np.isnan(covered).all() or (covered > 0).any():
        return
    nothing = "the image has no voxel that counts in any region"
    if note:
        raise GridError(f"{nothing}: {note}")
    raise AnnotationError(
        f"{nothing}: all there are NaN, not valid or no data, or too coarse for these regions"
    )


def told_of(rows: pd.DataFrame) -> list[str]:
    """What is to be told of the image of some rows, which forget it."""
    notes: list[str] = rows.attrs.pop(_NOTE, [])
    return notes


def _identified(path: str, grid: Grid, options: ImageOptions) -> Image:
    identity = image_identity(path, grid, options)
    return Image.from_path(path, str(tokenize(dict(identity.facts))), identity.doubt)


def _differs(image: Image, grid: Grid, options: ImageOptions) -> bool:
    """Whether an image is another one than it was."""
    return _identified(image.url, grid, options).identity != image.identity


def _options_of_valid(options: ImageOptions) -> ImageOptions:
    """How the image of the voxels that count is opened: as others, but for a variable's name."""
    return replace(options, variable=None)


def compute_rows(image: Image, request: StatisticsRequest) -> pd.DataFrame:
    """Compute the rows of an image, whose path is their first column: the work of a task."""
    rows = request.compute_rows(image.url)
    if image.identity:  # of a job, whose rows are kept
        request.refuse_changed(image)
    rows.insert(0, "image", image.name)
    return rows


def compute_all(
    request: StatisticsRequest, images: Sequence[Image], pool: Pool, threads: int | None = None
) -> Generator[Outcome[Image, pd.DataFrame], None, None]:
    """Compute the rows of each image, with the names of regions, and yield them as they come."""
    if pool.is_local:
        # One image after the other, each by all threads: of large ones few blocks are in memory.
        pool = ThreadPool(1)
        # Errors name images as the caller does.
        images = [replace(image, url=image.path) for image in images]
        request = replace(request, scheduler="threads", threads=threads)
    task_request = request.without_names()  # tasks are to be small
    outcomes = pool.outcomes(
        functools.partial(compute_rows, request=task_request),
        images,
        name="aggregate",
        token=lambda image: str(tokenize(task_request, image)),
    )
    return _all_with_names(outcomes, request.options.regions)


def _all_with_names(
    outcomes: Generator[Outcome[Image, pd.DataFrame], None, None], regions: Regions
) -> Generator[Outcome[Image, pd.DataFrame], None, None]:
    """Outcomes with names, as they come; closed, they wait for the images in flight."""
    with closing(outcomes):
        for outcome in outcomes:
            yield _with_names(outcome, regions)


def _with_names(
    outcome: Outcome[Image, pd.DataFrame], regions: Regions
) -> Outcome[Image, pd.DataFrame]:
    """Outcome whose rows have the acronym and name of their structure, where regions have any."""
    if outcome.result is None:
        return outcome
    rows = outcome.result.copy()
    columns = pd.DataFrame(regions.columns()).set_index("structure")
    # Of regions with texts for labels, tasks know what they are called.
    columns = columns[[name for name in columns if name not in rows]]
    for position, (name, column) in enumerate(columns.items(), [*rows].index("structure") + 1):
        rows.insert(position, name, rows["structure"].map(column))
    return replace(outcome, result=rows)


@dataclass(frozen=True)
class ImagesAggregated:
    """Result of `aggregate_images`.

    Parameters
    ----------
    path
        Path or URL of the table.
    written
        Number of images whose rows were added.
    kept
        Number of images whose rows were there before.
    """

    path: str
    written: int
    kept: int


def aggregate_images(
    atlas: AtlasReference | PathLike,
    images: Iterable[PathLike],
    out: PathLike,
    regions: RegionsLike | None = None,
    *,
    by_hemisphere: bool = False,
    statistics: str | Sequence[str] = DEFAULT_STATISTICS,
    quantiles: float | Sequence[float] = (),
    valid: PathLike | None = None,
    nodata: float | None = None,
    valid_min: float | None = None,
    image_options: ImageOptions | None = None,
    overwrite: bool = False,
    escape_formulas: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    client: "Client | None" = None,
    progress: Progress | None = None,
) -> ImagesAggregated:
    """Aggregate many images over regions, into one table.

    The rows of an image are written when it is done: to a file of a Parquet table, or for CSV and
    TSV to a file beside the table, which is written from these when the job ends. A run that was
    stopped, by whatever, is continued by the same call, which leaves images whose rows are there,
    and adds those of new ones. In a Parquet table the rows of an image that has changed are
    replaced.

    Parameters
    ----------
    atlas
        Path or URL of a store, or an `AtlasReference` to whatever `refspace.open` opens.
    images
        Paths and URLs of images: NRRD and NIfTI files, and zarr, as the command ``aggregate`` takes
        them.
    out
        The table: path or URL ending in ``.parquet``, for a folder with a file for each image,
        which pandas and others read as one table; or path ending in ``.csv`` or ``.tsv``. A folder
        ``.NAME.csv.parts`` beside such a file records which images it has.
    regions, by_hemisphere, statistics, quantiles
        As for `ReferenceSpace.aggregate`. Of one hemisphere alone, give an `AtlasReference` to it.
    valid
        Path or URL of an image that is 0 where voxels of the images do not count.
    nodata, valid_min
        As for `ReferenceSpace.aggregate`.
    image_options
        What the images do not state themselves.
    overwrite
        Whether to replace a table that is there, but for rows that would be the same.
    escape_formulas
        Whether texts in CSV and TSV that a spreadsheet would take for formulas, as names may be,
        begin with an apostrophe.
    storage_options
        What fsspec needs to reach `out`.
    threads
        Number of threads of this process, which work on one image after the other, even where a
        client is active.
    client
        Client of a dask cluster, each thread of whose workers takes an image at a time; they must
        see the atlas and the images. If neither is given, the active client
        (`distributed.get_client`), or else as many threads as there are cores, but fewer for
        images whose chunks have GBs: each thread holds one.
    progress
        Called with the numbers of images done and to be done.

    Returns
    -------
    ImagesAggregated
        How many images were done, and how many had been.

    Raises
    ------
    StoreError
        If the table is there and is something else, was edited, or is being written.
    JobError
        If some images failed, as those that meet no region do; the rows of the others are in the
        table.
    SourceError
        If something cannot be sent to other processes, or both `threads` and `client` are given.
    ClusterError
        If the scheduler is gone; images that are done are not done again.

    Warns
    -----
    UserWarning
        If an image covers less than half of the regions' bounding box; if its corner is half a
        voxel off the annotation's.

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
    pool = make_pool(threads, client)
    request = StatisticsRequest.from_arguments(
        atlas,
        regions=regions,
        by_hemisphere=by_hemisphere,
        statistics=statistics,
        quantiles=quantiles,
        valid=valid,
        nodata=nodata,
        valid_min=valid_min,
        image_options=image_options,
    )
    paths = {url_identity(path): path for path in [os.fspath(image) for image in images]}
    target, names = os.fspath(out), [*paths]
    failures: dict[str, str] = {}
    escape_formulas = escape_formulas and table_ending(target) != ".parquet"
    # A table has all of its rows escaped, or none.
    job = tokenize(request.digest(), "escaped") if escape_formulas else request.digest()
    with open_image_table(
        target,
        job,
        overwrite=overwrite,
        storage_options=storage_options,
        doubt=request.doubt,
    ) as table:
        current = _identify(paths, request, failures)
        if overwrite:
            _remove_outdated(table, current, failures)
        _tell_of_doubts(table, current)
        missing = [image for image in current.values() if not _has(table, image)]
        kept = done = len(names) - len(missing) - len(failures)
        if progress is not None:
            progress(done, len(names))
        # Closed, also where adding fails: nothing is at work when the table is left.
        with closing(compute_all(request, missing, pool, threads)) as outcomes:
            for outcome in outcomes:
                if (cause := _add(table, outcome, escape_formulas)) is not None:
                    failures[outcome.item.name] = cause
                    continue
                done += 1
                if progress is not None:
                    progress(done, len(names))
        table.complete(names)
    _raise_failures(failures, len(names), target)
    return ImagesAggregated(target, done - kept, kept)


def _raise_failures(failures: Mapping[str, str], total: int, target: str) -> None:
    if failures:
        raise JobError(
            f"{len(failures)} of {total} images failed; the rows of the others are in {target}, "
            "and are not made again",
            failures,
        )


def _identify(
    paths: Mapping[str, str], request: StatisticsRequest, failures: dict[str, str]
) -> dict[str, Image]:
    """Images as they are now, by name, in the order of the names; note which failed, and why."""
    images = {}
    grid, options = request.atlas.open().grid, request.image_options
    for outcome in ThreadPool(_IDENTIFIED_TOGETHER).outcomes(
        functools.partial(_identified, grid=grid, options=options),
        paths.values(),
        name="identify",
        token=url_identity,
    ):
        name = url_identity(outcome.item)
        if outcome.result is not None:
            images[name] = outcome.result
        else:
            failures[name] = one_line(outcome.error)
    return {name: images[name] for name in paths if name in images}


def _has(table: ImageTable, image: Image | None) -> bool:
    """Whether the rows of an image are in a table, and proven to be as they would be now."""
    if image is None or image.doubt is not None:
        return False
    return table.done.get(image.name) == image.identity


def _tell_of_doubts(table: ImageTable, current: Mapping[str, Image]) -> None:
    """Tell of images that may be as they were, but cannot be proven to be."""
    for image in current.values():
        if image.doubt is not None and image.name in table.done:
            text = f"the rows of {image.name} are made again, as it cannot be proven to be the same"
            warnings.warn(shown(f"{text}: {image.doubt}"), stacklevel=3)


def _remove_outdated(
    table: ImageTable, current: Mapping[str, Image], failures: Mapping[str, str]
) -> None:
    """Remove rows that are not of the images of this job as they are now."""
    # An image that cannot be reached may be as it was.
    known = table.done.keys() - failures.keys()
    table.remove({name for name in known if not _has(table, current.get(name))})


def _add(
    table: ImageTable, outcome: Outcome[Image, pd.DataFrame], escape_formulas: bool
) -> str | None:
    """Add the rows of an image to the table; the cause, if that failed."""
    image = outcome.item
    if outcome.error is not None or outcome.result is None:
        return one_line(outcome.error)
    for note in told_of(outcome.result):
        warnings.warn(shown(f"{image.name}: {note}"), stacklevel=3)
    try:
        rows = without_formulas(outcome.result) if escape_formulas else outcome.result
        table.add(image.name, image.identity, rows)
    except Exception as error:
        raise_if_hopeless(error)
        return one_line(error)
    return None
