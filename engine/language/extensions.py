"""The functions that conditions have beyond the JMESPath specification. All are pure; none asks a clock, disk or network."""

# ruff: noqa: ARG001 (what is linked at load is given its site, needed or not)

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final

import msgspec

from engine.language.errors import ConditionError, Refusal, unknown
from engine.language.globs import any_glob_matcher, glob_matcher
from engine.language.json_schema import fits
from engine.language.patterns import PatternError, compile_pattern
from engine.language.places import in_networks, network, within, within_any
from engine.language.scope import Env, Site
from engine.language.signatures import Group, Param
from engine.language.standard import ARRAY, OBJECT, STRINGS
from engine.language.types import ANYTHING, BOOLEAN, NUMBER, STRING, Type
from engine.language.values import compact_json, utf8

EXTENSIONS: Final = Group()

ARRAY_OR_NULL: Final = ARRAY.or_null()
OBJECT_OR_NULL: Final = OBJECT.or_null()
TEXT_OR_TEXTS: Final = msgspec.structs.replace(STRINGS, kinds=frozenset({"string", "array"}))

# ECMA-48: control sequences (CSI), two-character escapes, and single controls. Of the strings that set a window's title
# or a link only the marks around go: a terminal hides what they hold, but a model reads it, and so must a guard.
_ANSI: Final = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]?|[\x07\x80-\x84\x86-\x9f]")
_WORD: Final = re.compile(r"\w+")


def _with_fallback(types: tuple[Type, ...]) -> Type:
    """The type of a value whose null is replaced: known where both sides are alike."""
    value, fallback = types[0].without_null(), types[1]
    if not value.kinds:
        return fallback
    if fallback.kinds <= value.kinds:
        return msgspec.structs.replace(value, enum=None)
    return msgspec.structs.replace(ANYTHING, kinds=value.kinds | fallback.kinds)


# -- lists and objects --


@EXTENSIONS.function(Param("list", ARRAY_OR_NULL), returns=BOOLEAN, costs=True)
def any_(elements: list[Any] | None) -> bool:
    """Whether a list holds anything but false and null. Of a filter: whether it kept an element. Null is false.

    Example: `any(tool.shell.commands[?program == 'git'])`.
    """
    for each in elements or ():  # noqa: SIM110 (a generator costs more than this loop)
        if each is not None and each is not False:
            return True
    return False


@EXTENSIONS.function(Param("list", ARRAY_OR_NULL), returns=BOOLEAN, costs=True)
def none(elements: list[Any] | None) -> bool:
    """The opposite of `any`: whether a list holds nothing but false and null. Null is true.

    Example: `none(request.messages[?role == 'system'])`.
    """
    return not any_(elements)


@EXTENSIONS.function(Param("list", ARRAY_OR_NULL), returns=NUMBER)
def count(elements: list[Any] | None) -> int:
    """How many elements a list has; 0 for null, where `length` is an error.

    Example: ``count(tool.args.files) > `20` ``.
    """
    return 0 if elements is None else len(elements)


@EXTENSIONS.function(Param("map", OBJECT_OR_NULL), Param("key", STRING), returns=BOOLEAN)
def has(fields: dict[str, Any] | None, key: str) -> bool:
    """Whether an object has a field, null or not. False for null.

    Example: `has(request.headers, 'x-trace')`.
    """
    return fields is not None and key in fields


@EXTENSIONS.function(Param("map", OBJECT_OR_NULL), Param("key", STRING), returns=ANYTHING.or_null())
def get(fields: dict[str, Any] | None, key: str) -> Any:
    """The value of an object's field whose name is made by an expression; null where there is none.

    Example: ``get(session.vars, join('/', ['calls', tool.name])) == `7` ``.
    """
    return None if fields is None else fields.get(key)


@EXTENSIONS.function(Param("value", ANYTHING), Param("fallback", ANYTHING), returns=ANYTHING, infer=_with_fallback)
def default(value: Any, fallback: Any) -> Any:
    """The value, or the fallback where it is null; an empty text, list or object is a value.

    Example: ``default(request.params.max_tokens, `4096`)``.
    """
    return fallback if value is None else value


