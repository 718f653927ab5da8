"""Tests of several steps: what an event writes, the next one sees, at the time that the test says."""

import pytest

from engine.policy.compile import PolicySource, check_file
from engine.policy.context import UNKNOWN
from engine.policy.trial import CaseResult, run_tests

RULES = """\
version: 1
policy: p
rules:
  - {id: dirty, phase: tool_call, match: {tool: edit}, actions: [remember: {key: dirty, value: true, ttl: 2h}]}
  - {id: mark, phase: tool_call, match: {tool: edit}, actions: [label: {name: editor, ttl: 1h, in: caller}, count: edits]}
  - id: run-tests
    phase: tool_call
    match: {tool: finish}
    when: var('dirty', `false`)
    actions: [steer: {message: Run the tests.}]
  - {id: hint, phase: request, limit: {max: 1, every: 1h, beyond: allow}, actions: [respond: A hint.]}
  - {id: slow, phase: request, actions: [rate_limit: {key: caller.id, limit: 2, window: 1m}]}
tests:
"""


def result(test: str) -> CaseResult:
    checked, _, found = check_file(PolicySource("p.yaml", RULES + test), UNKNOWN)
    assert checked is not None, found
    (only,) = run_tests(checked)
    return only


EDIT = "{given: {phase: tool_call, tool: {name: edit}}}"


@pytest.mark.parametrize(
    ("steps", "passes"),
    [
        (f"{EDIT}, {{given: {{phase: tool_call, tool: {{name: finish}}}}, expect: {{by: run-tests}}}}", True),
        ("{given: {phase: tool_call, tool: {name: finish}}, expect: {verdict: allow}}", True),
        (
            f"{EDIT}, {{after: 3h, given: {{phase: tool_call, tool: {{name: finish}}}}, expect: {{by: ''}}}}",
            True,
        ),
        (
            f"{EDIT}, {{after: 3h, given: {{phase: tool_call, tool: {{name: finish}}}}, expect: {{verdict: steer}}}}",
            False,
        ),
        (
            f"{EDIT}, {{given: {{phase: tool_call, session: {{id: s}}, tool: {{name: finish}}}}, expect: {{by: ''}}}}",
            True,
        ),
        (f"{EDIT}, {{given: {{session: {{id: s}}}}, expect: {{event: {{session.labels: [editor]}}}}}}", True),
        (f"{EDIT}, {{after: 90m, given: {{}}, expect: {{event: {{session.labels: []}}}}}}", True),
        (f"{EDIT}, {EDIT}, {{given: {{}}, expect: {{event: {{session.vars.edits: 2}}}}}}", True),
    ],
)
def test_state_is_of_whom_it_is_and_as_long_as_it_lives(steps: str, passes: bool) -> None:
    assert result(f"  - {{name: t, steps: [{steps}]}}\n").passed is passes


def test_a_limit_counts_within_its_time() -> None:
    hint, none = "{verdict: respond}", "{outcomes: {hint: limited}}"
    assert result(
        f"  - {{name: t, steps: [{{given: {{}}, expect: {hint}}}, {{given: {{}}, expect: {none}}},"
        f" {{after: 61m, given: {{}}, expect: {hint}}}]}}\n"
    ).passed


def test_a_rate_limit_refuses_and_forgets() -> None:
    given = "given: {session: {id: s}, caller: {id: ann}}"
    assert result(
        f"  - {{name: t, steps: [{{{given}, times: 2}}, {{{given}, expect: {{by: slow, status: 429, code: rate_limited}}}},"
        f" {{given: {{caller: {{id: bob}}}}, expect: {{verdict: respond}}}},"
        f" {{after: 61s, {given}, expect: {{outcomes: {{slow: matched}}, verdict: allow}}}}]}}\n"
    ).passed


def test_a_failure_names_its_step_and_time() -> None:
    found = result("  - {name: t, steps: [{given: {}, times: 3, expect: {verdict: respond}}]}\n")
    assert [each.what for each in found.mismatches] == ["step 1, time 2: verdict"]
    wrong = result("  - {name: t, steps: [{given: {}}, {given: {request: {modle: x}}}]}\n")
    assert wrong.error.startswith("step 2: ")


def test_the_clock_of_an_event_is_that_of_the_test() -> None:
    assert result(
        "  - {name: t, steps: [{given: {}, expect: {event: {now.iso: '2026-01-01T00:00:00Z', now.weekday: thursday}}},"
        " {after: 26h, given: {}, expect: {event: {now.iso: '2026-01-02T02:00:00Z', now.hour: 2}}}]}\n"
    ).passed
