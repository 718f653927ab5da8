"""Where no rule acts, nobody can tell that the proxy is there: the official SDK's objects, and the bytes on the wire."""

import asyncio
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

from tests.support.lexgate import Lexgate
from tests.support.openai_mock import Call, OpenAIMock, Reply

from .conftest import Serve

QUIET = """
version: 1
policy: quiet
patterns: {codenames: {bluefalcon: 'bluefalcon'}}
rules:
  - id: redact-codenames
    phase: text
    actions: [{redact: {patterns: codenames}}]
  - id: steer-deletion
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: Do not delete.}}]
  - id: watch-answers
    phase: response
    actions: [{count: {key: answers}}]
"""
"""Reads all of an answer, and acts on none that is scripted here."""


class Weather(pydantic.BaseModel):
    city: str
    degrees: float


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    },
    {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}},
]
HELLO: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi – ¿qué tal? 🙂"},
]
PICTURE: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        ],
    }
]
LOGPROBS = b"".join(
    b"data: " + json.dumps(frame).encode() + b"\n\n"
    for frame in (
        {
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
            "choices": [{
                "index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None,
                "logprobs": {"content": [{"token": word, "logprob": -0.5, "bytes": list(word.encode()), "top_logprobs": []}],
                             "refusal": None},
            }],
        }
        for word in ("All ", "is ", "well.")
    )
) + (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o",'
    b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)  # fmt: skip

CASES: dict[str, tuple[Reply, dict[str, Any]]] = {
    "text": (Reply(text="All is well – 好的 🙂."), {}),
    "usage": (Reply(text="All is well.", usage=(20, 4, 3, 0)), {"stream_options": {"include_usage": True}}),
    "two choices": (Reply(text="All is well."), {"n": 2}),
    "one call": (Reply(calls=(Call("weather", '{"city":"Rome"}'),)), {"tools": TOOLS}),
    "text and parallel calls": (
        Reply(
            text="Let me look.",
            calls=(Call("weather", '{"city": "Rome"}'), Call("bash", '{"command":"ls -l"}')),
            fragment=1,
        ),
        {"tools": TOOLS, "parallel_tool_calls": True, "tool_choice": "auto"},
    ),
    "refusal": (Reply(refusal="I cannot help with that."), {}),
    "reasoning": (Reply(reasoning="First, I think.", text="Then I speak."), {"reasoning_effort": "low"}),
    "length": (Reply(text="All is", finish="length"), {"max_completion_tokens": 2}),
    "image and audio": (Reply(text="A picture."), {"messages": PICTURE}),
    "settings": (Reply(text="Hm."), {"metadata": {"k": "v"}, "seed": 7, "store": False, "user": "u"}),
    "logprobs": (Reply(frames=(LOGPROBS,), text="All is well."), {"logprobs": True, "top_logprobs": 0}),
}  # fmt: skip


@pytest.fixture(scope="module", params=[(), (QUIET,)], ids=["no rules", "rules that read all"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any, Lexgate]]:
    with (
        OpenAIMock() as direct,
        OpenAIMock() as behind,
        Lexgate(tmp_path_factory.mktemp("both"), *request.param, provider=behind) as lexgate,
    ):
        yield direct, behind, lexgate


def script(both: tuple[OpenAIMock, OpenAIMock, Lexgate], reply: Reply) -> tuple[OpenAIMock, OpenAIMock, Lexgate]:
    direct, behind, lexgate = both
    for mock in (direct, behind):
        mock.requests.clear()
        mock.script(reply)
    return direct, behind, lexgate


def governed(lexgate: Lexgate) -> bool:
    return bool(lexgate.live.current.rules)


