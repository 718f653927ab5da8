"""`make bench`: what Lexgate adds to a bare pass-through with the same server and HTTP client, in one interleaved run.

The server under test has a core of its own; upstream and load share the other. Figures are medians of the rounds. CPU
microseconds a request are the gate: rates suffer on a busy machine, CPU time hardly. Exits with 1 where a gate is missed.
"""

import asyncio
import statistics
import sys
import tempfile
from contextlib import ExitStack

import httpx2
import msgspec

from tests.bench import decide, load, upstream, wires
from tests.bench.clients import measure
from tests.bench.process import Child, child, cores, event_loop_run, pin

ROUNDS = 5
REQUESTS, STREAMS, WARM_UP, ALONE = 2000, 600, 300, 400

GATES = {"no rules": 60.0, "50 rules": 150.0}
"""CPU µs that a request may cost more than on the bare pass-through."""
IDLE_MB, READY_SECONDS = 120.0, 1.5
DECIDE_US, DECIDE_GROWTH = 1000.0, 3.0


class Figures(msgspec.Struct):
    """The rounds of one target."""

    cpu: list[float] = msgspec.field(default_factory=list)  # µs a request at concurrency 32
    rate: list[float] = msgspec.field(default_factory=list)  # requests a second
    stream_cpu: list[float] = msgspec.field(default_factory=list)
    stream_rate: list[float] = msgspec.field(default_factory=list)
    p50: list[float] = msgspec.field(default_factory=list)  # ms, at concurrency 1
    p99: list[float] = msgspec.field(default_factory=list)


class Target(msgspec.Struct):
    """A running server and what was seen of it."""

    server: Child
    idle_mb: float
    compiler_mb: float
    figures: Figures = msgspec.field(default_factory=Figures)


async def compiler_mb(port: int) -> float:
    """Memory of the process that compiles policies beside the server, once it runs."""
    for _ in range(50):
        answer = await asyncio.to_thread(httpx2.get, f"http://127.0.0.1:{port}/policy/status", trust_env=False)
        memory = answer.json()["compiler"]["memory_bytes"]
        if memory:
            return float(memory) / 1e6
        await asyncio.sleep(0.1)
    return 0.0


async def rounds(targets: dict[str, Target], count: int) -> None:
    """Every target in every round, so that what else the machine does meets all of them alike."""
    request = load.http_request("/v1/chat/completions", upstream.chat_request(stream=False))
    for target in targets.values():
        await measure(target.server, stream=False, requests=WARM_UP)
        await measure(target.server, stream=True, requests=WARM_UP)
    for _ in range(count):
        for target in targets.values():
            figures = target.figures
            cpu, rate = await measure(target.server, stream=False, requests=REQUESTS)
            figures.cpu.append(cpu)
            figures.rate.append(rate)
            cpu, rate = await measure(target.server, stream=True, requests=STREAMS)
            figures.stream_cpu.append(cpu)
            figures.stream_rate.append(rate)
            alone = await load.run(target.server.port, request, upstream.chat_answer(), requests=ALONE, concurrency=1)
            figures.p50.append(alone.p50)
            figures.p99.append(alone.p99)


def table(targets: dict[str, Target]) -> str:
    """One line a target; what stands behind a `+` is what it adds to the bare pass-through."""
    median = statistics.median
    bare = next(iter(targets.values())).figures
    cells: list[list[str]] = [
        [
            *("", "us/req", "+us", "ratio", "req/s", "us/stream", "+us", "streams/s"),
            *("+p50 ms", "+p99 ms", "idle MB", "compiler MB", "ready s"),
        ]
    ]
    for name, target in targets.items():
        it = target.figures
        cpu, stream = median(it.cpu), median(it.stream_cpu)
        numbers: list[tuple[float, int]] = [
            (cpu, 1),
            (cpu - median(bare.cpu), 1),
            (cpu / median(bare.cpu), 2),
            (median(it.rate), 0),
            (stream, 1),
            (stream - median(bare.stream_cpu), 1),
            (median(it.stream_rate), 0),
            (median(it.p50) - median(bare.p50), 3),
            (median(it.p99) - median(bare.p99), 3),
            (target.idle_mb, 0),
            (target.compiler_mb, 0),
            (target.server.ready_after, 2),
        ]
        cells.append([name, *(f"{number:.{digits}f}" for number, digits in numbers)])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join(lines)


def missed(targets: dict[str, Target]) -> list[str]:
    """The gates that were missed, in words."""
    median = statistics.median
    bare = median(next(iter(targets.values())).figures.cpu)
    found = []
    for name, gate in GATES.items():
        added = median(targets[name].figures.cpu) - bare
        if added > gate:
            found.append(f"{name}: {added:.0f} µs a request over the bare pass-through, the gate is {gate:.0f}")
    plain = targets["no rules"]
    if plain.idle_mb > IDLE_MB:
        found.append(f"idle memory {plain.idle_mb:.0f} MB, the gate is {IDLE_MB:.0f}")
    if plain.server.ready_after > READY_SECONDS:
        found.append(f"ready after {plain.server.ready_after:.2f} s, the gate is {READY_SECONDS}")
    return found


def missed_by_decide(rows: list[decide.Row]) -> list[str]:
    found = []
    largest = max(rows, key=lambda row: row.rules)
    if largest.median_us > DECIDE_US:
        found.append(f"decide over {largest.rules} rules: {largest.median_us:.0f} µs, the gate is {DECIDE_US:.0f}")
    if decide.growth(rows) > DECIDE_GROWTH:
        found.append(
            f"10,000 rules take {decide.growth(rows):.1f} times what 100 take, the gate is {DECIDE_GROWTH:.0f}"
        )
    return found


async def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    server_core, other_core = cores()
    pin(other_core)
    with ExitStack() as stack:
        provider = stack.enter_context(child(["-m", "tests.bench.upstream"], core=other_core))
        commands = {
            "bare Litestar": ["-m", "tests.bench.passthrough", "own", str(provider.port), "litestar"],
            **{
                name: [
                    *("-m", "tests.bench.governed", str(provider.port), kind),
                    stack.enter_context(tempfile.TemporaryDirectory()),
                ]
                for name, kind in (("no rules", "none"), ("50 rules", "50"), ("stream rules", "streams"))
            },
        }
        targets: dict[str, Target] = {}
        for name, command in commands.items():
            server = stack.enter_context(child(command, core=server_core))
            targets[name] = Target(server, server.resident_mb(), await compiler_mb(server.port) if targets else 0.0)
        await rounds(targets, count)
        sys.stdout.write(table(targets) + "\n\n")
        problems = missed(targets)
    decided = decide.measure()
    sys.stdout.write(f"decide, on an event of 28 KB\n{decide.report(decided)}\n")
    problems += missed_by_decide(decided)
    sys.stdout.write(f"\n{wires.HEADING}\n{wires.report(await wires.measure())}\n")
    for problem in problems:
        sys.stdout.write(f"MISSED  {problem}\n")
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    event_loop_run(main())
