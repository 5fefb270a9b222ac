"""The shape of the product: code lines, import floors, folders, files and type cycles.

`make lint` runs it from the top of the checkout. It prints every figure beside its limit and fails for a limit that is
broken. A limit in `NOT_YET` fails nothing; whoever makes it hold takes it off that list.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("thalovant_proto", "thalovant_io", "thalovant")
CORE, HUB = "thalovant_proto", "thalovant.hub"
#: What is measured, and the most that it may be.
CODE_WITHOUT_HUB = "code lines of core, io and SDK without hub"
CODE_OF_HUB = "code lines of thalovant/hub"
CODE = "code lines of the product"
TESTS = "lines of tests"
FLOORS = "floors of the core, a folder being one"
MODULE_FLOORS = "floors of the core, module by module"
MODULES = "modules in the fullest folder"
LONGEST = "lines of the longest file, tests included"
CYCLES = "import cycles, those of types included"
EDGES = "imports that point the wrong way"
LIMITS = {
    CODE_WITHOUT_HUB: 13_200,
    CODE_OF_HUB: 3_600,
    CODE: 24_000,
    TESTS: 40_000,
    FLOORS: 10,
    MODULE_FLOORS: 10,
    MODULES: 14,
    LONGEST: 500,
    CYCLES: 0,
    EDGES: 0,
}
#: Limits that do not hold yet: goals, which fail nothing.
NOT_YET = {CODE_WITHOUT_HUB, CODE_OF_HUB, CODE, TESTS, MODULE_FLOORS}
#: Users import the modules of this folder by path, so it may hold more.
UNCOUNTED_FOLDER = "thalovant"
#: A parent and its children name each other's types: a conversation its client, a connection its listener.
FAMILIES = (
    {
        f"thalovant.{name}"
        for name in ("async_client", "client", "conversation", "subscriptions", "_client.doctor", "_client.hearing")
    },
    {f"thalovant_io.{name}" for name in ("asyncio_connection", "asyncio_listener")},
)
#: Importer and imported of the edges that once made the hub and the SDK one knot.
WRONG_WAY = (
    ("thalovant.protocols", "thalovant.identity"),
    ("thalovant.hub.skills.turn", "thalovant.hub.hub"),
    ("thalovant.hub.dispatcher", "thalovant.hub.hub"),
    ("thalovant.hub.skills.registry", "thalovant.hub.skills.turn"),
)

#: Tokens that make no line one of code.
SILENT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENDMARKER, tokenize.ENCODING),
}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

Graph = dict[str, set[str]]


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package that its relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


class Import(NamedTuple):
    module: str
    name: str | None
    for_types: bool


def main() -> int:
    modules = {module.name: module for package in PACKAGES for module in read_package(Path(package))}
    runtime, typed = graphs(modules)
    lines = {name: code_lines(module) for name, module in modules.items()}
    of_hub = sum(count for name, count in lines.items() if name.startswith(HUB))
    of_all = sum(lines.values())
    core = {name: found for name, found in runtime.items() if name.startswith(CORE)}
    by_room, by_module = longest_chain(rooms(core)), longest_chain(core)
    folders = sorted(((len(found), folder) for folder, found in by_folder(modules.values()).items()), reverse=True)
    tests = {path: len(text_of(path)) for path in Path("tests").rglob("*.py")}
    files = tests | {module.path: len(text_of(module.path)) for module in modules.values()}
    longest = sorted(((count, path) for path, count in files.items()), reverse=True)
    knots = [knot for knot in cycles(typed) if not any(knot <= family for family in FAMILIES)] + cycles(rooms(core))
    wrong = [f"{importer} → {imported}" for importer, imported in WRONG_WAY if imported in typed.get(importer, ())]
    measured: dict[str, tuple[int, Iterable[object]]] = {
        CODE_WITHOUT_HUB: (of_all - of_hub, ()),
        CODE_OF_HUB: (of_hub, ()),
        CODE: (of_all, ()),
        TESTS: (sum(tests.values()), ()),
        FLOORS: (len(by_room), [" → ".join(by_room)]),
        MODULE_FLOORS: (len(by_module), [" → ".join(by_module)]),
        MODULES: (folders[0][0], [f"{count} in {folder}" for count, folder in folders if count > LIMITS[MODULES]]),
        LONGEST: (longest[0][0], [f"{count} in {path}" for count, path in longest if count > LIMITS[LONGEST]]),
        CYCLES: (len(knots), [", ".join(sorted(knot)) for knot in knots]),
        EDGES: (len(wrong), wrong),
    }
    return report(measured)


def report(measured: Mapping[str, tuple[int, Iterable[object]]]) -> int:
    failed = False
    for what, (value, where) in measured.items():
        broken = value > LIMITS[what]
        failed |= broken and what not in NOT_YET
        verdict = "" if not broken else "   not yet" if what in NOT_YET else "   TOO MANY"
        print(f"{value:7} of {LIMITS[what]:6} {what}{verdict}")
        for place in where if broken else ():
            print(f"{'':18}{place}")
    return failed


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_package(folder: Path) -> Iterator[Module]:
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        yield Module(name, path, ast.parse(path.read_bytes(), str(path)))


def text_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def code_lines(module: Module) -> int:
    """Lines with code on them: no blanks, no comments, no docstrings."""
    found: set[int] = set()
    with module.path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in SILENT:
                found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(module.tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            found.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(found)


def by_folder(modules: Iterable[Module]) -> dict[str, list[str]]:
    """Modules in each folder, `__init__` apart."""
    found: dict[str, list[str]] = {}
    for module in modules:
        if module.path.name != "__init__.py" and module.package != UNCOUNTED_FOLDER:
            found.setdefault(module.package, []).append(module.name)
    return found


# ── imports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def graphs(modules: Mapping[str, Module]) -> tuple[Graph, Graph]:
    """Imports of each module within the product: at runtime, functions included, and with those for types only."""
    runtime: Graph = {}
    typed: Graph = {}
    for module in modules.values():
        if module.path.name == "__init__.py":  # it re-exports: an import through it counts as one of the name's home
            continue
        runtime[module.name], typed[module.name] = set(), set()
        for found in imports(module):
            home = home_of(found, modules)
            if home in modules and home != module.name and modules[home].path.name != "__init__.py":
                typed[module.name].add(home)
                if not found.for_types:
                    runtime[module.name].add(home)
    return runtime, typed


def home_of(found: Import, modules: Mapping[str, Module]) -> str:
    """The module that an import leads to, through the packages that re-export the name."""
    if found.name is None or found.module not in modules:
        return found.module
    if f"{found.module}.{found.name}" in modules:
        return f"{found.module}.{found.name}"
    module = modules[found.module]
    if module.path.name == "__init__.py":
        for inner in imports(module):
            if inner.name == found.name and inner.module != found.module:
                return home_of(inner, modules)
    return found.module


def imports(module: Module) -> Iterator[Import]:
    def walk(node: ast.AST, for_types: bool) -> Iterator[Import]:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for guarded in node.body:
                    yield from walk(guarded, True)
                for other in node.orelse:
                    yield from walk(other, for_types)
                return
            case ast.Import():
                for alias in node.names:
                    yield Import(alias.name, None, for_types)
            case ast.ImportFrom():
                parts = module.package.split(".")
                base = parts[: len(parts) - node.level + 1] if node.level else []
                source = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
                for alias in node.names:
                    yield Import(source, alias.name, for_types)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, for_types)

    return walk(module.tree, False)


def longest_chain(graph: Graph) -> list[str]:
    """The longest way down from module to imported module. A cycle, which is reported by itself, ends it."""
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            chains[name] = [name]
            below = [chain(other) for other in sorted(graph[name]) if other in graph]
            chains[name] = [name, *max(below, key=len, default=[])]
        return chains[name]

    return max((chain(name) for name in sorted(graph)), key=len)


def rooms(graph: Graph) -> Graph:
    """The same imports between what lies at the top of a package: its modules, and its folders as one each."""
    found: Graph = {}
    for name, others in graph.items():
        found.setdefault(room(name), set()).update(room(other) for other in others if room(other) != room(name))
    return found


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def cycles(graph: Graph) -> list[set[str]]:
    """Groups of modules that all reach each other."""
    reached = {name: reachable(graph, name) for name in graph}
    knots = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return [set(knot) for knot in sorted(knots - {frozenset()}, key=sorted)]


def reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


if __name__ == "__main__":
    sys.exit(main())
