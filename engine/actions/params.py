"""The types that an action's parameters are made of: what the author wrote, linked once at load to what runs.

`Params` is the frozen struct of an action. A field's type says how its value is linked: a `Text` may hold templates, a
`Patterns` names a pattern set, a `Window` is a length of time. From the same types come JSON Schema, reference page and
editor completion.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Protocol, get_args, get_origin, get_type_hints
from urllib.parse import quote

import msgspec

from engine.diagnostics import suggestion
from engine.language import Condition, Env, Template
from engine.language.patterns import Pattern, PatternSet

Path = tuple[str | int, ...]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of one action. A step that is not a mapping (`route: 'a:m'`) gives the field `lone`."""

    lone: ClassVar[str | None] = None


class LinkError(Exception):
    """A parameter's value cannot be what it should; `path` leads to it below the step's value."""

    def __init__(self, message: str, path: Path = (), help: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.help = help


class WrongParams(Exception):
    """A step cannot be linked: `errors` says every parameter that is wrong, in the order in which they stand."""

    def __init__(self, errors: list[LinkError]) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors


class Linker(Protocol):
    """What knows the names of the file that a step stands in."""

    def template(self, text: str, path: Path) -> Template | str: ...

    def expression(self, text: str, path: Path) -> Condition: ...

    def patterns(self, value: Any, path: Path) -> PatternSet: ...

    def names(self, value: Any, path: Path) -> tuple[str, ...]: ...

    def route(self, value: Any, path: Path) -> str: ...


class Text:
    """A string that may hold `{{ templates }}`."""

    __slots__ = ("_template",)

    def __init__(self, template: Template | str) -> None:
        self._template = template

    def __call__(self, event: Mapping[str, Any], env: Env, encode: Callable[[str], str] | None = None) -> str:
        """The text for an event; `encode` makes what a template gives fit the place where it goes."""
        if isinstance(self._template, str):
            return self._template
        return self._template.text(event, env, encode)

    @property
    def constant(self) -> str | None:
        """The text where it holds no template."""
        return self._template if isinstance(self._template, str) else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self._template == other._template

    def __hash__(self) -> int:
        return hash(self.constant)

    def __repr__(self) -> str:
        return f"Text({self._template!r})"

    @property
    def templates(self) -> tuple[Template, ...]:
        return () if isinstance(self._template, str) else (self._template,)


class Url(Text):
    """An address that may hold templates in its path and query; what they give is percent-encoded, and leads nowhere else."""

    __slots__ = ()

    def __call__(self, event: Mapping[str, Any], env: Env, encode: Callable[[str], str] | None = None) -> str:
        return super().__call__(event, env, encode or _in_url)


def _in_url(value: str) -> str:
    # "." and ".." alone would be steps of a path, even where they are percent-encoded.
    return quote(value, safe="", errors="replace") if value.strip(".") else ""


class Value:
    """Any JSON value, the strings of which may hold templates; a string that is one template keeps the value's type."""

    __slots__ = ("_build", "templates")

    def __init__(self, build: Callable[[Mapping[str, Any], Env], Any], templates: tuple[Template, ...]) -> None:
        self._build = build
        self.templates = templates

    def __call__(self, event: Mapping[str, Any], env: Env) -> Any:
        return self._build(event, env)


class Expression:
    """A JMESPath expression, evaluated on the event."""

    __slots__ = ("condition",)

    def __init__(self, condition: Condition) -> None:
        self.condition = condition

    def __call__(self, event: Mapping[str, Any], env: Env) -> Any:
        return self.condition(event, env)


class Patterns:
    """The name of a pattern set of the file, or the patterns themselves."""

    def __init__(self, set: PatternSet) -> None:
        self.set = set

    @functools.cached_property
    def singles(self) -> tuple[PatternSet, ...]:
        """Each pattern as a set of its own, for actions that stop at the first one that hits."""
        return tuple(PatternSet(self.set.name, (pattern,)) for pattern in self.set.patterns)

    @functools.cached_property
    def by_name(self) -> Mapping[str, Pattern]:
        return {pattern.name: pattern for pattern in self.set.patterns}


class Globs:
    """Names, exact or with `*` and `?`; a list, one string, or `{$set: name}`."""

    __slots__ = ("names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names


class Plan:
    """A route: the compact string, `@name`, or the same as a mapping; `text` may hold templates."""

    __slots__ = ("text",)

    def __init__(self, text: "Text") -> None:
        self.text = text

    @property
    def fixed(self) -> bool:
        """Whether the policy's author alone chose it: a template of names in the file reads nothing of the event."""
        return not any(template.reads for template in self.text.templates)


class Seconds(float):
    """A length of time: seconds, or a number with a unit (`500ms`, `90s`, `5m`, `2h`, `30d`, `4w`)."""


class FieldPath:
    """The place of a field that may be written: `request.params.temperature`."""

    __slots__ = ("steps",)

    def __init__(self, steps: tuple[str, ...]) -> None:
        self.steps = steps

    def __str__(self) -> str:
        return ".".join(self.steps)


class _Written:
    """Makes a linked default, and remembers how an author would write it, for the schema."""

    def __init__(self, make: Callable[[], Any], written: str) -> None:
        self._make = make
        self.written = written

    def __call__(self) -> Any:
        return self._make()


def text(written: str) -> Any:
    """The default of a `Text` parameter."""
    return msgspec.field(default_factory=_Written(lambda: Text(written), written))


def length(written: str) -> Any:
    """The default of a `Seconds` parameter."""
    return msgspec.field(default_factory=_Written(lambda: seconds(written), written))


def written_defaults(params: type[Params]) -> dict[str, str]:
    """The defaults that `msgspec` cannot show, by the parameter's name in a file."""
    found = zip(params.__struct_encode_fields__, msgspec.structs.fields(params), strict=True)
    return {name: field.default_factory.written for name, field in found if isinstance(field.default_factory, _Written)}


UNITS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")


def seconds(value: object) -> float:
    """`90`, `"90s"`, `"5m"` as seconds: a plain float, which every store and record can write. Raises LinkError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    if isinstance(value, str) and (found := LENGTH.fullmatch(value.strip())):
        return float(found[1]) * UNITS[found[2]]
    raise LinkError(
        f"{value!r} is not a length of time", help="write seconds, or a number with a unit: 500ms, 90s, 5m, 2h, 30d"
    )


def _link_text(value: Any, path: Path, linker: Linker) -> Text:
    if not isinstance(value, str):
        raise LinkError(f"expected a text, found {value!r}", path)
    return Text(linker.template(value, path))


_FIXED_HOST: Final = re.compile(r"https?://(?![^/?#]*[@{}])[^\s/?#]+([/?#]|$)", re.IGNORECASE)


def _link_url(value: Any, path: Path, linker: Linker) -> Url:
    if not isinstance(value, str):
        raise LinkError(f"expected an address, found {value!r}", path)
    if not _FIXED_HOST.match(value):
        help = "write it as https://hooks.example.com/path?x={{ caller.id }}"
        if "{{" in re.sub(r"(?<!:)(?<!/)[/?#].*", "", value, flags=re.DOTALL):
            raise LinkError("an address takes templates in its path and query only", path, help)
        raise LinkError(f"{value!r} is not an address", path, help)
    return Url(linker.template(value, path))


def _link_value(value: Any, path: Path, linker: Linker) -> Value:
    found: list[Template] = []
    return Value(_builder(value, path, linker, found), tuple(found))


def _builder(part: Any, at: Path, linker: Linker, found: list[Template]) -> Callable[[Mapping[str, Any], Env], Any]:
    """What makes one part of a value for an event. No function within a function: it would hold itself for ever."""
    match part:
        case str():
            template = linker.template(part, at)
            if isinstance(template, str):
                return lambda _event, _env: template
            found.append(template)
            return template
        case list():
            items = [_builder(item, (*at, index), linker, found) for index, item in enumerate(part)]
            return lambda event, env: [item(event, env) for item in items]
        case dict():
            fields = {key: _builder(item, (*at, key), linker, found) for key, item in part.items()}
            return lambda event, env: {key: item(event, env) for key, item in fields.items()}
        case _:
            return lambda _event, _env: part


def _link_expression(value: Any, path: Path, linker: Linker) -> Expression:
    if not isinstance(value, str):
        raise LinkError(f"expected an expression, found {value!r}", path)
    return Expression(linker.expression(value, path))


def _link_field(value: Any, path: Path, _linker: Linker) -> FieldPath:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][\w-]*(\.[A-Za-z_$][\w-]*)+", value):
        raise LinkError(f"{value!r} is not a field", path, help="write its path with dots: request.params.temperature")
    return FieldPath(tuple(value.split(".")))


def _link_plan(value: Any, path: Path, linker: Linker) -> Text:
    """A route that templates make is known only when it is chosen; any other is judged now."""
    if isinstance(value, str) and "{{" in value:
        return Text(linker.template(value, path))
    return Text(linker.route(value, path))


LINKS: Final[Mapping[Any, Callable[[Any, Path, Linker], Any]]] = {
    Text: _link_text,
    Url: _link_url,
    Value: _link_value,
    Expression: _link_expression,
    Patterns: lambda value, path, linker: Patterns(linker.patterns(value, path)),
    Globs: lambda value, path, linker: Globs(linker.names(value, path)),
    Plan: lambda value, path, linker: Plan(_link_plan(value, path, linker)),
    Seconds: lambda value, _path, _linker: seconds(value),
    FieldPath: _link_field,
}
"""How each linked type is made of what the author wrote."""

_NAMES: Final = {"type": "string"}
SCHEMAS: Final[Mapping[Any, Mapping[str, Any]]] = {
    Text: {"type": "string"},
    Url: {"type": "string"},
    Value: {"type": ["string", "number", "boolean", "object", "array", "null"]},
    Expression: {"type": "string"},
    Patterns: {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/Pattern"}, "minProperties": 1},
        ]
    },
    Globs: {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"$ref": "#/$defs/SetReference"},
        ]
    },
    Plan: {"anyOf": [{"type": "string"}, {"type": "object"}]},
    Seconds: {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": f"^{LENGTH.pattern}$"}]
    },
    FieldPath: {"type": "string", "pattern": r"^[A-Za-z_][\w-]*(\.[A-Za-z_$][\w-]*)+$"},
}
"""What each linked type looks like in a policy file, as JSON Schema."""


def bare_type(annotation: Any) -> Any:
    """`Annotated[Text, ...]` and `Text | None` as `Text`."""
    if get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if len(options) == 1 and options[0] in LINKS else annotation


@functools.cache
def _hints_of(params: type[Params]) -> Mapping[str, Any]:
    return get_type_hints(params, include_extras=True)


def link(params: type[Params], value: Any, path: Path, linker: Linker) -> Params:
    """The parameters of one step. Raises WrongParams."""
    hints = _hints_of(params)
    fields = dict(zip(params.__struct_encode_fields__, params.__struct_fields__, strict=True))
    alone = not isinstance(value, dict) or (
        # A mapping can be the value of the lone parameter: `drop_tools: {$set: x}`, `route: {failover: [...]}`.
        params.lone is not None and bare_type(hints[params.lone]) in (Globs, Plan) and fields.keys().isdisjoint(value)
    )
    if alone:
        if params.lone is None:
            raise WrongParams([LinkError(f"expected parameters, found {value!r}", path)])
        value = {params.lone: value}
    linked: dict[str, Any] = {}
    wrongs: list[LinkError] = []
    for name, written in value.items():
        at = path if alone else (*path, name)
        if name not in fields:
            help = suggestion(name, fields) or f"it takes {', '.join(fields) or 'none'}"
            wrongs.append(LinkError(f"unknown parameter '{name}'", at, help))
            continue
        hint = hints[fields[name]]
        make = LINKS.get(bare_type(hint))
        try:
            if make is not None:
                linked[fields[name]] = make(written, at, linker)
            else:
                linked[fields[name]] = msgspec.convert(written, hint)
        except LinkError as wrong:
            wrongs.append(LinkError(str(wrong), wrong.path or at, wrong.help))
        except msgspec.ValidationError as wrong:
            wrongs.append(LinkError(f"'{name}': {wrong}", at))
    if wrongs:
        raise WrongParams(wrongs)
    try:
        return params(**linked)
    except (TypeError, ValueError) as wrong:
        said = str(wrong).replace("Missing required argument", "missing parameter")
        raise WrongParams([LinkError(said, path)]) from None


def schema_hook(kind: type) -> dict[str, Any]:
    """For `msgspec.json.schema_components`."""
    if kind in SCHEMAS:
        return dict(SCHEMAS[kind])
    raise NotImplementedError(kind)
