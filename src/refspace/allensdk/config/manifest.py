"""``Manifest``: where the files of a cache are, as AllenSDK records it in ``manifest.json``."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from refspace.allensdk.missing import AllenSDKClass
from refspace.errors import FormatError
from refspace.files import atomic_write, make_folder, read_at_most
from refspace.limits import check_limit, limit
from refspace.safe_text import shown
from refspace.types import PathLike

Entry: TypeAlias = Mapping[str, Any]

_AGAIN = "remove the file, and it is written anew"
# Longest path that systems take. Of placeholders there are an id and a name, without a width, which
# could ask for gigabytes.
_LONGEST = 4096
_PLACEHOLDER = re.compile("%[sd]")


class ManifestVersionError(FormatError):
    """A manifest of a version that is not known.

    Parameters
    ----------
    message
        What is wrong, and what to do.
    version
        Version that is expected.
    found_version
        Version of the manifest.
    """

    def __init__(self, message: str, version: object = None, found_version: object = None) -> None:
        super().__init__(message)
        self.version = version
        self.found_version = found_version


class Manifest(AllenSDKClass):
    """Paths by key.

    Parameters
    ----------
    config
        Entries: mappings with ``key``, ``type`` (``"dir"`` or ``"file"``), ``spec`` (a path, with
        ``%d`` for an id and ``%s`` for a name) and, for a path within another, ``parent_key``.
        Entries of the type ``manifest_version`` have a ``value``.
    relative_base_dir
        Folder of the paths that are relative and have no parent.
    version
        Version that the entries must state, if any is expected.

    Raises
    ------
    FormatError
        If an entry is none.
    ManifestVersionError
        If they state another version.

    Examples
    --------
    >>> entries = [
    ...     {"key": "BASEDIR", "type": "dir", "spec": "/atlases"},
    ...     {"key": "MASK", "type": "file", "spec": "mask_%d.nrrd", "parent_key": "BASEDIR"},
    ... ]
    >>> Manifest(entries).get_path("MASK", 385)
    '/atlases/mask_385.nrrd'
    """

    DIR = "dir"
    FILE = "file"
    DIRNAME = "dir_name"
    VERSION = "manifest_version"

    only_in_allensdk = (
        "add_file add_paths check_dir create_dir get_format load_config log resolve_paths"
    )

    def __init__(
        self,
        config: Iterable[Entry] | None = None,
        relative_base_dir: PathLike = ".",
        version: float | None = None,
    ) -> None:
        self.path_info: dict[str, dict[str, Any]] = {}
        self._base = os.path.abspath(relative_base_dir)  # noqa: PTH100  # links stay
        for entry in config or ():
            if not isinstance(entry, Mapping):
                raise FormatError(f"an entry of a manifest is no mapping but {_short(entry)}")
            if entry.get("type") == self.VERSION:
                _check_version(entry.get("value"), version)
            else:
                self._add_entry(entry)

    def _add_entry(self, entry: Entry) -> None:
        key, spec, path_type = (entry.get(name) for name in ("key", "spec", "type"))
        parent = entry.get("parent_key", "")
        if not all(isinstance(text, str) for text in (key, spec, path_type, parent)):
            raise FormatError(
                f"an entry of a manifest has texts as key, spec and type; this is {_short(entry)}"
            )
        self.add_path(str(key), str(spec), str(path_type), parent_key=parent or None)

    def add_path(
        self, key: str, path: PathLike, path_type: str = DIR, parent_key: str | None = None
    ) -> None:
        """Add a path.

        Parameters
        ----------
        key
            Its key.
        path
            The path: absolute, or within that of ``parent_key``, or within the base folder.
        path_type
            ``"dir"`` or ``"file"``.
        parent_key
            Key of the folder that it is in.

        Raises
        ------
        FormatError
            If there is no such parent, or a placeholder that is neither ``%d`` nor ``%s``.
        """
        spec = os.fspath(path)
        if len(spec) > _LONGEST or "%" in _PLACEHOLDER.sub("", spec) or "\0" in spec:
            raise FormatError(f"{_short(key)} is no path with %d and %s alone: {_short(spec)}")
        if parent_key is not None and parent_key not in self.path_info:
            raise FormatError(
                f"{_short(key)} is in {_short(parent_key)}, which no entry before it has as key"
            )
        parent = self._base if parent_key is None else self.path_info[parent_key]["spec"]
        full = os.path.normpath(Path(parent, spec))
        self.path_info[key] = {"type": path_type, "spec": full}

    def get_path(self, path_key: str, *args: object) -> str:
        """Absolute path of a key.

        Parameters
        ----------
        path_key
            The key.
        *args
            What stands for the placeholders; without any, these stay.

        Raises
        ------
        FormatError
            If there is no such key, or others than the arguments are wanted.
        """
        if path_key not in self.path_info:
            raise FormatError(
                f"the manifest has no {_short(path_key)}; it has {', '.join(self.path_info)[:500]}"
            )
        spec = str(self.path_info[path_key]["spec"])
        try:
            return spec % args if args else spec
        except TypeError as error:
            raise FormatError(f"{shown(spec)} does not fit {_short(args)}: {error}") from error

    def as_dataframe(self) -> pd.DataFrame:
        """Table of type and path of each key."""
        return pd.DataFrame.from_dict(self.path_info, orient="index")

    @classmethod
    def safe_mkdir(cls, directory: PathLike) -> PathLike | None:
        """Make a folder, and those that it is in.

        Parameters
        ----------
        directory
            The folder.

        Returns
        -------
        str, os.PathLike or None
            The folder, or None if it was there.

        Raises
        ------
        WriteError
            If that is not possible.

        Examples
        --------
        >>> import tempfile
        >>> Manifest.safe_mkdir(tempfile.gettempdir()) is None
        True
        """
        if Path(directory).is_dir():
            return None
        make_folder(directory)
        return directory

    @classmethod
    def safe_make_parent_dirs(cls, file_name: PathLike) -> PathLike | None:
        """Make the folder of a file.

        Parameters
        ----------
        file_name
            The file.

        Returns
        -------
        str, os.PathLike or None
            The folder, or None if it was there.

        Raises
        ------
        WriteError
            If that is not possible.
        """
        parent = Path(file_name).parent
        return str(parent) if cls.safe_mkdir(parent) is not None else None


def read_manifest(path: PathLike) -> Manifest:
    """Read a manifest, whose paths are within its folder.

    Parameters
    ----------
    path
        Local file.

    Raises
    ------
    FormatError
        If it is no manifest, of a version that is not known, or has a path that leads out of the
        folder: who made it does not choose where files are written.
    """
    content = read_at_most(Path(path), limit("metadata_bytes"))
    check_limit("metadata_bytes", len(content), f"{path} has {len(content)} bytes or more")
    try:
        entries = json.loads(content)["manifest"]
        if not isinstance(entries, list):
            raise TypeError("manifest is no list")
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise FormatError(f"{path} is no manifest of AllenSDK; {_AGAIN}") from error
    try:
        manifest = Manifest(entries, Path(path).parent, _KNOWN_VERSIONS[-1])
        _refuse_paths_outside(manifest, Path(path).parent)
        return manifest
    except FormatError as error:
        error.add_note(f"the manifest is {path}; {_AGAIN}")
        raise


def write_manifest(path: PathLike, entries: Iterable[Entry], version: float) -> None:
    """Write a manifest as AllenSDK does, and make its folder.

    Parameters
    ----------
    path
        Local file to write; it appears only when it is complete.
    entries
        The entries, as `Manifest` has them.
    version
        Version of the manifest.

    Raises
    ------
    WriteError
        If there is no space left, or no right to write.
    """
    make_folder(Path(path).parent)
    stated = {"type": Manifest.VERSION, "value": version}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"manifest": [stated, *entries]}, indent=2))


def _refuse_paths_outside(manifest: Manifest, folder: Path) -> None:
    inside = os.path.abspath(folder)  # noqa: PTH100  # links stay
    for key, info in manifest.path_info.items():
        if not Path(info["spec"]).is_relative_to(inside):
            raise FormatError(
                f"{_short(key)} leads out of the folder of the manifest, to "
                f"{_short(info['spec'])}; name files elsewhere by file_name"
            )


# Of ReferenceSpaceCache and MouseConnectivityCache: what concerns reference spaces is the same.
_KNOWN_VERSIONS = (1.2, 1.3)


def _check_version(found: object, expected: float | None) -> None:
    known = _KNOWN_VERSIONS if expected in _KNOWN_VERSIONS else (expected,)
    if expected is not None and found not in known:
        raise ManifestVersionError(
            f"the manifest is of version {_short(found)}, and {' or '.join(map(str, known))} is "
            f"known; {_AGAIN}",
            expected,
            found,
        )


def _short(value: object) -> str:
    return shown(repr(value)[:80])
