"""Folders and buckets of BrainGlobe's packaging: which atlases they have, and which versions.

The packaging of version 3 has ``atlases/NAME/X_Y/manifest.json``, and beside ``atlases`` the parts
that manifests name. The bucket has a list of the newest versions too; a folder that BrainGlobe's
own code writes has none, and where its reader keeps downloads, the list is that of the bucket.
"""

import configparser
import difflib
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refspace.errors import FormatError, GridError, RefspaceError, RemoteError, SourceError
from refspace.files import read_at_most
from refspace.grid import OPPOSITE, parse_orientation, parse_spacing
from refspace.limits import check_limit, limit
from refspace.remote.objects import list_folder, read_url
from refspace.sources.source import base_url
from refspace.store.location import reachable
from refspace.types import PathLike

BASE = "https://brainglobe.s3.us-west-2.amazonaws.com/atlas"
BASE_VARIABLE = "REFSPACE_BRAINGLOBE"
# Limits of a document, which has some kB, and of a table of structures.
DOCUMENT, TABLE = "metadata_bytes", "ontology_bytes"
ATLASES, MANIFEST = "atlases", "manifest.json"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
VERSION = re.compile(r"\d{1,9}([._]\d{1,9})*")
# Folder that BrainGlobe's own code makes within the one it is given.
_OWN_FOLDER = "brainglobe-atlasapi"
_VERSIONS_FILE = f"{ATLASES}/last_versions.conf"
_VERSION_FOLDER = re.compile(r"\d{1,9}(_\d{1,9})*")
_NEAR_NAMES = 5
# Files of an atlas of versions 1 and 2, and the pattern of its folder's name.
_CLASSIC_FILES = ("metadata.json", "structures.json", "annotation.tiff")
_CLASSIC_NAME = re.compile(r"(.+)_v(\d{1,9}(?:\.\d{1,9})*)")


@dataclass(frozen=True)
class Bucket:
    """The folder of all atlases, at a path or URL, and how it is accessed."""

    base: str
    # They may hold keys, which must not stand in a log.
    access: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> Path | None:
        """Folder of this machine; None of anything else."""
        return Path(self.base) if Path(self.base).is_dir() else None

    def url(self, path: str) -> str:
        """Path or URL of what has a path below the folder."""
        return f"{self.base}/{path}"

    def read(self, path: str, limit_name: str) -> bytes:
        """Read a file, up to the limit of that name."""
        options = self.access.get("storage_options")
        data = read_url(self.url(path), options, limit=limit(limit_name))
        check_limit(limit_name, len(data), f"{self.url(path)} has {len(data)} bytes or more")
        return data

    def names(self, path: str) -> list[str] | None:
        """Names of what is below a path; None where that cannot be listed."""
        try:
            return list_folder(self.url(path), self.access.get("storage_options"))
        except FileNotFoundError:
            return []


def find_bucket(base: object, access: Mapping[str, Any]) -> Bucket:
    """Find the folder of all atlases, also where the one around it is given, or that of names.

    Parameters
    ----------
    base
        Path or URL that the caller chose; None for no choice.
    access
        How it is accessed.
    """
    url = base_url(base, BASE_VARIABLE, BASE)
    if not (folder := Path(reachable(url))).is_dir():
        return Bucket(url, access)
    around = [folder.parent] if folder.name == ATLASES else []
    for each in (folder, folder / _OWN_FOLDER, *around):
        if (each / ATLASES).is_dir():
            return Bucket(str(each), access)
    return Bucket(str(folder), access)


# ----- versions


def by_number(version: str) -> tuple[int, ...]:
    """Key that sorts versions by their numbers.

    Examples
    --------
    >>> sorted(["1.10", "1.9", "2"], key=by_number)
    ['1.9', '1.10', '2']
    """
    return tuple(map(int, re.split("[._]", version)))


def listed_versions(bucket: Bucket, name: str) -> list[str] | None:
    """Versions that are there of an atlas, the newest first; None where nothing can be listed."""
    names = bucket.names(f"{ATLASES}/{name}")
    if names is None:
        return None
    found = [each for each in names if _VERSION_FOLDER.fullmatch(each)]
    if bucket.folder is not None:
        # A download that was interrupted has no manifest.
        found = [v for v in found if (bucket.folder / ATLASES / name / v / MANIFEST).is_file()]
    return [each.replace("_", ".") for each in sorted(found, key=by_number, reverse=True)]


