"""OpenAI's client for Node notices nothing of the proxy, except where a rule acts."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.lexgate import Lexgate, frames_of
from tests.support.openai_mock import Call, OpenAIMock, Reply

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
PATIENCE = 60.0
EVERYTHING = ("whole", "stream", "tools", "tools-stream", "forbidden")
LIST = Call("bash", '{"command":"ls -l"}')
WIPE = Call("bash", '{"command":"rm -rf /"}')
STEER = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: "Do not delete; list instead."}}]
"""
BLOCK = """
version: 1
policy: words
rules:
  - id: no-bananas
    phase: request
    when: contains(request.last_user, 'banana')
    actions: [{block: {message: "No bananas.", code: fruit}}]
"""


def chat(base_url: str, *exchanges: str) -> list[dict[str, Any]]:
    """What `chat.mjs` printed. A machine without Node, or without the client, fails: nothing would have been tested."""
    node = shutil.which("node")
    assert node, "node is not installed"
    assert (HERE / "node_modules" / "openai").is_dir(), "the client is not installed: run `make test-clients`"
    done = subprocess.run(
        [node, HERE / "chat.mjs", base_url, *exchanges], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    printed: list[dict[str, Any]] = json.loads(done.stdout)
    return printed


def replies() -> list[Reply]:
    return [
        Reply(text="Hello, where are you?", usage=(9, 12, 4, 3)),
        Reply(text="Hello, where are you?", piece=3, usage=(9, 12, 4, 3)),
        Reply(text="I look.", calls=(LIST, LIST)),
        Reply(text="I look.", calls=(LIST, LIST), fragment=1, network=1),
        Reply(status=400, error="No bananas here."),
    ]


@pytest.mark.parametrize("policies", [(), (STEER, BLOCK.replace("banana", "plantain"))], ids=["no rules", "idle rules"])
def test_without_a_rule_that_acts_the_client_sees_what_it_sees_without_the_proxy(
    tmp_path: Path, policies: tuple[str, ...]
) -> None:
    with OpenAIMock(*replies()) as provider:
        direct = chat(provider.base_url, *EVERYTHING)
    with OpenAIMock(*replies()) as provider, Lexgate(tmp_path, *policies, provider=provider) as lexgate:
        governed = chat(lexgate.base_url, *EVERYTHING)
    assert [each["exchange"] for each in direct] == list(EVERYTHING)
    assert [each["answer"]["choices"][0]["finish_reason"] for each in (direct[0], direct[2])] == ["stop", "tool_calls"]
    assert len(direct[3]["answer"]["chunks"]) > 30
    assert direct[4]["error"]["class"] == "BadRequestError"
    if policies:  # a stream in which calls are judged is written anew: the same objects, in other frames
        direct, governed = ([without_frames(each) for each in seen] for seen in (direct, governed))
    assert governed == direct


def without_frames(seen: dict[str, Any]) -> dict[str, Any]:
    answer = {name: value for name, value in seen.get("answer", {}).items() if name != "chunks"}
    return {**{name: value for name, value in seen.items() if name != "wire"}, "answer": answer}


def arguments_on(wire: str) -> str:
    """The arguments of all calls of a stream, put together."""
    deltas = [choice["delta"] for frame in frames_of(wire.encode())[:-1] for choice in frame["choices"]]
    return "".join(call["function"].get("arguments", "") for delta in deltas for call in delta.get("tool_calls", ()))


@pytest.mark.parametrize("exchange", ["tools", "tools-stream"])
def test_after_a_steer_the_second_answer_arrives_and_no_byte_of_the_refused_call(tmp_path: Path, exchange: str) -> None:
    script = (Reply(calls=(WIPE,), fragment=1, network=1), Reply(text="Listing.", calls=(LIST,), fragment=1))
    with OpenAIMock(*script) as provider, Lexgate(tmp_path, STEER, provider=provider) as lexgate:
        (seen,) = chat(lexgate.base_url, exchange)
        assert len(provider.requests) == 2
    answer = seen["answer"].get("final", seen["answer"])
    message = answer["choices"][0]["message"]
    assert message["content"] == "Listing."
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == [LIST.arguments]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    (wire,) = seen["wire"]
    for trace in ("rm", "-rf", "call_1_0", "Do not delete"):
        assert trace not in wire
    if "chunks" in seen["answer"]:  # where arguments come in single characters, no trace would be found in one piece
        assert arguments_on(wire) == LIST.arguments


def test_a_block_is_the_error_class_of_its_status(tmp_path: Path) -> None:
    with OpenAIMock() as provider, Lexgate(tmp_path, BLOCK, provider=provider) as lexgate:
        (seen,) = chat(lexgate.base_url, "forbidden")
        assert provider.requests == []
    error = seen["error"]
    assert (error["class"], error["status"], error["code"]) == ("BadRequestError", 400, "fruit")
    assert error["message"] == "400 No bananas."
