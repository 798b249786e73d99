"""Which files a run needs, and the processes that make them; they stay for the next run."""

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.server import REPOSITORY

# What others are made of, in order.
_MADE_OF = {
    "annotation.nrrd.gz": ("annotation.nrrd",),
    "annotation.tif": ("annotation.nrrd",),
    "image.zarr": ("annotation.npy",),
    "image.npy": ("image.zarr",),
    "foreign.zarr": ("annotation.npy",),
    "indexed.zarr": ("foreign.zarr",),
    "brainglobe": ("annotation.npy",),
    "masks_4d.zarr": ("annotation.npy",),
}


@dataclass(frozen=True)
class Version:
    """A state of refspace's code.

    Parameters
    ----------
    name
        What tables call it.
    source
        Folder that holds the package.
    """

    name: str
    source: Path

    @property
    def store(self) -> str:
        """Name of the stores that it makes: no other code has the same one."""
        hashed = hashlib.sha256()
        for file in sorted(self.source.rglob("*.py")):
            hashed.update(str(file.relative_to(self.source)).encode() + file.read_bytes())
        return f"atlas-{hashed.hexdigest()[:10]}.zarr"

    def environment(self) -> dict[str, str]:
        """Environment of a process that imports it, and ``benchmarks``."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join((str(self.source), str(REPOSITORY)))}


def present() -> Version:
    """The code beside this file."""
    return Version("refspace", REPOSITORY / "src")


def earlier(commit: str, work: Path) -> Version:
    """The code of a commit, taken out of the repository into a folder of its own."""
    ask = ["git", "-C", str(REPOSITORY), "rev-parse", "--short=10", f"{commit}^{{commit}}"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"--against {commit}: {done.stderr.strip()}")
    name = done.stdout.strip()
    folder = work / "commits" / name
    if not folder.exists():
        partial = folder.with_name(f"partial-{name}")
        partial.mkdir(parents=True, exist_ok=True)
        archive = ["git", "-C", str(REPOSITORY), "archive", name, "src"]
        with subprocess.Popen(archive, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as files:
                files.extractall(partial, filter="data")
        partial.rename(folder)
    return Version(f"refspace {name[:7]}", folder / "src")


@dataclass(frozen=True)
class Files:
    """Files of one size.

    Parameters
    ----------
    work
        Folder of all that a run keeps.
    resolution
        µm per voxel.
    data
        Folder of the real annotation; None for the sample brain.
    """

    work: Path
    resolution: float
    data: Path | None

    @property
    def folder(self) -> Path:
        """Where they are."""
        brain = "sample" if self.data is None else "mouse"
        return self.work.absolute() / f"{brain}_{self.resolution:g}um"

    def make(self, names: Iterable[str], versions: Iterable[Version]) -> None:
        """Make what is not there; a store by each version of the code."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make("annotation.nrrd", present())
        for version in versions:
            self._make(version.store, version)
        for name in names:
            self._make(name, present())

    def _make(self, name: str, version: Version) -> None:
        if (self.folder / name).exists():
            return
        for source in _MADE_OF.get(name, ()):
            self._make(source, version)
        print(f"making {self.folder / name}", flush=True)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.making", name]
        command += [str(self.folder), f"{self.resolution:g}"]
        command += [] if self.data is None else [str(self.data.absolute())]
        subprocess.run(command, check=True, env=version.environment(), stdout=subprocess.DEVNULL)
