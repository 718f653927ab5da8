"""Results as JUnit's XML, which every CI server reads."""

import re
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class JUnitCase(msgspec.Struct, frozen=True, kw_only=True):
    """One test. `failure` says what is not as expected, `error` why it could not be run; "" where there is none."""

    name: str
    file: str
    line: int = 0
    failure: str = ""
    error: str = ""


class JUnitSuite(msgspec.Struct, frozen=True):
    """Tests that belong together."""

    name: str
    cases: tuple[JUnitCase, ...]


def render_junit(suites: Sequence[JUnitSuite]) -> str:
    """One document of all suites."""
    cases = [case for suite in suites for case in suite.cases]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {_counts(cases)}>"]
    for suite in suites:
        lines.append(f"  <testsuite name={_attribute(suite.name)} {_counts(suite.cases)}>")
        for case in suite.cases:
            place = f"file={_attribute(case.file)}" + (f' line="{case.line}"' if case.line else "")
            head = f"    <testcase name={_attribute(case.name)} classname={_attribute(suite.name)} {place}"
            said = [(tag, text) for tag, text in (("failure", case.failure), ("error", case.error)) if text]
            if not said:
                lines.append(f"{head}/>")
                continue
            lines.append(f"{head}>")
            for tag, text in said:
                first = _attribute(text.splitlines()[0])
                lines.append(f"      <{tag} message={first}>{escape(_clean(text))}</{tag}>")
            lines.append("    </testcase>")
        lines.append("  </testsuite>")
    lines.append("</testsuites>")
    return "\n".join(lines) + "\n"


def _counts(cases: Sequence[JUnitCase]) -> str:
    failed, wrong = sum(bool(each.failure) for each in cases), sum(bool(each.error) for each in cases)
    return f'tests="{len(cases)}" failures="{failed}" errors="{wrong}"'


def _attribute(text: str) -> str:
    return quoteattr(_clean(text))


def _clean(text: str) -> str:
    """What XML cannot hold at all stands as a replacement character."""
    return _NOT_XML.sub("\ufffd", text)
