"""Backends as operators configure them: presets, keys, model lists, prices, and callers that bring their own login."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.anthropic_mock import AnthropicMock, Text, reply
from tests.support.lexgate import PATIENCE, Lexgate
from tests.support.openai_mock import OpenAIMock, Reply

from .conftest import Serve
from .talk import asking
from .test_limits import policy, rule


@pytest.fixture
def anthropic() -> Iterator[AnthropicMock]:
    with AnthropicMock() as mock:
        yield mock


def soon(what: Callable[[], bool]) -> None:
    """What happens beside the traffic has happened."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def listed(lexgate: Lexgate) -> list[str]:
    return sorted(each["id"] for each in lexgate.house.routes.models())


def backend(mock: OpenAIMock, **more: Any) -> dict[str, Any]:
    return {"protocol": "openai", "base_url": mock.base_url, "models": ["*"], **more}


def test_a_preset_needs_a_key_and_what_is_said_wins(serve: Serve, provider: OpenAIMock) -> None:
    """All but the place is the preset's: the protocol, the header of the key, the models."""
    provider.script(Reply(text="Yes."))
    openai = {"api_key": "sk-1", "base_url": provider.base_url}
    lexgate = serve(settings={"backends": {"openai": openai}})
    assert lexgate.post(asking(model="gpt-5")).status == 200
    assert provider.requests[-1].headers["authorization"] == "Bearer sk-1"
    assert lexgate.post(asking(model="claude-opus-4-7")).status == 404


def test_a_refused_key_rests_and_the_next_one_answers(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(status=429, headers={"retry-after": "120"}), Reply(text="b"), Reply(text="b"))
    lexgate = serve(settings={"backends": {"it": backend(provider, api_key=["sk-first", "sk-second"])}})
    assert [lexgate.post(asking()).status for _ in range(2)] == [200, 200]
    used = [request.headers["authorization"] for request in provider.requests]
    assert used == ["Bearer sk-first", "Bearer sk-second", "Bearer sk-second"]
    (said,) = [line for line in lexgate.logs if line["event"] == "key refused"]
    assert (said["backend"], said["key"], said["status"], said["rests"]) == ("it", 1, 429, 120.0)
    assert "sk-" not in json.dumps(lexgate.logs, default=str)
    metrics = lexgate.house.world.metrics.render().decode()
    assert 'lexgate_backend_key_refused_total{backend="it",key="1",status="429"} 1.0' in metrics
    assert "sk-" not in metrics


def test_when_every_key_is_refused_the_client_hears_the_provider(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(status=429, error="slow down"), Reply(status=429, error="slow down"))
    lexgate = serve(settings={"backends": {"it": backend(provider, api_key=["a", "b"])}})
    answer = lexgate.post(asking())
    assert (answer.status, answer.json["error"]["message"]) == (429, "slow down")


def test_models_are_discovered_beside_the_traffic(serve: Serve, provider: OpenAIMock) -> None:
    """The mock lists its models; what it lists is served, and nothing else."""
    found = {"protocol": "openai", "base_url": provider.base_url, "discover": True, "prefix": "local/"}
    lexgate = serve(settings={"backends": {"it": found}})
    soon(lambda: bool(listed(lexgate)))
    name = listed(lexgate)[0]
    assert name.startswith("local/")
    provider.script(Reply(text="Yes."))
    assert lexgate.post(asking(model=name)).status == 200
    sent = json.loads(provider.requests[-1].body)
    assert sent["model"] == name.removeprefix("local/")
    assert lexgate.post(asking(model="another")).status == 404


def test_a_server_that_is_not_there_does_not_hold_up_the_start(serve: Serve) -> None:
    gone = {"protocol": "openai", "base_url": "http://127.0.0.1:9/v1", "discover": True}
    lexgate = serve(settings={"backends": {"gone": gone}})
    soon(lambda: any(line["event"] == "models not listed" for line in lexgate.logs))
    assert lexgate.post(asking()).status == 404


def test_a_callers_own_key_goes_to_its_backend_alone(
    serve: Serve, provider: OpenAIMock, anthropic: AnthropicMock
) -> None:
    """In another protocol's header, where the backend speaks another protocol."""
    theirs = {"protocol": "anthropic", "base_url": anthropic.base_url, "models": ["claude-*"], "api_key": "client"}
    ours = backend(provider, models=["gpt-*"], api_key="sk-ours")
    lexgate = serve(settings={"backends": {"claude": theirs, "gpt": ours}})
    provider.script(Reply(text="Yes."))
    anthropic.script(reply(Text("Yes.")))
    mine = {"authorization": "Bearer sk-mine"}
    assert lexgate.post(asking(model="gpt-5"), headers=mine).status == 200
    assert "sk-mine" not in "".join(provider.requests[-1].headers.values())
    assert lexgate.post(asking(model="claude-opus-4-7", tools=None), headers=mine).status == 200
    sent = anthropic.requests[-1].headers
    assert sent["x-api-key"] == "sk-mine"
    assert "authorization" not in sent


