"""Google's own SDK through the proxy, in front of a provider that speaks the Gemini API and is strict."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.support.gemini_mock import Call, Code, GeminiMock, Image, Reply, Text, Thinking, reply
from tests.support.gemini_refusals import signature_of
from tests.support.lexgate import Lexgate, Raw, frames_of
from tests.support.provider import Gate

from .conftest import Serve

MODEL = "gemini-3-pro"
BASH: dict[str, Any] = {
    "name": "bash",
    "parametersJsonSchema": {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
        "additionalProperties": False,
    },
}
READ: dict[str, Any] = {"name": "read", "parametersJsonSchema": {"type": "object"}}
ASK: list[Any] = [{"role": "user", "parts": [{"text": "Tidy."}]}]
BODY: dict[str, Any] = {"contents": ASK, "tools": [{"functionDeclarations": [BASH, READ]}]}
CONFIG = types.GenerateContentConfig(
    system_instruction="Be brief.",
    temperature=0.5,
    max_output_tokens=2048,
    thinking_config=types.ThinkingConfig(include_thoughts=True),
    tools=[types.Tool(function_declarations=[types.FunctionDeclaration(**BASH), types.FunctionDeclaration(**READ)])],
)
WIPE = Call("bash", '{"command":"rm -rf /"}', "wipe_1", signed=True)
LIST = Call("bash", '{"command":"ls"}', "list_1", signed=True)
LOOK = Call("read", '{"path":"a.txt"}', "look_1")
EVERYTHING = (Thinking("Let me look."), Text("Looking.", signed=True), Code("print(1)", "1\n"), Image(), LIST, LOOK)
MESSAGE = "Do not delete; list instead."
STEER = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: "Do not delete; list instead."}}]
"""
BLOCK = STEER.replace("steer: {message:", "block: {message:")
DROP = STEER.replace('{steer: {message: "Do not delete; list instead."}}', "drop: {}")
REWRITE = STEER.replace('{steer: {message: "Do not delete; list instead."}}', "rewrite_args: {args: {command: ls}}")
REDACT = r"""
version: 1
policy: names
patterns:
  codenames: {bluefalcon: '(?i)\bbluefalcon\b'}
rules:
  - id: in
    phase: request
    actions: [{redact: {patterns: codenames, mask: '[name]'}}]
  - id: results
    phase: tool_result
    actions: [{redact: {patterns: codenames, mask: '[name]'}}]
  - id: out
    phase: text
    actions: [{redact: {patterns: codenames, mask: '[name]'}}]
"""
READS = """
version: 1
policy: reads
rules:
  - id: nothing
    phase: text
    window: 20
    when: text.window == 'never'
    actions: [{block: {message: no}}]
  - id: no-call
    phase: tool_call
    when: tool.name == 'never'
    actions: [{block: {message: no}}]
"""
modes = pytest.mark.parametrize("mode", ["whole", "events", "array"])
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def gemini() -> Iterator[GeminiMock]:
    with GeminiMock(api_key="key") as mock:
        yield mock


def served(serve: Serve, gemini: GeminiMock, *policies: str) -> Lexgate:
    backend = {"protocol": "gemini", "base_url": gemini.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"gemini": backend}})


def path_of(mode: str, model: str = MODEL) -> str:
    method = {"whole": "generateContent", "events": "streamGenerateContent?alt=sse", "array": "streamGenerateContent"}
    return f"/v1beta/models/{model}:{method[mode]}"


def post(lexgate: Lexgate, mode: str, body: Mapping[str, Any] = BODY, **headers: str) -> Raw:
    return lexgate.post(body, path_of(mode), headers)


def frames(raw: Raw) -> list[Any]:
    """The frames of an answer in whichever form it came; checks on the way that its form is sound."""
    assert raw.status == 200, raw.body
    if raw.headers["content-type"].startswith("text/event-stream"):
        return raw.frames
    return raw.json if isinstance(raw.json, list) else [raw.json]


def heard(raw: Raw) -> tuple[list[Any], str]:
    """The parts of the first candidate, neighbours of text joined, and why it finished."""
    joined: list[Any] = []
    finish: list[str] = []
    for frame in frames(raw):
        assert "usageMetadata" in frame or frame.get("candidates")
        for candidate in frame.get("candidates", ()):
            assert not finish, "something follows the end"
            for part in candidate.get("content", {}).get("parts", ()):
                before = joined[-1] if joined else {}
                if part.keys() <= {"text", "thought"} and before.keys() == part.keys():
                    joined[-1] = {**before, "text": before["text"] + part["text"]}
                elif part != {"text": ""}:
                    joined.append(part)
            if "finishReason" in candidate:
                finish.append(candidate["finishReason"])
    assert len(finish) == 1, "one end"
    return joined, finish[0]