@EXTENSIONS.function(
    Param("left", ARRAY_OR_NULL), Param("right", ARRAY_OR_NULL), returns=BOOLEAN, costs=True, sees_env=True
)
def intersects(env: Env, left: list[Any] | None, right: list[Any] | None) -> bool:
    """Whether two lists have an element in common. Null is an empty list.

    Example: `intersects(caller.roles, set('reviewers'))`.
    """
    if not left or not right:
        return False
    texts = {each for each in right if isinstance(each, str)}
    others = [each for each in right if not isinstance(each, str)]
    for each in left:
        if isinstance(each, str):
            if each in texts:
                return True
        elif others:
            env.spend(len(others))
            if any(env.equal(each, other) for other in others):
                return True
    return False


# -- text --


@EXTENSIONS.function(Param("text", STRING), returns=STRING, costs=True)
def lower(text: str) -> str:
    """The text in small letters.

    Example: `lower(request.model) == 'gpt-4o'`.
    """
    return text.lower()


@EXTENSIONS.function(Param("text", STRING), returns=STRING, costs=True)
def upper(text: str) -> str:
    """The text in capital letters.

    Example: `upper(default(caller.team, ''))`.
    """
    return text.upper()


@EXTENSIONS.function(Param("text", STRING), returns=STRING, costs=True)
def trim(text: str) -> str:
    """The text without the white space around it.

    Example: `trim(request.last_user) == 'continue'`.
    """
    return text.strip()


@EXTENSIONS.function(Param("text", STRING), returns=STRING, costs=True)
def normalize(text: str) -> str:
    """The text as a reader sees it: compatibility forms unified (NFKC), terminal escapes and NUL characters removed.

    Example: `matches(normalize(result.text), '(?i)ignore previous')`.
    """
    return unicodedata.normalize("NFKC", _ANSI.sub("", text.replace("\x00", "")) if not text.isprintable() else text)


@EXTENSIONS.function(
    Param("text", STRING),
    Param("separator", STRING),
    Param("limit", NUMBER, optional=True),
    returns=STRINGS,
    costs=True,
    sees_env=True,
)
def split(env: Env, text: str, separator: str, limit: float = -1) -> list[str]:
    """The parts of a text between separators, cut at most `limit` times. An empty separator is an error.

    Example: `split(request.model, '/')[-1]`.
    """
    if not separator:
        raise Refusal("invalid-value", "split() needs a separator that is not empty")
    env.spend(text.count(separator))
    return text.split(separator, _whole("split", limit))


@EXTENSIONS.function(Param("text", STRING), returns=STRINGS, costs=True, sees_env=True)
def words(env: Env, text: str) -> list[str]:
    """The words of a text: its runs of letters, digits and underscores.

    Example: `contains(words(lower(request.last_user)), 'deploy')`.
    """
    env.spend(len(text) >> 3)
    return _WORD.findall(text)


@EXTENSIONS.function(Param("text", STRING), Param("length", NUMBER), returns=STRING)
def truncate(text: str, length: float) -> str:
    """The first `length` characters of a text.

    Example: ``truncate(request.last_user, `80`)``.
    """
    return text[: max(0, _whole("truncate", length))]


@EXTENSIONS.function(Param("text", STRING), returns=NUMBER, costs=True)
def bytes_(text: str) -> int:
    """How many bytes a text takes in UTF-8, where `length` counts characters.

    Example: ``bytes(result.text) > `65536` ``.
    """
    return len(text) if text.isascii() else len(utf8(text))


