"""The OpenAPI document and the routes agree: requests made from it meet no answer that it does not speak of."""

import warnings
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from engine.server.admin import schema

from .admin_server import Admin

EXAMPLES = 15
CHECKS: list[CheckFunction] = [content_type_conformance, response_schema_conformance, status_code_conformance]


def test_requests_made_from_the_document_are_answered_as_it_says(tmp_path: Path) -> None:
    with Admin(tmp_path) as admin, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        described = schemathesis.openapi.from_dict(dict(schema()))
        headers = {"authorization": f"Bearer {admin.keys['admin'].text}"}
        asked = []
        for result in described.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            asked.append(operation.label)

            @seed(1)
            @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def answered(case: schemathesis.Case[Any]) -> None:
                response = case.call(base_url=admin.lexgate.origin, headers=headers)
                assert response.status_code < 500
                case.validate_response(response, checks=CHECKS)

            answered()
        assert len(asked) == sum(len(each) for each in schema()["paths"].values())
        assert admin.get("/keys/admin")["state"] == "active"
