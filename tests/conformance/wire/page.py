"""The page of the matrix: what was seen in a run of it, as tables. `python -m tests.conformance.wire` writes it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from .backends import BACKENDS
from .clients import CLIENTS
from .scenarios import SCENARIOS
from .test_matrix import MODES
from .test_routes import COUNTING, NATIVE, RULES

PAGE: Final = Path(__file__).parents[3] / "docs/conformance.md"
SDKS: Final = {
    "openai-chat": "`openai`, Chat Completions",
    "openai-responses": "`openai`, Responses",
    "anthropic": "`anthropic`, Messages",
    "gemini": "`google-genai`, generateContent",
}
SERVERS: Final = {
    "openai-chat": "`openai`",
    "openai-responses": "`openai` with `responses: true`",
    "anthropic": "`anthropic`",
    "gemini": "`gemini`",
}
_HEAD: Final = """<!-- Made by `make conformance`; edit what it is made of. -->

# Conformance

A rule has one verdict, and a client sees one thing, whatever protocol it speaks, whatever protocol the backend speaks, and
whether the answer is streamed. This page is the result of a run that tried all of it: official SDKs ask the real server over
a socket, and mocks on loopback answer, which refuse what the providers refuse. `make conformance` runs it again.

In each cell the first mark is of the whole answer, the second of the streamed one: ✓ is as the rule's row says, ✗ is not. The
decision records of all cells of a row name the same phases, verdicts and rules.

## The rules

| rule | what is seen in every cell |
| --- | --- |
"""
_BETWEEN: Final = """
## The pairs

A column is the `protocol` of the backend. One with `capabilities: {responses: true}` is asked in Responses by clients of
Responses, and by all others in Chat Completions, which it speaks as well: so no pair translates into Responses.
"""
_ROUTES: Final = """
## The bytes

Without rules, the provider gets the bytes that the client sent, and the client gets the bytes that the provider gave, where
both speak the same protocol.

"""
_COUNTS: Final = """
## Counts and embeddings

Chat Completions and Responses have no route that counts. A backend of `anthropic` or `gemini` is asked, by clients of
either, with what the rules left of the request; in front of the others that is estimated.

"""
_EMBEDDINGS: Final = """
Embeddings have no counterpart in the protocols of `anthropic` and `gemini`: a request is refused with the backend's name.
`respond` refuses, as there are no words in an answer.

"""

Results = Mapping[str, bool]
"""By the name of a test with its parameters, whether it passed."""


def cell_tests() -> list[str]:
    """The names of the tests that the page is made of."""
    return [
        *(
            f"test_cell[{rule}-{client}-{backend}-{mode}]"
            for rule in SCENARIOS
            for client in CLIENTS
            for backend in BACKENDS
            for mode in MODES
        ),
        *(f"test_bytes[{client}-{backend}-{mode}]" for client, backend in NATIVE for mode in MODES),
        *(f"test_count[{rule}-{client}-{backend}]" for rule in RULES for client in COUNTING for backend in BACKENDS),
        *(f"test_embeddings[{rule}]" for rule in RULES),
        *(f"test_embeddings_of_others[{backend}]" for backend in COUNTING),
    ]


def page(results: Results) -> str:
    def mark(*names: str) -> str:
        return " ".join("✓" if results[name] else "✗" for name in names)

    def row(*cells: str) -> str:
        return f"| {' | '.join(cells)} |\n"

    def table(head: Iterable[str]) -> str:
        names = list(head)
        return row(*names) + row(*["---"] * len(names))

    text = _HEAD + "".join(row(name, rule.title) for name, rule in SCENARIOS.items()) + _BETWEEN
    for client, sdk in SDKS.items():
        text += f"\n### {sdk}\n\n" + table(["rule", *SERVERS.values()])
        for rule in SCENARIOS:
            marks = (mark(*(f"test_cell[{rule}-{client}-{each}-{mode}]" for mode in MODES)) for each in BACKENDS)
            text += row(rule, *marks)
    text += _ROUTES + table(["client", "backend", "bytes"])
    for client, backend in NATIVE:
        both = mark(*(f"test_bytes[{client}-{backend}-{mode}]" for mode in MODES))
        text += row(SDKS[client], SERVERS[backend], both)
    text += _COUNTS + table(["client", "rule", *SERVERS.values()])
    for client in COUNTING:
        for rule in RULES:
            text += row(SDKS[client], rule, *(mark(f"test_count[{rule}-{client}-{each}]") for each in BACKENDS))
    text += _EMBEDDINGS + table(["rule", "`openai`", *(SERVERS[each] for each in COUNTING)])
    for rule in RULES:
        refused = (mark(f"test_embeddings_of_others[{each}]") + " refused" for each in COUNTING)
        text += row(rule, mark(f"test_embeddings[{rule}]"), *refused)
    return text
