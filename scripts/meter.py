"""Measure the shape of the package: sizes, parameters, circles, private reaches, class towers.

    python scripts/meter.py [--markdown] [--check] [PACKAGE]

Sizes are lines of code: neither blank, nor comment, nor documentation. The figures come from the
source alone; no module of the package is imported. ``--check`` fails on what the house does not
allow. Exceptions stand in ``pyproject.toml``: jobs, the functions that may take more parameters
than others, and private names of libraries that offer no public one::

    [tool.meter]
    jobs = ["refspace.conversion.convert"]
    foreign = ["_meta"]
"""

import argparse
import ast
import io
import math
import sys
import tokenize
import tomllib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import networkx as nx

_ROOT = Path(__file__).resolve().parents[1]

LONG_MODULE = 500
LONG_FUNCTION = 45
# Between the two a function is listed, and fails no check: a long table reads well in one piece.
LONGEST_FUNCTION = 60
MOST_PARAMETERS = 10

Def = ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Scopes = tuple[Scope, ...]

_LAYOUT = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
# Public by their documentation, though they begin with an underscore.
_NAMED_TUPLE = {"_asdict", "_field_defaults", "_fields", "_make", "_replace"}
_BY_NAME = {"delattr", "getattr", "hasattr", "setattr"}
# Other nodes are walked through and forgotten: they are three quarters of all.
_MEASURED = (ast.stmt, ast.Attribute, ast.Call)


# ----- what is measured


@dataclass(frozen=True, eq=False)
class Module:
    """Source of one module.

    Parameters
    ----------
    name
        Dotted name, that of the folder for an ``__init__.py``.
    path
        The file, from the folder that holds the sources.
    source
        Its content.
    """

    name: str
    path: Path
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed source."""
        return ast.parse(self.source, str(self.path))

    @cached_property
    def nodes(self) -> list[tuple[ast.AST, Scopes]]:
        """Statements, attributes and calls, each with the classes and functions around it."""
        nodes: list[tuple[ast.AST, Scopes]] = []
        _collect(self.tree, (), nodes)
        return nodes

    @cached_property
    def documentation(self) -> set[int]:
        """Numbers of the lines of docstrings, those of attributes too."""
        return {
            line
            for node, _ in self.nodes
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if isinstance(node.value.value, str)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }

    @cached_property
    def code(self) -> frozenset[int]:
        """Numbers of the lines of code."""
        tokens = (token for token in self._tokens if token.type not in _LAYOUT)
        used = {n for token in tokens for n in range(token.start[0], token.end[0] + 1)}
        # A text of several lines may have blank ones.
        return frozenset(n for n in used - self.documentation if self._lines[n - 1].strip())

    @cached_property
    def comment_lines(self) -> int:
        """How many lines are a comment and nothing else."""
        comments = (token.start[0] for token in self._tokens if token.type == tokenize.COMMENT)
        return sum(self._lines[n - 1].lstrip().startswith("#") for n in comments)

    @cached_property
    def _lines(self) -> list[str]:
        # As the tokenizer counts them: a form feed ends no line.
        return self.source.split("\n")

    @cached_property
    def _tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.source).readline))

    def spot(self, node: ast.expr | ast.stmt | ast.arg) -> str:
        """File and line of a part of the source."""
        return f"{self.path.as_posix()}:{node.lineno}"


def _collect(parent: ast.AST, scopes: Scopes, nodes: list[tuple[ast.AST, Scopes]]) -> None:
    """Add all that is below a node, in the order of the source."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, _MEASURED):
            nodes.append((node, scopes))
        _collect(node, (*scopes, node) if isinstance(node, Scope) else scopes, nodes)


