"""What rules make of failures, and what becomes of backends that fail, with a clock of the tests' own."""

import asyncio
import http.client
import http.server
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from engine.resources import packs_dir
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import asking, heard
from .test_disconnects import eventually, is_idle
from .test_routes import BOTH, backend, routed, say, second, trail

__all__ = ["second"]

PACK = (packs_dir() / "resilience.yaml").read_text()


class Time:
    """A clock that stands, but for who sleeps."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.now = start
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


def standing(lexgate: Lexgate, time: Time, sleep: Callable[[float], Awaitable[None]] | None = None) -> Lexgate:
    """The same, with the clock of the test."""
    lexgate.house.world.clock = time
    lexgate.house.world.sleep = sleep or time.sleep
    return lexgate


def rule(*actions: str, when: str = "error.status > `0`") -> str:
    listed = "\n".join(f"      - {each}" for each in actions)
    return f"""
version: 1
policy: own
rules:
  - id: own
    phase: error
    when: {when}
    actions:
{listed}
"""


# --- waiting ---------------------------------------------------------------------------------------------------------


@BOTH
def test_it_waits_as_long_as_it_was_told_and_a_second_then_succeeds(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time, stream: bool
) -> None:
    lexgate = standing(routed(serve, provider, second, "a:x|b:y", PACK), time)
    provider.script(Reply(status=429, headers={"retry-after": "2"}), Reply(text="One."))
    assert say(lexgate, stream=stream) == "One."
    assert time.slept == [3.0]
    assert second.requests == []


def test_a_wait_that_would_be_too_long_is_none(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time
) -> None:
    lexgate = standing(routed(serve, provider, second, "a:x|b:y", PACK), time)
    provider.script(Reply(status=429, headers={"retry-after": "30"}))
    second.script(Reply(text="Two."))
    assert say(lexgate) == "Two."
    assert time.slept == []


def test_all_waits_end_within_their_time(serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time) -> None:
    lexgate = standing(routed(serve, provider, second, "a:x|b:y", PACK), time)
    provider.script(*[Reply(status=503, headers={"retry-after": "25"})] * 4)
    second.script(Reply(text="Two."))
    assert say(lexgate) == "Two."
    assert time.slept == [26.0, 26.0, 26.0]


def test_without_a_time_it_waits_longer_each_time(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time
) -> None:
    lexgate = standing(routed(serve, provider, second, "a:x", rule("wait: {times: 3}")), time)
    provider.script(*[Reply(status=503)] * 4)
    assert lexgate.post(asking(model="default")).status == 503
    assert time.slept == [1.0, 2.0, 4.0]


def test_a_date_is_a_time_too(serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time) -> None:
    lexgate = standing(routed(serve, provider, second, "a:x", PACK), time)
    provider.script(Reply(status=429, headers={"retry-after": "Tue, 14 Nov 2023 22:13:25 GMT"}), Reply(text="One."))
    assert say(lexgate) == "One."
    assert time.slept == [6.0]


@BOTH
def test_a_client_that_goes_away_ends_a_wait(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time, stream: bool
) -> None:
    waiting, gone = Gate(), []

    async def sleep(_seconds: float) -> None:
        waiting._reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            gone.append(True)
            raise

    settings = {"stream": {"commit_after": 0.05, "keep_alive": 0.05}}
    lexgate = standing(routed(serve, provider, second, "a:x|b:y", PACK, **settings), time, sleep)
    provider.script(Reply(status=429))
    if stream:
        with lexgate.open(asking(model="default", stream=True)) as asked:
            waiting.wait_until_reached()
            asked.until(b": ")
    else:
        asked_and_left(lexgate, waiting)
    eventually(lambda: bool(gone))
    eventually(lambda: is_idle(lexgate))
    assert second.requests == []


def asked_and_left(lexgate: Lexgate, waiting: Gate) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", lexgate.port)
    body = json.dumps(asking(model="default")).encode()
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    waiting.wait_until_reached()
    connection.close()


# --- what else rules may do ------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("status", [401, 403, 500])
def test_the_pack_goes_on_with_the_next_leg(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool, status: int
) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y", PACK)
    provider.script(Reply(status=status))
    second.script(Reply(text="Two."))
    assert say(lexgate, stream=stream) == "Two."


@BOTH
def test_the_pack_lets_the_client_hear_of_its_own_mistake(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool
) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y", PACK)
    provider.script(Reply(status=400, error="The prompt is wrong."))
    raw = lexgate.post(asking(model="default", stream=stream))
    assert (raw.status, raw.json["error"]["message"]) == (400, "The prompt is wrong.")
    assert second.requests == []


def test_a_rule_may_ask_again_then_go_on(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y", rule("retry: 2", "failover: {}"))
    provider.script(*[Reply(status=400)] * 3)
    second.script(Reply(text="Two."))
    assert say(lexgate) == "Two."
    assert len(provider.requests) == 3
    assert trail(lexgate) == [("a:x", "failed")] * 3


def test_a_rule_may_let_the_client_hear_it(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y", rule("surface: {}"))
    provider.script(Reply(status=500))
    assert lexgate.post(asking(model="default")).status == 500
    assert second.requests == []


@BOTH
def test_a_rule_may_answer_in_the_backends_place(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool
) -> None:
    lexgate = routed(serve, provider, second, "a:x|b:y", rule("respond: Back soon."))
    provider.script(Reply(status=500))
    assert say(lexgate, stream=stream) == "Back soon."
    assert second.requests == []


@BOTH
def test_a_rule_may_leave_a_leg_out(serve: Serve, provider: OpenAIMock, second: OpenAIMock, stream: bool) -> None:
    skip = """
