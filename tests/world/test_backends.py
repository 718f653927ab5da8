"""Which protocols a backend is asked in, and how it is asked."""

import pytest

from engine.model.exchange import Exchange, Protocol
from engine.settings.model import Backend as BackendSettings
from engine.settings.model import Betas, Capabilities
from engine.settings.values import Secret
from engine.world.backends import Backend
from engine.world.http.base import Request, Timeouts
from engine.world.sandbox import MadeResponse

pytestmark = pytest.mark.anyio


class Upstream:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[Request] = []

    async def send(self, request: Request, timeouts: Timeouts) -> MadeResponse:
        self.asked.append(request)
        return MadeResponse(self.statuses.pop(0) if self.statuses else 200, b"application/json", [b"{}"])

    async def aclose(self) -> None:
        """There is nothing to close."""


def backend(
    protocol: str = "openai", upstream: Upstream | None = None, *, team: bool = False, **settings: object
) -> Backend:
    made = BackendSettings(protocol=protocol, base_url="http://127.0.0.1/v1", **settings)  # type: ignore[arg-type]
    return Backend("it", made, upstream or Upstream(), team=team, clock=lambda: 0.0)


def keys(*values: str) -> tuple[Secret, ...]:
    return tuple(Secret(each) for each in values)


def used(upstream: Upstream) -> list[str]:
    """The keys that it was asked with."""
    return [dict(request.headers)[b"authorization"].decode().removeprefix("Bearer ") for request in upstream.asked]


@pytest.mark.parametrize(
    ("kind", "client", "asked_in"),
    [
        ("openai", Protocol.OPENAI_CHAT, Protocol.OPENAI_CHAT),
        ("openai", Protocol.OPENAI_RESPONSES, Protocol.OPENAI_CHAT),
        ("openai", Protocol.OPENAI_EMBEDDINGS, Protocol.OPENAI_EMBEDDINGS),
        ("openai", Protocol.ANTHROPIC, Protocol.OPENAI_CHAT),
        ("openai", Protocol.GEMINI, Protocol.OPENAI_CHAT),
        ("anthropic", Protocol.ANTHROPIC, Protocol.ANTHROPIC),
        ("anthropic", Protocol.OPENAI_RESPONSES, Protocol.ANTHROPIC),
        ("anthropic", Protocol.OPENAI_EMBEDDINGS, None),
        ("gemini", Protocol.GEMINI, Protocol.GEMINI),
        ("gemini", Protocol.OPENAI_CHAT, Protocol.GEMINI),
        ("gemini", Protocol.OPENAI_EMBEDDINGS, None),
        ("sandbox", Protocol.OPENAI_RESPONSES, Protocol.OPENAI_RESPONSES),
    ],
)
async def test_a_backend_is_asked_in_the_clients_protocol_or_in_its_own_main_one(
    kind: str, client: Protocol, asked_in: Protocol | None
) -> None:
    assert backend(kind).protocol_for(client) is asked_in


async def test_responses_are_spoken_where_the_capabilities_say_so() -> None:
    native = backend(capabilities=Capabilities(responses=True))
    assert native.speaks(Protocol.OPENAI_RESPONSES)
    assert native.protocol_for(Protocol.OPENAI_RESPONSES) is Protocol.OPENAI_RESPONSES
    assert native.protocol_for(Protocol.ANTHROPIC) is Protocol.OPENAI_CHAT


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        ("openai", (b"authorization", b"Bearer sk-1")),
        ("anthropic", (b"x-api-key", b"sk-1")),
        ("gemini", (b"x-goog-api-key", b"sk-1")),
    ],
)
async def test_the_key_goes_where_the_protocol_has_it(kind: str, header: tuple[bytes, bytes]) -> None:
    upstream = Upstream()
    await backend(kind, upstream, api_key=(Secret("sk-1"),)).send("/x", b"{}", [(b"authorization", b"Bearer mine")], {})
    sent = upstream.asked[0].headers
    assert header in sent
    assert (b"authorization", b"Bearer mine") not in sent


