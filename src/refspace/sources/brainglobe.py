"""Atlases of BrainGlobe, opened in their bucket: no voxel is read until one is needed.

Source of the layout: the bucket's reader, https://github.com/brainglobe/brainglobe-atlasapi.
"""

import json
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import xarray as xr

from refspace.errors import FormatError, GridError, RefspaceError, SourceError
from refspace.formats.structures import parse_structures
from refspace.grid import Grid, parse_orientation, parse_spacing
from refspace.labels import labelled
from refspace.labels.knowledge import BlockKnowledge
from refspace.reference_space.stores import kept_knowledge
from refspace.sources.brainglobe_bucket import (
    ATLASES,
    DOCUMENT,
    MANIFEST,
    PLAIN_NAME,
    TABLE,
    VERSION,
    Bucket,
    find_bucket,
    newest_version,
    no_version,
    orientation_from_origin,
)
from refspace.sources.source import AtlasParts, Request
from refspace.store import StoredAtlas, open_atlas
from refspace.structure_tree import StructureTree
from refspace.types import Resolution

_OPTIONS = ("version", "base", "orientation")
_IMAGES = {
    "annotation": "annotations_compressed.ome.zarr",
    "template": "template.ome.zarr",
    "hemispheres": "hemispheres.ome.zarr",
}
# Errors that JSON of any other form can cause where its fields are read.
_NOT_AS_EXPECTED = (
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


def brainglobe(request: Request) -> AtlasParts:
    """Source ``brainglobe``: an atlas of the BrainGlobe bucket, version 3 of its format.

    Parameters
    ----------
    request
        Name like ``allen_mouse_25um``, or with a version ``allen_mouse_25um@1.2``; resolution, if
        another level of the same image is wanted. Options: ``version``; ``base``, path or URL of
        the folder of all atlases (also named by the environment variable ``REFSPACE_BRAINGLOBE``),
        which BrainGlobe's own code may have written; ``orientation``, where the atlas contradicts
        itself. Without a version it is the newest: the one that a bucket's list of versions states,
        or else the highest of those that are there.

    Raises
    ------
    SourceError
        If there is no such atlas, version or option.
    GridError
        If there is no such resolution, or the atlas contradicts itself.
    FormatError
        If a file of the atlas is not what it should be.
    RemoteError
        If the host cannot be reached, or does not send what it should.
    """
    request.check_options(_OPTIONS)
    bucket = find_bucket(request.options.get("base"), request.access)
    name, version = _name_and_version(request)
    manifest = read_manifest(bucket, name, version or newest_version(bucket, name))
    wanted = manifest.resolution if request.resolution is None else request.resolution
    orientation = request.options.get("orientation")
    paths = manifest.images()
    # At the same time, because opening is a chain of small requests, each of which waits.
    with ThreadPoolExecutor(len(paths) + 1) as pool:
        structures = pool.submit(_structures, bucket, manifest)
        opened = {
            image: pool.submit(_volume, bucket, manifest, image, path, wanted, orientation)
            for image, path in paths.items()
        }
        volumes = _gathered(opened)
        tree = structures.result()
    arrays = {image: volume.array for image, volume in volumes.items()}
    return AtlasParts(
        arrays["annotation"],
        tree,
        template=arrays.get("template"),
        hemispheres=arrays.get("hemispheres"),
        blocks=volumes["annotation"].blocks(),
        provenance=manifest.provenance(bucket.url(paths["annotation"])),
    )


def annotation_image(request: Request) -> tuple[str, str]:
    """URL of the image of an atlas's annotation, and the directions of its axes.

    Parameters
    ----------
    request
        As for `brainglobe`.

    Raises
    ------
    SourceError, FormatError, RemoteError
        As for `brainglobe`.
    """
    request.check_options(_OPTIONS)
    bucket = find_bucket(request.options.get("base"), request.access)
    name, version = _name_and_version(request)
    manifest = read_manifest(bucket, name, version or newest_version(bucket, name))
    return bucket.url(manifest.images()["annotation"]), manifest.orientation


def _name_and_version(request: Request) -> tuple[str, str | None]:
    """Name and version of the atlas that is requested; None for the newest version."""
    name, at, version = request.name.partition("@")
    option = request.options.get("version")
    if at and option is not None and str(option) != version:
        raise SourceError(f"version {version} and version {option} are asked for; give one")
    wanted = version if at else option
    if not PLAIN_NAME.fullmatch(name):
        raise SourceError(f"{name!r} is no name of an atlas; it is like 'allen_mouse_25um'")
    if wanted is None:
        return name, None
    if not VERSION.fullmatch(str(wanted)):
        raise SourceError(f"{wanted!r} is no version of an atlas; it is like '1.2'")
    return name, str(wanted).replace("_", ".")


# ----- the manifest of an atlas


@dataclass(frozen=True)
class Manifest:
    """The manifest of an atlas: its checked fields."""

    url: str
    version: str
    fields: Mapping[str, Any]
    resolution: tuple[float, float, float]
    shape: tuple[int, ...]
    orientation: str

    def location(self, *keys: str) -> str:
        """Path of a part of the atlas, below the folder of the bucket."""
        part: Any = self.fields
        for key in (*keys, "location"):
            part = part.get(key) if isinstance(part, dict) else None
        names = part.strip("/").split("/") if isinstance(part, str) else [""]
        # Plain names alone: ".." would lead out of the folder.
        if not all(map(PLAIN_NAME.fullmatch, names)):
            raise FormatError(
                f"{self.url}: the location of {' of '.join(keys[::-1])} is {part!r}; it must be a "
                "path below the folder of all atlases"
            )
        return "/".join(names)

    def images(self) -> dict[str, str]:
        """Paths of the images of the atlas."""
        annotation = self.location("annotation_set")
        paths = {"annotation": f"{annotation}/{_IMAGES['annotation']}"}
        inner = self.fields["annotation_set"].get("template")
        if inner or self.fields.get("template"):
            keys = ("annotation_set", "template") if inner else ("template",)
            paths["template"] = f"{self.location(*keys)}/{_IMAGES['template']}"
        if self.fields.get("symmetric") is False:
            paths["hemispheres"] = f"{annotation}/{_IMAGES['hemispheres']}"
        return paths

    def provenance(self, url: str) -> dict[str, Any]:
        """Origin of the atlas, for its store."""
        kept = ("name", "citation", "species", "atlas_link")
        stated = {key: self.fields[key] for key in kept if isinstance(self.fields.get(key), str)}
        return {"source": url, "manifest": self.url, "version": self.version, **stated}


def read_manifest(bucket: Bucket, name: str, version: str) -> Manifest:
    """Manifest of a version of an atlas."""
    # Folders of the bucket have 1_2 for version 1.2.
    path = f"{ATLASES}/{name}/{version.replace('.', '_')}/{MANIFEST}"
    url = bucket.url(path)
    try:
        data = bucket.read(path, DOCUMENT)
    except FileNotFoundError as error:
        raise no_version(bucket, name, version) from error
    try:
        fields = json.loads(data)
        resolution = parse_spacing([float(length) for length in fields["resolution"]])
        shape = tuple(int(count) for count in fields["shape"])
        orientation = orientation_from_origin(fields["orientation"])
        fields["annotation_set"].keys()
    except _NOT_AS_EXPECTED as error:
        raise FormatError(
            f"{url} is no manifest of an atlas ({type(error).__name__}: {error}); is it of version "
            "3 of BrainGlobe's format?"
        ) from error
    return Manifest(url, version, fields, resolution, shape, orientation)


def _structures(bucket: Bucket, manifest: Manifest) -> StructureTree:
    path = f"{manifest.location('terminology')}/terminology.csv"
    return parse_structures(bucket.read(path, TABLE), bucket.url(path))


# ----- its images


@dataclass(frozen=True)
class _Volume:
    """Lazy volume of a level of an image."""

    array: xr.DataArray
    atlas: StoredAtlas
    level: int

    def blocks(self) -> BlockKnowledge | None:
        """What a label index that is kept of the level says of its blocks."""
        kept = self.atlas.levels[self.level].kept
        if kept is None:
            return None
        return kept_knowledge(self.atlas, self.level, kept, self.array.data.chunks)


class _NoVoxelsError(SourceError):
    """An image in a folder of this machine has metadata, and no voxels."""


def _gathered(opened: Mapping[str, "Future[_Volume]"]) -> dict[str, _Volume]:
    """Volumes that were opened; a template whose voxels are not here is left out."""
    volumes = {}
    for image, future in opened.items():
        try:
            volumes[image] = future.result()
        except _NoVoxelsError as error:
            if image != "template":
                raise
            warnings.warn(f"the atlas is opened without its template: {error}", stacklevel=4)
    return volumes


def _has_voxels(atlas: StoredAtlas, level: int) -> bool:
    """Whether anything of a level is stored beside its metadata, where that can be seen."""
    if (folder := atlas.location.local_path) is None:
        return True
    files = (each for each in (folder / atlas.levels[level].path).rglob("*") if each.is_file())
    return any(each.suffix != ".json" for each in files)


def _volume(
    bucket: Bucket,
    manifest: Manifest,
    image: str,
    path: str,
    resolution: Resolution,
    orientation: str | None,
) -> _Volume:
    """Lazy volume of a resolution, whose corner is at 0."""
    atlas = _open_image(bucket, manifest, path, orientation)
    level = atlas.level(resolution)
    if not _has_voxels(atlas, level):
        raise _NoVoxelsError(
            f"{atlas.location.url}/{atlas.levels[level].path} has no voxels: BrainGlobe's reader "
            f"downloads those of the {image} when it is first asked for them. Ask it for them, or "
            "leave base out to have them from BrainGlobe's bucket"
        )
    stored = atlas.levels[level].grid
    if parse_spacing(resolution) == manifest.resolution and stored.shape != manifest.shape:
        raise GridError(
            f"{atlas.location.url}: the image has shape {stored.shape}, the manifest "
            f"{manifest.shape}; the atlas contradicts itself, ask for another version of it"
        )
    used = parse_orientation(orientation or manifest.orientation)
    # Without the origin of the image: coordinates of an atlas begin at its corner.
    grid = Grid(stored.shape, stored.spacing, orientation=used)
    return _Volume(labelled(atlas.volume(level).data, grid, image), atlas, level)


def _open_image(
    bucket: Bucket, manifest: Manifest, path: str, orientation: str | None
) -> StoredAtlas:
    url = bucket.url(path)
    try:
        return open_atlas(url, orientation=manifest.orientation, **bucket.access)
    except GridError as error:
        if orientation is None:
            raise GridError(
                f"{error}. The manifest says {manifest.fields['orientation']!r}, which is "
                f"{manifest.orientation!r}; give orientation=, the directions in which the indices "
                "grow"
            ) from error
    # Without the manifest's orientation, which the axes of the image contradict: that of the caller
    # overrules both.
    return open_atlas(url, **bucket.access)


def path_here(bucket: Bucket, manifest: Manifest) -> str | None:
    """Folder of an atlas whose annotation has voxels on this machine; None of any other."""
    try:
        path = manifest.images()["annotation"]
        _volume(bucket, manifest, "annotation", path, manifest.resolution, manifest.orientation)
    except RefspaceError:
        return None
    return manifest.url.removesuffix(f"/{MANIFEST}")