@EXTENSIONS.function(
    Param("text", STRING), Param("size", NUMBER), Param("times", NUMBER), returns=BOOLEAN, costs=True, sees_env=True
)
def repeats(env: Env, text: str, size: float, times: float) -> bool:
    """Whether somewhere in a text a chunk of `size` characters stands `times` times in a row: a model in a loop.

    A shorter period counts where it divides `size`: 480 dashes are six times eighty.
    Example: ``repeats(text.window, `80`, `6`)``.
    """
    chunk, least = _whole("repeats", size), _whole("repeats", times)
    if chunk < 1 or least < 1:
        raise Refusal("invalid-value", "repeats() needs a size and a number of times of at least 1")
    wanted = chunk * least
    if least == 1 or len(text) < wanted:
        return len(text) >= wanted
    env.spend(len(text) // chunk)
    # A repetition covers least - 1 whole blocks of any division of the text into blocks, and these are equal: so equal
    # neighbours are looked for, and only around them is anything compared by the character.
    at = 0
    while at + chunk * (least - 1) <= len(text):
        end = at + chunk
        while text[end : end + chunk] == text[at : at + chunk] and end + chunk <= len(text):
            end += chunk
        if end - at >= chunk * (least - 1):
            start, stop = at, end
            while start > 0 and text[start - 1] == text[start - 1 + chunk]:
                start -= 1
            while stop < len(text) and text[stop] == text[stop - chunk]:
                stop += 1
            if stop - start >= wanted:
                return True
        at = end
    return False


@EXTENSIONS.function(Param("text", STRING), returns=ANYTHING, costs=True)
def json(text: str) -> Any:
    """What a JSON text says; null where it is not valid JSON.

    Example: `json(result.text).error.code`.
    """
    try:
        return msgspec.json.decode(utf8(text))
    except (msgspec.MsgspecError, RecursionError):
        return None


@EXTENSIONS.function(Param("text", STRING), Param("format", ANYTHING), returns=BOOLEAN, costs=True)
def fits_format(text: str, format: Any) -> bool:
    """Whether a text is what a request asked for: JSON, and JSON of its schema where the format has one.

    The format is a `response_format`, or what another protocol has for it; where it asks for no JSON, any text fits.
    Example: `fits_format(response.text, request.params.response_format)`.
    """
    match format:
        case {"type": "json_object"}:
            schema: Any = True
        case {"type": "json_schema", "json_schema": {"schema": schema}} | {"type": "json_schema", "schema": schema}:
            pass
        case {"type": "json_schema"}:
            schema = True
        case _:
            return True
    try:
        value = msgspec.json.decode(utf8(text))
    except (msgspec.MsgspecError, RecursionError):
        return False
    return fits(value, schema)


@EXTENSIONS.function(Param("value", ANYTHING), returns=STRING, sees_env=True)
def fingerprint(env: Env, value: Any) -> str:
    """A stable hash of a value, 32 hexadecimal digits; the order of an object's fields does not matter.

    Example: `fingerprint(tool.args) == var('last_call', '')`.
    """
    env.charge_deeply(value)
    canonical = utf8(compact_json(_canonical(value)))
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


# -- patterns, globs, places --


@EXTENSIONS.function(Param("text", STRING), Param("pattern", STRING, literal=True), returns=BOOLEAN, costs=True)
def matches(site: Site, pattern: str) -> Callable[[str], bool]:
    """Whether an RE2 pattern stands anywhere in a text. The pattern is a literal; `^` and `$` anchor it.

    Example: `matches(request.last_user, '(?i)\\bpassword\\b')`.
    """
    try:
        return compile_pattern("", pattern).matches
    except PatternError as wrong:
        hint = f"; {wrong.help}" if wrong.help else ""
        raise Refusal("invalid-value", f"bad pattern: {wrong.message}{hint}") from None


@EXTENSIONS.function(Param("text", STRING), Param("set", STRING, literal=True), returns=BOOLEAN, costs=True)
def matches_any(site: Site, name: str) -> Callable[[str], bool]:
    """Whether any pattern of a pattern set stands in a text. The set's name is a literal.

    Example: `matches_any(result.text, 'codenames')`.
    """
    return _named("pattern set", name, site.names.patterns).matches  # type: ignore[no-any-return]


@EXTENSIONS.function(Param("name", STRING), Param("globs", TEXT_OR_TEXTS, literal=True), returns=BOOLEAN, costs=True)
def glob(site: Site, globs: str | list[str]) -> Callable[[str], bool]:
    """Whether a whole name fits a glob, or any of a list: `*` is any text, `?` one character, case does not matter.

    Example: `glob(request.model, 'gpt-4*')`, `glob(tool.name, set('shells'))`.
    """
    return glob_matcher(globs) if isinstance(globs, str) else any_glob_matcher(globs)


@EXTENSIONS.function(Param("path", STRING), Param("root", TEXT_OR_TEXTS), returns=BOOLEAN, costs=True)
def path_within(path: str, root: str | list[str]) -> bool:
    """Whether a path is `root` or below it, by its text alone: `..`, `.`, `~`, drives and both separators are resolved.

    A relative path is taken from `root`, and lies in none of a list of roots. False wherever the text cannot tell (a
    variable, a network share, another user's home, a relative root), so let it be what allows. Links on the disk are not
    followed. Example: `any(tool.paths[?!path_within(@, '/srv/app')])`, `path_within(path, set('readable'))`.
    """
    return within(path, root) if isinstance(root, str) else within_any(path, root)


@EXTENSIONS.function(Param("ip", STRING), Param("nets", TEXT_OR_TEXTS, literal=True), returns=BOOLEAN)
def cidr(site: Site, nets: str | list[str]) -> Callable[[str], bool]:
    """Whether an address lies in a network, or in any of a list, IPv4 or IPv6. False for what is no address.

    Example: `cidr(caller.ip, '10.0.0.0/8')`.
    """
    try:
        networks = tuple(network(each) for each in ([nets] if isinstance(nets, str) else nets))
    except ValueError as wrong:
        raise Refusal("invalid-value", f"bad network: {wrong}") from None
    return lambda address: in_networks(address, networks)


# -- names and chance --


@EXTENSIONS.function(Param("name", STRING, literal=True), returns=STRINGS)
def set_(site: Site, name: str) -> Callable[[], list[str]]:
    """The named list of the policy's `sets`. The name is a literal.

    Example: `contains(set('shells'), tool.name)`.
    """
    texts = list(_named("set", name, site.names.sets))
    return lambda: texts


@EXTENSIONS.function(Param("name", STRING, literal=True), returns=ANYTHING, sees_env=True)
def def_(site: Site, name: str) -> Callable[[Env], Any]:
    """The value of one of the policy's `definitions`, on the whole event wherever it stands. The name is a literal.

    Example: `any(def('pushes')[?contains(flags, 'force')])`.
    """
    evaluate = _named("definition", name, site.names.definitions).evaluate

    def remembered(env: Env) -> Any:
        known = env.remembered
        if evaluate in known:
            return known[evaluate]
        try:
            known[evaluate] = value = evaluate(env.root, env)
        except ConditionError as wrong:  # its span lies in another text
            raise Refusal(wrong.kind, f"in definition '{name}': {wrong.message}") from None
        return value

    return remembered


@EXTENSIONS.function(
    Param("name", STRING, literal=True), Param("default", ANYTHING, optional=True), returns=ANYTHING, sees_env=True
)
def var(site: Site, name: str) -> Callable[..., Any]:
    """A value that a rule remembered in the session, or the default (else null) where there is none.

    Example: ``var('edits', `0`) > `3` ``.
    """

    def remembered(env: Env, fallback: Any = None) -> Any:
        try:
            value = env.root["session"]["vars"].get(name)
        except (KeyError, TypeError, AttributeError):
            return fallback
        return fallback if value is None else value

    return remembered


@EXTENSIONS.function(returns=NUMBER, at_load=True, sees_env=True)
def random(site: Site) -> Callable[[Env], float]:
    """A number from 0 up to, not including, 1: the same for the same exchange and place, so that a replay agrees.

    Example: ``random() < `0.1` ``.
    """
    salt = site.salt

    def draw(env: Env) -> float:
        digest = hashlib.blake2b(utf8(f"{env.seed}\x00{salt}"), digest_size=8).digest()
        return (int.from_bytes(digest) >> 11) / (1 << 53)

    return draw


def _whole(function: str, number: float) -> int:
    if number != int(number):
        raise Refusal("invalid-value", f"{function}() needs whole numbers, got {number}")
    return int(number)


def _named(what: str, name: str, known: Any) -> Any:
    if name not in known:
        raise Refusal("unknown-name", unknown(what, name, known))
    return known[name]


def _canonical(value: Any) -> Any:
    """Fields sorted, and numbers that are equal written alike."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_canonical(each) for each in value]
    if isinstance(value, dict):
        return {name: _canonical(value[name]) for name in sorted(value)}
    return value
