"""A condition's text to its syntax tree: the grammar of the `jmespath` package, with a span on every node.

The package's parser is the authority on precedence; where it lets pass what the specification's grammar forbids
(missing commas between arguments, an expression reference outside a call, literals that are not JSON), this one does not.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, cast

import jmespath.ast
from jmespath.exceptions import LexerError
from jmespath.lexer import Lexer
from jmespath.parser import Parser

from engine.language.errors import ConditionSyntaxError
from engine.language.nodes import Node

LONGEST: Final = 20_000
"""Code points of one expression."""
DEEPEST: Final = 100
"""Levels of nesting of one expression; each step of a chain (`a && b && c`) is one."""
_BRACKETS: Final = 60  # levels of recursion in the parser, each several frames of Python

Raw = dict[str, Any]
Token = dict[str, Any]

# The package's type stubs leave out the methods that are extended here.
ast: Final[Any] = jmespath.ast
_lexer: Final[Any] = Lexer
_parser: Final[Any] = Parser

_TOKENS: Final = {
    "eof": "the end of the expression",
    "unquoted_identifier": "a name",
    "quoted_identifier": "a quoted name",
    "number": "a number",
    "literal": "a literal",
    "rbracket": "']'",
    "rparen": "')'",
    "rbrace": "'}'",
    "comma": "','",
    "colon": "':'",
    "star": "'*'",
}
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_PLAIN: Final = re.compile(r"[\w.:/ -]{1,60}")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INSTEAD: Final = {"and": "&&", "or": "||", "not": "!", "in": "contains(list, value)", "is": "=="}


def parse(text: str) -> Node:
    """The syntax tree of an expression. Raises ConditionSyntaxError, whose message says what to write instead."""
    if len(text) > LONGEST:
        raise ConditionSyntaxError(
            f"the expression has {len(text)} characters; {LONGEST} are allowed: split it into definitions", 0, len(text)
        )
    if not text.strip():
        raise ConditionSyntaxError("an expression is expected here", 0, len(text))
    tree = _SpannedParser(text).tree()
    if _depth(tree) > DEEPEST:
        raise _too_deep(text)
    return _node(tree)


class _SpannedLexer(Lexer):
    """The package's lexer, whose tokens say truly where they stand, and whose literals are JSON."""

    _current: str | None
    _position: int
    _length: int
    _consume_until: Callable[[str], str]

    def spanned(self, text: str) -> list[Token]:
        tokens: list[Token] = []
        for token in cast(Iterator[Token], self.tokenize(text)):
            token["start"], token["end"] = self._true_span(token, text)
            tokens.append(token)
        return tokens

    def _true_span(self, token: Token, text: str) -> tuple[int, int]:
        match token["type"]:
            case "eof":
                return len(text), len(text)
            case "literal" | "quoted_identifier":  # the package gives the length where the end is due
                return token["start"], token["start"] + token["end"]
            case "eq":  # its start is one late where something follows, and right at the end of the text
                start = text.index("==", max(0, token["start"] - 1))
                return start, start + 2
            case "number":
                return token["start"], token["end"]
            case _:
                return token["start"], token["start"] + len(token["value"])

    def _consume_literal(self) -> Token:
        start = self._position
        try:
            lexeme = self._consume_until("`").replace("\\`", "`")
        except LexerError:
            raise ConditionSyntaxError("this ` is never closed", start, start + 1) from None
        length = self._position - start if self._current is not None else self._length - start
        try:
            value = json.loads(lexeme, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            word = lexeme.strip()
            meant = f"; a string is written '{word}'" if _PLAIN.fullmatch(word) else ""
            raise ConditionSyntaxError(
                f"what stands between ` and ` must be JSON{meant}", start, start + length, f"'{word}'" if meant else ""
            ) from None
        return {"type": "literal", "value": value, "start": start, "end": length}

    def _consume_quoted_identifier(self) -> Token:
        return self._measured(_lexer._consume_quoted_identifier)

    def _consume_raw_string_literal(self) -> Token:
        return self._measured(_lexer._consume_raw_string_literal)

    def _measured(self, consume: Any) -> Token:
        token = cast(Token, consume(self))
        if self._current is None:  # the lexer stays on the last character, so that its length is one short
            token["end"] = self._length - token["start"]
        return token


class _SpannedParser(Parser):
    """The package's parser for one text. Every node that it makes carries `start` and `end`.

    It never touches the package's cache, which is shared by all parsers and holds trees that parsers change.
    """

    _index: int
    _advance: Callable[[], None]
    _current_token: Callable[[], str]
    _lookahead: Callable[[int], str]
    _lookahead_token: Callable[[int], Token]
    _parse_projection_rhs: Callable[[int], Raw]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self._level = 0

    def tree(self) -> Raw:
        try:
            self._tokens = _SpannedLexer().spanned(self._text)
            self._index = 0
            tree = self._expression()
            if self._current_token() != "eof":
                self._unexpected(self._lookahead_token(0))
        except LexerError as wrong:
            raise self._of_lexer(wrong) from None
        except ValueError:  # an index of thousands of digits
            raise ConditionSyntaxError("a number in this expression is too long", 0, len(self._text)) from None
        return tree

    # -- spans --

    def _expression(self, binding_power: int = 0) -> Raw:
        self._level += 1
        if self._level > _BRACKETS:
            raise _too_deep(self._text)
        first = self._lookahead_token(0)
        self._advance()
        nud = getattr(self, f"_token_nud_{first['type']}", None)
        if nud is None:
            self._unexpected(first)
        left = self._spanned(nud(first), first["start"])
        while binding_power < self.BINDING_POWER[self._current_token()]:
            led = getattr(self, f"_token_led_{self._current_token()}", None)
            if led is None:
                self._unexpected(self._lookahead_token(0))
            self._advance()
            left = led(left)
            left["start"], left["end"] = first["start"], self._end()
        self._level -= 1
        return left

    def _spanned(self, node: Raw, start: int) -> Raw:
        """Give a node its span, unless it has one: what brackets enclose keeps its own."""
        if "start" not in node:
            node["start"], node["end"] = start, self._end()
        return node

    def _start(self) -> int:
        """Where the token stands that was consumed last."""
        return int(self._tokens[self._index - 1]["start"])

    def _end(self) -> int:
        return int(self._tokens[self._index - 1]["end"])

    def _parse_index_expression(self) -> Raw:
        start = self._start()
        return self._spanned(_parser._parse_index_expression(self), start)

    def _parse_multi_select_list(self) -> Raw:
        start = self._start()
        return self._spanned(_parser._parse_multi_select_list(self), start)

    def _project_if_slice(self, left: Raw, right: Raw) -> Raw:
        base = self._spanned(ast.index_expression([left, right]), left["start"] if "start" in left else right["start"])
        if right["type"] != "slice":
            return base
        return cast(Raw, ast.projection(base, self._parse_projection_rhs(self.BINDING_POWER["star"])))

    def _token_nud_flatten(self, token: Token) -> Raw:
        return self._flattened(ast.identity(), token["start"])

    def _token_led_flatten(self, left: Raw) -> Raw:
        return self._flattened(left, left["start"])

    def _flattened(self, base: Raw, start: int) -> Raw:
        flat = self._spanned(ast.flatten(base), start)
        return cast(Raw, ast.projection(flat, self._parse_projection_rhs(self.BINDING_POWER["flatten"])))

    # -- what the grammar forbids and the package lets pass, or says without words --

    def _token_nud_quoted_identifier(self, token: Token) -> Raw:
        if self._current_token() == "lparen":
            raise ConditionSyntaxError("a function's name is written without quotes", token["start"], token["end"])
        return cast(Raw, ast.field(token["value"]))

    def _token_led_lparen(self, left: Raw) -> Raw:
        name = self._lookahead_token(-2)
        if left["type"] != "field" or name["type"] != "unquoted_identifier":
            what = self._text[left["start"] : left["end"]]
            raise ConditionSyntaxError(f"'{what}' is no function's name", left["start"], left["end"])
        arguments: list[Raw] = []
        while self._current_token() != "rparen":
            if arguments:
                self._match("comma")
            arguments.append(self._argument())
        self._match("rparen")
        return cast(Raw, ast.function_expression(left["value"], arguments))

    def _argument(self) -> Raw:
        if self._current_token() != "expref":
            return self._expression()
        start = self._lookahead_token(0)["start"]
        self._advance()
        return self._spanned(ast.expref(self._expression(self.BINDING_POWER["expref"])), start)

    def _token_nud_expref(self, token: Token) -> NoReturn:
        raise ConditionSyntaxError(
            "'&' refers to an expression, and stands only before a function's argument; 'and' is written &&",
            token["start"],
            token["end"],
        )

    def _parse_multi_select_hash(self) -> Raw:
        start = self._start()
        pairs: list[Raw] = []
        while True:
            key = self._lookahead_token(0)
            self._match_multiple_tokens(["quoted_identifier", "unquoted_identifier"])
            self._match("colon")
            pair = ast.key_val_pair(key_name=key["value"], node=self._expression(0))
            pairs.append(self._spanned(pair, key["start"]))
            if self._current_token() == "rbrace":
                break
            self._match("comma")
        self._match("rbrace")
        return self._spanned(ast.multi_select_dict(nodes=pairs), start)

    def _parse_slice_expression(self) -> Raw:
        parts: list[int | None] = [None, None, None]
        colons = 0
        while self._current_token() != "rbracket":
            token = self._lookahead_token(0)
            if token["type"] == "colon" and colons < 2:
                colons += 1
            elif token["type"] == "number" and parts[colons] is None and self._lookahead(-1) != "number":
                parts[colons] = token["value"]
            else:
                self._unexpected(token)
            self._advance()
        self._match("rbracket")
        return cast(Raw, ast.slice(*parts))

    # -- errors in words --

    def _match(self, token_type: str | None = None) -> None:
        if self._current_token() != token_type:
            self._unexpected(self._lookahead_token(0), expected=[str(token_type)])
        self._advance()

    def _match_multiple_tokens(self, token_types: list[str]) -> None:
        if self._current_token() not in token_types:
            self._unexpected(self._lookahead_token(0), expected=token_types)
        self._advance()

    def _raise_parse_error_for_token(self, token: Token, _reason: str) -> NoReturn:
        self._unexpected(token)

    def _unexpected(self, token: Token, expected: list[str] | None = None) -> NoReturn:
        start, end = token["start"], token["end"]
        found = "the end of the expression" if token["type"] == "eof" else f"'{self._text[start:end]}'"
        wanted = " or ".join(dict.fromkeys(_TOKENS.get(each, each) for each in expected or []))
        message = f"expected {wanted}, found {found}" if wanted else f"{found} cannot stand here"
        hint, instead = self._hint(token, wanted), ""
        word = _WORD.match(self._text, start)
        number = _NUMBER.match(self._text, start)
        if number and hint.startswith("a number"):
            end, instead = number.end(), f"`{number[0]}`"
        elif word and _INSTEAD.get(word[0], "") in ("&&", "||", "!", "=="):
            end, instead = word.end(), _INSTEAD[word[0]]
        raise ConditionSyntaxError(message + (f"; {hint}" if hint else ""), start, end, instead)

    def _hint(self, token: Token, wanted: str) -> str:
        before = self._tokens[self._index - 2] if self._index > 1 else None
        word = _WORD.match(self._text, token["start"])
        if token["type"] == "number" and (before is None or before["type"] != "dot"):
            number = _NUMBER.match(self._text, token["start"])
            return f"a number is written between backticks: `{number[0] if number else token['value']}`"
        if token["type"] == "eof":
            return f"{wanted} is missing" if wanted in ("']'", "')'", "'}'") else "something is missing after it"
        if word and word[0] in _INSTEAD:
            return f"'{word[0]}' is written {_INSTEAD[word[0]]}"
        if token["type"] == "literal" and before is not None and before["type"] == "dot":
            return "a field's name is written bare or in double quotes"
        if token["type"] == "dot" and self._index and self._tokens[self._index - 1]["type"] == "number":
            return "a number is written between backticks: `1.5`"
        if token["type"] == "lbrace" and "{{" in self._text:
            return "'{{ }}' is for templates; here the expression stands alone"
        return ""

    def _of_lexer(self, wrong: LexerError) -> ConditionSyntaxError:
        start = wrong.lexer_position
        char = self._text[start] if start < len(self._text) else ""
        match char:
            case "'":
                return ConditionSyntaxError(
                    "this ' is never closed; in a YAML '...' scalar write '' for each, or quote with \"...\"",
                    start,
                    start + 1,
                )
            case '"':
                return ConditionSyntaxError(
                    'this " does not open a quoted name; strings are written with single quotes', start, start + 1
                )
            case "=":
                return ConditionSyntaxError("'=' is not an operator; write == to compare", start, start + 1, "==")
            case "$":
                return ConditionSyntaxError(
                    "'$' has no meaning here; names start at the event, `set('name')` names a set", start, start + 1
                )
            case "%" | "+" | "/" | "-":
                return ConditionSyntaxError(
                    f"'{char}' is not an operator: conditions do not calculate", start, start + 1
                )
            case "’" | "‘" | "“" | "”":
                return ConditionSyntaxError(f"{char} is a typographic quote; write '", start, start + 1, "'")
            case _:
                return ConditionSyntaxError(f"'{char}' has no meaning here", start, start + 1)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _too_deep(text: str) -> ConditionSyntaxError:
    return ConditionSyntaxError(
        "the expression is nested too deeply: split it into definitions, or a tree of any: and all:", 0, len(text)
    )


def _depth(tree: Raw) -> int:
    """Counted without recursion, because the tree may be deeper than Python's stack."""
    deepest, waiting = 0, [(tree, 1)]
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        if node["type"] != "slice":
            waiting.extend((child, level + 1) for child in node["children"])
    return deepest


def _node(raw: Raw, at: int = 0) -> Node:
    """A node of the package as one of ours; what is implied, such as the identity in `[0]`, has no width."""
    start = int(raw.get("start", at))
    end = int(raw.get("end", start))
    if raw["type"] == "slice":
        return Node("slice", start, end, tuple(raw["children"]))
    children: list[Node] = []
    for child in raw["children"]:
        # What is implied stands where the node before it ends: the identity to the right of `[*]`.
        children.append(_node(child, children[-1].end if children else start))
    return Node(raw["type"], start, end, raw.get("value"), tuple(children))
