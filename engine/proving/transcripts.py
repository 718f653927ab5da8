"""Plays transcripts: a client and a scripted model with the whole proxy between them, in this process, without a socket."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import msgspec
import structlog

from engine import __version__
from engine.actions.params import LinkError, Plan
from engine.codecs import CODECS
from engine.codecs.base import Codec, WireError
from engine.codecs.translation.tongue import tongue_for
from engine.language import ConditionError, Env, Names, compile_expression
from engine.language.shell import DEFAULT_TOOLS, ShellTools
from engine.model.exchange import CallDelta, CallOpened, Exchange, Failed, Finished, Protocol, TextDelta, ToolCall
from engine.model.phases import Phase
from engine.model.plan import PlanError, named, parse_plan
from engine.model.traffic import RecordedExchange
from engine.passage.reading import EVERYTHING
from engine.passage.replies import House, Incoming, Reply
from engine.passage.routing import Routes
from engine.passage.view import Caller, View, wanted_fields
from engine.pipeline import handle
from engine.policy.context import UNKNOWN, Catalogue
from engine.policy.ruleset import RuleSet
from engine.policy.spec import AnswerSpec, CaseSpec, ClientSpec, SeesSpec, ToolCallSpec, TurnSpec
from engine.policy.standing import START
from engine.policy.trial import CaseResult, Mismatch, lapse
from engine.settings.model import Backend as BackendSettings
from engine.settings.model import Outbound as OutboundSettings
from engine.settings.model import Settings
from engine.settings.values import SecretUrl
from engine.world import World
from engine.world.backends import open_backends
from engine.world.metrics import Metrics
from engine.world.outbound import Outbound
from engine.world.store import open_store
from engine.world.store.base import Store

from .scripted import Script

WIRES: Final = (Protocol.OPENAI_CHAT, Protocol.OPENAI_RESPONSES, Protocol.ANTHROPIC, Protocol.GEMINI)
MODEL: Final = "model"
"""The backend that serves every model of a transcript, where no rule names another."""


class Got(msgspec.Struct, frozen=True, kw_only=True):
    """What a client has in the end, whatever it speaks."""

    status: int
    text: str = ""
    calls: tuple[ToolCallSpec, ...] = ()
    ids: tuple[str, ...] = ()
    finish: str = ""
    error: str = ""
    raw: bytes = b""


class Played(msgspec.Struct, frozen=True):
    """One transcript as it went. `exchanges` are its events; `got` is what was seen, turn by turn, of each variant."""

    result: CaseResult
    exchanges: tuple[RecordedExchange, ...] = ()
    got: Mapping[str, Any] = {}


class _Keeper:
    """Keeps what passes, instead of writing it."""

    def __init__(self) -> None:
        self.kept: list[RecordedExchange] = []

    def takes(self, _exchange: str) -> bool:
        return True

    def offer(self, exchange: RecordedExchange, _redact: object = None) -> None:
        self.kept.append(exchange)

    async def close(self) -> None:
        """There is nothing to close."""


class _Unsent(Outbound):
    """Sends nothing: a test must not be heard outside."""

    def notify(self, rule: str, url: str, body: Any) -> bool:  # noqa: ARG002 - the signature of what sends
        return True


def _silence(_logger: object, _method: str, _event: object) -> NoReturn:
    raise structlog.DropEvent


class _Clock:
    """Stands still until it is moved; seconds since 1970."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Stage:
    """A house with one scripted model behind every backend that the rules name, and a clock that stands still."""

    def __init__(
        self, rules: RuleSet, catalogue: Catalogue, shell_tools: ShellTools, clock: "_Clock", store: Store
    ) -> None:
        self.clock = clock
        self.script = Script()
        self.rules = rules
        self.keeper = _Keeper()
        self._ids = 0
        names = dict.fromkeys((MODEL, *(catalogue.backends or ()), *backends_named(rules)))
        settings = Settings(
            backends={name: BackendSettings(protocol="sandbox", models=("*",)) for name in names},
            routes={name: plan for name, plan in (catalogue.routes or {}).items() if plan},
            state=SecretUrl("memory://"),
        )
        drawn = iter(range(1, 1 << 62))
        world = World(
            settings,
            store,
            open_backends(settings, lambda: self.script),
            Metrics(__version__),
            _Unsent(OutboundSettings()),
            clock=clock,
            random_bytes=lambda count: next(drawn).to_bytes(max(count, 8))[-count:],
            recorder=self.keeper,
        )
        world.sleep = self._sleep
        world.log = structlog.wrap_logger(None, processors=[_silence])
        self.house = House(world, Routes(settings), shell_tools)

    async def _sleep(self, seconds: float) -> None:
        self.clock.now += seconds

    async def ask(self, codec: Codec, client: ClientSpec, messages: Sequence[Mapping[str, Any]], stream: bool) -> Got:
        """One request, and what the client has of its answer."""
        self._ids += 1
        target, body = _request(codec, client, messages, stream, f"{self._ids:024x}")
        path, _, query = target.partition("?")
        model, _, method = unquote(path.removeprefix("/")).rpartition(":")
        headers = {"x-session-id": "transcript", "content-type": "application/json", **client.headers}
        incoming = Incoming(
            codec=codec,
            body=body,
            headers=[(name.lower().encode(), value.encode()) for name, value in headers.items()],
            caller=msgspec.convert(client.caller, Caller),
            id=f"{self._ids:024x}",
            query=query,
            path={"model": model, "method": method} if codec.protocol is Protocol.GEMINI else None,
        )
        return await _heard(codec, await handle(incoming, self.rules, self.house), stream)


