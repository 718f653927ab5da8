"""The workers of one host among each other: whoever is asked for metrics shows those of all, each under its number.

Counters stay what they are in each process, and no sum hides that one of them stands still. A replaced worker begins
at zero again, which Prometheus knows from every restart.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

PATIENCE: Final = 1.0
"""Seconds in which another worker must have answered; one that is late is missing in this answer."""


class Crew:
    """This worker's place in a folder that only the workers of one endpoint know. `render` gives its metrics."""

    def __init__(self, folder: Path, number: int, render: Callable[[], bytes]) -> None:
        self._folder = folder
        self.number = number
        self._render = render
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer the others. A worker of the same number that is about to leave is asked no more."""
        place = self._place(self.number)
        place.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, place)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def render_all(self) -> bytes:
        """The metrics of all workers that answer, each sample with the label `worker`."""
        numbers = sorted(int(each.stem) for each in self._folder.glob("*.sock") if each.stem.isdigit())
        others = [number for number in numbers if number != self.number]
        texts = await asyncio.gather(*(self._ask(number) for number in others))
        found = {self.number: self._render()} | {
            number: text for number, text in zip(others, texts, strict=True) if text
        }
        return joined({str(number): found[number].decode() for number in sorted(found)}).encode()

    async def _ask(self, number: int) -> bytes:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self._place(number))
                try:
                    return await reader.read()
                finally:
                    writer.close()
        return b""

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(self._render())
            await writer.drain()
        writer.close()

    def _place(self, number: int) -> Path:
        return self._folder / f"{number}.sock"


def joined(texts: Mapping[str, str]) -> str:
    """Several texts of Prometheus' exposition format as one: families stand together, samples carry the worker's label."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for worker, text in texts.items():
        name = ""
        for line in text.splitlines():
            if line.startswith("# "):
                name = line.split(" ", 3)[2]
                head, _ = families.setdefault(name, ([], []))
                if line.split(" ", 2)[1] not in {each.split(" ", 2)[1] for each in head}:
                    head.append(line)
            elif line:
                families.setdefault(name, ([], []))[1].append(_labelled(line, worker))
    lines: Iterable[str] = (line for head, samples in families.values() for line in (*head, *samples))
    return "\n".join(lines) + "\n"


def _labelled(sample: str, worker: str) -> str:
    """`name{a="b"} 1` with one more label; a value may hold anything but a line's end."""
    brace, space = sample.find("{"), sample.find(" ")
    if 0 <= brace < space:
        return f'{sample[: brace + 1]}worker="{worker}",{sample[brace + 1 :]}'
    return f'{sample[:space]}{{worker="{worker}"}}{sample[space:]}'
