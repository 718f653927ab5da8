"""What the process says on standard error: one line an event, with what it belongs to, and without any secret."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from engine.settings import Log
from engine.world.redaction import MASK, Redactor

LONGEST: Final = 4096  # characters of one value
LONGEST_TRACEBACK: Final = 16_384
DEEPEST: Final = 8  # levels of nested values
WIDEST: Final = 200  # members or elements of one value

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SAME_LEVEL: Final = {"warn": "warning", "exception": "error", "critical": "error", "fatal": "error"}
_OURS: Final = frozenset(("time", "level"))
_QUIET: Final = ("uvicorn.access", "httpx2", "httpcore2", "watchfiles")

# What could end a line, colour a terminal, or show the rest of it in another order.
_ESCAPES: Final = {
    number: f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    for number in (*range(32), *range(127, 160), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_JSON_ESCAPES: Final = {number: text for number, text in _ESCAPES.items() if number >= 127}  # JSON escapes the others
_LINES_KEPT: Final = {number: text for number, text in _ESCAPES.items() if number not in (ord("\n"), ord("\t"))}

_bound: ContextVar[Mapping[str, Any] | None] = ContextVar("lexgate_log", default=None)


@contextlib.contextmanager
def bind(**values: Any) -> Iterator[None]:
    """Put `values` (request_id, decision_id, …) into every line that is logged inside, in this task and those it starts."""
    before = _bound.get()
    token = _bound.set({**before, **values} if before else values)
    try:
        yield
    finally:
        _bound.reset(token)


def configure(
    settings: Log,
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.time,
    access: bool = False,
) -> None:
    """Set up structlog and the standard library's logging for the whole process; a second call replaces the first.

    `secrets` are the values that no line may show (`redaction.known_secrets(settings)`). uvicorn must be run with
    `log_config=None`. `access` lets its access log through.
    """
    out = sys.stderr if stream is None else stream
    console = settings.format == "console" or (settings.format == "auto" and out.isatty())
    level = _LEVELS[settings.level]
    redactor = Redactor(secrets)
    line = _Lines(redactor, clock, console=console, colors=console and out.isatty())
    structlog.configure(
        processors=[line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
        logger_factory=lambda *_: _Writer(out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Routed):
            root.removeHandler(handler)
    root.addHandler(_Routed(line, out))
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = not access
    if access:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    logging.captureWarnings(True)


class _Writer:
    """Where a finished line goes: one write, so that lines of threads do not mix."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except UnicodeEncodeError:  # a stream of a narrow encoding
            self._out.write(line.encode("ascii", "backslashreplace").decode() + "\n")
        except (OSError, ValueError):  # nobody reads any more, or the disk is full: that must not stop exchanges
            pass

    log = debug = info = warning = warn = error = exception = critical = fatal = failure = msg


class _Lines:
    """An event dict -> its line: the only processor, for structlog's own events and for those of other libraries."""

    def __init__(self, redactor: Redactor, clock: Callable[[], float], *, console: bool, colors: bool) -> None:
        self._scrub = Scrubber(redactor, console=console)
        self._clock = clock
        self._console = structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="time") if console else None
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, logger: WrappedLogger, level: str, event: EventDict) -> str:
        if (bound := _bound.get()) is not None:
            event = {**bound, **event}
        if error := event.pop("exc_info", None):
            event["exception"] = _traceback(error)
        if not _OURS.isdisjoint(event):
            event = {f"given_{name}" if name in _OURS else name: value for name, value in event.items()}
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = self._scrub(event)
        line = {"time": at, "level": _SAME_LEVEL.get(level, level), "event": said.pop("event", ""), **said}
        if self._console is not None:
            return str(self._console(logger, level, line))
        return self._encode(line).decode()


