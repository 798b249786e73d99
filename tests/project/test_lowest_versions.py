"""The lowest versions that CI installs are those that pyproject.toml states."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "lowest_versions.py"


def script():
    spec = importlib.util.spec_from_file_location("lowest_versions", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_at_its_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ["nifti", "cluster"]
    words = [sys.executable, SCRIPT, *extras]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    assert len(printed) == len(wanted)
    for line, stated in zip(map(Requirement, printed), map(Requirement, wanted), strict=True):
        assert (line.name, line.extras) == (stated.name, stated.extras)
        (pinned,) = line.specifier
        (bound,) = [each for each in stated.specifier if each.operator == ">="]
        assert pinned.operator == "=="
        assert pinned.version == bound.version


@pytest.mark.parametrize(
    "requirement", ["numpy", "numpy<3", "numpy>=2,<3", "numpy!=2.1", "numpy~=2.2"]
)
def test_what_is_no_lower_bound(requirement):
    with pytest.raises(ValueError, match="states no lower bound"):
        list(script().lowest([requirement]))
