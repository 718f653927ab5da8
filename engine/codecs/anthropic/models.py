"""What Claude models take that others of them refuse: by name, the first row that fits.

Facts from Anthropic's "Models overview", "Extended thinking", "Adaptive thinking", "Effort", "Structured outputs" and the
migration guides. A name that no row knows is taken for a newer model.
"""

import re
from typing import Final, Literal

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """`most` is the most output tokens that it takes. `thinks`: with a budget, adaptively, or not at all; `sampling`:
    temperature, top_p and top_k, all of them, not temperature and top_p in one request, or none; `formats`: it takes a
    schema for its answer; `efforts`: the words of `output_config.effort`."""

    most: int
    thinks: Literal["", "budget", "adaptive"]
    sampling: Literal["all", "one", "none"] = "all"
    formats: bool = False
    efforts: tuple[str, ...] = ()


_FOUR: Final = ("low", "medium", "high", "max")
_FIVE: Final = ("low", "medium", "high", "xhigh", "max")

_MODELS: Final = tuple(
    (re.compile(pattern), model)
    for pattern, model in (
        (r"claude-(?:2|instant)|claude-3-(?:opus|sonnet|haiku)", Model(most=4_096, thinks="")),
        (r"claude-3-5", Model(most=8_192, thinks="")),
        (r"claude-3-7", Model(most=64_000, thinks="budget")),
        (r"claude-opus-4-1(?!\d)", Model(most=32_000, thinks="budget", sampling="one", formats=True)),
        (r"claude-opus-4-5", Model(most=64_000, thinks="budget", sampling="one", formats=True)),
        (r"claude-(?:sonnet|haiku)-4-5", Model(most=64_000, thinks="budget", sampling="one", formats=True)),
        (
            r"claude-(?:opus|sonnet)-4-6",
            Model(most=64_000, thinks="adaptive", sampling="one", formats=True, efforts=_FOUR),
        ),
        (
            r"claude-opus-4-(?:[7-9]|\d\d)(?!\d)",
            Model(most=64_000, thinks="adaptive", sampling="none", formats=True, efforts=_FIVE),
        ),
        (r"claude-(?:4-opus|opus-4)", Model(most=32_000, thinks="budget")),
        (r"claude-(?:4-sonnet|sonnet-4)", Model(most=64_000, thinks="budget")),
        (r"", Model(most=64_000, thinks="adaptive", sampling="none", formats=True, efforts=_FIVE)),
    )
)

DEFAULT_LIMIT: Final = 32_000
"""The output that a request may have which says no limit: Messages must say one, and a greater one leaves less room for
the conversation."""


def model_of(name: str) -> Model:
    """By the name as Anthropic, Bedrock and Vertex write it."""
    return next(model for pattern, model in _MODELS if pattern.search(name))
