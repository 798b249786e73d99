"""Atlases of BrainGlobe, opened in their bucket: no voxel is read until one is needed.

Source of the layout: the bucket's reader, https://github.com/brainglobe/brainglobe-atlasapi.
"""

import configparser
import difflib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from refspace.errors import FormatError, GridError, RemoteError, SourceError
from refspace.formats.structures import parse_structures
from refspace.grid import OPPOSITE, Grid, parse_orientation, parse_spacing
from refspace.labels import labelled
from refspace.limits import check_limit, limit
from refspace.remote.objects import read_url
from refspace.sources.source import AtlasParts, Request, base_url
from refspace.store import StoredAtlas, open_atlas
from refspace.structure_tree import StructureTree
from refspace.types import Resolution

BASE = "https://brainglobe.s3.us-west-2.amazonaws.com/atlas"
BASE_VARIABLE = "REFSPACE_BRAINGLOBE"
_OPTIONS = ("version", "base", "orientation")
_VERSIONS_FILE = "atlases/last_versions.conf"
_VERSIONS_SECTION = "atlases"
_IMAGES = {
    "annotation": "annotations_compressed.ome.zarr",
    "template": "template.ome.zarr",
    "hemispheres": "hemispheres.ome.zarr",
}
# Limits of a document, which has some kB, and of a table of structures.
_DOCUMENT, _TABLE = "metadata_bytes", "ontology_bytes"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_VERSION = re.compile(r"\d+([._]\d+)*")
_NEAR_NAMES = 5
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
        another level of the same image is wanted. Options: ``version``; ``base``, URL of the folder
        of all atlases (also named by the environment variable ``REFSPACE_BRAINGLOBE``);
        ``orientation``, where the atlas contradicts itself.

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
    bucket = _Bucket(_base(request), request.access)
    name, version = _name_and_version(request)
    manifest = _manifest(bucket, name, version or _newest(bucket, name))
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
        volumes = {image: future.result() for image, future in opened.items()}
        tree = structures.result()
    return AtlasParts(
        volumes["annotation"],
        tree,
        template=volumes.get("template"),
        hemispheres=volumes.get("hemispheres"),
        provenance=manifest.provenance(bucket.url(paths["annotation"])),
    )


def _base(request: Request) -> str:
    return base_url(request.options.get("base"), BASE_VARIABLE, BASE)


def _name_and_version(request: Request) -> tuple[str, str | None]:
    """Name and version of the atlas that is requested; None for the newest version."""
    name, at, version = request.name.partition("@")
    option = request.options.get("version")
    if at and option is not None and str(option) != version:
        raise SourceError(f"version {version} and version {option} are asked for; give one")
    wanted = version if at else option
    if not _PLAIN_NAME.fullmatch(name):
        raise SourceError(f"{name!r} is no name of an atlas; it is like 'allen_mouse_25um'")
    if wanted is None:
        return name, None
    if not _VERSION.fullmatch(str(wanted)):
        raise SourceError(f"{wanted!r} is no version of an atlas; it is like '1.2'")
    return name, str(wanted).replace("_", ".")


@dataclass(frozen=True)
class _Bucket:
    """The folder of all atlases, at a path or URL, and how it is accessed."""

    base: str
    # They may hold keys, which must not stand in a log.
    access: Mapping[str, Any] = field(repr=False)

    def url(self, path: str) -> str:
        return f"{self.base}/{path}"

    def read(self, path: str, limit_name: str) -> bytes:
        options = self.access.get("storage_options")
        data = read_url(self.url(path), options, limit=limit(limit_name))
        check_limit(limit_name, len(data), f"{self.url(path)} has {len(data)} bytes or more")
        return data


# ----- atlases and versions


