"""Write, default, limit or remove one field of the request, or one argument of a tool call."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from msgspec import Meta

from engine.model.effects import Effect, Op, Patch
from engine.model.phases import Phase

from .params import FieldPath, Params, Value
from .registry import ActionError, Kind, Moment, action

WRITABLE: Final[Mapping[Phase, tuple[str, ...]]] = {
    Phase.REQUEST: ("request.model", "request.params.*"),
    Phase.ATTEMPT: ("request.params.*",),
    Phase.TOOL_CALL: ("tool.args.*",),
}
"""The fields that these actions may write, phase by phase."""

MODEL: Final = ("request", "model")
"""Always there, and always a text: it can be set, not removed."""

_MISSING: Final = object()


class SetParams(Params, frozen=True, kw_only=True):
    path: Annotated[FieldPath, Meta(description="The field, with dots: `request.params.temperature`.")]
    value: Annotated[Value, Meta(description="The new value; a string that is one template keeps the value's type.")]


class PathParams(Params, frozen=True, kw_only=True):
    path: Annotated[FieldPath, Meta(description="The field, with dots: `request.params.logit_bias`.")]
    lone = "path"


class ClampParams(Params, frozen=True, kw_only=True):
    path: Annotated[FieldPath, Meta(description="The field, with dots: `request.params.max_tokens`.")]
    min: Annotated[float | None, Meta(description="The least that goes on.")] = None
    max: Annotated[float | None, Meta(description="The most that goes on.")] = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("missing parameter 'min' or 'max'")
        if any(bound is not None and not math.isfinite(bound) for bound in (self.min, self.max)):
            raise ValueError("a bound is a number")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"'min' {self.min} is above 'max' {self.max}")


MODEL_NAME: Final = "a model's name is a text, and not empty"


def is_model_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _current(event: Mapping[str, Any], steps: tuple[str, ...]) -> Any:
    value: Any = event
    for step in steps:
        if not isinstance(value, Mapping) or step not in value:
            return _MISSING
        value = value[step]
    return value


def _write(event: Mapping[str, Any], steps: tuple[str, ...], value: Any) -> Iterator[Effect]:
    """One operation; objects on the way that do not exist are made by it."""
    if steps == MODEL and not is_model_name(value):
        raise ActionError(MODEL_NAME)
    if _current(event, steps) == value and type(_current(event, steps)) is type(value):
        return
    for depth in range(2, len(steps)):
        if not isinstance(_current(event, steps[:depth]), Mapping):
            for missing in reversed(steps[depth:]):
                value = {missing: value}
            steps = steps[:depth]
            break
    yield Patch((Op("add" if _current(event, steps) is _MISSING else "replace", steps, value),))


@action(*WRITABLE, kind=Kind.TRANSFORM)
def set_(params: SetParams, moment: Moment) -> Iterator[Effect]:
    """Set a field to a value.

    Example: `set: {path: request.params.temperature, value: 0.2}`.
    """
    yield from _write(moment.event, params.path.steps, params.value(moment.event, moment.env))


@action(*WRITABLE, kind=Kind.TRANSFORM)
def default(params: SetParams, moment: Moment) -> Iterator[Effect]:
    """Set a field that the client left out, or sent as null.

    Example: `default: {path: request.params.max_tokens, value: 4096}`.
    """
    current = _current(moment.event, params.path.steps)
    if current is _MISSING or current is None or (params.path.steps == MODEL and current == ""):
        yield from _write(moment.event, params.path.steps, params.value(moment.event, moment.env))


@action(*WRITABLE, kind=Kind.TRANSFORM)
def unset(params: PathParams, moment: Moment) -> Iterator[Effect]:
    """Remove a field.

    Example: `unset: {path: request.params.logit_bias}`.
    """
    if _current(moment.event, params.path.steps) is not _MISSING:
        yield Patch((Op("remove", params.path.steps),))


@action(*WRITABLE, kind=Kind.TRANSFORM)
def clamp(params: ClampParams, moment: Moment) -> Iterator[Effect]:
    """Keep a number within bounds; a whole number stays whole. A field that is not there, or is no number, is left alone.

    Example: `clamp: {path: request.params.max_tokens, max: 8192}`.
    """
    value = _current(moment.event, params.path.steps)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    whole = isinstance(value, int)
    if params.min is not None and value < params.min:
        yield from _write(moment.event, params.path.steps, math.ceil(params.min) if whole else params.min)
    elif params.max is not None and value > params.max:
        yield from _write(moment.event, params.path.steps, math.floor(params.max) if whole else params.max)
