"""Opening and fetching atlases by name: read from where they are, or stored in the cache first."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from refspace import reference_space
from refspace.conversion import convert
from refspace.errors import FormatError, LockedError, OntologyError, SourceError, StoreError
from refspace.formats.names import refuse_override
from refspace.labels import LabelVolume
from refspace.reference_space import ReferenceSpace
from refspace.reference_space.opening import separated
from refspace.remote.download import Progress
from refspace.sources.cache import Cache
from refspace.sources.locating import (
    ATLAS_KEY,
    locate,
    make_request,
    named_atlas,
    store_key,
    suggestion,
)
from refspace.sources.source import (
    AtlasParts,
    Request,
    find_source,
    parse_spec,
    source_names,
)
from refspace.structure_tree import StructureTree
from refspace.types import PathLike, Resolution

_AGAIN = "fetch it again with --refresh (Python: refresh=True)"


def open(
    url: PathLike,
    *,
    resolution: Resolution | None = None,
    structures: StructureTree | PathLike | None = None,
    orientation: str | None = None,
    override: bool = False,
    midline: float | None = None,
    hemispheres: xr.DataArray | PathLike | None = None,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "fsspec",
    chunk_cache: PathLike | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ReferenceSpace:
    """Open a reference space where it is, lazily: no voxel is read.

    Parameters
    ----------
    url
        Path or URL (anything that fsspec opens) of a store that refspace wrote, or of labels in
        zarr of any program: an OME-Zarr image, a variable as xarray writes it, or an array, each of
        one volume; or of a file of a volume: NRRD, NIfTI, MGH, TIFF, MetaImage or ``.npy``,
        recognised by its content. Or an atlas by the name of its source and its own, like
        ``"allen:ccf_2017"`` or ``"brainglobe:allen_mouse_25um"``: one that can be queried where it
        is, is; any other is fetched, as `fetch` does it. A folder of BrainGlobe's packaging is such
        an atlas too.
    resolution
        µm per voxel of the level to open; the finest if not given. Of zarr that states no lengths,
        that of the finest level. Of a file, as for `read_nrrd`.
    structures
        The structures, as a tree or as the path or URL of a file. A store of refspace has its own,
        and so has an atlas of a source; with any other they must be given.
    orientation
        Direction in which the index of each axis grows, like ``"PIR"``; needed where the store
        does not state it, and must agree with what it states.
    override
        Whether `resolution` and `orientation` overrule the header of a file, as for `read_nrrd`.
    midline
        Position of the midline along ml, in µm, whatever the file or store states. If neither says
        it, it is 0 of the file's world where that is near the middle, as `read_nifti` and
        `read_nrrd` have it, or else the middle of the volume.
    hemispheres
        Hemisphere of each voxel, where no midline separates them: integers, 1 left, 2 right and 0
        neither, on the same grid. A DataArray; or the path or URL of a file of a volume, or of a
        label image in zarr, of which blocks are read until both hemispheres were seen.
    storage_options
        What fsspec needs to reach the URL. Public buckets of the field, like ``s3://brainglobe``,
        are read without an account unless something else is given.
    engine
        What reads from other machines: ``"fsspec"``, or ``"obstore"`` where it is installed.
    chunk_cache
        Folder for copies of what is read from other machines, so that it is read from there once;
        the copies take up to 10 GiB, those that are of no use for longest make room. A store of
        refspace that is replaced at its URL is known to be another; of stores of others, whose
        voxels may change and their metadata not, keep copies only where they stay as they are.
    cache, progress, **options
        Of an atlas by name, as for `fetch`.

    Returns
    -------
    ReferenceSpace
        Lazy. That of a store answers counts, boxes and centroids from its label index, and its
        masks and slices read only the chunks that the index leaves open.

    Raises
    ------
    SourceError
        If a source has no such atlas, or no such option.
    RemoteError
        If a host cannot be reached, or does not send what it should.
    StoreError
        If there is no store, or an unfinished one.
    FormatError
        If it is damaged, or no label image; or if structures are missing.
    GridError
        If there is no level of the resolution, or the geometry is missing or contradictory.
    AnnotationError
        If the hemispheres lack one, or hold anything else than 0, 1 and 2.

    Examples
    --------
    >>> import refspace, tempfile
    >>> url = tempfile.mkdtemp() + "/phantom.zarr"
    >>> refspace.phantom(resolution=50).to_zarr(url)
    >>> space = refspace.open(url, resolution=100)
    >>> space.annotation.shape, space.total_voxel_map[385] > 0
    ((132, 80, 114), True)
    """
    access: dict[str, Any] = {
        "storage_options": storage_options,
        "engine": engine,
        "chunk_cache": chunk_cache,
    }
    spec, options = named_atlas(url, options) if structures is None else (parse_spec(url), options)
    if spec is None:
        if options:
            raise SourceError(
                f"{os.fspath(url)} is no atlas of a source, and takes no {', '.join(options)}; "
                f"sources are {', '.join(source_names())}"
            )
        with _naming_sources(url):
            return reference_space.open(
                url,
                resolution=resolution,
                structures=structures,
                orientation=orientation,
                override=override,
                midline=midline,
                hemispheres=hemispheres,
                **access,
            )
    refuse_override(url, override)
    if structures is not None:
        raise SourceError(f"{url} has its own structures; leave them out")
    all_options = {**options, "orientation": orientation, **access}
    request = make_request(spec[1], resolution, cache, progress, all_options)
    return separated(_open_atlas(spec[0], request), midline, hemispheres)


def _open_atlas(source: str, request: Request) -> ReferenceSpace:
    """Atlas of a source: its store in the cache, or where it is, or a store that is made now."""
    store = request.cache.store(store_key(source, request))
    if store.exists():
        return _open_store(store)
    with _doubting_downloads(request):
        parts = _parts(source, request)
        if isinstance(parts.annotation, xr.DataArray) and not parts.ids:
            return _in_place(parts)
        return _stored(source, parts, store, request, anew=False)


def fetch(
    spec: str,
    *,
    resolution: Resolution | None = None,
    refresh: bool = False,
    cache: Cache | PathLike | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ReferenceSpace:
    """Download an atlas, convert it into a store in the cache, and open that.

    A second call opens the store and uses no network.

    Parameters
    ----------
    spec
        Source and atlas, like ``"allen:ccf_2017"`` or ``"brainglobe:allen_mouse_25um"``; `atlases`
        lists them. Or the folder of an atlas of BrainGlobe's packaging. Other packages add sources
        by entry points of the group ``refspace.sources``.
    resolution
        µm per voxel, where the source has several.
    refresh
        Whether to download and convert again. The old store stays until the new one is complete.
    cache
        Folder of the cache; by default the one that the environment variable ``REFSPACE_CACHE``
        names, or else the user's.
    progress
        Called with the name of a file, the amount done, and the amount in all (0 if not known):
        bytes of a download; blocks of a store, whose name ends in ``.zarr``.
    **options
        Options of the source. ``allen``: ``template=True``, ``"average_template"`` or
        ``"ara_nissl"``; ``graph_id``; ``host`` and ``archive``, URLs. ``brainglobe``: ``version``;
        ``orientation``; ``base``, a URL; and ``storage_options`` and ``engine``, as for `open`.
        ``abc``: ``template=True``; ``release``; ``base``.

    Returns
    -------
    ReferenceSpace
        The store, opened.

    Raises
    ------
    SourceError
        If there is no such source, atlas or option.
    RemoteError
        If a host cannot be reached, or does not send what it should.

    Examples
    --------
    >>> import refspace
    >>> refspace.fetch("allen:ccf_2018", resolution=25)
    Traceback (most recent call last):
    ...
    refspace.errors.SourceError: allen has no 'ccf_2018'; it has ccf_2015, ccf_2016, ccf_2017
    """
    name, request, store = locate(
        spec, resolution=resolution, cache=cache, progress=progress, refresh=refresh, **options
    )
    if store.exists() and not refresh:
        return _open_store(store)
    with _doubting_downloads(request):
        return _stored(name, _parts(name, request), store, request, anew=refresh)


def _parts(source: str, request: Request) -> AtlasParts:
    """Parts of an atlas from a source; checked, because sources may be of other packages."""
    parts: object = find_source(source)(request)
    if not isinstance(parts, AtlasParts):
        raise SourceError(f"the source {source} gives a {type(parts).__name__}, and no AtlasParts")
    return parts


def _open_store(store: Path) -> ReferenceSpace:
    try:
        return reference_space.open(store)
    except (StoreError, FormatError) as error:
        error.add_note(_AGAIN)
        raise


@contextmanager
def _doubting_downloads(request: Request) -> Iterator[None]:
    """Add to an error of a file, which may be damaged by its download, how to download it again."""
    try:
        yield
    except (FormatError, OntologyError) as error:
        if not request.cache.refresh and _AGAIN not in getattr(error, "__notes__", ()):
            error.add_note(f"if what was downloaded is damaged, {_AGAIN}")
        raise


@contextmanager
def _naming_sources(url: PathLike) -> Iterator[None]:
    """Say of a name of nothing which atlas it may mean."""
    try:
        yield
    except StoreError as error:
        text = os.fspath(url)
        meant = None if "://" in text or Path(text).exists() else suggestion(text)
        if meant is not None:
            raise StoreError(f"there is no file, store or atlas {text}: {meant}") from error
        raise


def _in_place(parts: AtlasParts) -> ReferenceSpace:
    """Reference space of an annotation that is read from where it is."""
    volume = LabelVolume.from_array(
        parts.annotation,
        parts.resolution,
        orientation=parts.orientation,
        **_sides(parts),
    )
    if parts.blocks is not None:
        volume = volume.with_knowledge(parts.blocks)
    return ReferenceSpace.from_volume(
        parts.structures,
        volume,
        template=parts.template,  # type: ignore[arg-type]
        provenance=parts.provenance,
    )


def _sides(parts: AtlasParts) -> dict[str, Any]:
    """Arguments that tell the hemispheres apart, as far as the atlas states them."""
    stated = {"hemispheres": parts.hemispheres, "midline": parts.midline}
    return {name: value for name, value in stated.items() if value is not None}


def _stored(
    source: str, parts: AtlasParts, store: Path, request: Request, *, anew: bool
) -> ReferenceSpace:
    """Make the store of an atlas unless another process does so meanwhile, and open it."""
    provenance = {**parts.provenance, ATLAS_KEY: f"{source}:{request.name}"}
    with request.cache.locked(store):
        if anew or not store.exists():
            _convert(replace(parts, provenance=provenance), store, request, overwrite=anew)
    return _open_store(store)


def _convert(parts: AtlasParts, store: Path, request: Request, *, overwrite: bool) -> None:
    options: dict[str, Any] = {
        "resolution": parts.resolution,
        "orientation": parts.orientation,
        "template": parts.template,
        "provenance": parts.provenance,
        **_sides(parts),
        **({"ids": parts.ids} if parts.ids else {}),
    }
    if (report := request.progress) is not None:
        options["progress"] = lambda done, total: report(store.name, done, total)
    if not overwrite:
        try:
            convert(parts.annotation, parts.structures, store, resume=True, **options)
            return
        except LockedError:
            raise
        except StoreError:
            # A file that has changed since an interrupted run is another job, which cannot resume
            # that run: it starts anew.
            pass
    convert(parts.annotation, parts.structures, store, overwrite=True, **options)
