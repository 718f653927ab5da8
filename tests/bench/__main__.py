"""`make bench`: what Lexgate adds to a bare pass-through with the same server and HTTP client, in one interleaved run.

The server under test has a core of its own; upstream and load share the other. Figures are medians of the rounds. CPU
microseconds a request are the gate: rates suffer on a busy machine, CPU time hardly. Exits with 1 where a gate is missed.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack

import msgspec

from tests.bench import load, upstream
from tests.bench.clients import measure
from tests.bench.process import Child, child, cores, event_loop_run, pin

ROUNDS = 5
REQUESTS, STREAMS, WARM_UP, ALONE = 2000, 600, 300, 400

GATES = {"no rules": 60.0, "50 rules": 150.0}
"""CPU µs that a request may cost more than on the bare pass-through."""
IDLE_MB, READY_SECONDS = 120.0, 1.5


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
    figures: Figures = msgspec.field(default_factory=Figures)


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
    """One line a target; `+` columns are what it adds to the bare pass-through."""
    median = statistics.median
    bare = next(iter(targets.values())).figures
    lines = [
        "                us/req   + bare  ratio   req/s   us/stream   + bare  streams/s   +p50 ms  +p99 ms  idle MB  ready s"
    ]
    for name, target in targets.items():
        it = target.figures
        cpu, stream = median(it.cpu), median(it.stream_cpu)
        lines.append(
            f"{name:14} {cpu:8.1f} {cpu - median(bare.cpu):8.1f} {cpu / median(bare.cpu):6.2f} {median(it.rate):7.0f}"
            f" {stream:11.1f} {stream - median(bare.stream_cpu):8.1f} {median(it.stream_rate):10.0f}"
            f" {median(it.p50) - median(bare.p50):9.3f} {median(it.p99) - median(bare.p99):8.3f}"
            f" {target.idle_mb:9.0f} {target.server.ready_after:8.2f}"
        )
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
            targets[name] = Target(server, server.resident_mb())
        await rounds(targets, count)
        sys.stdout.write(table(targets) + "\n")
        problems = missed(targets)
    for problem in problems:
        sys.stdout.write(f"MISSED  {problem}\n")
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    event_loop_run(main())
