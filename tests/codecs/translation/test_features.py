"""The table of features, and that it holds every loss that a codec can report."""

import ast
from pathlib import Path

import pytest

from engine.codecs.neutral import Loss
from engine.codecs.translation.features import BY_NAME, COLUMNS, FEATURES, Fate, judged
from engine.model.exchange import Protocol

CODECS = Path(__file__).parents[3] / "engine/codecs"


def reported() -> set[str]:
    """The features that losses name by a literal in the source of the codecs."""
    found: set[str] = set()
    for path in CODECS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="Loss"), args=[ast.Constant(value=str(name)), *_]):
                    found.add(name)
    return found


def test_every_loss_has_its_row() -> None:
    assert reported() - BY_NAME.keys() == set()


def test_every_row_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(FEATURES)


def test_what_is_refused_is_named() -> None:
    losses = [Loss("seed", "seed"), Loss("choices", "n"), Loss("logprobs", "logprobs")]
    assert judged(losses, Protocol.ANTHROPIC).refused == Loss("choices", "n")
    assert judged(losses, Protocol.OPENAI_CHAT).refused is None


def test_what_is_dropped_is_named_once() -> None:
    losses = [Loss("server_tools", "tools[1]"), Loss("thoughts"), Loss("thoughts"), Loss("user", "user")]
    assert judged(losses, Protocol.ANTHROPIC).dropped == ("tools[1]", "thoughts")


@pytest.mark.parametrize("name", sorted(reported()))
def test_a_loss_that_is_reported_is_carried_nowhere_it_is_lost(name: str) -> None:
    """A row that is carried everywhere could not be lost."""
    assert {BY_NAME[name].fate(protocol) for protocol in COLUMNS} != {Fate.CARRIED}
