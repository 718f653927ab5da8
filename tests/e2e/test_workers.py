"""Several workers behind one address: started together, restarted when they die, replaced without a failed request."""

import contextlib
import http.client
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.world.chain import Verified, verify
from engine.world.logfiles import worker_paths
from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .talk import asking
from .test_serving import PATIENCE, Served, configure, write

BODY = asking("Hi", tools=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    configure(tmp_path, {"server": {"workers": 2}})
    write(tmp_path, "No bananas.")
    return tmp_path


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    started = Served(folder, "--port", "0").wait_until_ready()
    yield started
    if started.process.poll() is None:
        started.process.terminate()
    started.process.wait(PATIENCE)


def workers_of(served: Served) -> dict[str, int]:
    """The process of each worker, by its number: as the metrics of all of them tell when each began."""
    text = served.ask("GET", "/metrics")[2].decode()
    return {
        number: round(float(began) * 1000)
        for number, began in re.findall(r'lexgate_start_time_seconds{worker="(\d+)"} (\S+)', text)
    }


def children(pid: int) -> list[int]:
    """The worker processes of `policy serve`."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


class Load:
    """Clients that ask again and again over connections that they keep; `failed` is what was no answer."""

    def __init__(self, port: int, clients: int) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        while not self._over.is_set():
            try:
                connection.request(
                    "POST", "/v1/chat/completions", json.dumps(BODY), {"content-type": "application/json"}
                )
                response = connection.getresponse()
                said = response.read()
                if response.status != 200:
                    self.failed.append(said.decode())
                self.answered += 1
            except (OSError, http.client.HTTPException) as problem:
                self.failed.append(repr(problem))
                connection.close()
            self._over.wait(0.01)
        connection.close()


def test_every_worker_has_its_own_chain_and_all_are_seen_in_the_metrics(folder: Path, served: Served) -> None:
    assert sorted(workers_of(served)) == ["1", "2"]
    with Load(served.port, 8) as load:
        until(lambda: load.answered > 50)
    assert load.failed == []
    text = served.ask("GET", "/metrics")[2].decode()
    assert text.count("# TYPE lexgate_requests_total counter") == 1
    counted = [float(each) for each in re.findall(r'lexgate_requests_total{worker="\d",.*status="200"} (\S+)', text)]
    assert sum(counted) >= load.answered
    served.process.terminate()
    assert served.end() == -signal.SIGTERM
    logs = worker_paths(folder / "var" / "audit.jsonl")
    assert [each.name for each in logs] == ["audit.w1.jsonl", "audit.w2.jsonl"]
    assert all(isinstance(verify(each), Verified) for each in logs)


def test_a_worker_that_dies_is_started_again(served: Served) -> None:
    before = workers_of(served)
    victim = children(served.process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in children(served.process.pid) and len(children(served.process.pid)) == 2)
    until(lambda: len(workers_of(served)) == 2 and workers_of(served) != before)
    assert served.ask("POST", "/v1/chat/completions", BODY)[0] == 200
    assert [each["why"] for each in served.events if each["event"] == "worker died"] == ["ended with code -9"]


def test_workers_are_replaced_one_by_one_without_a_failed_request(served: Served) -> None:
    before = set(children(served.process.pid))
    with Load(served.port, 6) as load:
        until(lambda: load.answered > 20)
        served.process.send_signal(signal.SIGHUP)
        until(lambda: len(now := set(children(served.process.pid))) == 2 and not now & before)
        reached = load.answered
        until(lambda: load.answered > reached + 20)
    assert load.failed == []


def test_a_start_that_fails_in_the_workers_ends_with_its_message(folder: Path) -> None:
    write(folder, "x", phase="requst")
    served = Served(folder, "--port", "0")
    assert served.end() == 1
    said = "\n".join(served.lines)
    assert "policies/words.yaml:5:12 E" in said
    assert said.count("did you mean 'request'?") == 1
    assert "Traceback" not in said


def test_sigterm_lets_streams_of_all_workers_finish(folder: Path) -> None:
    gate = Gate()
    with OpenAIMock(Reply(text="One two three four.", gate=gate, gate_before=3)) as provider:
        backend = {"protocol": "openai", "base_url": provider.base_url, "models": ["*"]}
        configure(folder, {"server": {"workers": 2}, "backends": {"openai": backend}})
        served = Served(folder, "--port", "0").wait_until_ready()
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
        body = json.dumps({**BODY, "stream": True})
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response = connection.getresponse()
        gate.wait_until_reached()
        served.process.terminate()
        until(lambda: [each["event"] for each in served.events].count("stopping") == 2)
        gate.open()
        assert response.read().endswith(b"data: [DONE]\n\n")
        connection.close()
        assert served.end() == -signal.SIGTERM


def test_workers_stop_when_who_started_them_is_gone(served: Served) -> None:
    workers = children(served.process.pid)
    served.process.kill()
    served.process.wait(PATIENCE)

    until(lambda: not any(_is_alive(each) for each in workers))


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
