"""The processes of one endpoint, looked after: started together, restarted when they die, replaced one by one."""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from engine.diagnostics import LexgateError

HANDED_OVER: Final = "_LEXGATE_WORKER"
"""The variable in which a worker finds its arguments, and its descriptors."""

SHORTEST_LIFE: Final = 5.0
"""Seconds after which a worker that died is replaced at once; one that died sooner waits, longer each time."""

LONGEST_REST: Final = 30.0
READY_WITHIN: Final = 120.0
BEYOND_DRAIN: Final = 15.0
"""Seconds, after those for exchanges in flight, in which a worker that stops may write its records."""

_LOG: Final = structlog.get_logger("lexgate")


class StartFailed(LexgateError):
    """A worker could not start: what it said, as it is to be shown."""


class Worker:
    """One process, and the channel over which it says that it serves, or why it cannot."""

    def __init__(self, number: int, listener: socket.socket, handed: Mapping[str, Any]) -> None:
        self.number = number
        self.ready = False
        self.failure = ""
        self.leaving_since: float | None = None
        self.began = time.monotonic()
        self.channel, theirs = socket.socketpair()
        with theirs:
            descriptors = (listener.fileno(), theirs.fileno())
            arguments = {**handed, "number": number, "listener": descriptors[0], "channel": descriptors[1]}
            self.process = subprocess.Popen(
                [sys.executable, "-m", "engine.cli.worker"],
                env={**os.environ, HANDED_OVER: json.dumps(arguments)},
                pass_fds=descriptors,
            )
        self._heard = b""

    def hear(self) -> bool:
        """Read what it says; False where it will say nothing more."""
        data = self.channel.recv(65_536)
        self._heard += data
        while b"\n" in self._heard:
            line, _, self._heard = self._heard.partition(b"\n")
            said = json.loads(line)
            self.ready = self.ready or "ready" in said
            self.failure = said.get("failure", self.failure)
        return bool(data)

    def leave(self) -> None:
        """Ask it to stop: what is in flight goes on for a while."""
        if self.leaving_since is None:
            self.leaving_since = time.monotonic()
            self.process.terminate()


class Workers:
    """`count` processes behind one listening socket; `drain` seconds are what each gives its exchanges when it stops."""

    def __init__(
        self,
        count: int,
        listener: socket.socket,
        handed: Mapping[str, Any],
        drain: float,
        up: Callable[[], None],
    ) -> None:
        """`up` is called once, when all of them serve for the first time."""
        self._count = count
        self._up = up
        self._listener = listener
        self._handed = handed
        self._patience = drain + BEYOND_DRAIN
        self._serving: dict[int, Worker] = {}
        self._leaving: list[Worker] = []
        self._coming: Worker | None = None
        """Of a replacement: the process that is not ready yet."""
        self._to_replace: list[int] = []
        self._stopped_by: int | None = None
        self._restart_at: dict[int, float] = {}
        self._deaths: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        self._is_up = False

    def run(self) -> None:
        """Until a signal stops them: then the process ends by it. Raises StartFailed where not all could start."""
        woken, wakes = socket.socketpair()
        woken.setblocking(False)
        wakes.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        for heard in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(heard, lambda *_: None)
        self._selector.register(woken, selectors.EVENT_READ)
        try:
            for number in range(1, self._count + 1):
                self._serving[number] = self._started(number)
            while self._serving or self._leaving or self._coming is not None:
                self._listen()
                if self._stopped_by is None:
                    self._look_after()
                self._bury()
        finally:
            for each in self._everybody():
                each.process.kill()
        if self._stopped_by is not None:
            signal.signal(self._stopped_by, signal.SIG_DFL)
            signal.raise_signal(self._stopped_by)

    def _everybody(self) -> list[Worker]:
        return [*self._serving.values(), *self._leaving, *([self._coming] if self._coming is not None else [])]

    def _started(self, number: int) -> Worker:
        worker = Worker(number, self._listener, self._handed)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        return worker

    def _listen(self) -> None:
        """Wait for something to happen, a moment at most: that a time is over is seen by looking."""
        for key, _ in self._selector.select(0.2):
            if isinstance(key.data, Worker):
                if not key.data.hear():
                    self._selector.unregister(key.fileobj)
                    key.data.channel.close()
                continue
            assert isinstance(key.fileobj, socket.socket)
            for number in key.fileobj.recv(64):
                self._signalled(number)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            if self._stopped_by is None and self._is_up:
                _LOG.info("workers are replaced", workers=self._count)
                self._to_replace = sorted({*self._to_replace, *self._serving})
            return
        if number not in (signal.SIGTERM, signal.SIGINT):
            return
        self._stop(number)

    def _stop(self, number: int) -> None:
        self._stopped_by = self._stopped_by or number
        everybody, self._serving, self._coming = self._everybody(), {}, None
        for each in everybody:
            each.leave()
        self._leaving = everybody

    def _look_after(self) -> None:
        if not self._is_up and len(self._serving) == self._count and all(each.ready for each in self._serving.values()):
            self._is_up = True
            self._up()
        now = time.monotonic()
        for number, at in list(self._restart_at.items()):
            if at <= now:
                del self._restart_at[number]
                self._serving[number] = self._started(number)
        if self._coming is not None and self._coming.ready:
            old = self._serving.pop(self._coming.number, None)
            self._serving[self._coming.number], self._coming = self._coming, None
            if old is not None:
                old.leave()
                self._leaving.append(old)
        elif self._coming is None and self._to_replace and not self._leaving:
            # One after the other: the next one goes only when the last one is gone.
            number = self._to_replace.pop(0)
            self._restart_at.pop(number, None)
            self._coming = self._started(number)

    def _bury(self) -> None:
        """See who has ended, and who should have long ago."""
        now = time.monotonic()
        for worker in self._everybody():
            if worker.leaving_since is not None and now - worker.leaving_since > self._patience:
                worker.process.kill()
            elif not worker.ready and worker.leaving_since is None and now - worker.began > READY_WITHIN:
                worker.failure = worker.failure or f"it did not serve within {READY_WITHIN:g} s"
                worker.process.kill()
            code = worker.process.poll()
            if code is None:
                continue
            if worker.leaving_since is None and not worker.ready:
                self._hear_last_words(worker)
            if worker in self._leaving:
                self._leaving.remove(worker)
            elif worker is self._coming:
                self._coming, self._to_replace = None, []
                _LOG.error("a new worker could not start; the others go on", worker=worker.number, why=worker.failure)
            else:
                self._mourn(worker, code)

    def _hear_last_words(self, worker: Worker) -> None:
        while worker.channel.fileno() >= 0 and not worker.failure and worker.hear():
            pass

    def _mourn(self, worker: Worker, code: int) -> None:
        """A worker ended by itself. Before all were up, that ends the start."""
        del self._serving[worker.number]
        if not self._is_up:
            self._stop(signal.SIGTERM)
            self._stopped_by = None
            for each in self._leaving:
                each.process.wait(self._patience)
            raise StartFailed(worker.failure or f"worker {worker.number} ended with code {code} before it served")
        lived = time.monotonic() - worker.began
        deaths = self._deaths[worker.number] = 1 if lived > SHORTEST_LIFE else self._deaths.get(worker.number, 0) + 1
        rest = 0.0 if deaths == 1 else min(LONGEST_REST, 0.5 * 2.0 ** min(deaths, 10))
        self._restart_at[worker.number] = time.monotonic() + rest
        why = worker.failure or f"ended with code {code}"
        _LOG.error("worker died", worker=worker.number, pid=worker.process.pid, why=why, restarts_in=rest)
