"""Log lines: their shape, what they belong to, and that no secret is in them."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog

from engine.settings import Log, Secret
from engine.world.logs import LONGEST, LONGEST_TRACEBACK, Scrubber, bind, configure
from engine.world.redaction import MASK, Redactor

SECRET = "Pl4ntedV4lue99"


class Said(io.StringIO):
    """What was logged."""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def line(self) -> dict[str, Any]:
        [line] = self.lines()
        return line


@pytest.fixture
def said() -> Iterator[Said]:
    """JSON logging into a buffer at a fixed time; what it changed in the process is put back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, structlog.get_config()
    out = Said()
    configure(Log(format="json"), secrets=[SECRET], stream=out, clock=lambda: 1_700_000_000.5)
    yield out
    root.handlers[:], root.level = before[0], before[1]
    structlog.configure(**before[2])
    logging.captureWarnings(False)


def log() -> Any:
    return structlog.get_logger("test")


def test_a_line_is_json_with_time_level_and_event_first(said: Said) -> None:
    log().info("request_done", status=200, seconds=0.5, team=None, ids=["a", "b"])
    assert said.getvalue() == (
        '{"time":"2023-11-14T22:13:20.500Z","level":"info","event":"request_done",'
        '"status":200,"seconds":0.5,"team":null,"ids":["a","b"]}\n'
    )


def test_lines_below_the_level_are_not_written(said: Said) -> None:
    log().debug("quiet")
    logging.getLogger("any").debug("quiet")
    assert said.lines() == []


def test_a_value_cannot_take_the_place_of_our_own_fields(said: Said) -> None:
    log().warning("x", time="never", level="debug")
    assert said.line() == {
        "time": "2023-11-14T22:13:20.500Z", "level": "warning", "event": "x", "given_time": "never",
        "given_level": "debug",
    }  # fmt: skip


def test_what_is_bound_is_in_every_line_inside_and_in_none_outside(said: Said) -> None:
    with bind(request_id="r1"):
        log().info("a")
        with bind(decision_id="d1"):
            log().info("b")
            logging.getLogger("other").warning("c")
    log().info("d")
    assert [(line["event"], line.get("request_id"), line.get("decision_id")) for line in said.lines()] == [
        ("a", "r1", None), ("b", "r1", "d1"), ("c", "r1", "d1"), ("d", None, None),
    ]  # fmt: skip


def test_tasks_do_not_see_what_others_bound(said: Said) -> None:
    async def exchange(name: str) -> None:
        with bind(request_id=name):
            await asyncio.sleep(0)
            log().info(name)

    async def both() -> None:
        await asyncio.gather(exchange("r1"), exchange("r2"))

    asyncio.run(both())
    assert [(line["event"], line["request_id"]) for line in said.lines()] == [("r1", "r1"), ("r2", "r2")]


class Shown(msgspec.Struct):
    text: str


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    "fields",
    [
        {"a": SECRET},
        {"a": f"x{SECRET}y"},
        {"a": [SECRET]},
        {"a": (SECRET,)},
        {"a": {SECRET}},
        {"a": {"b": {"c": [{"d": f"text {SECRET}"}]}}},
        {SECRET: 1},
        {"a": {SECRET: 1}},
        {"a": SECRET.encode()},
        {"a": {b"x": SECRET.encode()}},
        {"a": Shown(SECRET)},
        {"a": ValueError(SECRET)},
        {"a": Secret(SECRET)},
        {"a": Unshowable()},
        {"a": "x" * (LONGEST - 5) + SECRET},
        {"a": "x" * (LONGEST + 505) + SECRET},
        # What is searched ends within the last one, and masking the first ones makes room to show that end.
        {"a": ((SECRET + " ") * 100).ljust(LONGEST + 504, "x") + SECRET},
        {"a": {"b": "x" * 10_000 + SECRET}},
        {"a": "\ud800" + SECRET},
        {"a": "\x1b[31m" + SECRET},
        {"event_": SECRET, "exception": f"lines\n{SECRET}\nlines"},
    ],
)
def test_a_known_secret_is_in_no_position_of_a_line(said: Said, fields: dict[str, Any]) -> None:
    log().info("event", **fields)
    assert said.line()["event"] == "event"
    assert SECRET[:6] not in said.getvalue()


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "Cookie", "api_key", "password", "token"])
def test_a_member_with_a_secrets_name_is_masked_whatever_it_looks_like(said: Said, name: str) -> None:
    plain = "nothing special"
    log().info("e", headers={name: plain}, pairs=[(name, plain), [name.encode(), plain.encode()]], **{name: plain})
    line = said.line()
    assert plain not in said.getvalue()
    assert line["headers"] == {name: MASK}
    assert line["pairs"] == [[name, MASK], [name, MASK]]
    assert line[name] == MASK


def test_secrets_in_the_event_itself_are_masked(said: Said) -> None:
    log().info(f"calling https://h.test/?key=abc123 with Bearer abcdefgh and {SECRET}")
    assert said.line()["event"] == f"calling https://h.test/?key={MASK} with Bearer {MASK} and {MASK}"


