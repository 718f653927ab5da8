"""Yesterday's traffic under other rules: each recorded event decided anew, and what came out otherwise. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import msgspec

from engine.diagnostics import LexgateError
from engine.model.decision import Facts, OutcomeKind
from engine.model.phases import Phase
from engine.model.traffic import FORMAT, VERSION, Decided, Header, RecordedEvent, RecordedExchange, events_of
from engine.policy.ruleset import Event, RuleSet
from engine.policy.summary import summary
from engine.policy.trial import judge

NAMES: Final = 1_000
"""Callers, models and rules that are counted by name; those beyond are counted together, as `other`."""

EXCERPT: Final = 200
_PLACEHOLDER: Final = re.compile(r"\[([a-z0-9_-]{1,80}):[0-9a-f]{24}\]")


class NotTraffic(LexgateError):
    """What was to be replayed is no recording, or one of another version."""


class Change(StrEnum):
    """How a decision differs; the first that is true counts."""

    NEWLY_BLOCKED = "newly_blocked"
    NEWLY_ALLOWED = "newly_allowed"
    CHANGED_VERDICT = "changed_verdict"
    CHANGED_RULE = "changed_rule"
    CHANGED_PATCH = "changed_patch"
    CHANGED_ROUTE = "changed_route"


MEANINGS: Final[Mapping[Change, str]] = {
    Change.NEWLY_BLOCKED: "passed before, and is refused now",
    Change.NEWLY_ALLOWED: "was refused before, and passes now",
    Change.CHANGED_VERDICT: "is refused in another way",
    Change.CHANGED_RULE: "has the same verdict, by another rule",
    Change.CHANGED_PATCH: "passes with other changes",
    Change.CHANGED_ROUTE: "goes another way",
}


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One event that is decided otherwise. `excerpt` is the beginning of what it is about, as it was recorded."""

    change: Change
    rule: str
    exchange: str
    id: str
    at: str
    phase: Phase
    caller: str
    model: str
    excerpt: str
    before: Decided
    after: Decided


class Tally(msgspec.Struct):
    """How often one change was seen, and for whom."""

    count: int = 0
    rules: Counter[str] = msgspec.field(default_factory=Counter)
    callers: Counter[str] = msgspec.field(default_factory=Counter)
    models: Counter[str] = msgspec.field(default_factory=Counter)


class Replayed(msgspec.Struct):
    """What a replay found. It grows with the kinds of what was found, and not with the traffic."""

    exchanges: int = 0
    events: int = 0
    unknown: int = 0
    """Events whose decision rests on a counter, which replay does not have."""
    content: set[str] = msgspec.field(default_factory=set)
    """What the recordings keep of texts: `redacted`, `full`, `hash`."""
    changes: dict[Change, Tally] = msgspec.field(default_factory=lambda: {each: Tally() for each in Change})
    errors: Counter[str] = msgspec.field(default_factory=Counter)
    """Rules that could not be evaluated, by how often."""
    matched: Counter[str] = msgspec.field(default_factory=Counter)
    """Rules that matched, enforced or in shadow, by how often."""
    examples: list[Example] = msgspec.field(default_factory=list)

    @property
    def changed(self) -> int:
        return sum(each.count for each in self.changes.values())


class Replay:
    """Replays line by line. `old` None: the decisions that were recorded are what the new ones are held against.

    `each` is how many examples are kept of one change by one rule.
    """

    def __init__(self, new: RuleSet, old: RuleSet | None = None, each: int = 3) -> None:
        self.found = Replayed()
        self._new = new
        self._old = old
        self._each = each
        self._kept: Counter[tuple[Change, str]] = Counter()
        self._redacted = True

    def feed(self, line: bytes) -> int:
        """One line of a recording; answers how many events it held. Raises NotTraffic."""
        if line.startswith(b'{"format"'):
            header = _decoded(line, _HEADER)
            self._redacted = header.content != "full"
            self.found.content.add(header.content)
            return 0
        if not self.found.content:
            raise NotTraffic(f"a recording begins with a line of the format '{FORMAT}', version {VERSION}")
        exchange = _decoded(line, _EXCHANGE)
        self.found.exchanges += 1
        for recorded, event in events_of(exchange):
            self._one(exchange, recorded, event)
        self.found.events += len(exchange.events)
        return len(exchange.events)

    def _one(self, exchange: RecordedExchange, recorded: RecordedEvent, event: Event) -> None:
        facts = facts_of(recorded)
        after = self._decide(self._new, event, facts, counts=True)
        if self._old is None:
            before = recorded.decision
            if before.metered:
                self.found.unknown += 1
                return
            compares_patch = before.patch is not None and not self._redacted
        else:
            before = self._decide(self._old, event, facts)
            compares_patch = True
        found = difference(before, after, compares_patch)
        if found is not None:
            self._note(found, exchange, recorded, event, before, after)

    def _decide(self, rules: RuleSet, event: Event, facts: Facts, *, counts: bool = False) -> Decided:
        decision = judge(rules, event, facts)
        if counts and decision.outcomes:
            for each in decision.outcomes:
                if each.outcome is OutcomeKind.ERROR:
                    _count(self.found.errors, each.rule)
                elif each.outcome is OutcomeKind.MATCHED:
                    _count(self.found.matched, each.rule)
        return summary(decision)

    def _note(
        self,
        change: Change,
        exchange: RecordedExchange,
        recorded: RecordedEvent,
        event: Event,
        before: Decided,
        after: Decided,
    ) -> None:
        rule = _concerned(change, before, after)
        tally = self.found.changes[change]
        tally.count += 1
        _count(tally.rules, rule)
        _count(tally.callers, exchange.caller)
        _count(tally.models, exchange.model)
        if self._kept[change, rule] < self._each and len(self._kept) <= NAMES:
            self._kept[change, rule] += 1
            example = Example(
                change=change, rule=rule, exchange=exchange.exchange, id=recorded.id, at=exchange.at,
                phase=recorded.phase, caller=exchange.caller, model=exchange.model, excerpt=excerpt(event)[:EXCERPT],
                before=before, after=after,
            )  # fmt: skip
            self.found.examples.append(example)


