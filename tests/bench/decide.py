"""What a decision costs: by the number of rules that an event could concern, and of those that it does not.

Run as `python -m tests.bench.decide`; `measure()` gives the same rows to other programs.
"""

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from engine.model.phases import Phase
from engine.policy.compile import PolicySource, compile_policies
from engine.policy.given import complete_event
from engine.policy.ruleset import RuleSet

SIZES: Final = (10, 100, 1_000, 10_000)


class Row(msgspec.Struct, frozen=True):
    """One measurement: median and best of a decision, in microseconds, and how many rules had an outcome."""

    name: str
    rules: int
    median_us: float
    best_us: float
    outcomes: int


def _set(rules: Iterator[dict[str, Any]]) -> RuleSet:
    text = msgspec.json.encode({"version": 1, "policy": "bench", "rules": list(rules)}).decode()
    compiled = compile_policies([PolicySource("bench.yaml", text)])
    assert compiled.ruleset is not None, compiled.diagnostics[:3]
    return compiled.ruleset


def _rule(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"r{number}", "phase": "tool_call", "actions": [{"steer": {"message": "no"}}], **more}


def indexed(count: int) -> RuleSet:
    """Rules that wait for a tool each, half of them by a glob; three concern the event."""
    when = "any(tool.shell.commands[?program == 'git' && contains(flags, 'force')])"

    def rules() -> Iterator[dict[str, Any]]:
        for number in range(count - 3):
            tool = f"tool_{number}" if number % 2 else f"tool_{number}_*"
            yield _rule(number, match={"tool": tool}, when=when)
        for number in range(count - 3, count):
            yield _rule(number, match={"tool": ["bash", "*shell*"]}, when=when)

    return _set(rules())


def unindexed(count: int) -> RuleSet:
    """Rules that every event of the phase could concern, none of which match."""
    return _set(_rule(number, when=f"request.params.n == `{number}`") for number in range(count))


def candidates(count: int) -> RuleSet:
    """Rules that all match, and so are all recorded with their reasons."""
    return _set(
        _rule(number, match={"tool": "bash"}, when="request.stream", actions=[{"tag": "seen"}])
        for number in range(count)
    )


def event(size: int = 28_000) -> dict[str, Any]:
    """A tool call of a conversation of about so many bytes."""
    messages = [
        {"role": role, "text": f"{number}: " + "an agent talks about its work. " * 22}
        for number in range(size // 700)
        for role in (("user", "assistant")[number % 2],)
    ]
    return complete_event(
        {
            "phase": "tool_call",
            "tool": {"name": "bash", "args": {"command": "git push origin main && make test"}},
            "request": {"model": "gpt-5", "stream": True, "messages": messages, "params": {"temperature": 0.2}},
        }
    )


def _timed(name: str, rules: RuleSet, document: dict[str, Any], repeats: int) -> Row:
    decide: Callable[..., Any] = rules.decide
    for _ in range(5):
        decided = decide(Phase.TOOL_CALL, document)
    taken = []
    gc.disable()
    try:
        for _ in range(repeats):
            began = time.perf_counter_ns()
            decide(Phase.TOOL_CALL, document)
            taken.append(time.perf_counter_ns() - began)
    finally:
        gc.enable()
    taken.sort()
    return Row(name, len(rules.rules), taken[len(taken) // 2] / 1000, taken[0] / 1000, len(decided.outcomes))


def measure(sizes: tuple[int, ...] = SIZES, repeats: int = 300) -> list[Row]:
    """Every row of the report."""
    document = event()
    rows = [_timed("indexed", indexed(size), document, repeats) for size in sizes]
    rows.append(_timed("un-indexed", unindexed(300), document, repeats))
    rows.append(_timed("matching", candidates(100), document, repeats))
    return rows


def report(rows: list[Row]) -> str:
    """The rows as a table, and how much a hundred times as many rules cost."""
    lines = [f"{'rules':>20} {'median µs':>10} {'best µs':>9} {'outcomes':>9} {'ns a rule':>10}"]
    for row in rows:
        each = row.best_us * 1000 / row.rules
        lines.append(
            f"{row.rules:>9} {row.name:<10} {row.median_us:>10.1f} {row.best_us:>9.1f} {row.outcomes:>9} {each:>10.0f}"
        )
    lines.append(f"10,000 indexed rules take {growth(rows):.2f} times what 100 take")
    return "\n".join(lines)


def growth(rows: list[Row]) -> float:
    """What 10,000 indexed rules take, in times of what 100 take."""
    by_size = {row.rules: row.best_us for row in rows if row.name == "indexed"}
    return by_size[10_000] / by_size[100]


if __name__ == "__main__":
    print(report(measure()))
