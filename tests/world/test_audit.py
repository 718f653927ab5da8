"""The log keeps what it was given, says what it could not keep, and continues where it stopped."""

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.world import audit
from engine.world.audit import AuditBroken, AuditLog, AuditTaken, content_key, open_free
from engine.world.chain import Broken, Verified, verify
from engine.world.logfiles import worker_path, worker_paths

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "audit.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


async def written(path: Path, *given: Any, **options: Any) -> AuditLog:
    log = AuditLog(path, clock=lambda: 1000.0, **options)
    for record in given:
        await log.write(record)
    await log.close()
    return log


def content(path: Path) -> bytes:
    return path.read_bytes()


def replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusing(monkeypatch: pytest.MonkeyPatch, times: int, partly: bool = False) -> Callable[[], int]:
    """A disk that refuses the first writes, if asked with a part of the bytes already on it; says how many were tried."""
    write, tried = os.pwrite, 0

    def pwrite(file: int, data: memoryview, offset: int) -> int:
        nonlocal tried
        tried += 1
        if tried > times:
            return write(file, data, offset)
        if partly and tried % 2:
            return write(file, data[: len(data) // 2], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(audit, "RETRY", 0.001)
    return lambda: tried


async def test_records_are_written_in_order_as_one_chain(path: Path) -> None:
    log = await written(path, *[{"id": number} for number in range(5_000)])
    assert [record["id"] for record in records(path)] == list(range(5_000))
    assert verify(path) == Verified(5_000, log.head)


async def test_a_struct_is_written_too(path: Path) -> None:
    class Decision(msgspec.Struct):
        id: str
        verdict: str

    await written(path, Decision("a", "block"))
    assert records(path)[0]["verdict"] == "block"


async def test_a_flush_waits_until_everything_is_on_disk(path: Path) -> None:
    log = AuditLog(path)
    await log.write({"id": 1})
    await log.flush()
    assert verify(path) == Verified(1, log.head)
    await log.close()


async def test_the_file_and_its_folder_belong_to_their_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        await written(path, {"id": 1})
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700


async def test_the_next_process_continues_the_chain(path: Path) -> None:
    await written(path, {"id": 1}, {"id": 2})
    log = await written(path, {"id": 3, "text": "x" * 3_000_000}, {"id": 4})
    await written(path, {"id": 5})
    assert [record["id"] for record in records(path)] == [1, 2, 3, 4, 5]
    assert log.head.count == 4
    assert isinstance(verify(path, heads=[log.head]), Verified)


async def test_records_are_prepared_in_the_thread(path: Path) -> None:
    await written(path, {"id": 1, "secret": "x"}, prepare=lambda record: {"id": record["id"]})
    assert "secret" not in records(path)[0]


@pytest.mark.parametrize("bad", [{"id": object()}, ["not an object"], {"id": "\ud800"}])
async def test_a_record_that_cannot_be_written_is_recorded_as_such(path: Path, bad: Any) -> None:
    await written(path, bad, {"id": 2})
    assert [record.get("kind") for record in records(path)] == ["unwritable", None]
    assert isinstance(verify(path), Verified)


async def test_a_torn_last_line_is_recorded_and_not_forgotten(path: Path) -> None:
    await written(path, {"id": 1}, {"id": 2})
    whole = content(path)
    last = whole.splitlines(keepends=True)[-1]
    for cut in range(1, len(last) - 1):
        replaced(path, whole[: len(whole) - len(last) + cut])
        log = await written(path, {"id": 3})
        kept = records(path)
        assert [record.get("kind", record.get("id")) for record in kept] == [1, "torn", 3]
        assert (kept[1]["bytes"], kept[1]["at"]) == (cut, 1000.0)
        assert msgspec.json.decode(f'"{kept[1]["base64"]}"', type=bytes) == last[:cut]
        assert verify(path) == Verified(3, log.head)


async def test_a_last_record_that_lacks_only_its_line_end_is_kept(path: Path) -> None:
    await written(path, {"id": 1}, {"id": 2})
    replaced(path, content(path)[:-1])
    log = await written(path, {"id": 3})
    assert [record["id"] for record in records(path)] == [1, 2, 3]
    assert verify(path) == Verified(3, log.head)


async def test_a_log_whose_last_line_was_edited_is_not_continued(path: Path) -> None:
    await written(path, {"id": 1}, {"id": 2})
    replaced(path, content(path).replace(b'"id":2', b'"id":7'))
    with pytest.raises(AuditBroken, match=r"audit.jsonl:2: .*edited.*Move the file away"):
        AuditLog(path)
    assert isinstance(verify(path), Broken)


async def test_two_processes_cannot_write_one_log(path: Path) -> None:
    log = AuditLog(path)
    with pytest.raises(AuditBroken, match="another process"):
        AuditLog(path)
    await log.close()
    await written(path, {"id": 1})


def test_workers_have_files_of_their_own(path: Path) -> None:
    assert worker_path(path, 2).name == "audit.w2.jsonl"
    assert worker_path(path, 2).parent == path.parent


async def test_each_worker_takes_the_first_file_that_nobody_writes(path: Path) -> None:
    first, second = (open_free(AuditLog, path, 2) for _ in range(2))
    await first.close()
    third = open_free(AuditLog, path, 2)
    third.offer({"id": 3})
    await third.close()
    await second.close()
    assert worker_paths(path) == (worker_path(path, 1), worker_path(path, 2))
    assert [record["id"] for record in records(worker_path(path, 1))] == [3]


async def test_a_log_with_more_writers_than_workers_is_not_opened(path: Path) -> None:
    logs = [open_free(AuditLog, path, 1) for _ in range(5)]
    with pytest.raises(AuditTaken, match="all files of its 1 workers"):
        open_free(AuditLog, path, 1)
    for log in logs:
        await log.close()


async def test_a_full_log_blocks_until_the_disk_takes_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, times=5)
    log = AuditLog(path, capacity=10)
    for number in range(10):
        assert log.offer({"id": number})
    blocked = asyncio.ensure_future(log.write({"id": 10}))
    await asyncio.wait_for(blocked, 20)
    await log.close()
    assert [record["id"] for record in records(path)] == list(range(11))
    assert (log.failures, log.dropped, log.lost) == (5, 0, 0)


async def test_a_full_log_drops_counts_and_records_the_gap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LINGER", 0.5)
    log = AuditLog(path, capacity=3, when_full="drop-and-count")
    for number in range(8):  # all while the writer still gathers
        await log.write({"id": number})
    await log.flush()
    await log.write({"id": 8})
    await log.close()
    kept = records(path)
    gaps = sum(record["count"] for record in kept if record.get("kind") == "dropped")
    assert log.dropped == gaps == 8 - (len(kept) - len([r for r in kept if "kind" in r]) - 1)
    assert gaps > 0
    assert kept[-1]["id"] == 8
    assert verify(path) == Verified(len(kept), log.head)


async def test_a_part_of_a_line_that_a_full_disk_took_is_taken_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = refusing(monkeypatch, times=6, partly=True)
    log = await written(path, {"id": 1}, {"id": 2})
    assert tried() > 6
    assert [record["id"] for record in records(path)] == [1, 2]
    assert verify(path) == Verified(2, log.head)


async def test_closing_on_a_dead_disk_ends_and_counts_what_is_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, times=10**9)
    monkeypatch.setattr(audit, "PATIENCE", 0.003)
    log = await written(path, {"id": 1}, {"id": 2})
    assert log.lost == 2
    assert content(path) == b""


async def test_a_closed_log_takes_nothing(path: Path) -> None:
    log = await written(path)
    assert not log.offer({"id": 1})
    with pytest.raises(AuditBroken, match="closed"):
        await log.write({"id": 1})
    await log.close()


def test_the_key_for_hashes_is_made_once_and_for_its_owner_alone(path: Path) -> None:
    key = content_key(path)
    assert len(key) == 32
    assert content_key(path) == key
    (place,) = path.parent.iterdir()
    assert mode(place) == 0o600


def test_a_key_that_was_cut_is_refused(path: Path) -> None:
    content_key(path)
    place = path.with_name("audit.jsonl.key")
    place.write_text("abcd")
    with pytest.raises(AuditBroken, match="needs 32"):
        content_key(path)
