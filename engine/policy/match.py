"""The `match` keys: which field of an event each one reads, and how a rule's keys become one test."""

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import re2

from engine.actions.places import strings, texts
from engine.language.globs import any_glob_matcher
from engine.language.patterns import PatternSet
from engine.model.effects import Path
from engine.model.phases import Phase

Event = Mapping[str, Any]
Test = Callable[[Event], bool]

_EVERYWHERE: Final = tuple(Phase)
_BEFORE_ATTEMPT: Final = (Phase.COMMAND, Phase.REQUEST, Phase.TOOL_RESULT, Phase.ROUTE)
_FROM_ATTEMPT: Final = tuple(phase for phase in Phase if phase not in _BEFORE_ATTEMPT)


class Key(msgspec.Struct, frozen=True):
    """One `match` key: the field that it reads in each phase that has it. A list field matches with any element."""

    name: str
    paths: Mapping[Phase, Path]
    indexed: bool = True


def _at(path: tuple[str, ...], phases: Sequence[Phase] = _EVERYWHERE) -> Mapping[Phase, Path]:
    return dict.fromkeys(phases, path)


KEYS: Final[Mapping[str, Key]] = {
    key.name: key
    for key in (
        Key("command", _at(("command", "name"), [Phase.COMMAND])),
        Key(
            "tool",
            {
                Phase.REQUEST: ("request", "tool_names"),
                Phase.TOOL_RESULT: ("result", "tool"),
                Phase.TOOL_CALL: ("tool", "name"),
                Phase.RESPONSE: ("response", "tool_calls"),
            },
        ),
        Key("model", {**_at(("request", "model"), _BEFORE_ATTEMPT), **_at(("attempt", "model"), _FROM_ATTEMPT)}),
        Key("backend", _at(("attempt", "backend"), _FROM_ATTEMPT)),
        Key("route", _at(("route", "name"), _FROM_ATTEMPT)),
        Key("caller", _at(("caller", "id"))),
        Key("team", _at(("caller", "team"))),
        Key("key", _at(("caller", "key"))),
        Key("role", _at(("caller", "roles"))),
        Key("agent", _at(("caller", "agent"))),
        Key("label", _at(("session", "labels"))),
        Key("protocol", _at(("request", "protocol"))),
        Key("stream", _at(("request", "stream")), indexed=False),
        Key("ip", _at(("caller", "ip")), indexed=False),
        Key("status", _at(("error", "status"), [Phase.ERROR]), indexed=False),
    )
}
"""In the order of selectivity: a rule is indexed under the first of its keys that can be."""

TEXT_FIELDS: Final[Mapping[Phase, frozenset[Path]]] = {
    Phase.REQUEST: frozenset({("request", "messages")}),
    Phase.TOOL_RESULT: frozenset({("result", "parts")}),
    Phase.TEXT: frozenset({("text", "window")}),
    Phase.TOOL_CALL: frozenset({("tool", "args"), ("tool", "text"), ("tool", "shell")}),
    Phase.RESPONSE: frozenset({("response", "text")}),
}
"""What `keyword` and `pattern` read: the phase's text."""

WITHOUT_CASE: Final = frozenset({"model", "tool", "command"})


def phase_texts(phase: Phase, event: Event) -> Iterator[str]:
    """The phase's text: content without tool results, one result, the window, a call decoded and raw, the answer."""
    match phase:
        case Phase.RESPONSE:
            yield event["response"]["text"]
        case Phase.TOOL_CALL:
            yield event["tool"]["text"]
            for _, text in strings(event["tool"]["args"], ()):
                yield text
            for command in (event["tool"]["shell"] or {}).get("commands", ()):
                yield " ".join(command["argv"])
        case _:
            for _, text in texts(phase, event):
                yield text


def allowed_keys(phase: Phase) -> tuple[str, ...]:
    keys = [name for name, key in KEYS.items() if phase in key.paths]
    return (*keys, "keyword", "pattern", "not") if phase in TEXT_FIELDS else (*keys, "not")


def read(event: Event, path: Path) -> Any:
    value: Any = event
    for step in path:
        value = value[step]
    return value


def values_of(event: Event, path: Path) -> Sequence[str]:
    """The value or values of a field that `match` reads, as a sequence; null has none."""
    value = event[str(path[0])][path[1]]
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return [item["name"] for item in value] if value and isinstance(value[0], dict) else value
    return ()


def name_test(path: Path, wanted: Sequence[str], *, ignore_case: bool) -> Test:
    """Any value of the field is one of the names or fits one of the globs."""
    fits = any_glob_matcher(wanted, ignore_case=ignore_case)
    section, field = str(path[0]), path[1]

    def test(event: Event) -> bool:
        value = event[section][field]
        if isinstance(value, str):
            return fits(value)
        return any(fits(item) for item in values_of(event, path))

    return test


def ip_test(networks: Sequence[str]) -> Test:
    """The caller's address lies in one of the networks; an address that is none lies nowhere."""
    nets = [ipaddress.ip_network(network, strict=False) for network in networks]

    @functools.lru_cache(4096)
    def inside(text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in net for net in nets if net.version == address.version)

    return lambda event: inside(event["caller"]["ip"])


STATUS: Final = re.compile("0|[1-5]xx|[1-5][0-9][0-9]")
"""A status, a class of statuses, or 0 where the upstream gave none."""


def status_test(wanted: Sequence[int | str]) -> Test:
    """`429`, or a class of statuses: `5xx`."""
    exact = {int(each) for each in wanted if str(each).isdigit()}
    classes = {int(str(each)[0]) for each in wanted if re.fullmatch("[1-5]xx", str(each))}

    def test(event: Event) -> bool:
        status = event["error"]["status"]
        return status in exact or status // 100 in classes

    return test


def keyword_test(phase: Phase, words: Sequence[str]) -> Test:
    """One of the words stands in the phase's text, whole and without case."""
    either = "|".join(re2.escape(word) for word in words if word)
    if not either:
        return lambda _event: False
    found = re2.compile(rf"(?i)(?:^|[^\pL\pN_])(?:{either})(?:$|[^\pL\pN_])")
    return lambda event: any(found.search(text) is not None for text in phase_texts(phase, event))


def pattern_test(phase: Phase, sets: Sequence[PatternSet]) -> Test:
    return lambda event: any(each.matches(text) for text in phase_texts(phase, event) for each in sets)


def stream_test(wanted: bool) -> Test:
    return lambda event: event["request"]["stream"] is wanted


def all_of(tests: Sequence[Test]) -> Test | None:
    """One test of several; None where there is nothing to test."""
    match tests:
        case []:
            return None
        case [single]:
            return single
        case [one, other]:
            return lambda event: one(event) and other(event)
        case _:
            return lambda event: all(test(event) for test in tests)
