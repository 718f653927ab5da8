"""How long an edit takes until it is in force, and for how long the event loop is held meanwhile.

    python -m tests.bench.reload [--edits 50] [--files 20] [--rules 25] [--changed 1]

A real folder, a real watcher, a real compiler process. The loop's holds are measured from outside too: by a task that
asks for its turn all the time.
"""

import argparse
import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from engine.policy.live import Live
from engine.policy.recipe import Origin, Recipe
from engine.policy.warm import resident_bytes

_HEAD = """version: 1
policy: {name}
sets:
  shells: [bash, "*shell*"]
patterns:
  codenames: {{bluefalcon: '(?i)\\bblue ?falcon\\b'}}
definitions:
  pushes: tool.shell.commands[?program == 'git' && subcommand == 'push']
rules:
"""
_RULE = """  - id: rule-{number}
    phase: tool_call
    match: {{tool: {{$set: shells}}, model: 'model-{number}-*'}}
    when: any(def('pushes')[?contains(flags, 'force') || contains(flags, 'f')])
    unless: contains(caller.roles, 'release-manager')
    actions:
      - steer: {{message: 'edit {edit}: {{{{ caller.id }}}} must not force a push', attempts: 2, then: block}}
"""


def policy(name: str, rules: int, edit: int) -> str:
    """A policy of rules as people write them."""
    return _HEAD.format(name=name) + "".join(_RULE.format(number=number, edit=edit) for number in range(rules))


def write(folder: Path, files: Sequence[int], rules: int, edit: int) -> None:
    for number in files:
        (folder / f"policy-{number}.yaml").write_text(policy(f"policy-{number}", rules, edit))


async def longest_hold(holds: list[float]) -> None:
    """Ask for a turn all the time, and note how long each took."""
    before = time.perf_counter()
    while True:
        await asyncio.sleep(0)
        now = time.perf_counter()
        holds.append(now - before)
        before = now


async def measure(folder: Path, edits: int, files: int, rules: int, changed: int) -> None:
    write(folder, range(files), rules, 0)
    live = Live(Recipe((Origin(str(folder)),)), last_good=folder.parent / "last-good", warm_after=0.0)
    began = time.perf_counter()
    await live.start()
    print(f"start            {time.perf_counter() - began:8.3f} s   {files * rules} rules in {files} files")
    while live.status()["compiler"]["pid"] is None or live.status()["compiler"]["busy"]:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    gc.collect()
    effects, slices, holds = [], [], []
    for edit in range(1, edits + 1):
        during: list[float] = []
        watcher = asyncio.create_task(longest_hold(during))
        write(folder, range(changed), rules, edit)
        began = time.perf_counter()
        attempt = await live.next_attempt()
        while not attempt.swapped:
            attempt = await live.next_attempt()
        effects.append(time.perf_counter() - began)
        watcher.cancel()
        slices.append(attempt.longest_slice)
        holds.append(max(during))
    print(f"edit to effect   {line(effects, 1000)} ms   {edits} edits, {changed} files each")
    print(f"longest slice    {line(slices, 1000)} ms   as the reload itself knows it")
    print(f"longest hold     {line(holds, 1000)} ms   of the event loop, as a task beside it meets it")
    child, own = live.status()["compiler"]["memory_bytes"], resident_bytes(os.getpid())
    if child:
        print(f"memory           {child / 2**20:8.1f} MB compiler process, {(own or 0) / 2**20:.1f} MB this one")
    await live.close()


def line(values: Sequence[float], scale: float) -> str:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return f"p50 {statistics.median(ordered) * scale:7.1f}  p99 {p99 * scale:7.1f}  max {ordered[-1] * scale:7.1f}"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=50)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rules", type=int, default=25)
    parser.add_argument("--changed", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "policies"
        folder.mkdir()
        uvloop.run(measure(folder, given.edits, given.files, given.rules, given.changed))


if __name__ == "__main__":
    main(sys.argv[1:])
