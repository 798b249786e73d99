import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import refspace
from refspace import errors

ROOT = Path(__file__).resolve().parents[2]
EXPORTED = [
    "Grid",
    "ReferenceSpace",
    "ReferenceSpaceCache",
    "RefspaceError",
    "StructureTree",
    "aggregate_images",
    "atlases",
    "convert",
    "fetch",
    "open_masks",
    "phantom",
    "read_image",
    "read_mesh",
    "read_nifti",
    "read_nrrd",
    "read_structures",
    "read_tiff",
    "set_limits",
    "verify",
    "verify_store",
    "write_index",
    "write_masks",
    "write_mesh",
    "write_meshes",
    "write_metaimage",
    "write_nifti",
    "write_nrrd",
    "write_structures",
    "write_tiff",
]


def python(code):
    """What a fresh interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


# ----- names


def test_exported_names():
    assert refspace.__all__ == EXPORTED
    # A star import must not replace the builtin open.
    assert dir(refspace) == sorted([*EXPORTED, "__version__", "open"])


@pytest.mark.parametrize("name", [*EXPORTED, "open"])
def test_exported_names_are_there(name):
    value = getattr(refspace, name)
    assert value.__name__ == name
    assert value.__module__.startswith("refspace.")
    assert value.__doc__
    assert getattr(refspace, name) is value


def test_star_import():
    code = "from refspace import *; print(*sorted(n for n in dir() if n[0] != '_'))"
    assert python(code) == EXPORTED


@pytest.mark.parametrize("name", ["reference_space_cache", "Grids", "_nothing", "close"])
def test_unknown_names(name):
    with pytest.raises(AttributeError, match=rf"^module 'refspace' has no attribute '{name}'$"):
        getattr(refspace, name)
    with pytest.raises(ImportError, match=f"cannot import name '{name}'"):
        exec(f"from refspace import {name}")


def test_the_version_is_that_of_the_project():
    assert refspace.__version__ == importlib.metadata.version("refspace")


def test_types_are_shipped():
    (folder,) = refspace.__path__
    assert Path(folder, "py.typed").is_file()


# ----- what an import costs

HEAVY = ["numpy", "dask", "xarray", "pandas", "networkx", "nrrd", "fsspec", "zarr", "matplotlib"]


def test_importing_the_package_loads_no_library():
    code = "import sys, refspace; refspace.__version__; dir(refspace); print(*sys.modules)"
    loaded = python(code)
    assert "refspace" in loaded
    assert set(loaded).isdisjoint([*HEAVY, "socket", "ssl", "urllib.request", "http.client"])
    assert [name for name in loaded if name.startswith("refspace.")] == [
        "refspace.lazy",
        "refspace.version",
    ]


def test_no_import_opens_a_socket_or_writes_a_file():
    code = f"""
import sys
seen = []
def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set("wax+") & set(args[1])
    cached = writes and str(args[0]).partition(".pyc")[1]
    if event.startswith("socket.connect") or event == "socket.getaddrinfo" or writes and not cached:
        seen.append((event, args))
sys.addaudithook(watch)
import refspace
for name in {EXPORTED}:
    getattr(refspace, name)
print(len(seen), *seen)
"""
    assert python(code)[0] == "0"


def test_matplotlib_is_loaded_by_plotting_alone():
    code = f"import sys, refspace; [getattr(refspace, n) for n in {EXPORTED}]; print(*sys.modules)"
    loaded = python(code)
    assert "matplotlib" not in loaded
    assert "xarray" in loaded


# ----- rooms


def test_rooms_import_only_from_lower_rooms():
    assert importlib.util.find_spec("importlinter")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(Path(refspace.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


# ----- errors

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and value.__module__ == errors.__name__
]
BUILTINS = {
    "StructureNotFoundError": KeyError,
    "MissingFieldError": KeyError,
    "NotUniqueError": RuntimeError,
    "OntologyError": ValueError,
    "AnnotationError": ValueError,
    "GridError": ValueError,
    "PositionError": IndexError,
    "FormatError": ValueError,
    "SourceError": ValueError,
    "SettingError": ValueError,
    "StoreError": OSError,
    "LockedError": OSError,
    "StoreReplacedError": OSError,
    "RemoteError": OSError,
    "MissingDependencyError": ImportError,
    "NotInRefspaceError": AttributeError,
    "RefspaceError": Exception,
    "WriteError": OSError,
    "ClusterError": OSError,
    "JobError": RuntimeError,
}
# Beside the message.
ARGUMENTS = {"JobError": [{}]}


@pytest.mark.parametrize("error", CLASSES)
def test_errors_derive_from_one_and_from_a_builtin(error):
    assert issubclass(error, errors.RefspaceError)
    assert issubclass(error, BUILTINS[error.__name__])
    assert error.__name__ in errors.__doc__
    assert error.__doc__


@pytest.mark.parametrize("error", CLASSES)
def test_messages_read_as_they_were_written(error):
    made = error('no "VISP";\nsee', *ARGUMENTS.get(error.__name__, ()))
    assert str(made) == str(pickle.loads(pickle.dumps(made))) == 'no "VISP";\nsee'


def test_a_job_tells_its_first_failures():
    failures = {f"block {number}": "why" for number in range(5)}
    error = errors.JobError("5 of 9 failed", failures)
    assert str(error).splitlines() == ["5 of 9 failed", *(f"block {n}: why" for n in range(3)), "…"]
    assert pickle.loads(pickle.dumps(error)).failures == failures


def test_every_error_is_described():
    assert {error.__name__ for error in CLASSES} == set(BUILTINS)
