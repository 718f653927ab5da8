"""Team mode: everybody says who they are on every route, and nobody gets further than their scope."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from engine.access.registry import Draft
from engine.access.scopes import Scope
from tests.support.lexgate import Lexgate, Raw
from tests.support.openai_mock import OpenAIMock, Reply
from tests.support.team import Keys, ask_raw, bearer, issue, revoke, rotate, team_settings

from .talk import asking

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
GEMINI = "/v1beta/models/gemini-2.5-pro:generateContent"
BODY = json.dumps(asking(tools=None)).encode()
CLAUDE = json.dumps({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}).encode()
EXCHANGES = [("POST", CHAT), ("POST", MESSAGES)]
PAGES = ["/healthz", "/readyz", "/metrics", "/policy/status"]
ROUTES = [
    *EXCHANGES,
    ("GET", CHAT),
    ("OPTIONS", CHAT),
    ("HEAD", "/"),
    ("GET", "/"),
    *[("GET", page) for page in PAGES],
    *[("GET", page + "/") for page in PAGES],
    ("GET", "/v1/models"),
    ("GET", "/v1/models/gpt-4o"),
    ("GET", "/v1beta/models"),
    ("POST", GEMINI),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/admin/keys"),
    ("GET", "/docs"),
    ("GET", "/schema/openapi.json"),
    ("GET", "/nothing/here"),
    # ways around a table of paths
    ("POST", "//v1/chat/completions"),
    ("POST", "/v1//chat/completions"),
    ("POST", "/v1/./chat/completions"),
    ("POST", "/healthz/../v1/chat/completions"),
    ("POST", "/v1/chat/completions/"),
    ("POST", "/v1%2Fchat%2Fcompletions"),
    ("POST", "/V1/Chat/Completions"),
    ("GET", "/%6detrics"),
    ("GET", "//metrics"),
    ("GET", "/metrics;x=1"),
    ("GET", "/healthz%00"),
    ("GET", "/metrics?key="),
    ("GET", "http://127.0.0.1/metrics"),
]

Team = Callable[..., Lexgate]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(issue(tmp_path, Draft(name="root", roles=("admin",))), issue(tmp_path, Draft(name="dev")))


@pytest.fixture
def team(tmp_path: Path, keys: Keys, provider: OpenAIMock) -> Iterator[Team]:
    """Starts servers in team mode over one store; takes what `Lexgate` takes, settings as keywords."""
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def start(*policies: str, **settings: Any) -> Lexgate:
            folder = tmp_path / f"server-{next(numbers)}"
            folder.mkdir()
            shared = team_settings(state=f"sqlite:///{tmp_path}/state.db", **settings)
            return stack.enter_context(Lexgate(folder, *policies, provider=provider, settings=shared))

        yield start


def chat(lexgate: Lexgate, text: str, body: bytes = BODY) -> Raw:
    return ask_raw(lexgate, "POST", CHAT, [("authorization", f"Bearer {text}")], body)


# --- nobody without a key ---------------------------------------------------------------------------------------------


def test_no_route_answers_who_shows_no_key(team: Team, provider: OpenAIMock) -> None:
    lexgate = team()
    for method, target in ROUTES:
        raw = ask_raw(lexgate, method, target, body=BODY if method == "POST" else b"")
        assert (raw.status, method, target) == (401, method, target)
        assert raw.headers["www-authenticate"] == 'Bearer realm="lexgate"'
        assert not any(name.startswith(("x-lexgate", "access-control")) for name in raw.headers)
        if method != "HEAD":
            assert "A key is needed here" in json.dumps(raw.json)
    assert provider.requests == []


def test_no_route_answers_a_wrong_key(team: Team, provider: OpenAIMock) -> None:
    lexgate = team(access={"free_failures": 1000})
    for method, target in ROUTES:
        if "key=" in target:
            continue
        raw = ask_raw(lexgate, method, target, [("authorization", "Bearer wrong")], BODY if method == "POST" else b"")
        assert (raw.status, method, target) == (401, method, target)
        assert raw.headers["www-authenticate"] == 'Bearer realm="lexgate", error="invalid_token"'
    assert provider.requests == []


@pytest.mark.parametrize(
    ("target", "headers", "place"),
    [
        (CHAT, [], ("error", "code")),
        (MESSAGES, [], ("error", "details", "error_code")),
        ("/v1/models", [("anthropic-version", "2023-06-01")], ("error", "details", "error_code")),
    ],
)
def test_a_refusal_is_in_the_clients_own_shape(
    team: Team, target: str, headers: list[tuple[str, str]], place: tuple[str, ...]
) -> None:
    found = ask_raw(team(), "POST", target, headers, BODY).json
    for step in place:
        found = found[step]
    assert found == "missing_api_key"


def test_pages_are_open_only_by_name(team: Team) -> None:
    lexgate = team(server={"open": ["healthz", "metrics"]})
    assert ask_raw(lexgate, "GET", "/healthz").body == b"ok"
    assert ask_raw(lexgate, "GET", "/metrics").status == 200
    for closed in ("/readyz", "/policy/status", "/metrics/", "//metrics", "/%6detrics", "/metrics/../policy/status"):
        assert ask_raw(lexgate, "GET", closed).status == 401


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_for_admin_keys(team: Team, keys: Keys, page: str) -> None:
    lexgate = team()
    assert ask_raw(lexgate, "GET", page, [*bearer(keys.admin).items()]).status == 200
    refused = ask_raw(lexgate, "GET", page, [*bearer(keys.dev).items()])
    assert (refused.status, refused.json["error"]["code"]) == (403, "admin_key_needed")


@pytest.mark.parametrize(("role", "route"), [(r, e) for r in ("admin", "operator", "auditor") for e in EXCHANGES])
def test_an_admin_key_asks_no_models(
    team: Team, tmp_path: Path, provider: OpenAIMock, role: str, route: tuple[str, str]
) -> None:
    lexgate = team()
    admin = issue(tmp_path, Draft(roles=(role,)))
    raw = ask_raw(lexgate, *route, [*bearer(admin).items()], BODY)
    assert raw.status == 403
    assert "admin key" in raw.json["error"]["message"]
    assert ask_raw(lexgate, "GET", "/v1/models", [*bearer(admin).items()]).status == 403
    assert provider.requests == []


# --- how a key is shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["authorization", "x-api-key", "x-goog-api-key", "api-key", "x-lexgate-key", "?key="])
def test_a_key_is_taken_from_where_each_client_puts_it(
    team: Team, keys: Keys, provider: OpenAIMock, where: str
) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = team()
    text = keys.dev.text
    if where == "?key=":
        raw = ask_raw(lexgate, "POST", f"{CHAT}?key={text}&api-version=1", [], BODY)
    else:
        raw = ask_raw(lexgate, "POST", CHAT, [(where, f"Bearer {text}" if where == "authorization" else text)], BODY)
    assert raw.status == 200, raw.body
    sent = provider.requests[0]
    assert text not in json.dumps([list(sent.headers.items()), sent.path, str(sent.json)])
    assert sent.headers["authorization"] == "Bearer upstream-key"


@pytest.mark.parametrize(
    ("more", "query"),
    [
        ([("x-api-key", "other")], ""),
        ([("authorization", "Bearer other")], ""),
        ([], "?key=other"),
        ([("api-key", "a"), ("api-key", "b")], ""),
    ],
)
def test_two_credentials_are_one_too_many(
    team: Team, keys: Keys, provider: OpenAIMock, more: list[tuple[str, str]], query: str
) -> None:
    raw = ask_raw(team(), "POST", CHAT + query, [*bearer(keys.dev).items(), *more], BODY)
    assert (raw.status, raw.json["error"]["code"]) == (400, "ambiguous_credentials")
    assert provider.requests == []


def test_the_key_is_not_forwarded_where_the_clients_login_is(team: Team, keys: Keys, provider: OpenAIMock) -> None:
    """A backend of `api_key: client` gets the client's own login, which stands beside the key in a header for it alone."""
    provider.script(*[Reply(text="Yes.")] * 2)
    backend = {
        "protocol": "openai",
        "base_url": provider.base_url,
        "api_key": "client",
        "models": ["*"],
        "forward_client_key": True,
    }
    lexgate = team(backends={"openai": backend})
    ask_raw(lexgate, "POST", CHAT, [("x-lexgate-key", keys.dev.text), ("authorization", "Bearer theirs")], BODY)
    ask_raw(lexgate, "POST", CHAT, [*bearer(keys.dev).items()], BODY)
    first, second = provider.requests
    assert first.headers["authorization"] == "Bearer theirs"
    assert "authorization" not in second.headers
    assert keys.dev.text not in str([first.headers, second.headers])