def asked(options: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    wanted = {"model": "gpt-4o", "messages": HELLO, **options}
    if not stream:
        wanted.pop("stream_options", None)
    return wanted


def same(answers: list[Any], *, joined: bool = False) -> None:
    """Equal; `joined`: once the client has put the pieces of tool calls together, which a rule has had held."""
    direct, proxied = ([each.model_dump() for each in answer] for answer in answers)
    assert direct
    if not joined:
        assert proxied == direct
        return
    for each in (direct, proxied):
        for frame in each:
            frame["obfuscation"] = None
    assert [frame for frame in proxied if says(frame)] == [frame for frame in direct if says(frame)]
    assert assembled(proxied) == assembled(direct)


def says(frame: dict[str, Any]) -> bool:
    """Text, or an end: neither a piece of a call nor only whose turn it is."""
    return not frame["choices"] or any(
        choice["finish_reason"] or choice["delta"]["content"] for choice in frame["choices"]
    )


def calls_in(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [call for choice in frame["choices"] for call in choice["delta"]["tool_calls"] or []]


def assembled(frames: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    calls: dict[int, dict[str, Any]] = {}
    for call in (call for frame in frames for call in calls_in(frame)):
        known = calls.setdefault(call["index"], {"arguments": ""})
        known |= {"id": call["id"] or known["id"], "name": call["function"]["name"] or known["name"]}
        known["arguments"] += call["function"]["arguments"] or ""
    return calls


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_sdk_gives_the_same_objects_with_and_without_the_proxy(
    both: tuple[OpenAIMock, OpenAIMock, Lexgate], name: str, stream: bool
) -> None:
    reply, options = CASES[name]
    direct, behind, lexgate = script(both, reply)
    answers = []
    for url in (direct.base_url, lexgate.base_url):
        with openai.OpenAI(base_url=url, api_key="key", max_retries=0) as client:
            answer: Any = client.chat.completions.create(**asked(options, stream=stream), stream=stream)
            answers.append(list(answer) if stream else [answer])
    same(answers, joined=stream and governed(lexgate) and "call" in name)
    assert [each.json for each in behind.requests] == [each.json for each in direct.requests]


@pytest.mark.parametrize("name", ["text", "text and parallel calls", "reasoning"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_async_sdk_gives_the_same_objects_with_and_without_the_proxy(
    both: tuple[OpenAIMock, OpenAIMock, Lexgate], name: str, stream: bool
) -> None:
    reply, options = CASES[name]
    direct, _, lexgate = script(both, reply)

    async def ask(url: str) -> list[Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="key", max_retries=0) as client:
            answer: Any = await client.chat.completions.create(**asked(options, stream=stream), stream=stream)
            return [each async for each in answer] if stream else [answer]

    answers = [asyncio.run(ask(url)) for url in (direct.base_url, lexgate.base_url)]
    same(answers, joined=stream and governed(lexgate) and "call" in name)


def test_parsed_structured_output_is_the_same(both: tuple[OpenAIMock, OpenAIMock, Lexgate]) -> None:
    direct, _, lexgate = script(both, Reply(text='{"city": "Rome", "degrees": 21.5}'))
    parsed = []
    for url in (direct.base_url, lexgate.base_url):
        with openai.OpenAI(base_url=url, api_key="key", max_retries=0) as client:
            answer = client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Weather)  # type: ignore[arg-type]
            parsed.append(answer.choices[0].message.parsed)
    assert parsed == [Weather(city="Rome", degrees=21.5)] * 2


def test_the_stream_helper_tells_the_same_events(both: tuple[OpenAIMock, OpenAIMock, Lexgate]) -> None:
    reply, options = CASES["text and parallel calls"]
    direct, _, lexgate = script(both, reply)
    told = []
    for url in (direct.base_url, lexgate.base_url):
        with (
            openai.OpenAI(base_url=url, api_key="key", max_retries=0) as client,
            client.chat.completions.stream(**asked(options, stream=True)) as stream,
        ):
            events = [event.model_dump() for event in stream]
            done = [event for event in events if event["type"].endswith(".done")]
            told.append([*(done if governed(lexgate) else events), stream.get_final_completion().model_dump()])
    assert told[0] == told[1]
    assert len(told[0]) > 3


def wire(base_url: str, body: bytes) -> tuple[int, bytes]:
    """The body as it came over a plain connection, without its transfer coding."""
    port = int(base_url.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


ODD: Callable[[bool], bytes] = lambda stream: (  # noqa: E731
    b'{"messages" :[{"role":"user","content":"caf\\u00e9 \\ud83d\\ude00","x":1.0e2}],\n  "model":"gpt-4o",'
    b'"stream":' + json.dumps(stream).encode() + b"}"
)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("network", [0, 7], ids=["a frame a write", "seven bytes a write"])
def test_bytes_of_request_and_answer_go_on_as_they_came(
    both: tuple[OpenAIMock, OpenAIMock, Lexgate], stream: bool, network: int
) -> None:
    direct, behind, lexgate = script(both, Reply(text="Grüße 🙂", reasoning="hm", network=network))
    body = ODD(stream)
    assert wire(lexgate.base_url, body) == wire(direct.base_url, body)
    assert behind.requests[0].body == body == direct.requests[0].body


def test_the_backend_gets_its_own_key_and_not_the_clients(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Hi."))
    serve().post({"model": "gpt-4o", "messages": HELLO}, headers={"authorization": "Bearer of-the-client"})
    assert provider.requests[0].headers["authorization"] == "Bearer upstream-key"


def test_it_serves_without_any_configuration(tmp_path: Path) -> None:
    """The sandbox answers, through the same governor."""
    with Lexgate(tmp_path) as lexgate, openai.OpenAI(base_url=lexgate.base_url, api_key="key") as client:
        answer = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hello"}])
        assert answer.choices[0].message.content
