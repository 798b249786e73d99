"""Names of files of structures: by their ids, or by their acronyms where these can name files."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from refspace.errors import FormatError

FileNames: TypeAlias = Literal["id", "acronym"]
"""What files of structures are named by."""

# What every file system takes, and no shell reads as anything else.
_OTHER_SIGN = re.compile(r"[^A-Za-z0-9_.+=@,-]")
# Names of devices on Windows, whatever follows a point behind them.
_DEVICE = r"(?i)(con|prn|aux|nul|com\d|lpt\d)"
# And names by ids.
_TAKEN = re.compile(rf"{_DEVICE}|structure_\d+")
_LONGEST = 80
# End of the names of files while they are written, before their ending.
_PARTIAL = r"\.[0-9a-f]{8}\.partial"


def file_stems(nodes: Iterable[Mapping[str, Any]], names: FileNames = "id") -> dict[int, str]:
    """Name of the file of each structure, without an ending; no two differ in capitals alone.

    By acronyms, other signs than letters, digits and a few more become ``_``. Where the names of
    several structures are then the same, on any file system, or a name cannot be one, its id
    follows. So a name does not depend on which structures are written.

    Parameters
    ----------
    nodes
        All structures of a tree.
    names
        ``"id"`` for ``structure_385``, ``"acronym"`` for ``VISp``.

    Raises
    ------
    FormatError
        If it is neither.

    Examples
    --------
    >>> nodes = [{"id": 385, "acronym": "VISp"}, {"id": 821, "acronym": "VISp2/3"}]
    >>> file_stems(nodes, "acronym"), file_stems(nodes)[385]
    ({385: 'VISp', 821: 'VISp2_3'}, 'structure_385')
    >>> file_stems([{"id": 1, "acronym": "vta"}, {"id": 2, "acronym": "VTA"}], "acronym")
    {1: 'vta_1', 2: 'VTA_2'}
    """
    if names not in get_args(FileNames):
        raise FormatError(f"names is {names!r}; files are named by 'id' or 'acronym'")
    if names == "id":
        return {node["id"]: f"structure_{node['id']}" for node in nodes}
    plain = {node["id"]: _plain(str(node.get("acronym") or "")) for node in nodes}
    often = _several(plain.values())
    # With ids no two are the same, but for an acronym that looks like another one with an id.
    stems = {
        number: f"{stem or 'structure'}_{number}" if _needs_id(stem, often) else stem
        for number, stem in plain.items()
    }
    often = _several(stems.values())
    return {
        number: f"structure_{number}" if stem.lower() in often else stem
        for number, stem in stems.items()
    }


def _plain(acronym: str) -> str:
    stem = _OTHER_SIGN.sub("_", acronym)[:_LONGEST]
    # Hidden files, options of commands, and what Windows leaves out at the end.
    stem = re.sub(r"^[.,+=@-]|\.$", "_", stem)
    device = re.match(rf"{_DEVICE}(?=\.)", stem)
    return stem if device is None else f"{device[0]}_{stem[device.end() :]}"


def _needs_id(stem: str, often: Collection[str]) -> bool:
    return not stem.strip("_") or stem.lower() in often or _TAKEN.fullmatch(stem) is not None


def _several(stems: Iterable[str]) -> set[str]:
    """Names that occur several times, in any capitals."""
    return {stem for stem, count in Counter(map(str.lower, stems)).items() if count > 1}


def unfinished_pattern(
    stems: Iterable[str], endings: str, others: str = "structure"
) -> "re.Pattern[str]":
    r"""Pattern of the names that files of structures have while they are written.

    Parameters
    ----------
    stems
        Names of the files without their endings.
    endings
        Regular expression of what may come between the name and the sign of what is written.
    others
        Regular expression of other names.

    Examples
    --------
    >>> pattern = unfinished_pattern(["VISp"], r"(\.nrrd)?")
    >>> bool(pattern.fullmatch(".VISp.nrrd.01234567.partial.json"))
    True
    >>> bool(pattern.fullmatch(".mine.nrrd.01234567.partial.json"))
    False
    """
    names = "|".join([r"structure_\d+", others, *map(re.escape, stems)])
    return re.compile(rf"\.({names}){endings}{_PARTIAL}(\.\w+)?")