def test_a_login_stays_a_bearer_token_across_protocols(serve: Serve, anthropic: AnthropicMock) -> None:
    theirs = {"protocol": "anthropic", "base_url": anthropic.base_url, "models": ["*"], "api_key": "client"}
    lexgate = serve(settings={"backends": {"claude": theirs}})
    anthropic.script(reply(Text("Yes.")))
    login = {"authorization": "Bearer sk-ant-oat01-mine"}
    assert lexgate.post(asking(model="claude-opus-4-7", tools=None), headers=login).status == 200
    sent = anthropic.requests[-1].headers
    assert (sent["authorization"], sent["anthropic-beta"]) == ("Bearer sk-ant-oat01-mine", "oauth-2025-04-20")
    assert "x-api-key" not in sent


def test_a_backend_without_stream_options_is_never_asked_for_them(serve: Serve, provider: OpenAIMock) -> None:
    """Neither on our behalf nor on the client's, who is told of what it asked for itself."""
    provider.script(Reply(text="Yes."), Reply(text="Yes."))
    picky = backend(provider, capabilities={"stream_usage": False, "refuses": ["parallel_tool_calls"]})
    reads = policy(rule("watch", "log: {message: '{{response.usage.input}}'}", phase="done"))
    lexgate = serve(reads, settings={"backends": {"it": picky}})
    body = asking(stream=True, stream_options={"include_usage": True}, parallel_tool_calls=True)
    said = lexgate.post(body)
    assert (said.status, said.headers["x-lexgate-dropped"]) == (200, "stream_options, parallel_tool_calls")
    unasked = lexgate.post(asking(stream=True))
    assert (unasked.status, unasked.headers.get("x-lexgate-dropped")) == (200, None)
    for request in provider.requests:
        assert not json.loads(request.body).keys() & {"stream_options", "parallel_tool_calls"}


def costs(lexgate: Lexgate) -> list[float | None]:
    return [record["cost"] for record in lexgate.records() if record["phase"] == "done"]


WATCH = "log: {message: 'cost {{response.usage.cost}}'}"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_has_the_price_of_the_operator(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    provider.script(Reply(text="Yes."))
    settings = {
        "backends": {"it": backend(provider)},
        "prices": {"gpt-*": {"input": 1_000_000, "output": 0}},
        "audit": {"path": "audit.jsonl"},
    }
    lexgate = serve(policy(rule("watch", WATCH, phase="done")), settings=settings)
    answer = lexgate.post(asking(stream=stream))
    assert answer.status == 200
    (cost,) = costs(lexgate)
    (said,) = [line["event"].removeprefix("cost ") for line in lexgate.logs if line["event"].startswith("cost ")]
    assert cost is not None
    assert cost > 0
    assert float(said) == cost
    if not stream:
        assert cost == answer.json["usage"]["prompt_tokens"]


def test_an_unknown_price_is_null_and_said_once(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."), Reply(text="Yes."))
    settings = {"backends": {"it": backend(provider)}, "audit": {"path": "audit.jsonl"}}
    lexgate = serve(policy(rule("watch", WATCH, phase="done")), settings=settings)
    for _ in range(2):
        assert lexgate.post(asking()).status == 200
    assert costs(lexgate) == [None, None]
    assert [line["model"] for line in lexgate.logs if line["event"] == "no price is known"] == ["gpt-4o"]
    metrics = lexgate.house.world.metrics.render().decode()
    assert 'lexgate_unpriced_total{backend="it",model="gpt-4o"} 2.0' in metrics


def test_the_list_prices_a_backend_that_says_whose_it_is(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    settings = {"backends": {"it": backend(provider, provider="openai")}, "audit": {"path": "audit.jsonl"}}
    lexgate = serve(policy(rule("watch", WATCH, phase="done")), settings=settings)
    usage = lexgate.post(asking()).json["usage"]
    (cost,) = costs(lexgate)
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    plain = usage["prompt_tokens"] - cached
    assert cost == pytest.approx((plain * 2.5 + cached * 1.25 + usage["completion_tokens"] * 10) / 1_000_000)
