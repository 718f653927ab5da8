"""A client that goes away takes everything with it: the upstream's work, the slot, the connection."""

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.lexgate import PATIENCE, Lexgate
from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import asking
from .test_limits import ONE_AT_A_TIME, TOKENS

READING = """
version: 1
policy: reading
rules:
  - id: words
    phase: text
    actions: [{redact: {patterns: {word: 'never'}}}]
"""
CALLS = """
version: 1
policy: calls
rules: [{id: no-wipe, phase: tool_call, match: {tool: bash}, when: "tool.args.command == 'rm'", actions: [{steer: No.}]}]
"""


def leave_before_an_answer(lexgate: Lexgate, provider: OpenAIMock, *, stream: bool) -> None:
    """A request whose client goes away while the upstream thinks."""
    gate = Gate()
    provider.script(Reply(text="Too late.", gate=gate))
    connection = http.client.HTTPConnection("127.0.0.1", lexgate.port, timeout=PATIENCE)
    body = json.dumps(asking(stream=stream)).encode()
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    gate.wait_until_reached()
    connection.close()
    provider.wait_for_disconnect()
    gate.open()


def leave_inside_a_stream(lexgate: Lexgate, provider: OpenAIMock, reply: Reply) -> None:
    assert reply.gate is not None
    provider.script(reply)
    with lexgate.open(asking(stream=True)) as asked:
        asked.until(b"One")
        reply.gate.wait_until_reached()
    provider.wait_for_disconnect()
    reply.gate.open()


def eventually(what: Callable[[], bool]) -> None:
    """Until something that was set off has happened."""
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def is_idle(lexgate: Lexgate) -> bool:
    clients: Any = lexgate.house.world.backends.clients
    return lexgate.house.world.metrics.in_flight == 0 and sum(each.in_flight for each in clients) == 0


@pytest.mark.parametrize("policy", ["", READING, ONE_AT_A_TIME, TOKENS], ids=["unread", "read", "slot", "tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_leaving_before_the_first_byte_cancels_the_upstream(
    serve: Serve, provider: OpenAIMock, policy: str, stream: bool
) -> None:
    lexgate = serve(*filter(None, [policy]))
    leave_before_an_answer(lexgate, provider, stream=stream)
    eventually(lambda: is_idle(lexgate))
    provider.script(Reply(text="Next."))
    assert lexgate.post(asking()).status == 200


@pytest.mark.parametrize("policy", ["", READING, ONE_AT_A_TIME, TOKENS], ids=["unread", "read", "slot", "tokens"])
def test_leaving_inside_a_stream_cancels_the_upstream(serve: Serve, provider: OpenAIMock, policy: str) -> None:
    lexgate = serve(*filter(None, [policy]))
    leave_inside_a_stream(lexgate, provider, Reply(text="One two three four.", gate=Gate(), gate_before=4))
    eventually(lambda: is_idle(lexgate))
    provider.script(Reply(text="Next."))
    assert lexgate.post(asking()).status == 200


def tokens_used(lexgate: Lexgate) -> float:
    """What the process counted of input and output."""
    lines = lexgate.run(_rendered(lexgate)).decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("lexgate_tokens_total"))


def _rendered(lexgate: Lexgate) -> Any:
    async def render() -> bytes:
        return lexgate.house.world.metrics.render()

    return render


@pytest.mark.parametrize("policy", ["", CALLS, TOKENS], ids=["unread", "read for its calls", "tokens"])
def test_what_was_used_before_the_client_left_is_counted(serve: Serve, provider: OpenAIMock, policy: str) -> None:
    lexgate = serve(*filter(None, [policy]))
    text = "One " + "word " * 200
    leave_inside_a_stream(lexgate, provider, Reply(text=text, gate=Gate(), gate_before=180))
    eventually(lambda: is_idle(lexgate) and tokens_used(lexgate) > 150)


def test_leaving_early_again_and_again_is_not_free(serve: Serve, provider: OpenAIMock) -> None:
    """A limit of tokens counts the input of a request that was sent, though nobody waited for its answer."""
    lexgate = serve(TOKENS.replace("limit: 8000", "limit: 11000"))
    question = asking("why? " * 1000, max_tokens=10)
    for _ in range(4):
        gate = Gate()
        provider.script(Reply(text="Too late.", gate=gate))
        connection = http.client.HTTPConnection("127.0.0.1", lexgate.port, timeout=PATIENCE)
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(question).encode(), {"content-type": "application/json"}
        )
        gate.wait_until_reached()
        connection.close()
        provider.wait_for_disconnect()
        gate.open()
        eventually(lambda: is_idle(lexgate))
    assert lexgate.post(question).status == 429


def test_200_clients_that_leave_leave_nothing_behind(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(READING)

    def tasks() -> int:
        async def count() -> int:
            return len(asyncio.all_tasks())

        return lexgate.run(count)

    provider.script(Reply(text="Warm."))
    lexgate.post(asking())
    before = tasks()
    for number in range(200):
        if number % 2:
            leave_before_an_answer(lexgate, provider, stream=number % 4 == 1)
        else:
            leave_inside_a_stream(lexgate, provider, Reply(text="One two three.", gate=Gate(), gate_before=3))
    eventually(lambda: is_idle(lexgate))
    eventually(lambda: tasks() <= before)
    provider.script(Reply(text="Still here."))
    assert lexgate.post(asking()).status == 200


def test_a_client_that_leaves_inside_its_body_is_forgotten(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve()
    with socket.create_connection(("127.0.0.1", lexgate.port), timeout=PATIENCE) as gone:
        gone.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        eventually(lambda: lexgate.house.world.metrics.in_flight == 1)
    eventually(lambda: lexgate.house.world.metrics.in_flight == 0)
    assert provider.requests == []
