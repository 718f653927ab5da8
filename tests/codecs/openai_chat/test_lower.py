"""A neutral request as it is written for Chat Completions."""

import json
from typing import Any

import pytest

from engine.codecs.openai_chat.lower import lower, shortened
from engine.codecs.openai_chat.request import encode_request
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool, ToolCall
from tests.support.openai_refusals import refusal_of


def said(text: str) -> Part:
    return Part(kind="text", text=text)


def asking(*messages: Message, model: str = "gpt-4o", tools: tuple[Tool, ...] = (), **params: Any) -> Exchange:
    user = Message(role="user", parts=(said("Go."),))
    return Exchange(
        id="x",
        protocol=Protocol.ANTHROPIC,
        model=model,
        stream=False,
        messages=messages or (user,),
        tools=tools,
        params=params,
    )


def written(exchange: Exchange) -> tuple[dict[str, Any], list[str]]:
    """The body, which the provider takes, and the features that were lost."""
    carried = lower(exchange)
    body: dict[str, Any] = json.loads(encode_request(carried.exchange))
    assert refusal_of(body) is None
    return body, [loss.feature for loss in carried.losses]


CALLS = Message(role="assistant", tool_calls=(ToolCall(id="1", name="ls"), ToolCall(id="2", name="ls")))


def test_what_results_show_follows_all_of_them() -> None:
    image = Part(kind="image", media=Media(mime="image/png", data="aGk="))
    body, lost = written(
        asking(
            Message(role="user", parts=(said("Go."),)),
            CALLS,
            Message(role="tool", tool_call_id="1", parts=(image,)),
            Message(role="tool", tool_call_id="2", parts=(said("no"),), is_error=True),
            Message(role="user", parts=(said("Well?"),)),
        )
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "tool", "user", "user"]
    assert [message["content"] for message in body["messages"][2:4]] == ["The result follows below.", "Error: no"]
    assert [part["type"] for part in body["messages"][4]["content"]] == ["text", "image_url"]
    assert lost == []


def test_thoughts_are_left_behind_and_developers_are_the_system() -> None:
    thought = Part(kind="reasoning", text="Hm.", signature="s", issuer=Protocol.ANTHROPIC)
    body, lost = written(
        asking(
            Message(role="developer", parts=(said("Be brief."), said("Be kind."))),
            Message(role="user", parts=(said("Go."),)),
            Message(role="assistant", parts=(thought, said("Yes."))),
            Message(role="user", parts=(said("And?"),)),
        )
    )
    assert body["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert body["messages"][2] == {"role": "assistant", "content": "Yes."}
    assert lost == ["thoughts"]


@pytest.mark.parametrize(
    ("kind", "media", "feature"),
    [
        ("image", Media(file_id="f"), "file_ids"),
        ("image", Media(mime="image/tiff", data="aGk="), "image_type"),
        ("file", Media(url="https://example.com/a.pdf"), "file_urls"),
        ("file", Media(mime="application/zip", data="aGk="), "file_type"),
        ("audio", Media(mime="audio/ogg", data="aGk="), "file_type"),
    ],
)
def test_media_that_openai_does_not_take_is_lost(kind: Any, media: Media, feature: str) -> None:
    _, lost = written(asking(Message(role="user", parts=(said("Go."), Part(kind=kind, media=media)))))
    assert lost == [feature]


def test_a_text_document_is_text() -> None:
    document = Part(kind="file", media=Media(mime="text/markdown", data="aGk=", name="a.md"))
    body, _ = written(asking(Message(role="user", parts=(document,))))
    assert body["messages"][0]["content"] == [{"type": "text", "text": "a.md\n\nhi"}]


@pytest.mark.parametrize(
    ("model", "params", "effort", "lost"),
    [
        ("gpt-4o", {"reasoning_budget": 4_000}, None, ["no_reasoning"]),
        ("gpt-4o", {"reasoning_effort": "none"}, None, []),
        ("gpt-5", {"reasoning_effort": "max"}, "high", []),
        ("gpt-5.1", {"reasoning_effort": "none"}, "none", []),
        ("openai/o3", {"reasoning_budget": 1_024}, "low", []),
    ],
)
def test_effort_is_one_that_the_model_knows(model: str, params: Any, effort: str | None, lost: list[str]) -> None:
    body, dropped = written(asking(model=model, **params))
    assert (body.get("reasoning_effort"), dropped) == (effort, lost)


def test_models_that_reason_take_no_sampling() -> None:
    assert written(asking(model="gpt-5", temperature=0.2, top_p=1))[1] == ["sampling"]
    assert written(asking(temperature=0.2))[0]["temperature"] == 0.2


def test_limits_have_the_field_that_the_model_knows() -> None:
    assert written(asking(max_tokens=9))[0]["max_completion_tokens"] == 9
    assert written(asking(model="llama3", max_tokens=9))[0]["max_tokens"] == 9


def test_what_is_too_much_is_cut() -> None:
    body, lost = written(asking(stop=["a", "b", "c", "d", "e"], user="u" * 100, top_k=4))
    assert (body["stop"], body["user"]) == (["a", "b", "c", "d"], shortened("u" * 100))
    assert sorted(lost) == ["many_stops", "top_k"]


def test_tools_are_functions_of_objects() -> None:
    tools = (Tool(name="a", schema={"type": "object", "properties": {"b": {"type": "array"}}}), Tool(name="c"))
    body, _ = written(asking(tools=tools, parallel_tool_calls=False))
    assert body["tools"][0]["function"]["parameters"]["properties"]["b"] == {"type": "array", "items": {}}
    assert body["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert body["parallel_tool_calls"] is False


def test_a_tool_of_free_text_stays_one() -> None:
    choice = {"type": "function", "function": {"name": "patch"}}
    body, _ = written(asking(tools=(Tool(name="patch", kind="custom"),), tool_choice=choice))
    assert body["tools"] == [{"type": "custom", "custom": {"name": "patch"}}]
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "patch"}}


def test_a_schema_of_an_answer_is_strict_only_where_it_can_be() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    body, _ = written(asking(response_format=format))
    assert body["response_format"]["json_schema"]["strict"] is False
