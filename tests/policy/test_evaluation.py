"""What rules say of one event: the order of their parts, the three passes, verdicts, shadow and rollout."""

import copy
from typing import Any

import pytest

from engine.model.decision import Facts, Mode
from engine.model.effects import Block, Respond, Steer, VerdictKind
from engine.model.phases import Phase
from engine.policy.given import complete_event
from engine.policy.ruleset import Stage

from .rules import decide, outcomes, policy, rules, ruleset

HELLO = {"phase": "request", "request": {"model": "gpt-5", "messages": [{"role": "user", "text": "hello"}]}}


def bash(command: str, **more: Any) -> dict[str, Any]:
    return {"phase": "tool_call", "tool": {"name": "bash", "args": {"command": command}}, **more}


# -- one rule --


@pytest.mark.parametrize(
    ("when", "outcome"),
    [
        ("`true`", "matched"),
        ("`false`", None),
        ("`null`", None),
        ("request.params.nothing", None),
        ("request.params.flag", "matched"),
        ("request.params.number", "error"),
        ("request.params.list", "error"),
        ("request.params.text", "error"),
        ("request.params.object", "error"),
        ("abs(request.params.text) == `1`", "error"),
    ],
)
def test_only_true_matches_and_what_is_neither_true_false_nor_null_is_an_error(when: str, outcome: str | None) -> None:
    params = {"flag": True, "number": 1, "list": [1], "text": "x", "object": {"a": 1}}
    decision = decide(
        rules(f'- {{id: r, phase: request, when: "{when}", actions: [tag: t]}}'),
        {"phase": "request", "request": {"params": params}},
    )
    assert outcomes(decision).get("r") == outcome


@pytest.mark.parametrize(
    ("unless", "outcome"),
    [("`true`", None), ("`false`", "matched"), ("`null`", "matched"), ("abs(request.params.text) > `0`", "error")],
)
def test_an_error_in_unless_never_counts_as_true(unless: str, outcome: str | None) -> None:
    decision = decide(
        rules(f'- {{id: r, phase: request, unless: "{unless}", actions: [block: no]}}'),
        {"phase": "request", "request": {"params": {"text": "x"}}},
    )
    assert outcomes(decision).get("r") == outcome
    assert decision.refused is (outcome is not None)


def test_a_rule_without_conditions_always_matches() -> None:
    assert outcomes(decide(rules("- {id: r, phase: done, actions: [tag: t]}"), {"phase": "done"})) == {"r": "matched"}


def test_a_tree_of_conditions_is_read_as_its_words_say() -> None:
    tree = """
        - id: r
          phase: request
          when:
            all:
              - any: ["request.model == 'a'", "request.model == 'b'"]
              - not: {any: [request.stream, "caller.id == 'x'"]}
          actions: [tag: t]
        """
    matched = [
        (model, stream, caller)
        for model in "abc"
        for stream in (True, False)
        for caller in "xy"
        if outcomes(decide(rules(tree), {"request": {"model": model, "stream": stream}, "caller": {"id": caller}}))
    ]
    assert matched == [("a", False, "y"), ("b", False, "y")]


@pytest.mark.parametrize(
    ("actions", "verdict"),
    [
        ("block: no", VerdictKind.BLOCK),
        ("redact: {patterns: {x: 'x'}}", VerdictKind.BLOCK),
        ("respond: hi", VerdictKind.BLOCK),
        ("inject: hi", VerdictKind.ALLOW),
        ("{set: {path: request.params.x, value: 1}}", VerdictKind.ALLOW),
        ("count: x", VerdictKind.ALLOW),
        ("log: x", VerdictKind.ALLOW),
    ],
)
def test_guards_refuse_on_an_error_and_others_are_skipped(actions: str, verdict: VerdictKind) -> None:
    actions = actions.replace("inject: hi", "inject: {text: hi}")
    decision = decide(
        rules(f'- {{id: r, phase: request, when: "abs(request.params.t) > `0`", actions: [{actions}]}}'),
        {"request": {"params": {"t": "x"}}},
    )
    assert (outcomes(decision), decision.verdict) == ({"r": "error"}, verdict)
    if decision.refused:
        assert isinstance(decision.effect, Block)
        assert (decision.effect.status, decision.effect.code, decision.by) == (500, "policy_error", "p/r")


