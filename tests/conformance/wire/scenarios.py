"""The rules of the matrix: one policy each, what is asked and answered under it, and what must be seen of it everywhere."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from .backends import Told, Turn
from .clients import Result, Seen

MESSAGE: Final = "Do not delete; list instead."
_NOT_EXECUTED: Final = "not executed, because another call of this turn was refused; call again if still needed"
WIPE: Final = ("call_wipe", "bash", '{"command":"rm -rf /"}')
LIST: Final = ("call_list", "bash", '{"command":"ls"}')
LOOK: Final = ("call_look", "read", '{"path":"a.txt"}')

_CODENAMES: Final = r"patterns: {codenames: {bluefalcon: '(?i)\bbluefalcon\b'}}"


def policy_of(*rules: str, sets: str = "") -> str:
    return "\n".join(["version: 1", "policy: matrix", sets, "rules:", *(f"  - {rule}" for rule in rules)])


def on_wipe(action: str) -> str:
    when = "any(tool.shell.commands[?program == ''rm''])"
    return policy_of(f"{{id: no-wipe, phase: tool_call, match: {{tool: bash}}, when: '{when}', actions: [{action}]}}")


class Cell(msgspec.Struct, frozen=True):
    """One client in front of one backend, streamed or not, with what happens between them."""

    client: str
    backend: str
    stream: bool
    ask: Callable[..., Seen]
    """The words, answers and results of a conversation, and whether the model thinks: what the client sees."""

    script: Callable[..., None]
    sent: Callable[[], list[Any]]
    """The bodies that the backend got in this cell."""

    told: Callable[[Any], list[Told]]
    offered: Callable[[Any], list[str]]
    native: bool
    """The backend is asked in the client's own protocol."""

    @property
    def signs(self) -> bool:
        """The backend signs or encrypts what was thought, and wants it back."""
        return self.backend == "anthropic" or self.backend == self.client == "openai-responses"


class Scenario(msgspec.Struct, frozen=True):
    """A rule. `decisions` are phase, verdict and rule of what it decided, the same in every cell."""

    title: str
    policy: str
    see: Callable[[Cell], None]
    decisions: frozenset[tuple[str, str, str]] = frozenset()


def _decided(*said: str) -> frozenset[tuple[str, str, str]]:
    return frozenset((phase, verdict, f"matrix/{rule}") for phase, verdict, rule in (each.split() for each in said))


def _kinds(told: Iterable[Told], *kinds: str) -> list[Told]:
    return [each for each in told if each[0] in kinds]


# --- what must be seen -----------------------------------------------------------------------------------------------


def _nothing_changes(cell: Cell) -> None:
    cell.script(Turn("I look.", "Hm.", (LIST, LOOK)), Turn("Done."))
    first = cell.ask("Tidy.", thinks=True)
    assert (first.text, first.finish, first.usage) == ("I look.", "tool_calls", (9, 12))
    assert [(call.name, call.args) for call in first.calls] == [
        ("bash", {"command": "ls"}),
        ("read", {"path": "a.txt"}),
    ]
    assert first.thought == "Hm."
    assert len({call.id for call in first.calls}) == 2
    results = [Result(call, text) for call, text in zip(first.calls, ("a.txt", "A file."), strict=True)]
    second = cell.ask("Tidy.", first, *results, thinks=True)
    assert (second.text, second.calls, second.finish) == ("Done.", (), "stop")
    told = cell.told(cell.sent()[1])
    assert _kinds(told, "system", "user", "said") == [("system", "Be brief."), ("user", "Tidy."), ("said", "I look.")]
    assert [each[2:] for each in _kinds(told, "call")] == [("bash", '{"command":"ls"}'), ("read", '{"path":"a.txt"}')]
    assert [each[2] for each in _kinds(told, "result")] == ["a.txt", "A file."]
    assert [each[1] for each in _kinds(told, "result")] == [each[1] for each in _kinds(told, "call")]
    assert cell.offered(cell.sent()[0]) == ["bash", "read"]


def _redacts_in(cell: Cell) -> None:
    cell.script(Turn("I look.", calls=(LIST,)), Turn("Done."))
    first = cell.ask("Is Bluefalcon it?")
    second = cell.ask("Is Bluefalcon it?", first, Result(first.calls[0], "a bluefalcon, b"))
    assert second.text == "Done."
    for body in cell.sent():
        assert "bluefalcon" not in msgspec.json.encode(body).decode().lower()
    told = cell.told(cell.sent()[1])
    assert _kinds(told, "user") == [("user", "Is [name] it?")]
    assert [each[2] for each in _kinds(told, "result")] == ["a [name], b"]


def _redacts_out(cell: Cell) -> None:
    cell.script(Turn("It is bluefalcon indeed.", piece=3))
    seen = cell.ask("Is it?")
    assert (seen.text, seen.finish, seen.usage) == ("It is [name] indeed.", "stop", (9, 12))


def _blocks(cell: Cell) -> None:
    seen = cell.ask("Is it?")
    assert seen.status == 400
    assert "Closed today." in seen.message
    assert cell.sent() == []


def _responds(cell: Cell) -> None:
    seen = cell.ask("Is it?")
    assert (seen.status, seen.text, seen.calls, seen.finish) == (200, "Closed today.", (), "stop")
    assert cell.sent() == []


