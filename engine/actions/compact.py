"""Let older results of tools go where a newer one says the same: a file that was read ten times stands there once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.language.globs import any_glob_matcher
from engine.model.effects import Effect, Op, Patch
from engine.model.phases import Phase

from .params import Globs, Params, Text
from .params import text as written
from .registry import Kind, Moment, action

_Size = Annotated[int, Meta(ge=0, le=100_000_000)]


class CompactParams(Params, frozen=True, kw_only=True):
    tools: Annotated[Globs, Meta(description="The tools whose results are compacted, exact or with `*` and `?`.")]
    keep: Annotated[int, Meta(ge=1, le=1000, description="How many of the newest results for one resource stay.")] = 1
    above: Annotated[
        _Size, Meta(description="Only where all results of the request together are longer; in characters.")
    ] = 40_000
    stub: Annotated[
        Text, Meta(description="What stands in the place of an older result; `{size}` is how long it was.")
    ] = written("[An older result of this call, {size} characters, was left out; a newer one stands below.]")
    resource: Annotated[
        tuple[str, ...],
        Meta(
            description="Arguments that name the resource. Calls with none of them are the same if all arguments are."
        ),
    ] = ("path", "file_path", "filename", "file", "notebook_path", "target_file", "uri", "url")


@action(Phase.REQUEST, kind=Kind.TRANSFORM, reads={Phase.REQUEST: frozenset({("request", "messages")})})
def compact(params: CompactParams, moment: Moment) -> Iterator[Effect]:
    """Replace older tool results for the same resource by a stub, once the conversation has grown long.

    The newest `keep` results of each resource stay. What is replaced changes the conversation that the provider has
    cached, so let `above` be large. Example: `compact: {tools: [read_*, view], keep: 2, above: 100000}`.
    """
    messages: Sequence[Mapping[str, Any]] = moment.event["request"]["messages"]
    results = [index for index, each in enumerate(messages) if each["tool_call_id"]]
    if sum(len(messages[index]["text"]) for index in results) <= params.above:
        return
    stub = params.stub(moment.event, moment.env)
    fits = any_glob_matcher(params.tools.names)
    calls = {call["id"]: call for each in messages for call in each["tool_calls"]}
    newer: dict[str, int] = {}
    for index in reversed(results):
        call = calls.get(messages[index]["tool_call_id"])
        if call is None or not fits(call["name"]):
            continue
        resource = _resource(call, params.resource)
        newer[resource] = newer.get(resource, 0) + 1
        if newer[resource] > params.keep:
            yield from _stubbed(index, messages[index], stub)


def _resource(call: Mapping[str, Any], names: Sequence[str]) -> str:
    """What a call is about: the tool, with the argument that names its resource, else with all of them."""
    named = [value for name in names if isinstance(value := call["args"].get(name), str)]
    # A part of a file is another resource than the whole.
    rest = {key: value for key, value in call["args"].items() if key not in names}
    return msgspec.json.encode((call["name"], named[:1], rest), order="deterministic").decode()


def _stubbed(index: int, message: Mapping[str, Any], stub: str) -> Iterator[Effect]:
    text = stub.replace("{size}", str(len(message["text"])))
    if len(message["text"]) <= len(text):
        return
    ops: list[Op] = []
    for place, part in enumerate(message["parts"]):
        if part["text"]:
            ops.append(Op("replace", ("request", "messages", index, "parts", place, "text"), "" if ops else text))
    yield Patch(tuple(ops))
