"""What a run of the tests is, and fixtures shared by tests and doctests."""

import os
from pathlib import Path

import matplotlib as mpl
import pytest
from helpers import profiles  # noqa: F401  # the names of the profiles
from hypothesis import settings

import refspace

pytest_plugins = ["helpers.skips", "pytester"]

# `--hypothesis-profile=thorough` chooses the other one.
settings.load_profile("quick")
mpl.use("Agg")

CCF_VARIABLE = "REFSPACE_CCF_DATA"


@pytest.fixture(scope="session")
def ccf_data() -> Path:
    """Folder with the real CCF annotation and structures, named by an environment variable."""
    folder = os.environ.get(CCF_VARIABLE)
    if not folder:
        pytest.skip(f"set {CCF_VARIABLE} to a folder with annotation_25.nrrd")
    if not Path(folder, "annotation_25.nrrd").exists():
        pytest.fail(f"{CCF_VARIABLE} is {folder}, which has no annotation_25.nrrd")
    return Path(folder)


@pytest.fixture(scope="session")
def ccf_store(ccf_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of the real annotation at 25 µm; not to be changed."""
    url = tmp_path_factory.mktemp("ccf") / "ccf_25.zarr"
    refspace.convert(ccf_data / "annotation_25.nrrd", ccf_data / "structures_1.json", url)
    return url


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of the phantom at 50 µm, some of its chunks of one label; not to be changed."""
    url = tmp_path_factory.mktemp("phantom") / "phantom_50.zarr"
    refspace.phantom(resolution=50).to_zarr(url, chunks=64)
    return url
