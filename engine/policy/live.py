"""The rules that are in force, and how they change while the server runs: watch, compile beside, swap one reference.

An edit that is wrong changes nothing: the last good set goes on, and status, callbacks and the attempt itself say what
is wrong, and where.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.diagnostics import ConfigurationError, Diagnostic, LexgateError, Where, note, warning
from engine.diagnostics import error as diagnose

from . import lastgood
from .assemble import Pace, Part, assemble, by_mode, enforced, long_lived, unite
from .compiler import Answer, Compiler, Order, OriginReport
from .recipe import Recipe
from .ruleset import RuleSet
from .warm import CompilerDied, CompilerFailed, WarmCompiler
from .watch import Watch

RETRY_AFTER: Final = 30.0
"""Seconds after which a set is tried again that the compiler process died over."""
_UNPIN: Final = "an operator pinned it; when that ends, the files are in force as they are then"
EARLIER: Final = 5
"""Sets before the one in force that can be pinned: in memory, and beside the last good set on disk."""
_SHOWN: Final = 20


class UnknownRevision(LexgateError):
    """The revision is not among those that are kept, or what is kept of it does not load any more."""


OnSwap = Callable[[RuleSet, RuleSet, tuple[str, ...]], None]
"""Called with the old set (at the start an empty one), the new set, and the names of the rules enforced no longer."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one set of files. `at` is in seconds since 1970, `took` and `longest_slice` in seconds.

    `longest_slice` is how long the event loop was held at the most while closures were built.
    """

    number: int
    at: float
    took: float = 0.0
    revision: str = ""
    swapped: bool = False
    diagnostics: tuple[Diagnostic, ...] = ()
    removed: tuple[str, ...] = ()
    longest_slice: float = 0.0

    @property
    def sound(self) -> bool:
        return not any(each.stops_loading for each in self.diagnostics)


OnAttempt = Callable[[Attempt], None]


class _Served(msgspec.Struct, frozen=True):
    """The set that is in force, with what it was made of."""

    parts: dict[str, Part]
    origins: tuple[OriginReport, ...]
    loaded_at: float
    restored: bool = False
    """From the last good set on disk, not from the files."""

    @property
    def rules(self) -> dict[str, int]:
        return {each.name: each.rules for each in self.origins}


class Live:
    """The rule set in force: `current`, to be read once by each exchange, which then keeps it.

    `last_good` is the folder of the last good set (None: none is kept), `quiet` the seconds for which files must not
    change before they are read as a set, `warm_after` the seconds from start to the start of the compiler process.
    `prepare` is given a set before it is put in force, beside the event loop: what its first exchange would wait for.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        last_good: Path | None = None,
        watching: bool = True,
        quiet: float = 0.05,
        warm_after: float = 0.3,
        clock: Callable[[], float] = time.time,
        prepare: Callable[[RuleSet], object] | None = None,
        on_swap: OnSwap | None = None,
        on_attempt: OnAttempt | None = None,
        compiler: WarmCompiler | None = None,
    ) -> None:
        self.current = RuleSet(())
        self.swaps = 0
        self.last_attempt: Attempt | None = None
        self.pinned = ""
        """The revision that stays in force whatever becomes of the files; "": none."""
        self._earlier: dict[str, tuple[RuleSet, _Served]] = {}
        """Sets that were in force, and the one that is; the newest last."""
        self._recipe = recipe
        self._last_good = last_good
        self._watching = watching
        self._quiet = quiet
        self._warm_after = warm_after
        self._clock = clock
        self._prepare = prepare or (lambda _: None)
        self._on_swap = on_swap
        self._on_attempt = on_attempt
        self._compiler = compiler or WarmCompiler()
        self._served = _Served({}, (), 0.0)
        self._read = ""
        """The digest of the files as they were last judged: the same again is no new attempt."""
        self._attempts = 0
        self._dirty = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: list[asyncio.Future[Attempt]] = []
        self._watch: Watch | None = None

    # -- life --

    async def start(self) -> None:
        """Load the files, or where they are wrong the last good set; then watch.

        The first set is compiled in this process, which has nothing else to do yet. Raises ConfigurationError where
        the files are wrong and there is no last good set of the same sources.
        """
        began = time.perf_counter()
        # Made first, because it remembers what it saw: an edit made meanwhile is noticed.
        watch = self._watch = Watch(self._recipe.paths, self._dirty.set)
        with long_lived():
            answer = self._first_set()
        kept = await self._keep() if answer.sound else ()
        self._conclude(answer.revision, began, (*answer.diagnostics, *kept), swapped=answer.sound)
        self._tasks = [asyncio.create_task(self._reload())]
        if self._watching:
            self._tasks.append(asyncio.create_task(watch.run()))

    def _first_set(self) -> Answer:
        """Put the files in force, or the last good set; what is said is of the files."""
        compiler = Compiler()
        manifest = lastgood.kept_manifest(self._last_good) if self._last_good is not None else None
        order = Order(self._recipe, manifest.rules if manifest is not None else {})
        answer = compiler.answer(order)
        self._read = answer.digest
        if answer.sound:
            self._install(answer, compiler, restored=False)
            return answer
        restored = self._restored(compiler, manifest)
        if restored is None:
            raise ConfigurationError([each for each in answer.diagnostics if each.stops_loading])
        self._install(restored, compiler, restored=True)
        return answer

    async def close(self) -> None:
        """Stop watching, and end the compiler process. The set in force stays in force."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._compiler.close()
        for waiting in self._waiting:
            waiting.cancel()

    async def reload_now(self) -> Attempt:
        """Try the files as they are, changed or not."""
        attempt = await self._try(again=True)
        assert attempt is not None, "an attempt without a last answer is never unchanged"
        return attempt

    async def pin(self, revision: str) -> None:
        """Put a set in force that was before, and keep it there until `unpin`. Raises UnknownRevision."""
        async with self._one_at_a_time:
            if revision != self.current.revision:
                found = self._earlier.get(revision) or await asyncio.to_thread(self._from_disk, revision)
                if found is None:
                    raise UnknownRevision(f"the revision '{revision}' is not kept here; kept are: {self._kept_words()}")
                rules, served = found
                await asyncio.to_thread(self._prepare, rules)
                self._swap(rules, msgspec.structs.replace(served, loaded_at=self._clock(), restored=False))
                await self._keep()
            self.pinned = revision

    async def unpin(self) -> Attempt:
        """Let the files decide again, as they are now."""
        self.pinned = ""
        return await self.reload_now()

    @property
    def earlier(self) -> tuple[str, ...]:
        """Revisions that can be pinned, the newest first; the one in force is not among them."""
        kept = dict.fromkeys((*reversed(self._earlier), *lastgood.earlier_revisions(self._last_good)))
        return tuple(each for each in kept if each != self.current.revision)[:EARLIER]

    def _kept_words(self) -> str:
        return ", ".join(self.earlier) or "none"

    def _from_disk(self, revision: str) -> tuple[RuleSet, _Served] | None:
        """A set of which only the files are kept, judged by today's configuration."""
        folder = lastgood.earlier_folder(self._last_good, revision)
        manifest = lastgood.kept_manifest(folder) if folder is not None else None
        if folder is None or manifest is None:
            return None
        found = lastgood.kept_set(folder, manifest, self._recipe.origins)
        compiler = Compiler()
        answer = compiler.judge(Order(self._recipe), found) if found is not None else None
        if answer is None or not answer.sound:
            return None
        return self._built(answer, compiler, restored=False)

    async def next_attempt(self) -> Attempt:
        """Wait for the next attempt to end, whatever comes of it."""
        waiting: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        return await waiting

    # -- one attempt after another --

    async def _reload(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._warm_after):
                await self._dirty.wait()
        with contextlib.suppress(CompilerDied):  # the first attempt meets it again, and tells
            await self._compiler.warm()
        await self._try(prime=True)
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._try()

    async def _try(self, *, again: bool = False, prime: bool = False) -> Attempt | None:
        """One attempt, never two at once. None where the files are as they were at the last one.

        `prime` has them judged all the same, so that a new compiler process need not judge all at the first change.
        """
        async with self._one_at_a_time:
            began = time.perf_counter()
            known = frozenset(self._served.parts)
            order = Order(self._recipe, self._served.rules, known, "" if again or prime else self._read, self._quiet)
            try:
                answer = await self._compiler.answer(order)
                if answer.unchanged or (prime and answer.digest == self._read):
                    return None
                self._read = answer.digest
                if not answer.sound:
                    return self._conclude(answer.revision, began, answer.diagnostics)
                return await self._take_over(answer, began)
            except CompilerDied as wrong:
                self._read = ""
                asyncio.get_running_loop().call_later(RETRY_AFTER, self._dirty.set)
                help = f"it is tried again at the next change, or in {RETRY_AFTER:g} s"
                return self._conclude("", began, (diagnose(435, str(wrong), self._recipe.where, help),))
            except CompilerFailed as wrong:
                help = f"this is a mistake in Lexgate: please report it with\n{wrong.trace}"
                return self._conclude(
                    "", began, (diagnose(436, f"the compiler failed: {wrong}", self._recipe.where, help),)
                )
            except Exception as wrong:  # the outermost edge: the loop of reloads must not end, and says what happened
                message = f"the new set could not be put in force: {type(wrong).__name__}: {wrong}"
                help = "this is a mistake in Lexgate: please report it"
                return self._conclude("", began, (diagnose(436, message, self._recipe.where, help),))

    async def _take_over(self, answer: Answer, began: float) -> Attempt:
        """Put a sound set in force: build what is new of it, then swap one reference."""
        if self.pinned and answer.revision != self.current.revision:
            held = note(450, f"the revision {self.pinned} is pinned: this set waits", self._recipe.where, _UNPIN)
            return self._conclude(answer.revision, began, (*answer.diagnostics, held))
        if answer.revision == self.current.revision:
            self._served = msgspec.structs.replace(self._served, origins=answer.origins, restored=False)
            return self._conclude(answer.revision, began, answer.diagnostics)
        pace = Pace()
        with long_lived():
            rules, parts = await assemble(
                answer.files, self._served.parts, answer.checked, self._recipe.catalogue, answer.revision, pace
            )
        await asyncio.to_thread(self._prepare, rules)
        removed = self._swap(rules, _Served(parts, answer.origins, self._clock()))
        diagnostics = (*answer.diagnostics, *self._farewell(removed), *await self._keep())
        return self._conclude(
            answer.revision, began, diagnostics, swapped=True, removed=removed, longest_slice=pace.longest
        )

    def _install(self, answer: Answer, compiler: Compiler, *, restored: bool) -> None:
        """Put the first set in force, from a compiler of this process."""
        rules, served = self._built(answer, compiler, restored=restored)
        self._prepare(rules)
        self._swap(rules, served)

    def _built(self, answer: Answer, compiler: Compiler, *, restored: bool) -> tuple[RuleSet, _Served]:
        checked = {policy.source.digest: policy for policy in answer.checked}
        parts = {
            digest: Part(checked[digest].source, checked[digest].spec.policy, compiler.linked(digest))
            for digest in answer.files
        }
        return unite(parts, answer.revision), _Served(parts, answer.origins, self._clock(), restored)

    def _swap(self, rules: RuleSet, served: _Served) -> tuple[str, ...]:
        """INVARIANT: `current` is replaced whole, and by nothing else than this line."""
        old = self.current
        self.current = rules
        self._served = served
        self.swaps += 1
        self._earlier.pop(rules.revision, None)
        self._earlier[rules.revision] = (rules, served)
        if len(self._earlier) > EARLIER + 1:
            del self._earlier[next(iter(self._earlier))]
        now = enforced(rules)
        removed = tuple(name for name in enforced(old) if name not in now)
        if self._on_swap is not None:
            self._on_swap(old, rules, removed)
        return removed

    def _conclude(
        self,
        revision: str,
        began: float,
        diagnostics: Sequence[Diagnostic],
        *,
        swapped: bool = False,
        removed: tuple[str, ...] = (),
        longest_slice: float = 0.0,
    ) -> Attempt:
        self._attempts += 1
        attempt = self.last_attempt = Attempt(
            number=self._attempts,
            at=self._clock(),
            took=time.perf_counter() - began,
            revision=revision,
            swapped=swapped,
            diagnostics=tuple(diagnostics),
            removed=removed,
            longest_slice=longest_slice,
        )
        if self._on_attempt is not None:
            self._on_attempt(attempt)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(attempt)
        return attempt

    # -- the last good set --

    def _restored(self, compiler: Compiler, manifest: lastgood.Manifest | None) -> Answer | None:
        """The last good set, judged like any other by today's configuration; None where there is none to go on with."""
        if self._last_good is None or manifest is None:
            return None
        found = lastgood.kept_set(self._last_good, manifest, self._recipe.origins)
        if found is None:
            return None
        answer = compiler.judge(Order(self._recipe), found)
        return answer if answer.sound else None

    async def _keep(self) -> tuple[Diagnostic, ...]:
        """Keep the set in force on disk; where that fails the set is in force all the same, and the reason is said."""
        if self._last_good is None:
            return ()
        parts = self._served.parts
        origins = {
            each.name: (each.rules, [parts[digest].source for digest in each.files]) for each in self._served.origins
        }
        try:
            await asyncio.to_thread(lastgood.keep, self._last_good, self.current.revision, origins)
            await asyncio.to_thread(lastgood.keep_earlier, self._last_good, self.current.revision, origins, EARLIER + 1)
        except OSError as problem:
            message = f"the last good set cannot be kept: {problem.strerror or problem}"
            help = "a restart with a broken file will not serve until this folder can be written"
            return (warning(437, message, Where(str(self._last_good)), help),)
        return ()

    def _farewell(self, removed: tuple[str, ...]) -> tuple[Diagnostic, ...]:
        if not removed:
            return ()
        shown = ", ".join(removed[:_SHOWN]) + (f" and {len(removed) - _SHOWN} more" if len(removed) > _SHOWN else "")
        help = "`require:` in the configuration names policies without which a set does not go live"
        return (note(438, f"enforced no longer: {shown}", self._recipe.where, help),)

    # -- what is so --

    @property
    def serving_last_good(self) -> bool:
        """Whether the rules in force are not those of the files as they are now."""
        return self._served.restored or (self.last_attempt is not None and not self.last_attempt.sound)

    def status(self) -> dict[str, Any]:
        """What `/policy/status` says of the rules, as plain data."""
        attempt = self.last_attempt
        return {
            "revision": self.current.revision,
            "loaded_at": self._served.loaded_at,
            "serving_last_good": self.serving_last_good,
            "restored_from_disk": self._served.restored,
            "pinned": self.pinned,
            "earlier": list(self.earlier),
            "swaps": self.swaps,
            "policies": sorted(self.current.policies),
            "rules": by_mode(self._served.parts),
            "enforced": list(enforced(self.current)),
            "sources": [
                {"source": each.name, "files": len(each.files), "rules": each.rules, "digest": each.digest}
                for each in self._served.origins
            ],
            "last_attempt": _attempt_status(attempt) if attempt is not None else None,
            "watching": self._watching and self._watch is not None,
            "told_of_changes": self._watch is not None and self._watch.told,
            "compiler": {
                "pid": self._compiler.pid,
                "busy": self._compiler.busy,
                "memory_bytes": self._compiler.resident_bytes,
                "deaths": self._compiler.deaths,
            },
        }


def _attempt_status(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "at": attempt.at,
        "outcome": "ok" if attempt.sound else "error",
        "revision": attempt.revision,
        "seconds": round(attempt.took, 4),
        "enforced_no_longer": list(attempt.removed),
        "diagnostics": [
            {
                "file": each.where.file,
                "line": each.where.line,
                "column": each.where.column,
                "code": each.code,
                "severity": each.severity.value,
                "message": each.message,
                "help": each.help,
            }
            for each in attempt.diagnostics
        ],
    }
