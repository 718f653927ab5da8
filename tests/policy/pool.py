"""Random rules and random events out of small vocabularies, so that they often meet; for properties of the evaluator."""

from typing import Any

from hypothesis import strategies as st

from engine.model.events import FIELDS
from engine.model.phases import Phase
from engine.policy.match import allowed_keys

NAMES = ("bash", "Bash", "grep", "web_search", "wéb", "", "gpt-5", "GPT-5", "a", "ann", "openai")
WANTED = (*NAMES, "*", "b*", "*sh", "?rep", "*e*", "gpt-?", "w*b*", "**", "A*")
TEXTS = ("hello", "a secret", "blue falcon", "", "rm -rf /", "é b", "hello hello")
STEPS: tuple[tuple[frozenset[Phase], dict[str, Any]], ...] = (
    (frozenset(Phase), {"tag": "seen"}),
    (frozenset(Phase), {"count": {"key": "{{ caller.id }}"}}),
    (frozenset({Phase.REQUEST, Phase.TOOL_RESULT, Phase.TEXT, Phase.TOOL_CALL}), {"block": "{{ request.model }}"}),
    (frozenset({Phase.REQUEST, Phase.COMMAND}), {"respond": "hi"}),
    (frozenset({Phase.TOOL_CALL}), {"steer": {"message": "no", "attempts": 2, "then": "allow"}}),
    (frozenset({Phase.TOOL_CALL}), {"rewrite_args": {"args": {"command": "{{ tool.args.command }}", "x": None}}}),
    (frozenset({Phase.TOOL_CALL}), {"set": {"path": "tool.args.a.b", "value": "{{ tool.args }}"}}),
    (frozenset({Phase.TOOL_CALL}), {"unset": "tool.args.command"}),
    (frozenset({Phase.REQUEST, Phase.TOOL_RESULT, Phase.TEXT, Phase.TOOL_CALL}), {"redact": {"patterns": "words"}}),
    (
        frozenset({Phase.REQUEST, Phase.TOOL_RESULT, Phase.TEXT, Phase.TOOL_CALL}),
        {"replace": {"patterns": "words", "with": "<\\2\\1>", "first": True}},
    ),
    (frozenset({Phase.REQUEST}), {"replace": {"patterns": "words", "with": "gpt-5", "in": ["model"]}}),
    (frozenset({Phase.REQUEST}), {"set": {"path": "request.model", "value": "{{ caller.id }}"}}),
    (frozenset({Phase.REQUEST, Phase.ATTEMPT}), {"set": {"path": "request.params.a.b", "value": 1}}),
    (frozenset({Phase.REQUEST, Phase.ATTEMPT}), {"clamp": {"path": "request.params.n", "max": 5}}),
    (frozenset({Phase.REQUEST, Phase.ATTEMPT}), {"header": {"name": "x-t", "value": "{{ caller.id }}"}}),
    (frozenset({Phase.REQUEST}), {"inject": {"text": "{{ caller.id }}", "key": "k", "position": "start"}}),
    (frozenset({Phase.REQUEST}), {"inject": {"role": "user", "text": "more"}}),
    (frozenset({Phase.REQUEST}), {"drop_tools": ["b*"]}),
    (frozenset({Phase.REQUEST}), {"keep_tools": ["b*", "grep"]}),
    (frozenset({Phase.REQUEST}), {"drop_messages": "request.messages[?contains(text, 'secret')]"}),
    (frozenset({Phase.REQUEST}), {"drop_messages": "request.messages[:1]"}),
    (frozenset({Phase.ROUTE}), {"route": "a:m|b:"}),
    (frozenset(Phase), {"metric": {"name": "m", "labels": {"a": "team", "b": "tool", "c": "role", "d": "model"}}}),
    (frozenset(Phase), {"notify": {"url": "https://h.example.com/{{ caller.id }}", "body": ["{{ request.model }}"]}}),
)
WHENS = (
    "request.model == 'gpt-5'",
    "request.stream",
    "contains(caller.roles, 'a')",
    "length(request.messages) > `1`",
    "abs(request.params.n) > `1`",
    "random() < `0.5`",
    "request.params.a.b == `1`",
)
PATTERNS = {"words": {"secret": "secr(e)t", "blue": {"re2": "(?i)blue +falcon", "max_width": 30}, "e": "é"}}


def values() -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(WANTED), st.lists(st.sampled_from(WANTED), max_size=3), st.just({"$set": "some"}))


