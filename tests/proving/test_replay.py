"""Recorded traffic under other rules, and what is said of it."""

from typing import Any

import pytest

from engine.model.traffic import Decided, RecordedEvent, RecordedExchange
from engine.proving.replay import Change, NotTraffic, Replayed, replay

from .traffic import event, exchange, recording, rules

STOP = "  - {id: stop, phase: request, when: \"contains(request.last_user, 'bomb')\", actions: [block: no]}\n"
OTHER = "  - {id: other, phase: request, when: \"contains(request.last_user, 'bomb')\", actions: [block: no]}\n"
ANSWER = "  - {id: answer, phase: request, when: \"contains(request.last_user, 'bomb')\", actions: [respond: no]}\n"
CAP = "  - {id: cap, phase: request, actions: [clamp: {path: request.params.max_tokens, max: 100}]}\n"
NOTHING = "  - {id: nothing, phase: done, actions: [tag: x]}\n"


def asked(text: str, decided: Decided | None = None, **request: Any) -> RecordedEvent:
    return event({"request": {"last_user": text, **request}}, decided)


def seen(found: Replayed) -> dict[Change, int]:
    return {change: tally.count for change, tally in found.changes.items() if tally.count}


@pytest.mark.parametrize(
    ("old", "new", "change", "rule"),
    [
        (NOTHING, STOP, Change.NEWLY_BLOCKED, "p/stop"),
        (STOP, NOTHING, Change.NEWLY_ALLOWED, "p/stop"),
        (STOP, ANSWER, Change.CHANGED_VERDICT, "p/answer"),
        (STOP, OTHER, Change.CHANGED_RULE, "p/other"),
        (NOTHING, CAP, Change.CHANGED_PATCH, "p/cap"),
    ],
)
def test_each_change_is_put_down_to_a_rule(old: str, new: str, change: Change, rule: str) -> None:
    lines = recording(exchange("x", asked("a bomb", params={"max_tokens": 500})))
    found = replay(lines, rules(new), rules(old))
    assert seen(found) == {change: 1}
    assert found.changes[change].rules == {rule: 1}
    assert [(each.change, each.rule, each.excerpt) for each in found.examples] == [(change, rule, "a bomb")]


def test_a_changed_route_is_seen() -> None:
    lines = recording(exchange("x", event({"phase": "route"})))
    found = replay(lines, rules("  - {id: to, phase: route, actions: [route: 'a:m']}\n"), rules(NOTHING))
    assert seen(found) == {Change.CHANGED_ROUTE: 1}


def test_the_same_rules_change_nothing() -> None:
    lines = recording(exchange("x", asked("a bomb", params={"max_tokens": 500}), asked("a flower")))
    found = replay(lines, rules(STOP + CAP), rules(STOP + CAP))
    assert (found.events, found.changed) == (2, 0)


def test_without_old_rules_the_recorded_decisions_count() -> None:
    blocked = Decided(verdict="block", by="p/stop", rules=("p/stop",))
    lines = recording(exchange("x", asked("a bomb", blocked), asked("a bomb")))
    assert seen(replay(lines, rules(STOP))) == {Change.NEWLY_BLOCKED: 1}
    assert seen(replay(lines, rules(NOTHING))) == {Change.NEWLY_ALLOWED: 1}


def test_what_a_counter_refused_is_left_out() -> None:
    metered = Decided(verdict="block", by="p/slow", code="rate_limited", metered=True)
    found = replay(recording(exchange("x", asked("hi", metered))), rules(NOTHING))
    assert (seen(found), found.unknown) == ({}, 1)


def test_masked_texts_are_not_blamed_for_patches_that_are_missing() -> None:
    masked = Decided(
        rules=("p/mask",), patch={"p/mask": [{"op": "replace", "path": "/request/last_user", "value": "x"}]}
    )
    lines = recording(exchange("x", asked("[codename]", masked)), content="redacted")
    assert seen(replay(lines, rules(NOTHING))) == {}
    full = recording(exchange("x", asked("bluefalcon", masked)), content="full")
    assert seen(replay(full, rules(NOTHING))) == {Change.CHANGED_PATCH: 1}


def test_facts_are_those_that_were_read_then() -> None:
    limited = "  - {id: hint, phase: request, limit: {max: 1, every: 1h, beyond: allow}, actions: [respond: Hint.]}\n"
    fresh = replay(recording(exchange("x", event({}))), rules(limited), rules(NOTHING))
    spent = replay(
        recording(exchange("x", event({}, fired=[{"rule": "p/hint", "key": "", "times": 1}]))),
        rules(limited),
        rules(NOTHING),
    )
    assert (fresh.changed, spent.changed) == (1, 0)


def test_sections_that_an_event_does_not_name_are_those_before() -> None:
    first = asked("a bomb")
    second = RecordedEvent(id="x-2", phase=first.phase, seed="x/2")
    found = replay(recording(exchange("x", first, second)), rules(STOP), rules(NOTHING))
    assert found.changes[Change.NEWLY_BLOCKED].count == 2


def test_examples_and_names_are_bounded() -> None:
    lines = recording(*(exchange(f"x{number}", asked("a bomb"), caller=f"c{number}") for number in range(1_100)))
    found = replay(lines, rules(STOP), each=2)
    tally = found.changes[Change.NEWLY_BLOCKED]
    assert (tally.count, len(found.examples)) == (1_100, 2)
    assert tally.callers["other"] == 100


def test_rules_that_fail_are_counted() -> None:
    failing = '  - {id: bad, phase: request, when: "to_number(request.last_user)", actions: [log: x]}\n'
    found = replay(recording(exchange("x", asked("1"))), rules(failing))
    assert found.errors == {"p/bad": 1}


@pytest.mark.parametrize("line", [b'{"exchange": "x"}', b"no json", b'{"format": "lexgate-traffic", "version": 2}'])
def test_what_is_no_recording_is_said(line: bytes) -> None:
    with pytest.raises(NotTraffic):
        replay([line], rules(NOTHING))


def test_placeholders_of_two_sessions_are_no_change() -> None:
    mask = "  - {id: mask, phase: request, actions: [redact: {patterns: {name: bluefalcon}, restore: true}]}\n"
    was = [{"op": "replace", "path": "/request/messages/0/parts/0/text", "value": "of [name:0123456789abcdef01234567]"}]
    recorded = asked("of bluefalcon", Decided(rules=("p/mask",), patch={"p/mask": was}))
    exchanges: RecordedExchange = exchange("x", recorded)
    assert seen(replay(recording(exchanges), rules(mask))) == {}
