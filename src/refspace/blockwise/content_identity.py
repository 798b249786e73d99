"""What tells the voxels of a source from any others: a value, which needs no array library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Identity:
    """What tells voxels from any others.

    Parameters
    ----------
    facts
        JSON values by name: different for other voxels, and after any change.
    doubt
        Why they do not prove that voxels are the same; None if they do.

    Examples
    --------
    >>> Identity({"voxels": "0a"}).is_proven, Identity({}, "it is read by a server").is_proven
    (True, False)
    """

    facts: Mapping[str, Any]
    doubt: str | None = None

    @property
    def is_proven(self) -> bool:
        """Whether voxels of the same identity are the same."""
        return self.doubt is None


class Identified(Protocol):
    """A source of voxels, within a graph, that can be identified."""

    def content_identity(self) -> Identity:
        """What tells its content, as it is now, from any other."""
