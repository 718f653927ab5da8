"""A thread that does blocking work for event loops: takes all that waits, does it in one go, answers everyone."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from engine.world.store.base import StoreDown

Job = TypeVar("Job")
Answer = TypeVar("Answer")

BATCH = 256  # jobs in one go: enough to share one commit to disk among a burst, few enough that the first waits little


class Desk(Generic[Job, Answer]):
    """`work` gets one or more jobs and returns as many answers; an answer that is an exception is raised to its asker.

    If `work` itself raises for several jobs, they are done again one by one, so that only the one at fault fails.
    """

    def __init__(self, name: str, work: Callable[[Sequence[Job]], Sequence[Answer | Exception]]) -> None:
        self._work = work
        self._waiting: SimpleQueue[tuple[Job, asyncio.Future[Answer]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._closed = False
        self._thread.start()

    def ask(self, job: Job) -> asyncio.Future[Answer]:
        """Hand in a job from a running event loop. A future that is cancelled does not undo its job."""
        if self._closed:
            raise StoreDown("the state store is closed")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.put((job, future))
        return future

    async def close(self) -> None:
        """Finish what was handed in. Idempotent."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        open_ = True
        while open_:
            batch = []
            with contextlib.suppress(Empty):
                item = self._waiting.get()
                while item is not None:
                    batch.append(item)
                    if len(batch) >= BATCH:
                        break
                    item = self._waiting.get_nowait()
                open_ = item is not None
            if batch:
                self._answer(batch)

    def _answer(self, batch: list[tuple[Job, asyncio.Future[Answer]]]) -> None:
        try:
            answers: Sequence[Answer | Exception] = self._work([job for job, _ in batch])
        except Exception as error:  # the outermost edge of this thread: it must outlive any job, and tells its asker
            if len(batch) > 1:
                for one in batch:
                    self._answer([one])
                return
            answers = [error]
        deliveries: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Answer | Exception]]] = {}
        for (_, future), answer in zip(batch, answers, strict=True):
            deliveries.setdefault(future.get_loop(), []).append((future, answer))
        for loop, delivery in deliveries.items():
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens any more
                loop.call_soon_threadsafe(_deliver, delivery)


def _deliver(delivery: list[tuple[asyncio.Future[Answer], Answer | Exception]]) -> None:
    for future, answer in delivery:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
