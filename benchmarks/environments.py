"""Environments of rivals: each made once, with versions that are pinned here, and then reused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    "arrays": (
        "numpy==2.4.6",
        "xarray==2026.9.0",
        "dask[array]==2026.8.0",
        "zarr==3.1.6",
        "fsspec[http]==2026.9.0",
        "flox==0.11.2",
        "scipy==1.17.1",
        "nibabel==5.4.2",
        "nilearn==0.14.1",
        "tensorstore==0.1.86",
        "fastremap==1.21.0",
        "tinybrain==1.7.0",
        "pynrrd==1.1.3",
    ),
    # It pins NumPy below 1.24 and xarray below 2023.2: beside nothing current.
    "allensdk": ("allensdk==2.16.2",),
    "brainglobe": ("brainglobe-atlasapi==3.0.2",),
}
HERE = ""
"""The environment of refspace, in which the benchmark itself runs."""
_OF_MODULE = {
    "ours": HERE,
    "kernels": HERE,
    "processes": HERE,
    "allensdk": "allensdk",
    "brainglobe": "brainglobe",
}
_OWN = ("refspace", "numpy", "xarray", "dask", "zarr", "numcodecs")
_MARK = "requirements.txt"
_ASK = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
def of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
print(json.dumps({name: of(name) for name in sys.argv[1:]}))
"""


class MissingEnvironmentError(Exception):
    """An environment cannot be made; the text says why."""


@dataclass
class Environments:
    """Pythons that have the rivals.

    Parameters
    ----------
    folder
        Where environments are, or are made; None where all rivals are expected in this Python.
    """

    folder: Path | None
    _failed: dict[str, str] = field(default_factory=dict)

    def python(self, module: str) -> Path:
        """Python for the functions of a module of `benchmarks.rivals`; made if it is not there.

        Raises
        ------
        MissingEnvironmentError
            If it cannot be made, or could not be before.
        """
        name = _OF_MODULE.get(module, "arrays")
        if name == HERE or self.folder is None:
            return Path(sys.executable)
        if name in self._failed:
            raise MissingEnvironmentError(self._failed[name])
        place = self.folder.absolute() / name
        try:
            return _made(place, REQUIREMENTS[name])
        except (OSError, subprocess.CalledProcessError, MissingEnvironmentError) as error:
            said = getattr(error, "stderr", "") or str(error)
            self._failed[name] = f"not installed: {said.strip().splitlines()[-1]}"
            raise MissingEnvironmentError(self._failed[name]) from error

    def versions(self) -> dict[str, str]:
        """Versions of refspace and what it stands on, and of the rivals that are there."""
        found = versions(Path(sys.executable), _OWN)
        for name, requirements in REQUIREMENTS.items():
            python = Path(sys.executable)
            if self.folder is not None:
                python = _python_in(self.folder.absolute() / name)
            names = [each.split("==")[0].split("[")[0] for each in requirements]
            wanted = [each for each in names if each not in _OWN]
            if python.exists():
                found |= versions(python, wanted)
        return {name: version for name, version in found.items() if version}


def versions(python: Path, names: tuple[str, ...] | list[str]) -> dict[str, str]:
    """Versions of packages that a Python has; empty of those that it lacks."""
    done = subprocess.run([python, "-c", _ASK, *names], capture_output=True, text=True, check=True)
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def _made(place: Path, requirements: tuple[str, ...]) -> Path:
    python, mark, text = _python_in(place), place / _MARK, "\n".join(requirements) + "\n"
    if mark.exists() and mark.read_text() == text:
        return python
    print(f"making {place}, once; takes minutes", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([_python311(), "-m", "venv", str(place)], [*pip, *requirements]):
        subprocess.run(command, check=True, capture_output=True, text=True)
    mark.write_text(text)
    return python


def _python_in(place: Path) -> Path:
    return place / "bin" / "python"


def _python311() -> str:
    """Python 3.11, for which all rivals have packages; AllenSDK has none for a newer one."""
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    if found := shutil.which("python3.11"):
        return found
    raise MissingEnvironmentError("rivals are installed for Python 3.11, and none is on the PATH")