def test_rules_see_who_asks_and_no_credential(team: Team, tmp_path: Path, provider: OpenAIMock) -> None:
    tell = (
        "version: 1\npolicy: p\nrules:\n  - id: tell\n    phase: request\n    actions:\n      - respond: "
        "{message: '{{ to_string([caller, request.headers]) }}'}\n"
    )
    lexgate = team(tell, teams={"payments": {}}, server={"trusted_proxies": ["127.0.0.1"]})
    made = issue(tmp_path, Draft(name="ci", team="payments", roles=("dev", "lead")))
    raw = ask_raw(
        lexgate,
        "POST",
        CHAT,
        [*bearer(made).items(), ("x-forwarded-for", "203.0.113.7"), ("user-agent", "cli/1")],
        BODY,
    )
    caller, headers = json.loads(raw.json["choices"][0]["message"]["content"])
    assert caller == {
        "id": "key:ci", "kind": "key", "team": "payments", "roles": ["dev", "lead"],
        "key": made.record.id, "ip": "203.0.113.7", "agent": "cli/1",
    }  # fmt: skip
    assert made.text not in json.dumps(headers)


# --- scopes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "body", "code"),
    [
        (Scope(models=("gpt-3*",)), {}, "model_not_allowed"),
        (Scope(models=("gpt-4*",)), {"model": "openai:o3"}, "model_not_allowed"),
        (Scope(models=("other:gpt-4o",)), {}, "model_not_allowed"),
        (Scope(tools=("read",)), {"tools": asking()["tools"]}, "tool_not_allowed"),
        (Scope(protocols=("anthropic",)), {}, "protocol_not_allowed"),
        (Scope(addresses=("10.0.0.0/8",)), {}, "address_not_allowed"),
    ],
)
def test_what_is_out_of_a_keys_scope_is_refused(
    team: Team, tmp_path: Path, provider: OpenAIMock, scope: Scope, body: dict[str, Any], code: str
) -> None:
    lexgate = team()
    made = issue(tmp_path, Draft(scope=scope))
    raw = chat(lexgate, made.text, json.dumps({**asking(tools=None), **body}).encode())
    assert (raw.status, raw.json["error"]["code"], raw.json["error"]["type"]) == (403, code, "permission_error")
    assert provider.requests == []


