"""How hard a model thinks: in words, as OpenAI asks, and in tokens, as budgets do."""

from collections.abc import Mapping
from typing import Any, Final

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""From the least to the most."""

BUDGETS: Final[Mapping[str, int]] = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 60_000,
}
"""The tokens that a word stands for, where a backend wants a number."""

LEAST_BUDGET: Final = 1_024


def effort_of(params: Mapping[str, Any]) -> str | None:
    """The word that a neutral request says, or the nearest one for the tokens that it says; None where it says neither."""
    effort = params.get("reasoning_effort")
    if isinstance(effort, str):
        return effort if effort in EFFORTS else "medium"
    budget = params.get("reasoning_budget")
    if not isinstance(budget, int):
        return None
    if budget <= 0:
        return "none"
    # The highest word whose tokens the client allows.
    return next((word for word in reversed(EFFORTS) if BUDGETS.get(word, budget + 1) <= budget), "minimal")


def budget_of(params: Mapping[str, Any]) -> int | None:
    """The tokens that a neutral request says, or those that its word stands for; 0 for none."""
    budget = params.get("reasoning_budget")
    if isinstance(budget, int):
        return max(0, budget)
    effort = params.get("reasoning_effort")
    if not isinstance(effort, str):
        return None
    return 0 if effort == "none" else BUDGETS.get(effort, BUDGETS["medium"])


def nearest(effort: str, known: tuple[str, ...]) -> str:
    """The effort, or of those that a model knows the next lower one, else its lowest."""
    for word in EFFORTS[EFFORTS.index(effort) :: -1]:
        if word in known:
            return word
    return known[0]