def _versions(bucket: _Bucket) -> dict[str, str]:
    """Newest version of each atlas."""
    try:
        data = bucket.read(_VERSIONS_FILE, _DOCUMENT)
    except FileNotFoundError as error:
        raise RemoteError(
            f"{error}; there are no atlases of BrainGlobe at {bucket.base}: name the folder that "
            f"has atlases/ by base= or {BASE_VARIABLE}"
        ) from error
    # No interpolation: a % in the file would raise.
    parser = configparser.ConfigParser(interpolation=None)
    # ConfigParser turns keys, here the names of atlases, into small letters by default.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(data.decode())
        return dict(parser[_VERSIONS_SECTION])
    except (UnicodeDecodeError, configparser.Error, KeyError) as error:
        raise FormatError(
            f"{bucket.url(_VERSIONS_FILE)} is no list of versions ({error}); is the host right?"
        ) from error


def _newest(bucket: _Bucket, name: str) -> str:
    versions = _versions(bucket)
    if name not in versions:
        raise _unknown(name, versions)
    version = versions[name].strip()
    if not _VERSION.fullmatch(version):
        raise FormatError(f"{bucket.url(_VERSIONS_FILE)} has version {version!r} of {name}")
    return version


def _unknown(name: str, versions: Mapping[str, str]) -> SourceError:
    near = difflib.get_close_matches(name, versions, _NEAR_NAMES, 0.5)
    listed = ", ".join(f"{n} ({versions[n]})" for n in near or sorted(versions)[:_NEAR_NAMES])
    hint = f"did you mean {listed}?" if near else f"there are {len(versions)}, like {listed}"
    return SourceError(f"brainglobe has no atlas {name!r}; {hint}")


# ----- the manifest of an atlas


@dataclass(frozen=True)
class _Manifest:
    """The manifest of an atlas: its checked fields."""

    url: str
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
        if not all(map(_PLAIN_NAME.fullmatch, names)):
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
        kept = ("name", "version", "citation", "species", "atlas_link")
        stated = {key: self.fields[key] for key in kept if isinstance(self.fields.get(key), str)}
        return {"source": url, "manifest": self.url, **stated}


def _manifest(bucket: _Bucket, name: str, version: str) -> _Manifest:
    # Folders of the bucket have 1_2 for version 1.2.
    path = f"atlases/{name}/{version.replace('.', '_')}/manifest.json"
    url = bucket.url(path)
    try:
        data = bucket.read(path, _DOCUMENT)
    except FileNotFoundError as error:
        versions = _versions(bucket)
        if name not in versions:
            raise _unknown(name, versions) from error
        raise SourceError(
            f"brainglobe has no version {version} of {name}; the newest is {versions[name]}"
        ) from error
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
    return _Manifest(url, fields, resolution, shape, orientation)


def orientation_from_origin(code: str) -> str:
    """Directions in which indices grow, from BrainGlobe's code of the sides of the first voxel.

    Examples
    --------
    >>> orientation_from_origin("asr")
    'PIL'
    """
    # "?" is no direction: parse_orientation refuses the code, and names it.
    return parse_orientation("".join(OPPOSITE.get(letter, "?") for letter in code.upper()))


def _structures(bucket: _Bucket, manifest: _Manifest) -> StructureTree:
    path = f"{manifest.location('terminology')}/terminology.csv"
    return parse_structures(bucket.read(path, _TABLE), bucket.url(path))


# ----- its images


def _volume(
    bucket: _Bucket,
    manifest: _Manifest,
    image: str,
    path: str,
    resolution: Resolution,
    orientation: str | None,
) -> xr.DataArray:
    """Lazy volume of a resolution, whose corner is at 0."""
    atlas = _open_image(bucket, manifest, path, orientation)
    level = atlas.level(resolution)
    stored = atlas.levels[level].grid
    if parse_spacing(resolution) == manifest.resolution and stored.shape != manifest.shape:
        raise GridError(
            f"{atlas.location.url}: the image has shape {stored.shape}, the manifest "
            f"{manifest.shape}; the atlas contradicts itself, ask for another version of it"
        )
    used = parse_orientation(orientation or manifest.orientation)
    # Without the origin of the image: coordinates of an atlas begin at its corner.
    grid = Grid(stored.shape, stored.spacing, orientation=used)
    return labelled(atlas.volume(level).data, grid, image)


def _open_image(
    bucket: _Bucket, manifest: _Manifest, path: str, orientation: str | None
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