def ask(origin: str, stream: bool, contents: Any = "Tidy.", config: Any = CONFIG, key: str = "mine") -> list[Any]:
    with genai.Client(api_key=key, http_options=types.HttpOptions(base_url=origin)) as client:
        if stream:
            return list(client.models.generate_content_stream(model=MODEL, contents=contents, config=config))
        return [client.models.generate_content(model=MODEL, contents=contents, config=config)]


def text_of(answers: list[Any]) -> str:
    parts = [part for answer in answers for part in answer.candidates[0].content.parts or ()]
    return "".join(part.text or "" for part in parts if not part.thought)


def calls_of(answers: list[Any]) -> list[Any]:
    return [call for answer in answers for call in answer.function_calls or ()]


def order_of(answers: list[Any]) -> list[str]:
    """What the parts are that say something else than text; an image goes on while calls are held."""
    parts = [part for answer in answers for part in answer.candidates[0].content.parts or ()]
    return [
        next(iter(part.model_dump(exclude_none=True))) for part in parts if part.text is None and not part.inline_data
    ]


def plain(answers: list[Any]) -> list[Any]:
    """The typed objects without what belongs to one HTTP response, and without the number of the answer."""
    dumped = [answer.model_dump(mode="json", exclude={"sdk_http_response"}) for answer in answers]
    return json.loads(json.dumps(dumped).replace("resp-1", "resp-2"))  # type: ignore[no-any-return]


# --- nothing is lost --------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("policy", ["", READS], ids=["no rule", "rules that read"])
def test_the_sdk_gets_the_same_objects_with_and_without_the_proxy(
    serve: Serve, gemini: GeminiMock, stream: bool, policy: str
) -> None:
    lexgate = served(serve, gemini, *([policy] if policy else []))
    gemini.script(*[reply(*EVERYTHING, usage=(9, 12, 5, 3))] * 2)
    through = ask(lexgate.origin, stream)
    direct = ask(gemini.address, stream, key="key")
    if policy and stream:
        assert (text_of(through), calls_of(through)) == (text_of(direct), calls_of(direct))
        assert through[-1].usage_metadata == direct[-1].usage_metadata
        assert order_of(through) == order_of(direct)
    else:
        assert plain(through) == plain(direct)
    first, second = gemini.requests
    assert first.body == second.body
    assert first.path == second.path.replace("/v1/", "/v1beta/")
    assert first.headers["x-goog-api-key"] == "key"


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
def test_the_asynchronous_sdk_streams_too(serve: Serve, gemini: GeminiMock) -> None:
    lexgate = served(serve, gemini, READS)
    gemini.script(reply(*EVERYTHING))

    async def run() -> list[Any]:
        client = genai.Client(api_key="mine", http_options=types.HttpOptions(base_url=lexgate.origin)).aio
        answers = await client.models.generate_content_stream(model=MODEL, contents="Tidy.", config=CONFIG)
        return [answer async for answer in answers]

    answers = asyncio.run(run())
    assert text_of(answers) == "Looking."
    assert [call.name for call in calls_of(answers)] == ["bash", "read"]


