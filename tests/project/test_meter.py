"""The meter finds each fault of a package, and takes nothing else for one."""

import doctest
import textwrap
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    return import_module("meter")


@pytest.fixture
def measured(meter: ModuleType, tmp_path: Path):
    """Measures a package of the files that are given."""

    def measure(files: dict[str, str] | str, **settings: tuple[str, ...]):
        files = {"__init__.py": files} if isinstance(files, str) else files
        for name, source in files.items():
            path = tmp_path / "src" / "house" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source), encoding="utf-8")
        return meter.Package(tmp_path / "src" / "house", meter.Settings(**settings))

    return measure


# ----- lines

LINES = '''
"""Documentation
of two lines."""

# A reason,
# of two lines.
LIMIT = 3  # not a line of its own
"""Documentation of the limit."""
TEXT = """a value

# no comment
"""


def first(
    value,
    other=1,
):
    """Documentation."""

    # A reason.
    def inner():
        return value

    @print
    def decorated():
        pass

    return inner


def second(): return 2
'''


def test_lines_of_code(measured) -> None:
    (module,) = measured(LINES).modules
    lines = [module.source.splitlines()[n - 1].strip() for n in sorted(module.code)]
    assert lines == [
        "LIMIT = 3  # not a line of its own",
        'TEXT = """a value',
        "# no comment",
        '"""',
        "def first(",
        "value,",
        "other=1,",
        "):",
        "def inner():",
        "return value",
        "@print",
        "def decorated():",
        "pass",
        "return inner",
        "def second(): return 2",
    ]
    assert module.comment_lines == 3


def test_lines_of_a_body(measured) -> None:
    lengths = {f.name: f.length for f in measured(LINES).functions}
    assert lengths == {
        "house.first": 6,
        "house.first.inner": 1,
        "house.first.decorated": 1,
        "house.second": 1,
    }


def test_a_body_that_begins_with_a_decorator(measured) -> None:
    source = """
    def outer():
        @print
        def inner(): pass
    """
    assert measured(source).functions[0].length == 2


def test_overloads_are_no_functions(measured) -> None:
    source = """
    @overload
    def f(x: Any): ...
    @typing.overload
    def f(x: Any): ...
    def f(x: int): return x
    """
    package = measured(source)
    assert [f.length for f in package.functions] == [1]
    assert package.any_parameters == []


def test_the_longest_are_listed(measured) -> None:
    def function(name: str, lines: int) -> str:
        return f"def {name}():\n" + "    pass\n" * lines

    long = "VALUE = 1\n" * 501
    files = {"a.py": function("f", 45) + function("g", 46) + function("h", 61), "b.py": long}
    package = measured(files)
    assert package.long_modules() == ["src/house/b.py 501 lines"]
    assert package.long_functions() == [
        "src/house/a.py:47 house.a.g 46 lines",
        "src/house/a.py:94 house.a.h 61 lines",
    ]
    assert package.faults() == {"bodies over 60 lines": ["src/house/a.py:94 house.a.h 61 lines"]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "0 / 0 / 0"),
        ([7], "7 / 7 / 7"),
        (range(1, 101), "50 / 95 / 100"),
        ([9, 1], "1 / 9 / 9"),
    ],
)
def test_spread(meter: ModuleType, values: list[int], expected: str) -> None:
    assert meter.spread(values) == expected


# ----- parameters

WIDE = "def f(a, b, /, c, d, *args, e, f, g, h, i, {}): pass\n"


def test_eleven_parameters_are_too_many(measured) -> None:
    package = measured(WIDE.format("**options"))
    (spots,) = package.faults().values()
    assert spots == ["src/house/__init__.py:1 house.f: 11"]


def test_ten_parameters_are_not(measured) -> None:
    package = measured(WIDE.format("").replace(", )", ")"))
    assert [len(f.parameters) for f in package.functions] == [10]
    assert package.faults() == {}


def test_self_and_cls_are_not_given(measured) -> None:
    source = """
    class A:
        def method(self, x): pass
        @classmethod
        def made(cls, x): pass
        @staticmethod
        def plain(x): pass
        def outer(self):
            def inner(x): pass
    """
    counts = {f.node.name: len(f.parameters) for f in measured(source).functions}
    assert counts == {"method": 1, "made": 1, "plain": 1, "outer": 0, "inner": 1}


