"""What slips past guards elsewhere, on every protocol: pieces of a secret, calls that nobody offered, other callers."""

import json
from typing import Any

import pytest

from tests.support import anthropic_refusals, gemini_refusals
from tests.support.lexgate import Raw

from .backends import BACKENDS, Turn
from .clients import CLIENTS, SCHEMAS, Result
from .conftest import House
from .scenarios import LIST, LOOK, MESSAGE, WIPE, Cell, on_wipe, policy_of
from .test_matrix import MODES, cell_of

clients = pytest.mark.parametrize("client", CLIENTS)
backends = pytest.mark.parametrize("backend", BACKENDS)
modes = pytest.mark.parametrize("mode", MODES)

SECRET = "bluefalcon"
MASK = "{redact: {patterns: codenames, mask: '[name]'}}"
EVERYWHERE = policy_of(
    f"{{id: in, phase: request, actions: [{MASK}]}}",
    f"{{id: results, phase: tool_result, actions: [{MASK}]}}",
    f"{{id: out, phase: text, actions: [{MASK}]}}",
    f"{{id: calls, phase: tool_call, actions: [{MASK}]}}",
    sets=r"patterns: {codenames: {bluefalcon: 'bluefalcon'}}",
)


def posted(house: House, policy: str, client: str, backend: str, stream: bool) -> Raw:
    """The bytes of the answer to one question, in the client's protocol."""
    model = BACKENDS[backend].model
    path = CLIENTS[client].path
    named = [{"name": name, "description": "Does."} for name in SCHEMAS]
    match client:
        case "openai-chat":
            tools = [{"type": "function", "function": {**each, "parameters": SCHEMAS[each["name"]]}} for each in named]
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "Tidy."}], "tools": tools}
        case "openai-responses":
            body = {"input": "Tidy.", "tools": [{"type": "function", **each, "strict": False} for each in named]}
            body["tools"] = [{**tool, "parameters": SCHEMAS[tool["name"]]} for tool in body["tools"]]
        case "anthropic":
            body = {"max_tokens": 99, "messages": [{"role": "user", "content": "Tidy."}]}
            body["tools"] = [{**each, "input_schema": SCHEMAS[each["name"]]} for each in named]
        case _:
            declared = [{**each, "parametersJsonSchema": SCHEMAS[each["name"]]} for each in named]
            body = {"contents": [{"role": "user", "parts": [{"text": "Tidy."}]}]}
            body["tools"] = [{"functionDeclarations": declared}]
            path += model + (":streamGenerateContent?alt=sse" if stream else ":generateContent")
    if client != "gemini":
        body |= {"model": model, "stream": stream}
    raw = house(policy).post(body, path, {"anthropic-version": "2023-06-01"})
    assert raw.status == 200, raw.body
    return raw


def of(house: House, providers: dict[str, Any], policy: str, client: str, backend: str, mode: str) -> Cell:
    return cell_of(house(policy), providers[backend], client, backend, MODES[mode])


@modes
@backends
@clients
def test_a_secret_in_pieces_is_one_secret(
    house: House, providers: dict[str, Any], client: str, backend: str, mode: str
) -> None:
    """In text, in thoughts, in the arguments of a call and in its result. A signed thought is left out, or where it was
    streamed, has no signature that its provider would take for one: the mock refuses what it did not sign."""
    cell = of(house, providers, EVERYWHERE, client, backend, mode)
    call = ("call_secret", "bash", f'{{"command":"echo {SECRET}"}}')
    cell.script(Turn(f"It is {SECRET}!", f"Is it {SECRET}?", (call,), piece=2), Turn("Done."))
    first = cell.ask("Tidy.", thinks=True)
    assert (first.text, first.finish) == ("It is [name]!", "tool_calls")
    assert first.calls[0].args == {"command": "echo [name]"}
    assert first.thought in ("", "Is it [name]?")
    assert SECRET not in str(first.history)
    second = cell.ask("Tidy.", first, Result(first.calls[0], f"so it is {SECRET}"), thinks=False)
    assert second.text == "Done."
    assert SECRET not in json.dumps(cell.sent()[1])
    assert ("result", call[0], "so it is [name]") in cell.told(cell.sent()[1])


UNOFFERED = policy_of(
    "{id: unknown, phase: tool_call, match: {tool: secret_tool}, actions: [{steer: {message: No such tool.}}]}"
)


@modes
@backends
@clients
def test_a_call_that_was_not_offered_is_refused(
    house: House, providers: dict[str, Any], client: str, backend: str, mode: str
) -> None:
    cell = of(house, providers, UNOFFERED, client, backend, mode)
    cell.script(Turn("Hm.", calls=(("call_odd", "secret_tool", '{"key":"hush"}'),)), Turn("Fine.", calls=(LIST,)))
    seen = cell.ask("Tidy.")
    assert [call.name for call in seen.calls] == ["bash"]
    assert seen.text == "Hm.\n\nFine."


@backends
@clients
def test_no_byte_of_a_call_leaves_before_its_arguments_are_rewritten(
    house: House, providers: dict[str, Any], client: str, backend: str
) -> None:
    policy = on_wipe("{rewrite_args: {args: {command: ls}}}")
    BACKENDS[backend].script(providers[backend], Turn("Now.", calls=(WIPE,)))
    raw = posted(house, policy, client, backend, stream=True)
    assert b"rm -" not in raw.body
    assert b"rf" not in raw.body


@backends
@clients
def test_no_byte_of_a_refused_call_leaves(house: House, providers: dict[str, Any], client: str, backend: str) -> None:
    policy = on_wipe(f"{{steer: {{message: '{MESSAGE}'}}}}")
    BACKENDS[backend].script(providers[backend], Turn("Now.", calls=(LOOK, WIPE)), Turn("Fine."))
    raw = posted(house, policy, client, backend, stream=True)
    for trace in (b"-rf", b"call_wipe", b"call_look", b"a.txt", MESSAGE.encode()):
        assert trace not in raw.body


@pytest.mark.parametrize("later", BACKENDS)
@pytest.mark.parametrize("earlier", BACKENDS)
@clients
def test_another_provider_gets_the_refused_turn_without_what_the_first_one_signed(
    house: House, providers: dict[str, Any], client: str, earlier: str, later: str
) -> None:
    """Ids are known there by the same stand-ins, and the mocks refuse what another has signed."""
    if earlier == later:
        return
    policy = on_wipe(f"{{steer: {{message: '{MESSAGE}'}}}}")
    first_cell = of(house, providers, policy, client, earlier, "stream")
    first_cell.script(Turn("I clean up.", "Wipe it.", (WIPE,)), Turn("Listing.", "List it.", (LIST,)))
    first = first_cell.ask("Tidy.", thinks=True)
    cell = of(house, providers, policy, client, later, "stream")
    cell.script(Turn("Done."))
    second = cell.ask("Tidy.", first, Result(first.calls[0], "a.txt"), thinks=True)
    assert (second.text, second.message) == ("Done.", "")
    (body,) = cell.sent()
    told = cell.told(body)
    assert [each[0] for each in told if each[0] in ("said", "call", "result")] == ["said", "call", "result"] * 2
    assert "Wipe it." not in json.dumps(body), "a thought goes back to whoever thought it, and to nobody else"
    proofs = {anthropic_refusals.signature_of("Wipe it."), gemini_refusals.signature_of("bash")}
    assert not proofs & {each[1] for each in told if each[0] == "thought"}
