"""Lists of models in the shapes of three protocols, and their pages."""

from typing import Any

import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from engine.codecs.base import BadRequest
from engine.codecs.model_lists import (
    Served,
    anthropic_list,
    anthropic_model,
    google_list,
    google_model,
    openai_list,
)

MODELS = [Served(f"m{number}", "backend") for number in range(5)]


def names(page: dict[str, Any]) -> list[str]:
    return [model["id"] for model in page["data"]]


def test_openais_clients_get_all_at_once() -> None:
    listed = [Model.model_validate(model) for model in openai_list([Served("m", "b", 1_700_000_000)], {})["data"]]
    assert [(model.id, model.owned_by, model.created) for model in listed] == [("m", "b", 1_700_000_000)]


def test_anthropics_clients_read_what_is_listed() -> None:
    assert ModelInfo.model_validate(anthropic_model(Served("m", "b", 1_700_000_000))).created_at.year == 2023
    assert ModelInfo.model_validate(anthropic_model(Served("m", "b"))).created_at.year == 1970


@pytest.mark.parametrize(
    ("query", "page", "more"),
    [
        ({}, ["m0", "m1", "m2", "m3", "m4"], False),
        ({"limit": "2"}, ["m0", "m1"], True),
        ({"limit": "2", "after_id": "m1"}, ["m2", "m3"], True),
        ({"limit": "2", "after_id": "m2"}, ["m3", "m4"], False),
        ({"limit": "2", "before_id": "m3"}, ["m1", "m2"], True),
        ({"limit": "3", "before_id": "m3"}, ["m0", "m1", "m2"], False),
        ({"after_id": "m4"}, [], False),
    ],
)
def test_anthropics_list_has_pages(query: dict[str, str], page: list[str], more: bool) -> None:
    listed = anthropic_list(MODELS, query)
    assert (names(listed), listed["has_more"]) == (page, more)
    assert (listed["first_id"], listed["last_id"]) == ((page[0], page[-1]) if page else (None, None))


@pytest.mark.parametrize(
    "query",
    [
        *({"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"limit": "9" * 50}),
        *({"after_id": "x"}, {"before_id": "x"}, {"after_id": "m1", "before_id": "m3"}),
    ],
)
def test_a_page_that_cannot_be_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as refused:
        anthropic_list(MODELS, query)
    assert refused.value.problem.param in query


def test_googles_list_has_pages_with_a_token() -> None:
    seen: list[str] = []
    query = {"pageSize": "2"}
    for _ in range(3):
        page = google_list(MODELS, query)
        seen += [model["name"] for model in page["models"]]
        query["pageToken"] = page.get("nextPageToken", "")
    assert seen == [f"models/m{number}" for number in range(5)]
    assert query["pageToken"] == ""


def test_googles_clients_are_told_what_a_model_can_do() -> None:
    assert "generateContent" in google_model(MODELS[0])["supportedGenerationMethods"]
