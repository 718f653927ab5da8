"""Holds the code to the tables of `docs/architecture.md`: who imports whom, and who touches the world."""

import ast
import functools
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
_NAME: Final = re.compile(r"`([a-z_.]+)`")

TOUCHES: Final = {
    "clock": {"time", ".now()", ".today()", ".utcnow()"},
    "disk": {
        *("os", "pathlib", "tempfile", "shutil", "fcntl", "watchfiles", "open()", "importlib.resources"),
        *(".mkdir()", ".read_text()", ".write_text()", ".read_bytes()", ".write_bytes()", ".unlink()", ".iterdir()"),
    },
    "network": {"socket", "httptools", "httpcore2", "httpx2", "uvicorn"},
    "processes and threads": {"subprocess", "asyncio.subprocess", "threading", "multiprocessing", "signal"},
    "waiting (asyncio)": {"asyncio"},
    "chance": {"random", "secrets", "uuid", ".urandom()"},
}
"""What shows that a module touches something: modules that it imports, functions and methods that it calls."""

TYPES_ONLY: Final = {"importlib.resources.abc"}


class Import(NamedTuple):
    """One import statement: what is imported, where it stands, and whether outside of every function and class."""

    name: str
    line: int
    top: bool


def _name(path: Path) -> str:
    """`engine/policy/live.py` -> `policy.live`; a package's own module has the package's name."""
    parts = path.relative_to(ROOT / "engine").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES: Final = {_name(path): path for path in sorted((ROOT / "engine").rglob("*.py"))}
TREES: Final = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in FILES.items()}
MODULES: Final = [name for name in FILES if name]


@functools.cache
def imports(name: str) -> tuple[Import, ...]:
    """What a module imports; of ourselves the very module, without `engine.`, beginning with a dot."""
    tree = TREES[name]
    inside = {
        id(each)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for each in ast.walk(node)
    }
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    result = []
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(["engine", *above, *([base] if base else [])])
            found = [_deepest(base, each.name) for each in node.names]
        for target in found:
            assert isinstance(node, ast.Import | ast.ImportFrom)
            ours = target == "engine" or target.startswith("engine.")
            result.append(
                Import(target.removeprefix("engine") if ours else target, node.lineno, id(node) not in inside)
            )
    return tuple(result)


def _deepest(base: str, name: str) -> str:
    """`from engine.policy import live` imports the module `engine.policy.live`, and not only its package."""
    if base.startswith("engine") and f"{base}.{name}".removeprefix("engine.") in FILES:
        return f"{base}.{name}"
    return base


def table(mark: str) -> list[list[str]]:
    """The cells of the table below a mark of the page."""
    lines = PAGE.partition(f"<!-- {mark} -->\n")[2].splitlines()
    rows = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows, f"the page has no table <!-- {mark} -->"
    return rows


class Room(NamedTuple):
    layer: int
    imports: frozenset[str]


ROOMS: Final = {
    _NAME.findall(rooms)[0]: Room(int(layer), frozenset(_NAME.findall(allowed)))
    for layer, rooms, allowed in table("layers")
}
STORY: Final = 5
"""The layer whose files may import all layers below."""
WITHIN_LAYER_1: Final = {("settings", "documents"), ("settings", "model")}
LISTED: Final = {what: set(_NAME.findall(where)) for what, where in table("touches")}
EDGES: Final = {_NAME.findall(module)[0] for module, _ in table("edges")}


def room(name: str) -> str:
    return name.split(".")[0]


def _within(name: str, listed: set[str]) -> str | None:
    """The entry of a list that a module falls under."""
    return next((each for each in listed if name == each or name.startswith(each + ".")), None)


def touched(name: str) -> Iterator[tuple[str, str]]:
    """What a module touches, and by what."""
    seen = {each.name for each in imports(name)} - TYPES_ONLY
    for node in ast.walk(TREES[name]):
        match node:
            case ast.Call(func=ast.Name(id=function)):
                seen.add(f"{function}()")
            case ast.Call(func=ast.Attribute(attr=method)):
                seen.add(f".{method}()")
    for what, signs in TOUCHES.items():
        for sign in signs & seen:
            yield what, sign


