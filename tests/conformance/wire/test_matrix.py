"""Any client in front of any backend, streamed or not: one rule has one verdict, and the client sees one thing."""

from typing import Any

import pytest

from tests.support.lexgate import Lexgate
from tests.support.provider import Provider

from .backends import BACKENDS
from .clients import CLIENTS, Seen
from .conftest import House
from .scenarios import SCENARIOS, Cell

MODES = {"whole": False, "stream": True}


def native(client: str, backend: str) -> bool:
    """Whether the backend is asked in the client's own protocol: one that speaks Responses speaks chat too."""
    return client == backend or (client, backend) == ("openai-chat", "openai-responses")


def cell_of(lexgate: Lexgate, provider: Provider[Any], client: str, backend: str, stream: bool) -> Cell:
    asker, asked = CLIENTS[client], BACKENDS[backend]
    before = len(provider.requests)

    def ask(*said: Any, thinks: bool = False) -> Seen:
        return asker.ask(lexgate.origin, asked.model, said, stream=stream, thinks=thinks)

    return Cell(
        client=client,
        backend=backend,
        stream=stream,
        ask=ask,
        script=lambda *turns: asked.script(provider, *turns),
        sent=lambda: [received.json for received in provider.requests[before:]],
        told=asked.told,
        offered=asked.offered,
        native=native(client, backend),
    )


def decided(records: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Phase, verdict and rule of what was decided; a rule that only changed something has the verdict `changed`."""
    return {
        (record["phase"], outcome.get("verdict", "changed"), outcome["rule"])
        for record in records
        for outcome in record["outcomes"]
        if outcome["outcome"] == "matched" and (outcome.get("verdict") or outcome["patch"])
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_cell(house: House, providers: dict[str, Any], scenario: str, client: str, backend: str, mode: str) -> None:
    rule = SCENARIOS[scenario]
    lexgate = house(rule.policy)
    before = len(lexgate.records())
    rule.see(cell_of(lexgate, providers[backend], client, backend, MODES[mode]))
    assert decided(lexgate.records()[before:]) == rule.decisions
