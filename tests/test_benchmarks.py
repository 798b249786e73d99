"""Benchmarks run, on a volume too small to say anything of speed, and check their results."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "bench_kernels.py"


def test_kernels() -> None:
    command = [sys.executable, "-W", "error", SCRIPT, "--resolution", "400", "--repeat", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for task in ("counts, np.unique", "mask of Isocortex, np.isin", "renumbering, loop"):
        assert task in done.stdout
