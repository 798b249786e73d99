"""Memory that kernels free stays with the process."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import numpy as np
{first}
def take():
    for array in [np.empty(2**22 - 2**14, np.uint8) for _ in range(3)]:
        array[::4096] = 1
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other rules")
def test_pages_are_not_taken_anew() -> None:
    """Ten times three arrays of almost 4 MiB (NumPy asks for huge pages from there on)."""
    faults = {}
    for first in ("import refspace.kernels", ""):
        code = CODE.format(first=first)
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        faults[first] = int(run.stdout)
    assert faults["import refspace.kernels"] < 100
    assert faults[""] > 1000, "this allocator keeps memory by itself"