async def open_stage(rules: RuleSet, catalogue: Catalogue = UNKNOWN, shell_tools: ShellTools = DEFAULT_TOOLS) -> Stage:
    """A stage on which nothing has happened yet."""
    clock = _Clock()
    return Stage(rules, catalogue, shell_tools, clock, await open_store("memory://", clock))


def backends_named(rules: RuleSet) -> Iterator[str]:
    """The backends that the rules route to."""
    for rule in rules.rules:
        for step in rule.steps:
            plan = getattr(step.params, "plan", None)
            if not isinstance(plan, Plan) or not plan.fixed:
                continue
            text = plan.text.constant
            try:
                if text is not None and named(text) is None:
                    yield from (leg.backend for leg in parse_plan(text).leaves if leg.backend)
            except PlanError:
                continue


def _request(
    codec: Codec, client: ClientSpec, messages: Sequence[Mapping[str, Any]], stream: bool, id: str
) -> tuple[str, bytes]:
    """The request in the client's own words, and where it is sent."""
    chat = CODECS[Protocol.OPENAI_CHAT]
    system = [{"role": "system", "content": client.system}] if client.system else []
    tools = [{"type": "function", "function": {"name": name, "parameters": _ANY}} for name in client.tools]
    body = {
        "model": client.model, "messages": [*system, *messages], "stream": stream, **({"tools": tools} if tools else {}),
        **({"max_tokens": 1024} if codec.protocol is Protocol.ANTHROPIC else {}), **client.params,
    }  # fmt: skip
    exchange = chat.decode_request(msgspec.json.encode(body), id=id, headers={})
    tongue = tongue_for(chat, codec, "transcript")
    if tongue is None:
        raise AssertionError(f"nothing can be said in {codec.protocol}")
    asked = tongue.ask(exchange)
    return asked.path, asked.body


_ANY: Final = {"type": "object", "properties": {"command": {"type": "string"}}}


async def _heard(codec: Codec, reply: Reply, stream: bool) -> Got:
    """A reply as a client puts it together."""
    raw = reply.body if reply.chunks is None else b"".join([piece async for piece in reply.chunks])
    if reply.status >= 400:
        return Got(status=reply.status, error=codec.decode_problem(reply.status, raw).message, raw=raw)
    if not stream:
        (choice, *_) = codec.decode_answer(raw).choices
        calls = choice.tool_calls
        said = tuple(ToolCallSpec(tool=call.name, args=call.args) for call in calls)
        ids = tuple(call.id for call in calls)
        return Got(status=reply.status, text=choice.said("text"), calls=said, ids=ids, finish=choice.finish, raw=raw)
    reader = codec.reader()
    text, finish, error = "", "", ""
    opened: dict[int, tuple[CallOpened, list[str]]] = {}
    for _, chunks in [*reader.feed(raw), *reader.close()]:
        for chunk in chunks:
            match chunk:
                case TextDelta(choice=0, channel="answer", text=piece):
                    text += piece
                case CallOpened(choice=0):
                    opened[chunk.index] = (chunk, [])
                case CallDelta(choice=0, index=index, arguments=piece):
                    opened[index][1].append(piece)
                case Finished(choice=0):
                    finish = chunk.finish
                case Failed(message=message):
                    error = message
                case _:
                    pass
    whole = [ToolCall(id=call.id, name=call.name, arguments="".join(pieces)) for call, pieces in opened.values()]
    said = tuple(ToolCallSpec(tool=call.name, args=call.args) for call in whole)
    ids = tuple(call.id for call in whole)
    return Got(status=reply.status, text=text, calls=said, ids=ids, finish=finish, error=error, raw=raw)


# -- a whole transcript --


async def play(
    case: CaseSpec, stage_of: Callable[[], Awaitable[Stage]], result: CaseResult, scope: Callable[[], Names]
) -> Played:
    """A transcript in every protocol that it names, streamed and whole; the first that is not as expected ends it."""
    protocols = [Protocol(each) for each in case.protocols] or WIRES
    streams = (True, False) if case.stream is None else (case.stream,)
    exchanges: list[RecordedExchange] = []
    got: dict[str, Any] = {}
    for protocol in protocols:
        for stream in streams:
            variant = f"{protocol}, {'streamed' if stream else 'whole'}"
            stage = await stage_of()
            try:
                found = await _turns(case, stage, CODECS[protocol], stream, scope)
            except (WireError, LinkError, msgspec.ValidationError) as wrong:
                return Played(msgspec.structs.replace(result, error=f"{variant}: {wrong}"), tuple(exchanges), got)
            finally:
                exchanges += stage.keeper.kept
            mismatches, turns = found
            got[variant] = turns
            if mismatches:
                told = tuple(msgspec.structs.replace(each, what=f"{variant}, {each.what}") for each in mismatches)
                return Played(msgspec.structs.replace(result, mismatches=told), tuple(exchanges), got)
    return Played(result, tuple(exchanges), got)