def test_exceptions_and_what_caused_them_show_no_secret(said: Said) -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise ValueError(f"Authorization: Bearer {SECRET}") from cause
    except ValueError as error:
        log().exception("failed")
        log().error("failed", exc_info=error)
        logging.getLogger("other").exception("failed")
    for line in said.lines():
        assert line["level"] == "error"
        assert "KeyError" in line["exception"]
        assert line["exception"].endswith(f"ValueError: Authorization: {MASK}")
    assert len(said.lines()) == 3
    assert SECRET not in said.getvalue()


def test_of_a_long_traceback_the_end_is_kept(said: Said) -> None:
    try:
        raise ValueError("x" * 30_000 + f"{SECRET} the end")
    except ValueError:
        log().exception("failed")
    shown = said.line()["exception"]
    assert len(shown) == LONGEST_TRACEBACK + 1
    assert shown.endswith(f"{MASK} the end")


def test_long_values_are_cut_and_say_so(said: Said) -> None:
    log().info("e", a="x" * 10_000, b=list(range(1000)), c={"n" * 9000: 1})
    line = said.line()
    assert line["a"] == "x" * LONGEST + f"… [{10_000 - LONGEST} characters left out]"
    assert len(line["b"]) == 200
    assert len(next(iter(line["c"]))) < LONGEST + 100


def test_endless_nesting_is_cut(said: Said) -> None:
    endless: list[Any] = []
    endless.append(endless)
    log().info("e", a=endless)
    assert "[1 nested]" in said.getvalue()


def test_what_no_json_number_can_be_is_a_text(said: Said) -> None:
    log().info("e", a=2**70, b=True, c=-5)
    assert (said.line()["a"], said.line()["b"], said.line()["c"]) == (str(2**70), True, -5)


def test_a_line_stays_one_line_and_shows_its_text_in_order(said: Said) -> None:
    log().info("a\nb\u2028c\u202ed\x9be\x7f")
    assert said.getvalue().count("\n") == 1
    assert said.line()["event"] == "a\nb\\u2028c\\u202ed\\x9be\\x7f"


def test_on_a_console_control_characters_are_written_out(said: Said) -> None:
    configure(Log(format="console"), secrets=[SECRET], stream=said)
    log().info("a\nforged \x1b[31mred", b="\r\x00", c=SECRET)
    shown = said.getvalue()
    assert shown.count("\n") == 1
    assert "\x1b" not in shown
    assert "a\\nforged \\x1b[31mred" in shown
    assert SECRET not in shown


def test_a_console_shows_tracebacks_as_lines(said: Said) -> None:
    configure(Log(format="console"), stream=said)
    try:
        raise ValueError("x\x1b[31m")
    except ValueError:
        log().exception("failed")
    assert said.getvalue().rstrip().endswith("ValueError: x\\x1b[31m")
    assert said.getvalue().count("\n") > 2


def test_other_libraries_write_the_same_lines(said: Said) -> None:
    logging.getLogger("uvicorn.error").info("Started with %s", SECRET)
    assert said.line() == {
        "time": "2023-11-14T22:13:20.500Z", "level": "info", "event": f"Started with {MASK}", "logger": "uvicorn.error",
    }  # fmt: skip


def test_a_foreign_line_whose_arguments_do_not_fit_is_still_a_line(said: Said) -> None:
    [ours] = [each for each in logging.getLogger().handlers if type(each).__module__ == configure.__module__]
    ours.emit(logging.LogRecord("other", logging.WARNING, "f.py", 1, "%d and %d", (1,), None))
    assert "its arguments do not fit" in said.line()["event"]


def test_access_logs_are_off_unless_asked_for(said: Said) -> None:
    logging.getLogger("uvicorn.access").info("GET /")
    assert said.lines() == []
    configure(Log(format="json"), stream=said, access=True)
    logging.getLogger("uvicorn.access").info("GET /")
    assert said.line()["event"] == "GET /"


def test_configuring_twice_does_not_write_twice(said: Said) -> None:
    configure(Log(format="json"), stream=said)
    logging.getLogger("other").warning("once")
    log().info("once")
    assert len(said.lines()) == 2


def test_warnings_of_python_are_lines(said: Said) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    assert said.line()["logger"] == "py.warnings"


def test_a_stream_that_is_closed_stops_nobody(said: Said) -> None:
    configure(Log(format="json"), stream=(closed := io.StringIO()))
    closed.close()
    log().info("unheard")


def test_a_stream_of_a_narrow_encoding_gets_the_line_escaped(said: Said) -> None:
    data = io.BytesIO()
    configure(Log(format="json"), stream=io.TextIOWrapper(data, encoding="ascii", write_through=True))
    log().info("grün")
    assert b"gr\\xfcn" in data.getvalue()


def test_an_event_without_anything_to_hide_is_passed_on_as_it_is() -> None:
    event = {"event": "done", "request_id": "r1", "status": 200, "nested": {"a": [1, "x"]}}
    assert Scrubber(Redactor([SECRET]))(event) is event
