"""A sound edit is in force within a moment, a wrong one changes nothing and says why: real files, watcher and process."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from engine.diagnostics import ConfigurationError
from engine.model.decision import Decision
from engine.model.events import complete
from engine.model.phases import Phase
from engine.policy import watch
from engine.policy.live import Live
from engine.policy.recipe import Recipe
from engine.policy.ruleset import RuleSet
from engine.policy.warm import WarmCompiler

from .reloading import after, codes, failing_test, policy, recipe, running, said, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder / "guard.yaml", policy("guard", "one"))
    return folder


def write(path: Path, text: str) -> None:
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    """As editors do that write beside the file and rename."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    os.replace(beside, path)


def save_as_vim_does(path: Path, text: str) -> None:
    path.rename(path.with_name(f"{path.name}~"))
    path.write_text(text)
    path.with_name(f"{path.name}~").unlink()


def verdict(rules: RuleSet) -> str:
    decision = rules.decide(Phase.REQUEST, complete({"phase": "request"}))
    assert isinstance(decision, Decision)
    return getattr(decision.effect, "message", "")


async def test_an_edit_is_in_force_without_a_restart(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        assert verdict(live.current) == "one"
        write(folder / "guard.yaml", policy("guard", "two"))
        await after(live, lambda: said(live) == "two")
        assert verdict(live.current) == "two"
        assert live.swaps == 2


@pytest.mark.parametrize("save", [replace, save_as_vim_does])
async def test_editors_that_rename_are_followed(folder: Path, save: object) -> None:
    assert callable(save)
    async with running(recipe(folder)) as live:
        for number in range(3):
            save(folder / "guard.yaml", policy("guard", f"edit {number}"))
            await after(live, lambda number=number: said(live) == f"edit {number}")  # type: ignore[misc]


async def test_a_single_file_is_followed_when_it_is_replaced(folder: Path) -> None:
    async with running(recipe(folder / "guard.yaml")) as live:
        replace(folder / "guard.yaml", policy("guard", "two"))
        await after(live, lambda: said(live) == "two")
        replace(folder / "guard.yaml", policy("guard", "three"))
        await after(live, lambda: said(live) == "three")


async def test_a_broken_edit_changes_nothing_and_says_where(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        before = live.current
        write(folder / "guard.yaml", policy("guard", "two").replace("phase:", "phrase:"))
        attempt = await after(live, lambda: not live.last_attempt.sound)  # type: ignore[union-attr]
        assert live.current is before
        first = next(each for each in attempt.diagnostics if "phrase" in each.message)
        assert (first.where.file, first.where.line, first.where.column) == (str(folder / "guard.yaml"), 5, 5)
        assert live.serving_last_good


async def test_the_mended_file_goes_live(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        write(folder / "guard.yaml", "version: 1\n  policy: [")
        await after(live, lambda: live.serving_last_good)
        write(folder / "guard.yaml", policy("guard", "two"))
        await after(live, lambda: said(live) == "two")
        assert not live.serving_last_good


async def test_undoing_a_broken_edit_is_sound_and_swaps_nothing(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        before = live.current
        write(folder / "guard.yaml", "broken")
        await after(live, lambda: live.serving_last_good)
        write(folder / "guard.yaml", policy("guard", "one"))
        attempt = await after(live, lambda: not live.serving_last_good)
        assert live.current is before
        assert not attempt.swapped


async def test_a_set_whose_own_tests_fail_does_not_go_live(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        write(folder / "guard.yaml", policy("guard", "two", extra=failing_test("allow")))
        attempt = await after(live, lambda: live.serving_last_good)
        assert said(live) == "one"
        assert codes(attempt) == ["E434"]
        assert "it lets everything pass" in attempt.diagnostics[0].message
        write(folder / "guard.yaml", policy("guard", "two", extra=failing_test("block")))
        await after(live, lambda: said(live) == "two")


async def test_a_deleted_folder_keeps_the_rules_until_it_is_there_again(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        shutil.rmtree(folder)
        await after(live, lambda: "E431" in codes(live.last_attempt))
        assert said(live) == "one"
        os.mkdir(folder)
        write(folder / "guard.yaml", policy("guard", "again"))
        await after(live, lambda: said(live) == "again")
        write(folder / "guard.yaml", policy("guard", "and again"))
        await after(live, lambda: said(live) == "and again")


async def test_an_emptied_folder_is_an_error_and_not_an_empty_set(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        (folder / "guard.yaml").unlink()
        attempt = await after(live, lambda: live.serving_last_good)
        assert codes(attempt) == ["E432"]
        assert said(live) == "one"


async def test_a_mounted_volume_that_swaps_its_data_link_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts files as links into `..data`, which is a link itself, replaced by a rename."""
    mount = tmp_path / "mount"
    for version, text in (("..1", "one"), ("..2", "two")):
        (mount / version).mkdir(parents=True)
        write(mount / version / "guard.yaml", policy("guard", text))
    (mount / "..data").symlink_to("..1")
    (mount / "guard.yaml").symlink_to("..data/guard.yaml")
    async with running(recipe(mount)) as live:
        assert said(live) == "one"
        (mount / "..data_tmp").symlink_to("..2")
        os.replace(mount / "..data_tmp", mount / "..data")
        await after(live, lambda: said(live) == "two")


async def test_a_link_to_another_folder_is_followed(tmp_path: Path, folder: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.mkdir()
    write(other / "guard.yaml", policy("guard", "two"))
    link.symlink_to(folder)
    async with running(recipe(link)) as live:
        (tmp_path / "new").symlink_to(other)
        os.replace(tmp_path / "new", link)
        await after(live, lambda: said(live) == "two")
        write(other / "guard.yaml", policy("guard", "three"))
        await after(live, lambda: said(live) == "three")


async def test_files_are_looked_at_where_the_system_tells_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_inotify(*_: object) -> object:
        raise OSError("inotify instance limit reached")

    monkeypatch.setattr(watch, "_changes", no_inotify)
    async with running(recipe(folder)) as live:
        await until(lambda: not live.status()["told_of_changes"])
        write(folder / "guard.yaml", policy("guard", "two"))
        await after(live, lambda: said(live) == "two")


async def test_of_a_hundred_edits_the_last_one_wins(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        for number in range(100):
            write(folder / "guard.yaml", policy("guard", f"edit {number}"))
            await asyncio.sleep(0.01)
        await after(live, lambda: said(live) == "edit 99")
        assert live.swaps < 50


async def test_files_that_land_one_by_one_go_live_together(folder: Path) -> None:
    """Each of them needs a rule of the one that lands last, so that a part of the set would be an error."""
    heard: list[bool] = []
    async with running(recipe(folder), quiet=1.0, on_attempt=lambda attempt: heard.append(attempt.sound)) as live:
        for number in range(5):
            exception = (
                "exceptions:\n  - rule: last/stop\n    match: {caller: somebody}\n    reason: a test\n"
                "    expires: 2099-01-01\n"
            )
            write(folder / f"part-{number}.yaml", policy(f"part-{number}", extra=exception))
            await asyncio.sleep(0.05)
        names = ", ".join(f"part-{number}" for number in range(5))
        write(folder / "last.yaml", policy("last").replace("    actions", f"    exceptable_by: [{names}]\n    actions"))
        await after(live, lambda: said(live, "last/stop") == "no")
        assert heard == [True, True]
        assert len(live.current.policies) == 7


async def test_a_required_policy_cannot_be_edited_away(folder: Path) -> None:
    write(folder / "other.yaml", policy("other"))
    async with running(recipe(folder, require=("guard",))) as live:
        (folder / "guard.yaml").unlink()
        attempt = await after(live, lambda: live.serving_last_good)
        assert codes(attempt) == ["E420"]
        assert said(live) == "one"


async def test_rules_that_are_enforced_no_longer_are_said(folder: Path) -> None:
    swaps: list[tuple[str, str, tuple[str, ...]]] = []

    def on_swap(old: RuleSet, new: RuleSet, removed: tuple[str, ...]) -> None:
        swaps.append((old.revision, new.revision, removed))

    write(folder / "other.yaml", policy("other"))
    async with running(recipe(folder), on_swap=on_swap) as live:
        first = live.current.revision
        write(folder / "other.yaml", policy("other").replace("rules:", "mode: shadow\nrules:"))
        attempt = await after(live, lambda: live.swaps == 2)
        assert swaps == [("", first, ()), (first, live.current.revision, ("other/stop",))]
        assert attempt.removed == ("other/stop",)
        assert codes(attempt) == ["N438"]
        assert live.status()["last_attempt"]["enforced_no_longer"] == ["other/stop"]


async def test_an_exchange_keeps_the_rules_with_which_it_began(folder: Path) -> None:
    async with running(recipe(folder)) as live:
        held = live.current
        write(folder / "guard.yaml", policy("guard", "two"))
        await after(live, lambda: said(live) == "two")
        assert verdict(held) == "one"
        assert held.revision != live.current.revision


async def test_rules_of_untouched_files_are_shared_between_sets(folder: Path) -> None:
    write(folder / "other.yaml", policy("other"))
    async with running(recipe(folder)) as live:
        before = live.current.by_name["other/stop"]
        write(folder / "guard.yaml", policy("guard", "two"))
        await after(live, lambda: said(live) == "two")
        assert live.current.by_name["other/stop"] is before


async def test_a_compiler_that_is_killed_over_an_edit_is_replaced(folder: Path) -> None:
    compiler = WarmCompiler()
    async with running(recipe(folder), compiler=compiler, quiet=0.5) as live:
        await until(lambda: compiler.pid is not None and not compiler.busy)
        write(folder / "guard.yaml", policy("guard", "two"))
        await until(lambda: compiler.busy)
        killed = compiler.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await after(live, lambda: said(live) == "two")
        assert compiler.deaths == 1
        assert compiler.pid not in (None, killed)


async def test_a_compiler_that_dies_while_idle_is_replaced(folder: Path) -> None:
    compiler = WarmCompiler()
    async with running(recipe(folder), compiler=compiler) as live:
        await until(lambda: compiler.pid is not None and not compiler.busy)
        assert compiler.pid is not None
        os.kill(compiler.pid, signal.SIGKILL)
        write(folder / "guard.yaml", policy("guard", "two"))
        await after(live, lambda: said(live) == "two")
        assert compiler.deaths == 1


READY_THEN = """
import io, sys, time
from engine.policy.compiler_process import serve
serve(io.BytesIO(), sys.stdout.buffer, None)
"""


@pytest.mark.parametrize(
    ("then", "patience", "why"),
    [("sys.exit(7)", 30.0, "exit status 7"), ("time.sleep(60)", 1.5, "did not answer within 1.5 s")],
)
async def test_a_compiler_that_always_dies_leaves_the_rules_and_is_reported(
    folder: Path, then: str, patience: float, why: str
) -> None:
    compiler = WarmCompiler(patience, (sys.executable, "-c", READY_THEN + then))
    async with running(recipe(folder), compiler=compiler, watching=False) as live:
        write(folder / "guard.yaml", policy("guard", "two"))
        attempt = await live.reload_now()
        assert codes(attempt) == ["E435"]
        assert why in attempt.diagnostics[0].message
        assert said(live) == "one"
        assert live.serving_last_good
        assert live.status()["compiler"]["deaths"] >= 3


async def test_reload_now_tries_the_files_though_nobody_watches(folder: Path) -> None:
    async with running(recipe(folder), watching=False) as live:
        write(folder / "guard.yaml", policy("guard", "two"))
        attempt = await live.reload_now()
        assert attempt.swapped
        assert said(live) == "two"
        assert not (await live.reload_now()).swapped


async def test_the_status_says_what_is_in_force(folder: Path) -> None:
    write(folder / "quiet.yaml", policy("quiet").replace("rules:", "mode: shadow\nrules:"))
    write(folder / "off.yaml", policy("gone").replace("rules:", "mode: off\nrules:"))
    compiler = WarmCompiler()
    async with running(recipe(folder), clock=lambda: 1234.5, compiler=compiler) as live:
        await until(lambda: compiler.pid is not None and not compiler.busy)
        status = live.status()
        assert status["revision"] == live.current.revision
        assert status["loaded_at"] == 1234.5
        assert status["rules"] == {"enforce": 1, "shadow": 1, "off": 1}
        assert status["enforced"] == ["guard/stop"]
        assert status["policies"] == ["gone", "guard", "quiet"]
        assert [(each["source"], each["files"], each["rules"]) for each in status["sources"]] == [(str(folder), 3, 3)]
        assert status["serving_last_good"] is False
        assert status["swaps"] == 1
        assert status["last_attempt"]["outcome"] == "ok"
        assert status["compiler"]["pid"] == compiler.pid
        if sys.platform == "linux":
            assert status["compiler"]["memory_bytes"] > 10_000_000


async def test_closing_ends_the_compiler(folder: Path) -> None:
    compiler = WarmCompiler()
    async with running(recipe(folder), compiler=compiler):
        await until(lambda: compiler.pid is not None)
        pid = compiler.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_broken_set_at_the_start_is_refused_with_its_places(folder: Path) -> None:
    write(folder / "guard.yaml", policy("guard").replace("request", "requst"))
    with pytest.raises(ConfigurationError) as caught:
        await Live(recipe(folder)).start()
    assert caught.value.diagnostics[0].where.line == 5


async def test_a_missing_source_at_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await Live(recipe(tmp_path / "nowhere")).start()
    assert [each.code for each in caught.value.diagnostics] == ["E150"]


async def test_an_empty_folder_at_the_start_is_a_warning_and_its_first_policy_goes_live(tmp_path: Path) -> None:
    async with running(recipe(tmp_path)) as live:
        assert codes(live.last_attempt) == ["W151"]
        assert live.current.rules == ()
        write(tmp_path / "guard.yaml", policy("guard", "first"))
        await after(live, lambda: said(live) == "first")


async def test_without_sources_there_are_no_rules() -> None:
    async with running(Recipe()) as live:
        assert live.current.rules == ()
        assert codes(live.last_attempt) == []
