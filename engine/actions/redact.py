"""Mask what a pattern set finds, or put other text in its place."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from engine.language.patterns import Match, PatternSet
from engine.model.effects import Conceal, Effect, Op, Patch, Path
from engine.model.phases import Phase

from .params import Params, Patterns, Text
from .params import text as written
from .places import PLACES, READS, texts
from .registry import Kind, Moment, action

Place = Literal["system", "user", "assistant", "tool_calls"]
_GROUP: Final = re.compile(r"\\([0-9\\])")
ON_CONTENT: Final = (Phase.REQUEST, Phase.TOOL_RESULT, Phase.TEXT, Phase.TOOL_CALL)


class Restore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a placeholder is turned back into the value."""

    tool_args: Annotated[bool, Meta(description="Also in arguments of tool calls, before the call is judged.")] = False


class RedactParams(Params, frozen=True, kw_only=True):
    patterns: Annotated[Patterns, Meta(description="A pattern set by name, or the patterns themselves.")]
    mask: Annotated[Text, Meta(description="What readers see instead; `{name}` is the pattern's name.")] = written(
        "[{name}]"
    )
    restore: Annotated[
        bool | Restore,
        Meta(description="Put a placeholder that is turned back into the value in what the same caller is answered."),
    ] = False
    in_: Annotated[
        tuple[Place, ...], Meta(description="In `request`: which messages. Tool results are the phase `tool_result`.")
    ] = msgspec.field(default=PLACES, name="in")


class ReplaceParams(Params, frozen=True, kw_only=True):
    patterns: Annotated[Patterns, Meta(description="A pattern set by name, or the patterns themselves.")]
    with_: Annotated[Text, Meta(description="The text put in place; `\\1` is the first group, `\\\\` a backslash.")] = (
        msgspec.field(name="with")
    )
    first: Annotated[bool, Meta(description="Stop at the first pattern of the set that hits.")] = False
    in_: Annotated[
        tuple[Place | Literal["model"], ...],
        Meta(description="In `request`: which messages, or `model` for the model's name."),
    ] = msgspec.field(default=PLACES, name="in")


@action(*ON_CONTENT, kind=Kind.PROTECT, reads=READS)
def redact(params: RedactParams, moment: Moment) -> Iterator[Effect]:
    """Replace every match of a pattern set by a mask.

    The same text gives the same bytes on every turn, so that redaction holds for the history that a client re-sends.
    With `restore: true` the mask is a placeholder, one for a value in all of a session, that only this caller's answers
    turn back. Example: `redact: {patterns: secrets, mask: "[{name} removed]"}`.
    """
    mask = params.mask(moment.event, moment.env)
    keep = moment.placeholder if params.restore else None
    tool_args = isinstance(params.restore, Restore) and params.restore.tool_args
    for path, text in texts(moment.phase, moment.event, params.in_):
        if not params.patterns.set.may_match(text):
            continue
        concealed: list[Conceal] = []

        def cover(match: Match, text: str = text, concealed: list[Conceal] = concealed) -> str:
            if keep is None:
                return mask.replace("{name}", match.name)
            value = text[match.start : match.end]
            stand_in = keep(match.name, value)
            concealed.append(Conceal(stand_in, value, tool_args))
            return stand_in

        covered = _covered(params.patterns.set, text, _span(moment, text), cover)
        if covered != text:
            yield _rewritten(moment, path, text, covered)
            yield from concealed


def _span(moment: Moment, text: str) -> tuple[int, int]:
    """The part of a text that may be changed: in a stream, what was not sent yet and is certain not to change."""
    if moment.phase is Phase.TEXT:
        return moment.event["text"]["sent"], moment.event["text"]["settled"]
    return 0, len(text)


def _rewritten(moment: Moment, path: Path, old: str, new: str) -> Patch:
    """The new text; in a stream what is settled of it ends where it did, counted from the end."""
    write = Op("replace", path, new)
    if moment.phase is not Phase.TEXT or len(new) == len(old):
        return Patch((write,))
    settled = moment.event["text"]["settled"] + len(new) - len(old)
    return Patch((write, Op("replace", ("text", "settled"), settled)))


def _covered(patterns: PatternSet, text: str, span: tuple[int, int], cover: Callable[[Match], str]) -> str:
    """`text` with each match within the span covered."""
    start, end = span
    pieces: list[str] = []
    done = 0
    for match in patterns.find(text, start):
        if match.end > end:
            break
        pieces += [text[done : match.start], cover(match)]
        done = match.end
    return "".join(pieces) + text[done:] if pieces else text


def _as_data(value: str) -> str:
    """What a template gives is no reference to a group."""
    return value.replace("\\", "\\\\")


def _group(found: Sequence[str | None], name: str) -> str:
    """A group of a match; "" where this pattern has none of that number, or it took no part."""
    if name == "\\":
        return name
    number = int(name)
    return (found[number] or "") if number < len(found) else ""


@action(*ON_CONTENT, kind=Kind.TRANSFORM, reads={**READS, Phase.REQUEST: READS[Phase.REQUEST] | {("request", "model")}})
def replace(params: ReplaceParams, moment: Moment) -> Iterator[Effect]:
    """Put other text where a pattern set matches; groups of the pattern may be used.

    `first: true` stops at the first pattern of the set, in its order, that matches. With `in: [model]` it rewrites the
    model's name: `replace: {patterns: aliases, with: 'openai:\\1', in: [model], first: true}`.
    """
    template = params.with_(moment.event, moment.env, encode=_as_data)
    if "model" in params.in_ and moment.phase is Phase.REQUEST:
        places: Iterable[tuple[Path, str]] = [(("request", "model"), moment.event["request"]["model"])]
    else:
        places = texts(moment.phase, moment.event, params.in_)
    for path, text in places:
        patterns = params.patterns.set
        if params.first:
            patterns = next((each for each in params.patterns.singles if each.matches(text)), patterns)

        def expand(match: Match, text: str = text) -> str:
            found = params.patterns.by_name[match.name].groups_at(text, match.start)
            return _GROUP.sub(lambda group: _group(found, group[1]), template)

        replaced = _covered(patterns, text, _span(moment, text), expand)
        if replaced != text:
            yield _rewritten(moment, path, text, replaced)
