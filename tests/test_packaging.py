"""Builds the wheel, installs it elsewhere and uses it there; and holds the declared dependencies to what is imported."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Final

import pytest

from engine import __version__

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_IMPORTED: Final = {"uvloop"}
"""Dependencies that another one uses: uvicorn uvloop's event loop where it is installed."""


def _name(requirement: str) -> str:
    return re.split(r"[<>=~!;\[ ]", requirement)[0].lower().replace("_", "-")


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run what must be as it would be for a user: nothing of this checkout on the path."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        [str(each) for each in command], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release makes it: from the source distribution, not from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done = _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def policy(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an installation that knows this checkout's packages, but not this checkout."""
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin/python"
    done = _run(
        *(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"),
        *("install", "--quiet", "--no-deps", "--no-index", wheel),
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    (site,) = home.glob("lib/python*/site-packages")
    (site / "packages-of-the-checkout.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return home / "bin/policy"


def test_the_wheel_ships_schemas_and_policies_inside_the_package(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("schemas", "policies"):
        files = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files
        assert [name for name in files if f"engine/_data/{name}" not in inside] == []
    assert "engine/py.typed" in inside
    assert {name.split("/")[0] for name in inside} == {"engine", f"lexgate-{__version__}.dist-info"}


def test_an_installation_elsewhere_knows_its_version(policy: Path, tmp_path: Path) -> None:
    done = _run(policy, "--version", cwd=tmp_path)
    assert (done.stdout, done.returncode) == (f"lexgate {__version__}\n", 0), done.stderr


def test_an_installation_elsewhere_lints_a_shipped_pack(policy: Path, tmp_path: Path) -> None:
    pack = next(policy.parent.parent.glob("lib/python*/site-packages/engine/_data/policies/*.yaml"))
    done = _run(policy, "lint", pack, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in 1 file: no findings" in done.stdout


def test_an_installation_elsewhere_finds_its_packs_and_schemas(policy: Path, tmp_path: Path) -> None:
    packs = _run(policy, "packs", cwd=tmp_path)
    for path in (ROOT / "policies").glob("*.yaml"):
        assert path.stem in packs.stdout, packs.stderr
    code = "from engine.resources import schemas_dir; print(schemas_dir().joinpath('policy.schema.json').is_file())"
    assert _run(policy.parent / "python", "-c", code, cwd=tmp_path).stdout == "True\n"


def _imported() -> set[str]:
    """The distributions of everything that the engine imports."""
    modules = set()
    for path in (ROOT / "engine").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {each.name.split(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules.add(node.module.split(".")[0])
    known = importlib.metadata.packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - {"engine"}
    return {known[each][0].lower().replace("_", "-") for each in foreign}


def test_the_dependencies_are_what_is_imported() -> None:
    needed = {_name(each) for each in PROJECT["dependencies"]}
    optional = {_name(each) for extra in PROJECT["optional-dependencies"].values() for each in extra}
    imported = _imported()
    assert needed - NOT_IMPORTED - imported == set()
    assert imported - needed - optional == set()


@pytest.mark.parametrize("lock", ["runtime", "dev", "build"])
def test_a_lock_pins_everything_by_hash_and_names_no_place(lock: str) -> None:
    text = (ROOT / f"requirements/{lock}.lock").read_text(encoding="utf-8")
    pinned = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert pinned
    assert [line for line in pinned if not re.match(r"[a-z0-9.-]+==[^ ]+( ; .*)? \\$", line)] == []
    assert not re.search(r"://|--(extra-)?index|find-links|file:| /", text)


def test_the_runtime_lock_has_every_dependency() -> None:
    text = (ROOT / "requirements/runtime.lock").read_text(encoding="utf-8")
    locked = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert {_name(each) for each in PROJECT["dependencies"]} <= locked