version: 1
policy: own
rules: [{id: own, phase: attempt, match: {backend: a}, actions: [{skip_leg: Not today.}]}]
"""
    lexgate = routed(serve, provider, second, "a:x|b:y", skip)
    second.script(Reply(text="Two."))
    assert say(lexgate, stream=stream) == "Two."
    assert provider.requests == []
    skipped = next(each for each in lexgate.records() if "skipped" in each)
    assert skipped["skipped"] == "Not today."


def test_attempts_have_an_end(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    lexgate = routed(serve, provider, second, "a:x|a:y|a:z", rule("retry: 10"), resilience={"max_attempts": 5})
    provider.script(*[Reply(status=500)] * 9)
    assert lexgate.post(asking(model="default")).status == 500
    assert len(provider.requests) == 5


# --- breakers --------------------------------------------------------------------------------------------------------


def test_a_breaker_opens_lets_one_through_and_closes(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time
) -> None:
    lexgate = standing(routed(serve, provider, second, "a:x|b:y"), time)
    provider.script(*[Reply(status=500)] * 4, Reply(text="One."), Reply(text="One."))
    second.script(*[Reply(text="Two.")] * 6)
    assert [say(lexgate) for _ in range(4)] == ["Two."] * 4
    assert len(provider.requests) == 3, "it was asked though its breaker was open"
    time.now += 30
    assert say(lexgate) == "Two."
    assert len(provider.requests) == 4, "nobody tried it when its time was over"
    assert say(lexgate) == "Two."
    assert len(provider.requests) == 4
    time.now += 30
    assert [say(lexgate), say(lexgate)] == ["One.", "One."]


def test_a_backend_that_is_alone_is_asked_whatever_its_breaker_says(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock
) -> None:
    lexgate = routed(serve, provider, second, "a:x")
    provider.script(*[Reply(status=500)] * 5, Reply(text="One."))
    assert [lexgate.post(asking(model="default")).status for _ in range(5)] == [500] * 5
    assert say(lexgate) == "One."


def test_where_all_are_left_out_one_is_asked(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time
) -> None:
    lexgate = standing(routed(serve, provider, second, "a:x|b:y"), time)
    provider.script(*[Reply(status=500)] * 3, Reply(text="One."))
    second.script(*[Reply(status=500)] * 3)
    assert [lexgate.post(asking(model="default")).status for _ in range(3)] == [500] * 3
    assert say(lexgate) == "One."


def test_clients_that_go_away_open_no_breaker(
    serve: Serve, provider: OpenAIMock, second: OpenAIMock, time: Time
) -> None:
    lexgate = standing(routed(serve, provider, second, "a:x|b:y"), time)
    for _ in range(4):
        gate = Gate()
        provider.script(Reply(text="Late.", gate=gate))
        asked_and_left(lexgate, gate)
        provider.wait_for_disconnect()
        gate.open()
    provider.script(Reply(text="One."))
    assert say(lexgate) == "One."


def test_keys_at_rest_leave_a_leg_out(serve: Serve, provider: OpenAIMock, second: OpenAIMock) -> None:
    keyed = {"a": backend(provider, api_key="k1")}
    lexgate = routed(serve, provider, second, "a:x|b:y", backends=keyed)
    provider.script(Reply(status=429, headers={"retry-after": "100"}))
    second.script(Reply(text="Two."), Reply(text="Two."))
    assert [say(lexgate), say(lexgate)] == ["Two.", "Two."]
    assert len(provider.requests) == 1


# --- health checks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def page() -> Iterator["Page"]:
    with Page() as found:
        yield found


class Page:
    """A page that says whether somebody is well."""

    def __init__(self) -> None:
        self.status = 200

    def __enter__(self) -> "Page":
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(page.status if self.path == "/health" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"


def test_a_check_takes_a_backend_out_and_brings_it_back(serve: Serve, provider: OpenAIMock, page: Page) -> None:
    checked = {
        "protocol": "openai", "base_url": page.url, "models": ["*"],
        "health": {"path": "/health", "every": 0.05, "failures": 2},
    }  # fmt: skip
    page.status = 503
    settings = {
        "backends": {"a": checked, "b": backend(provider)}, "routes": {"r": "a:x|b:y"}, "default_route": "@r",
    }  # fmt: skip
    lexgate = serve(settings=settings)
    health = lexgate.house.world.health
    eventually(lambda: bool(health.why_not("a", "x")))
    provider.script(Reply(text="Two."))
    assert heard(lexgate.post(asking(model="default", tools=None))).text == "Two."
    assert "it answered 503" in health.why_not("a", "x")
    page.status = 200
    eventually(lambda: not health.why_not("a", "x"))
    states = [each["state"] for each in lexgate.logs if each["event"] == "health check changed"]
    assert states == ["down", "up"]
