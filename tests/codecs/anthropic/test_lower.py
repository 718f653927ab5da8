"""A neutral request as it is written for Messages."""

import json
from typing import Any

import pytest

from engine.codecs.anthropic.lower import lower
from engine.codecs.anthropic.models import model_of
from engine.codecs.anthropic.request import encode_request
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool, ToolCall
from tests.support.anthropic_refusals import refusal_of, signature_of


def said(text: str) -> Part:
    return Part(kind="text", text=text)


def user(*parts: Part) -> Message:
    return Message(role="user", parts=parts or (said("Go."),))


def asking(
    *messages: Message, model: str = "claude-sonnet-4-5", tools: tuple[Tool, ...] = (), **params: Any
) -> Exchange:
    return Exchange(
        id="x", protocol=Protocol.OPENAI_CHAT, model=model, stream=False, messages=messages or (user(),), tools=tools,
        params=params,
    )  # fmt: skip


def written(exchange: Exchange) -> tuple[dict[str, Any], list[str]]:
    """The body, which the provider takes, and the features that were lost."""
    carried = lower(exchange)
    body: dict[str, Any] = json.loads(encode_request(carried.exchange))
    assert refusal_of(body) is None
    return body, [loss.feature for loss in carried.losses]


THOUGHT = Part(kind="reasoning", text="Hm.", signature=signature_of("Hm."), issuer=Protocol.ANTHROPIC)
CALLS = (ToolCall(id="1", name="ls", arguments="{}"), ToolCall(id="2", name="ls", arguments="{}"))
RESULTS = tuple(Message(role="tool", tool_call_id=call.id, parts=(said("a"),)) for call in CALLS)


def test_turns_side_by_side_are_one_with_the_results_in_front() -> None:
    body, _ = written(
        asking(
            Message(role="system", parts=(said("Be brief."),)),
            user(said("a")),
            user(said("b")),
            Message(role="assistant", tool_calls=CALLS),
            *RESULTS,
            Message(role="developer", parts=(said("It is late."),)),
            user(said("Well?")),
        )
    )
    assert [block["text"] for block in body["system"]] == ["Be brief.", "It is late."]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]


def test_instructions_alone_are_the_users_turn() -> None:
    body, _ = written(asking(Message(role="system", parts=(said("Write a poem."),))))
    assert "system" not in body
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Write a poem."}]}]


def test_an_assistant_that_begins_is_asked_to() -> None:
    body, _ = written(asking(Message(role="assistant", parts=(said("Once "),))))
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"]
    assert body["messages"][1]["content"] == [{"type": "text", "text": "Once"}]


def test_empty_words_are_never_sent() -> None:
    body, _ = written(asking(user(said(""), said("a")), Message(role="assistant", parts=(said(""),)), user(said("b"))))
    assert body["messages"] == [{"role": "user", "content": [said_block("a"), said_block("b")]}]


def said_block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_signed_thoughts_go_back_and_others_stay() -> None:
    foreign = Part(kind="reasoning", text="Eh.", signature="s", issuer=Protocol.GEMINI)
    redacted = Part(kind="reasoning", signature="xyz", issuer=Protocol.ANTHROPIC)
    body, lost = written(
        asking(user(), Message(role="assistant", parts=(THOUGHT, redacted, foreign, said("Yes."))), user())
    )
    kinds = [block["type"] for block in body["messages"][1]["content"]]
    assert kinds == ["thinking", "redacted_thinking", "text"]
    assert lost == ["thoughts"]


def test_media_is_blocks() -> None:
    parts = (
        Part(kind="image", media=Media(mime="image/png", data="aGk=", detail="low")),
        Part(kind="file", media=Media(mime="application/pdf", data="aGk=", name="a.pdf")),
        Part(kind="file", media=Media(mime="text/plain", data="aGk=")),
        Part(kind="file", media=Media(url="https://example.com/a.pdf")),
    )
    body, lost = written(asking(user(*parts)))
    blocks = body["messages"][0]["content"]
    assert [(block["type"], block["source"]["type"]) for block in blocks] == [
        *(("image", "base64"), ("document", "base64"), ("document", "text"), ("document", "url")),
    ]
    assert blocks[1]["title"] == "a.pdf"
    assert lost == ["image_detail"]


@pytest.mark.parametrize(
    ("kind", "media", "feature"),
    [
        ("audio", Media(mime="audio/wav", data="aGk="), "audio"),
        ("image", Media(file_id="f"), "file_ids"),
        ("image", Media(mime="image/tiff", data="aGk="), "image_type"),
        ("file", Media(mime="application/zip", data="aGk="), "file_type"),
    ],
)
def test_media_that_anthropic_does_not_take_is_lost(kind: Any, media: Media, feature: str) -> None:
    _, lost = written(asking(user(said("Go."), Part(kind=kind, media=media))))
    assert lost == [feature]