def test_every_room_of_the_engine_stands_in_the_table_of_layers() -> None:
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_the_table_allows_only_what_lies_below() -> None:
    """Siblings do not import each other; only the files of the story do, as their rows say."""
    wrong = [
        f"{name} -> {each}"
        for name, spec in ROOMS.items()
        for each in spec.imports
        if ROOMS[each].layer > spec.layer or (ROOMS[each].layer == spec.layer != STORY)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downward(name: str) -> None:
    own = room(name)
    wrong = []
    for each in imports(name):
        if not each.name.startswith("."):
            continue
        other = room(each.name[1:])
        free = STORY - 1 if ROOMS[own].layer == STORY else min(1, ROOMS[own].layer - 1)
        below = other in ROOMS and ROOMS[other].layer <= free
        allowed = other == own or below or other in ROOMS[own].imports or (own, other) in WITHIN_LAYER_1
        if not allowed:
            wrong.append(f"line {each.line}: {other}")
    assert wrong == []


def test_the_table_of_layers_allows_nothing_that_is_not_used() -> None:
    used = {(room(name), room(each.name[1:])) for name in MODULES for each in imports(name) if each.name[:1] == "."}
    unused = [f"{name} -> {each}" for name, spec in ROOMS.items() for each in spec.imports if (name, each) not in used]
    assert unused == []


def test_no_modules_import_each_other() -> None:
    """A package's own module speaks for its files, so it is not counted against them."""
    graph = {
        name: {each.name[1:] for each in imports(name) if each.name[:1] == "." and each.name[1:] != name}
        - {package for package in MODULES if name.startswith(package + ".")}
        for name in MODULES
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", MODULES)
def test_imports_stand_at_the_top_of_the_file(name: str) -> None:
    assert [f"line {each.line}: {each.name}" for each in imports(name) if not each.top] == []


def test_only_the_tables_of_rooms_and_verbs_import_by_name() -> None:
    by_name = {
        name
        for name in MODULES
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node).endswith(("import_module", "__import__"))
    }
    assert by_name == {"cli", "world.store"}


def test_optional_rooms_are_imported_by_their_table_alone() -> None:
    optional = re.findall(r'"engine\.([a-z_.]+):', FILES["world.store"].read_text(encoding="utf-8"))
    assert optional
    found = [f"{name} -> {each.name}" for name in MODULES for each in imports(name) if each.name[1:] in optional]
    assert found == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_touches_only_what_the_page_says(name: str) -> None:
    assert [f"{what}: {sign}" for what, sign in touched(name) if _within(name, LISTED[what]) is None] == []


def test_the_page_lists_nobody_who_touches_nothing() -> None:
    real = {(what, _within(name, LISTED[what])) for name in MODULES for what, _ in touched(name)}
    assert {(what, each) for what, listed in LISTED.items() for each in listed} - real == set()


def test_broad_excepts_stand_at_the_outermost_edges() -> None:
    broad = {
        name
        for name in MODULES
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "Exception")
    }
    assert broad == EDGES


def test_what_catches_everything_raises_it_again() -> None:
    silent = [
        f"{name}:{node.lineno}"
        for name in MODULES
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ExceptHandler)
        and node.type is not None
        and "BaseException" in ast.unparse(node.type)
        and not any(isinstance(each, ast.Raise) and each.exc is None for each in node.body)
    ]
    assert silent == []


def test_nothing_is_left_for_later() -> None:
    marks = ("TO" + "DO", "FIX" + "ME")
    folders = ("engine", "tests", "policies", "examples")
    files = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".md"} and "node_modules" not in path.parts
    ]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(re.search(rf"\b{mark}\b", line) for mark in marks)
    ]
    assert found == []


@pytest.mark.parametrize("name", MODULES)
def test_every_module_opens_with_what_it_is_for(name: str) -> None:
    assert not TREES[name].body or ast.get_docstring(TREES[name])