def _steers(cell: Cell) -> None:
    cell.script(Turn("I clean up.", calls=(LOOK, WIPE)), Turn("Listing.", calls=(LIST,)))
    seen = cell.ask("Tidy.")
    assert (seen.text, seen.finish) == ("I clean up.\n\nListing.", "tool_calls")
    assert [(call.name, call.args) for call in seen.calls] == [("bash", {"command": "ls"})]
    assert seen.usage[0] == 9
    assert _kinds(cell.told(cell.sent()[1]), "said", "call", "result") == [
        ("said", "I clean up."),
        ("call", *LOOK),
        ("call", *WIPE),
        ("result", LOOK[0], _NOT_EXECUTED),
        ("result", WIPE[0], MESSAGE),
    ], "with the ids that the backend gave"


def _steers_and_goes_on(cell: Cell) -> None:
    cell.script(
        Turn("I clean up.", "Wipe it.", (WIPE,)), Turn("Listing.", "List it.", (LIST,)), Turn("Done.", "So be it.")
    )
    first = cell.ask("Tidy.", thinks=True)
    assert (first.text, first.finish) == ("I clean up.\n\nListing.", "tool_calls")
    second = cell.ask("Tidy.", first, Result(first.calls[0], "a.txt"), thinks=True)
    assert (second.text, second.finish) == ("Done.", "stop")
    steered, later = (cell.told(body) for body in cell.sent()[1:])
    proofs = [each[1] for each in _kinds(steered, "thought")]
    assert len(proofs) == (1 if cell.signs or cell.backend == "gemini" else 0)
    assert later[: len(steered)] == steered, "what the backend saw it sees again, with ids and signatures"
    rest = later[len(steered) :]
    assert _kinds(rest, "said", "call", "result") == [
        ("said", "Listing."),
        ("call", *LIST),
        ("result", LIST[0], "a.txt"),
    ]
    if cell.native and cell.signs:
        assert len(_kinds(rest, "thought")) == 1, "the client's own thoughts go back as they came"


def _rewrites(cell: Cell) -> None:
    cell.script(Turn("Now.", calls=(LOOK, WIPE)))
    seen = cell.ask("Tidy.")
    assert [(call.name, call.args) for call in seen.calls] == [("read", {"path": "a.txt"}), ("bash", {"command": "ls"})]
    assert (seen.text, seen.finish) == ("Now.", "tool_calls")


def _drops(cell: Cell) -> None:
    cell.script(Turn("Now.", calls=(WIPE, LOOK)), Turn("Now.", calls=(WIPE,)))
    some = cell.ask("Tidy.")
    assert [(call.name, call.args) for call in some.calls] == [("read", {"path": "a.txt"})]
    assert (some.text, some.finish) == ("Now.", "tool_calls")
    none = cell.ask("Tidy.")
    assert (none.text, none.calls, none.finish) == ("Now.", (), "stop")


def _does_not_offer(cell: Cell) -> None:
    cell.script(Turn("So be it."))
    assert cell.ask("Tidy.").text == "So be it."
    assert cell.offered(cell.sent()[0]) == ["read"]


SCENARIOS: Final[dict[str, Scenario]] = {
    "no rule": Scenario("nothing is changed, in two turns with thinking and tools", "", _nothing_changes),
    "redact in": Scenario(
        "the provider gets neither prompt nor result with the word",
        policy_of(
            "{id: in, phase: request, actions: [{redact: {patterns: codenames, mask: '[name]'}}]}",
            "{id: results, phase: tool_result, actions: [{redact: {patterns: codenames, mask: '[name]'}}]}",
            sets=_CODENAMES,
        ),
        _redacts_in,
        _decided("request changed in", "tool_result changed results"),
    ),
    "redact out": Scenario(
        "the client does not get the word, which came in pieces",
        policy_of(
            "{id: out, phase: text, actions: [{redact: {patterns: codenames, mask: '[name]'}}]}", sets=_CODENAMES
        ),
        _redacts_out,
        _decided("text changed out"),
    ),
    "block": Scenario(
        "the SDK raises its exception for 400, nothing is sent",
        policy_of("{id: closed, phase: request, actions: [{block: {message: Closed today.}}]}"),
        _blocks,
        _decided("request block closed"),
    ),
    "respond": Scenario(
        "the answer is the rule's, nothing is sent",
        policy_of("{id: closed, phase: request, actions: [{respond: {message: Closed today.}}]}"),
        _responds,
        _decided("request respond closed"),
    ),
    "steer": Scenario(
        "the model is asked again, the client sees the second call alone",
        on_wipe(f"{{steer: {{message: '{MESSAGE}'}}}}"),
        _steers,
        _decided("tool_call steer no-wipe"),
    ),
    "steer, second turn": Scenario(
        "with thinking on, the provider gets its refused turn back with ids and signatures",
        on_wipe(f"{{steer: {{message: '{MESSAGE}'}}}}"),
        _steers_and_goes_on,
        _decided("tool_call steer no-wipe"),
    ),
    "rewrite arguments": Scenario(
        "the client gets the rule's arguments in the place of the model's",
        on_wipe("{rewrite_args: {args: {command: ls}}}"),
        _rewrites,
        _decided("tool_call changed no-wipe"),
    ),
    "drop call": Scenario(
        "the client gets the other call, and the end of a turn where none is left",
        on_wipe("{drop: {}}"),
        _drops,
        _decided("tool_call drop no-wipe"),
    ),
    "drop tool": Scenario(
        "the provider is not offered the tool",
        policy_of("{id: no-shell, phase: request, actions: [{drop_tools: {names: [bash]}}]}"),
        _does_not_offer,
        _decided("request changed no-shell"),
    ),
}