def test_key_team_and_role_must_all_allow_a_model(team: Team, tmp_path: Path, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = team(teams={"payments": {"models": ["gpt-*"]}}, roles={"intern": {"models": ["*-mini"]}})
    made = issue(tmp_path, Draft(team="payments", roles=("intern",), scope=Scope(models=("*4o*",))))

    def status(model: str) -> int:
        return chat(lexgate, made.text, json.dumps(asking(tools=None, model=model)).encode()).status

    assert [status(model) for model in ("gpt-4o-mini", "gpt-4o", "gpt-3-mini", "o4o-mini")] == [200, 403, 403, 403]


def test_a_rule_may_choose_what_the_caller_may_not_ask_for(team: Team, tmp_path: Path, provider: OpenAIMock) -> None:
    """Legs of an operator's rule are the operator's choice; a model that a rule merely writes is not."""
    provider.script(Reply(text="Yes."))
    policy = "version: 1\npolicy: p\nrules:\n  - id: r\n    phase: {}\n    actions: [{}]\n"
    made = issue(tmp_path, Draft(scope=Scope(models=("gpt-4o",))))
    routed = team(policy.format("route", "{route: 'openai:o3'}"))
    assert chat(routed, made.text).status == 200
    assert provider.requests[0].json["model"] == "o3"
    written = team(policy.format("request", "{set: {path: request.model, value: o3}}"))
    assert chat(written, made.text).json["error"]["code"] == "model_not_allowed"


def test_the_list_of_models_shows_what_the_caller_may_use(team: Team, tmp_path: Path) -> None:
    backend = {"protocol": "sandbox", "models": ["gpt-4o", "o3", "claude-x"]}
    lexgate = team(backends={"lab": backend})
    made = issue(tmp_path, Draft(scope=Scope(models=("gpt-*", "lab:o3"))))
    shown = ask_raw(lexgate, "GET", "/v1/models", [*bearer(made).items()]).json["data"]
    assert [each["id"] for each in shown] == ["gpt-4o", "o3"]
    assert ask_raw(lexgate, "GET", "/v1/models/claude-x", [*bearer(made).items()]).status == 404


def test_a_team_that_was_taken_away_does_not_widen_its_keys(team: Team, tmp_path: Path, provider: OpenAIMock) -> None:
    made = issue(tmp_path, Draft(team="payments"))
    raw = chat(team(teams={"research": {}}), made.text)
    assert (raw.status, raw.json["error"]["code"]) == (403, "team_unknown")
    assert provider.requests == []


# --- the life of a key ------------------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_by_the_next_request_on_every_server(
    team: Team, tmp_path: Path, provider: OpenAIMock
) -> None:
    provider.script(*[Reply(text="Yes.")] * 20)
    made = issue(tmp_path, Draft(name="gone"))
    servers = [team(), team()]
    for _ in range(3):
        assert [chat(server, made.text).status for server in servers] == [200, 200]
    revoke(tmp_path, "gone")
    for server in servers:
        raw = chat(server, made.text)
        assert (raw.status, raw.json["error"]["code"]) == (401, "revoked_api_key")


