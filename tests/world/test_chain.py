"""Every way to change a log after it was written is found, and its line named."""

from pathlib import Path

import msgspec
import pytest

from engine.world.chain import GENESIS, Broken, Head, Verified, follow, link, verify


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Four records, one of which tries to imitate the end of a line."""
    previous, path = GENESIS, tmp_path / "audit.jsonl"
    records = [{"id": "a"}, {"id": "b", "text": '","hash":"' + "0" * 64 + '"}\n'}, {}, {"id": "d", "n": [1, 2]}]
    with path.open("wb") as file:
        for record in records:
            line, previous = link(msgspec.json.encode(record), previous)
            file.write(line)
    return path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_an_untouched_log_is_verified_to_its_head(log: Path) -> None:
    last = msgspec.json.decode(lines(log)[-1])
    assert verify(log) == Verified(4, Head(4, last["hash"]))


def test_every_line_is_the_record_with_two_members_more(log: Path) -> None:
    first, second = [msgspec.json.decode(line) for line in lines(log)[:2]]
    assert list(first) == ["id", "previous", "hash"]
    assert (first["previous"], second["previous"]) == (GENESIS, first["hash"])


def test_an_empty_log_is_verified(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert verify(tmp_path / "empty") == Verified(0, Head(0, GENESIS))


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80])
def test_any_changed_byte_breaks_the_log_at_its_line(log: Path, change: int) -> None:
    whole = log.read_bytes()
    for place in range(len(whole)):
        edited = bytearray(whole)
        edited[place] ^= change
        log.write_bytes(edited)
        found = verify(log)
        assert isinstance(found, Broken), place
        assert found.line == whole[:place].count(b"\n") + 1, place


def test_any_missing_or_added_byte_breaks_the_log(log: Path) -> None:
    whole = log.read_bytes()
    ends = {len(b"".join(lines(log)[:number])) for number in range(5)}
    for place in range(len(whole)):
        log.write_bytes(whole[:place] + whole[place + 1 :])
        assert isinstance(verify(log), Broken), place
        log.write_bytes(whole[:place] + b" " + whole[place:])
        assert isinstance(verify(log), Broken), place
        if place not in ends:
            log.write_bytes(whole[:place])
            assert isinstance(verify(log), Broken), place


@pytest.mark.parametrize(
    ("order", "line"),
    [([1, 2, 3], 1), ([0, 2, 3], 2), ([0, 2, 1, 3], 2), ([0, 1, 1, 2, 3], 3), ([0, 1, 3], 3), ([0, 0], 2)],
)
def test_removed_swapped_and_repeated_lines_are_found(log: Path, order: list[int], line: int) -> None:
    kept = lines(log)
    log.write_bytes(b"".join(kept[number] for number in order))
    found = verify(log)
    assert isinstance(found, Broken)
    assert found.line == line
    assert "does not follow" in found.reason


def test_a_cut_end_is_found_by_a_head_that_was_kept_elsewhere(log: Path) -> None:
    head = verify(log)
    assert isinstance(head, Verified)
    log.write_bytes(b"".join(lines(log)[:2]))
    assert isinstance(verify(log), Verified), "without a head nothing in the file tells of it"
    assert verify(log, heads=[head.head]) == Broken(3, "the log ends after 2 records, but a head was made of record 4")


def test_a_log_that_was_written_anew_is_found_by_a_head(log: Path, tmp_path: Path) -> None:
    kept = msgspec.json.decode(lines(log)[1])["hash"]
    assert isinstance(verify(log, heads=[Head(2, kept)]), Verified)
    found = verify(log, heads=[Head(2, "0" * 64)])
    assert isinstance(found, Broken)
    assert (found.line, "written anew" in found.reason) == (2, True)


def test_a_rotated_log_follows_the_one_before_it(log: Path) -> None:
    third = lines(log)[2:]
    start = msgspec.json.decode(lines(log)[1])["hash"]
    log.write_bytes(b"".join(third))
    assert isinstance(verify(log, start=start), Verified)
    assert isinstance(verify(log), Broken)


def test_a_torn_line_is_named_as_torn() -> None:
    line, _ = link(b'{"id":"a"}', GENESIS)
    with pytest.raises(ValueError, match="torn"):
        follow(line[:-1], GENESIS)
