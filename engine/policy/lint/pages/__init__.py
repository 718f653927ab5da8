"""The page of every code: of lint's own rules from their docstrings, of all others from the texts beside this file."""

import functools
import re
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from textwrap import dedent, indent
from typing import Final

import msgspec

from engine.diagnostics import UsageError, suggestion
from engine.policy.codes import CODES
from engine.policy.lint.checks import CHECKS, STRICT, TOGETHER

from . import conditions, configuration, files, sets

MARK: Final = re.compile(r"[ \t]*# <--$", re.MULTILINE)
"""What stands in an example behind the line of the finding."""

_HEAD: Final = "version: 1\npolicy: example\n"
_ENTRY: Final = re.compile(r"^(?P<code>[EWN]\d{3}): ", re.MULTILINE)
_SECTION: Final = re.compile(r"^(Example|Use instead|Configuration|Better configuration):$", re.MULTILINE)


class Page(msgspec.Struct, frozen=True):
    """One page. `code` has the letter that the finding most often has; the examples are whole files, or empty."""

    code: str
    what: str
    why: str
    example: str = ""
    instead: str = ""
    configuration: bool = False
    """Whether the examples are configurations and not policies."""


@functools.cache
def pages() -> Mapping[int, Page]:
    """All pages by number."""
    found = {}
    for text in _texts():
        page = _page(text)
        if int(page.code[1:]) in CODES:
            found[int(page.code[1:])] = page
    return dict(sorted(found.items()))


def explain(code: str) -> str:
    """The page of `E417`, `W417` or `417` as Markdown. Raises UsageError where there is none."""
    number = code.lstrip("EWNewn")
    page = pages().get(int(number)) if number.isdecimal() else None
    if page is None:
        known = [each.code for each in pages().values()]
        raise UsageError(f"there is no code {code}; {suggestion(code.upper(), known) or 'see docs/reference/codes.md'}")
    return markdown(page)


def markdown(page: Page) -> str:
    """What it does, why it is bad, a mistake, and what to write."""
    blocks = [
        f"# {page.code}: {CODES[int(page.code[1:])]}",
        "## What it says",
        page.what,
        "## Why it matters",
        page.why,
    ]
    if page.example:
        name = "`lexgate.yaml`" if page.configuration else "A policy"
        shown = MARK.sub(f"  # {page.code}", page.example)
        blocks += ["## Example", f"{name} with this mistake:", f"```yaml\n{shown}```"]
        blocks += ["## Use instead", f"```yaml\n{page.instead}```"]
    return "\n\n".join(blocks) + "\n"


def _texts() -> Iterator[str]:
    for module in (files, configuration, conditions, sets):
        starts = [found.start() for found in _ENTRY.finditer(module.PAGES)]
        yield from (module.PAGES[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True))
    yield from (cleandoc(check.__doc__ or "") for check in (*CHECKS, *STRICT, *TOGETHER))


def _page(text: str) -> Page:
    said, *sections = _SECTION.split(text)
    parts = dict(zip(sections[::2], sections[1::2], strict=True))
    code, _, rest = said.partition(": ")
    what, _, why = rest.partition("\n\n")
    what = " ".join(what.split())
    paragraphs = [" ".join(each.split()) for each in why.strip().split("\n\n")]
    configured = "Configuration" in parts
    example = parts.get("Configuration") or parts.get("Example", "")
    instead = parts.get("Better configuration") or parts.get("Use instead", "")
    return Page(
        code,
        what[:1].upper() + what[1:],
        "\n\n".join(paragraphs),
        dedent(example).strip("\n") + "\n" if configured else _whole(example),
        dedent(instead).strip("\n") + "\n" if configured else _whole(instead),
        configured,
    )


def _whole(example: str) -> str:
    """An example as a whole file: one that begins with a key of a rule is that rule's."""
    text = dedent(example).strip("\n")
    if not text or text.startswith(("version:", "#!")):
        return text.removeprefix("#!\n") + "\n" if text else ""
    if text.startswith("- "):
        text = "rules:\n" + indent(text, "  ")
    elif re.match(r"(phase|match|when|unless|actions|limit|severity|delay|window|on_error|mode_|priority_)\b", text):
        lines = ["id: example"]
        lines += [] if re.search("^phase:", text, re.MULTILINE) else ["phase: request"]
        lines += [text]
        lines += [] if re.search("^actions:", text, re.MULTILINE) else ['actions: [block: "Not here."]']
        text = "rules:\n" + indent("\n".join(lines), "    ").replace("    id:", "  - id:", 1)
    return _HEAD + text + "\n"
