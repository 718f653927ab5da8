"""What comes across, one row a feature and one column a backend's protocol: the judge of every loss, and a page of docs.

A codec says by a Loss that something stayed behind; the row that the Loss names says what that means for the request.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from engine.codecs.neutral import Loss
from engine.model.exchange import Protocol


class Fate(StrEnum):
    """What becomes of a feature: `refused` ends the request with 400, `dropped` is said in a header and in the log."""

    CARRIED = "carried"
    APPROXIMATED = "approximated"
    DROPPED = "dropped"
    REFUSED = "refused"


class Feature(msgspec.Struct, frozen=True):
    """A row. `says` is how, where it is not word for word; each fate is for a backend of that protocol."""

    name: str
    what: str
    openai_chat: Fate
    openai_responses: Fate
    anthropic: Fate
    gemini: Fate
    says: str = ""

    def fate(self, protocol: Protocol) -> Fate:
        return self.fates[protocol]

    @property
    def fates(self) -> Mapping[Protocol, Fate]:
        return {
            Protocol.OPENAI_CHAT: self.openai_chat,
            Protocol.OPENAI_RESPONSES: self.openai_responses,
            Protocol.ANTHROPIC: self.anthropic,
            Protocol.GEMINI: self.gemini,
        }


COLUMNS: Final = (Protocol.OPENAI_CHAT, Protocol.OPENAI_RESPONSES, Protocol.ANTHROPIC, Protocol.GEMINI)

_C, _A, _D, _R = Fate.CARRIED, Fate.APPROXIMATED, Fate.DROPPED, Fate.REFUSED

FEATURES: Final = (
    # --- messages ---
    Feature("system", "system and developer prompts in front", _C, _C, _C, _C),
    Feature(
        "system_later",
        "system and developer prompts among the messages",
        _C,
        _C,
        _A,
        _A,
        "they go to the system prompt",
    ),
    Feature(
        "first_turn", "a conversation that the assistant begins", _C, _C, _A, _A, "a short user turn goes in front"
    ),
    Feature("participant_name", "`name` of a message's author", _D, _D, _D, _D),
    Feature("images", "images as data", _C, _C, _C, _C),
    Feature("image_urls", "images by URL", _C, _C, _C, _R, "the proxy fetches nothing"),
    Feature("image_type", "images that are not JPEG, PNG, GIF or WebP", _R, _R, _R, _C),
    Feature("image_detail", "`detail` of an image", _C, _C, _D, _D),
    Feature("audio", "sounds", _C, _R, _R, _C),
    Feature("pdf", "PDF documents as data", _C, _C, _C, _C),
    Feature("text_files", "text documents as data", _A, _A, _C, _C, "their text stands in the message"),
    Feature("file_type", "documents of other types as data", _R, _R, _R, _C),
    Feature("file_urls", "documents by URL", _R, _C, _C, _R, "the proxy fetches nothing"),
    Feature("file_ids", "files that one provider keeps", _R, _R, _R, _R),
    Feature("opaque", "content of a type that only one provider has", _R, _R, _R, _R),
    Feature("citations", "citations, in history and asked for", _D, _D, _D, _D),
    Feature("audio_history", "a spoken answer of an earlier turn, by its id", _D, _D, _D, _D),
    Feature("cache_control", "marks of what to cache", _A, _A, _A, _A, "providers without marks cache by themselves"),
    Feature(
        "thoughts",
        "thinking of earlier turns",
        *(_D, _D, _D, _D),
        "with a signature it goes back to the protocol that signed it",
    ),
    # --- tools ---
    Feature("tools", "functions", _C, _C, _C, _C),
    Feature(
        "tool_schema", "keywords of a tool's schema", _A, _A, _A, _A, "those that the provider refuses are left out"
    ),
    Feature("tool_strict", "`strict` of a tool", _A, _A, _A, _A, "the schema is a guide"),
    Feature(
        "tool_names", "names and ids that the provider refuses", _A, _A, _A, _A, "stand-ins, turned back in answers"
    ),
    Feature("custom_tools", "tools that take free text", _C, _C, _A, _A, "a function with one text argument"),
    Feature("custom_format", "the grammar of a tool that takes free text", _C, _C, _D, _D),
    Feature("server_tools", "tools that a provider runs or defines", _D, _D, _D, _D),
    Feature("server_calls", "calls that a provider ran, and their results", _D, _D, _D, _D),
    Feature("tool_choice", "which tool is called", _C, _C, _C, _C),
    Feature(
        "allowed_tools",
        "a choice among some tools",
        _A,
        _A,
        _A,
        _A,
        "the others are not offered; history stays as it is",
    ),
    Feature("parallel_calls", "one call at a time", _C, _C, _C, _D),
    Feature("result_errors", "results that are errors", _A, _A, _C, _C, "`Error: ` in front of the text"),
    Feature("result_media", "images and documents in results", _A, _C, _C, _A, "they follow in a user turn"),
    Feature("mcp_servers", "MCP servers that the provider asks", _R, _R, _R, _R),
    # --- parameters ---
    Feature(
        "max_tokens", "the limit of output", _C, _C, _A, _C, "a default where none is said; at most the model's own"
    ),
    Feature("temperature", "temperature", _C, _C, _A, _C, "0..2 is cut at 1 where that is the most"),
    Feature("sampling", "temperature, top_p and top_k where a model takes none, or not both", _D, _D, _D, _D),
    Feature("top_k", "top_k", _D, _D, _C, _C),
    Feature("stop", "stop sequences", _C, _D, _C, _C),
    Feature("many_stops", "more stop sequences than the provider takes", _D, _D, _C, _D),
    Feature("seed", "seed", _C, _D, _D, _C),
    Feature("choices", "several choices (n)", _C, _R, _R, _R, "a stream or answer of one choice is no answer"),
    Feature("logprobs", "log probabilities", _C, _C, _R, _R),
    Feature("penalties", "frequency and presence penalties", _C, _D, _D, _C),
    Feature("logit_bias", "logit_bias", _C, _D, _D, _D),
    Feature("user", "the end user's id", _A, _A, _A, _D, "a hash where it is too long"),
    Feature("metadata", "metadata of the request", _D, _C, _D, _D),
    Feature("service_tier", "service tier", _A, _A, _A, _D, "`auto` and the standard one"),
    Feature("reasoning", "how hard to think", _A, _A, _A, _A, "effort and budget by a table"),
    Feature("no_reasoning", "thinking that the model, or the rest of the request, does not allow", _D, _D, _D, _D),
    Feature("verbosity", "verbosity", _C, _C, _D, _D),
    Feature("json_object", "answers that are JSON", _C, _C, _A, _C, "asked for in the system prompt"),
    Feature("json_schema", "answers by a schema", _C, _C, _A, _A, "keywords that the provider refuses are left out"),
    Feature("audio_output", "spoken answers", _R, _R, _R, _R),
    Feature("image_output", "painted answers", _R, _R, _R, _R),
    Feature("prediction", "predicted output", _D, _D, _D, _D),
    Feature("store", "keeping the answer at the provider", _D, _D, _D, _D),
    Feature("context_management", "clearing of context by the provider", _D, _D, _D, _D),
    Feature("container", "a container at the provider", _R, _R, _R, _R),
    Feature("region", "where inference must happen", _R, _R, _R, _R),
    Feature("safety_settings", "thresholds of a provider's filters", _D, _D, _D, _D),
    Feature("cached_content", "content cached at the provider by name", _R, _R, _R, _R),
    Feature("unknown_parameter", "parameters that we do not know", _D, _D, _D, _D),
)

BY_NAME: Final[Mapping[str, Feature]] = {feature.name: feature for feature in FEATURES}


class Judged(msgspec.Struct, frozen=True):
    """What losses mean: the first one that is refused, and what is dropped, by its place or its name, each once."""

    refused: Loss | None = None
    dropped: tuple[str, ...] = ()


def judged(losses: Iterable[Loss], target: Protocol) -> Judged:
    dropped: dict[str, None] = {}
    for loss in losses:
        match BY_NAME[loss.feature].fate(target):
            case Fate.REFUSED:
                return Judged(loss)
            case Fate.APPROXIMATED:
                pass
            case Fate.DROPPED | Fate.CARRIED:
                dropped[loss.where or loss.feature] = None
    return Judged(None, tuple(dropped))
