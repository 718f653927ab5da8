"""Decide which tools the model is offered, and with what arguments a call goes on."""

from collections.abc import Callable, Iterator
from typing import Annotated

from msgspec import Meta

from engine.language.globs import any_glob_matcher
from engine.model.effects import Effect, Op, Patch
from engine.model.phases import Phase

from .params import Globs, Params, Value
from .registry import ActionError, Kind, Moment, action

_TOOLS = {Phase.REQUEST: frozenset({("request", "tools"), ("request", "tool_names")})}


class ToolNames(Params, frozen=True, kw_only=True):
    names: Annotated[Globs, Meta(description="Tool names, exact or with `*` and `?`, without case.")]
    lone = "names"


class RewriteArgsParams(Params, frozen=True, kw_only=True):
    args: Annotated[Value, Meta(description="Arguments that replace those of the same name; null removes one.")]
    only: Annotated[bool, Meta(description="These are all the arguments: the others are removed.")] = False


def _removed(moment: Moment, leaves: Callable[[str], bool]) -> Iterator[Effect]:
    tools = moment.event["request"]["tools"]
    gone = [index for index, tool in enumerate(tools) if leaves(tool["name"])]
    if gone:
        yield Patch(tuple(Op("remove", ("request", "tools", index)) for index in reversed(gone)))


@action(Phase.REQUEST, kind=Kind.PROTECT, reads=_TOOLS)
def keep_tools(params: ToolNames, moment: Moment) -> Iterator[Effect]:
    """Offer the model only these tools. A `tool_choice` that names another one is reset.

    The model can still call what it is not offered: refuse that too, in `tool_call`. Example: `keep_tools: [read_*, grep]`.
    """
    kept = any_glob_matcher(params.names.names)
    return _removed(moment, lambda name: not kept(name))


@action(Phase.REQUEST, kind=Kind.PROTECT, reads=_TOOLS)
def drop_tools(params: ToolNames, moment: Moment) -> Iterator[Effect]:
    """Do not offer the model these tools. A `tool_choice` that names one is reset.

    The model can still call what it is not offered: refuse that too, in `tool_call`. Example: `drop_tools: [web_search]`.
    """
    dropped = any_glob_matcher(params.names.names)
    return _removed(moment, dropped)


@action(Phase.TOOL_CALL, kind=Kind.PROTECT, reads={Phase.TOOL_CALL: frozenset({("tool", "args")})})
def rewrite_args(params: RewriteArgsParams, moment: Moment) -> Iterator[Effect]:
    """Change the arguments of a tool call before the client sees it; the rules that follow judge the new ones.

    Example: `rewrite_args: {args: {timeout: 60, command: "{{ tool.args.command }} --no-color"}}`.
    """
    new = params.args(moment.event, moment.env)
    old = moment.event["tool"]["args"]
    if not isinstance(new, dict):
        raise ActionError("the new arguments are not a mapping")
    merged = {} if params.only else dict(old)
    merged.update(new)
    merged = {name: value for name, value in merged.items() if value is not None or (name in old and name not in new)}
    if merged != old:
        yield Patch((Op("replace", ("tool", "args"), merged),))
