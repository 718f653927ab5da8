"""`policy audit` as an operator and an auditor use it."""

import asyncio
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.cli.records import following
from engine.world.audit import AuditLog, Rotation
from engine.world.chain import GENESIS, link
from engine.world.heads import Seal
from engine.world.logfiles import rotated, rotated_path, worker_path
from engine.world.signing import signer_at

from .conftest import Run

DECISION = {
    "at": "2026-11-22T08:00:00.000+00:00", "phase": "request", "caller": "key:ci", "session": "s", "protocol": "openai-chat",
    "model": "gpt-4o", "revision": "abc", "seed": "x", "facts": {}, "verdict": "block", "by": "spend/cap", "budget": [],
    "tags": {}, "message": "=1+1",
    "outcomes": [{"rule": "spend/cap", "outcome": "matched", "mode": "enforce", "because": [], "actions": ["block"],
                  "patch": [], "latency_us": 1.0, "verdict": "block"}],
}  # fmt: skip


def decision(number: int) -> dict[str, Any]:
    at = f"2026-11-22T08:00:{number:02}.000+00:00"
    return {"id": f"req{number}-1", "request": f"req{number}", **DECISION, "at": at}


async def _write(path: Path, records: list[dict[str, Any]], seal: Seal | None, rotation: Rotation | None) -> None:
    log = AuditLog(path, clock=lambda: 1_795_334_400.0, rotation=rotation, seal=seal)
    for record in records:
        await log.write(record)
        await log.flush()
    await log.close()


def written(path: Path, *numbers: int, signed: bool = True, rotation: Rotation | None = None) -> None:
    seal = Seal(signer_at(path.parent / "audit.jsonl.ed25519"), Path("copy.heads"), 4) if signed else None
    asyncio.run(_write(path, [decision(number) for number in numbers], seal, rotation))


@pytest.fixture
def log(folder: Path) -> Path:
    """Two workers, which decided in turn."""
    path = Path("var/audit.jsonl")
    written(worker_path(path, 1), 0, 2, 4, 6)
    written(worker_path(path, 2), 1, 3, 5, 7)
    return path


def changed(path: Path, old: bytes, new: bytes) -> None:
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new, 1))


def test_an_untouched_log_is_proved_up_to_its_heads(log: Path, run: Run) -> None:
    ran = run("audit", "verify")
    assert ran.code == 0
    assert "audit.w1.jsonl  ok      4 records in 1 file, signed up to 4" in ran.out
    assert "audit.w2.jsonl  ok" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    assert run("audit", "key").out.strip() in ran.out


def test_a_changed_byte_is_pointed_to(log: Path, run: Run) -> None:
    changed(worker_path(log, 2), b"req3", b"req4")
    ran = run("audit", "verify", columns=120)
    assert ran.code == 1
    assert ran.out.startswith("var/audit.w2.jsonl:2: the record is not the one that was hashed: it was edited\n")
    assert "audit.w1.jsonl  ok" in ran.out
    assert "audit.w2.jsonl  broken  1 record before that" in ran.out


def test_programs_get_the_place_as_data(log: Path, run: Run) -> None:
    changed(worker_path(log, 2), b"req3", b"req4")
    ran = run("audit", "verify", str(log), "--format", "json")
    found = json.loads(ran.out)
    assert (ran.code, found["ok"], len(found["chains"])) == (1, False, 2)
    assert (found["faults"][0]["file"], found["faults"][0]["line"]) == ("var/audit.w2.jsonl", 2)


def test_one_file_is_verified_alone(log: Path, run: Run) -> None:
    changed(worker_path(log, 2), b"req3", b"req4")
    assert run("audit", "verify", str(worker_path(log, 1))).code == 0
    assert run("audit", "verify", str(worker_path(log, 2))).code == 1


def test_a_log_that_is_gone_is_missed_by_its_heads_elsewhere(log: Path, run: Run) -> None:
    for file in log.parent.glob("audit.w2.*"):
        file.unlink()
    assert run("audit", "verify").code == 0, "nothing that is left in the folder tells of it"
    ran = run("audit", "verify", "--heads", "copy.heads", columns=120)
    assert ran.code == 1
    assert "var/audit.w2.jsonl: the file is missing" in ran.out
    assert run("audit", "verify", "--set", "audit.heads=copy.heads").code == 1


def test_a_signed_log_without_its_heads_is_not_believed(log: Path, run: Run) -> None:
    (log.parent / "audit.w1.jsonl.heads").unlink()
    ran = run("audit", "verify", columns=120)
    assert (ran.code, "there are no heads of audit.w1.jsonl" in ran.out) == (1, True)


def test_a_key_that_was_kept_is_what_heads_are_held_to(log: Path, run: Run) -> None:
    key = run("audit", "key").out.strip()
    assert run("audit", "verify", "--key", key).code == 0
    assert run("audit", "verify", "--key", "var/audit.jsonl.ed25519.pub").code == 0
    ran = run("audit", "verify", "--key", "0" * 64)
    assert (ran.code, "signed by another key" in ran.out) == (1, True)


