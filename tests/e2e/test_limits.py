"""Limits, state and sessions over real requests."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine.world.store.base import StoreDown
from tests.support.lexgate import Lexgate, Raw
from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import asking


def policy(*rules: str) -> str:
    return "version: 1\npolicy: p\nrules:\n" + "".join(rules)


def rule(id: str, actions: str, *, phase: str = "request", when: str = "", more: str = "") -> str:
    condition = f"    when: {when}\n" if when else ""
    return f"  - id: {id}\n    phase: {phase}\n{condition}{more}    actions: [{actions}]\n"


class Down:
    """A store that cannot be reached."""

    tally: Any = None

    async def read(self, *_: Any, **__: Any) -> Any:
        raise StoreDown("no such host")

    async def commit(self, *_: Any) -> Any:
        raise StoreDown("no such host")

    async def scan(self, *_: Any, **__: Any) -> Any:
        raise StoreDown("no such host")

    async def close(self) -> None:
        pass


def statuses(answers: Iterable[Raw]) -> list[int]:
    return [each.status for each in answers]


REQUESTS = "{rate_limit: {key: caller.id, limit: 3, window: 1m}}"

# --- requests --------------------------------------------------------------------------------------------------------


def test_a_rate_limit_refuses_with_429_and_says_when_to_come_again(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[Reply(text="Yes.")] * 3)
    lexgate = serve(policy(rule("limited", REQUESTS)))
    answers = [lexgate.post(asking()) for _ in range(4)]
    assert statuses(answers) == [200, 200, 200, 429]
    assert answers[-1].json["error"]["type"] == "rate_limit_error"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert len(provider.requests) == 3


def test_a_limit_counts_what_a_guard_answers(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(policy(rule("limited", REQUESTS), rule("never", "{block: No.}")))
    assert statuses(lexgate.post(asking()) for _ in range(4)) == [400, 400, 400, 429]


def test_a_limit_sees_the_request_before_any_transform(serve: Serve, provider: OpenAIMock) -> None:
    """A rule that renames the model after the limit cannot move a request out of its account."""
    provider.script(*[Reply(text="Yes.")] * 2)
    lexgate = serve(
        policy(
            rule("limited", "{rate_limit: {key: request.model, limit: 1, window: 1m}}", more="    priority: -10\n"),
            rule("rename", "{set: {path: request.model, value: gpt-4o-mini}}"),
        )
    )
    models = ["gpt-4o", "gpt-4o", "gpt-4o-mini"]
    assert statuses(lexgate.post(asking(model=model)) for model in models) == [200, 429, 200]


def test_no_interleaving_of_200_requests_exceeds_a_limit(serve: Serve, provider: OpenAIMock) -> None:
    limit = "{rate_limit: {key: caller.id, limit: 25, window: 1h}}"
    lexgate = serve(policy(rule("limited", limit), rule("answer", "{respond: {message: Done.}}")))
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: lexgate.post(asking()).status, range(200)))
    assert (answers.count(200), answers.count(429)) == (25, 175)


# --- concurrency -----------------------------------------------------------------------------------------------------

ONE_AT_A_TIME = policy(rule("one", "{rate_limit: {limit: 1, window: 5m, of: concurrency}}", phase="attempt"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_slot_is_held_as_long_as_an_answer_takes(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    gate = Gate()
    provider.script(Reply(text="Slow.", gate=gate), Reply(text="Quick."))
    lexgate = serve(ONE_AT_A_TIME)
    first = threading.Thread(target=lambda: lexgate.post(asking(stream=stream)))
    first.start()
    gate.wait_until_reached()
    assert lexgate.post(asking()).status == 429
    gate.open()
    first.join()
    assert lexgate.post(asking()).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "reply",
    [Reply(text="Yes."), Reply(status=400), Reply(status=500), Reply(text="Cut.", cut_after=1), Reply(body=b"{")],
    ids=["success", "400", "500", "cut", "unreadable"],
)
def test_a_slot_is_given_back_whatever_happens(serve: Serve, provider: OpenAIMock, reply: Reply, stream: bool) -> None:
    provider.script(reply, Reply(text="Next."))
    lexgate = serve(ONE_AT_A_TIME)
    lexgate.post(asking(stream=stream))
    assert lexgate.post(asking()).status == 200


def test_a_slot_is_given_back_where_no_rule_reads_the_answer(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[Reply(text="Yes.")] * 5)
    lexgate = serve(ONE_AT_A_TIME)
    assert statuses(lexgate.post(asking(tools=None)) for _ in range(5)) == [200] * 5


def test_an_attempt_that_a_rule_refuses_takes_nothing(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = serve(
        policy(
            rule("once", "{rate_limit: {limit: 1, window: 1h, of: concurrency}}", phase="attempt"),
            rule(
                "wrong",
                "{rate_limit: {key: request.params.user, limit: 9, window: 1h, of: concurrency}}",
                phase="attempt",
            ),
        )
    )
    assert lexgate.post(asking()).json["error"]["code"] == "policy_error"
    assert lexgate.post(asking(user="me")).status == 200


# --- tokens ----------------------------------------------------------------------------------------------------------

TOKENS = policy(rule("tokens", "{rate_limit: {limit: 8000, window: 1h, of: tokens}}", phase="attempt"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_of_tokens_is_settled_on_what_was_used(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    """Each request reserves over 5000 tokens and uses 2000: two fit one after the other, and then the limit is reached."""
    used = Reply(text="Yes.", usage=(1500, 500, 0, 0))
    provider.script(*[used] * 4)
    lexgate = serve(TOKENS)
    assert statuses(lexgate.post(asking(stream=stream)) for _ in range(3)) == [200, 200, 429]


def test_usage_that_we_asked_for_is_not_shown(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    raw = serve(TOKENS).post(asking(stream=True))
    assert provider.requests[0].json["stream_options"] == {"include_usage": True}
    assert b'"prompt_tokens"' not in raw.body


def test_what_failed_costs_nothing(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[Reply(status=500)] * 4)
    lexgate = serve(TOKENS)
    assert statuses(lexgate.post(asking()) for _ in range(4)) == [500] * 4


# --- in shadow -------------------------------------------------------------------------------------------------------


def would_have(lexgate: Lexgate, rule: str) -> int:
    """How often a rule in shadow would have refused."""
    labels = ('mode="shadow"', 'verdict="block"', f'rule="{rule}"')
    shown = lexgate.house.world.metrics.render().decode().splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in shown if all(each in line for each in labels))


@pytest.mark.parametrize("phase", ["request", "attempt"])
def test_a_meter_in_shadow_counts_what_it_would_have_refused(serve: Serve, provider: OpenAIMock, phase: str) -> None:
    """It has a counter of its own: the enforced one beside it goes its own way."""
    provider.script(*[Reply(text="Yes.")] * 4)
    of = "requests" if phase == "request" else "tokens"
    limits = [f"{{rate_limit: {{limit: {limit}, window: 1h, of: {of}}}}}" for limit in (2, 100_000)]
    lexgate = serve(
        policy(
            rule("shadowed", limits[0], phase=phase, more="    mode: shadow\n"),
            rule("enforced", limits[1], phase=phase),
        )
    )
    assert statuses(lexgate.post(asking()) for _ in range(4)) == [200] * 4
    assert would_have(lexgate, "p/shadowed") == (2 if phase == "request" else 3)
    assert would_have(lexgate, "p/enforced") == 0


def test_a_slot_in_shadow_is_given_back(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[Reply(text="Yes.")] * 3)
    one = "{rate_limit: {limit: 1, window: 5m, of: concurrency}}"
    lexgate = serve(policy(rule("one", one, phase="attempt", more="    mode: shadow\n")))
    assert statuses(lexgate.post(asking()) for _ in range(3)) == [200] * 3
    assert would_have(lexgate, "p/one") == 0


# --- the store is down -----------------------------------------------------------------------------------------------


def without_store(lexgate: Lexgate) -> Lexgate:
    lexgate.house.world.store = Down()
    return lexgate


@pytest.mark.parametrize(("phase", "of"), [("request", "requests"), ("attempt", "tokens"), ("attempt", "concurrency")])
def test_a_meter_without_its_store_refuses_with_503(serve: Serve, provider: OpenAIMock, phase: str, of: str) -> None:
    limit = f"{{rate_limit: {{limit: 9, window: 1h, of: {of}}}}}"
    lexgate = without_store(serve(policy(rule("limited", limit, phase=phase))))
    raw = lexgate.post(asking())
    assert (raw.status, raw.json["error"]["code"]) == (503, "policy_error")
    assert raw.headers["retry-after"] == "1"
    assert provider.requests == []


def test_a_meter_that_says_skip_lets_pass_without_its_store(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    limited = rule("limited", "{rate_limit: {limit: 9, window: 1h}}", more="    on_error: skip\n")
    assert without_store(serve(policy(limited))).post(asking()).status == 200


def test_state_that_cannot_be_written_stops_nobody(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    assert without_store(serve(policy(rule("count", "{count: {key: n}}")))).post(asking()).status == 200


def test_a_block_that_reads_state_refuses_where_it_cannot_know(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = without_store(serve(policy(rule("guard", "{block: No.}", when="contains(session.labels, 'bad')"))))
    raw = lexgate.post(asking())
    assert (raw.status, raw.json["error"]["code"]) == (503, "policy_error")
    assert provider.requests == []


# --- state and sessions ----------------------------------------------------------------------------------------------

COUNTED = policy(
    rule("count", "{count: {key: n, in: SCOPE}}", when="request.last_user == 'add'"),
    rule("full", "{respond: {message: 'n={{ var(''n'', `0`) }}'}}", when="request.last_user == 'tell'"),
)


def counted(scope: str) -> str:
    return COUNTED.replace("SCOPE", scope)


def say(lexgate: Lexgate, text: str, headers: Mapping[str, str] = {}) -> str:
    raw = lexgate.post(asking(text), headers=headers)
    assert raw.status == 200, raw.body
    content: str = raw.json["choices"][0]["message"]["content"]
    return content


A, B = {"x-session-id": "a"}, {"x-session-id": "b"}


@pytest.mark.parametrize(("scope", "elsewhere"), [("session", "n=0"), ("caller", "n=2"), ("global", "n=2")])
def test_state_is_seen_by_whose_it_is(serve: Serve, provider: OpenAIMock, scope: str, elsewhere: str) -> None:
    provider.script(*[Reply(text="Yes.")] * 2)
    lexgate = serve(counted(scope))
    for _ in range(2):
        say(lexgate, "add", A)
    assert say(lexgate, "tell", A) == "n=2"
    assert say(lexgate, "tell", B) == elsewhere


@pytest.mark.parametrize(
    "headers",
    [
        {"x-session-id": "1"},
        {"x-claude-code-session-id": "1"},
        {"session-id": "1"},
        {"x-session-affinity": "1"},
        {"x-session-id": "long" * 1000},
    ],
)
def test_a_session_is_what_the_client_names(serve: Serve, provider: OpenAIMock, headers: Mapping[str, str]) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = serve(counted("session"))
    say(lexgate, "add", headers)
    assert say(lexgate, "tell", headers) == "n=1"
    assert say(lexgate, "tell") == "n=0"


def test_the_same_words_in_another_header_name_another_session(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = serve(counted("session"))
    say(lexgate, "add", {"x-session-id": "1"})
    assert say(lexgate, "tell", {"session-id": "1"}) == "n=0"


def test_what_is_remembered_is_forgotten_and_labels_are_read(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(
        policy(
            rule("mark", "{label: {name: seen}}, {remember: {key: k, value: v}}", when="request.last_user == 'mark'"),
            rule("forget", "{forget: {key: k}}", when="request.last_user == 'forget'"),
            rule(
                "tell",
                "{respond: {message: \"{{ join(',', session.labels) }}/{{ var('k', 'none') }}\"}}",
                when="request.last_user != 'go'",
            ),
        )
    )
    assert say(lexgate, "tell", A) == "/none"
    say(lexgate, "mark", A)
    assert say(lexgate, "tell", A) == "seen/v"
    assert say(lexgate, "tell", B) == "/none"
    say(lexgate, "forget", A)
    assert say(lexgate, "tell", A) == "seen/none"


# An inferred session: the history that was answered proves which it is.

TURNS = policy(
    rule("count", "{count: {key: n}}"),
    rule(
        "tell",
        "{header: {name: x-n, to: client, value: '{{ var(''n'', `0`) }}/{{ session.turn }}/{{ session.kind }}'}}",
    ),
)


def turn(lexgate: Lexgate, history: Sequence[Any], *, stream: bool = False) -> tuple[str, list[Any]]:
    """What the rule saw, and the history with the answer."""
    raw = lexgate.post(asking(*history, stream=stream, tools=None))
    assert raw.status == 200, raw.body
    if stream:
        deltas = [f["choices"][0]["delta"] for f in raw.frames if f != "[DONE]" and f["choices"]]
        text = "".join(delta.get("content") or "" for delta in deltas)
    else:
        text = raw.json["choices"][0]["message"]["content"]
    return raw.headers["x-n"], [*history, {"role": "assistant", "content": text}]


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_turn_extends_its_session(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    provider.script(*[Reply(text=f"Answer {number}.") for number in range(3)])
    lexgate = serve(TURNS)
    seen, history = turn(lexgate, ["one"], stream=stream)
    assert seen == "0/1/inferred"
    seen, history = turn(lexgate, [*history, "two"], stream=stream)
    assert seen == "1/2/inferred"
    seen, _ = turn(lexgate, [*history, "three"], stream=stream)
    assert seen == "2/3/inferred"


def test_conversations_that_begin_alike_are_not_merged(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[Reply(text=text) for text in ("Left.", "Right.", "On.", "On.")])
    lexgate = serve(TURNS)
    _, left = turn(lexgate, ["same"])
    seen, right = turn(lexgate, ["same"])
    assert seen.startswith("0/")
    assert turn(lexgate, [*left, "go"])[0].startswith("1/")
    assert turn(lexgate, [*right, "go"])[0].startswith("1/")


def test_a_changed_history_is_a_new_session(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[Reply(text="Yes.")] * 2)
    lexgate = serve(TURNS)
    _, history = turn(lexgate, ["one"])
    changed = [{"role": "user", "content": "another one"}, history[1], "two"]
    assert turn(lexgate, changed)[0].startswith("0/")


def test_sessions_are_capped(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[Reply(text=f"Answer {number}.") for number in range(20)])
    lexgate = serve(TURNS, settings={"limits": {"sessions": 5}})
    for number in range(20):
        turn(lexgate, [f"conversation {number}"])
    store: Any = lexgate.house.world.store
    assert store.tally.evicted >= 15


@pytest.mark.parametrize("state", ["memory://", "sqlite:///state.db"])
def test_every_length_of_time_that_a_rule_names_can_be_kept_by_every_store(
    serve: Serve, provider: OpenAIMock, state: str
) -> None:
    """The embedded database writes down what the memory only holds."""
    provider.script(*[Reply(text="Yes.")] * 2)
    lexgate = serve(
        policy(
            rule("reminder", "{log: again}", more="    limit: {per: caller.id, max: 1, every: 1h}\n"),
            rule("window", "{rate_limit: {key: caller.id, limit: 9, window: 1m}}"),
            rule("slots", "{rate_limit: {key: caller.id, limit: 9, window: 1m, of: concurrency}}", phase="attempt"),
            rule("tokens", "{rate_limit: {key: caller.id, limit: 9999, window: 1h, of: tokens}}", phase="attempt"),
            rule("kept", "{remember: {key: k, value: 1, ttl: 1h}}, {count: {key: c}}, {label: {name: n, ttl: 2h}}"),
        ),
        settings={"state": state},
    )
    assert statuses(lexgate.post(asking()) for _ in range(2)) == [200, 200]


@pytest.mark.parametrize(
    ("match", "status"),
    [("{label: suspect}", 503), ("{label: suspect, model: gpt-*}", 503), ("{label: suspect, model: other-*}", 200)],
)
def test_a_guard_that_matches_a_label_refuses_where_labels_cannot_be_read(
    serve: Serve, provider: OpenAIMock, match: str, status: int
) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = without_store(serve(policy(rule("guard", "{block: No.}", more=f"    match: {match}\n"))))
    assert lexgate.post(asking()).status == status
