"""A restart with broken files serves the last good set, under the rights that the configuration gives today."""

import os
import stat
from pathlib import Path

import pytest

from engine.diagnostics import ConfigurationError
from engine.policy.context import Grant
from engine.policy.lastgood import kept_manifest, kept_set
from engine.policy.live import Live
from engine.policy.recipe import Origin, Recipe
from engine.policy.spec import ScopeSpec

from .reloading import after, codes, policy, recipe, running, said

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder / "guard.yaml", policy("guard", "one"))
    return folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "var" / "last-good"


def write(path: Path, text: str) -> None:
    path.write_text(text)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def texts(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob("*.yaml")]


async def run_once(of: Recipe, kept: Path) -> None:
    async with running(of, last_good=kept, watching=False):
        pass


async def test_a_restart_with_a_broken_file_serves_the_last_good_set_and_says_so(folder: Path, kept: Path) -> None:
    await run_once(recipe(folder), kept)
    write(folder / "guard.yaml", "broken: [")
    async with running(recipe(folder), last_good=kept) as live:
        assert said(live) == "one"
        status = live.status()
        assert status["serving_last_good"]
        assert status["restored_from_disk"]
        assert status["last_attempt"]["outcome"] == "error"
        assert status["last_attempt"]["diagnostics"][0]["file"] == str(folder / "guard.yaml")
        write(folder / "guard.yaml", policy("guard", "mended"))
        await after(live, lambda: said(live) == "mended")
        assert not live.status()["restored_from_disk"]


async def test_a_restart_with_an_emptied_or_vanished_source_serves_the_last_good_set(folder: Path, kept: Path) -> None:
    await run_once(recipe(folder), kept)
    os.unlink(folder / "guard.yaml")
    async with running(recipe(folder), last_good=kept) as live:
        assert said(live) == "one"
        assert codes(live.last_attempt) == ["E432"]
    os.rmdir(folder)
    async with running(recipe(folder), last_good=kept) as live:
        assert said(live) == "one"
        assert codes(live.last_attempt) == ["E431"]


async def test_what_is_kept_is_source_text_for_the_owner_alone_and_follows_every_swap(folder: Path, kept: Path) -> None:
    async with running(recipe(folder), last_good=kept) as live:
        write(folder / "guard.yaml", policy("guard", "two"))
        await after(live, lambda: said(live) == "two")
        assert texts(kept) == [policy("guard", "two")]
        assert modes(kept) == {0o600}
        manifest = kept_manifest(kept)
        assert manifest is not None
        assert manifest.revision == live.current.revision
        write(folder / "guard.yaml", "broken: [")
        await after(live, lambda: live.serving_last_good)
        assert texts(kept) == [policy("guard", "two")]


async def test_a_source_that_the_last_good_set_never_knew_is_not_passed_over(folder: Path, kept: Path) -> None:
    await run_once(recipe(folder), kept)
    write(folder / "guard.yaml", "broken: [")
    os.mkdir(folder.parent / "more")
    with pytest.raises(ConfigurationError):
        await Live(recipe(folder, folder.parent / "more"), last_good=kept).start()


async def test_a_right_that_was_taken_away_does_not_come_back_with_the_last_good_set(folder: Path, kept: Path) -> None:
    write(folder / "guard.yaml", policy("guard").replace("rules:", "priority: 50\nrules:"))
    await run_once(recipe(folder), kept)
    write(folder / "guard.yaml", "broken: [")
    scoped = Recipe((Origin(str(folder), Grant(scope=ScopeSpec(team=["payments"]))),))
    async with running(scoped, last_good=kept) as live:
        assert live.current.by_name["guard/stop"].matches is not None
    narrower = Recipe((Origin(str(folder), Grant(max_priority=5)),))
    with pytest.raises(ConfigurationError):
        await Live(narrower, last_good=kept).start()


async def test_a_kept_file_that_was_changed_is_not_served(folder: Path, kept: Path) -> None:
    await run_once(recipe(folder), kept)
    manifest = kept_manifest(kept)
    assert manifest is not None
    assert kept_set(kept, manifest, recipe(folder).origins) is not None
    for path in os.scandir(kept):
        if path.name.endswith(".yaml"):
            write(Path(path.path), policy("guard", "forged"))
    assert kept_set(kept, manifest, recipe(folder).origins) is None
    write(folder / "guard.yaml", "broken: [")
    with pytest.raises(ConfigurationError):
        await Live(recipe(folder), last_good=kept).start()


async def test_a_manifest_that_is_no_manifest_is_as_none(folder: Path, kept: Path) -> None:
    await run_once(recipe(folder), kept)
    write(kept / "manifest.json", "{")
    assert kept_manifest(kept) is None
    await run_once(recipe(folder), kept)
    assert kept_manifest(kept) is not None


async def test_a_set_that_cannot_be_kept_is_in_force_and_the_reason_is_said(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    async with running(recipe(folder), last_good=tmp_path / "file" / "last-good") as live:
        assert said(live) == "one"
        assert codes(live.last_attempt) == ["W437"]
