"""Atlases of BrainGlobe, queried where they are: no voxel is read to open one.

Facts about the bucket are from its reader, https://github.com/brainglobe/brainglobe-atlasapi.
"""

import configparser
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import xarray as xr

from refspace.errors import FormatError, GridError, RemoteError, SourceError
from refspace.formats.directions import OPPOSITE
from refspace.formats.structures import parse_structures
from refspace.grid import Grid, parse_orientation, parse_spacing
from refspace.labels import labelled
from refspace.remote.objects import read_url
from refspace.sources.source import AtlasParts, Request, base_url
from refspace.store import StoredAtlas, open_atlas
from refspace.structure_tree import StructureTree

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
# Documents of some kB, and a table of structures.
_LARGEST_DOCUMENT, _LARGEST_TABLE = 2**20, 64 * 2**20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_VERSION = re.compile(r"\d+([._]\d+)*")
_NEAR_NAMES = 5
# What taking JSON of any other form apart can raise.
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
    name, version = _name(request)
    manifest = _manifest(bucket, name, version or _newest(bucket, name))
    wanted = manifest.resolution if request.resolution is None else request.resolution
    orientation = request.options.get("orientation")
    places = manifest.images()
    with ThreadPoolExecutor(len(places) + 1) as pool:
        structures = pool.submit(_structures, bucket, manifest)
        opened = {
            image: pool.submit(_volume, bucket, manifest, image, place, wanted, orientation)
            for image, place in places.items()
        }
        volumes = {image: future.result() for image, future in opened.items()}
        tree = structures.result()
    return AtlasParts(
        volumes["annotation"],
        tree,
        template=volumes.get("template"),
        hemispheres=volumes.get("hemispheres"),
        provenance=manifest.provenance(bucket.url(places["annotation"])),
    )


def _base(request: Request) -> str:
    base = base_url(request.options.get("base"), BASE_VARIABLE, BASE)
    if urlsplit(base).username is not None:
        raise SourceError(
            f"the base on {urlsplit(base).hostname} holds a user's name or password, which the "
            "store would keep; leave it out, and give storage_options="
        )
    return base


def _name(request: Request) -> tuple[str, str | None]:
    """Name and version that are asked for."""
    name, at, version = request.name.partition("@")
    given = request.options.get("version")
    if at and given is not None and str(given) != version:
        raise SourceError(f"version {version} and version {given} are asked for; give one")
    wanted = version if at else given
    if not _PLAIN_NAME.fullmatch(name):
        raise SourceError(f"{name!r} is no name of an atlas; it is like 'allen_mouse_25um'")
    if wanted is None:
        return name, None
    if not _VERSION.fullmatch(str(wanted)):
        raise SourceError(f"{wanted!r} is no version of an atlas; it is like '1.2'")
    return name, str(wanted).replace("_", ".")


@dataclass(frozen=True)
class _Bucket:
    """Folder of all atlases, at a path or URL."""

    base: str
    access: Mapping[str, Any]

    def url(self, path: str) -> str:
        return f"{self.base}/{path}"

    def read(self, path: str, limit: int) -> bytes:
        data = read_url(self.url(path), self.access.get("storage_options"), limit=limit)
        if len(data) > limit:
            raise FormatError(f"{self.url(path)}: larger than {limit >> 20} MiB, which none is")
        return data


# ----- which there are


def _versions(bucket: _Bucket) -> dict[str, str]:
    """Newest version of each atlas."""
    try:
        data = bucket.read(_VERSIONS_FILE, _LARGEST_DOCUMENT)
    except FileNotFoundError as error:
        raise RemoteError(
            f"{error}; there are no atlases of BrainGlobe at {bucket.base}: name the folder that "
            f"has atlases/ by base= or {BASE_VARIABLE}"
        ) from error
    parser = configparser.ConfigParser(interpolation=None)
    # Names of atlases are not to be turned into small letters.
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


# ----- what one is


