"""Run AllenSDK's notebooks of reference spaces on refspace, only the package's name changed.

    PYTHONPATH=tests python scripts/run_allensdk_notebooks.py --data FOLDER [--notebooks FOLDER]

AllenSDK's wheel holds two notebooks as scripts, among its tests: that of the reference space, and
that of the mouse connectivity atlas. With ``--notebooks`` the notebooks themselves are run, of the
folder ``doc_template/examples_root/examples/nb`` of AllenSDK's repository, and what they print is
compared with what is stored in them. None of their text is kept here.

The hosts of the Allen Institute are replayed, with the real annotation and structures of FOLDER.
What asks for experiments is AllenSDK's alone: those statements end in the error that says so, and
the ones that use their results are left out. Everything else must run.

At last each of both libraries fills a folder from a small replay, without the internet, and reads
that of the other; all answers must be the same.
"""

import argparse
import ast
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import allensdk_env
import matplotlib as mpl
import numpy as np
from helpers import allen_replay
from helpers.serving import Server

import refspace
from refspace.errors import NotInRefspaceError

NOTEBOOKS = ("reference_space", "mouse_connectivity")
IN_WHEEL = "test/core/test_{}_notebook.py"
RESOLUTION = 25
ISOCORTEX = 315

# What must hold of a notebook's variables once it has run. Figures are of the CCF of 2017.
EXPECTED = {
    "reference_space": {
        "acronym_map[385]": "VISp",
        "name_map[247]": "Auditory areas",
        "annotation.shape": (528, 320, 456),
        "int(whole_cortex_mask.sum())": 7_891_055,
        "len(brain_observatory_ids) > 0 and int(brain_observatory_mask.sum()) > 0": True,
        "no_voxel_id": 12997,
        "no_voxel_id in rsp.structure_tree.node_ids()": False,
        "sf_rsp.annotation.shape": (176, 107, 152),
    },
    "mouse_connectivity": {
        "mcc.resolution": RESOLUTION,
        "sorted(s['acronym'] for s in structures)": ["HY", "VISp"],
        "isocortex['id'], visp['id']": (ISOCORTEX, 385),
        "template.shape, annot.shape": ((528, 320, 456),) * 2,
        "int((cortex_mask > 0).sum())": 7_891_055,
    },
}

# The words that are exchanged.
_PACKAGE = re.compile(r"^(\s*(?:from|import) )allensdk\b", re.MULTILINE)
_MAGIC = re.compile(r"^%.*$", re.MULTILINE)


@dataclass
class Cell:
    """A cell of a notebook: its statements, and what it printed when it was stored."""

    statements: list[ast.stmt]
    printed: str | None = None


@dataclass
class Report:
    """What became of the statements of a notebook."""

    run: int = 0
    left: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Folders:
    """Stands for pytest's ``tmpdir_factory`` in the scripts of the wheel."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def mktemp(self, name: str) -> "Folders":
        """Make a folder."""
        (self.root / name).mkdir()
        return Folders(self.root / name)

    def join(self, name: str) -> Path:
        """Return a path in the folder."""
        return self.root / name

    def __str__(self) -> str:
        return str(self.root)


# ----- notebooks


def cells_of_script(text: str) -> list[Cell]:
    """Return the body of the only function of a script, as one cell."""
    tree = ast.parse(renamed(text))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    imports = [node for node in tree.body if isinstance(node, ast.Import)]
    wanted = [node for node in imports if node.names[0].name != "pytest"]
    return [Cell([*wanted, *function.body])]


def cells_of_notebook(text: str) -> list[Cell]:
    """Return the cells of code of a notebook; one that stands there twice in a row, once."""
    cells: dict[str, Cell] = {}
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "code":
            source = renamed(_MAGIC.sub("", "".join(cell["source"])))
            streams = [o["text"] for o in cell["outputs"] if o.get("name") == "stdout"]
            printed = "".join("".join(lines) for lines in streams)
            cells[source] = Cell(ast.parse(source).body, printed)
    return list(cells.values())


def renamed(text: str) -> str:
    """Exchange the package's name in imports."""
    return _PACKAGE.sub(r"\1refspace.allensdk", text)


def read_cells(name: str, options: argparse.Namespace) -> tuple[str, list[Cell]]:
    """Return where a notebook is, and its cells."""
    if options.notebooks is not None:
        path = options.notebooks / f"{name}.ipynb"
        return str(path), cells_of_notebook(path.read_text(encoding="utf-8"))
    folder = allensdk_env.allensdk_folder(allensdk_env.allensdk_python(options))
    path = folder / IN_WHEEL.format(name)
    return f"AllenSDK's {path.name}", cells_of_script(path.read_text(encoding="utf-8"))


# ----- their statements


def run_cells(cells: list[Cell], names: dict[str, Any]) -> Report:
    """Run the cells one by one, without what needs experiments."""
    report, lost = Report(), set[str]()
    for cell in cells:
        out, left = io.StringIO(), len(report.left)
        with redirect_stdout(out):
            for statement in cell.statements:
                run_statement(statement, names, lost, report)
        stored = cell.printed
        if stored is not None and left == len(report.left) and lines(stored) != lines(out):
            report.faults.append(f"printed {out.getvalue()!r}, and the notebook {stored!r}")
    return report


