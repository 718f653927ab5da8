"""The routing grammar: which backends are tried, in which order, for which model.

`a:m|b:m` tries one after the other, `[weight=3]a:m^b:m` chooses by weight, `a:m!b:m` asks several at once and takes the
first that says something; `round_robin(a:m|b:m)` takes turns, `cheapest(a:m|b:m)` begins with what costs least. `@name` is
a named route, as a whole or as a leg. A leg without a model (`openai:`) keeps the model that the client asked for, and
`a:m?temperature=0.2` sets parameters. One route has one operator; another one stands in a route with a name.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote

import msgspec

from engine.diagnostics import LexgateError

Kind = Literal["failover", "weighted", "race", "round_robin", "cheapest"]

_LEG: Final = re.compile(
    r"(?:\[([^\]]*)\])?\s*(?:@([A-Za-z0-9][A-Za-z0-9_.-]*)|([A-Za-z0-9_.-]+):([^\[\]|^!?]*)(?:\?(.*))?)", re.DOTALL
)
_NAMED: Final = re.compile(r"@([A-Za-z0-9][A-Za-z0-9_.-]*)")
_ORDERED: Final = re.compile(r"\s*(round_robin|cheapest)\((.*)\)\s*", re.DOTALL)
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_COUNT: Final = re.compile(r"(\d+)([km]?)", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")
_OPERATORS: Final[Mapping[str, Kind]] = {"|": "failover", "^": "weighted", "!": "race"}
_SIGNS: Final[Mapping[str, str]] = {
    "failover": "|",
    "weighted": "^",
    "race": "!",
    "round_robin": "|",
    "cheapest": "|",
}
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_MULTIPLES: Final = {"": 1, "k": 1_000, "m": 1_000_000}
_KINDS_OF: Final[Mapping[str, frozenset[Kind]]] = {
    "weight": frozenset({"weighted"}),
    "handicap": frozenset({"race"}),
    "thinker": frozenset({"failover"}),
}
"""Annotations that mean something in some kinds of route alone."""

ANNOTATIONS: Final = ("weight", "max_context", "first", "thinker", "handicap", "ttft_timeout")


class Leg(msgspec.Struct, frozen=True):
    """One backend of a plan; `model` "" keeps the client's. With `route` it is a named route, `plan` once it is known.

    `max_context` is the most input tokens that it takes, 0: any. `first`: only for the first request of a conversation.
    `thinker`: it is not asked for the answer, but for thoughts that the others get. `handicap` is how many seconds later
    than the others it starts in a race, `ttft_timeout` how many it has for its first output (0: the backend's own bound).
    """

    backend: str
    model: str = ""
    weight: float = 1.0
    max_context: int = 0
    first: bool = False
    thinker: bool = False
    handicap: float = 0.0
    ttft_timeout: float = 0.0
    params: tuple[tuple[str, Any], ...] = ()
    route: str = ""
    plan: "Plan | None" = None

    @property
    def target(self) -> str:
        """`backend:model`, or `@name`."""
        return f"@{self.route}" if self.route else f"{self.backend}:{self.model}"

    def __str__(self) -> str:
        notes = [
            f"weight={self.weight:g}" if self.weight != 1 else "",
            f"max_context={self.max_context}" if self.max_context else "",
            "first" if self.first else "",
            "thinker" if self.thinker else "",
            f"handicap={self.handicap:g}" if self.handicap else "",
            f"ttft_timeout={self.ttft_timeout:g}" if self.ttft_timeout else "",
        ]
        shown = ",".join(filter(None, notes))
        params = "&".join(f"{name}={quote(_written(value), safe='')}" for name, value in self.params)
        return f"{f'[{shown}]' if shown else ''}{self.target}{f'?{params}' if params else ''}"


class Plan(msgspec.Struct, frozen=True):
    """Legs and how they are used; `name` is that of the named route that the plan came from."""

    kind: Kind
    legs: tuple[Leg, ...]
    name: str = ""

    @property
    def leaves(self) -> tuple[Leg, ...]:
        """The legs that are backends, those of routes within it among them."""
        if not any(leg.route for leg in self.legs):
            return self.legs
        return tuple(_leaves(self))

    @property
    def thinkers(self) -> tuple[Leg, ...]:
        """The legs that are asked for thoughts, in the order in which they are tried."""
        return tuple(leg for leg in self.legs if leg.thinker)

    def __str__(self) -> str:
        legs = _SIGNS[self.kind].join(map(str, self.legs))
        return f"{self.kind}({legs})" if self.kind in ("round_robin", "cheapest") else legs


def _leaves(plan: Plan) -> Iterator[Leg]:
    for leg in plan.legs:
        if leg.plan is not None:
            yield from _leaves(leg.plan)
        elif not leg.route:
            yield leg


class PlanError(LexgateError):
    """A route is not written as the grammar wants it; `start` and `end` are offsets in its text."""

    def __init__(self, message: str, start: int = 0, end: int = 0, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.help = help


def named(text: str) -> str | None:
    """The name of `@name`; None where the text is a plan."""
    found = _NAMED.fullmatch(text.strip())
    return found[1] if found else None


def parse_plan(text: str, name: str = "") -> Plan:
    """A plan from its compact text; its named routes are not looked up. Raises PlanError."""
    ordered = _ORDERED.fullmatch(text)
    inner, offset = (ordered[2], ordered.start(2)) if ordered else (text, 0)
    kind, pieces = _pieces(inner, offset)
    if ordered:
        if kind != "failover":
            start = offset + len(pieces[0][0])
            raise PlanError(
                f"'{ordered[1]}' takes legs that are joined by '|'", start, start + 1, f"{ordered[1]}(a:m|b:m)"
            )
        kind = "round_robin" if ordered[1] == "round_robin" else "cheapest"
    legs = tuple(_leg(piece, at, kind, len(pieces)) for piece, at in pieces)
    plan = Plan(kind, legs, name)
    _judge_whole(plan, len(text))
    return plan


def _pieces(text: str, offset: int) -> tuple[Kind, list[tuple[str, int]]]:
    """The legs' texts, each with its offset, and the kind that their operator makes."""
    found = ""
    pieces: list[tuple[str, int]] = []
    begun, depth = 0, 0
    for at, sign in enumerate(text):
        depth += (sign == "[") - (sign == "]")
        if sign not in _OPERATORS or depth > 0:
            continue
        if found and sign != found:
            raise PlanError(
                f"'{found}' and '{sign}' do not mix in one route",
                offset + at,
                offset + at + 1,
                "name one of the two as a route, and use it as a leg: @name",
            )
        found = sign
        pieces.append((text[begun:at], offset + begun))
        begun = at + 1
    pieces.append((text[begun:], offset + begun))
    return _OPERATORS.get(found, "failover"), pieces


def _judge_whole(plan: Plan, length: int) -> None:
    if all(leg.first for leg in plan.legs):
        raise PlanError("no leg is left for later requests", 0, length, "leave out one `first`")
    if all(leg.thinker for leg in plan.legs):
        raise PlanError("a thinker needs a leg that answers", 0, length, "add one: [thinker]a:m|b:m")


def _leg(piece: str, at: int, kind: Kind, count: int) -> Leg:
    found = _LEG.fullmatch(piece.strip())
    start, end = at, at + max(1, len(piece))
    if found is None:
        help = "a leg is backend:model, backend: for the client's model, or @route"
        raise PlanError(f"'{piece.strip()}' is not a leg", start, end, help)
    notes, route, backend, model, params = found.groups()
    given: dict[str, Any] = {}
    for note in filter(None, (each.strip() for each in (notes or "").split(","))):
        key, separator, value = (each.strip() for each in note.partition("="))
        if key not in ANNOTATIONS:
            raise PlanError(f"unknown annotation '{key}'", start, end, f"a leg takes {', '.join(ANNOTATIONS)}")
        if key in given:
            raise PlanError(f"the annotation '{key}' stands twice", start, end)
        given[key] = _annotation(key, value if separator else None, start, end)
        wanted = _KINDS_OF.get(key)
        if wanted is not None and kind not in wanted and (count > 1 or key != "weight"):
            raise PlanError(_MISPLACED[key].format(kind=_IN_WORDS[kind]), start, end, _PLACED[key])
    if route and (wrong := given.keys() - {"weight", "max_context", "first"}):
        raise PlanError(f"a route as a leg takes no '{min(wrong)}'", start, end, "write it at the legs of that route")
    if route:
        return Leg("", route=route, **given)
    return Leg(backend, model.strip(), params=_params(params, start, end), **given)


_IN_WORDS: Final[Mapping[Kind, str]] = {
    "failover": "a failover",
    "weighted": "a choice by weight",
    "race": "a race",
    "round_robin": "turns",
    "cheapest": "an order by cost",
}
_MISPLACED: Final = {
    "weight": "a weight means nothing in {kind}",
    "handicap": "a handicap means nothing in {kind}",
    "thinker": "a thinker has no place in {kind}",
}
_PLACED: Final = {
    "weight": "join the legs by '^' to choose by weight",
    "handicap": "join the legs by '!' to let them race",
    "thinker": "join the legs by '|', or name this route and use it as a leg",
}


def _annotation(key: str, text: str | None, start: int, end: int) -> Any:
    """The value of one annotation. Raises PlanError."""
    match key:
        case "first" | "thinker":
            if text not in (None, "true", "false"):
                raise PlanError(f"'{key}' is said or not said, and '{text}' is neither", start, end, f"write [{key}]")
            return text != "false"
        case "weight":
            try:
                weight = float(text or "")
            except ValueError:
                weight = 0.0
            if not 0 < weight < 1e6:
                raise PlanError(f"'{text or ''}' is not a weight", start, end, "a weight is a number above 0")
            return weight
        case "max_context":
            tokens = _COUNT.fullmatch(text or "")
            if tokens is None or int(tokens[1]) == 0:
                raise PlanError(f"'{text or ''}' is not a number of tokens", start, end, "write 32000, or 32k")
            return int(tokens[1]) * _MULTIPLES[tokens[2].lower()]
        case _:
            length = _LENGTH.fullmatch(text or "")
            if length is None or float(length[1]) <= 0:
                raise PlanError(f"'{text or ''}' is not a length of time", start, end, "write seconds: 0.5, or 500ms")
            return float(length[1]) * _UNITS[length[2] or "s"]


def _params(text: str | None, start: int, end: int) -> tuple[tuple[str, Any], ...]:
    """The parameters behind `?`; a value that is JSON is what it says, any other is text."""
    if text is None:
        return ()
    try:
        pairs = parse_qsl(text.strip(), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        help = "write a:m?temperature=0.2&max_tokens=4000"
        raise PlanError(f"'{text.strip()}' is no list of parameters", start, end, help) from None
    for name, _ in pairs:
        if not _PARAMETER.fullmatch(name):
            raise PlanError(f"'{name}' is no name of a parameter", start, end)
    return tuple((name, _read(value)) for name, value in pairs)


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _written(value: Any) -> str:
    """A value as it is read again: text that would be read as something else is quoted."""
    if isinstance(value, str) and _read(value) == value:
        return value
    return msgspec.json.encode(value).decode()


# -- the same as a mapping --


def plan_text(written: str | Mapping[str, Any]) -> str:
    """A route as it stands in a file, as compact text.

    `{failover: [a:m, b:m]}`, the same with `race`, `round_robin` and `cheapest`, `{weighted: {a:m: 3, b:m: 1}}`. Each leg
    of a list is a text, or a mapping: `{leg: a:m, max_context: 32000, params: {temperature: 0.2}}`. Raises PlanError.
    """
    if isinstance(written, str):
        return written
    kind, legs = next(iter(written.items())) if len(written) == 1 else ("", None)
    match kind, legs:
        case "weighted", dict():
            return "^".join(f"[weight={weight}]{leg}" for leg, weight in legs.items())
        case (("failover" | "weighted" | "race"), list()):
            return _SIGNS[kind].join(map(_leg_text, legs))
        case (("round_robin" | "cheapest"), list()):
            return f"{kind}({'|'.join(map(_leg_text, legs))})"
        case _:
            raise PlanError(
                "a route is a text, or one of {failover: [backend:model, ...]}, race, round_robin, cheapest and "
                "{weighted: {backend:model: 3, ...}}"
            )


def _leg_text(written: Any) -> str:
    match written:
        case str():
            return written
        case {"leg": str(target), **rest}:
            params = rest.pop("params", {})
            if unknown := [key for key in rest if key not in ANNOTATIONS]:
                help = f"it takes leg, params, {', '.join(ANNOTATIONS)}"
                raise PlanError(f"unknown key '{unknown[0]}' of a leg", help=help)
            if not isinstance(params, dict):
                raise PlanError("the params of a leg are a mapping", help="params: {temperature: 0.2}")
            shown = {key: str(value).lower() if isinstance(value, bool) else value for key, value in rest.items()}
            notes = ",".join(f"{key}={value}" for key, value in shown.items())
            said = "&".join(f"{name}={quote(_written(value), safe='')}" for name, value in params.items())
            return f"{f'[{notes}]' if notes else ''}{target}{f'?{said}' if said else ''}"
        case _:
            raise PlanError(f"{written!r} is not a leg", help="write backend:model, or {leg: backend:model, ...}")


# -- named routes as legs --


def resolved(plan: Plan, look_up: Callable[[str], Plan | None], within: tuple[str, ...] = ()) -> Plan:
    """The plan with the named routes that are its legs. Raises PlanError for one that is not there, or needs itself."""
    if not any(leg.route for leg in plan.legs):
        return plan
    path = (*within, plan.name) if plan.name else within
    legs: list[Leg] = []
    for leg in plan.legs:
        if leg.route:
            found = look_up(leg.route)
            if found is None:
                raise PlanError(f"unknown route '@{leg.route}'")
            if leg.route in path:
                raise PlanError(f"the route '@{leg.route}' needs itself", help="take it out of its own legs")
            inner = resolved(found, look_up, path)
            if plan.kind == "race" and inner.kind != "race" and len(inner.legs) > 1:
                help = "let it race in a route of its own, and name that one"
                raise PlanError(f"'@{leg.route}' cannot race: it has several legs, one after the other", help=help)
            if inner.thinkers:
                raise PlanError(f"'@{leg.route}' has a thinker, so that it is no leg of another route")
            leg = msgspec.structs.replace(leg, plan=inner)
        legs.append(leg)
    return msgspec.structs.replace(plan, legs=tuple(legs))
