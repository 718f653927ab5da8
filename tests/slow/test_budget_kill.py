"""Several servers on one store, of which one is killed at a random moment: together they never spend more than a budget."""

import json
import random
import threading
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.slow.served import Served
from tests.support.openai_mock import OpenAIMock, Reply
from tests.world.store.test_processes import url  # noqa: F401 - the fixture: every store that processes share

SERVERS = 3
CALLERS = 12
LIMIT = 0.2
COST = 0.002
POLICY = f"""
version: 1
policy: p
rules:
  - id: b
    phase: attempt
    actions: [{{budget: {{limit: {LIMIT}, window: month}}}}]
"""
ASKED = {"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "Go."}]}


def configure(folder: Path, upstream: int, state: str) -> Path:
    backend = {"protocol": "openai", "base_url": f"http://127.0.0.1:{upstream}/v1", "api_key": "key", "models": ["*"]}
    settings = {
        "policies": ["./policies"],
        "backends": {"upstream": backend},
        "state": state,
        "prices": {"gpt-4o": {"input": 10, "output": 100}},
    }
    (folder / "policies").mkdir(parents=True)
    (folder / "lexgate.yaml").write_text(json.dumps(settings))
    (folder / "policies" / "policy.yaml").write_text(POLICY)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_servers_that_are_killed_never_let_a_budget_be_exceeded(url: str, tmp_path: Path) -> None:  # noqa: F811
    """What a killed server had reserved is spent: its provider was asked, and may bill it."""
    chance = random.Random(7)
    with OpenAIMock(*[Reply(text="Yes.", usage=(100, 10, 0, 0))] * 5_000) as provider:
        servers = [Served(configure(tmp_path / str(n), provider.port, url)) for n in range(SERVERS)]
        stop = threading.Event()
        answered: list[int] = []

        def ask_on_and_on(number: int) -> None:
            patience = 40  # what the dead hold stays reserved for longer than anybody here waits
            while not stop.is_set() and patience:
                try:
                    said = servers[number % SERVERS].post(ASKED, {})
                except (OSError, ValueError, HTTPException):
                    return  # its server is dead
                if "choices" in said:
                    answered.append(number)
                    continue
                patience -= 1
                if said["error"]["code"] == "budget_exceeded" and "try again" not in said["error"]["message"]:
                    return

        callers = [threading.Thread(target=ask_on_and_on, args=(n,)) for n in range(CALLERS)]
        try:
            for each in callers:
                each.start()
            while len(answered) < chance.randint(10, 40) and any(each.is_alive() for each in callers):
                stop.wait(0.01)
            servers[0].kill()
            for each in callers:
                each.join(120)
            assert not any(each.is_alive() for each in callers)
        finally:
            stop.set()
            for server in servers:
                server.__exit__(None, None, None)
        spent = len(provider.requests) * COST
        assert len(answered) * COST <= spent <= LIMIT
        reservation = 20 * 100e-6 + 400 * 10e-6
        held_by_the_dead = CALLERS / SERVERS * reservation
        assert LIMIT - spent < reservation + held_by_the_dead
