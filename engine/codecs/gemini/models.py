"""How Gemini models are told how hard to think: by name, the first row that fits.

Facts from Google's "Thinking" and "Thought signatures" guides. A name that no row knows is taken for a newer model.
"""

import re
from typing import Final

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """`levels` are the words of `thinkingLevel`; `budget` the least and the most of `thinkingBudget`, and `may_rest`
    whether it may be 0. Neither: it does not think. `signs`: a call of the current turn needs a signature."""

    levels: tuple[str, ...] = ()
    budget: tuple[int, int] = (0, 0)
    may_rest: bool = True
    signs: bool = False


_MODELS: Final = tuple(
    (re.compile(pattern), model)
    for pattern, model in (
        (r"gemini-2\.5-pro", Model(budget=(128, 32_768), may_rest=False)),
        (r"gemini-2\.5-flash-lite", Model(budget=(512, 24_576))),
        (r"gemini-2\.5", Model(budget=(1, 24_576))),
        (r"gemini-[12]\b|gemini-pro|gemma|learnlm|tunedModels/", Model()),
        (r"gemini-3-pro", Model(levels=("low", "high"), signs=True)),
        (r"gemini-3(?:\.\d+)?-pro", Model(levels=("low", "medium", "high"), signs=True)),
        (r"", Model(levels=("minimal", "low", "medium", "high"), signs=True)),
    )
)


def model_of(name: str) -> Model:
    return next(model for pattern, model in _MODELS if pattern.match(name.removeprefix("models/")))
