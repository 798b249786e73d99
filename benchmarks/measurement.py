"""What passes between the process that drives a benchmark and those that are measured.

Only the standard library is imported here: rivals run in environments of their own, and on Linux a
new process inherits the peak memory of the one that started it.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

Answer = Mapping[str, Any]
"""A result in few bytes, alike for all who give the same: see `benchmarks.answers`."""


@dataclass(frozen=True)
class Inputs:
    """What a measured function is given.

    Parameters
    ----------
    folder
        Folder of the files of one size.
    resolution
        µm per voxel.
    medium
        ``"memory"``, ``"file"``, ``"disk"`` or ``"http"``.
    address
        Where the files are reached: the folder, or a URL.
    store
        Name of the store of refspace, made by the version that is measured.
    given
        What the job is about, such as ``structures``.
    seconds
        Calls are repeated until so many seconds have passed.
    """

    folder: str
    resolution: float
    medium: str
    address: str
    store: str
    given: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 1.0

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self))

    def path(self, name: str) -> Path:
        """Path of a file."""
        return Path(self.folder, name)

    def at(self, name: str) -> str:
        """Path of a file, or its URL where files are reached over HTTP."""
        return f"{self.address}/{name}"

    def nodes(self) -> list[dict[str, Any]]:
        """Structures as AllenSDK's `StructureTree` takes them."""
        listed: list[dict[str, Any]] = json.loads(self.path("structures.json").read_text())
        return listed

    def wanted(self) -> list[int]:
        """Ids of the structures that the job is about, and of all their descendants."""
        return subtree(self.nodes(), self.given["structures"])


@dataclass(frozen=True)
class Timed:
    """What is timed.

    Parameters
    ----------
    call
        What is timed; takes what `fresh` returns.
    answer
        Makes the answer of a result, off the clock; None if results are not compared.
    fresh
        Called before each call, off the clock.
    extra
        Further figures of a result, off the clock.
    close
        Called at the end: it removes what calls have left.
    """

    call: Callable[[Any], Any]
    answer: Callable[[Any], Answer] | None = None
    fresh: Callable[[], Any] = lambda: None
    extra: Callable[[Any], Mapping[str, float]] | None = None
    close: Callable[[], None] = lambda: None


def subtree(listed: list[dict[str, Any]], acronyms: Collection[str]) -> list[int]:
    """Ids of some structures and of all their descendants, sorted."""
    roots = {each["id"] for each in listed if each["acronym"] in acronyms}
    return sorted(each["id"] for each in listed if roots.intersection(each["structure_id_path"]))