class _Routed(logging.Handler):
    """Records of the standard library's logging, as the same lines."""

    def __init__(self, line: _Lines, out: TextIO) -> None:
        super().__init__()
        self._line = line
        self._writer = _Writer(out)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # a foreign call with wrong arguments is still worth a line
            message = f"{record.msg!r} (its arguments do not fit)"
        event: EventDict = {"event": message, "logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        self._writer.msg(self._line(None, record.levelname.lower(), event))


class Scrubber:
    """Values as a log may hold them: plain, bounded, without secrets and control characters."""

    def __init__(self, redactor: Redactor, *, console: bool = False) -> None:
        self._redactor = redactor
        self._escapes = _ESCAPES if console else _JSON_ESCAPES
        self._lines_kept = _LINES_KEPT if console else _JSON_ESCAPES
        # Cut before it is searched, but with room for a secret that begins inside and ends outside of what is shown.
        self._margin = max(512, redactor.longest)

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event itself (as a dict) where nothing in it need be changed."""
        texts: list[str] = []
        if _plain(event, texts, DEEPEST):
            # One search over all of it. A blank between two texts can make one suspect, but can hide nothing.
            together = " ".join(texts)
            if together.isprintable() and not self._redactor.suspicious(together):
                return cast("dict[str, Any]", event)
        return {self._text(str(name)): self._value(value, DEEPEST, str(name)) for name, value in event.items()}

    def _value(self, value: Any, depth: int, name: str = "") -> Any:
        if name and value and self._redactor.hides(name) and not isinstance(value, int | float):
            return MASK
        match value:
            case None | bool() | float():
                return value
            case int():
                return value if -(2**63) <= value < 2**64 else str(value)[:LONGEST]
            case str():
                return self._traceback(value) if name == "exception" else self._text(value)
            case bytes() | bytearray():
                return self._text(bytes(value[: LONGEST + self._margin]).decode("utf-8", "replace"))
            case Mapping() | list() | tuple() | set() | frozenset() if depth == 0:
                return f"[{len(value)} nested]"
            case Mapping():
                members = list(value.items())[:WIDEST]
                return {self._text(_name(key)): self._value(each, depth - 1, _name(key)) for key, each in members}
            case (str() | bytes() as key, _) if self._redactor.hides(_name(key)):  # a header as name and value
                return [self._text(_name(key)), MASK]
            case list() | tuple() | set() | frozenset():
                return [self._value(each, depth - 1) for each in list(value)[:WIDEST]]
            case _:
                return self._text(_described(value))

    def _text(self, text: str) -> str:
        redacted, left_out = self._redacted(text, LONGEST)
        return (f"{redacted}… [{left_out} characters left out]" if left_out else redacted).translate(self._escapes)

    def _traceback(self, text: str) -> str:
        """Its end is kept, for there the error is named; cut only when it holds no secret any more."""
        redacted, _ = self._redacted(text, 8 * LONGEST_TRACEBACK)
        if len(redacted) > LONGEST_TRACEBACK:
            redacted = f"…{redacted[-LONGEST_TRACEBACK:]}"
        return redacted.translate(self._lines_kept)

    def _redacted(self, text: str, longest: int) -> tuple[str, int]:
        """At most `longest` characters of the text without secrets, and how many were left out.

        More than that is searched, and the last `margin` characters of what was searched are never shown: a secret that
        begins among them may be cut in two, and half a secret is not found.
        """
        length = len(text)
        if length > longest:
            text = text[: longest + self._margin]
        if not text.isprintable():
            text = text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no place in a line
        if self._redactor.suspicious(text):
            text = self._redactor.text(text)
        if length <= longest:
            return text, 0
        shown = text[: max(0, min(longest, len(text) - self._margin))]
        return shown, length - len(shown)


def _plain(value: Any, texts: list[str], depth: int) -> bool:
    """Whether a value can be encoded as it is; gathers its texts, with the names of its members."""
    if value is None:
        return True
    kind = type(value)
    if kind is str:
        texts.append(value)
        return len(value) <= LONGEST
    if kind is int:
        return bool(-(2**63) <= value < 2**64)
    if kind is float or kind is bool:
        return True
    if depth == 0 or (kind is not dict and kind is not list) or len(value) > WIDEST:
        return False
    if kind is dict:
        for name, each in value.items():
            if type(name) is not str or not _plain(each, texts, depth - 1):
                return False
            texts.append(name)
        return True
    return all(_plain(each, texts, depth - 1) for each in value)


def _name(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def _described(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # a value that cannot be shown must not take the line with it
        return f"<{type(value).__name__} that raised {type(error).__name__}>"


def _traceback(error: Any) -> str:
    """What `exc_info` says (True, an exception or the triple) as text."""
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    elif not isinstance(error, tuple):
        error = sys.exc_info()
    if error[1] is None:
        return ""
    return logging.Formatter().formatException(error)
