"""Nothing of what people and models said is in a masked record, and everything else is."""

import copy
from typing import Any

import msgspec
import pytest

from engine.world.masking import Mode, mask

SECRET = "sk-live-1234"
RECORD: dict[str, Any] = {
    "id": "d1",
    "phase": "request",
    "caller": "ann",
    "facts": {"vars.note": SECRET, "seen": True, "nested": {"a": [SECRET]}},
    "outcomes": [
        {
            "rule": "secrets/no-keys",
            "outcome": "matched",
            "because": [{"expr": "request.last_user", "value": SECRET, "span": [0, 17]}, {"expr": "x", "value": False}],
            "actions": ["redact", {"action": "block", "message": f"no {SECRET}"}],
            "patch": [{"op": "replace", "path": "/messages/0/text", "value": SECRET}, {"op": "remove", "path": "/x"}],
            "latency_us": 12,
        }
    ],
    "texts": [SECRET],
    "verdict": "block",
}


def text(record: dict[str, Any]) -> str:
    return msgspec.json.encode(record).decode()


@pytest.mark.parametrize("mode", ["none", "hash", "redacted"])
def test_no_content_is_left_and_the_record_is_not_changed(mode: Mode) -> None:
    before = copy.deepcopy(RECORD)
    masked = mask(RECORD, mode, b"k" * 32)
    assert SECRET not in text(masked)
    assert before == RECORD


@pytest.mark.parametrize("mode", ["none", "hash", "redacted"])
def test_what_is_no_content_is_kept(mode: Mode) -> None:
    masked = mask(RECORD, mode, b"k" * 32)
    outcome = masked["outcomes"][0]
    assert (masked["id"], masked["verdict"], list(masked["facts"])) == ("d1", "block", list(RECORD["facts"]))
    assert (outcome["rule"], outcome["latency_us"], outcome["actions"][0]) == ("secrets/no-keys", 12, "redact")
    assert outcome["because"][0]["expr"] == "request.last_user"
    assert outcome["because"][1] == {"expr": "x", "value": False}, "a truth value is what a condition answered"
    assert outcome["patch"][1] == {"op": "remove", "path": "/x"}


def test_full_is_the_record_as_it_is() -> None:
    assert mask(RECORD, "full") == RECORD


@pytest.mark.parametrize("mode", ["none", "hash", "redacted"])
def test_a_struct_is_masked_as_its_mapping_is_wherever_it_stands(mode: Mode) -> None:
    outcomes = tuple(msgspec.defstruct("Outcome", list(outcome))(**outcome) for outcome in RECORD["outcomes"])
    whole = msgspec.defstruct("Record", list(RECORD))(**{**RECORD, "outcomes": outcomes})
    expected = mask(RECORD, mode, b"k" * 32)
    assert mask({**RECORD, "outcomes": outcomes}, mode, b"k" * 32) == expected
    assert mask(whole, mode, b"k" * 32) == expected


def test_equal_content_has_equal_hashes_under_one_key_only() -> None:
    first, other = mask(RECORD, "hash", b"a" * 32), mask(RECORD, "hash", b"b" * 32)
    assert first["facts"]["vars.note"] == first["outcomes"][0]["because"][0]["value"]
    assert first["facts"]["vars.note"].startswith("mac:")
    assert first["facts"]["vars.note"] != other["facts"]["vars.note"]


def test_a_hash_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="keyed"):
        mask(RECORD, "hash")


def test_redacted_passes_every_text_through_the_redaction() -> None:
    masked = mask({"facts": {"a": {"b": [f"x {SECRET}", 3]}}}, "redacted", redact=lambda t: t.replace(SECRET, "***"))
    assert masked == {"facts": {"a": {"b": ["x ***", 3]}}}


def test_a_record_without_content_passes() -> None:
    assert mask({"id": "x", "outcomes": []}, "none") == {"id": "x", "outcomes": []}
