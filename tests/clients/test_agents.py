"""Claude Code, Codex, Gemini CLI and opencode do a turn with a shell command through Lexgate, whatever the backend speaks."""

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.support.lexgate import Lexgate
from tests.support.provider import Received

from .agents import CLAUDE_CODE, CODEX, GEMINI_CLI, OPENCODE, Agent
from .models import DONE, MODELS, REFUSED, mind_of, settings_of
from .tap import Tap

pytestmark = pytest.mark.clients

PROMPT: Final = "Tidy up this folder."
STEER: Final = f"""
version: 1
policy: shell
rules:
  - id: no-touch
    phase: tool_call
    when: any(tool.shell.commands[?program == 'touch'])
    actions: [{{steer: {{message: "{REFUSED}"}}}}]
"""
OWN: Final = [(CLAUDE_CODE, "messages"), (CODEX, "responses"), (GEMINI_CLI, "gemini"), (OPENCODE, "chat")]
TRANSLATED: Final = [
    *((CLAUDE_CODE, protocol) for protocol in ("chat", "gemini")),
    *((CODEX, protocol) for protocol in ("chat", "messages", "gemini")),
    *((GEMINI_CLI, protocol) for protocol in ("chat", "messages")),
    (OPENCODE, "messages"),
]
KEYS: Final = frozenset(("authorization", "x-api-key", "x-goog-api-key"))
OF_THE_CONNECTION: Final = frozenset(("host", "connection", "accept-encoding", "sec-fetch-mode"))


def named(pairs: list[tuple[Agent, str]]) -> pytest.MarkDecorator:
    names = [f"{agent.name} to {protocol}".lower().replace(" ", "-") for agent, protocol in pairs]
    return pytest.mark.parametrize(("agent", "protocol"), pairs, ids=names)


def asked(requests: list[Received]) -> Counter[tuple[str, str, bytes]]:
    return Counter((request.method, request.path, request.body) for request in requests if request.method == "POST")


@named(OWN)
def test_what_an_agent_sends_reaches_the_provider_unchanged(agent: Agent, protocol: str, tmp_path: Path) -> None:
    with (
        MODELS[protocol](mind_of(agent)) as model,
        Lexgate(tmp_path, settings=settings_of(protocol, model)) as lexgate,
        Tap(lexgate.port) as tap,
    ):
        ended = agent.run(tap.origin, tmp_path / "agent", PROMPT)
        sent = [request for request in tap.requests if request.method == "POST"]
        assert (ended.answer, ended.files) == (DONE, {"wiped"})
        assert len(sent) >= 2
        assert asked(model.requests) == asked(sent)
        for request in sent:
            (came,) = [each for each in model.requests if each.body == request.body]
            names = request.headers.keys() | came.headers.keys()
            differing = {name for name in names if request.headers.get(name) != came.headers.get(name)}
            assert differing <= KEYS | OF_THE_CONNECTION
            assert "client-key" not in str(came.headers)


@named(OWN[:2])
def test_an_agents_own_login_is_all_that_the_provider_wants(agent: Agent, protocol: str, tmp_path: Path) -> None:
    with (
        MODELS[protocol](mind_of(agent), api_key="client-key") as model,
        Lexgate(tmp_path, settings=settings_of(protocol, model, api_key="client")) as lexgate,
    ):
        ended = agent.run(lexgate.origin, tmp_path / "agent", PROMPT)
    assert (ended.answer, ended.files) == (DONE, {"wiped"})


@named(TRANSLATED)
def test_an_agent_works_with_a_backend_of_another_protocol(agent: Agent, protocol: str, tmp_path: Path) -> None:
    with (
        MODELS[protocol](mind_of(agent)) as model,
        Lexgate(tmp_path, settings=settings_of(protocol, model)) as lexgate,
    ):
        ended = agent.run(lexgate.origin, tmp_path / "agent", PROMPT)
    assert (ended.answer, ended.files) == (DONE, {"wiped"})


@named([*OWN, (CLAUDE_CODE, "chat"), (CODEX, "messages")])
def test_an_agent_whose_call_is_steered_goes_on_and_ends_well(agent: Agent, protocol: str, tmp_path: Path) -> None:
    """The refused command never ran, the model heard why and hears it still in the next turn, the agent never."""
    with (
        MODELS[protocol](mind_of(agent)) as model,
        Lexgate(tmp_path, STEER, settings=settings_of(protocol, model)) as lexgate,
    ):
        ended = agent.run(lexgate.origin, tmp_path / "agent", PROMPT)
        conversation = [request for request in model.requests if request.method == "POST" and request.json.get("tools")]
    assert (ended.answer, ended.files) == (DONE, {"listed"})
    assert "touch" not in ended.printed
    assert REFUSED not in ended.printed
    hidden = [("touch wiped" in request.body.decode(), REFUSED in request.body.decode()) for request in conversation]
    assert hidden == [(False, False), (True, True), (True, True)]
