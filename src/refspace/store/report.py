"""Report on a store that was verified, and the faults that it lists."""

from dataclasses import dataclass

from refspace.safe_text import escaped, without_secrets
from refspace.store.location import Location
from refspace.store.zarr_files import ZARR_JSON


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a store.

    Parameters
    ----------
    key
        File of the store, or the array that several make up.
    what
        What is wrong with it.
    """

    key: str
    what: str

    def __post_init__(self) -> None:
        # Names of files, and what errors quote, are shown; they may be hostile.
        object.__setattr__(self, "key", escaped(self.key))
        object.__setattr__(self, "what", escaped(without_secrets(self.what)))

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


@dataclass(frozen=True)
class Report:
    """Result of `verify_store`.

    Parameters
    ----------
    url
        The store.
    blocks
        Number of chunks of voxels that were read; shards, where there are some.
    faults
        All that is wrong.
    proven
        Whether the store has digests that prove its voxels; those of other programs have none.
    """

    url: str
    blocks: int
    faults: tuple[Fault, ...]
    proven: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", escaped(without_secrets(self.url)))

    def __str__(self) -> str:
        if self.faults:
            count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
            return "\n".join([*map(str, self.faults), f"{self.url} has {count}"])
        if self.proven:
            return f"{self.url}: every one of {self.blocks} chunks is proven to be as written"
        return (
            f"{self.url}: every one of {self.blocks} chunks can be read; whether they are as "
            "written cannot be proven: only a store of refspace has digests of its voxels"
        )


class FaultError(Exception):
    """Raised for a file that gives no values; holds the fault to report."""

    def __init__(self, key: str, what: str) -> None:
        self.fault = Fault(key, what)


def one_line(error: Exception, location: Location, key: str = ZARR_JSON) -> str:
    """Message of an error as one line, without the names of the store and the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.removeprefix(f"{location.name}: ").removeprefix(f"{key} ")