async def test_azure_has_its_key_in_a_header_of_its_own_and_the_version_in_the_query() -> None:
    upstream = Upstream()
    azure = backend("openai", upstream, api_key=keys("k"), key_header="api-key", query={"api-version": "2024-10-21"})
    await azure.send("/chat/completions?a=b", b"{}", [], {})
    await azure.send("/chat/completions", b"{}", [], {})
    assert [request.target for request in upstream.asked] == [
        b"/v1/chat/completions?a=b&api-version=2024-10-21",
        b"/v1/chat/completions?api-version=2024-10-21",
    ]
    assert (b"api-key", b"k") in upstream.asked[0].headers


@pytest.mark.parametrize("status", [401, 402, 429])
async def test_a_request_whose_key_is_refused_is_sent_with_the_next_one(status: int) -> None:
    upstream = Upstream(status, 200, 200, 200)
    it = backend("openai", upstream, api_key=keys("a", "b"))
    assert (await it.send("/x", b"{}", [], {})).status == 200
    assert (await it.send("/x", b"{}", [], {})).status == 200
    assert used(upstream) == ["a", "b", "b"]


async def test_a_request_that_every_key_is_refused_for_gets_the_last_refusal() -> None:
    upstream = Upstream(429, 401)
    answer = await backend("openai", upstream, api_key=keys("a", "b")).send("/x", b"{}", [], {})
    assert (answer.status, used(upstream)) == (401, ["a", "b"])


@pytest.mark.parametrize("status", [400, 403, 500, 529])
async def test_what_another_key_would_not_mend_is_not_sent_again(status: int) -> None:
    upstream = Upstream(status)
    assert (await backend("openai", upstream, api_key=keys("a", "b")).send("/x", b"{}", [], {})).status == status
    assert used(upstream) == ["a"]


async def test_betas_that_a_backend_refuses_are_left_out_of_their_header() -> None:
    upstream = Upstream()
    it = backend("anthropic", upstream, capabilities=Capabilities(betas=Betas(drop=("context-1m-*",))))
    await it.send("/x", b"{}", [(b"anthropic-beta", b"context-1m-2025-08-07, files-api-2025-04-14")], {})
    await it.send("/x", b"{}", [(b"anthropic-beta", b"context-1m-2025-08-07")], {})
    sent = [dict(request.headers).get(b"anthropic-beta") for request in upstream.asked]
    assert sent == [b"files-api-2025-04-14", None]


async def test_only_the_betas_of_an_allow_list_pass() -> None:
    upstream = Upstream()
    it = backend("openai", upstream, capabilities=Capabilities(betas=Betas(allow=("assistants=v2",))))
    await it.send("/x", b"{}", [(b"openai-beta", b"assistants=v2,realtime=v1")], {})
    assert dict(upstream.asked[0].headers)[b"openai-beta"] == b"assistants=v2"


async def test_after_a_translation_the_clients_protocol_headers_stay_behind() -> None:
    upstream = Upstream()
    headers = [(b"anthropic-beta", b"x"), (b"anthropic-version", b"y"), (b"user-agent", b"me")]
    await backend("openai", upstream).send("/x", b"{}", headers, {}, client=Protocol.ANTHROPIC)
    names = {name for name, _ in upstream.asked[0].headers}
    assert b"user-agent" in names
    assert not any(name.startswith(b"anthropic-") for name in names)


async def test_no_key_of_a_client_goes_on_in_a_url() -> None:
    upstream = Upstream()
    it = backend("gemini", upstream, api_key=keys("ours"))
    await it.send("/v1beta/models/g:streamGenerateContent?alt=sse&key=mine", b"{}", [], {})
    assert upstream.asked[0].target == b"/v1/v1beta/models/g:streamGenerateContent?alt=sse"
    assert (b"x-goog-api-key", b"ours") in upstream.asked[0].headers


