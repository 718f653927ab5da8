"""A whole log is proved from its files and heads: whatever is done to either of them is found, and its place named."""

import asyncio
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.world.audit import AuditLog, Rotation
from engine.world.chain import Head
from engine.world.heads import Seal, read_heads
from engine.world.logfiles import heads_path, rotated, rotated_path, worker_path, worker_paths
from engine.world.signing import is_signed, signer_at
from engine.world.trail import Fault, Known, Proof, heads_in, prove

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def logged(path: Path, records: int, rotation: Rotation | None = None, every: int = 4) -> AuditLog:
    """A log that was written a record at a time, signed, and closed."""
    ticks = count(1_000)
    path.parent.mkdir(exist_ok=True)
    seal = Seal(signer_at(path.with_name("key")), path.with_name("copy.heads"), every)
    log = AuditLog(path, clock=lambda: float(next(ticks)), rotation=rotation, seal=seal)
    for number in range(records):
        await log.write({"id": f"r{number}", "at": 1000.0 + number})
        await log.flush()
    await log.close()
    return log


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a log of three full files and the one that is written."""
    folder = tmp_path_factory.mktemp("kept")
    asyncio.run(logged(folder / "audit.jsonl", 12, Rotation(size=600)))
    assert len(rotated(folder / "audit.jsonl")) >= 3
    return folder


@pytest.fixture
def path(kept: Path, tmp_path: Path) -> Path:
    """A copy of that log."""
    shutil.copytree(kept, tmp_path / "log")
    return tmp_path / "log" / "audit.jsonl"


def found(path: Path, *heads: Path) -> tuple[Proof, list[Fault]]:
    """What verifying says: of the chain with the heads in these files, or in those beside it."""
    read = [each for file in heads or (heads_path(path),) for each in heads_in(file, None, is_signed)]
    known = [Known(Head(each.count, each.hash), "a head") for each in read if not isinstance(each, Fault)]
    return prove(path, known), [each for each in read if isinstance(each, Fault)]


def test_a_log_that_was_left_alone_is_proved_over_all_its_files(path: Path) -> None:
    proof, faults = found(path)
    assert (proof.fault, faults) == (None, [])
    assert proof.files == len(rotated(path)) + 1
    assert proof.records == proof.head.count == proof.signed
    assert proof.first == 1


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_single_byte_that_was_changed_is_found_at_its_line(path: Path, data: st.DataObject) -> None:
    files = [*worker_paths(path), heads_path(path)]
    file = data.draw(st.sampled_from(files))
    whole = file.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    file.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
    try:
        proof, faults = found(path)
    finally:
        file.write_bytes(whole)
    fault = faults[0] if faults else proof.fault
    assert fault is not None
    # What begins a file says which one was before: changed, the file that it then seems to lack may be named instead.
    assert (fault.file, fault.line) == (file, whole[:place].count(b"\n") + 1) or fault.line == 0


def _without(path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: line - 1] + lines[line:]))


def _swapped(path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1 : line + 1] = lines[line - 1 : line + 1][::-1]
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("change", [_without, _swapped])
def test_a_removed_and_a_swapped_line_are_found_where_they_were(
    path: Path, change: Callable[[Path, int], None]
) -> None:
    second = rotated_path(path, 2)
    change(second, 2)
    fault = found(path)[0].fault
    assert fault is not None
    assert (fault.file, fault.line, "does not follow" in fault.reason) == (second, 2, True)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_full_file_is_named(path: Path, number: int) -> None:
    gone = rotated_path(path, number)
    gone.unlink()
    fault = found(path)[0].fault
    assert fault is not None
    assert (fault.file, fault.line, "missing" in fault.reason) == (gone, 0, True)


def test_the_missing_newest_file_is_named(path: Path) -> None:
    path.unlink()
    fault = found(path)[0].fault
    assert fault is not None
    assert (fault.file, "missing" in fault.reason) == (path, True)


def test_a_log_that_was_cut_behind_its_last_head_is_found_by_the_head(path: Path) -> None:
    _without(path, len(path.read_bytes().splitlines()))
    fault = found(path)[0].fault
    assert fault is not None
    assert (fault.file, fault.line) == (path, len(path.read_bytes().splitlines()) + 1)
    assert "the log was cut" in fault.reason


def test_heads_that_were_cut_with_the_log_are_still_in_the_second_place(path: Path) -> None:
    _without(path, len(path.read_bytes().splitlines()))
    _without(heads_path(path), len(heads_path(path).read_bytes().splitlines()))
    assert found(path)[0].fault is None, "the cut is hidden from what stands beside the log"
    assert found(path, path.with_name("copy.heads"))[0].fault is not None


async def test_a_log_that_was_written_anew_is_found_by_its_heads(path: Path, tmp_path: Path) -> None:
    await logged(tmp_path / "other" / "audit.jsonl", 40)
    proof, _ = found(tmp_path / "other" / "audit.jsonl", heads_path(path))
    assert proof.fault is not None
    assert "written anew" in proof.fault.reason
    assert proof.fault.file == tmp_path / "other" / "audit.jsonl"


def test_a_head_by_another_key_is_refused(path: Path) -> None:
    faults = [each for each in heads_in(heads_path(path), "ab" * 32, is_signed) if isinstance(each, Fault)]
    assert len(faults) == len(list(read_heads(heads_path(path))))
    assert "another key" in faults[0].reason


async def test_full_files_that_were_removed_in_order_are_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.jsonl"
    log = await logged(path, 20, Rotation(size=600, keep=2))
    assert len(rotated(path)) == 2
    proof, faults = found(path)
    assert (proof.fault, faults) == (None, [])
    assert proof.first > 1
    assert proof.head == log.head
    rotated(path)[0][1].unlink()
    assert found(path)[0].fault is not None, "that one the log did not say goodbye to"


async def test_a_restarted_process_goes_on_in_the_count_of_records(path: Path) -> None:
    before = found(path)[0].head.count
    log = await logged(path, 3, Rotation(size=600))
    proof, faults = found(path)
    assert (proof.fault, faults) == (None, [])
    assert proof.head == log.head
    assert proof.head.count >= before + 3


async def test_a_rotation_that_was_cut_short_is_finished_by_the_next_process(path: Path) -> None:
    last = rotated(path)[-1][0]
    rotated_path(path, last + 1).hardlink_to(path)  # the name was given, the next file not begun
    await logged(path, 1, Rotation(size=600))
    proof, _ = found(path)
    assert proof.fault is None


async def test_each_worker_has_files_and_heads_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.jsonl"
    for worker in (1, 2):
        await logged(worker_path(path, worker), 8, Rotation(size=600))
    assert {each.name[:8] for each in worker_paths(path)} == {"audit.w1", "audit.w2"}
    assert [found(worker_path(path, worker))[0].fault for worker in (1, 2)] == [None, None]


async def test_an_old_file_by_its_age_gives_way_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.jsonl"
    await logged(path, 6, Rotation(every=10))
    assert rotated(path)
    assert found(path)[0].fault is None


async def test_a_disk_that_takes_no_head_loses_no_record(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.jsonl"
    path.parent.mkdir()
    heads_path(path).mkdir()
    log = await logged(path, 8)
    assert log.failures > 0
    assert prove(path, []).records == 8
    assert [each.count for _, each in read_heads(path.with_name("copy.heads")) if each] != []
