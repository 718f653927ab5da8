"""One event after another: builds it, reads what must be known, decides, commits, and lets the world observe.

Reads happen before a decision, writes after it, in one commit that may refuse (a meter has no room) or find a counter
changed; then the event is decided again. The decision itself is pure, and lives in `policy`.
"""

import functools
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, assert_never

import msgspec

from engine.actions.registry import ActionError
from engine.model.decision import NO_FACTS, Decision, Facts, Mode, Needs, OutcomeKind, Spend
from engine.model.effects import (
    Block,
    Budget,
    Conceal,
    Count,
    Forget,
    Label,
    Log,
    Meter,
    Metric,
    Notify,
    Record,
    Remember,
    Scope,
    StateEffect,
    Tag,
    VerdictKind,
)
from engine.model.exchange import Exchange, Usage
from engine.model.phases import Phase
from engine.model.traffic import RecordedExchange
from engine.passage.calendar import ends
from engine.passage.quotas import Quotas, refusal, shown
from engine.passage.reading import STATE, Reading
from engine.passage.sessions import owner_of
from engine.passage.spending import Account, Charge, Unpriced
from engine.passage.tape import Tape
from engine.passage.view import Fields, Taken, View
from engine.policy.record import Subject, attempt_record, record_of
from engine.policy.ruleset import POLICY_ERROR, RuleSet, Stage, counter_name
from engine.world import World
from engine.world.store import base as store

ROUNDS: Final = 3
KEY_TTL: Final = 7 * 86_400.0
_BILLED: Final = frozenset({Phase.RESPONSE, Phase.DONE})
_NOBODY: Final[frozenset[str]] = frozenset()
_STORE_DOWN: Final = "The state store cannot be reached."


class Concealed(msgspec.Struct, frozen=True):
    """A value behind a placeholder, and whether it may come back in arguments of tool calls."""

    value: str
    tool_args: bool


