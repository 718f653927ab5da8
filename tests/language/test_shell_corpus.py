"""The corpora of shell commands, which must stay large, distinct and readable."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.language.shell import parse_command

FOLDER = Path(__file__).parents[1] / "data" / "shell"
# What the harmful corpus hides from static reading on purpose: scripts that are fetched, or written elsewhere.
FETCHED = ("curl", "wget", "iwr", "irm", "DownloadString")


def corpus(name: str) -> Iterator[str]:
    """The commands of a corpus: one a line in `.txt`, JSON strings where a command has several lines."""
    yield from (FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
    yield from map(json.loads, (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines())


@pytest.mark.parametrize("name", ["benign", "harmful"])
def test_a_corpus_has_two_hundred_distinct_commands(name: str) -> None:
    commands = list(corpus(name))
    assert len(set(commands)) == len(commands) >= 200


@pytest.mark.parametrize("name", ["benign", "harmful"])
def test_every_command_of_a_corpus_is_read(name: str) -> None:
    assert [text for text in corpus(name) if not text.startswith("#") and not parse_command(text).commands] == []


def test_harmful_commands_are_resolved_except_for_what_is_fetched() -> None:
    unresolved = [text for text in corpus("harmful") if not parse_command(text).resolved]
    assert [text for text in unresolved if not any(word in text for word in FETCHED)] == []


def test_benign_commands_are_resolved_except_for_what_another_program_writes() -> None:
    unresolved = [text for text in corpus("benign") if not parse_command(text).resolved]
    assert unresolved == ['eval "$(ssh-agent -s)"']
