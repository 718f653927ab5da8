"""Limits and state over real requests, on servers of state that are stopped and started under load."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.openai_mock import OpenAIMock, Reply
from tests.world.store.servers import PostgresServer, RedisServer, an_empty_database, redis_server

from .conftest import Serve
from .talk import asking
from .test_limits import policy, rule

URLS: dict[str, Callable[[str], str]] = {
    "redis": lambda name: redis_server().url(name),
    "postgresql": lambda _name: an_empty_database(),
}
LIMITED = rule("limited", "{rate_limit: {key: caller.id, limit: 5, window: 1h}}")


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest) -> str:
    return URLS[request.param](f"e2e-{request.node.name}")


@pytest.fixture(params=[RedisServer, PostgresServer])
def database(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A server of this test's own, to be stopped."""
    server = request.param()
    yield server
    server.close()


def test_two_servers_on_one_store_share_a_limit(serve: Serve, provider: OpenAIMock, url: str) -> None:
    provider.script(*[Reply(text="Yes.")] * 5)
    both = [serve(policy(LIMITED), settings={"state": url}) for _ in range(2)]
    with ThreadPoolExecutor(8) as callers:
        statuses = list(callers.map(lambda number: both[number % 2].post(asking()).status, range(20)))
    assert sorted(statuses) == [200] * 5 + [429] * 15


def test_what_one_server_remembers_another_reads(serve: Serve, provider: OpenAIMock, url: str) -> None:
    provider.script(*[Reply(text="Yes.")] * 2)
    rules = policy(
        rule("mark", "{label: {name: seen, in: caller, ttl: 1h}}", when="request.last_user == 'mark me'"),
        rule("stop", "{block: Seen before.}", when="contains(session.labels, 'seen')"),
    )
    first, second = [serve(rules, settings={"state": url}) for _ in range(2)]
    assert second.post(asking()).status == 200
    assert first.post(asking("mark me")).status == 200
    assert second.post(asking()).status == 400


def test_a_store_stopped_and_started_under_load_refuses_or_passes_as_each_rule_says(
    serve: Serve, provider: OpenAIMock, database: Any
) -> None:
    provider.script(*[Reply(text="Yes.")] * 10_000)
    deny, skip = [
        serve(
            policy(rule("limited", "{rate_limit: {limit: 100000, window: 1h}}", more=f"    on_error: {what}\n")),
            settings={"state": database.url()},
        )
        for what in ("deny", "skip")
    ]
    seen: dict[str, list[int]] = {"deny": [], "skip": []}
    over = threading.Event()

    def ask(name: str, lexgate: Any) -> None:
        while not over.is_set():
            seen[name].append(lexgate.post(asking()).status)

    callers = [threading.Thread(target=ask, args=each) for each in (("deny", deny), ("skip", skip))]
    for caller in callers:
        caller.start()
    try:
        _until(lambda: all(statuses.count(200) >= 5 for statuses in seen.values()))
        database.stop()
        _until(lambda: seen["deny"].count(503) >= 5)
        assert deny.house.world.store_status()["up"] is False
        database.start()
        _until(lambda: seen["deny"][-3:] == [200] * 3)
    finally:
        over.set()
        for caller in callers:
            caller.join()
    assert set(seen["deny"]) == {200, 503}
    assert set(seen["skip"]) == {200}
    for lexgate in (deny, skip):
        assert lexgate.house.world.store_status()["up"] is True
    told = Counter(entry["event"] for entry in [*deny.logs, *skip.logs] if entry["event"].startswith("state store"))
    assert told == {"state store is down": 2, "state store is back": 2}


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)
