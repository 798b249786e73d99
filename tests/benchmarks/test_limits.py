"""What the machine can do, measured on arrays too small to say anything of speed."""

from pathlib import Path

import pytest

import refspace
from benchmarks import limits


def test_limits_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "_WRITTEN_BYTES", 2**20)
    # At 400 µm there is one chunk of one label, which is no reason to fail.
    for resolution in (100, 400):
        url = str(tmp_path / f"{resolution}.zarr")
        refspace.phantom(resolution=resolution).to_zarr(url)
        speeds = limits.Speeds.measured(url)
        assert speeds.codec > 0 < speeds.memset
        limit = speeds.limit(decoded_bytes=30, written_bytes=20)
        assert limit == 30 / speeds.codec + 20 / speeds.memset