@pytest.mark.parametrize(("on_error", "verdict"), [("deny", VerdictKind.BLOCK), ("skip", VerdictKind.ALLOW)])
@pytest.mark.parametrize("action", ["block: no", "log: x"])
def test_on_error_overrides_what_the_kind_of_action_says(on_error: str, verdict: VerdictKind, action: str) -> None:
    text = (
        f'- {{id: r, phase: request, when: "abs(request.params.t) > `0`", on_error: {on_error}, actions: [{action}]}}'
    )
    assert decide(rules(text), {"request": {"params": {"t": "x"}}}).verdict is verdict


def test_an_action_that_fails_is_an_error_of_its_rule() -> None:
    text = "- {id: r, phase: request, actions: [header: {name: x-t, value: '{{ request.params.t }}'}, tag: seen]}"
    decision = decide(rules(text), {"request": {"params": {"t": "a\r\nb"}}})
    assert outcomes(decision) == {"r": "error"}
    assert "control" in decision.outcomes[0].error
    assert (decision.effects, decision.verdict) == ((), VerdictKind.ALLOW)


def test_the_reasons_are_the_values_that_were_compared_with_their_places() -> None:
    text = "- {id: r, phase: request, when: \"request.model == 'gpt-5' && !(request.stream)\", actions: [tag: t]}"
    because = decide(rules(text), HELLO).outcomes[0].because
    assert [(each.expr, each.value) for each in because] == [("request.model", "gpt-5"), ("request.stream", False)]
    assert all(each.span.startswith("0.yaml:5:") for each in because)


# -- exceptions --

EXCEPTED = policy(
    "- {id: r, phase: request, actions: [block: no]}",
    """
    exceptions:
      - {rule: p/r, match: {caller: bot}, reason: T-1, expires: 2027-01-31}
    """,
)
LAST_MOMENT = 1801439999.0  # 2027-01-31T23:59:59Z


@pytest.mark.parametrize(
    ("caller", "epoch", "outcome"),
    [
        ("bot", 0.0, "excepted"),
        ("bot", LAST_MOMENT, "excepted"),
        ("bot", LAST_MOMENT + 1, "matched"),
        ("human", 0.0, "matched"),
    ],
)
def test_an_exception_holds_for_whom_it_names_to_the_end_of_its_last_day(
    caller: str, epoch: float, outcome: str
) -> None:
    decision = decide(ruleset(EXCEPTED), {"caller": {"id": caller}, "now": {"epoch": epoch}})
    assert outcomes(decision) == {"r": outcome}


def test_an_exception_that_cannot_be_evaluated_is_an_error_and_lets_nobody_through() -> None:
    text = EXCEPTED.replace("match: {caller: bot}", "when: abs(request.params.t) > `0`")
    decision = decide(ruleset(text), {"request": {"params": {"t": "x"}}})
    assert (outcomes(decision), decision.verdict) == ({"r": "error"}, VerdictKind.BLOCK)


# -- limits --

LIMITED = "- {id: r, phase: request, limit: {per: caller.id, max: 2, every: 1h, beyond: %s}, actions: [block: no]}"


@pytest.mark.parametrize(
    ("beyond", "fired", "outcome", "verdict"),
    [
        ("allow", 1, "matched", VerdictKind.BLOCK),
        ("allow", 2, "limited", VerdictKind.ALLOW),
        ("block", 2, "limited", VerdictKind.BLOCK),
    ],
)
def test_a_limit_bounds_how_often_a_rule_acts(beyond: str, fired: int, outcome: str, verdict: VerdictKind) -> None:
    decision = decide(rules(LIMITED % beyond), {"caller": {"id": "ann"}}, Facts(fired={("p/r", "ann"): fired}))
    assert (outcomes(decision), decision.verdict) == ({"r": outcome}, verdict)


