"""The compiler process speaks in messages, tells what it cannot do, and does not outlive the server."""

import io
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from engine.policy.compiler import Answer, Compiler, Order
from engine.policy.compiler_process import Answered, Failed, Message, Ready, framed, read_frame, serve
from engine.policy.recipe import STEADY_WITHIN, Origin, Recipe

from .reloading import policy

BOOT = [sys.executable, "-c", "from engine.policy.compiler_process import main; main()"]


def heard(stream: bytes) -> list[Message]:
    source, messages = io.BytesIO(stream), []
    while (frame := read_frame(source)) is not None:
        messages.append(msgspec.msgpack.decode(frame, type=Message))
    return messages


def order(folder: Path) -> bytes:
    return framed(msgspec.msgpack.encode(Order(Recipe((Origin(str(folder)),)))))


def test_it_says_that_it_is_ready_and_answers_each_order(tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text(policy("guard"))
    output = io.BytesIO()
    serve(io.BytesIO(order(tmp_path) * 2), output, Compiler().answer)
    ready, first, second = heard(output.getvalue())
    assert ready == Ready()
    assert isinstance(first, Answered)
    assert [each.spec.policy for each in first.answer.checked] == ["guard"]
    assert second == first


def test_an_answer_is_the_same_after_its_way_between_processes(tmp_path: Path) -> None:
    """Also where a file holds numbers that no machine word holds, and text that is no ASCII."""
    rule = (
        "version: 1\npolicy: wide\ndescription: größer ✓\nrules:\n  - id: set\n    phase: request\n    actions:\n"
        "      - set: {path: request.params.seed, value: 9007199254740993}\n"
    )
    (tmp_path / "wide.yaml").write_text(rule)
    answer = Compiler().answer(Order(Recipe((Origin(str(tmp_path)),))))
    assert answer.sound, answer.diagnostics
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Answer) == answer


def test_a_mistake_of_the_compiler_is_told_and_not_the_end(tmp_path: Path) -> None:
    def confused(_: Order) -> Answer:
        raise KeyError("lost")

    output = io.BytesIO()
    serve(io.BytesIO(order(tmp_path) * 2), output, confused)
    _, first, second = heard(output.getvalue())
    assert isinstance(first, Failed)
    assert first.error == "KeyError: 'lost'"
    assert "confused" in first.trace
    assert second == first


def test_it_ends_when_the_server_is_gone_and_prints_nothing_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(BOOT, input=order(tmp_path), capture_output=True, timeout=60, check=True)
    ready, answered = heard(done.stdout)
    assert ready == Ready()
    assert isinstance(answered, Answered)
    assert done.stderr == b""


def test_what_the_asker_holds_is_not_sent_and_what_did_not_change_is_not_judged(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(policy(name))
    compiler, recipe = Compiler(), Recipe((Origin(str(tmp_path)),))
    first = compiler.answer(Order(recipe))
    assert compiler.answer(Order(recipe, last=first.digest)) == Answer(first.digest, unchanged=True)
    held = compiler.linked(first.files[0])
    (tmp_path / "two.yaml").write_text(policy("two", "changed"))
    second = compiler.answer(Order(recipe, known=frozenset(first.files)))
    assert [each.spec.policy for each in second.checked] == ["two"]
    assert compiler.linked(second.files[0]) is held


def test_other_names_of_backends_are_reason_to_judge_again(tmp_path: Path) -> None:
    route = (
        "version: 1\npolicy: way\nrules:\n  - id: way\n    phase: route\n    actions:\n      - route: 'local:llama'\n"
    )
    (tmp_path / "way.yaml").write_text(route)
    compiler, origins = Compiler(), (Origin(str(tmp_path)),)
    assert compiler.answer(Order(Recipe(origins))).sound
    known = msgspec.structs.replace(Recipe(origins).catalogue, backends=("openai",))
    refused = compiler.answer(Order(Recipe(origins, known)))
    assert [each.code for each in refused.diagnostics] == ["E412"]


def test_files_that_land_while_they_are_read_are_waited_for(tmp_path: Path) -> None:
    landing = [policy("b"), policy("c")]

    def sleep(_: float) -> None:
        if landing:
            (tmp_path / f"{len(landing)}.yaml").write_text(landing.pop())

    (tmp_path / "a.yaml").write_text(policy("a"))
    answer = Compiler(sleep).answer(Order(Recipe((Origin(str(tmp_path)),)), quiet=0.1))
    assert sorted(each.spec.policy for each in answer.checked) == ["a", "b", "c"]


def test_files_that_never_rest_are_given_up(tmp_path: Path) -> None:
    times: list[float] = []

    def sleep(seconds: float) -> None:
        times.append(seconds)
        (tmp_path / "guard.yaml").write_text(policy("guard", f"edit {len(times)}"))

    answer = Compiler(sleep).answer(Order(Recipe((Origin(str(tmp_path)),)), quiet=1.0))
    assert [each.code for each in answer.diagnostics] == ["E433"]
    assert sum(times) == STEADY_WITHIN


def test_its_priority_is_lower_than_the_servers(tmp_path: Path) -> None:
    process = subprocess.Popen(BOOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert read_frame(process.stdout) is not None  # type: ignore[arg-type]
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
