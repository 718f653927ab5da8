"""Errors in Google's shape, and errors of any shape read."""

import json

import pytest

from engine.codecs.base import Problem
from engine.codecs.gemini.problem import decode_problem, encode_problem


def test_a_problem_is_a_status_of_google() -> None:
    problem = Problem(status=429, message="Slow down.", kind="rate_limit_error", code="limited", retry_after=2.5)
    assert json.loads(encode_problem(problem)) == {
        "error": {
            "code": 429,
            "message": "Slow down.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "limited", "domain": "lexgate"},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"},
            ],
        }
    }


def test_it_is_read_back_as_what_it_was() -> None:
    problem = Problem(status=429, message="Slow down.", kind="rate_limit_error", code="limited", retry_after=2.5)
    assert decode_problem(429, encode_problem(problem)) == problem


@pytest.mark.parametrize(
    ("status", "name"), [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (502, "INTERNAL"), (504, "DEADLINE_EXCEEDED")]
)
def test_every_status_has_a_name(status: int, name: str) -> None:
    assert json.loads(encode_problem(Problem(status=status, message="x")))["error"]["status"] == name


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'[{"error": {"code": 400, "message": "Wrong.", "status": "INVALID_ARGUMENT"}}]', "Wrong."),
        (b'{"error": "wrong"}', "wrong"),
        (b'{"message": "wrong"}', "wrong"),
        (b"<html><title>502</title></html>", "502"),
        (b"", "The provider answered with status 400."),
        (b"[]", "The provider answered with status 400."),
    ],
)
def test_any_shape_is_read(body: bytes, message: str) -> None:
    assert decode_problem(400, body).message == message
