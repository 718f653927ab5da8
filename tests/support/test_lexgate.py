"""The running Lexgate of the tests: serves, reloads, and tells what it decided."""

from pathlib import Path

import pytest

from .lexgate import Lexgate, NotStarted
from .openai_mock import OpenAIMock, Reply

BLOCKING = """
version: 1
policy: words
rules:
  - id: no-bananas
    phase: request
    when: contains(request.last_user, 'banana')
    actions: [{block: {message: No bananas.}}]
"""
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a banana, please"}]}


def test_it_serves_and_reloads_and_shows_its_records(tmp_path: Path) -> None:
    with OpenAIMock(Reply(text="Here.")) as provider, Lexgate(tmp_path, BLOCKING, provider=provider) as lexgate:
        refused = lexgate.post(ASKED)
        assert (refused.status, refused.json["error"]["message"]) == (400, "No bananas.")
        assert [record["by"] for record in lexgate.records()] == ["words/no-bananas"]
        assert lexgate.reload(BLOCKING.replace("banana", "cherry")).sound
        assert lexgate.post(ASKED).json["choices"][0]["message"]["content"] == "Here."


def test_a_policy_that_is_wrong_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(NotStarted):
        Lexgate(tmp_path, "version: 1\npolicy: x\nrulez: []\n").start()