class Judge:
    """Judges the events of one exchange under the rule set that it began with."""

    def __init__(self, reading: Reading, view: View, world: World) -> None:
        self.reading = reading
        self.rules: RuleSet = reading.rules
        self.view = view
        self.world = world
        self.steered: dict[str, int] = {}
        self.acted: set[str] = set()
        self.may_reask = True
        self.reasks_left = world.settings.steer.max_per_exchange
        self.concealed: dict[str, Concealed] = {}
        self.account = Account(world, view.exchange, view.taken)
        """Of the attempt that was judged last."""
        self.quotas = Quotas()
        self.last_decision = view.exchange.id
        self.tape = self._new_tape() if reading.is_recording else None
        self.cost: float | None = 0.0
        """US dollars of what was billed so far; None where a price is not known."""
        self._state_is_known = False
        self._state_is_lost = False
        self._key_is_lost = False
        self._placeholder_key: bytes | None = None
        self._events = 0
        self._at = ""
        """When the exchange began, as records say it; once there is one."""

    def has(self, phase: Phase) -> bool:
        """Whether the phase has rules at all; where it has none, nothing need be prepared for it."""
        return phase in self.reading.phases

    def wanted(self, phase: Phase) -> Fields:
        """The fields of a phase's event that its rules read."""
        return self.reading.wanted.get((phase, Stage.MAIN), {})

    async def judge_attempt(self, sent: Exchange) -> Decision | None:
        """What the rules say of an attempt that sends this request to `view.taken`; what it holds is in `account`."""
        self.begin_attempt(sent, self.view.taken)
        return await self.judge(Phase.ATTEMPT)

    def begin_attempt(self, sent: Exchange, taken: Taken) -> Account:
        """Events are of this attempt from now on, and what it holds is in its account."""
        self.view.taken = taken
        self.account = Account(self.world, sent, taken)
        return self.account

    async def judge(self, phase: Phase, stage: Stage = Stage.MAIN, **sections: Mapping[str, Any]) -> Decision | None:
        """What the rules say of one event, committed and recorded; None where the phase has no rules."""
        wanted = self.reading.wanted.get((phase, stage))
        if wanted is None:
            return None
        self._events += 1
        if self.reading.reads_state and not self._state_is_known and "session" in wanted:
            await self._load_state()
        event = self.view.event(phase, wanted, **sections)
        if self._state_is_lost and (blind := self._blind(phase, stage, event)):
            refused = Decision(phase=phase, event=event)
            return _refused(refused, blind, _STORE_DOWN, 503, POLICY_ERROR, 1.0)
        facts = Facts(
            seed=f"{self.view.exchange.id}/{self._events}",
            fired=await self._fired(phase, event, stage) if self.reading.limits else {},
            steered=self.steered,
            acted=frozenset(self.acted) if self.acted else _NOBODY,
            may_reask=self.may_reask,
            placeholder=await self._placeholders() if self.reading.restores else None,
        )
        decision = await self._decided(phase, stage, event, facts)
        if decision.shadow_spends:
            decision = await self._metered_in_shadow(decision)
        if self._key_is_lost and isinstance(decision.effect, Block) and decision.effect.code == POLICY_ERROR:
            decision = msgspec.structs.replace(decision, effect=msgspec.structs.replace(decision.effect, status=503))
        self._after(decision, facts)
        if self.tape is not None:
            self._taped(stage, decision, facts, sections)
        return decision

    def _blind(self, phase: Phase, stage: Stage, event: Mapping[str, Any]) -> str:
        """An enforced rule that would refuse, and cannot know whether: it reads state that could not be read."""
        table = self.rules.table(phase, stage)
        if table is None:
            return ""
        for rule in table.rules:
            if (
                rule.denies_on_error
                and any(path[:2] in STATE for path in rule.reads)
                and rule.mode_for(self.view.caller.id) is Mode.ENFORCE
                and (rule.blind is None or rule.blind(event))
            ):
                return rule.name
        return ""

    async def _decided(self, phase: Phase, stage: Stage, event: Mapping[str, Any], facts: Facts) -> Decision:
        decision = Decision(phase=phase)
        for _ in range(ROUNDS):
            decided = self.rules.decide(phase, event, facts, stage=stage, timer=self.world.timer)
            if isinstance(decided, Needs):
                raise AssertionError("no action asks questions")
            decision = decided
            if phase is Phase.ATTEMPT and decision.refused:
                # What is not tried is not charged.
                decision = msgspec.structs.replace(decision, spends=(), shadow_spends=())
            if not (decision.spends or decision.fires or decision.changes):
                return decision
            try:
                done = await self._commit(decision)
            except store.StoreDown:
                self.world.metrics.store_failed("commit")
                return self._without_store(decision)
            if isinstance(done, Decision):
                return done
            facts = msgspec.structs.replace(facts, fired={**facts.fired, **done})
        return _refused(decision, decision.by or "limit", "The request could not be counted.", 503, POLICY_ERROR, 1.0)

    # -- before --

    async def variables(self) -> Mapping[str, Any]:
        """What rules keep for the session, the caller, the team and everybody; nothing where no rule reads it."""
        if self.reading.reads_state and not self._state_is_known:
            await self._load_state()
        return self.view.session.vars

    async def _load_state(self) -> None:
        """Variables and labels of everybody, the team, the caller and the session; the nearer one wins."""
        owners = [owner for owner in (self._owner(scope) for scope in reversed(Scope)) if owner]
        try:
            found = await self.world.store.read(
                owners=[(space, owner) for space in ("vars", "labels") for owner in owners]
            )
        except store.StoreDown:
            self.world.metrics.store_failed("read")
            self._state_is_lost = True
            return
        self._state_is_lost = False
        variables: dict[str, Any] = {}
        labels: set[str] = set()
        ranked = sorted(found.values.items(), key=lambda item: owners.index(item[0].owner))
        for key, fact in ranked:
            if key.space == "vars":
                variables[key.name] = msgspec.json.decode(fact.value)
            else:
                labels.add(key.name)
        self.view.session = msgspec.structs.replace(self.view.session, vars=variables, labels=tuple(sorted(labels)))
        self._state_is_known = True

    async def _fired(self, phase: Phase, event: Mapping[str, Any], stage: Stage) -> dict[tuple[str, str], int]:
        """How often the limited rules that the event could concern have acted."""
        reads = list(self.rules.limits(phase, event, stage))
        if not reads:
            return {}
        meters = {(read.rule, read.key): _limit_meter(read.rule, read.key, read.max, read.every) for read in reads}
        try:
            found = await self.world.store.read(meters=meters.values())
        except store.StoreDown:
            self.world.metrics.store_failed("read")
            return {}
        return {key: meter.limit - found.standings[meter].remaining for key, meter in meters.items()}

    async def _placeholders(self) -> Any:
        """The function that names values of this caller's session by stand-ins; its key is random, and kept with it."""
        if self._placeholder_key is None:
            try:
                self._placeholder_key = await self._kept_key()
            except store.StoreDown:
                self.world.metrics.store_failed("read")
                self._key_is_lost = True
                return _no_placeholder
        secret = self._placeholder_key

        def placeholder(name: str, value: str) -> str:
            digest = hmac.new(secret, f"{name}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
            return f"[{name}:{digest[:24]}]"

        return placeholder

    async def _kept_key(self) -> bytes:
        """The key of this caller's session. Raises StoreDown."""
        key = store.Key("placeholder-keys", self._owner(Scope.SESSION), "key")
        found = (await self.world.store.read(keys=[key])).values.get(key)
        if found is not None:
            return msgspec.json.decode(found.value, type=bytes)
        fresh = msgspec.json.encode(self.world.random_bytes(32))
        made = await self.world.store.commit([store.Put(key, fresh, KEY_TTL, expect=0)])
        if isinstance(made, store.Conflict):
            fresh = made.facts.values[key].value
        return msgspec.json.decode(fresh, type=bytes)

    # -- the commit --

    async def _commit(self, decision: Decision) -> Decision | dict[tuple[str, str], int]:
        """A decision: it is done, or a meter refuses. A dict: counters that others changed, to decide again with."""
        self.account.prepare(decision.spends, decision.effects)
        asked = [(spend, self.account.change(spend.rule, spend.take)) for spend in decision.spends]
        for spend, change in asked:
            if isinstance(change, Unpriced):
                return _blocked(decision, spend.rule, change.block)
        charged = [(spend, change) for spend, change in asked if isinstance(change, store.Take | store.Reserve)]
        changes: list[store.Change] = [change for _, change in charged]
        for fire in decision.fires:
            changes.append(store.Take(_limit_meter(fire.rule, fire.key, fire.max, fire.every)))
        changes += [self._state_change(change) for change in decision.changes]
        for spend, change in charged:
            if isinstance(change, store.Reserve):
                self.account.hold(spend.rule, spend.take, change)
        done = await self.world.store.commit(changes)
        if not isinstance(done, store.Committed):
            self.account.held.clear()
        match done:
            case store.Committed(results=results):
                self.acted |= {fire.rule.removesuffix("#shadow") for fire in decision.fires}
                self._state_is_known &= not decision.changes
                return self._charged(decision, charged, results)
            case store.Refused(which=which, standing=standing) if which < len(charged):
                spend, change = charged[which]
                now = self.world.clock()
                if standing is not None:
                    self.quotas.note(spend.rule, spend.take, standing, now)
                return _blocked(decision, spend.rule, refusal(spend.rule, spend.take, change.amount, done, now))
            case store.Refused(which=which) if which < len(charged) + len(decision.fires):
                fire = decision.fires[which - len(charged)]
                return {(fire.rule, fire.key): fire.max}
            case store.Refused():
                # State that cannot be kept (too large) is skipped; what was to be spent is spent all the same.
                self.world.metrics.store_failed("full")
                return await self._commit(msgspec.structs.replace(decision, changes=()))
            case store.Conflict():
                return {}
            case _:
                assert_never(done)

    async def _metered_in_shadow(self, decision: Decision) -> Decision:
        """The decision with the verdict that each meter in shadow would have given, had it been enforced.

        It counts as it would then, on a counter of its own, so that it knows when it would refuse.
        """
        refusing: set[str] = set()
        for spend in decision.shadow_spends:
            rule = self.rules.by_name[spend.rule]
            counter = counter_name(rule, Mode.SHADOW)
            change = self.account.change(counter, spend.take)
            if change is None or isinstance(change, Unpriced):
                if change is not None:
                    refusing.add(rule.name)
                continue
            try:
                done = await self.world.store.commit([change])
            except store.StoreDown:
                self.world.metrics.store_failed("commit")
                if rule.denies_on_error:
                    refusing.add(rule.name)
                continue
            if not isinstance(done, store.Committed):
                refusing.add(rule.name)
            elif isinstance(change, store.Reserve):
                self.account.hold(counter, spend.take, change)
        if not refusing:
            return decision
        outcomes = tuple(
            msgspec.structs.replace(each, verdict=VerdictKind.BLOCK) if each.rule in refusing else each
            for each in decision.outcomes
        )
        return msgspec.structs.replace(decision, outcomes=outcomes)

    def _charged(
        self,
        decision: Decision,
        charged: Sequence[tuple[Spend, store.Take | store.Reserve]],
        results: Sequence[store.Result],
    ) -> Decision:
        """The decision with what each meter took, which answers and their headers tell."""
        if not charged:
            return decision
        now = self.world.clock()
        held = {}
        for (spend, change), standing in zip(charged, results, strict=False):
            held[id(spend)] = change.amount
            if isinstance(standing, store.Standing):
                self._note(spend.rule, spend.take, standing, now)
        spends = tuple(msgspec.structs.replace(each, held=held.get(id(each))) for each in decision.spends)
        return msgspec.structs.replace(decision, spends=spends)

    def _note(self, rule: str, meter: Meter, standing: store.Standing, now: float) -> None:
        share = self.quotas.note(rule, meter, standing, now)
        if share is not None and isinstance(meter, Budget):
            self.world.warn_of_budget(rule, meter.key, share, ends(meter.window, meter.zone, now))

    def _state_change(self, change: StateEffect) -> store.Change:
        owner = self._owner(change.scope)
        match change:
            case Remember(key=key, value=value, ttl=ttl):
                return store.Put(store.Key("vars", owner, key), msgspec.json.encode(value), ttl)
            case Forget(key=key):
                return store.Delete(store.Key("vars", owner, key))
            case Count(key=key, by=by, ttl=ttl):
                return store.Add(store.Key("vars", owner, key), by, ttl, refresh=True)
            case Label(name=name, ttl=ttl):
                return store.Put(store.Key("labels", owner, name), b"true", ttl)
            case _:
                assert_never(change)

    def _owner(self, scope: Scope) -> str:
        """Whose state a scope is: never another caller's. "" where there is none (a caller without a team)."""
        caller = self.view.caller
        match scope:
            case Scope.SESSION:
                return owner_of(caller.id, self.view.session)
            case Scope.CALLER:
                return f"caller/{caller.id}"
            case Scope.TEAM:
                return f"team/{caller.team}" if caller.team else f"caller/{caller.id}"
            case Scope.GLOBAL:
                return "global"
            case _:
                assert_never(scope)

    def _without_store(self, decision: Decision) -> Decision:
        """A meter that cannot be read refuses, unless its rule says otherwise; state that cannot be written is skipped."""
        for rule in {spend.rule for spend in decision.spends}:
            if self.rules.by_name[rule].denies_on_error:
                return _refused(decision, rule, _STORE_DOWN, 503, POLICY_ERROR, 1.0)
        return decision

    # -- after --

    def _after(self, decision: Decision, facts: Facts) -> None:
        for effect in decision.effects:
            if isinstance(effect, Conceal):
                self.concealed[effect.placeholder] = Concealed(effect.value, effect.tool_args)
        for rule, seen in decision.observations:
            match seen:
                case Log(message, level):
                    self.world.log_rule(level, self._masked(message), rule=rule, request=self.view.exchange.id)
                case Tag():
                    pass  # in the record
                case Metric():
                    self.world.metrics.counted(seen)
                case Notify(url, body):
                    self.world.notify(rule, self._masked(url), self._masked(body))
                case Record():
                    self._begin_tape()
                case _:
                    assert_never(seen)
        if not decision.outcomes:
            return
        if decision.phase is Phase.TEXT:
            self.acted |= {
                outcome.rule
                for outcome in decision.outcomes
                if outcome.mode is Mode.ENFORCE and outcome.outcome is OutcomeKind.MATCHED
            }
        self.world.metrics.decided(decision)
        self.last_decision = f"{self.view.exchange.id}-{self._events}"
        at = self._at = self._at or _stamp(self.view.now)
        record = record_of(decision, id=self.last_decision, at=at, subject=self._subject(), facts=facts)
        if self.view.taken.trail:
            record["attempts"] = [attempt_record(each) for each in self.view.taken.trail]
        if decision.phase in _BILLED:
            record["cost"] = self.cost
        self.world.record(self._masked(record))

    # -- the recording --

    def _new_tape(self) -> Tape:
        wanted = self.reading.recording.wanted
        return Tape(self.view, {phase: wanted[phase, Stage.MAIN] for phase in Phase})

    def _begin_tape(self) -> None:
        """A rule wants the exchange recorded, from this event on."""
        if self.tape is None and self.world.recorder is not None:
            self.reading = self.reading.recording
            self.tape = self._new_tape()

    def _taped(self, stage: Stage, decision: Decision, facts: Facts, sections: Mapping[str, Mapping[str, Any]]) -> None:
        assert self.tape is not None
        wanted = self.reading.recording.wanted[decision.phase, Stage.MAIN]
        event = self.view.event(decision.phase, wanted, **sections)
        id = self.last_decision if decision.outcomes else ""
        self.tape.decided(id, event, facts, decision, admission=stage is Stage.ADMISSION)

    def end_tape(self) -> None:
        """The exchange is over: what is recorded of it goes to the recorder, once."""
        tape, self.tape = self.tape, None
        if tape is None or self.world.recorder is None:
            return
        masks = self.reading.masks
        redact = None if masks is None else lambda text: masks.sub(text, lambda match: f"[{match.name}]")
        recorded = tape.finished(self._at, self.rules.revision)
        if self.concealed:
            recorded = msgspec.convert(self._masked(msgspec.to_builtins(recorded)), RecordedExchange)
        self.world.recorder.offer(recorded, redact)

    def _masked(self, value: Any) -> Any:
        """What leaves the exchange beside its answer: with the placeholders of values that stand in for them."""
        if not self.concealed:
            return value
        match value:
            case str():
                for placeholder, each in self.concealed.items():
                    value = value.replace(each.value, placeholder).replace(_in_json(each.value), placeholder)
                return value
            case dict():
                return {key: self._masked(item) for key, item in value.items()}
            case list() | tuple():
                return [self._masked(item) for item in value]
            case _:
                return value

    def _subject(self) -> Subject:
        view = self.view
        return Subject(
            caller=view.caller.id,
            session=view.session.id,
            request=view.exchange.id,
            protocol=view.exchange.protocol,
            model=view.taken.model or view.exchange.model,
            revision=self.rules.revision,
        )

    async def release(self, usage: Usage | None, account: Account | None = None) -> None:
        """An attempt is over, the last one unless its account is given: what it holds is settled on what it used.

        None: it used nothing. Where the store is down, what it holds lapses there by itself.
        """
        account = account or self.account
        try:
            charges = await account.settle(usage)
        except store.StoreDown:
            self.world.metrics.store_failed("commit")
            return
        if charges:
            self._settled(charges)

    def _settled(self, charges: Sequence[Charge]) -> None:
        """Tell what attempts cost: in the audit log, and where it was more than was held for them, in the log."""
        now = self.world.clock()
        for each in charges:
            self._note(each.held.rule, each.held.meter, each.standing, now)
            if each.overrun and isinstance(each.held.meter, Budget):
                self.world.say_overrun(each.held.rule, self.view.exchange.id, shown(each.overrun, each.held.meter.of))
        spends = tuple(
            Spend(each.held.rule, each.held.meter, each.held.change.amount, each.used)
            for each in charges
            if isinstance(each.held.meter, Budget)
        )
        if spends:
            self._events += 1
            decision = Decision(phase=Phase.ATTEMPT, spends=spends)
            id = f"{self.view.exchange.id}-{self._events}"
            record = record_of(decision, id=id, at=self._at, subject=self._subject(), facts=NO_FACTS)
            self.world.record(self._masked(record))


def _stamp(moment: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    second = int(moment)
    return f"{_of_second(second)}.{int((moment - second) * 1000):03d}+00:00"


@functools.lru_cache(maxsize=2)
def _of_second(second: int) -> str:
    """Exchanges of one second share most of what is written of their time."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _no_placeholder(_name: str, _value: str) -> str:
    raise ActionError(_STORE_DOWN)


def _in_json(value: str) -> str:
    """A text as it stands inside arguments of tool calls."""
    try:
        return msgspec.json.encode(value).decode()[1:-1]
    except UnicodeEncodeError:
        return value  # a lone surrogate stands in no JSON


def _limit_meter(rule: str, key: str, limit: int, every: float) -> store.Window:
    return store.Window(store.Key("limits", rule, key), limit, every)


def _refused(
    decision: Decision, rule: str, message: str, status: int, code: str, retry_after: float | None
) -> Decision:
    """The decision with a refusal as its verdict; nothing that it would have done is done."""
    return _blocked(decision, rule, Block(message, status, code, retry_after))


def _blocked(decision: Decision, rule: str, block: Block) -> Decision:
    return msgspec.structs.replace(
        decision,
        verdict=VerdictKind.BLOCK,
        by=rule,
        effect=block,
        effects=(),
        spends=(),
        shadow_spends=(),
        fires=(),
        changes=(),
        observations=(),
    )