@dataclass(frozen=True)
class _Manifest:
    """What an atlas says of itself, checked."""

    url: str
    fields: Mapping[str, Any]
    resolution: tuple[float, float, float]
    shape: tuple[int, ...]
    orientation: str

    def place(self, *keys: str) -> str:
        """Path of a part, below the bucket's folder."""
        part: Any = self.fields
        for key in (*keys, "location"):
            part = part.get(key) if isinstance(part, dict) else None
        names = part.strip("/").split("/") if isinstance(part, str) else [""]
        if not all(map(_PLAIN_NAME.fullmatch, names)):
            raise FormatError(
                f"{self.url}: the location of {' of '.join(keys[::-1])} is {part!r}; it must be a "
                "path below the folder of all atlases"
            )
        return "/".join(names)

    def images(self) -> dict[str, str]:
        """Paths of the images that the atlas has."""
        annotation = self.place("annotation_set")
        places = {"annotation": f"{annotation}/{_IMAGES['annotation']}"}
        inner = self.fields["annotation_set"].get("template")
        if inner or self.fields.get("template"):
            keys = ("annotation_set", "template") if inner else ("template",)
            places["template"] = f"{self.place(*keys)}/{_IMAGES['template']}"
        if self.fields.get("symmetric") is False:
            places["hemispheres"] = f"{annotation}/{_IMAGES['hemispheres']}"
        return places

    def provenance(self, url: str) -> dict[str, Any]:
        """Where the atlas comes from."""
        kept = ("name", "version", "citation", "species", "atlas_link")
        told = {key: self.fields[key] for key in kept if isinstance(self.fields.get(key), str)}
        return {"source": url, "manifest": self.url, **told}


def _manifest(bucket: _Bucket, name: str, version: str) -> _Manifest:
    path = f"atlases/{name}/{version.replace('.', '_')}/manifest.json"
    url = bucket.url(path)
    try:
        data = bucket.read(path, _LARGEST_DOCUMENT)
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
        orientation = orientation_of_origin(fields["orientation"])
        fields["annotation_set"].keys()
    except _NOT_AS_EXPECTED as error:
        raise FormatError(
            f"{url} is no manifest of an atlas ({type(error).__name__}: {error}); is it of version "
            "3 of BrainGlobe's format?"
        ) from error
    return _Manifest(url, fields, resolution, shape, orientation)


def orientation_of_origin(code: str) -> str:
    """Directions in which indices grow, from where they begin.

    BrainGlobe names the sides at which the first voxel lies.

    Examples
    --------
    >>> orientation_of_origin("asr")
    'PIL'
    """
    return parse_orientation("".join(OPPOSITE.get(letter, "?") for letter in code.upper()))


def _structures(bucket: _Bucket, manifest: _Manifest) -> StructureTree:
    path = f"{manifest.place('terminology')}/terminology.csv"
    return parse_structures(bucket.read(path, _LARGEST_TABLE), bucket.url(path))


# ----- its images


def _volume(
    bucket: _Bucket,
    manifest: _Manifest,
    image: str,
    place: str,
    resolution: float | Sequence[float],
    orientation: str | None,
) -> xr.DataArray:
    """Lazy volume of a resolution, whose corner is at 0."""
    atlas = _opened(bucket, manifest, place, orientation)
    number = atlas.level(resolution)
    level = atlas.levels[number].grid
    if parse_spacing(resolution) == manifest.resolution and level.shape != manifest.shape:
        raise GridError(
            f"{atlas.location.url}: the image has shape {level.shape}, the manifest "
            f"{manifest.shape}; the atlas contradicts itself, ask for another version of it"
        )
    used = parse_orientation(orientation or manifest.orientation)
    grid = Grid(level.shape, level.spacing, orientation=used)
    return labelled(atlas.volume(number).data, grid, image)


def _opened(
    bucket: _Bucket, manifest: _Manifest, place: str, orientation: str | None
) -> StoredAtlas:
    url = bucket.url(place)
    try:
        return open_atlas(url, orientation=manifest.orientation, **bucket.access)
    except GridError as error:
        if orientation is None:
            raise GridError(
                f"{error}. The manifest says {manifest.fields['orientation']!r}, which is "
                f"{manifest.orientation!r}; give orientation=, the directions in which the indices "
                "grow"
            ) from error
    # The axes state what the caller overrules.
    return open_atlas(url, **bucket.access)