def test_a_limit_counts_once_an_exchange() -> None:
    limited = rules(LIMITED % "allow")
    first = decide(limited, {"caller": {"id": "ann"}})
    assert [(fire.rule, fire.key, fire.every, fire.max) for fire in first.fires] == [("p/r", "ann", 3600.0, 2)]
    again = decide(limited, {"caller": {"id": "ann"}}, Facts(fired={("p/r", "ann"): 2}, acted=first.acted))
    assert (outcomes(again), again.fires) == ({"r": "matched"}, ())


def test_the_counters_to_read_are_those_of_rules_that_the_event_can_concern() -> None:
    limited = rules(
        """
        - {id: a, phase: tool_call, match: {tool: bash}, limit: {per: caller.id}, actions: [log: x]}
        - {id: b, phase: tool_call, match: {tool: grep}, limit: {per: caller.id}, actions: [log: x]}
        - {id: c, phase: tool_call, limit: {per: session.id, max: 3}, mode: shadow, actions: [log: x]}
        - {id: d, phase: tool_call, actions: [log: x]}
        """
    )
    reads = limited.limits(Phase.TOOL_CALL, complete_event(bash("ls")))
    assert [(read.rule, read.key, read.max) for read in reads] == [("p/a", "local", 1), ("p/c#shadow", "", 3)]


def test_counters_are_read_too_for_a_rule_that_a_transform_may_make_concern_the_event() -> None:
    limited = rules(
        """
        - {id: a, phase: request, actions: [set: {path: request.model, value: big}]}
        - {id: b, phase: request, match: {model: big}, limit: {per: caller.id}, actions: [log: x]}
        """
    )
    assert [read.rule for read in limited.limits(Phase.REQUEST, complete_event(HELLO))] == ["p/b"]


# -- the transform pass --


def test_the_highest_priority_has_the_last_word() -> None:
    text = """
        - {id: high, phase: request, priority: 9, actions: [set: {path: request.params.x, value: high}]}
        - {id: low, phase: request, priority: 1, actions: [set: {path: request.params.x, value: low}]}
        """
    decision = decide(rules(text), HELLO)
    assert decision.event is not None
    assert decision.event["request"]["params"] == {"x": "high"}
    assert [each.rule for each in decision.outcomes] == ["p/low", "p/high"]


def test_transforms_of_equal_priority_run_by_policy_name_and_then_by_position() -> None:
    step = "- {id: %s, phase: request, actions: [set: {path: request.params.x, value: '{{ request.params.x }}%s'}]}"
    pair = "\n".join(step % (name, name) for name in ("d", "c"))
    both = ruleset(policy(pair, name="b"), policy(pair, name="a"))
    decision = decide(both, {"request": {"params": {"x": ""}}})
    assert decision.event is not None
    assert decision.event["request"]["params"]["x"] == "dcdc"
    assert [each.rule for each in decision.outcomes] == ["a/d", "a/c", "b/d", "b/c"]


def test_every_other_rule_is_evaluated_on_the_transformed_event_whatever_its_priority() -> None:
    text = """
        - {id: guard, phase: request, priority: 1, match: {model: small}, actions: [block: no]}
        - {id: alias, phase: request, priority: 9, actions: [set: {path: request.model, value: small}]}
        """
    decision = decide(rules(text), HELLO)
    assert decision.by == "p/guard"


