"""Fixtures shared by tests and doctests."""

import os
from pathlib import Path

import matplotlib as mpl
import pytest

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
