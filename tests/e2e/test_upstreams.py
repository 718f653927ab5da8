"""What a backend is sent, and which one."""

import http.client
import json
import random
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.lexgate import PATIENCE, Lexgate
from tests.support.openai_mock import OpenAIMock, Received, Reply

from .conftest import Serve
from .talk import BASH, READ, asking
from .test_limits import policy, rule


@pytest.fixture
def second() -> Iterator[OpenAIMock]:
    with OpenAIMock() as mock:
        yield mock


def backend(mock: OpenAIMock, **more: Any) -> dict[str, Any]:
    return {"protocol": "openai", "base_url": mock.base_url, "models": ["*"], **more}


def sent(lexgate: Lexgate, provider: OpenAIMock, body: Any = None, headers: Mapping[str, str] = {}) -> Received:
    """What the provider got of a request."""
    provider.script(Reply(text="Yes."))
    raw = lexgate.post(body if body is not None else asking(), headers=headers)
    assert raw.status == 200, raw.body
    return provider.requests[-1]


# --- headers ---------------------------------------------------------------------------------------------------------

SECRET = "hunter2-very-secret"
NEVER = [
    *("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie", "cookie2"),
    *("x-auth-token", "ocp-apim-subscription-key", "x-amz-security-token", "x-access-token"),
    *("te", "trailer", "upgrade", "keep-alive", "proxy-connection", "http2-settings", "via", "forwarded"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip", "x-client-ip"),
    *("true-client-ip", "client-ip", "x-cluster-client-ip", "cf-connecting-ip", "cf-access-jwt-assertion"),
    *("referer", "sec-ch-ua", "x-lexgate-anything"),
]


@pytest.mark.parametrize("name", NEVER)
def test_what_belongs_to_the_client_or_its_connection_is_not_forwarded(
    serve: Serve, provider: OpenAIMock, name: str
) -> None:
    got = sent(serve(settings={"server": {"mode": "personal"}}), provider, headers={name: SECRET})
    assert SECRET not in "".join(got.headers.values())


def test_what_the_client_says_to_the_provider_is_forwarded(serve: Serve, provider: OpenAIMock) -> None:
    said = {"openai-organization": "org", "user-agent": "tool/1", "x-stainless-lang": "python", "x-request-id": "1"}
    got = sent(serve(), provider, headers=said)
    assert {name: got.headers[name] for name in said} == said
    assert got.headers["accept-encoding"] == "identity"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"127.0.0.1:{provider.port}"


def test_a_header_that_connection_names_goes_no_further(serve: Serve, provider: OpenAIMock) -> None:
    got = sent(serve(), provider, headers={"connection": "keep-alive, X-Hop", "x-hop": "1", "x-end": "2"})
    assert "x-hop" not in got.headers
    assert got.headers["x-end"] == "2"


def test_the_backends_headers_stand_above_the_rules_and_those_above_the_clients(
    serve: Serve, provider: OpenAIMock
) -> None:
    write = [f"{{header: {{name: {name}, value: rule}}}}" for name in ("x-a", "x-b")]
    lexgate = serve(
        policy(rule("write", ", ".join(write))),
        settings={"backends": {"openai": backend(provider, headers={"X-A": "operator"})}},
    )
    provider.script(Reply(text="Yes."))
    connection = http.client.HTTPConnection("127.0.0.1", lexgate.port, timeout=PATIENCE)
    said = {"content-type": "application/json", "x-a": "client", "x-b": "client", "x-c": "client"}
    connection.request("POST", "/v1/chat/completions", json.dumps(asking()).encode(), said)
    assert connection.getresponse().status == 200
    connection.close()
    got = provider.requests[-1].headers
    assert (got["x-a"], got["x-b"], got["x-c"]) == ("operator", "rule", "client")


def test_keys_are_used_in_turn(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(settings={"backends": {"openai": backend(provider, api_key=["k1", "k2"])}})
    keys = [sent(lexgate, provider).headers["authorization"] for _ in range(4)]
    assert keys == ["Bearer k1", "Bearer k2", "Bearer k1", "Bearer k2"]


def test_a_backend_of_the_clients_key_gets_it_and_no_other_backend_does(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    backends = {"theirs": backend(provider, api_key="client"), "ours": backend(second, api_key="our-key")}
    lexgate = serve(settings={"backends": backends})
    credentials = {"authorization": f"Bearer {SECRET}", "cookie": SECRET}
    got = sent(lexgate, provider, asking(model="theirs:gpt-4o"), credentials)
    assert got.headers["authorization"] == f"Bearer {SECRET}"
    assert "cookie" not in got.headers
    got = sent(lexgate, second, asking(model="ours:gpt-4o"), credentials)
    assert got.headers["authorization"] == "Bearer our-key"


def test_a_backend_without_a_key_gets_none(serve: Serve, provider: OpenAIMock) -> None:
    got = sent(serve(settings={"backends": {"local": backend(provider)}}), provider)
    assert "authorization" not in got.headers


def test_a_key_is_never_sent_to_the_backend_that_is_tried_next(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    backends = {"one": backend(provider, api_key="client"), "two": backend(second, api_key="two-key")}
    lexgate = serve(settings={"backends": backends, "routes": {"r": "one:|two:"}, "default_route": "@r"})
    provider.script(Reply(status=500))
    got = sent(lexgate, second, asking(model="default"), {"authorization": f"Bearer {SECRET}"})
    assert got.headers["authorization"] == "Bearer two-key"


# --- where it goes ---------------------------------------------------------------------------------------------------


def test_the_query_is_kept(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    serve().post(asking(), "/v1/chat/completions?api-version=2024-10-21&a=b%20c")
    assert provider.requests[-1].path == "/v1/chat/completions?api-version=2024-10-21&a=b%20c"


def routed(serve: Serve, provider: OpenAIMock, second: OpenAIMock, *policies: str, **settings: Any) -> Lexgate:
    backends = {
        "one": {**backend(provider), "models": ["gpt-4o", "gpt-*"]},
        "two": {**backend(second), "models": ["gpt-4o-mini", "*", "llama3:8b"]},
    }
    return serve(*policies, settings={"backends": backends, **settings})


@pytest.mark.parametrize(
    ("model", "backend", "arrives"),
    [
        ("gpt-4o", 0, "gpt-4o"),
        ("gpt-4o-mini", 1, "gpt-4o-mini"),  # an exact name is stronger than an earlier glob
        ("gpt-5", 0, "gpt-5"),
        ("o1", 1, "o1"),
        ("llama3:8b", 1, "llama3:8b"),  # no backend of that name: part of the model's
        ("two:gpt-4o", 1, "gpt-4o"),
        ("one:whatever", 0, "whatever"),
        ("two:llama3:8b", 1, "llama3:8b"),
    ],
)
def test_the_model_says_which_backend(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, model: str, backend: int, arrives: str
) -> None:
    mocks = (provider, second)
    got = sent(routed(serve, provider, second), mocks[backend], asking(model=model))
    assert got.json["model"] == arrives
    assert not mocks[1 - backend].requests


@pytest.mark.parametrize("model", [None, "default", "auto"])
def test_without_a_model_the_default_route_is_taken(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, model: str | None
) -> None:
    lexgate = routed(serve, provider, second, default_route="two:gpt-4o-mini")
    assert sent(lexgate, second, asking(model=model)).json["model"] == "gpt-4o-mini"


def test_a_rules_route_is_stronger_than_the_clients_model(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    lexgate = routed(serve, provider, second, policy(rule("r", "{route: 'two:'}", phase="route")))
    assert sent(lexgate, second, asking(model="gpt-4o")).json["model"] == "gpt-4o"


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503, 529])
@pytest.mark.parametrize("stream", [False, True])
def test_what_another_backend_may_do_better_fails_over(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, status: int, stream: bool
) -> None:
    lexgate = routed(serve, provider, second, policy(rule("r", "{route: 'one:|two:'}", phase="route")))
    provider.script(Reply(status=status))
    sent(lexgate, second, asking(stream=stream))
    assert len(provider.requests) == 1


def test_what_is_the_requests_own_fault_does_not(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, policy(rule("r", "{route: 'one:|two:'}", phase="route")))
    provider.script(Reply(status=400))
    assert lexgate.post(asking()).status == 400
    assert not second.requests


def test_a_backend_that_cannot_be_reached_fails_over_and_the_last_failure_is_told(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
    route = policy(rule("r", "{route: 'one:|two:'}", phase="route"))
    lexgate = serve(
        route, settings={"backends": {"one": {**backend(provider), "base_url": gone}, "two": backend(second)}}
    )
    sent(lexgate, second)
    second.script(Reply(status=503, headers={"retry-after": "3"}))
    last = lexgate.post(asking())
    assert (last.status, last.headers["retry-after"]) == (503, "3")


def test_nothing_is_tried_again_after_output_began(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, policy(rule("r", "{route: 'one:|two:'}", phase="route")))
    provider.script(Reply(text="One two three four five", cut_after=3))
    raw = lexgate.post(asking(stream=True))
    assert raw.status == 200
    assert b'"error"' in raw.body
    assert not second.requests


def test_weights_share_by_chance(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    route = policy(rule("r", "{route: '[weight=1]one:^[weight=3]two:'}", phase="route"))
    backends = {"one": backend(provider), "two": backend(second)}
    lexgate = serve(route, settings={"backends": backends}, random_bytes=random.Random(4).randbytes)
    lexgate.house.world._drawn = b""
    provider.script(*[Reply(text="Yes.")] * 60)
    second.script(*[Reply(text="Yes.")] * 60)
    for _ in range(60):
        assert lexgate.post(asking()).status == 200
    assert 8 <= len(provider.requests) <= 22
    assert len(provider.requests) + len(second.requests) == 60


# --- the bytes -------------------------------------------------------------------------------------------------------

ODD = (
    b'{ "model":"gpt-4o" ,"messages":[{"role":"user","content":"caf\\u00e9 \\/ 1","name":"x"}], "temperature":1.0,'
    b'"x_unknown":{"a":[1,2.50,1e3,null]},"max_tokens":9000, "tools":[{"type":"function","function":{"name":"bash",'
    b'"parameters":{"type":"object"}}}],"tool_choice":"auto" }\n'
)


class Taking(OpenAIMock):
    """A compatible server that takes any field."""

    def _refusal(self, received: Received) -> None:
        return None


@pytest.fixture
def taking() -> Iterator[OpenAIMock]:
    with Taking() as mock:
        yield mock


def test_an_untouched_request_is_forwarded_byte_for_byte(serve: Serve, taking: OpenAIMock) -> None:
    backends = {"backends": {"any": backend(taking)}}
    assert sent(serve(settings=backends), taking, ODD).body == ODD
    watching = policy(rule("watch", "{log: {message: seen}}", when="request.model == 'gpt-4o'"))
    assert sent(serve(watching, settings=backends), taking, ODD).body == ODD


@pytest.mark.parametrize(
    ("action", "changed"),
    [
        ("{set: {path: request.model, value: gpt-4o-mini}}", {"model": "gpt-4o-mini"}),
        ("{set: {path: request.params.temperature, value: 0}}", {"temperature": 0}),
        ("{set: {path: request.params.seed, value: 7}}", {"seed": 7}),
        ("{unset: {path: request.params.temperature}}", {"temperature": None}),
        ("{default: {path: request.params.temperature, value: 0.3}}", {}),
        ("{default: {path: request.params.top_p, value: 0.3}}", {"top_p": 0.3}),
        ("{clamp: {path: request.params.max_tokens, max: 100}}", {"max_tokens": 100}),
        ("{clamp: {path: request.params.max_tokens, max: 10000}}", {}),
        ("{drop_tools: {names: [bash]}}", {"tools": None, "tool_choice": None}),
        ("{keep_tools: {names: [bash]}}", {}),
        ("{header: {name: x-team, value: one}}", {}),
    ],
)
def test_only_what_a_rule_touched_differs(
    serve: Serve, taking: OpenAIMock, action: str, changed: dict[str, Any]
) -> None:
    got = sent(serve(policy(rule("touch", action)), settings={"backends": {"any": backend(taking)}}), taking, ODD)
    before = json.loads(ODD)
    after = {name: value for name, value in {**before, **changed}.items() if value is not None}
    assert got.json == after
    assert list(got.json)[: len(before)] == [name for name in {**before, **changed} if name in after][: len(before)]
    if not changed:
        assert got.body == ODD


def test_dropping_the_chosen_tool_resets_the_choice(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(policy(rule("drop", "{drop_tools: {names: [bash]}}")))
    choice = {"type": "function", "function": {"name": "bash"}}
    got = sent(lexgate, provider, asking(tools=[BASH, READ], tool_choice=choice)).json
    assert [tool["function"]["name"] for tool in got["tools"]] == ["read"]
    assert "tool_choice" not in got


def test_an_injected_message_stands_once(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(policy(rule("say", "{inject: {role: system, text: Be brief., key: brief}}")))
    got = sent(lexgate, provider, asking("Hi")).json
    assert [m["content"] for m in got["messages"] if m["role"] == "system"] == ["Be brief."]
    assert {"role": "user", "content": "Hi"} in got["messages"]


def test_dropped_messages_are_gone(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(policy(rule("drop", "{drop_messages: {where: \"request.messages[?role == 'assistant']\"}}")))
    history = ["One", {"role": "assistant", "content": "Two"}, "Three"]
    got = sent(lexgate, provider, asking(*history)).json
    assert [m["role"] for m in got["messages"]] == ["user", "user"]


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_response_headers_are_passed_by_name_and_no_others(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    theirs = {
        "openai-processing-ms": "12",
        "x-ratelimit-limit-requests": "9",
        "set-cookie": "session=1",
        "server": "cloud",
        "alt-svc": "h3",
        "x-lexgate-revision": "forged",
        "access-control-allow-origin": "*",
    }
    provider.script(Reply(text="Yes.", headers=theirs))
    raw = serve().post(asking(stream=stream))
    assert (raw.headers["openai-processing-ms"], raw.headers["x-ratelimit-limit-requests"]) == ("12", "9")
    assert raw.headers["x-request-id"] == "req_1"
    assert "forged" not in raw.headers.values()
    assert not {"set-cookie", "server", "alt-svc", "access-control-allow-origin"} & raw.headers.keys()


def test_a_rules_header_reaches_the_client(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = serve(policy(rule("tell", "{header: {name: x-team, value: one, to: client}}")))
    assert lexgate.post(asking()).headers["x-team"] == "one"
    assert "x-team" not in provider.requests[-1].headers
