"""The recorder: what is sampled, how texts are covered, how files grow, end and go."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.model.phases import Phase
from engine.model.traffic import Decided, RecordedEvent, RecordedExchange, traffic_schema
from engine.world.recorder import Recorder, covered


def exchange(id: str = "x1", text: str = "my secret") -> RecordedExchange:
    sections = {
        "caller": {"id": "ann"},
        "request": {"model": "gpt-4o", "last_user": text, "messages": [{"role": "user", "text": text, "parts": []}]},
        "session": {"vars": {"name": text, "n": 3}},
    }
    decided = Decided(rules=("p/r",), patch={"p/r": [{"op": "replace", "path": "/request/last_user", "value": text}]})
    event = RecordedEvent(id=f"{id}-1", phase=Phase.REQUEST, sections=sections, seed=f"{id}/1", decision=decided)
    return RecordedExchange(exchange=id, at="2026-11-22T12:00:00Z", revision="r1", caller="ann", events=(event,))


def written(folder: Path) -> Iterator[list[Any]]:
    for file in sorted(folder.glob("*.jsonl")):
        yield [json.loads(line) for line in file.read_text().splitlines()]


def run(recorder: Recorder, *exchanges: RecordedExchange) -> Recorder:
    for each in exchanges:
        recorder.offer(each)
    asyncio.run(recorder.close())
    return recorder


def test_a_recording_is_a_header_and_lines_that_the_schema_knows(tmp_path: Path) -> None:
    recorder = run(Recorder(tmp_path, sample=1, clock=lambda: 0.0, version="9"), exchange(), exchange("x2"))
    (lines,) = written(tmp_path)
    for line in lines:
        jsonschema.validate(line, traffic_schema())
    assert lines[0] == {
        "format": "lexgate-traffic", "version": 1, "content": "redacted", "at": "1970-01-01T00:00:00+00:00", "lexgate": "9",
    }  # fmt: skip
    assert [line["exchange"] for line in lines[1:]] == ["x1", "x2"]
    assert recorder.recorded == 2


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "traffic"
    run(Recorder(folder, sample=1), exchange())
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_the_sample_is_the_same_for_the_same_exchange_and_about_its_share(tmp_path: Path) -> None:
    one, other = Recorder(tmp_path, sample=0.25), Recorder(tmp_path, sample=0.25)
    ids = [f"{number:024x}" for number in range(10_000)]
    taken = [id for id in ids if one.takes(id)]
    assert taken == [id for id in ids if other.takes(id)]
    assert 2_300 < len(taken) < 2_700
    assert all(Recorder(tmp_path, sample=1).takes(id) for id in ids)


def test_nothing_is_taken_and_nothing_opened_where_the_sample_is_nothing(tmp_path: Path) -> None:
    recorder = run(Recorder(tmp_path / "traffic", sample=0))
    assert not recorder.takes("x")
    assert not (tmp_path / "traffic").exists()


def test_redacted_texts_pass_both_redactions(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, sample=1, redact=lambda text: text.replace("secret", "[shipped]"))
    recorder.offer(exchange(text="my secret falcon"), lambda text: text.replace("falcon", "[own]"))
    asyncio.run(recorder.close())
    (lines,) = written(tmp_path)
    said = json.dumps(lines)
    assert "secret" not in said
    assert "falcon" not in said
    assert said.count("my [shipped] [own]") == 4


def test_hashes_keep_what_is_no_content_and_tell_equal_texts(tmp_path: Path) -> None:
    run(Recorder(tmp_path, sample=1, content="hash", key=lambda: b"k" * 32), exchange())
    (lines,) = written(tmp_path)
    sections = lines[1]["events"][0]["sections"]
    assert "secret" not in json.dumps(lines)
    assert (sections["caller"]["id"], sections["request"]["model"]) == ("ann", "gpt-4o")
    message = sections["request"]["messages"][0]
    assert (message["role"], message["text"]) == ("user", sections["request"]["last_user"])
    assert message["text"].startswith("mac:")
    assert sections["session"]["vars"]["n"] == 3


def test_full_is_as_it_was() -> None:
    assert covered(exchange(), str.upper, "full") == exchange()


def test_an_exchange_that_is_too_long_is_counted_and_left_out(tmp_path: Path) -> None:
    recorder = run(Recorder(tmp_path, sample=1, max_bytes=2_000), exchange("long", "x" * 2_000), exchange("short"))
    (lines,) = written(tmp_path)
    assert [line["exchange"] for line in lines[1:]] == ["short"]
    assert (recorder.oversized, recorder.recorded) == (1, 1)


def test_files_are_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    moments = iter(range(100))
    recorder = Recorder(tmp_path, sample=1, rotate=900, keep=2, clock=lambda: float(next(moments)))
    run(recorder, *(exchange(f"x{number}") for number in range(5)))
    files = list(written(tmp_path))
    assert [[line.get("exchange") for line in lines] for lines in files] == [[None, "x3"], [None, "x4"]]


def test_a_disk_that_refuses_costs_the_recording_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "traffic").write_text("a file where the folder should be")
    recorder = run(Recorder(tmp_path / "traffic", sample=1), exchange())
    assert (recorder.recorded, recorder.dropped) == (0, 1)


@pytest.mark.parametrize("text", ["\ud800", "\x00\x1b[31m", "ü🦊"])
def test_any_text_can_be_recorded_or_is_counted(tmp_path: Path, text: str) -> None:
    clean = run(
        Recorder(tmp_path, sample=1, redact=lambda said: said.encode("utf-8", "replace").decode()), exchange(text=text)
    )
    assert (clean.recorded, clean.dropped) == (1, 0)
    assert os.listdir(tmp_path)