@dataclass(frozen=True, eq=False)
class Function:
    """A function, a method, or a function within one.

    Parameters
    ----------
    module
        Where it is defined.
    node
        Its definition.
    scopes
        The classes and functions around it, the outermost first.
    """

    module: Module
    node: Def
    scopes: Scopes

    @property
    def name(self) -> str:
        """Dotted name, from that of the package."""
        return ".".join([self.module.name, *(scope.name for scope in self.scopes), self.node.name])

    @property
    def spot(self) -> str:
        """File and line."""
        return self.module.spot(self.node)

    @property
    def is_public(self) -> bool:
        """Whether users can call it: no private name on the way, and no function around it."""
        names = [*self.module.name.split("."), *(scope.name for scope in self.scopes)]
        inner = any(isinstance(scope, Def) for scope in self.scopes)
        return not inner and not any(map(is_private, [*names, self.node.name]))

    @property
    def length(self) -> int:
        """Lines of code of its body."""
        first = self.node.body[0]
        decorators = getattr(first, "decorator_list", [])
        start = min([first.lineno, *(decorator.lineno for decorator in decorators)])
        return len(self.module.code & set(range(start, (self.node.end_lineno or start) + 1)))

    @cached_property
    def parameters(self) -> list[ast.arg]:
        """All that a caller may give: neither ``self`` nor ``cls``; ``*args`` is one."""
        starred = [arg for arg in (self.node.args.vararg, self.node.args.kwarg) if arg]
        return [*self._named, *starred]

    @property
    def any_parameters(self) -> list[ast.arg]:
        """Parameters whose type is ``Any``; ``**options: Any`` is a mapping, and left out."""
        return [arg for arg in self._named if is_any(arg.annotation)]

    @property
    def _named(self) -> list[ast.arg]:
        args = self.node.args
        positional = [*args.posonlyargs, *args.args]
        return [*positional[self._is_bound :], *args.kwonlyargs]

    @property
    def _is_bound(self) -> bool:
        """Whether its first parameter is not the caller's to give."""
        in_class = bool(self.scopes) and isinstance(self.scopes[-1], ast.ClassDef)
        return in_class and not has_decorator(self.node, "staticmethod")


def is_private(name: str) -> bool:
    """Whether a name says that it is for its owner alone.

    Examples
    --------
    >>> [is_private(name) for name in ("_row", "__row", "__init__", "_repr_html_", "row", "_")]
    [True, True, False, False, False, False]
    """
    # IPython's hooks have underscores at both ends, as Python's have.
    return name.startswith("_") and not name.endswith("_") and name not in _NAMED_TUPLE


def is_any(annotation: ast.expr | None) -> bool:
    """Whether a type is ``Any``, alone or as one of a union; ``list[Any]`` is a list.

    Examples
    --------
    >>> [is_any(ast.parse(t, mode="eval").body) for t in ("Any | None", "'Any'", "list[Any]")]
    [True, True, False]
    """
    match annotation:
        case ast.Constant(value=str(text)):
            return is_any(ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return is_any(left) or is_any(right)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return is_any(inner)
        case ast.Name(id="Any") | ast.Attribute(attr="Any"):
            return True
    return False


# ----- finding


def read_modules(package: Path) -> list[Module]:
    """Modules of the package in a folder, in the order of their paths."""
    modules = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        source = path.read_text(encoding="utf-8")
        modules.append(Module(name, path.relative_to(package.parent.parent), source))
    return modules


def find_functions(module: Module) -> list[Function]:
    """Functions of a module; an ``overload`` has no body, and is none."""
    return [
        Function(module, node, scopes)
        for node, scopes in module.nodes
        if isinstance(node, Def) and not has_decorator(node, "overload")
    ]


def has_decorator(node: Scope, name: str) -> bool:
    """Whether a class or function has a decorator, with arguments or without."""
    decorators = (ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list)
    return any(decorator.rpartition(".")[2] == name for decorator in decorators)


def find_reaches(module: Module, foreign: Collection[str] = ()) -> list[str]:
    """Private names that a module takes from other objects, and from other modules."""
    return [
        f"{module.spot(node)} {shown}"
        for node, scopes in module.nodes
        if isinstance(node, ast.expr | ast.stmt)
        for name, shown in reached_names(node, scopes)
        if is_private(name) and name not in foreign
    ]


def reached_names(node: ast.AST, scopes: Scopes) -> list[tuple[str, str]]:
    """Names that a part of the source takes from others, and what to show of each."""
    match node:
        case ast.ImportFrom(names=aliases):
            return [(alias.name, f"import of {alias.name}") for alias in aliases]
        case ast.Attribute(value=owner, attr=name) if not is_own(owner, scopes):
            return [(name, ast.unparse(node))]
        case ast.Call(func=ast.Name(id=function), args=[owner, ast.Constant(value=str(name)), *_]):
            if function in _BY_NAME and not is_own(owner, scopes):
                return [(name, ast.unparse(node))]
    return []


def is_own(owner: ast.expr, scopes: Scopes) -> bool:
    """Whether an expression is the object itself, its class, or what it inherits."""
    match owner:
        case ast.Name(id="self" | "cls"):
            return True
        case ast.Name(id=name):
            return name in [s.name for s in scopes if isinstance(s, ast.ClassDef)]
        case ast.Call(func=ast.Name(id="super")):
            return True
        case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id="self")]):
            return True
    return False


