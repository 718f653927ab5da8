"""What a policy file says, as data: the shape of the file, before any name in it is looked up."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.model.decision import Mode
from engine.model.phases import Phase

Identifier = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$", max_length=80)]
Priority = Annotated[int, Meta(ge=-10_000, le=10_000)]
ArgumentType = Literal["text", "integer", "number", "boolean", "model", "backend", "route", "leg", "new-route"]
Percent = Annotated[float, Meta(ge=0, le=100)]
Width = Annotated[int, Meta(ge=1, le=65_536)]
Condition = Any
"""A JMESPath text, or a tree of `any:`, `all:`, `not:` with texts as leaves; `policy.conditions` judges it."""


class SetReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{$set: name}`: a named list of the file."""

    set: Annotated[str, Meta(description="The set's name.")] = msgspec.field(name="$set")


Values = str | list[str] | SetReference


class PatternSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pattern that needs more than its text: a stated width, because it could match without bound, or a checksum."""

    re2: Annotated[str, Meta(description="The pattern, in RE2's syntax.")]
    max_width: Annotated[Width | None, Meta(description="The widest match that counts, in code points.")] = None
    check: Annotated[
        Literal["luhn", "iban", "bsn", "dni", "steuer_id"] | None,
        Meta(description="The checksum that a match must pass: of a card, an account, or a national number."),
    ] = None


Pattern = str | PatternSpec


class ScopeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a policy is for; every key must hold, a list means any of."""

    caller: Values | None = None
    team: Values | None = None
    role: Values | None = None
    agent: Annotated[Values | None, Meta(description="Client-supplied: no one is kept in by it.")] = None
    key: Values | None = None
    ip: Annotated[Values | None, Meta(description="Addresses or CIDR networks.")] = None


class MatchSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an event must be for the rule to be looked at; every key must hold, a list means any of.

    Values are exact or globs (`*`, `?`); models and tools are compared without case.
    """

    caller: Values | None = None
    team: Values | None = None
    role: Values | None = None
    agent: Values | None = None
    key: Values | None = None
    ip: Annotated[Values | None, Meta(description="Addresses or CIDR networks.")] = None
    protocol: Values | None = None
    model: Values | None = None
    backend: Values | None = None
    route: Values | None = None
    stream: bool | None = None
    tool: Values | None = None
    command: Values | None = None
    label: Values | None = None
    keyword: Annotated[Values | None, Meta(description="A word of the phase's text, without case.")] = None
    pattern: Annotated[Values | None, Meta(description="A pattern set, looked for in the phase's text.")] = None
    status: Annotated[int | str | list[int | str] | None, Meta(description="429, or `5xx`.")] = None
    not_: Annotated["MatchSpec | None", Meta(description="The same keys; none of them may hold.")] = msgspec.field(
        default=None, name="not"
    )


class LimitSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a rule acts; for reminders, not for guarding."""

    max: Annotated[int, Meta(description="How many times in `every`.", ge=1)] = 1
    every: Annotated[float | str, Meta(description="A length of time: seconds, `90s`, `1h`.")] = "1h"
    per: Annotated[str, Meta(description="An expression; what is counted apart. Default: the session.")] = "session.id"
    beyond: Annotated[
        Literal["allow", "block"] | None,
        Meta(description="What a verdict beyond the limit means; must be said in words on a verdict."),
    ] = None


class RuleSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule."""

    id: Annotated[Identifier, Meta(description="Unique in the file; the rule's full name is `policy/id`.")]
    phase: Annotated[Phase, Meta(description="When the rule is evaluated.")]
    actions: Annotated[
        list[dict[str, Any]], Meta(description="What happens, in order; each step names one action.", min_length=1)
    ]
    description: Annotated[str, Meta(description="Why the rule exists, for the reader.")] = ""
    severity: Annotated[
        Literal["low", "medium", "high", "critical"], Meta(description="How bad it is when the rule does not hold.")
    ] = "medium"
    match: Annotated[MatchSpec | None, Meta(description="Structured, indexed conditions.")] = None
    when: Annotated[Condition, Meta(description="A condition; the rule matches when it is true.")] = None
    unless: Annotated[Condition, Meta(description="A condition; the rule does not match when it is true.")] = None
    limit: Annotated[LimitSpec | None, Meta(description="How often the rule acts.")] = None
    mode: Annotated[Mode | None, Meta(description="Overrides the file's.")] = None
    priority: Annotated[Priority | None, Meta(description="Overrides the file's; the higher has the last word.")] = None
    rollout: Annotated[Percent | None, Meta(description="Enforce for this percentage of callers, shadow the rest.")] = (
        None
    )
    on_error: Annotated[
        Literal["deny", "skip"] | None,
        Meta(description="What an error in the rule means; the default depends on the kind of action."),
    ] = None
    delay: Annotated[
        Literal["end", "all"] | None,
        Meta(description="Phase `response`: hold back the end of the answer, or all of it."),
    ] = None
    window: Annotated[
        Width | None, Meta(description="Phase `text`: how many code points a condition on the text may look at.")
    ] = None
    exceptable_by: Annotated[
        list[str], Meta(description="Policies of other files that may make exceptions to this rule.")
    ] = []


class ArgumentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One argument of a command."""

    type: Annotated[ArgumentType, Meta(description="What its value must be.")] = "text"
    description: Annotated[str, Meta(description="What it means, for `help`.")] = ""
    required: Annotated[bool, Meta(description="Whether it must be given.")] = False
    minimum: Annotated[float | None, Meta(description="The least number.")] = None
    maximum: Annotated[float | None, Meta(description="The greatest number.")] = None
    one_of: Annotated[list[str], Meta(description="The only values that it takes.")] = []
    default: Annotated[str | float | bool | None, Meta(description="Its value where it is left out; else null.")] = None
    many: Annotated[bool, Meta(description="It takes all values that are left, as a list.")] = False


class CommandSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A command that people can write into their message: `!/name(value, key=value)`."""

    description: Annotated[str, Meta(description="What it does, for `help`.", min_length=1)]
    aliases: Annotated[list[Identifier], Meta(description="Other names of it.")] = []
    args: Annotated[dict[Identifier, ArgumentSpec], Meta(description="Its arguments, in their order.")] = {}
    pairs: Annotated[bool, Meta(description="Whether it takes any further `key=value`.")] = False
    roles: Annotated[
        Values | None, Meta(description="In team mode, the roles of those who may use it. Default: everybody.")
    ] = None


class CommandsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The commands that the rules of phase `command` answer."""

    define: Annotated[dict[Identifier, CommandSpec], Meta(description="The commands by name.")] = {}
    ignore: Annotated[
        Values | None, Meta(description="Pattern sets; text inside a match is never a command: reminders, code blocks.")
    ] = None


class ExceptionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody for whom a rule does not hold, for a reason, until a day."""

    rule: Annotated[str, Meta(description="`policy/id`.")]
    reason: Annotated[str, Meta(description="Why; a ticket.", min_length=1)]
    expires: Annotated[
        str, Meta(description="The last day on which it holds, in UTC: 2027-01-31.", pattern=r"^\d{4}-\d{2}-\d{2}$")
    ]
    match: Annotated[MatchSpec | None, Meta(description="For which events.")] = None
    when: Annotated[Condition, Meta(description="For which events, as a condition.")] = None


class ExpectSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a test expects of the decision; what it does not name is not looked at."""

    verdict: Literal["allow", "respond", "drop", "steer", "hold", "block"] | None = None
    by: Annotated[str | None, Meta(description="The rule whose verdict won; short or full name.")] = None
    rules: Annotated[list[str] | None, Meta(description="Exactly the rules that matched and are enforced.")] = None
    shadow: Annotated[list[str] | None, Meta(description="Exactly the rules that matched in shadow.")] = None
    outcomes: Annotated[
        dict[str, Literal["no_match", "excepted", "limited", "matched", "error"]] | None,
        Meta(description="The outcome of single rules."),
    ] = None
    message: Annotated[str | None, Meta(description="What the verdict says, whole.")] = None
    code: str | None = None
    status: int | None = None
    route: str | None = None
    recovery: Annotated[
        list[Literal["wait", "retry", "failover", "surface"]] | None,
        Meta(description="What becomes of a failed attempt: the steps of the rule that decides."),
    ] = None
    skips: Annotated[bool | None, Meta(description="Whether the leg is skipped.")] = None
    event: Annotated[
        dict[str, Any] | None, Meta(description="Expressions on the event after the transforms, and their values.")
    ] = None
    patch: Annotated[list[dict[str, Any]] | None, Meta(description="The whole patch, as JSON Patch operations.")] = None


class StepSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event of several that a test meets one after the other: what the earlier ones wrote, the later ones see."""

    given: Annotated[dict[str, Any], Meta(description="A partial event; the schema's defaults complete it.")]
    expect: ExpectSpec = ExpectSpec()
    after: Annotated[
        float | str, Meta(description="How long after the step before: seconds, `90s`, `2h`. Limits and TTLs go by it.")
    ] = 0.0
    times: Annotated[int, Meta(ge=1, le=10_000, description="How often; each time must be as expected.")] = 1


class ToolCallSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A call of a tool in a transcript."""

    tool: Annotated[str, Meta(description="The tool's name.")]
    args: Annotated[dict[str, Any], Meta(description="Its arguments.")] = {}


class ClientSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a client sends in one turn of a transcript."""

    says: Annotated[str, Meta(description="The new message of the user.")] = ""
    results: Annotated[list[str], Meta(description="Results of the calls of the turn before, in their order.")] = []
    system: Annotated[str, Meta(description="The system prompt.")] = ""
    tools: Annotated[list[str], Meta(description="Names of the tools that are offered.")] = []
    model: Annotated[str, Meta(description="The model asked for.")] = "gpt-4o"
    params: Annotated[dict[str, Any], Meta(description="Settings of generation by their canonical names.")] = {}
    caller: Annotated[dict[str, Any], Meta(description="Who asks: fields of `caller`.")] = {}
    headers: Annotated[dict[str, str], Meta(description="Headers of the request.")] = {}


class AnswerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One answer of the model in a transcript. `status` above 399 is an error of its backend."""

    text: str = ""
    reasoning: str = ""
    calls: Annotated[list[ToolCallSpec], Meta(description="Calls that it makes, in their order.")] = []
    chunk: Annotated[int, Meta(ge=1, description="Characters of one piece, where the answer is a stream.")] = 6
    status: int = 200


class SeesSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the client must see; what it does not name is not looked at."""

    text: Annotated[str | None, Meta(description="All that the assistant said.")] = None
    contains: Annotated[list[str], Meta(description="What stands in it.")] = []
    lacks: Annotated[list[str], Meta(description="What stands nowhere in the bytes that the client got.")] = []
    calls: Annotated[list[ToolCallSpec] | None, Meta(description="The calls that it got, all of them.")] = None
    finish: Annotated[str | None, Meta(description="Why the answer ended: `stop`, `tool_calls`, `length`.")] = None
    status: int | None = None
    error: Annotated[str | None, Meta(description="The message of the error that it got.")] = None


class TurnSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One request of the client, the answers that the model gives to it, and what each must see."""

    client: Annotated[str | ClientSpec, Meta(description="What the client sends; a text is what the user says.")]
    model: Annotated[
        list[str | AnswerSpec], Meta(description="The model's answers, one for each time that it is asked.")
    ] = []
    client_sees: Annotated[str | SeesSpec | None, Meta(description="What the client gets; a text is all of it.")] = None
    model_sees: Annotated[
        list[dict[str, Any]] | None,
        Meta(
            description="One entry for each time that the model is asked: expressions on `request`, and their values."
        ),
    ] = None
    after: Annotated[float | str, Meta(description="How long after the turn before: seconds, `90s`, `2h`.")] = 0.0


WireName = Literal["openai-chat", "openai-responses", "anthropic", "gemini"]


class CaseSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event and what must come of it; or several `steps`; or a transcript: `turns` of client and model."""

    name: Annotated[str, Meta(min_length=1)]
    given: Annotated[
        dict[str, Any] | msgspec.UnsetType, Meta(description="A partial event; the schema's defaults complete it.")
    ] = msgspec.UNSET
    expect: ExpectSpec = ExpectSpec()
    steps: Annotated[list[StepSpec], Meta(description="Several events, one after the other, with state.")] = []
    turns: Annotated[list[TurnSpec], Meta(description="A conversation through the whole proxy.")] = []
    protocols: Annotated[
        list[WireName], Meta(description="Of a transcript: what the client speaks; played in each. Default: all four.")
    ] = []
    stream: Annotated[bool | None, Meta(description="Of a transcript: streamed or not; default: both.")] = None
    snapshot: Annotated[
        bool, Meta(description="Compare with what was kept beside the file; `policy test --update` keeps it anew.")
    ] = False

    @property
    def events(self) -> list[tuple[tuple[str | int, ...], dict[str, Any], ExpectSpec]]:
        """Its events, each with where it stands in the test, and what is expected of it; none of a transcript."""
        if self.turns:
            return []
        if self.steps:
            return [(("steps", index), each.given, each.expect) for index, each in enumerate(self.steps)]
        return [((), self.given, self.expect)] if isinstance(self.given, dict) else []


class PolicySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One policy file."""

    version: Annotated[Literal[1], Meta(description="The version of the language.")]
    policy: Annotated[Identifier, Meta(description="The policy's name, unique in the set.")]
    description: Annotated[str, Meta(description="What the policy is for.")] = ""
    owner: Annotated[str, Meta(description="Whom to ask.")] = ""
    scope: Annotated[ScopeSpec | None, Meta(description="Whom it is for; ANDed into every rule.")] = None
    mode: Annotated[Mode, Meta(description="For every rule that does not say otherwise.")] = Mode.ENFORCE
    priority: Annotated[
        Priority | None,
        Meta(description="The higher has the last word. Default: 100, or the most that the source is granted."),
    ] = None
    rollout: Annotated[Percent | None, Meta(description="For every rule that does not say otherwise.")] = None
    sets: Annotated[dict[Identifier, list[str]], Meta(description="Named lists.")] = {}
    patterns: Annotated[dict[Identifier, dict[str, Pattern]], Meta(description="Named sets of RE2 patterns.")] = {}
    definitions: Annotated[dict[Identifier, str], Meta(description="Named expressions, on the whole event.")] = {}
    commands: Annotated[CommandsSpec | None, Meta(description="Commands in chat messages.")] = None
    rules: Annotated[list[RuleSpec], Meta(description="The rules.")] = []
    exceptions: Annotated[list[ExceptionSpec], Meta(description="For whom a rule does not hold.")] = []
    tests: Annotated[list[CaseSpec], Meta(description="Run by `policy test`, and before a set goes live.")] = []
