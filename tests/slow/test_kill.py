"""A server that is killed in the middle of its work: what it had promised still holds when it is back."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.world.chain import Head, Verified, verify
from tests.slow.served import Served, configure
from tests.slow.traffic import Answer, Request, drive, request
from tests.support.openai_mock import OpenAIMock, Reply

KILLS = 5
CONNECTIONS = 8
ADMITTED = 8
"""Requests under the limit that are answered before each kill."""
LIMIT = 60
SESSION = "the-same"
POLICY = """
version: 1
policy: accounts
rules:
  - id: limits
    phase: request
    match: {model: limited}
    actions: [{rate_limit: {limit: 60, window: 1h}}]
  - id: counts
    phase: request
    match: {model: free}
    actions: [{count: {key: asked, ttl: 1d}}]
  - id: tells
    phase: request
    match: {model: counter}
    actions: [{respond: {message: "{{ var('asked', `0`) }}"}}]
"""


def asking(model: str, *, stream: bool = False) -> bytes:
    return json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Go."}]}).encode()


def endless() -> Iterator[Request]:
    """One of twenty is limited; of the others half are streams."""
    limited = request("limited", asking("limited"), x_session_id=SESSION)
    free = [request("free", asking("free", stream=each), x_session_id=SESSION) for each in (False, True)]
    for number in itertools.count():
        yield limited if number % 20 == 0 else free[number % 2]


def head_of(audit: Path, folder: Path) -> Head:
    """Of the whole lines of a log that may end in a torn one."""
    whole = folder / "whole.jsonl"
    whole.write_bytes(audit.read_bytes().rpartition(b"\n")[0] + b"\n")
    verified = verify(whole)
    assert isinstance(verified, Verified), verified
    return verified.head


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_five_kills_limits_counters_and_the_audit_chain_hold(tmp_path: Path) -> None:
    sent: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    heads: list[Head] = []
    starts: list[float] = []

    def counted(requests: Iterator[Request]) -> Iterator[Request]:
        for each in requests:
            sent[each.name] += 1
            yield each

    with OpenAIMock(*[Reply(text="Yes, of course.")] * 50_000) as provider:
        configure(tmp_path, provider.port, POLICY)
        audit = tmp_path / "var" / "audit.jsonl"
        for _ in range(KILLS):
            with Served(tmp_path) as served:
                starts.append(served.ready_after)
                compiler = served.status()["compiler"]["pid"]
                until = answered["limited"] + ADMITTED

                def heard(answer: Answer, served: Served = served, until: int = until) -> None:
                    assert answer.status == 200, (answer.body, served.errors())
                    answered[answer.request.name] += 1
                    if answered["limited"] >= until:
                        served.kill()

                drop = asyncio.run(drive(served.port, counted(endless()), heard, connections=CONNECTIONS))
                lost.update(each.name for each in drop)
                assert served.process.poll() == -9
            heads.append(head_of(audit, tmp_path))
            until_gone(compiler)

        with Served(tmp_path) as served:
            starts.append(served.ready_after)
            statuses: Counter[int] = Counter()
            rest = [request("limited", asking("limited"), x_session_id=SESSION)] * LIMIT
            asyncio.run(drive(served.port, counted(iter(rest)), lambda answer: statuses.update([answer.status])))
            told = served.post(json.loads(asking("counter")), {"x-session-id": SESSION})
        upstream = Counter(each.json["model"] for each in provider.requests)

    asked = int(told["choices"][0]["message"]["content"])
    verified = verify(audit, heads)
    print(f"\nkill: {KILLS} kills, {sent.total():,} requests, {lost.total()} without an answer")
    print(f"kill: starts took {', '.join(f'{each:.2f}' for each in starts)} s")
    print(
        f"kill: of {LIMIT} an hour, {upstream['limited']} reached the backend; {statuses[429]} were refused at the end"
    )
    print(f"kill: counted {asked:,}, answered {answered['free']:,}, sent {sent['free']:,}")
    print(f"kill: audit {verified}")
    # A request that was killed between its charge and its call has used up its place; no place is ever used twice.
    assert set(statuses) == {200, 429}
    assert answered["limited"] + statuses[200] <= upstream["limited"] <= LIMIT
    assert upstream["limited"] >= LIMIT - lost["limited"]
    assert answered["free"] <= asked <= sent["free"]
    assert lost.total() >= KILLS
    assert isinstance(verified, Verified), verified
    assert [head.count for head in heads] == sorted({head.count for head in heads})
    assert verified.records > heads[-1].count


def until_gone(pid: int | None) -> None:
    """The process that compiled for a killed server ends by itself."""
    began = time.monotonic()
    while pid is not None and alive(pid):
        assert time.monotonic() - began < 10, "the compiling process outlived its server"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Not gone, and not a corpse that nobody has fetched."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