def find_any(module: Module) -> list[str]:
    """Parameters of public functions and dataclasses whose type is ``Any``."""
    found = [
        f"{module.spot(arg)} {function.name}({arg.arg})"
        for function in find_functions(module)
        if function.is_public
        for arg in function.any_parameters
    ]
    for node, scopes in module.nodes:
        if isinstance(node, ast.ClassDef) and has_decorator(node, "dataclass"):
            names = [*(scope.name for scope in scopes), node.name]
            owner = ".".join([module.name, *names])
            fields = [] if any(map(is_private, names)) else any_fields(node)
            found += [f"{module.spot(field)} {owner}({name})" for field, name in fields]
    return found


def any_fields(node: ast.ClassDef) -> list[tuple[ast.AnnAssign, str]]:
    """Public fields of a dataclass whose type is ``Any``: parameters of its constructor."""
    return [
        (field, field.target.id)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if is_any(field.annotation) and not is_private(field.target.id)
    ]


# ----- imports


def imports(module: Module) -> Iterator[tuple[str, str, str]]:
    """All imports, deferred ones and those of types too: name here, module, name there."""
    for node, _ in module.nodes:
        match node:
            case ast.Import(names=aliases):
                yield from ((alias.asname or alias.name, alias.name, "") for alias in aliases)
            case ast.ImportFrom(names=aliases):
                base = import_base(module, node)
                yield from ((alias.asname or alias.name, base, alias.name) for alias in aliases)


def import_base(module: Module, node: ast.ImportFrom) -> str:
    """Dotted name of the module that an import names, with its leading dots or without."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    up = node.level - (module.path.name == "__init__.py")
    return ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])


def find_circles(modules: Sequence[Module]) -> list[list[str]]:
    """Modules that import each other in a circle: one circle of each knot of them."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    names = {module.name for module in modules}
    for module in modules:
        for _, base, name in imports(module):
            target = f"{base}.{name}" if f"{base}.{name}" in names else base
            if target in names and target != module.name:
                graph.add_edge(module.name, target)
    knots = [sorted(knot) for knot in nx.strongly_connected_components(graph) if len(knot) > 1]
    return [shortest_circle(graph.subgraph(knot)) for knot in sorted(knots)]


def shortest_circle(graph: "nx.DiGraph[str]") -> list[str]:
    """Shortest circle through any module of a knot."""
    ways = (nx.shortest_path(graph, there, here) for here, there in sorted(graph.edges))
    return min(ways, key=len)


# ----- classes


def longest_tower(modules: Sequence[Module]) -> list[str]:
    """Class with the most classes of the package above it: its name, then theirs."""
    bases = find_bases(modules)
    towers = (list(dict.fromkeys(ancestry(name, bases))) for name in sorted(bases))
    return max(towers, key=len, default=[])


def ancestry(name: str, bases: dict[str, list[str]]) -> Iterator[str]:
    """A class and all above it; one that is reached in two ways comes twice."""
    yield name
    for base in bases.get(name, []):
        yield from ancestry(base, bases)


def find_bases(modules: Sequence[Module]) -> dict[str, list[str]]:
    """Bases that each class has within the package, by dotted names."""
    links = {
        f"{module.name}.{here}": f"{base}.{name}" if name else base
        for module in modules
        for here, base, name in imports(module)
    }
    classes = {
        f"{module.name}.{node.name}": [f"{module.name}.{base}" for base in base_names(node)]
        for module in modules
        for node, _ in module.nodes
        if isinstance(node, ast.ClassDef)
    }
    resolved = {
        name: [resolve(base, links, classes) for base in bases] for name, bases in classes.items()
    }
    return {
        name: [b for b in bases if b in classes and b != name] for name, bases in resolved.items()
    }