def test_a_rule_that_waits_for_what_a_transform_removed_is_not_evaluated() -> None:
    text = """
        - {id: no-search, phase: request, actions: [drop_tools: web_search]}
        - {id: guard, phase: request, match: {tool: web_search}, actions: [block: no]}
        """
    decision = decide(rules(text), {"request": {"tool_names": ["web_search", "grep"]}})
    assert (outcomes(decision), decision.verdict) == ({"no-search": "matched"}, VerdictKind.ALLOW)


def test_a_transform_that_becomes_a_candidate_later_still_runs_once() -> None:
    text = """
        - {id: one, phase: request, priority: 1, actions: [set: {path: request.model, value: b}]}
        - {id: two, phase: request, priority: 2, match: {model: b}, actions: [set: {path: request.model, value: c}]}
        - {id: old, phase: request, priority: 3, match: {model: a}, actions: [set: {path: request.model, value: z}]}
        - {id: three, phase: request, priority: 4, match: {model: c}, actions: [set: {path: request.params.n, value: 1}]}
        """
    decision = decide(rules(text), {"request": {"model": "a"}})
    assert outcomes(decision) == {"one": "matched", "two": "matched", "three": "matched"}


def test_later_rules_judge_the_command_line_of_rewritten_arguments() -> None:
    text = """
        - {id: wrap, phase: tool_call, actions: [rewrite_args: {args: {command: "rm -rf /"}}]}
        - {id: guard, phase: tool_call, when: "any(tool.shell.commands[?program == 'rm'])", actions: [block: no]}
        - {id: text, phase: tool_call, when: "contains(tool.text, 'rm -rf')", actions: [tag: seen]}
        """
    decision = decide(rules(text), bash("ls"))
    assert outcomes(decision) == {"wrap": "matched", "guard": "matched", "text": "matched"}
    assert decision.by == "p/guard"


def test_a_rules_actions_run_each_in_the_pass_of_its_kind() -> None:
    text = """
        - id: r
          phase: request
          priority: 1
          actions: [tag: {name: m, value: "{{ request.model }}"}, set: {path: request.model, value: a}]
        - {id: last, phase: request, priority: 2, actions: [set: {path: request.model, value: b}]}
        """
    decision = decide(
        rules(text.replace("[tag: {", "[{tag: {").replace("}, set", "}}, {set").replace("a}]", "a}}]")), HELLO
    )
    ((_, tag),) = decision.observations
    assert getattr(tag, "value", "") == "b"
    assert decision.outcomes[0].actions == ("set", "tag")


# -- the decide pass --


@pytest.mark.parametrize(
    ("actions", "verdict"),
    [
        (["drop: {}", "block: no", "steer: no"], VerdictKind.BLOCK),
        (["drop: {}", "steer: no"], VerdictKind.STEER),
        (["drop: {}"], VerdictKind.DROP),
    ],
)
def test_the_strongest_verdict_wins_whatever_the_priorities(actions: list[str], verdict: VerdictKind) -> None:
    text = "\n".join(
        f"- {{id: r{number}, phase: tool_call, priority: {-number}, actions: [{action}]}}"
        for number, action in enumerate(actions)
    )
    decision = decide(rules(text), bash("ls"))
    assert decision.verdict is verdict
    assert len(decision.outcomes) == len(actions)


def test_of_equal_verdicts_the_highest_priority_speaks_and_then_the_first() -> None:
    text = """
        - {id: low, phase: request, priority: 1, actions: [respond: low]}
        - {id: first, phase: request, priority: 2, actions: [respond: first]}
        - {id: second, phase: request, priority: 2, actions: [respond: second]}
        """
    decision = decide(rules(text), HELLO)
    assert (decision.by, decision.effect) == ("p/first", Respond("first"))


def test_choices_go_to_the_highest_priority_and_then_to_the_first() -> None:
    text = """
        - {id: low, phase: route, priority: 1, actions: [route: 'a:low']}
        - {id: first, phase: route, priority: 2, actions: [route: 'a:first']}
        - {id: second, phase: route, priority: 2, actions: [route: 'a:second']}
        """
    decision = decide(rules(text), {"phase": "route"})
    assert decision.route is not None
    assert decision.route.plan == "a:first"
    assert set(outcomes(decision)) == {"low", "first", "second"}


