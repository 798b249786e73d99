"""Commands that are stopped from outside: as job schedulers and containers do."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.commands import run

import refspace
from refspace.cli import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
]
SIGNALS = [(signal.SIGTERM, 143, "Stopped")]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("atlas")
    paths = [folder / "annotation.nrrd", folder / "structures.json"]
    space = refspace.phantom(400)
    refspace.write_nrrd(paths[0], space.annotation)
    refspace.write_structures(paths[1], space.structure_tree)
    return paths


def start(*words: object) -> "subprocess.Popen[str]":
    # What runs in the background of a shell ignores interrupts, and so do its children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from refspace.cli import main; main(prog_name='refspace')"
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(process: "subprocess.Popen[str]", number: int, folder: Path, pattern: str) -> str:
    """Stop a process once a file is there; what it says."""
    end = time.monotonic() + 120
    while process.poll() is None and not list(folder.glob(pattern)):
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert output == ""
    assert "Traceback" not in errors
    return errors


@pytest.mark.parametrize(("number", "status", "said"), SIGNALS)
def test_a_stopped_conversion_leaves_nothing_half_written(
    atlas: list[Path], tmp_path: Path, number: int, status: int, said: str
) -> None:
    url = tmp_path / "atlas.zarr"
    words = ["convert", *atlas, url, "--chunks", "1,2,28"]
    process = start(*words)
    errors = stop(process, number, tmp_path, ".atlas.zarr.partial/s0/annotation/c/*")
    assert process.returncode == status
    assert errors.splitlines()[-1].startswith(f"{said}; what is done lies in {tmp_path}")
    assert not url.exists()
    assert run(*words).exit_code == 0
    assert run("verify", url).exit_code == 0


@pytest.mark.parametrize(("number", "status", "said"), SIGNALS)
@pytest.mark.parametrize("target", ["masks.zarr", "masks"])
def test_stopped_masks_leave_nothing_half_written(
    atlas: list[Path], tmp_path: Path, number: int, status: int, said: str, target: str
) -> None:
    words = ["masks", *atlas, "--depth", "leaves", "-o", tmp_path / target]
    started = {"masks.zarr": ".masks.zarr.*", "masks": "masks/structure_*.nrrd"}[target]
    process = start(*words)
    errors = stop(process, number, tmp_path, started)
    assert process.returncode == status, errors
    assert said in errors.splitlines()[-1]
    if target == "masks":
        # Each file is whole: a reader takes it.
        for path in (tmp_path / target).glob("*.nrrd"):
            assert refspace.read_nrrd(path).dtype == "uint8"
        assert not list((tmp_path / target).glob("*partial*"))
    else:
        assert not (tmp_path / target).exists()
    assert run(*words).exit_code == 0


def test_what_is_ignored_stays_ignored(atlas: list[Path]) -> None:
    code = (
        "import signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from refspace.cli.stopping import stopping_like_ctrl_c\n"
        "with stopping_like_ctrl_c():\n"
        "    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN\n"
        "    assert callable(signal.getsignal(signal.SIGTERM))\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_commands_leave_signals_as_they_were(atlas: list[Path]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert CliRunner().invoke(main, ["counts", *map(str, atlas), "-s", "TH"]).exit_code == 0
    assert signal.getsignal(signal.SIGTERM) == before
