"""Run AllenSDK's own published tests against refspace.

    python scripts/run_allensdk_tests.py [PYTEST OPTIONS]

The tests of the classes that `refspace.allensdk` has come with AllenSDK's wheel. They are copied to
a temporary folder, the package's name exchanged, and run there with pytest, whose exit status is
returned. None of their text is kept here, only the words to be exchanged.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import allensdk_env

SOURCE = Path(__file__).resolve().parents[1] / "src"
CONNECTIVITY = "test_mouse_connectivity_cache.py"
TESTS = (
    "core/test_simple_tree.py",
    "core/test_structure_tree.py",
    "core/test_reference_space.py",
    "core/test_reference_space_cache.py",
    f"core/{CONNECTIVITY}",
    "api/test_ontologies_api.py",
    "api/test_reference_space_api.py",
)

# pattern → replacement
IMPORTS = {
    r"^import mock$": "from unittest import mock",
    r"^from mock import": "from unittest.mock import",
    r"\ballensdk\.(?=api|config|core)": "refspace.allensdk.",
}

# (pattern, replacement, why the published test cannot run as it is)
ADAPTATIONS = (
    (
        r"delim_whitespace=True",
        r"sep=r'\\s+'",
        "pandas 3 removed read_csv(delim_whitespace=True); this is its documented replacement",
    ),
    (
        r"np\.eye\(100\)",
        "np.arange(60, dtype='u4').reshape(3, 4, 5)",
        "a volume has three axes, and the voxels of an annotation are whole numbers",
    ),
    (r"annotation/look_a_version", "annotation/ccf_2016", "a cache of no known version is refused"),
    (r"http://(?=api\.brain-map|download\.allen)", "https://", "the hosts are asked by https"),
)

READERS = "replaces the reader of the file, which is no argument here"
SERIES = "makes an integer of a Series of one number, which pandas 3 does not"
# In place of the fixtures of AllenSDK's own conftest.
FIXTURES = """
import pytest

@pytest.fixture
def fn_temp_dir(tmp_path):
    return str(tmp_path)
"""

# test → why it cannot pass
DESELECTED = {
    "test_simple_tree.py::test_initialization": "looks at private attributes of AllenSDK's class",
    "test_ontologies_api.py::test_atlas_1": "is of atlases' tables, which are AllenSDK's alone",
    "test_ontologies_api.py::test_atlas_verbose": "is of atlases' tables as well",
    "test_reference_space_api.py::test_download_mouse_atlas_volume": "is of the atlas of 2011",
    "test_reference_space_api.py::test_download_structure_mask": READERS,
    "test_reference_space_api.py::test_download_structure_mesh": READERS,
    "test_reference_space_api.py::test_download_annotation_volume": READERS,
    "test_reference_space_api.py::test_download_annotation_volume_default": READERS,
    "test_reference_space_api.py::test_download_template_volume": READERS,
    **{
        f"{file}::test_validate_structure_id{s}[inp1-False]": SERIES
        for file in ("test_reference_space_cache.py", CONNECTIVITY)
        for s in ("", "s")
    },
}

# Of experiments, which are AllenSDK's alone, are all the tests of this file but these.
OF_ATLASES = (
    "test_init",
    "test_get_annotation_volume",
    "test_get_template_volume",
    "test_get_structure_tree",
    "test_get_reference_space",
    "test_get_structure_mask",
    "test_default_structure_ids",
    "test_validate_structure_id",
    "test_validate_structure_ids",
)


def exchanged(text: str) -> str:
    """Return a test file with its imports exchanged and its adaptations made."""
    exchanges = [*IMPORTS.items(), *((old, new) for old, new, _ in ADAPTATIONS)]
    for pattern, replacement in exchanges:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def run(tests: Path, pytest_options: list[str]) -> int:
    """Run the tests of a folder on copies of them, and return pytest's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        for test in TESTS:
            source = tests / test
            text = exchanged(source.read_text(encoding="utf-8"))
            Path(folder, source.name).write_text(text, encoding="utf-8")
        Path(folder, "conftest.py").write_text(FIXTURES, encoding="utf-8")
        deselect = [f"--deselect={test}" for test in DESELECTED]
        wanted = [Path(test).name for test in TESTS if CONNECTIVITY not in test]
        wanted += [f"{CONNECTIVITY}::{test}" for test in OF_ATLASES]
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder]
        path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path}
        done = subprocess.run(
            [*command, *deselect, *pytest_options, *wanted],
            cwd=folder,
            env=environment,
            check=False,
        )
        return done.returncode


def main(arguments: list[str] | None = None) -> int:
    """Run the tests and print what was adapted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    allensdk_env.add_arguments(parser)
    options, pytest_options = parser.parse_known_args(arguments)
    folder = allensdk_env.allensdk_folder(allensdk_env.allensdk_python(options))
    status = run(folder / "test", pytest_options)
    for pattern, _, reason in ADAPTATIONS:
        print(f"adapted: {pattern}: {reason}")
    for test, reason in DESELECTED.items():
        print(f"left out: {test}: {reason}")
    print(f"left out: of {CONNECTIVITY} all but {', '.join(OF_ATLASES)}: of experiments")
    return status


if __name__ == "__main__":
    sys.exit(main())