@modes
def test_an_answer_that_no_rule_reads_is_the_bytes_that_came(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    lexgate = served(serve, gemini)
    gemini.script(*[reply(*EVERYTHING)] * 2)
    through = post(lexgate, mode)
    with genai.Client(api_key="key"):
        direct = Lexgate.post(_direct(gemini), BODY, path_of(mode), {"x-goog-api-key": "key"})
    assert through.body == direct.body.replace(b"resp-2", b"resp-1")
    assert through.headers["content-type"].partition(";")[0] == direct.headers["content-type"].partition(";")[0]


def _direct(gemini: GeminiMock) -> Lexgate:
    """Something to `post` by that has the mock's port."""
    there = object.__new__(Lexgate)
    there.port = gemini.port
    return there


@modes
def test_an_answer_of_which_nothing_is_changed_is_the_bytes_that_came(
    serve: Serve, gemini: GeminiMock, mode: str
) -> None:
    calls_only = (
        READS.replace("phase: text", "phase: response")
        .replace("window: 20", "")
        .replace("text.window == 'never'", "response.text == 'never'")
    )
    lexgate = served(serve, gemini, calls_only.replace("block: {message: no}", "log: {message: no}", 1))
    gemini.script(*[reply(Thinking("Hm."), Text("Hello."), finish="MAX_TOKENS")] * 2)
    through = post(lexgate, mode)
    direct = Lexgate.post(_direct(gemini), BODY, path_of(mode), {"x-goog-api-key": "key"})
    assert through.body == direct.body.replace(b"resp-2", b"resp-1")


def test_a_body_is_forwarded_as_it_came_and_a_key_in_the_query_never(serve: Serve, gemini: GeminiMock) -> None:
    lexgate = served(serve, gemini)
    gemini.script(reply(Text("Hello.")))
    body = b'{ "contents": {"parts": {"text": "caf\xc3\xa9 \\u00e9"}}, "unknownField": null,\n"labels": {} }'.replace(
        b'"unknownField": null,', b""
    )
    raw = lexgate.post(body, f"/v1beta/models/{MODEL}:generateContent?key=secret&prettyPrint=false")
    assert raw.status == 200
    assert gemini.requests[0].body == body
    assert gemini.requests[0].path == f"/v1beta/models/{MODEL}:generateContent?prettyPrint=false"
    assert "secret" not in str(lexgate.logs) + json.dumps(lexgate.records())


# --- rules ------------------------------------------------------------------------------------------------------------


@modes
def test_a_refused_call_is_steered_with_its_signature_and_its_id(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    lexgate = served(serve, gemini, STEER)
    gemini.script(reply(Text("I clean up."), WIPE), reply(Text("Listing."), LIST))
    raw = post(lexgate, mode)
    parts, finish = heard(raw)
    assert "".join(part.get("text", "") for part in parts) == "I clean up.\n\nListing."
    assert [part for part in parts if "functionCall" in part] == [
        {
            "functionCall": {"name": "bash", "args": {"command": "ls"}, "id": "list_1"},
            "thoughtSignature": signature_of("bash"),
        }
    ]
    assert finish == "STOP"
    assert len({frame["responseId"] for frame in frames(raw)}) == 1
    for trace in (b"rm -rf", b"wipe_1", MESSAGE.encode()):
        assert trace not in raw.body
    assert gemini.requests[1].json["contents"] == [
        *ASK,
        {
            "role": "model",
            "parts": [
                {"text": "I clean up."},
                {
                    "functionCall": {"name": "bash", "args": {"command": "rm -rf /"}, "id": "wipe_1"},
                    "thoughtSignature": signature_of("bash"),
                },
            ],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "wipe_1", "name": "bash", "response": {"output": MESSAGE}}}],
        },
    ]


@both
def test_the_hidden_turn_is_put_back_when_the_client_goes_on(serve: Serve, gemini: GeminiMock, stream: bool) -> None:
    """The SDK keeps each frame of a stream as a content of its own; the mock refuses a history without signatures."""
    lexgate = served(serve, gemini, STEER)
    gemini.script(
        reply(Thinking("Hm."), Text("I clean up."), WIPE, LOOK), reply(Text("Listing."), LIST), reply(Text("Done."))
    )
    answers = ask(lexgate.origin, stream)
    history: list[Any] = [types.Content(role="user", parts=[types.Part(text="Tidy.")])]
    history += [answer.candidates[0].content for answer in answers if answer.candidates[0].content.parts]
    result = types.FunctionResponse(id="list_1", name="bash", response={"output": "a.txt"})
    history.append(types.Content(role="user", parts=[types.Part(function_response=result)]))
    assert text_of(ask(lexgate.origin, stream, history)) == "Done."
    contents = gemini.requests[2].json["contents"]
    assert [content["role"] for content in contents[:4]] == ["user", "model", "user", "model"]
    refused = [part["functionCall"]["id"] for part in contents[1]["parts"] if "functionCall" in part]
    assert refused == ["wipe_1", "look_1"]
    told = [part["functionResponse"]["response"]["output"] for part in contents[2]["parts"]]
    assert told[0] == MESSAGE
    assert "not executed" in told[1]
    assert contents[-1]["parts"][0]["functionResponse"]["id"] == "list_1"
    assert "clean up" not in json.dumps(contents[3:])


@modes
def test_calls_without_ids_have_none_for_the_client_and_for_the_provider(
    serve: Serve, gemini: GeminiMock, mode: str
) -> None:
    lexgate = served(serve, gemini, STEER)
    bare = Call("bash", '{"command":"rm x"}', signed=True), Call("read")
    gemini.script(reply(*bare), reply(Call("bash", '{"command":"ls"}', signed=True), Call("read")))
    raw = post(lexgate, mode)
    parts, _ = heard(raw)
    assert [part["functionCall"] for part in parts] == [
        {"name": "bash", "args": {"command": "ls"}},
        {"name": "read", "args": {}},
    ]
    results = [part["functionResponse"] for part in gemini.requests[1].json["contents"][2]["parts"]]
    assert [(result["name"], "id" in result) for result in results] == [("bash", False), ("read", False)]
    assert b"lexgate-call" not in raw.body + gemini.requests[1].body