def test_jobs_may_take_more(measured) -> None:
    assert measured(WIDE.format("**options"), jobs=("house.f",)).faults() == {}


def test_a_job_that_takes_few_is_none(measured) -> None:
    faults = measured("def f(a): pass", jobs=("house.f", "house.gone")).faults()
    assert faults == {"jobs without so many parameters": ["house.f", "house.gone"]}


# ----- Any


@pytest.mark.parametrize(
    "annotation", ["Any", "typing.Any", "'Any'", "Any | None", "int | Any", "Optional[Any]"]
)
@pytest.mark.parametrize(
    "source",
    [
        "def f(x: {}): pass",
        "async def f(*, x: {} = None): pass",
        "class A:\n    def __init__(self, x: {}): pass",
        "@dataclass(frozen=True)\nclass A:\n    x: {}",
    ],
)
def test_any_of_a_public_parameter(measured, source: str, annotation: str) -> None:
    (spot,) = measured(source.format(annotation)).any_parameters
    assert spot.endswith("(x)")
    assert spot.startswith("src/house/__init__.py:")


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: list[Any], y: Mapping[str, Any] | None, z): pass",
        "def f(*args: Any, **options: Any) -> Any: pass",
        "def _f(x: Any): pass",
        "class _A:\n    def f(self, x: Any): pass",
        "def f():\n    def g(x: Any): pass",
        "class A:\n    x: Any",
        "@dataclass\nclass A:\n    _x: Any",
        "@dataclass\nclass _A:\n    x: Any",
    ],
)
def test_any_elsewhere(measured, source: str) -> None:
    assert measured(source).any_parameters == []


def test_any_in_a_private_module(measured) -> None:
    assert measured({"_a.py": "def f(x: Any): pass"}).any_parameters == []


# ----- circles


@pytest.mark.parametrize(
    "back",
    [
        "import house.a",
        "from house import a",
        "from house.a import A",
        "from . import a",
        "from .a import A as B",
        "if TYPE_CHECKING:\n    from house.a import A",
        "def f():\n    from house.a import A",
    ],
)
def test_two_modules_in_a_circle(measured, back: str) -> None:
    package = measured({"__init__.py": "", "a.py": "from house import b", "b.py": back})
    assert package.circles == [["house.a", "house.b"]] or package.circles == [
        ["house.b", "house.a"]
    ]
    assert list(package.faults()) == ["import circles"]


def test_the_shortest_circle_of_a_knot_is_shown(measured) -> None:
    files = {
        "a.py": "from house import b",
        "b.py": "from house import c",
        "c.py": "from house import a, d",
        "d.py": "from house import c",
        "room/__init__.py": "from .e import E",
        "room/e.py": "from ..room import F",
    }
    circles = measured(files).circles
    assert [set(circle) for circle in circles] == [
        {"house.c", "house.d"},
        {"house.room", "house.room.e"},
    ]


def test_imports_without_a_circle(measured) -> None:
    files = {
        "__init__.py": "from house.a import A",
        "a.py": "import os\nfrom house import b\nfrom house.room import C",
        "b.py": "from house.room.c import C",
        "room/__init__.py": "from .c import C",
        # Of its own room a module imports another module, and the room not.
        "room/c.py": "from house.room import d\nfrom . import d",
        "room/d.py": "import numpy.a",
    }
    assert measured(files).circles == []


# ----- private reaches


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("other._name", "other._name"),
        ("other._name = 1", "other._name"),
        ("self.part._name", "self.part._name"),
        ("self.part()._name()", "self.part()._name"),
        ("self._own._name", "self._own._name"),
        ("B._name", "B._name"),
        ("type(other)._name", "type(other)._name"),
        ("getattr(other, '_name', None)", "getattr(other, '_name', None)"),
        ("from house.b import _name", "import of _name"),
    ],
)
def test_private_reach(measured, code: str, shown: str) -> None:
    package = measured(f"class A:\n    def f(self, other):\n        {code}\n")
    assert package.reaches == [f"src/house/__init__.py:3 {shown}"]
    assert package.faults() == {"private reaches": package.reaches}


@pytest.mark.parametrize(
    "code",
    [
        "self._name",
        "cls._name",
        "A._name",
        "type(self)._name",
        "super()._name()",
        "_name()",
        "other.__class__",
        "other._repr_html_()",
        "other._replace(x=1)",
        "other.name_",
        "getattr(self, '_name')",
        "getattr(other, name)",
        "print('_name', '_name')",
    ],
)
def test_no_private_reach(measured, code: str) -> None:
    assert measured(f"class A:\n    def f(self, other):\n        {code}\n").reaches == []


