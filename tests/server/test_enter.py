"""Behind the door of team mode the request knows its visitor, and holds no credential any more."""

from typing import Any

import pytest

from engine.access.registry import Draft
from engine.codecs import PATHS
from engine.server.door import VISITOR, enter
from engine.settings.model import Server
from tests.access.test_directory import House, story

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("where", ["authorization", "x-api-key", "x-goog-api-key", "api-key", "x-lexgate-key", "query"])
def test_nothing_of_the_credential_stays_in_the_request(where: str) -> None:
    async def of(house: House) -> None:
        text = (await house.registry.create(Draft(name="a"))).text
        shown = f"Bearer {text}" if where == "authorization" else text
        scope: dict[str, Any] = {
            "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "client": ("1.2.3.4", 5),
            "query_string": f"a=b&key={text}".encode() if where == "query" else b"a=b",
            "headers": [(b"accept", b"*/*")] + ([] if where == "query" else [(where.encode(), shown.encode())]),
        }  # fmt: skip
        assert await enter(house.door, Server(), scope, PATHS[CHAT]) is None
        visitor = scope.pop(VISITOR)
        assert (visitor.caller.id, visitor.caller.ip) == ("key:a", "1.2.3.4")
        assert text not in str(scope)
        assert scope["query_string"] == b"a=b"
        assert (b"accept", b"*/*") in scope["headers"]

    story(of)
