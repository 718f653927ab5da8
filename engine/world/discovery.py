"""Asks backends which models they have: at the start, which does not wait for it, and every now and then."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.diagnostics import LexgateError

from .backends import Backend
from .http.base import Timeouts, TransportError

PATHS: Final[Mapping[str, str]] = {
    "openai": "/models",
    "anthropic": "/v1/models?limit=1000",
    "gemini": "/models?pageSize=1000",
}
"""Where each protocol lists models, in one page as large as it allows."""

BOUNDS: Final = Timeouts(connect=5, first_byte=10, idle=5, total=20, write=5)
LARGEST: Final = 8_000_000
MOST: Final = 5_000
LONGEST_NAME: Final = 256
AGAIN_AFTER: Final = 30.0
"""Seconds after which a backend is asked again that gave no list, if it is not due before."""

Listed = Callable[[str, Sequence[str]], None]
"""Given the models of a backend."""
Failed = Callable[[str, str], None]
"""Told that a backend gave no list, and why; the last list stays."""


class NoList(LexgateError):
    """What was answered is no list of models."""


class Discovery:
    """Asks the backends that are to be asked, each at its own times."""

    def __init__(self, backends: Iterable[Backend], listed: Listed, failed: Failed) -> None:
        self._backends = [backend for backend in backends if backend.settings.discover and backend.protocol in PATHS]
        self._listed = listed
        self._failed = failed
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; must run in the event loop that serves."""
        self._tasks = [asyncio.create_task(self._ask_forever(backend)) for backend in self._backends]

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask_forever(self, backend: Backend) -> None:
        every = max(1.0, float(backend.settings.discover_every))
        while True:  # noqa: ASYNC110 - nothing happens earlier
            await asyncio.sleep(every if await self.ask(backend) else min(every, AGAIN_AFTER))

    async def ask(self, backend: Backend) -> bool:
        """Ask one backend once; whether it gave a list."""
        try:
            self._listed(backend.name, await models_of(backend))
        except (TransportError, NoList) as problem:
            self._failed(backend.name, str(problem))
            return False
        return True


async def models_of(backend: Backend) -> Sequence[str]:
    """The names of the models that a backend lists. Raises TransportError, NoList."""
    response = await backend.get(PATHS[backend.protocol], BOUNDS)
    try:
        body = await response.read(LARGEST)
    finally:
        await response.aclose()
    if response.status != 200:
        raise NoList(f"it answered {response.status}")
    return model_names(body)


def model_names(body: bytes) -> Sequence[str]:
    """The names in a list of models: OpenAI's and Anthropic's `data`, Gemini's `models`, or a bare list.

    Of Gemini's, those that generate content. Raises NoList.
    """
    try:
        page: Any = msgspec.json.decode(body)
    except msgspec.DecodeError as problem:
        raise NoList("it answered what is no JSON") from problem
    rows = page.get("data", page.get("models")) if isinstance(page, dict) else page
    if not isinstance(rows, list):
        raise NoList("its answer holds no list of models")
    names = dict.fromkeys(name for row in rows if isinstance(row, dict) and (name := _name(row)))
    return tuple(names)[:MOST]


def _name(row: Mapping[str, Any]) -> str:
    """The name of one model; "" for what is none, or does not generate."""
    methods = row.get("supportedGenerationMethods")
    if isinstance(methods, list) and "generateContent" not in methods:
        return ""
    name = row.get("id", row.get("name"))
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
        return ""
    return name.removeprefix("models/") if "id" not in row else name