def base_names(node: ast.ClassDef) -> list[str]:
    """Bases of a class as they stand there, without what stands in brackets."""
    return [ast.unparse(base).partition("[")[0] for base in node.bases]


def resolve(name: str, links: dict[str, str], classes: dict[str, list[str]]) -> str:
    """Follow the imports that lead from a name to the class that it means."""
    followed: set[str] = set()
    while name not in classes:
        # Of ``module.kernels.Kernel`` the first two parts may be an import. None is followed twice:
        # a function that is called like its module would lead on for ever.
        head, rest = name, ""
        while head and (head not in links or head in followed):
            head, _, last = head.rpartition(".")
            rest = f".{last}{rest}"
        if not head:
            break
        followed.add(head)
        name = links[head] + rest
    return name


# ----- all figures


@dataclass(frozen=True)
class Settings:
    """What is allowed all the same.

    Parameters
    ----------
    jobs
        Dotted names of the functions that may take many parameters.
    foreign
        Private names of libraries that offer no public one.
    """

    jobs: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @classmethod
    def from_toml(cls, path: Path) -> "Settings":
        """Settings of a ``pyproject.toml``; nothing is allowed where it has no ``tool.meter``."""
        with path.open("rb") as file:
            table = tomllib.load(file).get("tool", {}).get("meter", {})
        return cls(**{name: tuple(names) for name, names in table.items()})


@dataclass(frozen=True, eq=False)
class Package:
    """All that is measured of a package.

    Parameters
    ----------
    folder
        The package.
    settings
        What is allowed all the same.
    """

    folder: Path
    settings: Settings = Settings()

    @cached_property
    def modules(self) -> list[Module]:
        """Its modules, in the order of their paths."""
        return read_modules(self.folder)

    @cached_property
    def functions(self) -> list[Function]:
        """Functions of all modules."""
        return [function for module in self.modules for function in find_functions(module)]

    @cached_property
    def circles(self) -> list[list[str]]:
        """Modules that import each other in a circle."""
        return find_circles(self.modules)

    @cached_property
    def tower(self) -> list[str]:
        """Class with the most classes of the package above it, and these."""
        return longest_tower(self.modules)

    @cached_property
    def reaches(self) -> list[str]:
        """Private names taken from other objects, each with its file and line."""
        foreign = self.settings.foreign
        return [reach for module in self.modules for reach in find_reaches(module, foreign)]

    @cached_property
    def any_parameters(self) -> list[str]:
        """Public parameters of the type ``Any``, each with its file and line."""
        return [spot for module in self.modules for spot in find_any(module)]

    @cached_property
    def lengths(self) -> dict[Function, int]:
        """Lines of code of the body of each function."""
        return {function: function.length for function in self.functions}

    def long_modules(self) -> list[str]:
        """Modules that are longer than is comfortable."""
        lengths = {module.path.as_posix(): len(module.code) for module in self.modules}
        return [f"{path} {n} lines" for path, n in lengths.items() if n > LONG_MODULE]

    def long_functions(self, limit: int = LONG_FUNCTION) -> list[str]:
        """Functions whose body is longer than a limit."""
        return [f"{f.spot} {f.name} {n} lines" for f, n in self.lengths.items() if n > limit]

    def wide_functions(self) -> list[Function]:
        """Functions with many parameters, jobs too."""
        return [f for f in self.functions if len(f.parameters) > MOST_PARAMETERS]

    def faults(self) -> dict[str, list[str]]:
        """All that the house does not allow, by what is wrong with it."""
        wide = {f.name: f"{f.spot} {f.name}: {len(f.parameters)}" for f in self.wide_functions()}
        jobs = self.settings.jobs
        found = {
            "import circles": [" → ".join([*circle, circle[0]]) for circle in self.circles],
            "private reaches": self.reaches,
            "public parameters of type Any": self.any_parameters,
            f"bodies over {LONGEST_FUNCTION} lines": self.long_functions(LONGEST_FUNCTION),
            _TOO_WIDE: [spot for name, spot in wide.items() if name not in jobs],
            "jobs without so many parameters": [name for name in jobs if name not in wide],
        }
        return {what: spots for what, spots in found.items() if spots}