@st.composite
def matches(draw: st.DrawFn, phase: Phase, depth: int = 0) -> dict[str, Any]:
    """A `match` with keys that the phase has."""
    keys = draw(st.lists(st.sampled_from(allowed_keys(phase)), max_size=3, unique=True))
    found: dict[str, Any] = {}
    for key in keys:
        match key:
            case "stream":
                found[key] = draw(st.booleans())
            case "ip":
                found[key] = draw(st.sampled_from(["10.0.0.0/8", ["10.1.2.3", "::1"]]))
            case "status":
                found[key] = draw(st.sampled_from([429, "5xx", [500, "4xx"]]))
            case "pattern":
                found[key] = "words"
            case "keyword":
                found[key] = draw(st.sampled_from(["hello", ["secret", "é"], {"$set": "some"}]))
            case "not" if depth < 2:
                found[key] = draw(matches(phase, depth + 1))
            case "not":
                pass
            case _:
                found[key] = draw(values())
    return found


@st.composite
def rules(draw: st.DrawFn, phase: Phase, number: int, *, actions: bool = True) -> dict[str, Any]:
    """A rule that loads."""
    fitting = [step for phases, step in STEPS if phase in phases]
    steps = draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=3)) if actions else [{"tag": "seen"}]
    rule: dict[str, Any] = {"id": f"r{number}", "phase": phase.value, "actions": steps}
    if draw(st.booleans()):
        rule["match"] = draw(matches(phase))
    for key in ("when", "unless"):
        if draw(st.integers(0, 3)) == 0:
            rule[key] = draw(st.sampled_from(WHENS))
    if draw(st.integers(0, 3)) == 0:
        rule["mode"] = draw(st.sampled_from(["shadow", "off"]))
    if draw(st.integers(0, 3)) == 0:
        rule["priority"] = draw(st.integers(-2, 2))
    if draw(st.integers(0, 5)) == 0:
        rule["rollout"] = 50
    return rule


def policies(phase: Phase, *, actions: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """A policy of a few rules of one phase."""
    some = st.integers(1, 6).flatmap(
        lambda count: st.tuples(*(rules(phase, number, actions=actions) for number in range(count)))
    )
    return some.map(
        lambda listed: {
            "version": 1,
            "policy": "pool",
            "sets": {"some": ["grep", "hello", "g*"], "none": []},
            "patterns": PATTERNS,
            "rules": list(listed),
        }
    )


_PARTS = st.lists(
    st.fixed_dictionaries({"kind": st.sampled_from(["text", "image"]), "text": st.sampled_from(TEXTS)}), max_size=2
)
_ARGS = st.dictionaries(
    st.sampled_from(["command", "x", "parts", "text", "args", "a"]),
    st.recursive(
        st.one_of(st.sampled_from(TEXTS), st.integers(), st.none()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["text", "parts"]), inner)
        ),
        max_leaves=4,
    ),
    max_size=3,
)
_CALLS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["", "c1", "c2"]), "name": st.sampled_from(NAMES), "args": _ARGS, "text": st.just("{}")}
    ),
    max_size=2,
)
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "odd"]),
            "parts": _PARTS,
            "tool_calls": _CALLS,
            "tool_call_id": st.sampled_from(["", "c1", "c2"]),
        }
    ),
    max_size=4,
)
_SECTIONS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "caller": st.fixed_dictionaries(
        {
            "id": st.sampled_from(NAMES),
            "team": st.sampled_from([None, *NAMES]),
            "roles": st.lists(st.sampled_from(NAMES), max_size=2),
            "ip": st.sampled_from(["", "10.1.2.3", "::1", "x"]),
            "agent": st.sampled_from(NAMES),
        }
    ),
    "session": st.fixed_dictionaries({"labels": st.lists(st.sampled_from(NAMES), max_size=2)}),
    "request": st.fixed_dictionaries(
        {
            "model": st.sampled_from(NAMES),
            "stream": st.booleans(),
            "messages": _MESSAGES,
            "tool_names": st.lists(st.sampled_from(NAMES), max_size=3),
            "params": st.dictionaries(st.sampled_from(["n", "a"]), st.sampled_from([1, 9, 2.5, "x", None, True, {}])),
        }
    ),
    "command": st.fixed_dictionaries({"name": st.sampled_from(NAMES)}),
    "result": st.fixed_dictionaries({"tool": st.sampled_from(NAMES), "parts": _PARTS}),
    "route": st.fixed_dictionaries({"name": st.sampled_from(NAMES)}),
    "attempt": st.fixed_dictionaries({"backend": st.sampled_from(NAMES), "model": st.sampled_from(NAMES)}),
    "error": st.fixed_dictionaries({"status": st.sampled_from([0, 404, 429, 503])}),
    "text": st.fixed_dictionaries({"window": st.sampled_from(TEXTS), "sent": st.integers(0, 3)}),
    "tool": st.fixed_dictionaries({"name": st.sampled_from(NAMES), "args": _ARGS}),
    "response": st.fixed_dictionaries({"text": st.sampled_from(TEXTS), "tool_calls": _CALLS}),
}


def events(phase: Phase) -> st.SearchStrategy[dict[str, Any]]:
    """A partial event of a phase."""
    sections = {name: _SECTIONS[name] for name in FIELDS[phase] if name in _SECTIONS}
    return st.fixed_dictionaries({"phase": st.just(phase.value), **sections})
