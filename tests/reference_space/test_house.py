"""The house that `ReferenceSpace` opens: one class that binds verbs, which are plain functions."""

import ast
import importlib
import inspect
import pydoc
import re
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import AnnotationError
from refspace.reference_space import stores
from refspace.verbs.space import Space
from refspace.viewer import viewing

SRC = Path(refspace.__path__[0])
ROOT = SRC.parents[1]
TREE = StructureTree([{"id": 1, "acronym": "a", "name": "one"}])

# What the class holds that is of `Space`: what a space is made of, no verbs.
PARTS = {name for name in vars(Space) if name in vars(ReferenceSpace)} | {
    "from_datatree",
    "from_volume",
}
BOUND = {
    name: value
    for name, value in vars(ReferenceSpace).items()
    if not name.startswith("_") and name not in PARTS
}
# What has verbs of its own: `space.plot.slice(…)`.
ACCESSORS = {"plot"}
# Verbs of AllenSDK that take no space: callbacks of `many_structure_masks`.
STATIC = {"return_mask_cb", "check_and_write"}


def space():
    return ReferenceSpace(TREE, np.ones((2, 2, 2), "u1"), 10)


# ----- one class


def test_there_is_one_class_over_that_of_the_verbs():
    assert ReferenceSpace.__mro__ == (ReferenceSpace, Space, object)


def test_help_shows_one_class():
    shown = pydoc.render_doc(ReferenceSpace, renderer=pydoc.plaintext)
    headings = re.findall(
        r"^ \|  (.*) (?:defined here|inherited from [\w.]+):$", shown, re.MULTILINE
    )
    assert headings
    # Python's own `__dict__` and `__weakref__` come with the lowest class.
    inherited = re.findall(r"^ \|  (.*) inherited from [\w.]+:$", shown, re.MULTILINE)
    assert inherited in ([], ["Data descriptors"])
    *_, last = re.split(r"^ \|  Data descriptors inherited .*$", shown, flags=re.MULTILINE)
    if inherited:
        assert {*re.findall(r"^ \|  (\w+)", last, re.MULTILINE)} == {"__dict__", "__weakref__"}
    assert "Method resolution order:" in shown
    for name in BOUND:
        ending = "$" if name in ACCESSORS else r"(\(| = )"
        assert re.search(rf"^ \|  {name}{ending}", shown, re.MULTILINE), name


# Names that Python and notebooks look for.
SHOWN = {"__repr__": "repr_text", "_repr_html_": "repr_html"}


def test_the_class_reads_like_a_table_of_contents():
    (node,) = (
        n
        for n in ast.walk(ast.parse((SRC / "reference_space" / "space.py").read_text()))
        if isinstance(n, ast.ClassDef)
    )
    defined = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
    assert defined == {"__init__", "from_datatree", "from_volume"}
    bound = [n for n in node.body if isinstance(n, ast.Assign)]
    for line in bound:
        (target,) = line.targets
        value = line.value.args[0] if isinstance(line.value, ast.Call) else line.value
        assert isinstance(value, ast.Attribute)
        assert value.attr == SHOWN.get(target.id, target.id)
    assert len({line.targets[0].id for line in bound}) == len(bound)


@pytest.mark.parametrize("name", sorted(BOUND))
def test_verbs_are_plain_functions_of_a_space(name):
    value = BOUND[name]
    if name in STATIC:
        assert isinstance(value, staticmethod)
        value = value.__func__
    if name in ACCESSORS:
        assert isinstance(value, property)
        value = value.fget
    assert isinstance(value, FunctionType)
    assert value.__name__ == value.__qualname__ == name
    module = importlib.import_module(value.__module__)
    room = "refspace.plotting." if name in ACCESSORS else "refspace.verbs."
    assert module in (stores, viewing) or module.__name__.startswith(room)
    assert vars(module)[name] is value
    first = next(iter(inspect.signature(value).parameters))
    assert (first == "space") is (name not in STATIC)
    assert inspect.getdoc(value).count(">>> ")


