"""The documentation's ways to a SLURM cluster, run on one that consists of this machine."""

import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import dask_jobqueue  # noqa: F401  # its defaults, before any is changed
import pytest
from helpers.pages import DOCS, blocks

import refspace

STRUCTURES = ("VISp", "TH")
# Of SLURM's programs, what the examples use: jobs are processes of this machine.
PROGRAMS = {
    "hostname": "echo 127.0.0.1",
    "srun": 'exec "$@"',
    "sbatch": textwrap.dedent("""
        cp "$1" "$SLURM_TEST/job.sh"
        setsid bash "$SLURM_TEST/job.sh" >"$SLURM_TEST/job.log" 2>&1 </dev/null &
        echo $! >>"$SLURM_TEST/jobs"
        echo "Submitted batch job $!"
    """),
    "scancel": 'for job in "$@"; do kill -KILL -- -"$job"; done',
    "dask": f'exec {sys.executable} -m dask "$@"',
    "refspace": f'exec {sys.executable} -c "from refspace.cli import main; main()" "$@"',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of a job: an environment with SLURM's programs, and the store."""
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(stat.S_IRWXU)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    refspace.phantom(resolution=200).to_zarr(tmp_path / "ccf_25.zarr", chunks=32)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("SLURM_TEST", str(tmp_path))
    yield tmp_path
    for job in (tmp_path / "jobs").read_text().split() if (tmp_path / "jobs").exists() else ():
        end(int(job))


def end(group: int) -> None:
    """End a process with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def check_masks(folder: Path) -> None:
    masks = refspace.open_masks(folder / "masks.zarr")
    space = refspace.open(folder / "ccf_25.zarr")
    for structure in space.structure_tree.resolve(STRUCTURES):
        expected = space.make_structure_mask(structure)
        assert (masks.sel(structure=structure).values == expected.values).all()


@pytest.fixture
def script() -> str:
    (found,) = blocks(DOCS / "howto/clusters.md", "sh")
    return found


@pytest.fixture
def code() -> str:
    (found,) = (
        block for block in blocks(DOCS / "howto/clusters.md", "python") if "SLURMCluster" in block
    )
    return found


def test_the_script_is_one_that_sbatch_takes(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    first, *lines = script.splitlines()
    assert first == "#!/bin/bash"
    # Options that come after a command are ignored.
    command = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[command:])
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", script, re.M))
    assert script.count("#SBATCH") == len(options)
    assert set(options) == {"job-name", "ntasks", "mem-per-cpu", "time"}
    assert re.fullmatch(r"\d\d:\d\d:\d\d", options["time"])
    assert options["mem-per-cpu"] == "2G"
    assert "--memory-limit 2GB" in script


def output_of(script: str, folder: Path) -> str:
    """Run a job as SLURM does, which ends what a job leaves; what it prints."""
    log = folder / "job.log"
    with log.open("w") as file:
        job = subprocess.Popen(
            ["bash", "-c", script],
            stdout=file,
            stderr=file,
            env={**os.environ, "SLURM_JOB_ID": str(os.getpid())},
            start_new_session=True,
        )
    try:
        assert job.wait(60) == 0, log.read_text()
    finally:
        end(job.pid)
    return log.read_text()


@pytest.mark.cluster
def test_the_script_runs(script: str, slurm: Path) -> None:
    script = script.replace("--depth leaves", f"--structures {','.join(STRUCTURES)}")
    for _ in range(2):  # submitted again, it finds all of it done
        assert "masks.zarr" in output_of(script, slurm)
    check_masks(slurm)


@pytest.fixture
def options() -> Iterator[None]:
    """What parallel tests need: a port of their own."""
    with dask.config.set(
        {"jobqueue.slurm.scheduler-options": {"dashboard_address": "127.0.0.1:0"}}
    ):
        yield


@pytest.mark.cluster
@pytest.mark.usefixtures("options")
def test_the_cluster_asks_slurm_for_what_it_says(code: str) -> None:
    names: dict[str, Any] = {}
    definition = code[: code.index("cluster.scale")].rstrip()
    exec(definition.replace('if __name__ == "__main__":', "if True:"), names)
    with names["cluster"] as cluster:
        text = cluster.job_script()
    options = dict(re.findall(r"^#SBATCH (\S+?)[= ](\S+)$", text, re.M))
    assert options["--cpus-per-task"] == "8"
    assert options["--mem"] == "15G"  # of 1024³ bytes
    assert options["-t"] == "02:00:00"
    assert f"dask_worker {cluster.scheduler_address} " in text
    for words in ("--nworkers 8", "--nthreads 1", "--memory-limit 1.86GiB"):
        assert f" {words} " in text


@pytest.mark.cluster
@pytest.mark.usefixtures("options")
def test_the_cluster_does_the_work(code: str, slurm: Path) -> None:
    for given, small in (
        ("cores=8, processes=8", "cores=1, processes=1"),
        ("jobs=4", "jobs=1"),
        ('"leaves"', f"{list(STRUCTURES)}"),
    ):
        assert given in code
        code = code.replace(given, small)
    exec(code + "    cluster.close()\n", {"__name__": "__main__"})
    check_masks(slurm)
