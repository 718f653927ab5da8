"""Which backends serve a request."""

from typing import Any

import pytest

from engine.model.plan import Leg, PlanError, parse_plan
from engine.passage.routing import NotServed, Routes, legs_in_order, with_model
from engine.settings.model import Backend, Settings


def routes(*, default: str = "", named: dict[str, Any] | None = None, **models: tuple[str, ...]) -> Routes:
    backends = {
        name: Backend(protocol="openai", base_url="http://127.0.0.1/v1", models=each) for name, each in models.items()
    }
    return Routes(Settings(backends=backends, default_route=default, routes=named or {}))


def legs(found: Routes, model: str) -> list[str]:
    return [f"{leg.backend}:{leg.model}" for leg in found.for_model(model).legs]


@pytest.mark.parametrize(
    ("model", "leg"),
    [
        ("exact", "b:exact"),
        ("exactly", "a:exactly"),
        ("b:exactly", "b:exactly"),
        ("a:", "a:"),
        ("c:exact", "a:c:exact"),
        ("B:exact", "a:B:exact"),
    ],
)
def test_a_prefix_counts_if_it_names_a_backend_then_exact_names_then_globs(model: str, leg: str) -> None:
    assert legs(routes(a=("*",), b=("exact", "*")), model) == [leg]


def test_of_equal_names_the_first_in_the_file_counts() -> None:
    assert legs(routes(a=("m",), b=("m",)), "m") == ["a:m"]
    assert legs(routes(a=("m*",), b=("*",)), "mm") == ["a:mm"]


@pytest.mark.parametrize("model", ["", "default", "auto"])
def test_the_default_route_serves_who_names_no_model(model: str) -> None:
    found = routes(default="@r", named={"r": "b:x|a:"}, a=("*",), b=("*",))
    assert legs(found, model) == ["b:x", "a:"]


def test_a_model_that_is_really_called_default_is_itself() -> None:
    assert legs(routes(default="a:x", a=("y",), b=("default",)), "default") == ["b:default"]


def test_a_model_name_is_never_mistaken_for_the_default() -> None:
    with pytest.raises(NotServed, match="Served: gpt-4o"):
        routes(default="a:gpt-4o", a=("gpt-4o",)).for_model("gpt-5")


def test_what_is_served_is_named_and_not_endlessly() -> None:
    with pytest.raises(NotServed) as caught:
        routes(a=tuple(f"m{number}" for number in range(100))).for_model("x")
    assert "m0, m1," in str(caught.value)
    assert str(caught.value).count(",") <= 21


def test_models_are_listed_once_and_by_name_alone() -> None:
    found = routes(a=("m", "n-*"), b=("m", "o")).models()
    assert [(each["id"], each["owned_by"]) for each in found] == [("m", "a"), ("o", "b")]


def test_an_unknown_named_route_is_an_error() -> None:
    with pytest.raises(PlanError, match="unknown route '@nope'"):
        routes(a=("*",)).plan("@nope")


def test_failover_keeps_its_order_whatever_chance_says() -> None:
    plan = parse_plan("a:|b:|c:")
    for random in (0.0, 0.5, 0.999):
        assert [leg.backend for leg in legs_in_order(plan, random)] == ["a", "b", "c"]


def test_weights_choose_the_first_and_every_leg_is_tried_once() -> None:
    plan = parse_plan("[weight=1]a:^[weight=3]b:^[weight=4]c:")
    orders = [[leg.backend for leg in legs_in_order(plan, step / 800)] for step in range(800)]
    assert [sum(order[0] == name for order in orders) for name in "abc"] == [100, 300, 400]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


@pytest.mark.parametrize(
    ("leg", "asked", "model"),
    [
        (Leg("a", "x"), "y", "x"),
        (Leg("a"), "y", "y"),
        (Leg("a"), "a:y", "y"),
        (Leg("b"), "a:y", "a:y"),
        (Leg("a"), "llama3:8b", "llama3:8b"),
    ],
)
def test_a_leg_without_a_model_keeps_the_clients_without_its_prefix(leg: Leg, asked: str, model: str) -> None:
    assert with_model(leg, asked).model == model


def discovering(*models: str, prefix: str = "") -> Routes:
    found = Backend(protocol="openai", base_url="http://127.0.0.1/v1", models=models, discover=True, prefix=prefix)
    plain = Backend(protocol="openai", base_url="http://127.0.0.1/v1", models=("fixed",))
    return Routes(Settings(backends={"found": found, "plain": plain}))


def test_a_backend_serves_what_it_says_it_has() -> None:
    it = discovering()
    with pytest.raises(NotServed, match="Served: fixed"):
        it.for_model("llama")
    it.discovered("found", ["llama", "fixed"])
    assert legs(it, "llama") == ["found:llama"]
    assert [each["id"] for each in it.models()] == ["llama", "fixed"]
    it.discovered("found", ["qwen"])
    assert legs(it, "fixed") == ["plain:fixed"]
    with pytest.raises(NotServed, match="Served: qwen, fixed"):
        it.for_model("llama")


def test_of_what_a_backend_has_only_what_fits_its_models_is_served() -> None:
    it = discovering("llama*")
    it.discovered("found", ["llama3", "qwen"])
    assert [each["id"] for each in it.models()] == ["llama3", "fixed"]
    assert legs(it, "llama4") == ["found:llama4"]


def test_a_prefix_is_what_clients_write_and_backends_never_see() -> None:
    it = discovering("gpt*", "exact", prefix="openrouter/")
    it.discovered("found", ["gpt-5"])
    assert legs(it, "openrouter/gpt-5") == ["found:gpt-5"]
    assert legs(it, "openrouter/gpt-6") == ["found:gpt-6"]
    assert legs(it, "openrouter/exact") == ["found:exact"]
    assert [each["id"] for each in it.models()] == ["openrouter/exact", "openrouter/gpt-5", "fixed"]
    with pytest.raises(NotServed):
        it.for_model("gpt-5")