async def _turns(
    case: CaseSpec, stage: Stage, codec: Codec, stream: bool, scope: Callable[[], Names]
) -> tuple[list[Mismatch], list[Any]]:
    messages: list[Mapping[str, Any]] = []
    ids: tuple[str, ...] = ()
    seen: list[Any] = []
    client = ClientSpec()
    for number, turn in enumerate(case.turns, 1):
        stage.clock.now += lapse(turn.after)
        said = turn.client if isinstance(turn.client, ClientSpec) else ClientSpec(says=turn.client)
        client = _going_on(client, said)
        messages += [
            {"role": "tool", "tool_call_id": id, "content": content}
            for id, content in zip(ids, said.results, strict=False)
        ]
        if said.says:
            messages.append({"role": "user", "content": said.says})
        stage.script.begin([AnswerSpec(text=each) if isinstance(each, str) else each for each in turn.model])
        got = await stage.ask(codec, client, messages, stream)
        asked = [_as_asked(each, stage) for each in stage.script.asked]
        found = [*_client_saw(turn, got), *_model_saw(turn, asked, scope)]
        seen.append(_shown(got, asked))
        if found:
            return [msgspec.structs.replace(each, what=f"turn {number}: {each.what}") for each in found], seen
        ids = got.ids
        answer: dict[str, Any] = {"role": "assistant", "content": got.text or None}
        if got.calls:
            answer["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": call.tool, "arguments": _json(call.args)}}
                for id, call in zip(got.ids, got.calls, strict=True)
            ]
        if got.status < 400:
            messages.append(answer)
    return [], seen


def _going_on(before: ClientSpec, said: ClientSpec) -> ClientSpec:
    """What a turn leaves out of a client is as in the turn before."""
    kept = ("system", "tools", "model", "params", "caller", "headers")
    blank = ClientSpec()
    return msgspec.structs.replace(
        said, **{name: getattr(before, name) for name in kept if getattr(said, name) == getattr(blank, name)}
    )


def _client_saw(turn: TurnSpec, got: Got) -> Iterator[Mismatch]:
    sees = SeesSpec(text=turn.client_sees) if isinstance(turn.client_sees, str) else turn.client_sees
    if sees is None:
        return
    for what in ("text", "finish", "status", "error"):
        wanted = getattr(sees, what)
        if wanted is not None and wanted != getattr(got, what):
            yield Mismatch(f"client sees {what}", wanted, getattr(got, what))
    for each in sees.contains:
        if each not in got.text:
            yield Mismatch("client sees text that contains", each, got.text)
    for each in sees.lacks:
        if each in got.text or each.encode() in got.raw:
            yield Mismatch("client sees nothing of", each, got.text)
    if sees.calls is not None and sees.calls != list(got.calls):
        yield Mismatch("client sees calls", msgspec.to_builtins(sees.calls), msgspec.to_builtins(got.calls))


def _model_saw(turn: TurnSpec, asked: Sequence[Mapping[str, Any]], scope: Callable[[], Names]) -> Iterator[Mismatch]:
    if len(asked) > len(turn.model):
        yield Mismatch("times that the model is asked", len(turn.model), len(asked))
    if turn.model_sees is None:
        return
    if len(turn.model_sees) != len(asked):
        yield Mismatch("times that the model is asked", len(turn.model_sees), len(asked))
    for number, (expected, event) in enumerate(zip(turn.model_sees, asked, strict=False), 1):
        for text, value in expected.items():
            try:
                got = compile_expression(text, scope())(event, Env(event))
            except ConditionError as wrong:
                got = f"error: {wrong}"
            if not Env(None).equal(got, value):
                yield Mismatch(f"model sees {text}, asked for the {_nth(number)} time", value, got)


def _nth(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _as_asked(exchange: Exchange, stage: Stage) -> dict[str, Any]:
    """What a backend was asked, as the event of phase `request` shows it."""
    view = View(exchange, Caller(), stage.clock.now, stage.house.shell_tools)
    return view.event(Phase.REQUEST, _WHOLE)


_WHOLE: Final = wanted_fields(Phase.REQUEST, EVERYTHING)


def _shown(got: Got, asked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A turn for a snapshot: what does not change from run to run."""
    client = {
        "status": got.status, "text": got.text, "calls": msgspec.to_builtins(got.calls), "finish": got.finish,
        "error": got.error,
    }  # fmt: skip
    requests = [
        [{"role": each["role"], "text": each["text"], "calls": [call["name"] for call in each["tool_calls"]]}
         for each in event["request"]["messages"]]
        for event in asked
    ]  # fmt: skip
    return {"client": client, "model": requests}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
