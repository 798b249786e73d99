"""The virtual environment in which AllenSDK runs.

AllenSDK 2.16.2 pins NumPy below 1.24, so it installs on Python 3.11 and older, and beside
nothing current. It gets an environment of its own, made once and then reused.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "2.16.2"
_REPOSITORY = Path(__file__).resolve().parents[1]
_ASK_VERSION = "from importlib.metadata import version; print(version('allensdk'))"
_ASK_FOLDER = "from importlib.util import find_spec; print(find_spec('allensdk').origin)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two options that say where AllenSDK is, or shall be."""
    parser.add_argument(
        "--env",
        type=Path,
        default=_REPOSITORY / ".allensdk-env",
        help="virtual environment to make, or to reuse (default: %(default)s)",
    )
    parser.add_argument(
        "--allensdk-python", type=Path, help=f"a Python that has AllenSDK {VERSION} already"
    )


def allensdk_python(arguments: argparse.Namespace) -> Path:
    """Return the Python that has AllenSDK, and make its environment where there is none."""
    if arguments.allensdk_python is not None:
        return _checked(arguments.allensdk_python)
    folder = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    python = Path(arguments.env, folder).absolute()
    # pip registers allensdk after all it needs: a version that answers is a finished environment.
    if _version(python) != VERSION:
        print(f"installing AllenSDK {VERSION} in {arguments.env}, once; takes minutes", flush=True)
        subprocess.run([_python311(), "-m", "venv", arguments.env], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"allensdk=={VERSION}"], check=True)
    return _checked(python)


def allensdk_folder(python: Path) -> Path:
    """Return the folder of the installed package."""
    return Path(_answer(python, _ASK_FOLDER)).parent


def _checked(python: Path) -> Path:
    found = _version(python)
    if found != VERSION:
        raise SystemExit(
            f"{python} has {f'AllenSDK {found}' if found else 'no AllenSDK'}, but {VERSION} is "
            "compared with: give --allensdk-python another one, or leave it out to install it"
        )
    return python


def _version(python: Path) -> str:
    return _answer(python, _ASK_VERSION) if shutil.which(python) else ""


def _answer(python: Path, question: str) -> str:
    done = subprocess.run([python, "-c", question], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _python311() -> str:
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    if found := shutil.which("python3.11"):
        return found
    raise SystemExit(
        f"AllenSDK {VERSION} needs Python 3.11 and none is on the PATH: install it (for example "
        "with 'uv python install 3.11'), or give --allensdk-python"
    )