def test_a_log_without_heads_says_what_was_not_proved_and_is_held_to_a_noted_head(folder: Path, run: Run) -> None:
    path = Path("var/audit.jsonl")
    written(path, 1, 2, signed=False)
    ran = run("audit", "verify")
    assert (ran.code, "No signed head vouches for the end" in ran.out) == (0, True)
    (head,) = [line.split()[1] for line in ran.out.splitlines() if line.startswith("  head ")]
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert run("audit", "verify").code == 0
    ran = run("audit", "verify", "--head", head, columns=120)
    assert ran.code == 1
    assert ran.out.startswith("var/audit.jsonl:2: the log was cut: it ends with record 1")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("verify", "nowhere.jsonl"), "there is no audit log nowhere.jsonl"),
        (("verify", "--head", "3"), "--head takes COUNT:HASH"),
        (("verify", "--head", "3:" + "0" * 64), "audit.w1.jsonl or audit.w2.jsonl"),
        (("verify", "--heads", "none"), "there is no file of heads none"),
        (("verify", "--key", "shell.yaml"), "shell.yaml is no public key"),
        (("verify", "--set", "audit.path="), "has no audit log"),
        (("show", "nobody"), "has the decision, request or hash nobody"),
        (("export", "--since", "soon"), "--since takes a time"),
        (("export", "-o", "shell.yaml"), "shell.yaml cannot be made"),
    ],
)
def test_what_cannot_be_done_is_said(log: Path, run: Run, args: tuple[str, ...], said: str) -> None:
    ran = run("audit", *args)
    assert (ran.code, said in " ".join(ran.err.split())) == (2, True), ran.err


def test_the_last_records_of_all_workers_come_in_the_order_of_their_times(log: Path, run: Run) -> None:
    ran = run("audit", "tail", "-n", "3", "--format", "json")
    assert [json.loads(line)["request"] for line in ran.out.splitlines()] == ["req5", "req6", "req7"]
    line = run("audit", "tail", "-n", "1").out
    assert line.startswith("11-22 08:00:07  req7-1 ")
    assert "block" in line
    assert len(line) <= 81


def test_following_goes_on_over_the_turn_of_a_file(folder: Path) -> None:
    path = Path("var/audit.jsonl")
    written(path, 0, signed=False)
    records = following(path)
    assert next(records) is None
    written(path, 1, 2, 3, signed=False, rotation=Rotation(size=1500))
    assert rotated(path)
    seen = []
    while (record := next(records)) is not None:
        seen.append(record.get("request", record.get("kind")))
    assert [each for each in seen if each != "continued"] == ["req1", "req2", "req3"]


@pytest.mark.parametrize("by", ["req3-1", "req3", "hash", "audit.w2.jsonl:2", "var/audit.w2.jsonl:2"])
def test_a_record_is_shown_by_decision_request_hash_or_place(log: Path, run: Run, by: str) -> None:
    line = worker_path(log, 2).read_bytes().splitlines()[1]
    ran = run("audit", "show", json.loads(line)["hash"][:10] if by == "hash" else by)
    assert ran.code == 0
    assert "record   var/audit.w2.jsonl:2" in ran.out
    assert "block by spend/cap" in ran.out


def test_a_record_that_is_no_decision_is_shown_member_by_member(folder: Path, run: Run) -> None:
    line, _ = link(b'{"kind":"admin","id":"a1","action":"keys.revoke","change":{"n":1}}', GENESIS)
    Path("var").mkdir()
    Path("var/audit.jsonl").write_bytes(line)
    ran = run("audit", "show", "a1")
    assert [row.split() for row in ran.out.splitlines()[3:5]] == [
        ["action", "keys.revoke"],
        ["change", '{"n":1}'],
    ]


def test_a_period_is_exported_as_the_lines_that_were_written(log: Path, run: Run) -> None:
    ran = run("audit", "export", "--since", "2026-11-22T08:00:03", "--until", "2026-11-22T08:00:06", "-o", "out.jsonl")
    assert (ran.code, ran.err) == (0, "3 records in out.jsonl\n")
    lines = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["request"] for line in lines] == ["req3", "req4", "req5"]
    assert lines[0] in worker_path(log, 2).read_bytes()


def test_a_table_has_a_row_a_record_and_no_formula(log: Path, run: Run) -> None:
    run("audit", "export", "--format", "csv", "-o", "out.csv")
    rows = list(csv.DictReader(io.StringIO(Path("out.csv").read_text(encoding="utf-8"))))
    assert [row["request"] for row in rows] == [f"req{number}" for number in range(8)]
    assert (rows[0]["verdict"], rows[0]["by"], rows[0]["message"]) == ("block", "spend/cap", "'=1+1")


def test_rotated_files_are_read_too(folder: Path, run: Run) -> None:
    path = Path("var/audit.jsonl")
    written(path, *range(6), rotation=Rotation(size=1500))
    assert rotated(path)
    assert run("audit", "verify", str(rotated_path(path, 1))).code == 0
    assert "record   var/audit.000001.jsonl:1" in run("audit", "show", "req0").out
    shown = run("audit", "tail", "-n", "100", "--format", "json").out.splitlines()
    assert [each["request"] for line in shown if "request" in (each := json.loads(line))] == [
        f"req{n}" for n in range(6)
    ]
    shutil.copy(path, "kept")
    rotated_path(path, 1).unlink()
    assert run("audit", "verify").code == 1


def test_a_log_that_forgets_says_which_records_are_left(folder: Path, run: Run) -> None:
    written(Path("var/audit.jsonl"), *range(9), rotation=Rotation(size=1500, keep=1))
    ran = run("audit", "verify")
    assert ran.code == 0
    first, last = ran.out.split("records ")[1].split(" in ")[0].split(" to ")
    assert 1 < int(first) < int(last)
    assert f"signed up to {last}" in ran.out
