"""What a request says in no protocol's words: the half-way house of every translation.

A request that goes to a backend of another protocol is lifted by the client's codec and lowered by the backend's, so that
four codecs make sixteen pairs. In neutral form no noun has a `wire` and the exchange has no `body`; `Part.media`,
`Part.signature` and `ToolCall.signature` are filled in; and `params` hold only the names below, with values as Chat
Completions writes them:

    max_tokens int              temperature float 0..2        top_p float            top_k int
    stop list of text           seed int                      n int                  logprobs bool, top_logprobs int
    presence_penalty float      frequency_penalty float       logit_bias object      user text
    metadata object             service_tier text             parallel_tool_calls bool
    tool_choice                 "auto" | "none" | "required" | {"type": "function", "function": {"name": NAME}}
    response_format             {"type": "text" | "json_object"}
                                | {"type": "json_schema", "json_schema": {name, schema, strict}}
    reasoning_effort            "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max"
    reasoning_budget            int: tokens that may be thought, where the client counts them
    verbosity                   "low" | "medium" | "high"

A tool of kind `function` is one that the client runs. So is one of kind `custom`, which takes free text: its `schema` is
the format of that text where it has one (`{"type": "grammar", "grammar": {...}}`), a choice of it is written like that of a
function, and calls of it have the kind `custom`. Tools of other kinds belong to one provider: none is in neutral form, and
neither are calls of kind `server`. Results of calls are messages of role `tool`, one a call, directly behind the assistant
message that called. Neither step raises: what cannot be carried is a Loss, and the table of features
(engine/codecs/translation/features.py) says whether a loss is a refusal or a note.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from engine.model.exchange import Exchange


class Loss(msgspec.Struct, frozen=True):
    """Something that did not come across. `feature` is a row of the table of features, `where` its place in the request."""

    feature: str
    where: str = ""


class Carried(msgspec.Struct, frozen=True):
    """One step of a translation: the exchange behind it, and what was left behind."""

    exchange: Exchange
    losses: Sequence[Loss] = ()


@runtime_checkable
class Translatable(Protocol):
    """What a codec adds so that its requests reach backends of other protocols, and theirs reach its backends."""

    def lift(self, exchange: Exchange) -> Carried:
        """The request in neutral form. `exchange` is one that this codec decoded, as rules left it."""

    def lower(self, exchange: Exchange) -> Carried:
        """A neutral request in this protocol's nouns: what `encode_request` needs to write it from nothing.

        Tool names and call ids fit the protocol already; schemas, orders and ranges are this step's to mend.
        """