@modes
def test_a_blocked_call_becomes_the_message_and_a_normal_end(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    lexgate = served(serve, gemini, BLOCK)
    gemini.script(reply(Thinking("Hm."), Text("I clean up."), WIPE, LOOK))
    parts, finish = heard(post(lexgate, mode))
    assert finish == "STOP"
    assert parts == [{"text": "Hm.", "thought": True}, {"text": f"I clean up.\n\n{MESSAGE}"}]


@modes
def test_a_dropped_call_leaves_the_others_with_a_signature(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    """Of parallel calls the first alone is signed; a history whose first call has no signature would be refused."""
    lexgate = served(serve, gemini, DROP)
    gemini.script(reply(WIPE, LOOK))
    parts, finish = heard(post(lexgate, mode))
    assert finish == "STOP"
    assert parts == [
        {
            "functionCall": {"name": "read", "args": {"path": "a.txt"}, "id": "look_1"},
            "thoughtSignature": "skip_thought_signature_validator",
        }
    ]


@modes
def test_arguments_are_rewritten_and_all_else_of_the_call_stays(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    lexgate = served(serve, gemini, REWRITE)
    gemini.script(reply(Text("So."), WIPE, LOOK))
    parts, finish = heard(post(lexgate, mode))
    assert finish == "STOP"
    assert parts == [
        {"text": "So."},
        {
            "functionCall": {"name": "bash", "args": {"command": "ls"}, "id": "wipe_1"},
            "thoughtSignature": signature_of("bash"),
        },
        {"functionCall": {"name": "read", "args": {"path": "a.txt"}, "id": "look_1"}},
    ]


@modes
def test_a_secret_is_redacted_in_what_is_said_and_in_what_is_sent(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    lexgate = served(serve, gemini, REDACT)
    supports = {
        "groundingMetadata": {"groundingSupports": [{"segment": {"text": "BlueFalcon"}}], "webSearchQueries": []}
    }
    gemini.script(reply(Thinking("bluefalcon?"), Text("We call it BlueFalcon here."), piece=3, extra=supports))
    called = {"functionCall": {"name": "bash", "args": {"command": "ls"}}, "thoughtSignature": signature_of("bash")}
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "About bluefalcon"}, {"text": "and"}]},
            {"role": "model", "parts": [called]},
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "name": "bash",
                            "response": {"output": ["a", "bluefalcon"], "exitCode": 0, "nested": {"x": "bluefalcon"}},
                        }
                    },
                    {"text": "Go on"},
                ],
            },
        ],
        "system_instruction": {"parts": [{"text": "bluefalcon!"}]},
        "tools": [{"function_declarations": [BASH]}],
        "generation_config": {"top_k": 3},
    }  # fmt: skip
    raw = post(lexgate, mode, body)
    parts, _ = heard(raw)
    assert parts == [{"text": "[name]?", "thought": True}, {"text": "We call it [name] here."}]
    assert b"luefalcon" not in raw.body.lower()
    assert gemini.requests[0].json == json.loads(json.dumps(body).replace("bluefalcon", "[name]"))


