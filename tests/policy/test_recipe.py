"""A configuration becomes a recipe that another process can follow, and what is missing is told from what vanished."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine import resources
from engine.diagnostics import ConfigurationError
from engine.policy.compiler import Compiler, Order
from engine.policy.recipe import Found, Origin, Recipe, availability, digest_of, gather, recipe_of
from engine.settings import load_settings

from .reloading import policy


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A shipped pack."""
    packs = tmp_path / "packs"
    packs.mkdir()
    (packs / "guard.yaml").write_text(policy("guard"))
    monkeypatch.setattr(resources, "packs_dir", lambda: packs)
    return "guard"


def configured(folder: Path, text: str) -> Recipe:
    (folder / "lexgate.yaml").write_text(text)
    return recipe_of(load_settings(folder / "lexgate.yaml", {}))


def test_sources_with_their_grants_and_packs_with_their_overrides_stand_in_the_recipe(
    tmp_path: Path, pack: str
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text(policy("mine"))
    recipe = configured(
        tmp_path,
        "policies: [{path: own, scope: {team: payments}, max_priority: 200}]\n"
        f"packs: {{{pack}: {{mode: shadow}}}}\nrequire: [mine]\n",
    )
    own, shipped = recipe.origins
    assert (own.name, own.grant.max_priority, own.where.line) == (str(tmp_path / "own"), 200, 1)
    assert (shipped.name, shipped.overrides) == ("pack:guard", {"mode": "shadow"})
    assert shipped.where.file == str(tmp_path / "lexgate.yaml")
    assert recipe.require == ("mine",)
    assert recipe.paths == (tmp_path / "own", tmp_path / "packs")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(recipe), type=Recipe) == recipe
    answer = Compiler().answer(Order(recipe))
    assert answer.sound, answer.diagnostics
    assert [(each.name, each.rules) for each in answer.origins] == [(own.name, 1), ("pack:guard", 1)]


def test_a_pack_that_does_not_exist_is_refused(tmp_path: Path, pack: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, "packs: {gaurd: {}}\n")
    assert "did you mean 'guard'?" in caught.value.diagnostics[0].help


@pytest.mark.parametrize(
    ("found", "had", "code"),
    [
        (Found(Origin("a"), missing=True), {}, "E150"),
        (Found(Origin("a"), missing=True), {"a": 0}, "E431"),
        (Found(Origin("a"), missing=True), {"a": 2}, "E431"),
        (Found(Origin("a")), {}, "W151"),
        (Found(Origin("a")), {"a": 0}, "W151"),
        (Found(Origin("a")), {"a": 2}, "E432"),
        (Found(Origin("a"), problem="Permission denied"), {"a": 2}, "E430"),
    ],
)
def test_what_is_not_there_is_judged_by_what_was_there(found: Found, had: dict[str, int], code: str) -> None:
    assert [each.code for each in availability([found], had)] == [code]


def test_the_digest_tells_content_from_absence(tmp_path: Path) -> None:
    origin = (Origin(str(tmp_path)),)
    (tmp_path / "a.yaml").write_text(policy("a"))
    first = digest_of(gather(origin))
    assert digest_of(gather(origin)) == first
    (tmp_path / "a.yaml").write_text(policy("a", "other"))
    changed = digest_of(gather(origin))
    (tmp_path / "a.yaml").unlink()
    empty = digest_of(gather(origin))
    tmp_path.rmdir()
    assert len({first, changed, empty, digest_of(gather(origin))}) == 4


def test_bytes_that_are_no_text_are_said_at_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"version: 1\npolicy: \xff\n")
    answer = Compiler().answer(Order(Recipe((Origin(str(tmp_path)),))))
    assert [(each.code, each.where.line, each.where.column) for each in answer.diagnostics] == [("E110", 2, 9)]
    assert msgspec.json.encode(answer)


@pytest.mark.parametrize("make", [lambda file: file.symlink_to("nowhere.yaml"), os.mkfifo], ids=["dangling", "pipe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """Reading a pipe would never end."""
    (tmp_path / "own").mkdir()
    make(tmp_path / "own" / "lost.yaml")
    recipe = configured(tmp_path, "policies: [own]\n")
    (said,) = Compiler().answer(Order(recipe)).diagnostics
    assert said.code == "E430"
    assert f"{tmp_path / 'own' / 'lost.yaml'}: " in said.message