def test_names_of_libraries_may_be_allowed(measured) -> None:
    source = "data._meta\ngetattr(data, '_meta')\ndata._other"
    package = measured(source, foreign=("_meta",))
    assert package.reaches == ["src/house/__init__.py:3 data._other"]


# ----- towers


def test_the_tallest_tower(measured) -> None:
    files = {
        "__init__.py": "from house.low import Low as Lowest",
        "low.py": "class Low(dict): pass\nclass Other: pass",
        "middle.py": """
            import house
            from house import low
            class Left(house.Lowest): pass
            class Right(low.Low[int], Generic[T]): pass
            class Both(Left, Right): pass
        """,
        "top.py": "from .middle import *\nfrom .middle import Both\nclass Top(Both): pass",
    }
    assert measured(files).tower == [
        "house.top.Top",
        "house.middle.Both",
        "house.middle.Left",
        "house.low.Low",
        "house.middle.Right",
    ]


def test_no_tower(measured) -> None:
    assert measured("").tower == []
    assert measured("class A(ValueError): pass").tower == ["house.A"]
    # A class may be called like its base, and a name may be imported from where it comes from.
    files = {"__init__.py": "from house.a import A, B\nclass A(A): pass\nclass C(B): pass"}
    assert measured({**files, "a.py": "from house import A, B"}).tower == ["house.A"]


def test_names_of_modules_and_of_what_they_hold_may_be_the_same(measured) -> None:
    source = "from house.part import part\nclass Whole(part): pass"
    assert measured({"__init__.py": source, "part.py": "part = make()"}).tower == ["house.Whole"]
    tower = measured({"part.py": "class part: pass"}).tower
    assert tower == ["house.Whole", "house.part.part"]


# ----- the script

FAULTY = "import house\nclass A:\n    def f(self, x: Any):\n        x._y\n"


@pytest.fixture
def run(meter: ModuleType, measured, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Exit status and output of the script, on a package of one module."""

    def run(source: str, *options: str, settings: str = "") -> tuple[int, str]:
        folder = measured(source).folder
        toml = tmp_path / "pyproject.toml"
        toml.write_text(settings)
        status = meter.main([str(folder), "--settings", str(toml), *options])
        return status, capsys.readouterr().out

    return run


def test_columns_are_aligned(meter: ModuleType) -> None:
    table = [("modules", "7", ""), ("import circles", "12345678", "0"), ("x", "1", "hardly any")]
    assert meter.as_text(table).splitlines() == [
        "                  figure      wanted",
        "modules                7",
        "import circles  12345678           0",
        "x                      1  hardly any",
    ]


def test_faults_are_listed_below_the_table(run) -> None:
    status, text = run(FAULTY)
    assert status == 0
    assert text.partition("\n\n")[2] == (
        "private reaches:\n  src/house/__init__.py:4 x._y\n\n"
        "public parameters of type Any:\n  src/house/__init__.py:3 house.A.f(x)\n"
    )


def test_markdown(run) -> None:
    status, text = run(FAULTY, "--markdown")
    first, second, *lines = text.splitlines()
    assert (status, first, second) == (0, "|  | figure | wanted |", "| --- | ---: | ---: |")
    assert "| private reaches | 1 | 0 |" in lines
    assert {line.count("|") for line in lines} == {4}


@pytest.mark.parametrize(("source", "status"), [(FAULTY, 1), ("x = 1", 0)])
def test_check(run, source: str, status: int) -> None:
    assert run(source, "--check")[0] == status


def test_settings(run) -> None:
    settings = '[tool.meter]\njobs = ["house.f"]\nforeign = ["_y"]\n'
    source = WIDE.format("**options") + "x._y\n"
    assert run(source, "--check")[0] == 1
    assert run(source, "--check", settings=settings)[0] == 0


def test_a_folder_without_modules(meter: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        meter.main([str(tmp_path / "nowhere")])


def test_this_package_is_measured(meter: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert meter.main([]) == 0
    assert "comment lines per line of code" in capsys.readouterr().out


def test_examples(meter: ModuleType) -> None:
    assert doctest.testmod(meter).failed == 0
