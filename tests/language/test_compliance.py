"""The official JMESPath compliance cases, read from the folder that JMESPATH_CASES names."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.language import ConditionError, compile_expression

FOLDER = os.environ.get("JMESPATH_CASES", "")
SCORED = 892  # revision 53abcc3 of github.com/jmespath/jmespath.test


def official() -> list[Any]:
    return [
        pytest.param(suite["given"], case, id=f"{path.stem}: {case['expression']}")
        for path in sorted(Path(FOLDER).glob("*.json") if FOLDER else ())
        for suite in json.loads(path.read_text(encoding="utf-8"))
        for case in suite["cases"]
        if "result" in case or "error" in case
    ]


@pytest.mark.skipif(not FOLDER, reason="JMESPATH_CASES does not name a checkout of github.com/jmespath/jmespath.test")
@pytest.mark.parametrize(("given", "case"), official())
def test_official_case(given: Any, case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(ConditionError) as caught:
            compile_expression(case["expression"])(given)
        assert caught.value.kind == case["error"]
        assert 0 <= caught.value.start <= caught.value.end <= len(case["expression"])
    else:
        assert compile_expression(case["expression"])(given) == case["result"]


@pytest.mark.skipif(not FOLDER, reason="JMESPATH_CASES does not name a checkout of github.com/jmespath/jmespath.test")
def test_all_official_cases_are_there() -> None:
    assert len(official()) >= SCORED
