"""A long run: memory and file descriptors at its end are those of its beginning."""

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import upstream
from tests.bench.process import Child, child, cores, pin
from tests.slow.traffic import Answer, Request, drive, request

REQUESTS = int(os.environ.get("LEXGATE_SOAK_REQUESTS", "100000"))
BEGINNING = 10_000
SESSIONS = 20_000
CONNECTIONS = 16
GROWTH = 1.10
POLICY = r"""
version: 1
policy: soak
patterns:
  keys: {key: '\bkey-[a-z0-9]{16,40}\b'}
rules:
  - id: hides-keys
    phase: text
    actions: [{redact: {patterns: keys}}]
  - id: marks-sessions
    phase: request
    unless: contains(session.labels, 'seen')
    actions: [{label: {name: seen, ttl: 1h}}]
"""


def descriptors(server: Child) -> Counter[str]:
    """How many descriptors it has open on each thing that is not one of a kind: `socket`, a path."""
    links = [os.readlink(each) for each in Path(f"/proc/{server.pid}/fd").iterdir() if each.is_symlink()]
    return Counter(link.split(":[")[0] for link in links)


def requests() -> Iterator[Request]:
    """Whole answers and streams in turn; over and over from as many sessions."""
    whole, stream = (upstream.chat_request(stream=each, size=512) for each in (False, True))
    for number in itertools.count():
        session = f"soak-{number // 2 % SESSIONS}"
        yield request("stream" if number % 2 else "whole", stream if number % 2 else whole, x_session_id=session)


def right(answer: Answer) -> None:
    assert answer.status == 200, answer.body
    if answer.request.name == "whole":
        assert b'"finish_reason":"stop"' in answer.body.replace(b": ", b":"), answer.body
    else:
        assert answer.body.endswith(b"data: [DONE]\n\n"), answer.body
        assert b"word40 " in answer.body, answer.body


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_memory_and_descriptors_do_not_grow(tmp_path: Path) -> None:
    """The text rule reads every stream, and every session is labelled: 20,000 of them, of which the store keeps 10,000."""
    assert REQUESTS > BEGINNING, "LEXGATE_SOAK_REQUESTS is too small to compare anything"
    server_core, other_core = cores()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "soak.yaml").write_text(POLICY)
    sending = requests()

    def send(server: Child, number: int) -> tuple[float, Counter[str], float]:
        """Resident MB, open descriptors and requests a second, after so many more."""
        began = time.monotonic()
        lost = asyncio.run(drive(server.port, itertools.islice(sending, number), right, connections=CONNECTIONS))
        assert lost == []
        rate = number / (time.monotonic() - began)
        time.sleep(1.0)  # connections that were closed at this end are closed at the other
        return server.resident_mb(), descriptors(server), rate

    governed = ["-m", "tests.bench.governed"]
    free = os.sched_getaffinity(0)
    pin(other_core)
    try:
        with (
            child(["-m", "tests.bench.upstream"], core=other_core) as provider,
            child([*governed, str(provider.port), "none", str(tmp_path)], core=server_core) as server,
        ):
            idle_fds = descriptors(server)
            first_mb, first_fds, rate = send(server, BEGINNING)
            print(
                f"\nsoak: after {BEGINNING:,}: {first_mb:.1f} MB, {first_fds.total()} descriptors, {rate:.0f} requests/s"
            )
            last_mb, last_fds, rate = send(server, REQUESTS - BEGINNING)
            print(f"soak: after {REQUESTS:,}: {last_mb:.1f} MB, {last_fds.total()} descriptors, {rate:.0f} requests/s")
            print(f"soak: memory grew by {(last_mb / first_mb - 1) * 100:.1f} %")
    finally:
        os.sched_setaffinity(0, free)
    assert last_mb <= first_mb * GROWTH
    # To the backend a connection for each exchange at once may stay open; all else is as it was.
    bound = first_fds | Counter(socket=idle_fds["socket"] + CONNECTIONS)
    assert last_fds <= bound, last_fds - bound