def replay(lines: Iterable[bytes], new: RuleSet, old: RuleSet | None = None, each: int = 3) -> Replayed:
    """All lines of recordings, empty ones left out. Raises NotTraffic."""
    run = Replay(new, old, each)
    for line in lines:
        if line.strip():
            run.feed(line)
    return run.found


def facts_of(recorded: RecordedEvent) -> Facts:
    """The facts that an event was decided with. Placeholders are named by their value alone: their key is in no record."""
    said = recorded.facts
    if not said:
        return Facts(seed=recorded.seed, placeholder=stand_in)
    return Facts(
        seed=recorded.seed,
        fired={(each["rule"], each["key"]): each["times"] for each in said.get("fired", ())},
        steered=said.get("steered", {}),
        acted=frozenset(said.get("acted", ())),
        may_reask=said.get("may_reask", True),
        answers=said.get("answers", {}),
        placeholder=stand_in,
    )


def stand_in(name: str, value: str) -> str:
    """A placeholder for a value, the same on every replay."""
    return f"[{name}:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}]"


def difference(before: Decided, after: Decided, compares_patch: bool = True) -> Change | None:
    """How two decisions of one event differ; None where they do not."""
    if before.verdict != after.verdict:
        if before.verdict == "allow":
            return Change.NEWLY_BLOCKED
        return Change.NEWLY_ALLOWED if after.verdict == "allow" else Change.CHANGED_VERDICT
    if before.by != after.by:
        return Change.CHANGED_RULE
    if compares_patch and before.patch != after.patch and _plain(before.patch) != _plain(after.patch):
        return Change.CHANGED_PATCH
    return Change.CHANGED_ROUTE if before.route != after.route else None


def excerpt(event: Event) -> str:
    """What an event is about, in a line: the call, the result, the text, or the newest message of the user."""
    match event["phase"]:
        case Phase.TOOL_CALL:
            said = f"{event['tool']['name']} {event['tool']['text']}"
        case Phase.TOOL_RESULT:
            said = f"{event['result']['tool']}: {event['result']['text']}"
        case Phase.TEXT:
            said = event["text"]["window"]
        case Phase.RESPONSE | Phase.DONE:
            said = event["response"]["text"]
        case Phase.ERROR:
            said = f"{event['error']['status']} {event['error']['message']}"
        case Phase.COMMAND:
            said = event["command"]["name"]
        case _:
            said = event["request"]["last_user"]
    return " ".join(said[: 4 * EXCERPT].split())


def _concerned(change: Change, before: Decided, after: Decided) -> str:
    """The rule that the change is put down to."""
    match change:
        case Change.NEWLY_ALLOWED:
            return before.by
        case Change.CHANGED_PATCH:
            return next(iter(sorted(_patched_otherwise(before, after))), "")
        case Change.CHANGED_ROUTE:
            return next(
                (rule for rule in (*after.rules, *before.rules) if (rule in after.rules) != (rule in before.rules)), ""
            )
        case _:
            return after.by


def _patched_otherwise(before: Decided, after: Decided) -> Iterator[str]:
    old, new = _plain(before.patch), _plain(after.patch)
    return (rule for rule in {*old, *new} if old.get(rule) != new.get(rule))


def _plain(patch: Mapping[str, list[dict[str, Any]]] | None) -> dict[str, Any]:
    """A patch without the parts of placeholders that differ from session to session."""
    return {
        rule: [{name: _without_keys(value) for name, value in op.items()} for op in ops]
        for rule, ops in (patch or {}).items()
    }


def _without_keys(value: Any) -> Any:
    match value:
        case str():
            return _PLACEHOLDER.sub(r"[\1]", value)
        case dict():
            return {name: _without_keys(each) for name, each in value.items()}
        case list():
            return [_without_keys(each) for each in value]
        case _:
            return value


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < NAMES else "other"] += 1


_HEADER: Final = msgspec.json.Decoder(Header)
_EXCHANGE: Final = msgspec.json.Decoder(RecordedExchange)


def _decoded(line: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise NotTraffic(f"a line is none of a recording of version {VERSION}: {wrong}") from wrong
