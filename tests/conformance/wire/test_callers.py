"""Two callers of one server, on every protocol: what was kept for one is nothing to the other, whatever it sends."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from engine.access.registry import Draft, Issued
from tests.e2e.test_sessions import WIRES
from tests.support.lexgate import Lexgate, Raw
from tests.support.provider import Provider
from tests.support.team import bearer, issue, team_settings

from .backends import BACKENDS, Turn
from .clients import CLIENTS
from .scenarios import LIST, MESSAGE, WIPE, on_wipe, policy_of

MAIL = "anna@example.com"
HIDE = policy_of(
    "{id: hide, phase: request, actions: [{redact: {patterns: people, restore: true}}]}",
    sets="patterns: {people: {mail: '[a-z]{1,20}@[a-z]{1,20}[.]com'}}",
)


class Shared(msgspec.Struct, frozen=True):
    """A server in team mode in front of one provider, and the keys of two callers."""

    lexgate: Lexgate
    mock: Provider[Any]
    client: str
    one: Issued
    two: Issued

    def says(self, key: Issued, body: dict[str, Any], *turns: Turn, stream: bool = False) -> Raw:
        """One request in the session `s` of whoever has the key."""
        BACKENDS[self.client].script(self.mock, *turns)
        path = WIRES[self.client].path
        if self.client != "gemini":
            body = {**body, "stream": stream}
        elif stream:
            path = path.replace("generateContent", "streamGenerateContent") + "?alt=sse"
        raw = self.lexgate.post(body, path, {**bearer(key), "x-session-id": "s"})
        assert raw.status == 200, raw.body
        return raw

    @property
    def sent(self) -> str:
        """What the provider got last."""
        return self.mock.requests[-1].body.decode()


Share = Callable[[str], Shared]


@pytest.fixture(params=CLIENTS)
def share(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Share]:
    """Serves a policy to two callers of the protocol's own backend."""
    client: str = request.param
    folder = tmp_path_factory.mktemp("team")
    issue(folder, Draft(name="root", roles=("admin",)))
    one, two = (issue(folder, Draft(name=name, team="a")) for name in ("one", "two"))
    running: list[Lexgate] = []
    with BACKENDS[client].make("key") as mock:
        it = {**BACKENDS[client].settings, "base_url": mock.base_url, "api_key": "key", "models": ["*"]}  # type: ignore[attr-defined]

        def under(policy: str) -> Shared:
            running.append(Lexgate(folder, policy, settings=team_settings(backends={"it": it})).start())
            return Shared(running[0], mock, client, one, two)

        try:
            yield under
        finally:
            for lexgate in running:
                lexgate.stop()


def test_a_hidden_turn_is_put_back_for_the_caller_that_had_it(share: Share) -> None:
    """The other sends the very same history, in a session that it calls the same."""
    shared = share(on_wipe(f"{{steer: {{message: '{MESSAGE}'}}}}"))
    wire = WIRES[shared.client]
    body = wire.first("Tidy up.")
    answer = shared.says(shared.one, body, Turn("Hm.", calls=(WIPE,)), Turn("Listing.", calls=(LIST,))).json
    history = wire.again(body, answer)
    shared.says(shared.two, history, Turn("Done."))
    assert MESSAGE not in shared.sent
    assert "rm -rf" not in shared.sent
    shared.says(shared.one, history, Turn("Done."))
    assert MESSAGE in shared.sent
    assert "rm -rf" in shared.sent


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_placeholder_is_turned_back_for_the_caller_whose_value_it_is(share: Share, stream: bool) -> None:
    """The other does not get the value by the placeholder, nor the same placeholder by the value."""
    shared = share(HIDE)
    wire = WIRES[shared.client]

    def stand_in(key: Issued) -> str:
        shared.says(key, wire.first(f"Write to {MAIL}."), Turn("Yes."), stream=stream)
        (found,) = set(re.findall(r"\[mail:[0-9a-f]{24}\]", shared.sent))
        return str(found)

    mine = stand_in(shared.one)
    told = Turn(f"Dear {mine}!", piece=1000)
    asked = wire.first(f"Who is {MAIL}?")
    unaware = shared.says(shared.two, wire.first("Who is it?"), told, stream=stream).body.decode()
    other = shared.says(shared.two, asked, told, stream=stream).body.decode()
    own = shared.says(shared.one, asked, told, stream=stream).body.decode()
    assert stand_in(shared.two) != mine
    assert [(mine in said, MAIL in said) for said in (unaware, other, own)] == [
        (True, False),
        (True, False),
        (False, True),
    ]
