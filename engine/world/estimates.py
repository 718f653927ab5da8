"""How many tokens a request has, without asking anybody: its bytes over a ratio, which learns from what providers report.

A tokenizer makes about one token of four bytes of English and of two or three of code or Chinese; which ratio holds for
a model's own traffic is seen in the usage that its provider reports. OpenAI's models are counted by their own tokenizer
where the optional extra `tiktoken` is installed and its vocabulary lies on disk.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from engine.model.exchange import Exchange, Tool, Usage

Count = Callable[[str], int]
"""The tokens of a text, exactly."""
Exact = Callable[[str], Count | None]
"""The counter of a model's tokenizer; None where it is not known."""

PRIOR: Final = 4.0
"""Bytes per token of a model of which nothing has been reported."""
PRIORS: Final[Mapping[str, float]] = {"claude": 3.6}
"""The same for models whose name holds a word."""

CHARGES: Final[Mapping[str, int]] = {"image": 1_600, "audio": 1_600, "file": 3_200, "opaque": 100}
"""Tokens of what has no text: an image of Anthropic's largest standard size (1.15 megapixels), about a minute of sound,
two pages of a document, an item that only its provider can read."""

PER_REQUEST, PER_MESSAGE, PER_TOOL = 3, 4, 8

MODELS: Final = 1024
"""Models whose ratio is remembered; the one that was not heard of for longest is forgotten first."""
EVERY: Final = 16
"""Of a model that is known well, one report in so many is learned from: weighing a request takes time."""
SETTLED: Final = 32
_SLOWEST: Final = 8
"""A report moves the ratio by an eighth of the difference at least."""
_LEAST_BYTES: Final = 400
"""A shorter request is mostly its envelope, and says little of the ratio."""
_LEAST, _MOST = 1.0, 12.0
"""A ratio outside is no ratio of a tokenizer: the report counts something else (uncached input alone, for instance)."""


class Weight(msgspec.Struct, frozen=True):
    """What a request is made of: bytes of text, and tokens that do not depend on it (`envelope`, `media`)."""

    text: int
    envelope: int
    media: int


class _Learned(msgspec.Struct):
    ratio: float
    reports: int = 0


def weighed(exchange: Exchange, size: Callable[[str], int]) -> Weight:
    """A request's weight, each of its texts measured by `size`: of all roles, of calls, and of tools with their schemas."""
    text = media = 0
    for message in exchange.messages:
        for part in message.parts:
            if part.text:
                text += size(part.text)
            else:
                media += CHARGES.get(part.kind, 0)
        for call in message.tool_calls:
            text += size(call.name) + size(call.arguments)
    for tool in exchange.tools:
        text += size(tool.name) + size(tool.description) + size(_schema(tool))
    envelope = PER_REQUEST + PER_MESSAGE * len(exchange.messages) + PER_TOOL * len(exchange.tools)
    return Weight(text, envelope, media)


def byte_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _schema(tool: Tool) -> str:
    return msgspec.json.encode(tool.schema).decode() if tool.schema else ""


def _no_tokenizer(_model: str) -> None:
    return None


class Estimates:
    """What is known of the models' tokenizers. `exact` gives a tokenizer's own counter, where there is one."""

    def __init__(self, exact: Exact = _no_tokenizer) -> None:
        self._exact = exact
        self._learned: dict[str, _Learned] = {}

    def tokens(self, exchange: Exchange) -> int:
        """About how many tokens the request has as input; exactly so for text, where the model's tokenizer is at hand."""
        count = self._exact(exchange.model)
        if count is not None:
            weight = weighed(exchange, count)
            return weight.text + weight.envelope + weight.media
        weight = weighed(exchange, byte_length)
        return round(weight.text / self.ratio(exchange.model)) + weight.envelope + weight.media

    def output_tokens(self, model: str, size: int) -> int:
        """About how many tokens `size` bytes of a model's answer are."""
        return round(size / self.ratio(model))

    def ratio(self, model: str) -> float:
        """Bytes per token of a model: as learned, also under a name that chooses the backend (`backend:model`)."""
        known = self._learned.get(model) or self._learned.get(model.partition(":")[2])
        return known.ratio if known is not None else _prior(model)

    def learn(self, exchange: Exchange, usage: Usage | None) -> None:
        """A backend was asked `exchange` and reports what it used: the model's ratio moves towards what that shows.

        What shows nothing of it is passed over: no input reported, less of it than came from a cache, a request with
        images, one that is too short. One report can at most double or halve the ratio.
        """
        if usage is None or usage.input <= 0 or usage.cached > usage.input:
            return
        model = exchange.model
        known = self._learned.pop(model, None) or _Learned(_prior(model))
        self._learned[model] = known
        if len(self._learned) > MODELS:
            del self._learned[next(iter(self._learned))]
        known.reports += 1
        if known.reports > SETTLED and known.reports % EVERY:
            return
        weight = weighed(exchange, byte_length)
        tokens = usage.input - weight.envelope
        if weight.media or weight.text < _LEAST_BYTES or tokens <= 0:
            return
        seen = weight.text / tokens
        if _LEAST <= seen <= _MOST:
            bounded = min(max(seen, known.ratio / 2), known.ratio * 2)
            known.ratio += (bounded - known.ratio) / min(known.reports + 1, _SLOWEST)


def _prior(model: str) -> float:
    return next((ratio for word, ratio in PRIORS.items() if word in model), PRIOR)
