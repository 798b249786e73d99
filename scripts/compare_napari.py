"""Show layers of refspace in napari, and compare what napari shows with what refspace says.

    python scripts/compare_napari.py [--env FOLDER]

napari is installed in an environment of its own, made once, and this refspace into it, as users
do. Its windows are drawn without a display, by Xvfb (Debian: xvfb and the libraries of Qt; see
``.ci/run``). One line per question is printed; the exit status is 1 when any answer differs.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "0.9.2"
_REPOSITORY = Path(__file__).resolve().parents[1]
_SCREEN = ["xvfb-run", "--auto-servernum", "--server-args", "-screen 0 1400x1000x24"]


def napari_python(env: Path) -> Path:
    """Return a Python that has napari and this refspace; install what is not there."""
    python = Path(env, "Scripts/python.exe" if os.name == "nt" else "bin/python").absolute()
    asked = "from importlib.metadata import version; print(version('napari'))"
    answer = ""
    if python.exists():
        done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
        answer = done.stdout.strip()
    # A wheel, of the files as they are now: the plug-in is found where its manifest is in it.
    install: list[str | Path] = [python, "-m", "pip", "install", "-q"]
    if answer == VERSION:
        install += ["--force-reinstall", "--no-deps", _REPOSITORY]
    else:
        print(f"installing napari {VERSION} in {env}, once; takes a minute", flush=True)
        subprocess.run([sys.executable, "-m", "venv", env], check=True)
        install += [f"napari[pyqt6]=={VERSION}", "nibabel", _REPOSITORY]
    subprocess.run(install, check=True)
    return python


def main() -> int:
    """Install, show and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", type=Path, default=_REPOSITORY / ".napari-env")
    parser.add_argument("--pictures", type=Path, help="folder for what the windows show")
    arguments = parser.parse_args()
    python = napari_python(arguments.env)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"QT_QPA_PLATFORM": "xcb", "NAPARI_CONFIG": ""}
    screen = _SCREEN if shutil.which("xvfb-run") else []
    side = Path(__file__).with_name("napari_side.py")
    pictures = [] if arguments.pictures is None else [arguments.pictures.absolute()]
    commands: list[list[str | Path]] = [
        [python.with_name("npe2"), "validate", "refspace"],
        [*screen, python, side, *pictures],
    ]
    done = [
        subprocess.run(command, check=False, env=environment, cwd=arguments.env)
        for command in commands
    ]
    return int(any(each.returncode for each in done))


if __name__ == "__main__":
    sys.exit(main())