@pytest.mark.parametrize(
    ("model", "params", "thinking", "lost"),
    [
        ("claude-sonnet-4-5", {"reasoning_effort": "low"}, {"type": "enabled", "budget_tokens": 2048}, []),
        (
            "claude-sonnet-4-5",
            {"reasoning_effort": "high", "max_tokens": 1_025},
            {"type": "enabled", "budget_tokens": 1024},
            [],
        ),
        ("claude-sonnet-4-5", {"reasoning_effort": "high", "max_tokens": 1_024}, None, ["no_reasoning"]),
        ("claude-sonnet-4-5", {"reasoning_effort": "none"}, None, []),
        ("claude-3-5-haiku-latest", {"reasoning_effort": "low"}, None, ["no_reasoning"]),
        ("claude-opus-4-7", {"reasoning_budget": 5_000}, {"type": "adaptive", "display": "summarized"}, []),
        ("claude-opus-4-7", {"reasoning_effort": "none"}, {"type": "disabled"}, []),
    ],
)  # fmt: skip
def test_thinking_is_asked_for_as_the_model_takes_it(model: str, params: Any, thinking: Any, lost: list[str]) -> None:
    body, dropped = written(asking(model=model, **params))
    assert (body.get("thinking"), dropped) == (thinking, lost)


def test_effort_is_said_to_models_that_know_it() -> None:
    assert written(asking(model="claude-opus-4-7", reasoning_effort="xhigh"))[0]["output_config"] == {"effort": "xhigh"}
    assert written(asking(model="claude-opus-4-6", reasoning_effort="xhigh"))[0]["output_config"] == {"effort": "high"}


def test_a_forced_call_is_worth_more_than_thinking() -> None:
    body, lost = written(asking(tools=(Tool(name="a"),), tool_choice="required", reasoning_effort="low"))
    assert "thinking" not in body
    assert (body["tool_choice"], lost) == ({"type": "any"}, ["no_reasoning"])


def test_calls_whose_thinking_is_gone_are_gone_on_with_without() -> None:
    asked = asking(user(), Message(role="assistant", tool_calls=CALLS), *RESULTS, reasoning_effort="low")
    assert written(asked)[1] == ["no_reasoning"]
    signed = Message(role="assistant", parts=(THOUGHT,), tool_calls=CALLS)
    assert "thinking" in written(asking(user(), signed, *RESULTS, reasoning_effort="low"))[0]


@pytest.mark.parametrize(
    ("model", "params", "kept", "lost"),
    [
        ("claude-sonnet-4-0", {"temperature": 1.4, "top_p": 0.5}, {"temperature": 1, "top_p": 0.5}, []),
        ("claude-sonnet-4-5", {"temperature": 0.4, "top_p": 0.5, "top_k": 3}, {"temperature": 0.4, "top_k": 3}, ["sampling"]),
        ("claude-opus-4-7", {"temperature": 0.4}, {}, ["sampling"]),
        ("claude-opus-4-7", {"temperature": 1}, {}, []),
        ("claude-sonnet-4-5", {"temperature": 0.4, "reasoning_effort": "low"}, {}, ["sampling"]),
    ],
)  # fmt: skip
def test_sampling_is_what_the_model_takes(model: str, params: Any, kept: dict[str, Any], lost: list[str]) -> None:
    body, dropped = written(asking(model=model, **params))
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == kept
    assert dropped == lost


def test_a_limit_is_always_said_and_never_too_much() -> None:
    assert written(asking())[0]["max_tokens"] == 32_000
    assert written(asking(model="claude-3-haiku-20240307"))[0]["max_tokens"] == 4_096
    assert written(asking(model="claude-opus-4-1", max_tokens=90_000))[0]["max_tokens"] == 32_000


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}


def test_an_answer_by_a_schema_is_asked_for_as_the_model_takes_it() -> None:
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    schema = written(asking(response_format=format))[0]["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is False
    told = written(asking(model="claude-3-7-sonnet-latest", response_format=format))[0]["system"]
    assert json.dumps(SCHEMA, separators=(",", ":")) in told


def test_an_answer_in_json_is_asked_for_in_words() -> None:
    assert "JSON object" in written(asking(response_format={"type": "json_object"}))[0]["system"]


def test_parallel_calls_are_part_of_the_choice() -> None:
    tools = (Tool(name="a"),)
    assert written(asking(tools=tools, parallel_tool_calls=False))[0]["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }
    named = {"type": "function", "function": {"name": "a"}}
    assert written(asking(tools=tools, tool_choice=named))[0]["tool_choice"] == {"type": "tool", "name": "a"}
    assert "tool_choice" not in written(asking(tool_choice="auto"))[0]


def test_what_only_openai_has_is_lost_by_name() -> None:
    params: dict[str, Any] = {
        "seed": 1,
        "n": 2,
        "logprobs": True,
        "presence_penalty": 1,
        "logit_bias": {},
        "metadata": {},
    }
    lost = written(asking(**params, user="u" * 300, service_tier="default"))
    assert sorted(lost[1]) == ["choices", "logit_bias", "logprobs", "metadata", "penalties", "seed"]
    assert len(lost[0]["metadata"]["user_id"]) == 32
    assert lost[0]["service_tier"] == "standard_only"


@pytest.mark.parametrize(
    ("name", "thinks", "most"),
    [
        ("claude-3-opus-20240229", "", 4_096),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", "budget", 64_000),
        ("claude-opus-4-20250514", "budget", 32_000),
        ("claude-4-opus-20250514", "budget", 32_000),
        ("claude-opus-4-1-20250805", "budget", 32_000),
        ("claude-haiku-4-5", "budget", 64_000),
        ("claude-sonnet-4-6", "adaptive", 64_000),
        ("claude-opus-4-8", "adaptive", 64_000),
        ("claude-sonnet-5-5", "adaptive", 64_000),
    ],
)
def test_models_are_known_by_name(name: str, thinks: str, most: int) -> None:
    model = model_of(name)
    assert (model.thinks, model.most) == (thinks, most)
