"""What the process counts of real exchanges."""

from collections.abc import Callable
from typing import Any

import httpx2

from tests.e2e.talk import asking
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import Call, OpenAIMock, Reply

POLICY = """\
version: 1
policy: p
rules:
  - {id: steered, phase: tool_call, match: {tool: bash}, when: "tool.args.command == 'no'", actions: [steer: "not this"]}
  - {id: written, phase: tool_call, match: {tool: bash}, when: "tool.args.command == 'old'",
     actions: [rewrite_args: {args: {command: new}}]}
"""


def counted(proxy: Lexgate, name: str) -> dict[str, float]:
    """The samples of one metric, by their labels as written."""
    text = httpx2.get(f"{proxy.origin}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith(name + "{")]
    return {line[len(name) + 1 : line.index("}")]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_calls_streams_and_waits_are_counted(provider: OpenAIMock, serve: Callable[..., Lexgate]) -> None:
    """Every fate of a call, the end of a stream, and the time to the first byte."""
    proxy = serve(POLICY)
    provider.script(
        Reply(calls=(Call("bash", '{"command":"no"}'),)),
        Reply(calls=(Call("bash", '{"command":"old"}'),)),
        Reply(calls=(Call("bash", '{"command":"fine"}'),)),
    )
    tools: list[dict[str, Any]] = [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]
    for _ in range(2):
        answer = proxy.post(asking("go", stream=True, tools=tools))
        assert answer.status == 200
    calls = counted(proxy, "lexgate_tool_calls_total")
    assert calls == {'fate="steered"': 1, 'fate="rewritten"': 1, 'fate="held"': 1}
    assert counted(proxy, "lexgate_streams_total") == {'end="complete",protocol="openai-chat"': 2}
    waits = counted(proxy, "lexgate_first_byte_seconds_count")
    assert sum(waits.values()) == 3