def test_a_rotated_key_is_the_same_caller_and_its_old_secret_ends(
    team: Team, tmp_path: Path, provider: OpenAIMock
) -> None:
    provider.script(*[Reply(text="Yes.")] * 4)
    lexgate = team()
    first = issue(tmp_path, Draft(name="turning"))
    assert chat(lexgate, first.text).status == 200
    second = rotate(tmp_path, "turning", grace=60.0)
    assert [chat(lexgate, each.text).status for each in (first, second)] == [200, 200]
    third = rotate(tmp_path, "turning")
    assert [chat(lexgate, each.text).status for each in (first, second, third)] == [401, 401, 200]
    assert first.record.id == third.record.id


def test_a_key_ends_when_it_expires(team: Team, tmp_path: Path, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = team()
    now = lexgate.house.world.clock()
    made = issue(tmp_path, Draft(expires=now + 3600))
    assert chat(lexgate, made.text).status == 200
    lexgate.house.world.clock = lambda: now + 3601
    raw = chat(lexgate, made.text)
    assert (raw.status, raw.json["error"]["code"]) == (401, "expired_api_key")


def test_a_wider_role_acts_at_once(team: Team, tmp_path: Path, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = team()
    registry = lexgate.house.registry
    assert registry is not None
    lexgate.run(lambda: registry.put_role("dev", Scope(models=("o3",))))
    made = issue(tmp_path, Draft(roles=("dev",)))
    assert chat(lexgate, made.text).status == 403
    lexgate.run(lambda: registry.put_role("dev", Scope(models=("gpt-*",))))
    assert chat(lexgate, made.text).status == 200


# --- wrong keys -------------------------------------------------------------------------------------------------------


def test_ten_thousand_wrong_keys_from_one_address(team: Team, keys: Keys, provider: OpenAIMock) -> None:
    """All are refused, nearly all without a look at the store, and a key that was right before still passes."""
    provider.script(*[Reply(text="Yes.")] * 2)
    lexgate = team()
    assert chat(lexgate, keys.dev.text).status == 200
    door = lexgate.house.door
    assert door is not None
    now = lexgate.house.world.timer()
    lexgate.house.world.timer = lambda: now  # however slow this machine is, all of them come in one moment
    looked = 0
    find = door._directory.find

    async def counted(id: str) -> Any:
        nonlocal looked
        looked += 1
        return await find(id)

    door._directory.find = counted  # type: ignore[method-assign]
    wrong = issue(lexgate.folder / "elsewhere", Draft()).text

    async def try_them() -> list[int]:
        statuses = []
        for _ in range(10_000):
            answer = await door.admit([(b"x-api-key", wrong.encode())], b"", "127.0.0.1")
            statuses.append(answer.status if hasattr(answer, "status") else 200)
        return statuses

    statuses = lexgate.run(try_them)
    assert set(statuses) == {401, 429}
    assert statuses.count(401) == 11
    assert looked == 11
    raw = chat(lexgate, wrong)
    assert (raw.status, raw.json["error"]["code"]) == (429, "too_many_wrong_keys")
    assert int(raw.headers["retry-after"]) >= 1
    assert chat(lexgate, keys.dev.text).status == 200


# --- what is written down ---------------------------------------------------------------------------------------------


def test_no_credential_is_written_anywhere(team: Team, keys: Keys, tmp_path: Path, provider: OpenAIMock) -> None:
    """Planted in every header, in query and path, on good ways and on bad ones; then everything is searched."""
    provider.script(Reply(text="Yes."), Reply(status=500), Reply(body=b"{"), Reply(text="Cut.", cut_after=1))
    lexgate = team(audit={"path": "audit.jsonl", "content": "full"}, log={"level": "debug"})
    good, wrong = keys.dev.text, issue(tmp_path / "other", Draft()).text
    for text in (good, wrong):
        for name in ("authorization", "x-api-key", "x-goog-api-key", "api-key", "x-lexgate-key"):
            value = f"Bearer {text}" if name == "authorization" else text
            ask_raw(lexgate, "POST", CHAT, [(name, value)], BODY)
            ask_raw(lexgate, "POST", CHAT, [(name, value), ("x-api-key", "b")], b"{")
            ask_raw(lexgate, "GET", "/nothing", [(name, value)])
        for query in (f"?key={text}", f"?access_token={text}", f"?a=b&KEY={text}", f"?key={text}&key=1"):
            for target in (CHAT, MESSAGES, "/v1/models", "/nothing", "/metrics"):
                ask_raw(lexgate, "POST", target + query, [], b"[" if target == MESSAGES else BODY)
                ask_raw(lexgate, "GET", target + query)
    written = json.dumps([dict(each) for each in lexgate.logs], default=str)
    lexgate.stop()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) > 1000
    for text in (good, wrong):
        secret = text.rpartition("_")[2]
        assert secret not in written
        assert [path.name for path, data in files.items() if secret.encode() in data] == []
    sent = str([(each.path, each.headers, each.json) for each in provider.requests])
    assert good not in sent


# --- the official clients ---------------------------------------------------------------------------------------------


def test_openais_client_with_a_key_and_without(team: Team, keys: Keys, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = team()
    messages: Any = [{"role": "user", "content": "Hi"}]
    with openai.OpenAI(base_url=lexgate.base_url, api_key=keys.dev.text, max_retries=0) as client:
        answer = client.chat.completions.create(model="gpt-4o", messages=messages)
        assert answer.choices[0].message.content == "Yes."
    wrong = openai.OpenAI(base_url=lexgate.base_url, api_key="wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError, match="not valid here"):
        wrong.chat.completions.create(model="gpt-4o", messages=messages)
    admin = openai.OpenAI(base_url=lexgate.base_url, api_key=keys.admin.text, max_retries=0)
    with admin, pytest.raises(openai.PermissionDeniedError, match="admin key"):
        admin.models.list()


def test_anthropics_client_with_a_key_and_without(team: Team, keys: Keys) -> None:
    lexgate = team(backends={"lab": {"protocol": "sandbox", "models": ["*"]}})

    def asked(**credential: str) -> str:
        with anthropic.Anthropic(base_url=lexgate.origin, max_retries=0, **credential) as client:  # type: ignore[arg-type]
            said = client.messages.create(
                model="claude-x", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
            ).content[0]
            assert said.type == "text"
            return said.text

    assert asked(api_key=keys.dev.text)
    assert asked(auth_token=keys.dev.text)
    with pytest.raises(anthropic.AuthenticationError, match="not valid here"):
        asked(api_key="wrong")


def test_googles_client_with_a_key_and_without(team: Team, keys: Keys) -> None:
    lexgate = team(backends={"lab": {"protocol": "sandbox", "models": ["gemini-x"]}})

    def listed(key: str) -> list[str | None]:
        client = genai.Client(api_key=key, http_options=genai.types.HttpOptions(base_url=lexgate.origin))
        return [each.name for each in client.models.list()]

    assert listed(keys.dev.text) == ["models/gemini-x"]
    with pytest.raises(genai.errors.ClientError, match="not valid here"):
        listed("wrong")
