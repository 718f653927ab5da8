"""Scopes of a key, its team and its roles: each must allow what is asked."""

from collections.abc import Callable

import pytest

from engine.access.denial import OutOfScope
from engine.access.scopes import EVERYTHING, Grant, Scope

BACKENDS = ("openai", "local")


def grant(*scopes: Scope) -> Grant:
    return Grant([(f"scope {number}", scope) for number, scope in enumerate(scopes)], BACKENDS)


def code(what: Callable[[], None]) -> str | None:
    """The code of the refusal; None where it was admitted."""
    try:
        what()
    except OutOfScope as refused:
        return refused.denied.code
    return None


@pytest.mark.parametrize(
    ("models", "asked", "admitted"),
    [
        (("gpt-*",), "gpt-4o", True),
        (("gpt-*",), "GPT-4o", True),
        (("gpt-*",), "claude-x", False),
        (("gpt-*",), "openai:gpt-4o", True),
        (("gpt-*",), "openai:claude-x", False),
        (("gpt-*",), "unknown:gpt-4o", False),
        (("openai:gpt-*",), "gpt-4o", True),
        (("openai:gpt-*",), "openai:gpt-4o", True),
        (("openai:gpt-*",), "local:gpt-4o", False),
        (("llama3:8b",), "llama3:8b", True),
        (("llama3:8b",), "local:llama3:8b", True),
        (("llama3:8b",), "llama3:70b", False),
        ((), "gpt-4o", False),
        (("*",), "anything", True),
    ],
)
def test_a_model_is_asked_for_by_name_or_with_its_backend(models: tuple[str, ...], asked: str, admitted: bool) -> None:
    assert (code(lambda: grant(Scope(models=models)).admit_model(asked)) is None) is admitted


def test_every_scope_must_allow_it() -> None:
    both = grant(Scope(models=("gpt-*",)), Scope(models=("*-mini",)))
    assert code(lambda: both.admit_model("gpt-4o-mini")) is None
    assert code(lambda: both.admit_model("gpt-4o")) == "model_not_allowed"
    assert code(lambda: both.admit_model("o3-mini")) == "model_not_allowed"


def test_an_attempt_needs_its_backend_and_its_model() -> None:
    only = grant(Scope(models=("openai:gpt-*", "llama*")))
    assert code(lambda: only.admit_attempt("openai", "gpt-4o")) is None
    assert code(lambda: only.admit_attempt("local", "gpt-4o")) == "model_not_allowed"
    assert code(lambda: only.admit_attempt("local", "llama3:8b")) is None
    assert only.sees("openai", "gpt-4o")
    assert not only.sees("local", "gpt-4o")


@pytest.mark.parametrize(
    ("scope", "asked", "found"),
    [
        (Scope(), "auto", None),
        (Scope(models=("gpt-*",)), "auto", "model_not_allowed"),
        (Scope(models=("gpt-*",)), "", "model_not_allowed"),
        (Scope(models=("gpt-*", "auto")), "auto", None),
        (Scope(models=("gpt-*",), routes=("coding",)), "auto", None),
        (Scope(models=("gpt-*",), routes=("coding",)), "", None),
        (Scope(routes=("other",)), "auto", "route_not_allowed"),
        (Scope(routes=()), "", "route_not_allowed"),
    ],
)
def test_the_default_route_is_no_way_around_a_limit_of_models(scope: Scope, asked: str, found: str | None) -> None:
    assert code(lambda: grant(scope).admit_model(asked, ("", "auto"), "@coding")) == found


def test_no_model_and_no_default_route_is_for_routing_to_say() -> None:
    assert code(lambda: grant(Scope(models=("gpt-*",))).admit_model("", ("", "auto"), "")) is None


def test_a_tool_out_of_scope_is_named() -> None:
    only = grant(Scope(tools=("read*",)))
    only.admit_tools(["read_file", "READ"])
    with pytest.raises(OutOfScope, match=r"Scope 0 may not use the tool 'bash'. Allowed: read\*\."):
        only.admit_tools(["read_file", "bash"])


def test_protocols_are_globs() -> None:
    only = grant(Scope(protocols=("openai-*",)))
    assert code(lambda: only.admit_protocol("openai-chat")) is None
    assert code(lambda: only.admit_protocol("anthropic")) == "protocol_not_allowed"


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("", False),
        ("not-an-address", False),
    ],
)
def test_an_address_is_in_one_of_the_networks(address: str, admitted: bool) -> None:
    only = grant(Scope(addresses=("10.0.0.0/8", "2001:db8::/32")))
    assert (code(lambda: only.admit_address(address)) is None) is admitted


def test_without_scopes_everything_is_admitted() -> None:
    for each in (EVERYTHING, grant(Scope(), Scope())):
        each.admit_model("anything", ("auto",), "@x")
        each.admit_model("auto", ("auto",), "@x")
        each.admit_attempt("any", "thing")
        each.admit_tools(["bash"])
        each.admit_protocol("gemini")
        each.admit_address("")
        assert each.sees("any", "thing")


def test_an_empty_list_allows_nothing() -> None:
    nothing = grant(Scope(models=(), tools=(), protocols=(), addresses=()))
    assert code(lambda: nothing.admit_attempt("openai", "gpt-4o")) == "model_not_allowed"
    assert code(lambda: nothing.admit_tools(["bash"])) == "tool_not_allowed"
    assert code(lambda: nothing.admit_tools([])) is None
    assert code(lambda: nothing.admit_protocol("gemini")) == "protocol_not_allowed"
    assert code(lambda: nothing.admit_address("127.0.0.1")) == "address_not_allowed"
