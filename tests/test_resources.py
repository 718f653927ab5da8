"""Shipped files are found in a wheel, in a zipped wheel and in a checkout."""

import zipfile
from pathlib import Path

import pytest

from engine import resources


def test_in_a_checkout_the_folders_stand_beside_the_package() -> None:
    root = Path(__file__).parent.parent
    assert Path(str(resources.schemas_dir())) == root / "schemas"
    assert Path(str(resources.packs_dir())) == root / "policies"


def test_a_wheel_brings_its_own_folders_and_they_come_first(tmp_path: Path) -> None:
    for folder in (tmp_path / "engine" / "_data" / "policies", tmp_path / "policies"):
        folder.mkdir(parents=True)
    assert resources._shipped("policies", tmp_path / "engine") == tmp_path / "engine" / "_data" / "policies"


def test_a_zipped_wheel_is_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "wheel.zip", "w") as wheel:
        wheel.writestr("engine/_data/schemas/policy.schema.json", "{}")
    found = resources._shipped("schemas", zipfile.Path(tmp_path / "wheel.zip", "engine/"))
    assert (found / "policy.schema.json").read_text() == "{}"


def test_a_broken_installation_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="install lexgate again"):
        resources._shipped("schemas", tmp_path / "engine")
