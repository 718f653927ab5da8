"""The server's side of the compiler process: started when it is needed, kept warm, replaced when it dies or hangs."""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

import msgspec

import engine
from engine.diagnostics import LexgateError

from .compiler import Answer, Order
from .compiler_process import LARGEST, LENGTH, Answered, Failed, Message, Ready, framed

ATTEMPTS: Final = 3
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from engine.policy.compiler_process import main; main()"
)
"""The same search path as the server's own, so that the process finds the same code, and none in the current folder."""

_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


class CompilerDied(LexgateError):
    """The process ended or hung at every attempt of an order."""


class CompilerFailed(LexgateError):
    """The process lives, and says that it could not answer: a mistake in the compiler, not in a file."""

    def __init__(self, error: str, trace: str) -> None:
        super().__init__(error)
        self.trace = trace


class WarmCompiler:
    """One compiler process, and at most one order at a time. `patience` bounds the seconds of one attempt."""

    def __init__(self, patience: float = 30.0, command: tuple[str, ...] = ()) -> None:
        self.deaths = 0
        """How often the process ended or was ended without being asked to."""
        self._patience = patience
        self._command = command or (sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path))
        self._process: Process | None = None
        self._busy = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """None where no process runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def busy(self) -> bool:
        """Whether an order is being answered."""
        return self._busy.locked()

    @property
    def resident_bytes(self) -> int | None:
        """The process's memory; None where none runs, or where the system does not say."""
        return resident_bytes(self.pid) if self.pid is not None else None

    async def warm(self) -> None:
        """Start the process, where none runs, so that the first order need not wait for it. Raises CompilerDied."""
        async with self._busy:
            try:
                async with asyncio.timeout(self._patience):
                    await self._started()
            except (TimeoutError, OSError, EOFError) as wrong:
                await self._end()
                raise CompilerDied(f"the compiler process does not start: {_reason(wrong)}") from wrong

    async def answer(self, order: Order) -> Answer:
        """Have an order answered, by a new process where the old one dies or hangs. Raises CompilerDied, CompilerFailed."""
        async with self._busy:
            frame = framed(msgspec.msgpack.encode(order))
            last = ""
            for _ in range(ATTEMPTS):
                try:
                    async with asyncio.timeout(self._patience):
                        return await self._asked(frame)
                except (TimeoutError, OSError, EOFError) as wrong:
                    last = await self._buried(wrong)
                except asyncio.CancelledError:
                    await self._end()  # its answer would be taken for that of the next order
                    raise
            raise CompilerDied(f"the compiler process died {ATTEMPTS} times over this set; at last it {last}")

    async def close(self) -> None:
        """End the process, and wait until it has ended."""
        async with self._busy:
            await self._end()

    async def _asked(self, frame: bytes) -> Answer:
        process = await self._started()
        assert process.stdin is not None
        process.stdin.write(frame)
        await process.stdin.drain()
        match await _received(process):
            case Answered(answer=answer):
                return answer
            case Failed(error=error, trace=trace):
                raise CompilerFailed(error, trace)
            case Ready():
                raise EOFError("it answered out of turn")

    async def _started(self) -> Process:
        process = self._process
        if process is not None and process.returncode is None:
            return process
        if process is not None:
            self.deaths += 1  # it ended while nobody asked anything of it
            await self._end()
        process = self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
        match await _received(process):
            case Ready(version=engine.__version__):
                return process
            case Ready(version=other):
                raise EOFError(f"is version {other}, the server {engine.__version__}: restart the server")
            case _:
                raise EOFError("did not say that it is ready")

    async def _buried(self, wrong: Exception) -> str:
        """End what is left of the process, and say what became of it."""
        process = self._process
        self.deaths += 1
        if isinstance(wrong, TimeoutError) or process is None:
            await self._end()
            return _reason(wrong) if process is None else f"did not answer within {self._patience:g} s"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await process.wait()
        code = process.returncode
        await self._end()
        return f"ended with exit status {code}" if code is not None else _reason(wrong)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def _received(process: Process) -> Message:
    """The next message. Raises EOFError where the process ends instead."""
    assert process.stdout is not None
    try:
        size = int.from_bytes(await process.stdout.readexactly(LENGTH), "big")
        if size > LARGEST:
            raise EOFError("answered with something that is no message")
        return _decoder.decode(await process.stdout.readexactly(size))
    except asyncio.IncompleteReadError as wrong:
        raise EOFError("ended within a message") from wrong
    except msgspec.MsgspecError as wrong:
        raise EOFError(f"was not understood: {wrong}") from wrong


def resident_bytes(pid: int) -> int | None:
    """The memory of a process that stands in RAM (Linux); None where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    line = next((each for each in status.splitlines() if each.startswith("VmRSS:")), None)
    return int(line.split()[1]) * 1024 if line is not None else None


def _reason(wrong: Exception) -> str:
    return "it takes too long" if isinstance(wrong, TimeoutError) else str(wrong) or type(wrong).__name__
