"""Audit files are searched from their ends, over all workers, a page at a time."""

import base64
import json
from pathlib import Path

import pytest

from engine.world import decisions
from engine.world.decisions import BadCursor, Wanted, search

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two workers, which wrote in turn: even seconds and odd ones."""
    for worker in (1, 2):
        lines = [
            {"id": f"{at}", "at": f"2026-11-22T00:00:{at:02}+00:00", "caller": "é" * 40, "verdict": "allow"}
            for at in range(worker - 1, 20, 2)
        ]
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines)
        (tmp_path / f"audit.w{worker}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path / "audit.jsonl"


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 18])
async def test_records_of_all_files_come_the_newest_first_however_they_are_read(
    path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "_CHUNK", chunk)
    seen, after = [], ""
    while True:
        found = await search(path, Wanted(), 3, after)
        seen += [int(each["id"]) for each in found.records]
        after = found.next
        if not after:
            break
    assert seen == list(range(19, -1, -1))


async def test_a_search_that_has_read_enough_says_where_to_go_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "READ_AT_MOST", 500)
    first = await search(path, Wanted(id="0"), 1)
    assert (first.records, bool(first.next)) == ([], True)
    after, rounds = first.next, 0
    while after:
        found = await search(path, Wanted(id="0"), 1, after)
        after, rounds = ("", rounds) if found.records else (found.next, rounds + 1)
    assert found.records[0]["id"] == "0"


async def test_what_is_too_old_is_not_read(path: Path) -> None:
    found = await search(path, Wanted(since=1795305617.0), 100)
    assert ([each["id"] for each in found.records], found.next) == (["19", "18", "17"], "")


async def test_a_torn_end_and_foreign_lines_are_passed_over(path: Path) -> None:
    with path.with_name("audit.w1.jsonl").open("a") as log:
        log.write('3\n{"id": "torn", "at"')
    assert len((await search(path, Wanted(), 100)).records) == 20


@pytest.mark.parametrize("cursor", ["x", "WzFd", "%", "é"])
async def test_what_is_no_cursor_is_refused(path: Path, cursor: str) -> None:
    with pytest.raises(BadCursor):
        await search(path, Wanted(), 5, cursor)


@pytest.mark.parametrize("ends", [{}, {"audit.w1.jsonl": -5}, {"../../etc/passwd": 100}])
async def test_a_cursor_that_somebody_made_up_leads_to_no_other_place(path: Path, ends: dict[str, int]) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(ends).encode()).decode()
    assert await search(path, Wanted(), 5, cursor) == ([], "")


async def test_without_files_nothing_is_found(tmp_path: Path) -> None:
    assert await search(tmp_path / "none" / "audit.jsonl", Wanted(), 5) == ([], "")
