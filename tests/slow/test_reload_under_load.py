"""Edits while requests and streams run: nobody notices, and every answer is by one set of rules alone."""

import asyncio
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import upstream
from tests.bench.process import child
from tests.slow.served import PATIENCE, Served, configure
from tests.slow.traffic import Answer, Request, drive, request

EDITS = 30
CONNECTIONS = 16
PACE = "5"  # milliseconds between two events: a stream lasts longer than a reload
POLICY = """
version: 1
policy: words
rules:
  - id: marks-the-edit
    phase: text
    actions: [{replace: {patterns: {early: '\\bword1\\b', late: '\\bword40\\b'}, with: "edit-%d"}}]
"""
BROKEN = "version: 1\npolicy: words\nrules:\n  - id: marks-the-edit\n    phase: text\n    actoins: []\n"
MARKS = re.compile(rb"edit-(\d+)")


def endless(until: asyncio.Event) -> Iterator[Request]:
    stream, whole = (upstream.chat_request(stream=each, size=512) for each in (True, False))
    for number in itertools.count():
        if until.is_set():
            return
        yield request("stream", stream, x_pace=PACE) if number % 2 else request("whole", whole)


async def edit(served: Served, file: Path, number: int) -> str:
    """Write the edit, wait until it was tried, and return the revision in force."""
    broken = number % 3 == 2
    tried = (await asyncio.to_thread(served.status))["last_attempt"]["number"]
    await asyncio.to_thread(file.write_text, BROKEN if broken else POLICY % number)
    began = time.monotonic()
    while True:
        status = await asyncio.to_thread(served.status)
        last = status["last_attempt"]
        if last["number"] > tried:
            assert last["outcome"] == ("error" if broken else "ok"), last
            return str(status["revision"])
        assert time.monotonic() - began < PATIENCE, status
        await asyncio.sleep(0.02)


async def settled(counted: dict[str, int], more: int, load: "asyncio.Task[list[Request]]") -> None:
    """Wait for so many more streams, so that one at least began under the set that is now in force."""
    until = counted["stream"] + more
    while counted["stream"] < until and not load.done():  # noqa: ASYNC110  # a look now and then costs the load less
        await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_of_30_edits_under_load_no_request_fails_and_none_mixes_rules(tmp_path: Path) -> None:
    """Every third edit is broken. A stream is marked at its beginning and at its end, by the same set of rules."""
    edits: dict[str, int] = {}
    wrong: list[Answer] = []
    seen: dict[tuple[str, str], int] = {}
    file = tmp_path / "policies" / "policy.yaml"

    def heard(answer: Answer) -> None:
        marks = {int(each) for each in MARKS.findall(answer.body)}
        complete = answer.body.endswith(b"data: [DONE]\n\n") and len(MARKS.findall(answer.body)) == 2
        if answer.request.name == "whole":
            complete, marks = b'"finish_reason"' in answer.body, {-1}
        key = answer.request.name, answer.revision
        if answer.status != 200 or not complete or len(marks) != 1 or seen.setdefault(key, *marks) not in marks:
            wrong.append(answer)
        counted[answer.request.name] += 1

    counted = {"whole": 0, "stream": 0}

    async def under_load(served: Served) -> tuple[list[Request], float]:
        done = asyncio.Event()
        load = asyncio.create_task(drive(served.port, endless(done), heard, connections=CONNECTIONS))
        edits[(await asyncio.to_thread(served.status))["revision"]] = 0
        began = time.monotonic()
        for number in range(1, EDITS + 1):
            edits.setdefault(await edit(served, file, number), number)
            await settled(counted, CONNECTIONS, load)
        took = time.monotonic() - began
        done.set()
        return await load, took

    with child(["-m", "tests.bench.upstream"]) as provider:
        configure(tmp_path, provider.port, POLICY % 0)
        with Served(tmp_path) as served:
            lost, took = asyncio.run(under_load(served))
    print(f"\nreload: {EDITS} edits in {took:.1f} s, {len(edits) - 1} of them sound and in force")
    print(
        f"reload: {counted['whole']:,} whole answers and {counted['stream']:,} streams, {len(wrong)} wrong, {len(lost)} lost"
    )
    assert wrong == []
    assert lost == []
    assert len(edits) == 1 + EDITS - EDITS // 3
    assert {revision for _, revision in seen} <= set(edits)
    streams = {revision: mark for (name, revision), mark in seen.items() if name == "stream"}
    assert len(streams) == len(edits), "a set of rules was in force, and no stream began under it"
    assert streams == edits