def test_rate_limits_of_a_request_are_met_on_the_event_as_it_came() -> None:
    text = """
        - {id: alias, phase: request, actions: [set: {path: request.model, value: other}]}
        - {id: rate, phase: request, match: {model: gpt-5}, actions: [rate_limit: {limit: 1, window: 1m}]}
        """
    both = rules(text)
    assert [spend.rule for spend in decide(both, HELLO, stage=Stage.ADMISSION).spends] == ["p/rate"]
    assert decide(both, HELLO).spends == ()


# -- steering --

STEER = "- {id: r, phase: tool_call, actions: [steer: {message: m, attempts: 2, then: %s}]}"


@pytest.mark.parametrize(
    ("then", "facts", "effect"),
    [
        ("block", Facts(), Steer("m", 2, "block")),
        ("block", Facts(steered={"p/r": 1}), Steer("m", 2, "block")),
        ("block", Facts(steered={"p/r": 2}), Block("m")),
        ("block", Facts(may_reask=False), Block("m")),
        ("reply", Facts(steered={"p/r": 2}), Steer("m", 2, "reply", "reply")),
        ("allow", Facts(steered={"p/r": 2}), None),
        ("allow", Facts(steered={"p/other": 9}), Steer("m", 2, "allow")),
    ],
)
def test_after_its_attempts_a_steer_becomes_what_then_says(then: str, facts: Facts, effect: object) -> None:
    decision = decide(rules(STEER % then), bash("ls"), facts)
    assert decision.effect == effect
    assert outcomes(decision) == {"r": "matched"}


def test_then_allow_lifts_the_verdict_of_its_own_rule_alone() -> None:
    text = STEER % "allow" + "\n- {id: other, phase: tool_call, actions: [drop: {}]}"
    assert decide(rules(text), bash("ls"), Facts(may_reask=False)).by == "p/other"


# -- shadow and rollout --


def test_a_shadowed_rule_changes_nothing_and_is_recorded() -> None:
    text = """
        - id: r
          phase: request
          mode: shadow
          actions:
            - set: {path: request.params.a, value: 1}
            - block: no
            - count: seen
            - log: x
            - header: {name: x-a, value: b}
        - {id: meter, phase: request, mode: shadow, actions: [rate_limit: {limit: 1, window: 1m}]}
        """
    both = rules(text)
    event = complete_event(HELLO)
    decision = decide(both, HELLO)
    assert decision.event == event
    assert (decision.verdict, decision.effects, decision.changes, decision.observations) == (
        VerdictKind.ALLOW,
        (),
        (),
        (),
    )
    (outcome,) = decision.outcomes
    assert (outcome.mode, outcome.verdict) == (Mode.SHADOW, VerdictKind.BLOCK)
    assert [op.pointer for op in outcome.patch] == ["/request/params/a"]
    assert decide(both, HELLO, stage=Stage.ADMISSION).spends == ()


def test_a_shadowed_rule_sees_the_event_that_it_would_see_if_enforced() -> None:
    text = """
        - {id: low, phase: request, priority: 1, actions: [set: {path: request.params.x, value: low}]}
        - id: r
          phase: request
          priority: 2
          mode: shadow
          when: request.params.x == 'low'
          actions:
            - set: {path: request.params.x, value: mine}
            - set: {path: request.params.y, value: "{{ request.params.x }}"}
        - {id: high, phase: request, priority: 3, when: "request.params.x == 'mine'", actions: [block: no]}
        """
    decision = decide(rules(text), HELLO)
    assert outcomes(decision) == {"low": "matched", "r": "matched"}
    assert [op.value for op in decision.outcomes[1].patch] == ["mine", "mine"]