@pytest.mark.parametrize(
    ("kind", "client", "came", "went"),
    [
        ("anthropic", Protocol.ANTHROPIC, (b"authorization", b"Bearer t"), (b"authorization", b"Bearer t")),
        ("anthropic", Protocol.OPENAI_CHAT, (b"authorization", b"Bearer t"), (b"x-api-key", b"t")),
        ("anthropic", Protocol.GEMINI, (b"x-goog-api-key", b"t"), (b"x-api-key", b"t")),
        (
            "anthropic",
            Protocol.OPENAI_CHAT,
            (b"authorization", b"Bearer sk-ant-oat01-x"),
            (b"authorization", b"Bearer sk-ant-oat01-x"),
        ),
        ("openai", Protocol.ANTHROPIC, (b"x-api-key", b"t"), (b"authorization", b"Bearer t")),
        ("openai", Protocol.OPENAI_RESPONSES, (b"authorization", b"bearer t"), (b"authorization", b"Bearer t")),
        ("gemini", Protocol.OPENAI_CHAT, (b"authorization", b"Bearer t"), (b"x-goog-api-key", b"t")),
        (
            "gemini",
            Protocol.OPENAI_CHAT,
            (b"authorization", b"Bearer ya29.x"),
            (b"authorization", b"Bearer ya29.x"),
        ),
    ],
)
async def test_a_callers_own_key_goes_where_the_backend_wants_it(
    kind: str, client: Protocol, came: tuple[bytes, bytes], went: tuple[bytes, bytes]
) -> None:
    upstream = Upstream()
    await backend(kind, upstream, api_key=keys("client")).send("/x", b"{}", [came], {}, client=client)
    carried = [each for each in upstream.asked[0].headers if each[1].endswith(came[1].split()[-1])]
    assert carried == [went]


@pytest.mark.parametrize("kind", ["gemini", "openai"])
async def test_a_callers_key_in_the_query_is_a_key_too(kind: str) -> None:
    upstream = Upstream()
    it = backend(kind, upstream, api_key=keys("client"))
    path = "/v1beta/models/g:generateContent?key=mine" if kind == "gemini" else "/chat/completions"
    await it.send(path, b"{}", [], {}, client=Protocol.GEMINI, query="alt=sse&key=mine")
    wanted = (b"x-goog-api-key", b"mine") if kind == "gemini" else (b"authorization", b"Bearer mine")
    assert wanted in upstream.asked[0].headers
    assert b"mine" not in upstream.asked[0].target


async def test_a_login_at_anthropic_brings_its_beta() -> None:
    upstream = Upstream()
    it = backend("anthropic", upstream, api_key=keys("client"))
    login = (b"authorization", b"Bearer sk-ant-oat01-x")
    await it.send("/x", b"{}", [login, (b"anthropic-beta", b"a")], {}, client=Protocol.ANTHROPIC)
    await it.send("/x", b"{}", [login, (b"anthropic-beta", b"a, oauth-2025-04-20")], {}, client=Protocol.ANTHROPIC)
    sent = [dict(request.headers)[b"anthropic-beta"] for request in upstream.asked]
    assert sent == [b"a,oauth-2025-04-20", b"a, oauth-2025-04-20"]


async def test_in_team_mode_only_a_second_key_is_forwarded() -> None:
    """What a caller is known by here is none of a backend's business."""
    upstream = Upstream()
    it = backend("openai", upstream, team=True, api_key=keys("client"), forward_client_key=True)
    await it.send("/x", b"{}", [(b"authorization", b"Bearer ours")], {})
    await it.send("/x", b"{}", [(b"x-lexgate-key", b"ours"), (b"authorization", b"Bearer theirs")], {})
    assert [dict(request.headers).get(b"authorization") for request in upstream.asked] == [None, b"Bearer theirs"]
    assert not any(b"ours" in value for request in upstream.asked for _, value in request.headers)


async def test_parameters_that_a_backend_refuses_are_left_out() -> None:
    params = {"parallel_tool_calls": True, "stream_options": {"include_usage": True}, "temperature": 1}
    exchange = Exchange(id="x", protocol=Protocol.OPENAI_CHAT, model="m", stream=True, params=params, body=b"{}")
    picky = backend(capabilities=Capabilities(stream_usage=False, refuses=("parallel_*",)))
    assert picky.fitted(exchange).params == {"temperature": 1}
    assert picky.fitted(exchange).body is None
    assert backend().fitted(exchange) is exchange