def newest_version(bucket: Bucket, name: str) -> str:
    """Newest version of an atlas.

    A list of versions counts where the bucket has one; else, what is there.

    Raises
    ------
    SourceError
        If there is no such atlas.
    RemoteError
        If there is no list of versions, and no way to make one.
    FormatError
        If the list is none, or the atlas is of the packaging before version 3.
    """
    stated = stated_versions(bucket)
    if stated and name in stated:
        return _checked(bucket, name, stated[name])
    try:
        found = listed_versions(bucket, name)
    except RemoteError as error:
        error.add_note(f"a version that is given needs no list: 'brainglobe:{name}@1.2'")
        raise
    if found:
        return found[0]
    if found is None and stated is None:
        raise RemoteError(
            f"{bucket.url(_VERSIONS_FILE)} does not exist, and a web server cannot be asked which "
            f"versions there are: give one, as in 'brainglobe:{name}@1.2'. If there are "
            f"{_no_atlases(bucket)}"
        )
    raise unknown_atlas(bucket, name, stated)


def stated_versions(bucket: Bucket) -> dict[str, str] | None:
    """Newest version of each atlas, as the list of a bucket has it; None without a list.

    In a folder of this machine it is a copy of the bucket's, which says nothing of the folder.
    """
    if bucket.folder is not None:
        return None
    try:
        data = bucket.read(_VERSIONS_FILE, DOCUMENT)
    except FileNotFoundError:
        return None
    # No interpolation: a % in the file would raise.
    parser = configparser.ConfigParser(interpolation=None)
    # ConfigParser turns keys, here the names of atlases, into small letters by default.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(data.decode())
        versions = dict(parser[ATLASES])
    except (UnicodeDecodeError, configparser.Error, KeyError) as error:
        raise FormatError(
            f"{bucket.url(_VERSIONS_FILE)} is no list of versions ({error}); is the host right?"
        ) from error
    return {name: version.strip() for name, version in versions.items()}


def _checked(bucket: Bucket, name: str, version: str) -> str:
    if not VERSION.fullmatch(version):
        raise FormatError(f"{bucket.url(_VERSIONS_FILE)} has version {version!r} of {name}")
    return version


# ----- names


def atlas_names(bucket: Bucket) -> list[str] | None:
    """Names of the atlases that are there; None where nothing can be listed."""
    names = bucket.names(ATLASES)
    if names is None or (folder := bucket.folder) is None:
        return None if names is None else [each for each in names if is_atlas_name(each)]
    return [each for each in names if is_atlas_name(each) and (folder / ATLASES / each).is_dir()]


def is_atlas_name(name: str) -> bool:
    """Whether a name in the folder of atlases is one that can be asked for."""
    # Files beside the atlases, like the list of versions, end so.
    return PLAIN_NAME.fullmatch(name) is not None and not name.endswith((".conf", ".json"))


def no_version(bucket: Bucket, name: str, version: str) -> RefspaceError:
    """Error on a version that is not there."""
    stated = stated_versions(bucket)
    if stated and name in stated:
        hint = f"the newest is {stated[name]}"
    elif found := listed_versions(bucket, name):
        hint = f"{bucket.base} has {', '.join(found)}"
    elif found is None and stated is None:
        return RemoteError(
            f"{bucket.url(ATLASES)} has no version {version} of {name}; are name and version as "
            f"they are there, and does {bucket.base} have {ATLASES}/?"
        )
    else:
        return unknown_atlas(bucket, name, stated)
    return SourceError(f"brainglobe has no version {version} of {name}; {hint}")


def unknown_atlas(bucket: Bucket, name: str, stated: Mapping[str, str] | None) -> RefspaceError:
    """Error on an atlas that is not there.

    Parameters
    ----------
    bucket
        Where it is not.
    name
        Its name.
    stated
        The list of versions, where there is one.
    """
    if (classic := _classic_below(bucket, name)) is not None:
        return classic_error(classic)
    names = sorted(stated or atlas_names(bucket) or ())
    if not names:
        return RemoteError(f"there are {_no_atlases(bucket)}")
    near = difflib.get_close_matches(name, names, _NEAR_NAMES, 0.5)
    versions = {each: f" ({v})" for each, v in (stated or {}).items()}
    listed = ", ".join(f"{n}{versions.get(n, '')}" for n in near or names[:_NEAR_NAMES])
    hint = f"did you mean {listed}?" if near else f"there are {len(names)}, like {listed}"
    where = "" if bucket.folder is None else f" in {bucket.base}"
    return SourceError(f"brainglobe has no atlas {name!r}{where}; {hint}")


def nothing_listed(bucket: Bucket) -> SourceError:
    """Error on a folder or bucket of which there is no list of atlases."""
    if bucket.folder is None and bucket.names(ATLASES) is None:
        return SourceError(
            f"{bucket.url(_VERSIONS_FILE)} does not exist or is empty, and a web server cannot be "
            f"asked what it has; if there are {_no_atlases(bucket)}"
        )
    return SourceError(f"there are {_no_atlases(bucket)}")