def test_a_shadowed_rule_has_counters_of_its_own() -> None:
    text = LIMITED % "allow" + "\n- {id: s, phase: request, mode: shadow, limit: {per: caller.id}, actions: [log: x]}"
    both = rules(text)
    assert [fire.rule for fire in decide(both, HELLO).fires] == ["p/r", "p/s#shadow"]
    assert outcomes(decide(both, HELLO, Facts(fired={("p/s", "local"): 5})))["s"] == "matched"
    assert outcomes(decide(both, HELLO, Facts(fired={("p/s#shadow", "local"): 1})))["s"] == "limited"


def test_a_rule_that_is_off_is_not_there() -> None:
    off = rules("- {id: r, phase: request, mode: off, actions: [block: no]}")
    assert (off.rules, off.table(Phase.REQUEST)) == ((), None)


def test_rollout_enforces_for_a_stable_share_of_callers_and_shadows_the_rest() -> None:
    rolled = rules("- {id: r, phase: request, rollout: 10, actions: [block: no]}")

    def enforced() -> set[str]:
        callers = [f"caller-{number}" for number in range(2000)]
        return {caller for caller in callers if decide(rolled, {"caller": {"id": caller}}).refused}

    chosen = enforced()
    assert 140 < len(chosen) < 260
    assert enforced() == chosen


def test_two_rules_roll_out_to_different_callers() -> None:
    text = "- {id: a, phase: request, rollout: 50, actions: [block: no]}\n"
    two = rules(text + text.replace("id: a", "id: b"))
    modes = {
        tuple(each.mode for each in decide(two, {"caller": {"id": f"c{number}"}}).outcomes) for number in range(50)
    }
    assert len(modes) == 4


# -- flowing text --


def test_in_a_stream_a_rule_is_observed_once_and_guards_every_window() -> None:
    text = """
        - id: r
          phase: text
          match: {keyword: secret}
          window: 20
          actions: [count: seen, log: x, block: no]
        """.replace("[count: seen, log: x, block: no]", "[{count: seen}, {log: x}, {block: no}]")
    rule = rules(text)
    given = {"phase": "text", "text": {"window": "a secret here"}}
    first = decide(rule, given)
    assert (len(first.changes), len(first.observations), first.refused) == (1, 1, True)
    again = decide(rule, given, Facts(acted=first.acted))
    assert (again.changes, again.observations, again.refused) == ((), (), True)
    assert again.outcomes[0].actions == ("block",)


# -- purity --


def test_with_trace_every_rule_of_the_phase_has_an_outcome() -> None:
    text = """
        - {id: a, phase: request, match: {model: other}, actions: [block: no]}
        - {id: b, phase: request, when: request.stream, actions: [block: no]}
        - {id: c, phase: request, actions: [log: x]}
        - {id: d, phase: done, actions: [log: x]}
        """
    assert outcomes(decide(rules(text), HELLO, trace=True)) == {"a": "no_match", "b": "no_match", "c": "matched"}


def test_latency_is_what_the_given_timer_says() -> None:
    ticks = iter(range(0, 100_000, 1500))
    rule = rules("- {id: r, phase: request, actions: [log: x]}")
    decision = rule.decide(Phase.REQUEST, complete_event(HELLO), timer=lambda: next(ticks))
    assert [each.latency_us for each in getattr(decision, "outcomes", ())] == [1.5]


def test_the_event_is_never_written() -> None:
    text = """
        - id: r
          phase: request
          actions:
            - set: {path: request.params.a.b, value: 1}
            - inject: {text: more}
            - redact: {patterns: {h: hello}}
            - drop_tools: x
        """
    event = complete_event({**HELLO, "request": {**HELLO["request"], "tool_names": ["x", "y"]}})  # type: ignore[dict-item]
    before = copy.deepcopy(event)
    decision = rules(text).decide(Phase.REQUEST, event)
    assert event == before
    assert getattr(decision, "event", None) != before
