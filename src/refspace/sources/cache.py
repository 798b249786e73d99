"""The cache: a folder for downloaded files, and for the stores that are made of them."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from refspace.errors import StoreError
from refspace.files import exclusive_lock, first_link, make_folder
from refspace.remote.cache_root import CACHE_VARIABLE, default_root
from refspace.remote.download import Progress, download
from refspace.safe_text import url_identity
from refspace.types import PathLike

# Hexadecimal digits of a digest in a name. It keeps apart only what has the same readable name.
_KEY_DIGITS = 8
# Names that every file system allows: letters, digits and a few signs, a letter or digit first.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@,~-]{0,99}")
_FOREIGN_SIGN = re.compile(r"[^A-Za-z0-9_.+=@,~-]")
# Names of devices on Windows, reserved with any ending.
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


class Cache:
    """A folder for downloads and for stores made of them; it is created at the first download.

    Parameters
    ----------
    root
        The folder. By default the one that the environment variable ``REFSPACE_CACHE`` names, or
        else the user's folder for caches of refspace.
    refresh
        Whether files are downloaded again that were downloaded before.

    Examples
    --------
    >>> cache = Cache("atlases")
    >>> cache.path("https://example.org/ccf/annotation_25.nrrd").as_posix()
    'atlases/downloads/example.org/ccf/annotation_25.nrrd'
    >>> cache.store({"source": "allen", "name": "ccf_2017", "resolution": 25}).as_posix()
    'atlases/atlases/allen/ccf_2017_25um-5c38a283.zarr'
    """

    def __init__(self, root: PathLike | None = None, *, refresh: bool = False) -> None:
        self.root = default_root() if root is None else Path(root).expanduser()
        self.refresh = refresh

    def __repr__(self) -> str:
        return f"Cache({str(self.root)!r})"

    def path(self, url: str) -> Path:
        """Path of a download, whether it exists or not.

        Parameters
        ----------
        url
            URL of the file.
        """
        return self.root.joinpath("downloads", *_names(url))

    def file(
        self,
        url: str,
        *,
        target: PathLike | None = None,
        sha256: str | None = None,
        nbytes: int | None = None,
        progress: Progress | None = None,
        check: Callable[[Path], object] | None = None,
        remedies: Sequence[str] = (),
    ) -> Path:
        """Path of a file from the web, downloaded at the first call.

        Parameters
        ----------
        url
            HTTP or HTTPS URL.
        target
            Path to download to, if not that in the cache.
        sha256, nbytes, progress, check, remedies
            As for `refspace.remote.download.download`.

        Raises
        ------
        FileNotFoundError
            If the server has no such file.
        RemoteError
            If the host cannot be reached, or sends something else.
        """
        path = self.path(url) if target is None else Path(target)
        if target is None:
            self._refuse_links(path)
        remedies = [
            *remedies,
            f"set {CACHE_VARIABLE} to a copy of the cache of a machine that has it",
        ]
        with self._naming_folder():
            download(
                url,
                path,
                sha256=sha256,
                nbytes=nbytes,
                progress=progress,
                check=check,
                remedies=remedies,
                refresh=self.refresh,
            )
        return path

    def _refuse_links(self, path: Path) -> None:
        """Refuse symbolic links in the cache, behind which a file could be anyone's."""
        if link := first_link(self.root, path.relative_to(self.root).as_posix()):
            raise StoreError(
                f"{self.root / link} is a symbolic link, which is not followed within the cache; "
                f"remove it, or name the folder that it leads to by {CACHE_VARIABLE}"
            )

    @contextmanager
    def _naming_folder(self) -> Iterator[None]:
        """Add the folder of the cache to errors of the system, such as a full disk."""
        try:
            yield
        except OSError as error:
            # Errors of remote hosts are OSErrors too, but without an error number.
            if error.errno is not None:
                error.add_note(
                    f"the cache is {self.root}; {CACHE_VARIABLE} can name another folder"
                )
            raise

    def store(self, key: Mapping[str, Any]) -> Path:
        """Path of a store, whether it exists or not.

        Parameters
        ----------
        key
            All that the content of the store depends on, as JSON values. Its ``source``, ``name``
            and ``resolution`` can be read in the path, a digest stands for the rest.
        """
        text = json.dumps(key, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
        name = "_".join([str(key["name"]), *_resolution_name(key.get("resolution"))])
        readable = _FOREIGN_SIGN.sub("_", name)[:80]
        return self.root / "atlases" / str(key["source"]) / f"{readable}-{digest}.zarr"

    def stores(self, source: str) -> list[Path]:
        """Paths of the stores of a source that are there, in order.

        Parameters
        ----------
        source
            Name of the source.
        """
        folder = self.root / "atlases" / source
        # Links are not followed within the cache.
        return sorted(
            path
            for path in folder.glob("*.zarr")
            if not first_link(self.root, path.relative_to(self.root).as_posix())
        )

    @contextmanager
    def locked(self, store: Path) -> Iterator[None]:
        """Hold a lock while a store is made; other processes that want the store wait.

        Parameters
        ----------
        store
            Path of the store.
        """
        lock = store.with_name(f".{store.name}.fetch.lock")
        with self._naming_folder():
            make_folder(store.parent)
        with exclusive_lock(lock, waiting_for=f"making {store}"):
            yield


def _resolution_name(resolution: Any) -> list[str]:
    if resolution is None:
        return []
    lengths = resolution if isinstance(resolution, Sequence) else [resolution]
    return ["x".join(f"{length:g}" for length in lengths) + "um"]


def _names(url: str) -> list[str]:
    """Names of the folders and of the file for a URL, one for each of its parts.

    Whatever the URL holds, no name leads out of the folder. Where a name cannot be that of the URL,
    or the URL is more than a path, a digest in the last name keeps it apart from others.
    """
    parts = urlsplit(url)
    host = f"{parts.hostname}_{parts.port}" if parts.port else str(parts.hostname)
    plain = [host, *unquote(parts.path).removeprefix("/").split("/")]
    names = [_name(part) for part in plain]
    if names != plain or set("?#%@").intersection(url):
        stem, dot, endings = names[-1].partition(".")
        digest = hashlib.sha256(url_identity(url).encode()).hexdigest()[:_KEY_DIGITS]
        names[-1] = f"{stem}-{digest}{dot}{endings}"
    return names


def _name(part: str) -> str:
    """Name of a file for a part of a path: the part itself where that is possible."""
    if _PLAIN_NAME.fullmatch(part) and part[-1] != "." and not _DEVICE.fullmatch(part):
        return part
    # Long names keep their end, with the ending by which formats are recognised.
    return "_" + _FOREIGN_SIGN.sub("_", part)[-80:].strip(".")