def test_all_verbs_are_bound():
    assert {"make_structure_mask", "relabel", "aggregate", "to_zarr", "hemisphere"} < {*BOUND}
    assert len(BOUND) > 30


# ----- what wrong calls say


@pytest.mark.parametrize(
    "verb",
    [
        "make_structure_mask",
        "many_structure_masks",
        "relabel",
        "direct_voxel_counts",
        "total_voxel_counts",
        "voxel_counts",
        "aggregate",
        "count_points",
        "region_properties",
        "bounds",
        "crop",
    ],
)
@pytest.mark.parametrize("keyword", ["hemisphere", "level", "structure_set"])
def test_a_wrong_keyword_names_the_verb_and_no_class(verb, keyword):
    text = rf"^{verb}\(\) got an unexpected keyword argument '{keyword}'"
    with pytest.raises(TypeError, match=text) as caught:
        getattr(space(), verb)(1, **{keyword: "left"})
    assert "Space" not in str(caught.value)


def test_a_missing_argument_names_the_verb_and_no_class():
    text = r"^make_structure_mask\(\) missing 1 required positional argument: 'structure_ids'$"
    with pytest.raises(TypeError, match=text):
        space().make_structure_mask()


@pytest.mark.parametrize("kind", [str, Path])
def test_the_constructor_touches_no_disk(kind, tmp_path):
    path = tmp_path / "missing.nrrd"
    with pytest.raises(AnnotationError, match=r"open files and stores with refspace\.open\(path"):
        ReferenceSpace(TREE, kind(path))
    with pytest.raises(AnnotationError, match=re.escape(str(path))):
        ReferenceSpace(TREE, kind(path), 25)


# ----- figures of the whole package


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        meter = importlib.import_module("meter")
    return meter.Package(SRC, meter.Settings.from_toml(ROOT / "pyproject.toml"))


def test_no_public_parameter_is_any(measured):
    assert measured.any_parameters == []


def test_few_functions_take_many_parameters(measured):
    # Jobs, whose options are the user's to choose, and the command that runs one.
    jobs = {
        "refspace.batch.atlas_reference.AtlasReference.from_arguments",
        "refspace.batch.kept_index.write_index",
        "refspace.batch.masks.write_masks",
        "refspace.batch.meshes.write_meshes",
        "refspace.batch.statistics.aggregate_images",
        "refspace.cli.analysis.aggregate",
        "refspace.conversion.convert",
        "refspace.reference_space.stores.to_ome_zarr",
        "refspace.reference_space.stores.to_zarr",
        "refspace.sources.opening.open",
        "refspace.verbs.images.aggregate",
        "refspace.viewer.viewing.view",
    }
    assert {*measured.settings.jobs} <= jobs
    assert {function.name for function in measured.wide_functions()} <= jobs


def test_no_import_circles(measured):
    assert measured.circles == []


def modules():
    return sorted(SRC.rglob("*.py"))


def dict_looks(tree):
    """Lines that look into what an object holds."""
    for node in ast.walk(tree):
        is_attribute = isinstance(node, ast.Attribute) and node.attr == "__dict__"
        is_call = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("vars", "hasattr")
            and any("__dict__" in ast.unparse(arg) for arg in node.args[1:])
        )
        is_text = isinstance(node, ast.Constant) and node.value == "__dict__"
        is_vars = isinstance(node, ast.Call) and ast.unparse(node.func) == "vars"
        if is_attribute or is_call or is_text or is_vars:
            yield node.lineno


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_nothing_looks_into_what_an_object_remembers(path):
    assert [*dict_looks(ast.parse(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    "line", ["'index' in space.__dict__", "vars(space)", "getattr(space, '__dict__')"]
)
def test_looks_are_found(line):
    assert [*dict_looks(ast.parse(line))] == [1]
