"""The documentation's table of promises is made from the tests, and is the present one."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "promises.py"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module("promises")


def run(*options):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, options)], capture_output=True, text=True, check=False
    )


def test_the_page_says_what_the_tests_say():
    found = run("--check")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_there_are_promises_of_many_rooms(script):
    found = script.promises(ROOT)
    assert len(found) > 20
    assert {"store", "conversion", "batch", "formats"} <= {entry.room for entry in found}


def test_the_mark_is_known(request):
    (line,) = [m for m in request.config.getini("markers") if m.startswith("promise(")]
    assert "fault" in line


@pytest.fixture
def project(tmp_path):
    """Writes a module of tests into a project with a page."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/trust.md").write_text(
        "# T\n\n<!-- promises -->\nold\n<!-- /promises -->\nend\n"
    )
    (tmp_path / "tests/store").mkdir(parents=True)

    def write(*lines):
        (tmp_path / "tests/store/test_it.py").write_text("\n".join(lines))
        return tmp_path

    return write


PROMISE = '@pytest.mark.promise("it burns", "water")'


def test_the_table_is_written(project):
    root = project(
        "import pytest",
        PROMISE,
        "@pytest.mark.slow",
        "def test_one(): pass",
        '@pytest.mark.promise("it burns")',
        "def test_two(): pass",
        "def test_three(): pass",
    )
    assert run("--root", root, "--check").returncode == 1
    assert "run: python scripts/promises.py --write" in run("--root", root, "--check").stdout
    assert run("--root", root, "--write").returncode == 0
    assert run("--root", root, "--check").returncode == 0
    link = "](../tests/store/test_it.py)"
    row = f"| it burns | water | [`test_one`{link}, [`test_two`{link} |"
    assert (root / "docs/trust.md").read_text() == (
        "# T\n\n<!-- promises -->\n\n| fault | promise | tests |\n|---|---|---|\n"
        f"{row}\n\n<!-- /promises -->\nend\n"
    )
    assert row in run("--root", root).stdout


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['@pytest.mark.promise("it burns")', "def test_a(): pass"], "no test states what is prom"),
        (["@pytest.mark.promise()", "def test_a(): pass"], "takes a fault, and once the promise"),
        (["@pytest.mark.promise(1)", "def test_a(): pass"], "both as plain text"),
        (['@pytest.mark.promise("a", promise="b")', "def test_a(): pass"], "as plain text"),
        (['@pytest.mark.promise("a|b", "c")', "def test_a(): pass"], "one line each, without |"),
        (['@pytest.mark.promise("", "c")', "def test_a(): pass"], "one line each, without |"),
        (
            [PROMISE, "def test_a(): pass", PROMISE.replace("water", "sand"), "def test_b(): 1"],
            "of 'it burns' is promised 'sand' here, 'water' elsewhere; state it once",
        ),
    ],
)
def test_marks_that_say_something_else(project, lines, said):
    found = run("--root", project("import pytest", *lines))
    assert found.returncode == 1
    assert said in found.stderr
