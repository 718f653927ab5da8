"""Where the shipped schemas and policy packs live: inside the wheel, or beside `engine/` in a checkout."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


def schemas_dir() -> Traversable:
    """Return the folder of the generated JSON Schemas. Raises FileNotFoundError where the installation is broken."""
    return _shipped("schemas")


def packs_dir() -> Traversable:
    """Return the folder of the shipped policy packs. Raises FileNotFoundError where the installation is broken."""
    return _shipped("policies")


def _shipped(name: str, package: Traversable | None = None) -> Traversable:
    """Look into the package first: in a wheel there is nothing of ours beside it."""
    package = files("engine") if package is None else package
    inside = package / "_data" / name
    if inside.is_dir():
        return inside
    if isinstance(package, Path) and (beside := package.parent / name).is_dir():
        return beside
    raise FileNotFoundError(f"the folder {name}/ of this installation is missing; install lexgate again")