@modes
def test_a_rule_answers_in_the_models_place(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    policy = """
version: 1
policy: greeting
rules:
  - id: hi
    phase: request
    when: contains(request.last_user, 'Tidy')
    actions: [{respond: {message: "Not today."}}]
"""
    lexgate = served(serve, gemini, policy)
    assert heard(post(lexgate, mode)) == ([{"text": "Not today."}], "STOP")
    assert text_of(ask(lexgate.origin, mode != "whole")) == "Not today."
    assert gemini.requests == []


@both
def test_a_blocked_request_is_the_sdks_own_exception(serve: Serve, gemini: GeminiMock, stream: bool) -> None:
    policy = """
version: 1
policy: no
rules: [{id: no, phase: request, actions: [{block: {message: "Not allowed."}}]}]
"""
    lexgate = served(serve, gemini, policy)
    with pytest.raises(errors.ClientError) as raised:
        ask(lexgate.origin, stream)
    assert (raised.value.code, raised.value.status, raised.value.message) == (400, "INVALID_ARGUMENT", "Not allowed.")
    assert raised.value.details["error"]["details"][0]["reason"] == "policy_blocked"


def test_limits_and_models_are_read_and_written_under_canonical_names(serve: Serve, gemini: GeminiMock) -> None:
    policy = """
version: 1
policy: limits
rules:
  - id: cap
    phase: request
    when: request.model == 'gemini-3-pro' && request.params.temperature == `0.5`
    actions: [{clamp: {path: request.params.max_tokens, max: 100}}]
"""
    lexgate = served(serve, gemini, policy)
    gemini.script(reply(Text("Hello.")))
    ask(lexgate.origin, False)
    assert gemini.requests[0].json["generationConfig"] == {
        "temperature": 0.5,
        "maxOutputTokens": 100,
        "thinkingConfig": {"include_thoughts": True},
    }


# --- what goes wrong --------------------------------------------------------------------------------------------------


@modes
@pytest.mark.parametrize("policy", ["", REDACT], ids=["no rule", "redact"])
def test_a_refused_prompt_is_told_as_the_provider_tells_it(
    serve: Serve, gemini: GeminiMock, mode: str, policy: str
) -> None:
    lexgate = served(serve, gemini, *([policy] if policy else []))
    gemini.script(reply(blocked="PROHIBITED_CONTENT"))
    said = frames(post(lexgate, mode))
    assert [frame["promptFeedback"] for frame in said] == [{"blockReason": "PROHIBITED_CONTENT"}]
    assert "candidates" not in said[0]


@pytest.mark.parametrize("mode", ["events", "array"])
def test_a_stream_that_broke_is_never_a_whole_answer(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    lexgate = served(serve, gemini, REDACT)
    gemini.script(Reply(content=(Text("Hello, this is long"),), cut_after=3))
    last = frames(post(lexgate, mode))[-1]
    assert last["error"]["status"] == "INTERNAL"
    assert last["error"]["code"] == 502


@pytest.mark.parametrize("mode", ["events", "array"])
def test_a_stream_that_ends_before_its_candidate_did_is_an_error(serve: Serve, gemini: GeminiMock, mode: str) -> None:
    lexgate = served(serve, gemini, REDACT)
    gemini.script(reply(Text("Hello"), finish=""))
    assert frames(post(lexgate, mode))[-1]["error"]["code"] == 502


@pytest.mark.parametrize("status", [400, 403, 429, 503])
def test_an_error_of_the_provider_is_the_clients_own_exception(serve: Serve, gemini: GeminiMock, status: int) -> None:
    lexgate = served(serve, gemini)
    gemini.script(reply(status=status, error="no"))
    with pytest.raises(errors.APIError) as raised:
        ask(lexgate.origin, False)
    assert (raised.value.code, raised.value.message) == (status, "no")


def test_a_field_in_two_spellings_is_refused(serve: Serve, gemini: GeminiMock) -> None:
    """Rules would read the one, and the provider the other."""
    lexgate = served(serve, gemini)
    raw = post(lexgate, "whole", {**BODY, "systemInstruction": {"parts": []}, "system_instruction": {"parts": []}})
    assert raw.status == 400
    assert raw.json["error"]["status"] == "INVALID_ARGUMENT"
    assert gemini.requests == []


@both
def test_the_sandbox_speaks_gemini_too(serve: Serve, stream: bool) -> None:
    lexgate = serve(settings={"backends": {"sandbox": {"protocol": "sandbox", "models": ["*"]}}})
    assert text_of(ask(lexgate.origin, stream)) == "You said: Tidy."


@pytest.mark.parametrize("mode", ["events", "array"])
def test_a_client_that_waits_is_kept_alive_in_a_form_that_it_can_read(
    serve: Serve, gemini: GeminiMock, mode: str
) -> None:
    """The SDK takes a line that is no data for JSON: white space alone is safe."""
    settings = {
        "backends": {"g": {"protocol": "gemini", "base_url": gemini.base_url, "api_key": "key", "models": ["*"]}},
        "stream": {"commit_after": "20ms", "keep_alive": "20ms"},
    }
    lexgate = serve(READS, settings=settings)
    gate = Gate()
    gemini.script(reply(Text("Hello."), gate=gate))
    with lexgate.open(BODY, path_of(mode)) as waiting:
        begun = next(waiting.pieces())
        assert begun.strip() == b""
        gate.open()
        body = begun + b"".join(waiting.pieces())
    said = json.loads(body) if mode == "array" else frames_of(body)
    texts = [part["text"] for frame in said for part in frame["candidates"][0]["content"]["parts"]]
    assert "".join(texts) == "Hello."
    gate = Gate()
    gemini.script(reply(Text("Hello."), gate=gate))
    threading.Timer(0.2, gate.open).start()
    assert text_of(ask(lexgate.origin, stream=True)) == "Hello."