def run_statement(
    statement: ast.stmt, names: dict[str, Any], lost: set[str], report: Report
) -> None:
    """Run a statement; note names that hold nothing, because AllenSDK alone can make it."""
    text = ast.unparse(statement)
    used = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
    made = {
        n.id
        for n in ast.walk(statement)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    if (used - made) & lost:
        report.left.append(text)
        lost |= made
        return
    try:
        if isinstance(statement, ast.Expr):
            repr(eval(text, names))
        else:
            exec(text, names)
    except NotInRefspaceError:
        report.left.append(text)
        lost |= made
    except Exception as error:
        report.faults.append(f"{text}: {type(error).__name__}: {error}")
    else:
        report.run += 1
        lost -= made


def lines(text: str | io.StringIO) -> list[str]:
    """Return what is printed, without blanks at the end of lines."""
    shown = text if isinstance(text, str) else text.getvalue()
    return [line.rstrip() for line in shown.strip().splitlines()]


def differences(name: str, names: dict[str, Any]) -> Iterator[str]:
    """Compare a notebook's variables with what they must be."""
    for expression, expected in EXPECTED[name].items():
        try:
            found = eval(expression, names)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found != expected:
            yield f"{expression} is {found}, and should be {expected}"


# ----- the hosts


def hosts(data: Path) -> dict[str, bytes]:
    """Return the files of the Allen Institute's hosts that the notebooks ask for."""
    annotation = (data / "annotation_25.nrrd").read_bytes()
    space = refspace.open(data / "annotation_25.nrrd", structures=data / "structures_1.json")
    cortex = space.make_structure_mask(ISOCORTEX).values
    # No real template is at hand: any intensities will do.
    template = (space.annotation.values % 500).astype(np.uint16)
    ccf = f"{allen_replay.ARCHIVE}/annotation/ccf_201"
    average = f"{allen_replay.ARCHIVE}/average_template/average_template_{RESOLUTION}.nrrd"
    mask = f"{ccf}7/structure_masks/structure_masks_{RESOLUTION}/structure_{ISOCORTEX}.nrrd"
    return {
        allen_replay.QUERY.format(1): (data / "structures_1.json").read_bytes(),
        **{f"{ccf}{year}/annotation_{RESOLUTION}.nrrd": annotation for year in (6, 7)},
        average: allen_replay.nrrd(template, RESOLUTION, level=1),
        mask: allen_replay.nrrd(cortex, RESOLUTION, level=1),
        **allen_replay.structure_sets(space.structure_tree),
    }


def replayed(server: Server) -> dict[str, str]:
    """Return the environment that names a server in place of the hosts."""
    archive = server.url + allen_replay.ARCHIVE
    return {"REFSPACE_ALLEN_HOST": server.url, "REFSPACE_ALLEN_ARCHIVE": archive}


# ----- the run


def run(name: str, options: argparse.Namespace) -> bool:
    """Run a notebook in a folder of its own, and print what became of it."""
    place, cells = read_cells(name, options)
    with tempfile.TemporaryDirectory() as folder, chdir(folder), warnings.catch_warnings():
        start = time.perf_counter()
        names: dict[str, Any] = {"tmpdir_factory": Folders(Path(folder))}
        report = run_cells(cells, names)
        report.faults += differences(name, names)
    seconds = time.perf_counter() - start
    print(
        f"{place}: {report.run} statements in {seconds:.0f} s, {len(report.left)} left to AllenSDK"
    )
    for text in report.left:
        print(f"  left: {text.splitlines()[0][:90]}")
    for fault in report.faults:
        print(f"  WRONG: {fault}")
    return not report.faults and report.run > 0


# ----- folders of both


def compare_folders(python: Path) -> bool:
    """Have each library fill a folder and read that of the other; print what differs."""
    sides = {"refspace.allensdk": Path(sys.executable), "allensdk": python}
    with (
        tempfile.TemporaryDirectory() as root,
        Server(allen_replay.replay(allen_replay.sample())) as server,
    ):
        found = {
            f"{package}, its own folder": folder_answers(
                program, package, Path(root, package), server
            )
            for package, program in sides.items()
        }
        server.stop()
        for package, other in zip(sides, reversed(sides), strict=True):
            found[f"{package}, the other's folder"] = folder_answers(
                sides[package], package, Path(root, other)
            )
    first, *others = found.values()
    differing = sorted({key for other in others for key in first if first[key] != other[key]})
    print(
        f"{len(found)} folders, {len(first)} answers each: {', '.join(differing) or 'none'} differ"
    )
    return not differing


def folder_answers(
    python: Path, package: str, folder: Path, server: Server | None = None
) -> dict[str, Any]:
    """Return what a library answers of a folder, which it fills from a server."""
    command = [
        str(python),
        str(Path(__file__).with_name("allensdk_folder.py")),
        package,
        str(folder),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if package == "refspace.allensdk":
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1] / "src")
    if server is not None:
        command, environment = [*command, server.url], environment | replayed(server)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{package} cannot read {folder}:\n{done.stderr[-2000:]}")
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


# ----- all


def main(arguments: list[str] | None = None) -> int:
    """Run both notebooks; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real annotation")
    parser.add_argument("--notebooks", type=Path, help="folder of the notebooks themselves")
    allensdk_env.add_arguments(parser)
    options = parser.parse_args(arguments)
    mpl.use("Agg")
    with (
        Server(hosts(options.data.resolve())) as server,
        mock.patch.dict(os.environ, replayed(server)),
    ):
        right = [run(name, options) for name in NOTEBOOKS]
    right.append(compare_folders(allensdk_env.allensdk_python(options)))
    return int(not all(right))


if __name__ == "__main__":
    sys.exit(main())
