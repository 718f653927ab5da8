"""Budgets over the real server: what fits, what does not, and what is counted whatever becomes of an answer."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from engine.model.effects import Budget
from engine.passage.spending import meter_of
from engine.world.store import base as store
from tests.support.anthropic_mock import AnthropicMock
from tests.support.lexgate import Lexgate, Raw
from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import WIPE, asking
from .test_limits import policy, rule

PRICES: Mapping[str, Any] = {"gpt-4o": {"input": 10, "output": 100}, "cheap": {"input": 1, "output": 1}}
SETTINGS: Mapping[str, Any] = {"prices": PRICES}
USED = Reply(text="Yes.", usage=(100, 10, 0, 0))
"""Costs 100 x 10 + 10 x 100 millionths: $0.002."""


def budget(limit: float = 0.01, more: str = "", id: str = "b", tail: str = "") -> str:
    return rule(id, f"{{budget: {{limit: {limit}, window: day{more}}}}}", phase="attempt", more=tail)


def standing(lexgate: Lexgate, id: str = "b", key: str = "") -> store.Standing:
    """Of the budget of one rule, from the store itself."""
    steps = lexgate.live.current.by_name[f"p/{id}"].steps
    meter = next(iter(steps[0].action.run(steps[0].params, _moment(key))))
    assert isinstance(meter, Budget)
    kept = meter_of(f"p/{id}", meter, lexgate.house.world.clock())

    async def read() -> store.Standing:
        return (await lexgate.house.world.store.read(meters=[kept])).standings[kept]

    return lexgate.run(read)


def _moment(key: str) -> Any:
    return SimpleNamespace(event={"caller": {"id": key}, "attempt": {"model": key}}, env=None)


def spent(lexgate: Lexgate, id: str = "b") -> int:
    """Nano-dollars."""
    found = standing(lexgate, id)
    assert found.reserved == 0, "nothing stays reserved"
    return found.limit - found.remaining


def ask(lexgate: Lexgate, *, max_tokens: int | None = 20, stream: bool = False, **more: Any) -> Raw:
    return lexgate.post(asking(stream=stream, tools=None, max_tokens=max_tokens, **more))


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_spent_budget_refuses_with_402_and_says_amount_window_and_renewal(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[USED] * 9)
    lexgate = serve(policy(budget(0.01)), settings=SETTINGS)
    answers = [ask(lexgate) for _ in range(9)]
    refused = next(each for each in answers if each.status != 200)
    assert refused.status == 402
    error = refused.json["error"]
    assert (error["code"], error["type"]) == ("budget_exceeded", "insufficient_quota")
    assert "The budget of $0.01 a day (p/b) has $0.00" in error["message"]
    assert "It renews at 20" in error["message"]
    assert "retry-after" not in refused.headers
    assert len(provider.requests) == sum(each.status == 200 for each in answers) == spent(lexgate) // 2_000_000


def test_a_request_that_could_cost_more_than_the_whole_budget_is_told_so(serve: Serve, provider: OpenAIMock) -> None:
    raw = ask(serve(policy(budget(0.01)), settings=SETTINGS), max_tokens=100_000)
    assert raw.status == 402
    assert "is too small: this request could cost up to $10.0" in raw.json["error"]["message"]
    assert provider.requests == []


def test_what_others_only_reserved_is_worth_waiting_for(serve: Serve, provider: OpenAIMock) -> None:
    gate = Gate()
    provider.script(Reply(text="Yes.", usage=(1, 1, 0, 0), gate=gate), USED)
    lexgate = serve(policy(budget(0.01)), settings=SETTINGS)
    first = threading.Thread(target=lambda: ask(lexgate, max_tokens=60))
    first.start()
    gate.wait_until_reached()
    refused = ask(lexgate, max_tokens=60)
    assert (refused.status, refused.json["error"]["code"], refused.headers["retry-after"]) == (
        429,
        "budget_exceeded",
        "1",
    )
    gate.open()
    first.join()
    assert ask(lexgate, max_tokens=60).status == 200


def test_anthropic_clients_get_their_own_error(serve: Serve) -> None:
    with AnthropicMock() as mock:
        backend = {"protocol": "anthropic", "base_url": mock.base_url, "api_key": "key", "models": ["*"]}
        lexgate = serve(policy(budget(0.01)), settings={**SETTINGS, "backends": {"anthropic": backend}})
        body = {"model": "gpt-4o", "max_tokens": 9000, "messages": [{"role": "user", "content": "Hi"}]}
        raw = lexgate.post(body, "/v1/messages")
    assert (raw.status, raw.json["error"]["type"]) == (402, "billing_error")


# --- prices ----------------------------------------------------------------------------------------------------------


def test_a_price_that_nobody_knows_refuses(serve: Serve, provider: OpenAIMock) -> None:
    raw = ask(serve(policy(budget()), settings=SETTINGS), model="made-up")
    assert (raw.status, raw.json["error"]["code"]) == (400, "price_unknown")
    assert provider.requests == []


@pytest.mark.parametrize(("said", "cost"), [("allow", 0), ("2.5", 275_000)])
def test_unless_the_budget_says_what_then(serve: Serve, provider: OpenAIMock, said: str, cost: int) -> None:
    provider.script(USED)
    lexgate = serve(policy(budget(more=f", unknown_price: {said}")), settings=SETTINGS)
    assert ask(lexgate, model="made-up").status == 200
    assert spent(lexgate) == cost


# --- the limit of output ---------------------------------------------------------------------------------------------


def test_where_the_client_sets_no_limit_the_assumed_one_is_set_upstream(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(USED, USED)
    lexgate = serve(
        policy(budget(more=", assume_output: 50"), budget(1, ", assume_output: 70", "c")), settings=SETTINGS
    )
    assert ask(lexgate, max_tokens=None).status == 200
    assert [provider.requests[0].json.get(name) for name in ("max_tokens", "max_completion_tokens")].count(50) == 1
    ask(lexgate, max_tokens=20)
    assert provider.requests[1].json["max_tokens"] == 20


def test_a_limit_that_is_no_number_is_none(serve: Serve, provider: OpenAIMock) -> None:
    """A backend that reads "9000" as a number must not answer more than what was reserved."""
    provider.script(USED)
    ask(serve(policy(budget(more=", assume_output: 50")), settings=SETTINGS), max_tokens="9000")  # type: ignore[arg-type]
    sent = provider.requests[0].json
    assert 50 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert "9000" not in sent.values()


def test_several_answers_are_reserved_for_each(serve: Serve, provider: OpenAIMock) -> None:
    raw = ask(serve(policy(budget(0.01)), settings=SETTINGS), max_tokens=60, n=2)
    assert raw.status == 402


# --- settlement ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reply", "cost"),
    [(USED, 2_000_000), (Reply(status=500), 0), (Reply(status=400), 0)],
    ids=["answered", "500", "400"],
)
def test_what_was_used_is_charged_and_errors_are_not(
    serve: Serve, provider: OpenAIMock, reply: Reply, cost: int, stream: bool
) -> None:
    provider.script(reply)
    lexgate = serve(policy(budget(1)), settings=SETTINGS)
    ask(lexgate, stream=stream)
    assert spent(lexgate) == cost


def test_a_cut_stream_costs_what_came(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="One two three four. " * 20, cut_after=30))
    lexgate = serve(policy(budget(1)), settings=SETTINGS)
    ask(lexgate, stream=True, max_tokens=200)
    assert 100_000 < spent(lexgate) < 20_000_000


def test_a_client_that_leaves_pays_for_what_it_heard(serve: Serve, provider: OpenAIMock) -> None:
    gate = Gate()
    provider.script(Reply(text="One two three four.", gate=gate, gate_before=4))
    lexgate = serve(policy(budget(1)), settings=SETTINGS)
    with lexgate.open(asking(stream=True, tools=None, max_tokens=100)) as asked:
        asked.until(b"One")
        gate.wait_until_reached()
    provider.wait_for_disconnect()
    gate.open()
    while standing(lexgate).reserved:
        pass
    assert 10_000 < spent(lexgate) < 10_000_000


def test_each_reask_of_steering_is_charged(serve: Serve, provider: OpenAIMock) -> None:
    steered = rule("s", "{steer: {message: No.}}", phase="tool_call", more="    match: {tool: bash}\n")
    provider.script(Reply(calls=(WIPE,), usage=(100, 10, 0, 0)), Reply(text="Well.", usage=(200, 10, 0, 0)))
    lexgate = serve(policy(budget(1), steered), settings=SETTINGS)
    assert lexgate.post(asking(max_tokens=20)).status == 200
    assert spent(lexgate) == 2_000_000 + 3_000_000


def test_after_a_failover_the_model_that_answered_is_charged(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(status=500), Reply(status=500), Reply(status=500), USED)
    route = rule("r", "{route: 'openai:gpt-4o|openai:cheap'}", phase="route")
    lexgate = serve(policy(budget(1), route), settings=SETTINGS)
    while ask(lexgate).status != 200:
        pass
    assert spent(lexgate) == 110_000


def test_on_exceed_failover_tries_the_next_leg(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(USED)
    route = rule("r", "{route: 'openai:gpt-4o|openai:cheap'}", phase="route")
    lexgate = serve(policy(budget(0.001, ", on_exceed: failover"), route), settings=SETTINGS)
    assert ask(lexgate, max_tokens=100).status == 200
    assert provider.requests[0].json["model"] == "cheap"


def test_an_overrun_is_charged_logged_and_refuses_the_next(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes.", usage=(100, 100, 0, 0)))
    lexgate = serve(policy(budget(0.01)), settings=SETTINGS)
    assert ask(lexgate).status == 200
    assert ask(lexgate).status == 402
    (said,) = [each for each in lexgate.logs if each["event"] == "budget overrun"]
    assert said["rule"] == "p/b"


def test_a_command_costs_nothing(serve: Serve, provider: OpenAIMock) -> None:
    answered = rule("r", "{respond: {message: Here.}}")
    lexgate = serve(policy(budget(0.000001), answered), settings=SETTINGS)
    assert ask(lexgate).status == 200
    assert spent(lexgate) == 0


def test_a_budget_in_shadow_refuses_nobody(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(USED)
    lexgate = serve(policy(budget(0.000001, tail="    mode: shadow\n")), settings=SETTINGS)
    assert ask(lexgate, max_tokens=None).status == 200
    assert not {"max_tokens", "max_completion_tokens"} & provider.requests[0].json.keys()


# --- what is told ----------------------------------------------------------------------------------------------------


def test_from_its_soft_limit_on_a_budget_warns(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[USED] * 3)
    lexgate = serve(policy(budget(0.01, ", warn_at: 0.5")), settings=SETTINGS)
    answers = [ask(lexgate, max_tokens=10) for _ in range(3)]
    warnings = [each.headers.get("x-lexgate-budget-warning") for each in answers]
    assert warnings[0] is None
    assert warnings[2] is not None
    assert "p/b; 60% of $0.01 a day; renews 20" in warnings[2]
    assert [each["event"] for each in lexgate.logs].count("budget nearly spent") == 1


def test_the_audit_log_has_what_was_held_and_what_was_used(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(USED)
    lexgate = serve(policy(budget(1)), settings=SETTINGS)
    ask(lexgate)
    entries = [entry for record in lexgate.records() for entry in record.get("budget", [])]
    held, used = entries
    assert (held["of"], held["limit"], held["window"]) == ("money", 1.0, "day")
    assert held["held"] == held["delta"] > used["used"] == 0.002
    assert held["delta"] + used["delta"] == pytest.approx(0.002)


@pytest.mark.parametrize("burst", ["", ", burst: 5"], ids=["window", "bucket"])
def test_limits_are_told_in_the_names_that_clients_know(serve: Serve, provider: OpenAIMock, burst: str) -> None:
    provider.script(USED)
    limit = f"{{rate_limit: {{limit: 5, window: 1m{burst}}}}}"
    headers = ask(serve(policy(rule("l", limit)))).headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("5", "4")
    assert headers["x-ratelimit-reset-requests"].endswith("s")


def test_a_token_bucket_lets_a_burst_pass_and_no_more(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(*[USED] * 3)
    lexgate = serve(policy(rule("l", "{rate_limit: {limit: 60, window: 1h, burst: 3}}")))
    answers = [ask(lexgate) for _ in range(4)]
    assert [each.status for each in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


# --- all at once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["memory://", "sqlite:///state.db"])
def test_200_requests_at_once_never_exceed_a_budget_and_leave_less_than_one_reservation(
    serve: Serve, provider: OpenAIMock, state: str
) -> None:
    provider.script(*[USED] * 200)
    lexgate = serve(policy(budget(0.05)), settings={**SETTINGS, "state": state})

    def until_refused(_: int) -> tuple[int, int]:
        answered = 0
        for _ in range(300):
            raw = ask(lexgate)
            if raw.status == 402:
                return answered, raw.status
            answered += raw.status == 200
        return answered, 0

    with ThreadPoolExecutor(20) as pool:
        ends = list(pool.map(until_refused, range(200)))
    assert {status for _, status in ends} == {402}
    answered = sum(count for count, _ in ends)
    assert answered == len(provider.requests)
    assert spent(lexgate) == answered * 2_000_000 <= 50_000_000
    reservation = 20 * 100_000 + 400 * 10_000
    assert 50_000_000 - spent(lexgate) < reservation
