"""The file beside a header that holds its voxels: in the same folder, and never elsewhere.

A header names it. Who follows such a name anywhere reads any file of this machine for whoever wrote
the header, and shows it as voxels.
"""

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from refspace.errors import FormatError
from refspace.formats.source_file import SourceFile, is_url, source_at
from refspace.safe_text import shown

# Longest that file systems take; a message shows no more of it.
_LONGEST = 255
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
# Names of several files: by a number in C's notation, or as lists.
_MANY = re.compile(r"LIST(\s.*)?|.*%[-+ #0]*\d*(\.\d+)?[dioxXu].*", re.DOTALL)
_HTTP, _LOCAL = ("http", "https"), ("file", "local")


def beside(header: SourceFile, name: str) -> SourceFile:
    """File beside a header, as it is now; it is not opened.

    Parameters
    ----------
    header
        The header, on this machine or another.
    name
        What the header calls the file; it may begin with ``./``.

    Raises
    ------
    FormatError
        If it names several files, one that is not in the folder of the header, or none that exists.
    OSError
        If it cannot be reached.
    """
    if _MANY.fullmatch(name):
        raise FormatError(
            f"the voxels are in several files, {_short(name)}; save them in one, with the program "
            "that wrote it"
        )
    plain = name.removeprefix("./")
    if not is_plain_name(plain):
        raise FormatError(
            f"the voxels are in another file, {_short(name)}; only one in the same folder is read: "
            "put it beside the header, and name it there without a folder"
        )
    try:
        if not is_url(header.path):
            return _local(Path(header.path), plain)
        url, here = _sibling(header.path, plain)
        if here is not None:
            _local(here, plain)
        return source_at(url, header.storage_options)
    except FileNotFoundError as error:
        raise FormatError(
            f"the voxels are in another file, {_short(name)}, and there is none of that name "
            "beside the header; put it there"
        ) from error


def is_plain_name(name: str) -> bool:
    """Whether a name is that of one file in the same folder, on any system.

    Examples
    --------
    >>> is_plain_name("energy.raw"), is_plain_name("../energy.raw"), is_plain_name("x%03d.raw")
    (True, False, False)
    """
    if name in ("", ".", "..") or len(name) > _LONGEST or name != name.strip():
        return False
    return not (_UNSAFE.search(name) or _MANY.fullmatch(name))


def file_name(path: str) -> str:
    """Name of a file without its folder, from its path or URL.

    Examples
    --------
    >>> file_name("/data/x.hdr"), file_name("https://host/a/x%201.hdr?version=2")
    ('x.hdr', 'x 1.hdr')
    """
    if not is_url(path):
        return Path(path).name
    place = urlsplit(next(part for part in path.split("::") if is_url(part)))
    named = unquote(place.path) if place.scheme in _HTTP else place.path
    return (named or place.netloc).rpartition("/")[2]


def _local(header: Path, name: str) -> SourceFile:
    """File in the folder of a header; a link may only lead to another one there."""
    path = header.with_name(name)
    found = source_at(str(path))
    real = path.resolve()
    # Where the header itself is a link, as of annexed data sets, the file may be beside it or
    # beside what it names.
    allowed = {header.parent.resolve(), header.resolve().parent}
    if path.is_symlink() and real.parent not in allowed:
        raise FormatError(
            f"the file of the voxels, {_short(name)}, is a symbolic link that leads out of the "
            "folder of the header; put the file itself there"
        )
    return replace(found, path=str(real)) if path.is_symlink() else found


def _sibling(url: str, name: str) -> tuple[str, Path | None]:
    """URL of a file in the folder of another one; of a chain of URLs, in its first place.

    With it comes the path of that other one, where its URL is of a file of this machine.

    Examples
    --------
    >>> _sibling("https://host/a/x.mhd?version=2", "x 1.raw")
    ('https://host/a/x%201.raw?version=2', None)
    >>> _sibling("zip://in/x.mhd::https://host/a.zip", "x.raw")[0]
    'zip://in/x.raw::https://host/a.zip'
    """
    parts = url.split("::")
    first = next(n for n, part in enumerate(parts) if is_url(part))
    place = urlsplit(parts[first])
    here = None
    if place.scheme in _HTTP:
        folder, slash, _ = place.path.rpartition("/")
        parts[first] = urlunsplit(place._replace(path=f"{folder}{slash}{quote(name)}"))
    else:
        if place.scheme in _LOCAL:
            here = Path(parts[first].partition("://")[2])
        parts[first] = parts[first].rpartition("/")[0] + "/" + name
    return "::".join(parts), here


def _short(name: str) -> str:
    return shown(repr(name if len(name) <= _LONGEST else f"{name[:60]}…"))
