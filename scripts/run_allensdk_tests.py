"""Run AllenSDK's own published tests against refspace.

    python scripts/run_allensdk_tests.py [PYTEST OPTIONS]

The tests of ``SimpleTree``, ``StructureTree`` and ``ReferenceSpace`` come with AllenSDK's wheel.
They are copied to a temporary folder, their imports exchanged, and run there with pytest, whose
exit status is returned. None of their text is kept here, only the words to be exchanged.
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
TESTS = ("test_simple_tree.py", "test_structure_tree.py", "test_reference_space.py")

# pattern → replacement
IMPORTS = {
    r"^import mock$": "from unittest import mock",
    r"^from allensdk\.core\.simple_tree import": "from refspace.structure_tree import",
    r"^from allensdk\.core\.\w+ import": "from refspace import",
    # A fixture that no test uses asks for this class.
    r"^from allensdk\.api\.queries\.\w+ import (\w+)$": r"\1 = mock.MagicMock",
}

# (pattern, replacement, why the published test cannot run as it is)
ADAPTATIONS = (
    (
        r"delim_whitespace=True",
        r"sep=r'\\s+'",
        "pandas 3 removed read_csv(delim_whitespace=True); this is its documented replacement",
    ),
)

# test → why it cannot pass
DESELECTED = {
    "test_simple_tree.py::test_initialization": "looks at private attributes of AllenSDK's class",
}


def exchanged(text: str) -> str:
    """Return a test file with its imports exchanged and its adaptations made."""
    exchanges = [*IMPORTS.items(), *((old, new) for old, new, _ in ADAPTATIONS)]
    for pattern, replacement in exchanges:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def run(tests: Path, pytest_options: list[str]) -> int:
    """Run the tests of a folder on copies of them, and return pytest's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        for name in TESTS:
            text = (tests / name).read_text(encoding="utf-8")
            Path(folder, name).write_text(exchanged(text), encoding="utf-8")
        deselect = [f"--deselect={test}" for test in DESELECTED]
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder]
        path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path}
        done = subprocess.run(
            [*command, *deselect, *pytest_options, *TESTS],
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
    status = run(folder / "test" / "core", pytest_options)
    for pattern, _, reason in ADAPTATIONS:
        print(f"adapted: {pattern}: {reason}")
    for test, reason in DESELECTED.items():
        print(f"left out: {test}: {reason}")
    return status


if __name__ == "__main__":
    sys.exit(main())
