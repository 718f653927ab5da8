"""What an operator is told to look for exists under that name."""

import asyncio
import re
from pathlib import Path
from typing import Final

from engine.world.audit import AuditLog
from engine.world.metrics import Metrics
from engine.world.store.memory import MemoryStore
from engine.world.store.watch import WatchedStore

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SOURCE: Final = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "engine").rglob("*.py"))
MADE_BY_RULES: Final = {"lexgate_rule_"}


def test_every_metric_that_is_named_is_exposed(tmp_path: Path) -> None:
    metrics = Metrics("1")
    metrics.policies_loaded("r", 1)
    log = AuditLog(tmp_path / "audit.jsonl")
    metrics.watch_audit(log)
    WatchedStore(MemoryStore(lambda: 0.0), "memory://").show(metrics)
    exposed = set(re.findall(r"^# TYPE (\w+)", metrics.render().decode(), re.MULTILINE))
    asyncio.run(log.close())
    named = set(re.findall(r"\b(?:lexgate|process)_[a-z_]+", PAGE)) - MADE_BY_RULES
    assert len(named) > 12
    assert named <= exposed


def test_every_log_event_that_is_named_is_written() -> None:
    table = PAGE.partition("<!-- events -->\n")[2].partition("\n\n")[0].splitlines()[2:]
    events = [event for line in table for event in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(events) > 8
    assert [event for event in events if f'"{event}"' not in SOURCE] == []


def test_every_error_code_that_is_named_is_given() -> None:
    codes = re.findall(r"(?:\b[1-5]\d\d(?: or [1-5]\d\d)?) `([a-z_]+)`", PAGE)
    assert len(codes) > 6
    assert [code for code in codes if f'"{code}"' not in SOURCE] == []
