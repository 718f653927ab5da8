"""What the HTTP client costs a proxy: pass-throughs that differ in nothing else. `python -m tests.bench.clients [CLIENT...]`.

Interleaved rounds against one upstream; medians. The pass-through has a core of its own, upstream and load share the other.
CPU microseconds a request are the figure to trust: on a busy machine rates suffer, CPU time hardly.
"""

import statistics
import sys
from contextlib import ExitStack

import msgspec

from tests.bench import load, upstream
from tests.bench.passthrough import CLIENTS
from tests.bench.process import Child, child, cores, event_loop_run, pin

ROUNDS = 5
REQUESTS, STREAMS, WARM_UP, CONCURRENCY = 2000, 800, 200, 32


class Figure(msgspec.Struct):
    """One pass-through's rounds."""

    cpu: list[float] = msgspec.field(default_factory=list)  # µs a request
    rate: list[float] = msgspec.field(default_factory=list)  # requests a second
    stream_cpu: list[float] = msgspec.field(default_factory=list)
    stream_rate: list[float] = msgspec.field(default_factory=list)


async def measure(server: Child, *, stream: bool, requests: int) -> tuple[float, float]:
    """CPU µs a request and requests a second; RuntimeError if one answer was wrong."""
    expected = b"".join(upstream.chat_events()) if stream else upstream.chat_answer()
    request = load.http_request("/v1/chat/completions", upstream.chat_request(stream=stream))
    before = server.cpu_seconds()
    seen = await load.run(server.port, request, expected, requests=requests, concurrency=CONCURRENCY)
    if seen.errors:
        raise RuntimeError(f"{seen.errors} of {seen.requests} answers were wrong: {seen.problem}")
    return (server.cpu_seconds() - before) / requests * 1e6, seen.rate


async def compare(names: list[str], rounds: int = ROUNDS) -> dict[str, tuple[Figure, float]]:
    """Figures and resident MB for each client."""
    server_core, other_core = cores()
    pin(other_core)
    with ExitStack() as stack:
        provider = stack.enter_context(child(["-m", "tests.bench.upstream"], core=other_core))
        servers = {
            name: stack.enter_context(
                child(["-m", "tests.bench.passthrough", name, str(provider.port)], core=server_core)
            )
            for name in names
        }
        figures = {name: Figure() for name in names}
        for name in names:
            await measure(servers[name], stream=False, requests=WARM_UP)
            await measure(servers[name], stream=True, requests=WARM_UP)
        for _ in range(rounds):
            for name in names:
                cpu, rate = await measure(servers[name], stream=False, requests=REQUESTS)
                figures[name].cpu.append(cpu)
                figures[name].rate.append(rate)
                cpu, rate = await measure(servers[name], stream=True, requests=STREAMS)
                figures[name].stream_cpu.append(cpu)
                figures[name].stream_rate.append(rate)
        return {name: (figures[name], servers[name].resident_mb()) for name in names}


def table(found: dict[str, tuple[Figure, float]]) -> str:
    median = statistics.median
    first = median(next(iter(found.values()))[0].cpu)
    lines = ["client       us/request  ratio   requests/s  us/stream  streams/s     MB"]
    for name, (figure, memory) in found.items():
        cpu = median(figure.cpu)
        lines.append(
            f"{name:12} {cpu:10.1f} {cpu / first:6.2f} {median(figure.rate):12.0f}"
            f" {median(figure.stream_cpu):10.1f} {median(figure.stream_rate):10.0f} {memory:6.0f}"
        )
    return "\n".join(lines)


async def main() -> None:
    names = sys.argv[1:] or list(CLIENTS)
    sys.stdout.write(table(await compare(names)) + "\n")


if __name__ == "__main__":
    event_loop_run(main())
