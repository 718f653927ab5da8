"""The official clients for Node, and Vercel's AI SDK, notice nothing of the proxy except where a rule acts."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.support import anthropic_mock, gemini_mock, openai_mock, responses_mock
from tests.support.anthropic_mock import AnthropicMock
from tests.support.gemini_mock import GeminiMock
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import OpenAIMock
from tests.support.responses_mock import ResponsesMock

from .models import BACKENDS

pytestmark = pytest.mark.clients

HERE: Final = Path(__file__).parent
PATIENCE: Final = 60.0
JSON: Final = {"content-type": "application/json; charset=UTF-8"}
EVERYTHING: Final = ("whole", "stream", "tools", "tools-stream", "forbidden")
LIST: Final = '{"command":"ls -l"}'
WIPE: Final = '{"command":"rm -rf /"}'
STEER: Final = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: "Do not delete; list instead."}}]
"""
IDLE: Final = """
version: 1
policy: words
rules:
  - id: no-plantains
    phase: request
    when: contains(request.last_user, 'plantain')
    actions: [{block: {message: "No plantains."}}]
"""
BLOCK: Final = IDLE.replace("plantain", "banana")

Mock = OpenAIMock | ResponsesMock | AnthropicMock | GeminiMock


def _chat(*calls: str) -> Any:
    made = tuple(openai_mock.Call("bash", arguments) for arguments in calls)
    return openai_mock.Reply(text="Hello, here I am.", calls=made, fragment=1, network=7)


def _responses(*calls: str) -> Any:
    made = [responses_mock.Call("bash", arguments) for arguments in calls]
    return responses_mock.reply(
        responses_mock.Thought.of("Hm."), responses_mock.Text("Hello, here I am."), *made, fragment=1, network=7
    )


def _messages(*calls: str) -> Any:
    made = [anthropic_mock.Call("bash", arguments) for arguments in calls]
    thought = [anthropic_mock.Thinking("Hm.")] if calls else []
    return anthropic_mock.reply(
        *thought, anthropic_mock.Text("Hello, here I am."), *made, usage=(9, 12, 4, 3), fragment=1, network=7
    )


def _gemini(*calls: str) -> Any:
    made = [
        gemini_mock.Call("bash", arguments, id=f"call_{place}", signed=not place)
        for place, arguments in enumerate(calls)
    ]
    return gemini_mock.reply(gemini_mock.Thinking("Hm."), gemini_mock.Text("Hello, here I am."), *made, network=7)


class Spoken(msgspec.Struct, frozen=True):
    """A protocol: its mock, what the mock answers, how it refuses, and what stands before the SDK's path."""

    mock: type[Any]
    answer: Callable[..., Any]
    refusal: Any
    versioned: bool


SPOKEN: Final = {
    "chat": Spoken(OpenAIMock, _chat, openai_mock.Reply(status=400, error="No bananas here."), True),
    "responses": Spoken(ResponsesMock, _responses, responses_mock.reply(status=400, error="No bananas here."), True),
    "messages": Spoken(AnthropicMock, _messages, anthropic_mock.reply(status=400, error="No bananas here."), False),
    "gemini": Spoken(GeminiMock, _gemini, gemini_mock.reply(status=400, error="No bananas here.", headers=JSON), False),
}
CLIENTS: Final = [
    *(("responses", "responses"), ("messages", "messages"), ("gemini", "gemini")),
    *(("vercel", protocol) for protocol in SPOKEN),
]
clients = pytest.mark.parametrize(
    ("script", "protocol"), CLIENTS, ids=[f"{script}-{protocol}" for script, protocol in CLIENTS]
)


def seen_by(script: str, protocol: str, origin: str, *exchanges: str) -> list[dict[str, Any]]:
    """What the script printed. A machine without Node, or without the clients, fails: nothing would have been tested."""
    node = shutil.which("node")
    assert node, "node is not installed"
    assert (HERE / "node_modules").is_dir(), "the clients are not installed: run `make test-clients`"
    base_url = f"{origin}/v1" if SPOKEN[protocol].versioned else origin
    environ = {"PATH": os.environ["PATH"], "LEXGATE_PROVIDER": protocol}
    command = [node, str(HERE / f"{script}.mjs"), base_url, *exchanges]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    printed: list[dict[str, Any]] = json.loads(done.stdout)
    return printed


def provider(protocol: str, *replies: Any) -> Any:
    return SPOKEN[protocol].mock(*replies)


def served(folder: Path, protocol: str, mock: Mock, *policies: str) -> Lexgate:
    backend = {**BACKENDS[protocol], "base_url": mock.base_url, "api_key": "upstream-key", "models": ["*"]}
    return Lexgate(folder, *policies, settings={"backends": {"provider": backend}})


def replies(protocol: str) -> list[Any]:
    spoken = SPOKEN[protocol]
    return [spoken.answer(), spoken.answer(), spoken.answer(LIST, LIST), spoken.answer(LIST, LIST), spoken.refusal]


@clients
@pytest.mark.parametrize("policies", [(), (STEER, IDLE)], ids=["no rules", "idle rules"])
def test_without_a_rule_that_acts_the_client_sees_what_it_sees_without_the_proxy(
    tmp_path: Path, script: str, protocol: str, policies: tuple[str, ...]
) -> None:
    with provider(protocol, *replies(protocol)) as mock:
        direct = seen_by(script, protocol, mock.address, *EVERYTHING)
    with provider(protocol, *replies(protocol)) as mock, served(tmp_path, protocol, mock, *policies) as lexgate:
        governed = seen_by(script, protocol, lexgate.origin, *EVERYTHING)
    answers = [each["answer"] for each in direct[:4]]
    assert [answer["text"] for answer in answers] == ["Hello, here I am."] * 4
    assert [len(answer["calls"]) for answer in answers] == [0, 0, 2, 2]
    assert direct[4]["error"]["status"] == 400
    assert "No bananas here." in direct[4]["error"]["message"]
    if policies:  # a stream in which calls are judged is written anew: the same objects, in other frames
        direct, governed = ([without_frames(each) for each in seen] for seen in (direct, governed))
    assert governed == direct


def without_frames(seen: Mapping[str, Any]) -> dict[str, Any]:
    answer = {name: value for name, value in seen.get("answer", {}).items() if name != "events"}
    return {**{name: value for name, value in seen.items() if name != "wire"}, "answer": answer}


@clients
@pytest.mark.parametrize("exchange", ["tools", "tools-stream"])
def test_after_a_steer_the_second_call_arrives_and_nothing_of_the_refused_one(
    tmp_path: Path, script: str, protocol: str, exchange: str
) -> None:
    answer = SPOKEN[protocol].answer
    with (
        provider(protocol, answer(WIPE), answer(LIST)) as mock,
        served(tmp_path, protocol, mock, STEER) as lexgate,
    ):
        (seen,) = seen_by(script, protocol, lexgate.origin, exchange)
        assert len(mock.requests) == 2
        assert "Do not delete" in mock.requests[1].body.decode()
    assert seen["answer"]["calls"] == [["bash", {"command": "ls -l"}]]
    (wire,) = seen["wire"]
    assert "rm" not in str(seen["answer"]["calls"])
    assert "Do not delete" not in wire


@clients
def test_a_block_is_the_error_class_of_its_status(tmp_path: Path, script: str, protocol: str) -> None:
    with provider(protocol) as mock, served(tmp_path, protocol, mock, BLOCK) as lexgate:
        (seen,) = seen_by(script, protocol, lexgate.origin, "forbidden")
        assert mock.requests == []
    error = seen["error"]
    assert error["status"] == 400
    assert "No bananas." in error["message"]
