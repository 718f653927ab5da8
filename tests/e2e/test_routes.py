"""Routes with every operator, streaming and not, over real sockets: who is asked, who answers, and what the others cost."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from engine.resources import packs_dir
from tests.support.anthropic_mock import AnthropicMock, Text, reply
from tests.support.lexgate import PATIENCE, Lexgate
from tests.support.openai_mock import Call, Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import asking, heard

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
TRAIL = """
version: 1
policy: trail
rules: [{id: end, phase: done, when: "route.plan != ''", actions: [{tag: {name: plan, value: "{{ route.plan }}"}}]}]
"""


@pytest.fixture
def second() -> Iterator[OpenAIMock]:
    with OpenAIMock() as mock:
        yield mock


def backend(mock: OpenAIMock, **more: Any) -> dict[str, Any]:
    return {"protocol": "openai", "base_url": mock.base_url, "models": ["*"], **more}


def routed(serve: Serve, one: OpenAIMock, two: OpenAIMock, route: Any, *policies: str, **settings: Any) -> Lexgate:
    backends = {"a": backend(one), "b": backend(two), **settings.pop("backends", {})}
    routes = {"r": route, **settings.pop("routes", {})}
    return serve(*policies, settings={"backends": backends, "routes": routes, "default_route": "@r", **settings})


def say(lexgate: Lexgate, *messages: Any, stream: bool = False, **more: Any) -> str:
    return heard(lexgate.post(asking(*messages, model="default", stream=stream, tools=None, **more))).text


def trail(lexgate: Lexgate) -> list[tuple[str, str]]:
    """What became of each leg, as the last decision record says it."""
    return [(each["leg"], each["fate"]) for each in lexgate.records()[-1]["attempts"]]


# --- failover --------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 429, 500, 502, 503, 529])
def test_the_next_leg_answers_where_one_is_at_fault(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool, status: int
) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y", TRAIL)
    provider.script(Reply(status=status))
    second.script(Reply(text="Two."))
    assert say(lexgate, stream=stream) == "Two."
    assert second.requests[-1].json["model"] == "y"
    assert trail(lexgate) == [("a:x", "failed"), ("b:y", "answered")]


@BOTH
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_at_fault_is_said_at_once(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool, status: int
) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y")
    provider.script(Reply(status=status))
    assert lexgate.post(asking(model="default", stream=stream)).status == status
    assert second.requests == []


def test_a_stream_that_begins_with_an_error_is_no_answer(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y")
    provider.script(Reply(frames=(b'data: {"error":{"message":"Overloaded","type":"server_error","code":503}}\n\n',)))
    second.script(Reply(text="Two."))
    assert say(lexgate, stream=True) == "Two."


def test_a_body_that_breaks_off_before_anything_was_sent_fails_over(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y")
    provider.script(Reply(text="Half of it.", cut_after=0))
    second.script(Reply(text="Two."))
    assert say(lexgate) == "Two."


def test_nothing_is_tried_again_after_output_began(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y")
    provider.script(Reply(text="Half of it and more.", cut_after=3))
    raw = lexgate.post(asking(model="default", stream=True, tools=None))
    assert raw.status == 200
    assert "error" in raw.frames[-1]
    assert second.requests == []


@BOTH
def test_it_fails_over_to_another_protocol(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool
) -> None:
    with AnthropicMock(reply(Text("From Claude."))) as claude:
        there = {"protocol": "anthropic", "base_url": claude.base_url, "models": ["claude-*"]}
        lexgate = routed(serve, provider, second, "a:x|c:claude-opus-4-7", backends={"c": there})
        provider.script(Reply(status=500))
        assert say(lexgate, stream=stream, max_tokens=100) == "From Claude."


# --- weights, turns, cost --------------------------------------------------------------------------------------------


@BOTH
def test_weights_are_rolled_again_without_the_leg_that_failed(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool
) -> None:
    lexgate = routed(serve, provider, second, "[weight=1000]a:x^[weight=0.001]b:y", TRAIL)
    provider.script(Reply(status=500))
    second.script(Reply(text="Two."))
    assert say(lexgate, stream=stream) == "Two."
    assert trail(lexgate) == [("a:x", "failed"), ("b:y", "answered")]


def test_legs_take_turns(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, {"round_robin": ["a:x", "b:y"]})
    provider.script(*[Reply(text="One.")] * 2)
    second.script(*[Reply(text="Two.")] * 2)
    assert [say(lexgate) for _ in range(4)] == ["One.", "Two.", "One.", "Two."]


def test_the_cheapest_leg_is_first_and_an_unknown_price_last(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    prices = {"dear": {"input": 10, "output": 30}, "cheap": {"input": 1, "output": 3}}
    lexgate = routed(serve, provider, second, "cheapest(a:unknown|a:dear|b:cheap)", prices=prices)
    second.script(Reply(text="Two."), Reply(status=500))
    provider.script(Reply(status=500), Reply(text="Unknown."))
    assert say(lexgate) == "Two."
    assert say(lexgate) == "Unknown."
    assert [each.json["model"] for each in provider.requests] == ["dear", "unknown"]


# --- annotations -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_leg_is_skipped_that_cannot_hold_the_request(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool
) -> None:
    lexgate = routed(serve, provider, second, "[max_context=100]a:x|b:y", TRAIL)
    provider.script(Reply(text="One."))
    second.script(Reply(text="Two."))
    assert say(lexgate, "Short.", stream=stream) == "One."
    assert say(lexgate, "Long words. " * 200, stream=stream) == "Two."
    assert trail(lexgate) == [("a:x", "skipped"), ("b:y", "answered")]


def test_a_request_that_no_leg_can_hold_is_told_so(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "[max_context=100]a:x|[max_context=200]b:y")
    raw = lexgate.post(asking("Long words. " * 200, model="default"))
    assert (raw.status, raw.json["error"]["code"]) == (400, "context_length_exceeded")


def test_a_leg_for_the_first_request_is_asked_for_no_other(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    lexgate = routed(serve, provider, second, "[first]a:x|b:y")
    provider.script(Reply(text="One."))
    second.script(Reply(text="Two."))
    assert say(lexgate, "Hi.") == "One."
    assert say(lexgate, "Hi.", {"role": "assistant", "content": "One."}, "And now?") == "Two."


def test_a_legs_parameters_are_sent_to_that_leg_alone(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "a:x?temperature=0.2&max_tokens=7|b:y")
    provider.script(Reply(status=500))
    second.script(Reply(text="Two."))
    say(lexgate)
    assert provider.requests[-1].json["temperature"] == 0.2
    assert provider.requests[-1].json["max_tokens"] == 7
    assert "temperature" not in second.requests[-1].json


@BOTH
def test_a_leg_without_output_in_time_is_left(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool
) -> None:
    lexgate = routed(serve, provider, second, "[ttft_timeout=200ms]a:x|b:y")
    gate = Gate()
    provider.script(Reply(text="Too late.", gate=gate, gate_before=1 if stream else -1))
    second.script(Reply(text="Two."))
    assert say(lexgate, stream=stream) == "Two."
    provider.wait_for_disconnect()
    gate.open()


@BOTH
def test_a_thinkers_thoughts_are_given_to_the_leg_that_answers(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool
) -> None:
    lexgate = routed(serve, provider, second, "[thinker]a:x|b:y", TRAIL)
    provider.script(Reply(text="Mind the gap.", reasoning="Trains."))
    second.script(Reply(text="Two."))
    assert say(lexgate, "Go.", stream=stream) == "Two."
    assert provider.requests[-1].json.get("stream", False) is False
    content = second.requests[-1].json["messages"][-1]["content"]
    said = content if isinstance(content, str) else "".join(part["text"] for part in content)
    assert said.startswith("Go.")
    assert "Trains.\n\nMind the gap." in said
    assert trail(lexgate) == [("a:x", "answered"), ("b:y", "answered")]


def test_without_its_thinker_a_leg_answers_all_the_same(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "[thinker]a:x|b:y")
    provider.script(Reply(status=500))
    second.script(Reply(text="Two."))
    assert say(lexgate, "Go.") == "Two."
    assert second.requests[-1].json["messages"] == [{"role": "user", "content": "Go."}]


def test_a_named_route_is_a_leg_of_another(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "@pool|b:last", routes={"pool": "a:x|a:y"})
    provider.script(Reply(status=500), Reply(status=500))
    second.script(Reply(text="Two."))
    assert say(lexgate) == "Two."
    assert [each.json["model"] for each in provider.requests] == ["x", "y"]


# --- races -----------------------------------------------------------------------------------------------------------


@BOTH
def test_the_first_output_wins_and_the_loser_is_cut_off(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool
) -> None:
    lexgate = routed(serve, provider, second, "a:x!b:y", TRAIL)
    gate = Gate()
    provider.script(Reply(text="Slow.", gate=gate, gate_before=1 if stream else -1))
    second.script(Reply(text="Two."))
    assert say(lexgate, stream=stream) == "Two."
    provider.wait_for_disconnect()
    gate.open()
    assert sorted(trail(lexgate)) == [("a:x", "lost"), ("b:y", "answered")]


def test_a_role_is_no_output(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    """The first leg has sent its role long before the other one begins."""
    lexgate = routed(serve, provider, second, "a:x!b:y")
    first, other = Gate(), Gate()
    provider.script(Reply(text="Slow.", gate=first, gate_before=1))
    second.script(Reply(text="Two.", gate=other))

    def go_on_behind_the_role() -> None:
        first.wait_until_reached()
        other.open()

    watching = threading.Thread(target=go_on_behind_the_role, daemon=True)
    watching.start()
    assert say(lexgate, stream=True) == "Two."
    watching.join(PATIENCE)
    provider.wait_for_disconnect()
    first.open()


@BOTH
def test_a_race_is_lost_by_who_fails(serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool) -> None:
    lexgate = routed(serve, provider, second, "a:x![handicap=30s]b:y", TRAIL)
    provider.script(Reply(status=500))
    second.script(Reply(text="Two."))
    assert say(lexgate, stream=stream) == "Two."
    assert trail(lexgate) == [("a:x", "failed"), ("b:y", "answered")]


def test_a_handicap_spares_the_second_leg(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "a:x![handicap=30s]b:y")
    provider.script(Reply(text="One."))
    assert say(lexgate, stream=True) == "One."
    assert second.requests == []


def test_a_race_that_all_lose_is_a_failure_with_a_real_status(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    lexgate = routed(serve, provider, second, "a:x!b:y")
    provider.script(Reply(status=500))
    second.script(Reply(status=500))
    assert lexgate.post(asking(model="default", stream=True)).status == 500


def test_calls_race_whole(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "a:x!b:y")
    gate = Gate()
    provider.script(Reply(calls=(Call("bash", '{"command":"ls"}'),), fragment=4, gate=gate, gate_before=2))
    second.script(Reply(text="Two."))
    assert heard(lexgate.post(asking(model="default", stream=True))).text == "Two."
    provider.wait_for_disconnect()
    gate.open()


def test_a_loser_pays_for_what_it_was_asked_and_the_winner_for_its_answer(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    prices = {"x": {"input": 1, "output": 1}, "y": {"input": 1, "output": 1}}
    lexgate = routed(serve, provider, second, "a:x!b:y", TRAIL, prices=prices)
    gate = Gate()
    provider.script(Reply(text="Slow.", gate=gate))
    second.script(Reply(text="Two.", usage=(9, 12, 0, 0)))
    say(lexgate, "Hi.")
    provider.wait_for_disconnect()
    gate.open()
    counted = lexgate.house.world.metrics.render().decode()
    assert 'lexgate_tokens_total{backend="b",direction="output",model="y"} 12.0' in counted
    assert 'lexgate_tokens_total{backend="a",direction="output",model="x"} 0.0' in counted
    asked: Mapping[str, Any] = lexgate.records()[-1]
    assert asked["cost"] is not None


def test_keep_alives_flow_while_a_race_is_undecided(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "a:x!b:y", stream={"commit_after": 0.05, "keep_alive": 0.05})
    one, two = Gate(), Gate()
    provider.script(Reply(text="One.", gate=one))
    second.script(Reply(text="Two.", gate=two))
    with lexgate.open(asking(model="default", stream=True, tools=None)) as asked:
        asked.until(b": ")
        two.open()
        asked.until(b"Two")
    one.open()


# --- the pack --------------------------------------------------------------------------------------------------------

ROUTING = (packs_dir() / "routing.yaml").read_text()


def test_the_pack_sends_titles_elsewhere_and_passes_over_what_is_not_configured(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    lexgate = routed(serve, provider, second, "a:x", ROUTING, routes={"auxiliary": "b:small"})
    provider.script(*[Reply(text="One.")] * 2)
    second.script(Reply(text="Two."))
    assert say(lexgate, "Write a short title for this conversation.") == "Two."
    assert [say(lexgate, "Hello."), say(lexgate, "Hello.")] == ["One.", "One."]
    said = [each["route"] for each in lexgate.logs if each["event"] == "route passed over"]
    assert said.count("@first-request") == 1
