"""Child processes for benchmarks: started on one core, awaited until ready, measured by /proc (Linux only)."""

import asyncio
import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path

import uvloop

_READY = "ready "


def announce(port: int) -> None:
    """What a child says when it listens."""
    sys.stdout.write(f"{_READY}{port}\n")
    sys.stdout.flush()


def event_loop_run(main: Coroutine[object, object, None]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main)


def pin(core: int | None, pid: int = 0) -> None:
    """Bind a process (0: this one) to one core, where the system can; None leaves it free."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


def cores() -> tuple[int | None, int | None]:
    """One core for the server under test, one for upstream and load; (None, None) where there is only one."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (mine[0], mine[1]) if len(mine) > 1 else (None, None)


class Child:
    """A running server and its cost so far."""

    def __init__(self, process: subprocess.Popen[str], port: int, ready_after: float) -> None:
        self.process = process
        self.port = port
        self.ready_after = ready_after  # seconds from start to the line that says it listens

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_seconds(self) -> float:
        """CPU time of all threads, to the nanosecond."""
        spent = 0
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                spent += int((thread / "schedstat").read_text().split()[0])
        return spent / 1e9

    def resident_mb(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


@contextlib.contextmanager
def child(
    arguments: Sequence[str], *, core: int | None = None, env: dict[str, str] | None = None, within: float = 20.0
) -> Iterator[Child]:
    """Run `python ARGUMENTS...` until the block ends. It must print `ready PORT` on standard output within `within` s."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(env or {})},  # as installed, where all is compiled
    )
    try:
        pin(core, process.pid)
        port = _wait_ready(process, started + within)
        yield Child(process, port, time.monotonic() - started)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _wait_ready(process: subprocess.Popen[str], deadline: float) -> int:
    assert process.stdout is not None
    while True:
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise TimeoutError(f"{process.args!r} did not say that it is ready")
        line = process.stdout.readline()
        if line.startswith(_READY):
            return int(line.removeprefix(_READY))
        if not line:
            raise RuntimeError(f"{process.args!r} ended with {process.wait()} before it was ready")


async def until_listening(port: int, within: float = 20.0) -> None:
    """For servers that announce nothing: wait until the port accepts."""
    deadline = time.monotonic() + within
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