def _no_atlases(bucket: Bucket) -> str:
    return (
        f"no atlases of BrainGlobe at {bucket.base}: name the folder that has {ATLASES}/ by base= "
        f"or {BASE_VARIABLE}"
    )


# ----- folders that are named by their path


def find_atlas(path: PathLike) -> tuple[str, str] | None:
    """Folder of all atlases and name, like ``NAME@1.2``, of the atlas that a local folder is.

    Parameters
    ----------
    path
        The folder of a version, of an atlas with all its versions, or of all atlases, if it has
        one alone.

    Returns
    -------
    tuple of str or None
        None if the folder is none of these.

    Raises
    ------
    SourceError
        If it is the folder of several atlases.
    FormatError
        If it is an atlas of the packaging before version 3.
    """
    folder = Path(reachable(os.fspath(path)))
    if not folder.is_dir():
        return None
    if is_classic(folder):
        raise classic_error(folder)
    is_version = len(folder.parents) > 2 and folder.parents[1].name == ATLASES
    if is_version and (folder / MANIFEST).is_file():
        return str(folder.parents[2]), f"{folder.parent.name}@{folder.name}"
    if folder.parent.name == ATLASES and any(folder.glob(f"*/{MANIFEST}")):
        return str(folder.parents[1]), folder.name
    bucket = find_bucket(str(folder), {})
    names = (atlas_names(bucket) or []) if (Path(bucket.base) / ATLASES).is_dir() else []
    names = [name for name in names if listed_versions(bucket, name)]
    if len(names) > 1:
        raise SourceError(
            f"{path} has {len(names)} atlases of BrainGlobe, like {names[0]}: name one, as in "
            f"refspace.open('brainglobe:{names[0]}', base={str(path)!r}), or by its folder "
            f"{Path(bucket.base) / ATLASES / names[0]}"
        )
    return (bucket.base, names[0]) if names else None


def is_classic(folder: Path) -> bool:
    """Whether a folder is an atlas of versions 1 and 2 of the packaging, with volumes in TIFF."""
    return all((folder / name).is_file() for name in _CLASSIC_FILES)


def _classic_below(bucket: Bucket, name: str) -> Path | None:
    """Folder of an atlas of versions 1 and 2, beside or instead of those of version 3."""
    if (folder := bucket.folder) is None:
        return None
    around = (folder, folder.parent) if folder.name == _OWN_FOLDER else (folder,)
    found = {
        by_number(match[2]): each
        for place in around
        for each in place.iterdir()
        if (match := _CLASSIC_NAME.fullmatch(each.name)) and match[1] == name and is_classic(each)
    }
    return found[max(found)] if found else None


def classic_error(folder: Path) -> FormatError:
    """Error on an atlas of versions 1 and 2, with the command that makes a store of it."""
    match = _CLASSIC_NAME.fullmatch(folder.name)
    name = match[1] if match else folder.name
    words = [
        "refspace",
        "convert",
        f"{folder / 'annotation.tiff'}",
        f"{folder / 'structures.json'}",
    ]
    words += [f"{name}.zarr", *_classic_geometry(folder)]
    for option in ("reference", "hemispheres"):
        if (file := folder / f"{option}.tiff").is_file():
            words += ["--template" if option == "reference" else "--hemispheres", str(file)]
    newer = f", or get version 3 of it: 'brainglobe:{name}'" if match else ""
    return FormatError(
        f"{folder} is an atlas of BrainGlobe's packaging before version 3, with volumes in TIFF; "
        f"make a store of it: {shlex.join(words)}{newer}"
    )


def _classic_geometry(folder: Path) -> list[str]:
    """Options of the command for what the metadata of an atlas of versions 1 and 2 states."""
    data = read_at_most(folder / "metadata.json", limit(DOCUMENT))
    try:
        fields = json.loads(data)
        orientation = orientation_from_origin(fields["orientation"])
        lengths = [f"{length:g}" for length in parse_spacing(fields["resolution"])]
    except (AttributeError, GridError, LookupError, RecursionError, TypeError, ValueError):
        return ["--orientation", "XYZ", "--resolution", "UM"]
    resolution = ",".join(lengths if len(set(lengths)) > 1 else lengths[:1])
    return ["--orientation", orientation, "--resolution", resolution]


def orientation_from_origin(code: str) -> str:
    """Directions in which indices grow, from BrainGlobe's code of the sides of the first voxel.

    Examples
    --------
    >>> orientation_from_origin("asr")
    'PIL'
    """
    # "?" is no direction: parse_orientation refuses the code, and names it.
    return parse_orientation("".join(OPPOSITE.get(letter, "?") for letter in code.upper()))
