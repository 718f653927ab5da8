"""A pair of models: what one thought of a request goes to the other, beside what the client said; the client sees neither."""

from typing import Final

from engine.model.effects import Op
from engine.model.exchange import Answer, Exchange
from engine.model.folding import folded

LONGEST: Final = 60_000
"""Characters of thoughts that are given on."""

_GIVEN: Final = (
    "Another model has thought about this request. Its thoughts are below; the user does not see them. Use what is right "
    "in them, and answer the user yourself.\n<thoughts>\n{}\n</thoughts>"
)


def thought_of(answer: Answer) -> str:
    """What a thinker said: its reasoning, its text, and the calls that it would have made; "" for nothing."""
    if not answer.choices:
        return ""
    choice = answer.choices[0]
    calls = [f"It would call {call.name} with {call.arguments or '{}'}." for call in choice.tool_calls]
    said = [choice.said("reasoning").strip(), choice.said("text").strip(), *calls]
    return "\n\n".join(filter(None, said))[:LONGEST]


def with_thoughts(exchange: Exchange, thoughts: str, end: int) -> Exchange:
    """The request with thoughts behind the first `end` messages: in the last of them where a user wrote it, else as a
    message of its own."""
    if not thoughts:
        return exchange
    part = {"kind": "text", "text": _GIVEN.format(thoughts)}
    last = exchange.messages[end - 1] if end else None
    if last is not None and last.role == "user" and not last.tool_call_id:
        op = Op("add", ("request", "messages", end - 1, "parts", len(last.parts)), part)
    else:
        op = Op("add", ("request", "messages", end), {"role": "user", "parts": [part]})
    return folded(exchange, [op])
