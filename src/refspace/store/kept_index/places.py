"""Where the label index of an image is kept: beside the image, or in the cache of this user."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refspace.errors import RefspaceError, RemoteError, StoreError
from refspace.files import atomic_write, explained, first_link, make_folder
from refspace.limits import check_limit
from refspace.remote.cache_root import default_root
from refspace.remote.objects import read_url
from refspace.safe_text import without_secrets
from refspace.store.kept_index.packed import PackedIndex, most_bytes
from refspace.store.location import Location

ENDING = ".label_index"
"""Follows the name of the image in the name of its index."""

_FOREIGN_SIGN = re.compile(r"[^A-Za-z0-9_.+=@,~-]")


@dataclass(frozen=True)
class Place:
    """A place for the index of an image.

    Parameters
    ----------
    url
        Path or URL of the object.
    words
        Where that is, in words.
    location
        Where the object is, and how that is reached; None for one that the caller has named.
    storage_options
        What fsspec needs to reach what the caller has named.
    """

    # It may hold a key, which must not stand in a log.
    url: str = field(repr=False)
    words: str
    location: Location | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The URL without secrets."""
        return without_secrets(self.url)

    def read(self) -> PackedIndex | None:
        """What is kept here; None if nothing is, or nobody may look.

        Raises
        ------
        FormatError
            If it is no index, or a damaged one.
        StoreError
            If there is something that cannot be read.
        """
        try:
            data = self._read()
        except (RemoteError, PermissionError):
            # No right to read is how some servers say that nothing is there; others send a page.
            return None
        return None if data is None else PackedIndex.from_bytes(data)

    def _read(self) -> bytes | None:
        if self.location is not None:
            return self.location.read(self.key, most_bytes())
        try:
            data = read_url(self.url, self.storage_options, limit=most_bytes())
        except FileNotFoundError:
            return None
        check_limit("index_bytes", len(data), f"it has {len(data)} bytes or more")
        return data

    @property
    def key(self) -> str:
        """Name of the object in its folder."""
        return _split(self.url)[1]

    @property
    def folder(self) -> Location:
        """Where the object is."""
        return self.location or Location(_split(self.url)[0], self.storage_options)

    @property
    def file(self) -> Path | None:
        """The object as a file of this machine; None for anything else."""
        return None if (folder := self.folder.local_path) is None else folder / self.key

    def refuse_folder(self) -> None:
        """Refuse a place that is a folder, or has no name, before anything is made for it.

        Raises
        ------
        StoreError
            If it is.
        """
        if self.key in ("", ".", "..") or ((file := self.file) is not None and file.is_dir()):
            raise StoreError(f"{self.name or 'no name'} is a folder; give the name of a file")

    def write(self, packed: PackedIndex, scratch: Path) -> None:
        """Keep an index here; a reader meets the one before, or this one.

        Parameters
        ----------
        packed
            The index.
        scratch
            Folder for what is not whole yet, if it is beside the object.

        Raises
        ------
        WriteError
            If there is no right to, or no room.
        RemoteError, StoreError
            If another machine does not take it.
        """
        if (target := self.file) is not None:
            make_folder(target.parent)
            if scratch.parent != target.parent:  # of another place, and perhaps another disk
                with atomic_write(target, through_links=False) as written:
                    written.write_bytes(packed.data)
                return
            temporary = scratch / self.key
            with explained(target):
                # Not beside the target: what a killed process leaves is in the scratch folder.
                with atomic_write(temporary, through_links=False) as written:
                    written.write_bytes(packed.data)
                temporary.replace(target)
            return
        try:
            self.folder.write(self.key, packed.data)
        except RefspaceError:
            raise
        except Exception as error:  # whatever the file system's own library raises
            raise RemoteError(f"{self.name} cannot be written: {type(error).__name__}") from None


def given_place(url: str, storage_options: Mapping[str, Any] | None) -> Place:
    """Place of an index that the caller names by its path or URL."""
    if "://" not in url:
        url = str(Path(url).expanduser())
    elif url.startswith(("file://", "local://")):
        url = str(Location(url).local_path)
    return Place(url, "there", None, dict(storage_options or {}))


def _split(url: str) -> tuple[str, str]:
    """Folder of an object, and its name in it.

    Examples
    --------
    >>> _split("a/b"), _split("b"), _split("/b"), _split("s3://bucket/b"), _split("memory://b")
    (('a', 'b'), ('.', 'b'), ('/', 'b'), ('s3://bucket', 'b'), ('memory://', 'b'))
    """
    folder, slash, name = url.rpartition("/")
    if folder.endswith(":/"):
        return f"{folder}/", name  # the root of a file system has no other name
    return folder or slash or ".", name


def index_places(location: Location) -> tuple[Place, ...]:
    """Places where the index of an image may be, in the order in which they are looked at.

    Parameters
    ----------
    location
        The image.
    """
    return tuple(filter(None, (beside(location), in_cache(location))))


def beside(location: Location) -> Place | None:
    """Place beside an image: the object of its name and `ENDING`; None where there is no beside.

    That of labels within an image is beside the image: what is not of zarr would be noticed within.

    Examples
    --------
    >>> beside(Location("s3://bucket/brain.ome.zarr")).url
    's3://bucket/brain.ome.zarr.label_index'
    >>> beside(Location("s3://bucket/a.zarr/labels/brain")).url
    's3://bucket/a.zarr.labels.brain.label_index'
    >>> beside(Location("s3://bucket")) is beside(Location("zip://a::b.zip")) is None
    True
    """
    url = str(location.local_path or location.url).replace("\\", "/")
    url = re.sub(r"(?<=\.zarr)/labels/(?=[^/]+$)", ".labels.", url)
    folder, slash, name = url.rpartition("/") if "::" not in url else ("",) * 3
    if not slash or not name or folder.endswith((":/", ":")) or re.search(r"[?#]", name):
        return None
    around = Location(folder or "/", location.storage_options, location.engine)
    return Place(f"{folder}/{name}{ENDING}", "beside the image", around)


def in_cache(location: Location) -> Place:
    """Place in the cache of this user.

    Raises
    ------
    StoreError
        If a symbolic link is in the way.
    """
    identity = location.identity
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    readable = _FOREIGN_SIGN.sub("_", identity.rpartition("/")[2])[:80]
    root, key = default_root(), f"indices/{readable}-{digest}{ENDING}"
    if link := first_link(root, key):
        raise StoreError(f"{root / link} is a symbolic link, which is not followed in the cache")
    folder = Location(str((root / key).parent))
    return Place(str(root / key), "in the cache", folder)


def may_write(place: Place) -> bool:
    """Whether an index may be kept at a place, as far as that can be told without trying.

    A web server takes none; of a bucket only trying can tell.
    """
    if place.location is None or place.location.url.startswith(("http://", "https://")):
        return False
    if (file := place.file) is None:
        return True
    return os.access(file.parent, os.W_OK | os.X_OK) and not file.is_dir()
