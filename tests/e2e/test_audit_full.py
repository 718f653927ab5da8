"""What happens when no record can be written: exchanges are refused, or go on without it, as the operator says."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.lexgate import Lexgate
from tests.support.openai_mock import OpenAIMock, Reply

from .conftest import Serve
from .talk import asking

RULE = "version: 1\npolicy: p\nrules:\n  - id: seen\n    phase: request\n    actions: [{log: {message: seen}}]\n"


class Full:
    """An audit log that takes nothing."""

    has_room = False

    def offer(self, record: Mapping[str, Any]) -> bool:
        return False

    async def close(self) -> None:
        pass


def with_a_full_log(lexgate: Lexgate) -> Lexgate:
    full: Any = Full()
    lexgate.house.world.audit = full
    return lexgate


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_log_refuses_before_anything_is_sent(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    raw = with_a_full_log(serve(RULE)).post(asking(stream=stream))
    assert (raw.status, raw.json["error"]["code"]) == (503, "audit_full")
    assert int(raw.headers["retry-after"]) >= 1
    assert provider.requests == []


def test_a_full_log_is_dropped_where_the_operator_says_so(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    lexgate = with_a_full_log(serve(RULE, settings={"audit": {"when_full": "drop"}}))
    assert lexgate.post(asking()).status == 200
    assert [each["event"] for each in lexgate.logs if each["log_level"] == "warning"] == ["audit record dropped"]
