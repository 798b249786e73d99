"""What commands say of a store by its metadata and index alone."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from refspace.cli import stored
from refspace.cli.main import main

ANSWERS = {
    "counts of one": ["counts", "-s", "VISp"],
    "counts of all": ["counts"],
    "counts of a depth": ["counts", "--depth", "3", "--csv"],
    "counts of a set": ["counts", "--structure-set", "summary", "--json"],
    "counts at another level": ["counts", "--resolution", "100", "--json"],
    "a tree": ["tree"],
    "a part of a tree": ["tree", "VIS", "--depth", "1"],
    "a tree as a table": ["tree", "--csv"],
    "a tree with counts": ["tree", "VIS", "--counts"],
    "a tree with counts as a table": ["tree", "--counts", "--json"],
    "sets": ["tree", "--sets"],
    "a search": ["search", "visual", "area", "--limit", "3"],
    "a search by a pattern": ["search", "--regex", r"^VISp\d", "--csv"],
    "facts": ["info"],
    "facts as JSON": ["info", "--json"],
}
answers = pytest.mark.parametrize("command", ANSWERS.values(), ids=ANSWERS)


def run(url, command):
    name, *options = command
    return CliRunner().invoke(main, [name, str(url), *options])


def test_no_array_library_is_waited_for(phantom_store):
    commands = [[name, str(phantom_store), *options] for name, *options in ANSWERS.values()]
    code = (
        "import json, sys\n"
        "from refspace.cli.main import main\n"
        "heavy = ('xarray', 'dask', 'networkx', 'distributed', 'scipy', 'aiohttp')\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    main(command, standalone_mode=False)\n"
        "    there = [name for name in heavy if name in sys.modules]\n"
        "    assert not there, (command, there)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@answers
def test_a_space_says_the_same(phantom_store, command, monkeypatch):
    quick = run(phantom_store, command)
    assert quick.exit_code == 0, quick.output
    monkeypatch.setattr(stored, "_opened", lambda *args: None)
    assert run(phantom_store, command).stdout == quick.stdout


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_tables_in_files_are_the_same(phantom_store, tmp_path, ending, monkeypatch):
    paths = [tmp_path / f"{name}{ending}" for name in ("quick", "slow")]
    assert run(phantom_store, ["counts", "-o", str(paths[0])]).exit_code == 0
    monkeypatch.setattr(stored, "_opened", lambda *args: None)
    assert run(phantom_store, ["counts", "-o", str(paths[1])]).exit_code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    "options",
    [["--hemisphere", "left"], ["--by-hemisphere"], ["--midline", "5000", "--by-hemisphere"]],
)
def test_hemispheres_are_counted_by_a_space(phantom_store, options, monkeypatch):
    monkeypatch.setattr(stored, "stored_counts", None)
    done = run(phantom_store, ["counts", "-s", "VISp", "--json", *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["structures"][0]["total"] > 0


@pytest.mark.parametrize("command", [["counts"], ["tree"], ["tree", "--counts"], ["search", "a"]])
def test_a_level_that_is_not_there_is_told_as_ever(phantom_store, command, monkeypatch):
    asked = [*command, "--resolution", "33"]
    quick = run(phantom_store, asked)
    assert quick.exit_code != 0
    monkeypatch.setattr(stored, "_opened", lambda *args: None)
    again = run(phantom_store, asked)
    assert (quick.exit_code, quick.output) == (again.exit_code, again.output)


def test_a_command_without_a_cluster_does_not_wait_for_distributed(phantom_store, tmp_path):
    code = (
        "import dask, sys\n"
        "from refspace.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "assert 'dask.array' in sys.modules\n"
        "assert 'distributed' not in sys.modules\n"
        "assert dask.config.get('scheduler', None) is None\n"
    )
    command = ["mask", phantom_store, "-s", "AUDd", "--crop", "-o", tmp_path / "mask.nrrd"]
    subprocess.run([sys.executable, "-c", code, *map(str, command)], check=True)
    assert (tmp_path / "mask.nrrd").is_file()
