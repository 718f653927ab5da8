"""Exchanges are recorded as rules met them, whole, and without what must not be seen."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.model.phases import Phase
from engine.model.traffic import Header, RecordedExchange, events_of
from tests.support.openai_mock import OpenAIMock, Reply

from .conftest import Serve
from .talk import LIST, WIPE, ask, heard

POLICY = """
version: 1
policy: house
patterns: {names: {codename: '(?i)blue ?falcon'}}
rules:
  - {id: mask, phase: request, actions: [{redact: {patterns: names}}]}
  - id: no-rm
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: List instead.}}]
"""
SECRET = "sk-ant-api03-" + "A1b2C3d4E5" * 9 + "-AAAAAAAA"


def lines(folder: Path) -> list[Any]:
    (file,) = sorted(folder.glob("var/traffic/traffic-*.jsonl"))
    return [json.loads(line) for line in file.read_text().splitlines()]


def recorded(folder: Path) -> list[RecordedExchange]:
    head, *rest = lines(folder)
    msgspec.convert(head, Header)
    return [msgspec.convert(each, RecordedExchange) for each in rest]


@pytest.mark.parametrize("stream", [False, True])
def test_every_event_of_an_exchange_is_recorded_whole(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(POLICY, settings={"record": {"sample": 1}})
    provider.script(Reply(text="I clean.", calls=(WIPE,)), Reply(text="Listing.", calls=(LIST,)))
    ask(lexgate, "Tell me of bluefalcon.", stream=stream)
    lexgate.stop()
    (exchange,) = recorded(lexgate.folder)
    events = [(each.phase, event, each.decision) for each, event in events_of(exchange)]
    assert [phase for phase, _, _ in events] == [
        Phase.REQUEST, Phase.ROUTE, Phase.ATTEMPT,
        Phase.TEXT, Phase.TOOL_CALL, Phase.ATTEMPT, Phase.TEXT, Phase.TOOL_CALL, Phase.RESPONSE, Phase.DONE,
    ]  # fmt: skip
    request, refused = events[0], events[4]
    assert request[1]["request"]["last_user"] == "Tell me of [codename].", "what rules redact is masked here too"
    assert request[1]["request"]["tool_names"] == ["bash", "read"], "no rule reads it, but the next one may"
    assert request[2].rules == ("house/mask",)
    assert (refused[2].verdict, refused[2].by) == ("steer", "house/no-rm")
    assert refused[1]["tool"]["shell"]["commands"][0]["program"] == "rm"
    assert events[3][1]["text"]["window"] == "I clean."
    assert events[-2][1]["response"]["text"] == "I clean.\n\nListing."


def test_a_recorded_stream_reaches_the_client_as_it_would_unrecorded(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Hello, wide world."), Reply(text="Hello, wide world."))
    plain = ask(serve(), "Hi.", stream=True)
    taped = ask(serve(settings={"record": {"sample": 1}}), "Hi.", stream=True)
    assert heard(plain) == heard(taped)
    assert [frame for frame in taped.frames if frame == "[DONE]"] == ["[DONE]"]


def test_secrets_are_masked_however_they_came(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(settings={"record": {"sample": 1}})
    provider.script(Reply(text=f"Your key is {SECRET}."))
    ask(lexgate, f"Is {SECRET} mine?", stream=True)
    lexgate.stop()
    assert SECRET not in json.dumps(lines(lexgate.folder))
    assert "[anthropic-key]" in json.dumps(lines(lexgate.folder))


def test_nothing_is_written_where_the_sample_is_nothing(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(settings={})
    provider.script(Reply(text="Hello."))
    ask(lexgate, "Hi.")
    lexgate.stop()
    assert not (lexgate.folder / "var/traffic").exists()


def test_a_rule_can_have_an_exchange_recorded(serve: Serve, provider: OpenAIMock) -> None:
    rule = "{id: keep, phase: request, when: \"request.last_user == 'Keep.'\", actions: [record: {}]}"
    policy = f"version: 1\npolicy: p\nrules:\n  - {rule}\n"
    lexgate = serve(policy)
    provider.script(Reply(text="Yes."), Reply(text="No."))
    ask(lexgate, "Keep.", stream=True)
    ask(lexgate, "Do not.", stream=True)
    lexgate.stop()
    (exchange,) = recorded(lexgate.folder)
    events = [event for _, event in events_of(exchange)]
    assert [each["phase"] for each in events] == ["request", "route", "attempt", "text", "response", "done"]
    assert events[0]["request"]["last_user"] == "Keep."
    assert events[3]["text"]["window"] == "Yes."


def test_a_refused_request_is_recorded_too(serve: Serve) -> None:
    policy = "version: 1\npolicy: p\nrules:\n  - {id: no, phase: request, actions: [block: no]}\n"
    lexgate = serve(policy, settings={"record": {"sample": 1}})
    assert ask(lexgate, "Hi.").status == 400
    lexgate.stop()
    (exchange,) = recorded(lexgate.folder)
    assert [(each.phase, each.decision.by) for each in exchange.events] == [(Phase.REQUEST, "p/no")]