# ----- showing

Row = tuple[str, str, str]
_TOO_WIDE = f"functions of over {MOST_PARAMETERS} parameters that are no jobs"


def percentile(values: Iterable[int], percent: int) -> int:
    """Smallest value that so many percent of all do not exceed; 0 of nothing.

    Examples
    --------
    >>> percentile([3, 1, 2, 4], 50), percentile([3, 1, 2, 4], 95), percentile([], 95)
    (2, 4, 0)
    """
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0


def spread(values: Collection[int]) -> str:
    """Median, 95th percentile and largest of some sizes."""
    return " / ".join(str(percentile(values, percent)) for percent in (50, 95, 100))


def rows(package: Package) -> list[Row]:
    """Table of the figures: what is measured, its figure, and the figure that is wanted."""
    modules = [len(module.code) for module in package.modules]
    comments = sum(module.comment_lines for module in package.modules)
    most = max((len(function.parameters) for function in package.functions), default=0)
    wide = package.faults().get(_TOO_WIDE, [])
    return [
        ("modules", f"{len(modules)}", ""),
        ("lines of code", f"{sum(modules)}", ""),
        ("lines of a module: median / 95th percentile / longest", spread(modules), ""),
        (f"modules over {LONG_MODULE} lines", f"{len(package.long_modules())}", "hardly any"),
        ("functions", f"{len(package.functions)}", ""),
        (
            "lines of a body: median / 95th percentile / longest",
            spread(package.lengths.values()),
            "",
        ),
        (f"bodies over {LONG_FUNCTION} lines", f"{len(package.long_functions())}", "hardly any"),
        ("most parameters", f"{most}", ""),
        (_TOO_WIDE, f"{len(wide)}", "0"),
        ("import circles", f"{len(package.circles)}", "0"),
        ("private reaches", f"{len(package.reaches)}", "0"),
        ("public parameters of type Any", f"{len(package.any_parameters)}", "0"),
        ("classes of the package in the longest MRO", f"{len(package.tower)}", ""),
        ("comment lines per line of code", f"{comments / max(sum(modules), 1):.3f}", ""),
    ]


def as_text(table: Iterable[Row]) -> str:
    """Table with aligned columns."""
    filled = [("", "figure", "wanted"), *table]
    a, b, c = (max(map(len, column)) for column in zip(*filled, strict=True))
    return "\n".join(f"{row[0]:{a}}  {row[1]:>{b}}  {row[2]:>{c}}".rstrip() for row in filled)


def as_markdown(table: Iterable[Row]) -> str:
    """Table in Markdown."""
    filled = [("", "figure", "wanted"), ("---", "---:", "---:"), *table]
    return "\n".join(f"| {' | '.join(row)} |" for row in filled)


def as_lists(package: Package) -> str:
    """What the table counts, one by one, where there is any."""
    lists = {
        f"modules over {LONG_MODULE} lines": package.long_modules(),
        f"bodies over {LONG_FUNCTION} lines": package.long_functions(),
        "longest MRO": [" → ".join(package.tower)] if len(package.tower) > 1 else [],
        **package.faults(),
    }
    return "".join(
        "\n".join([f"\n{what}:", *(f"  {spot}" for spot in spots), ""])
        for what, spots in lists.items()
        if spots
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, and return the exit status: 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, nargs="?", default=_ROOT / "src" / "refspace")
    parser.add_argument("--settings", type=Path, default=_ROOT / "pyproject.toml")
    parser.add_argument("--markdown", action="store_true", help="print the table alone")
    parser.add_argument("--check", action="store_true", help="fail on what is not allowed")
    options = parser.parse_args(arguments)
    package = Package(options.package.resolve(), Settings.from_toml(options.settings))
    if not package.modules:
        parser.error(f"{options.package} holds no modules; give the folder of a package")
    if options.markdown:
        print(as_markdown(rows(package)))
    else:
        print(as_text(rows(package)), as_lists(package), sep="\n", end="")
    return int(options.check and bool(package.faults()))


if __name__ == "__main__":
    sys.exit(main())
