"""Coverage as text, as JSON, and as one HTML page that needs nothing else."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from rich.text import Text

from engine.proving.coverage import KINDS, Covered, Spot, share
from engine.rendering import visible

from .trees import cut

_SHOWN: Final = 6
"""Missing spots of one rule that are listed; the page lists all."""


def coverage_lines(covered: Covered, width: int) -> Iterator[Text]:
    """One line a rule with its share, and below it what is missing."""
    rules = covered.by_rule()
    longest = min(max((len(name) for name in rules), default=0), max(width - 20, 20))
    for rule, spots in rules.items():
        percent = share(spots, covered.seen)
        style = "green" if percent == 100 else "yellow" if percent >= 50 else "red"
        yield Text.assemble(f"{cut(rule, longest):<{longest}}  ", (f"{percent:5.1f} %", style))
        missing = [each for each in spots if each.key not in covered.seen]
        for spot in missing[:_SHOWN]:
            place = f"{spot.where.line}:{spot.where.column}"
            yield Text.assemble((f"  {place:>8}  ", "dim"), cut(f"never {_said(spot)}", width - 12))
        if len(missing) > _SHOWN:
            yield Text(f"            and {len(missing) - _SHOWN} more", "dim")
    parts = [f"{seen} of {total} {kind}s" for kind in KINDS for seen, total in [covered.of(kind)] if total]
    yield Text.assemble((f"covered {covered.percent:.1f} %", "bold"), f"  ({', '.join(parts)})" if parts else "")


def _said(spot: Spot) -> str:
    match spot.kind:
        case "outcome":
            return f"the outcome {spot.what}"
        case "action":
            return f"the action {spot.what}"
        case "condition":
            return visible(spot.what)


def coverage_document(covered: Covered) -> dict[str, Any]:
    return {
        "percent": round(covered.percent, 2),
        "rules": {rule: round(share(spots, covered.seen), 2) for rule, spots in covered.by_rule().items()},
        **{f"{kind}s": dict(zip(("seen", "of"), covered.of(kind), strict=True)) for kind in KINDS},
        "missing": [
            {"rule": each.rule, "kind": each.kind, "what": each.what, "file": each.where.file,
             "line": each.where.line, "column": each.where.column}
            for each in covered.missing
        ],
    }  # fmt: skip


_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --soft: #5b6675; --line: #d9dee6; --band: #f5f7fa;
  --full: #1a7f37; --part: #9a6700; --none: #cf222e; --miss: #ffebe9; --half: #fff4ce; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe5ee; --paper: #14181f; --soft: #98a3b3; --line: #2d3541;
  --band: #1b212a; --full: #4ac26b; --part: #d4a72c; --none: #ff7b72; --miss: #4a1f22; --half: #43361a; } }
* { box-sizing: border-box } body { margin: 0 auto; max-width: 70rem; padding: 2rem 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif } h1 { font-size: 1.5rem; margin: 0 0 .25rem }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere } p { color: var(--soft); margin: 0 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .35rem .6rem;
  border-bottom: 1px solid var(--line); vertical-align: top } th { color: var(--soft); font-weight: 600 }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.full { color: var(--full) } .part { color: var(--part) } .none { color: var(--none) }
pre { margin: 0; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background: var(--band);
  font: 13px/1.55 ui-monospace, monospace } pre span { display: block; padding: 0 .75rem; white-space: pre }
pre span i { display: inline-block; width: 3.2em; color: var(--soft); font-style: normal; user-select: none }
pre .miss { background: var(--miss) } pre .half { background: var(--half) } a { color: inherit }
pre em { display: block; padding-left: 3.2em; color: var(--none); font-style: normal; white-space: pre-wrap }
.bar { height: .5rem; border-radius: 4px; background: var(--line); overflow: hidden; margin: .75rem 0 1.5rem }
.bar b { display: block; height: 100%; background: var(--full) }
"""


def coverage_page(covered: Covered, texts: Mapping[str, str]) -> str:
    """The whole report: the rules with their shares, then every file with what was never seen beside its lines."""
    files: dict[str, list[Spot]] = {}
    for spot in covered.spots:
        files.setdefault(spot.where.file, []).append(spot)
    counts = ", ".join(f"{seen} of {total} {kind}s" for kind in KINDS for seen, total in [covered.of(kind)])
    rows = "".join(_row(rule, spots, covered) for rule, spots in covered.by_rule().items())
    bodies = "".join(_file(file, spots, covered, texts.get(file, "")) for file, spots in sorted(files.items()))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Policy coverage {covered.percent:.1f} %</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{covered.percent:.1f} % of the rules are covered by tests</h1><p>{counts}</p>"
        f'<div class="bar"><b style="width:{covered.percent:.1f}%"></b></div>\n'
        '<table><thead><tr><th>Rule</th><th class="number">Covered</th><th>Never seen</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>\n{bodies}</body></html>\n"
    )


def _row(rule: str, spots: tuple[Spot, ...], covered: Covered) -> str:
    percent = share(spots, covered.seen)
    missing = [each for each in spots if each.key not in covered.seen]
    style = "full" if not missing else "part" if percent >= 50 else "none"
    anchor = f"#{escape(spots[0].where.file)}:{spots[0].where.line}"
    listed = "; ".join(escape(_said(each)) for each in missing)
    return (
        f'<tr><td><a href="{anchor}">{escape(rule)}</a></td><td class="number {style}">{percent:.1f} %</td>'
        f"<td>{listed}</td></tr>\n"
    )


def _file(file: str, spots: list[Spot], covered: Covered, text: str) -> str:
    lines: dict[int, list[Spot]] = {}
    for spot in spots:
        lines.setdefault(spot.where.line, []).append(spot)
    body = []
    for number, line in enumerate(text.splitlines(), 1):
        here = lines.get(number, [])
        missing = [each for each in here if each.key not in covered.seen]
        style = "" if not missing else ' class="miss"' if len(missing) == len(here) else ' class="half"'
        told = f"<em>never {escape('; '.join(_said(each) for each in missing))}</em>" if missing else ""
        mark = f' id="{escape(file)}:{number}"' if here else ""
        body.append(f"<span{style}{mark}><i>{number}</i>{escape(line)}{told}</span>")
    return f"<h2>{escape(file)}</h2><pre>{''.join(body)}</pre>\n"
