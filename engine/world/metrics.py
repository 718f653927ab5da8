"""What the process counts of itself, in the words of the domain, and shows in Prometheus' text format."""

import time
from collections.abc import Callable, Iterator
from typing import Final, Literal, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as Family

from engine.model.decision import Decision, Mode, OutcomeKind
from engine.model.effects import Metric, VerdictKind
from engine.world.chain import Head
from engine.world.tally import NamedTallies, Spread, Tally, clean

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""The content type of `Metrics.render()`."""

WAITS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

_VERDICTS: Final = {kind: str(kind) for kind in VerdictKind}

StreamEnd = Literal["complete", "cut_off", "client_gone", "failed"]
ToolFate = Literal["passed", "held", "rewritten", "steered", "dropped", "blocked"]


class AuditCounts(Protocol):
    """What an audit log knows of itself."""

    dropped: int
    lost: int
    failures: int

    @property
    def head(self) -> Head: ...

    @property
    def waiting(self) -> int: ...


class RecorderCounts(Protocol):
    """What a recorder knows of itself."""

    recorded: int
    dropped: int
    oversized: int


class Metrics:
    """One for a process, with a registry of its own. Counting costs a fraction of a microsecond; see `tally`.

    `model` is the name that a request is served under. Values of labels that are open (models, tools, rules) are capped:
    beyond the cap they are counted as `other`.
    """

    def __init__(self, version: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self.in_flight = 0
        """Exchanges that have begun and not ended; the server counts up and down."""
        self.compared: Callable[[str, str, str], None] = lambda _rule, _would, _did: None
        """Told of every rule in shadow that matched: its verdict, and the one that was enforced."""
        self._version = version
        self._clock = clock
        self._started = clock()
        self._revision = ""
        self._rules = 0
        self._loaded_at = 0.0
        self._reload_ok = True
        self._watched: list[
            tuple[type[CounterMetricFamily] | type[GaugeMetricFamily], str, str, Callable[[], float]]
        ] = []

        request = ("protocol", "model", "backend")
        self._requests = Tally(
            "lexgate_requests", "Requests of clients that were answered.", (*request, "status"), open=("model",)
        )
        self._total = Spread(
            "lexgate_request_seconds", "From a request to its answer's last byte.", ("protocol", "backend"), WAITS
        )
        self._first_byte = Spread(
            "lexgate_first_byte_seconds", "From a request to its answer's first byte.", ("protocol", "backend"), WAITS
        )
        self._streams = Tally("lexgate_streams", "Streamed answers by how they ended.", ("protocol", "end"))
        self._decisions = Tally(
            "lexgate_decisions",
            "Decisions by verdict and the rule that gave it; mode shadow: what a rule would have done.",
            ("phase", "verdict", "rule", "mode"),
            open=("rule",),
        )
        self._shadow = Tally(
            "lexgate_shadow_matches",
            "Matches of rules in shadow; agrees: the verdict would have been the one that was enforced.",
            ("rule", "agrees"),
            open=("rule",),
        )
        self._errors = Tally(
            "lexgate_policy_rule_errors", "Rules whose evaluation failed.", ("rule", "phase"), open=("rule",)
        )
        self._tool_calls = Tally("lexgate_tool_calls", "Tool calls of models by what became of them.", ("fate",))
        self._reasks = Tally("lexgate_reasks", "Times that a model was asked again in one exchange.", ("backend",))
        self._attempts = Tally(
            "lexgate_upstream_attempts", "Attempts to get an answer.", ("backend", "model"), open=("model",)
        )
        self._failures = Tally(
            "lexgate_upstream_failures", "Attempts that failed before output.", ("backend", "kind"), open=("kind",)
        )
        self._tokens = Tally(
            "lexgate_tokens", "Tokens as providers reported them.", ("backend", "model", "direction"), open=("model",)
        )
        self._costs = Tally(
            "lexgate_cost_usd", "US dollars of answers whose price is known.", ("backend", "model"), open=("model",)
        )
        self._unpriced = Tally(
            "lexgate_unpriced", "Answers whose price is not known.", ("backend", "model"), open=("model",)
        )
        self._warnings = Tally(
            "lexgate_budget_warnings", "Attempts under a budget that is nearly spent.", ("rule",), open=("rule",)
        )
        self._overruns = Tally(
            "lexgate_budget_overruns", "Attempts that used more than was set aside.", ("rule",), open=("rule",)
        )
        self._keys = Tally(
            "lexgate_backend_key_refused",
            "Refusals of a backend's keys, by the key's number in the configuration.",
            ("backend", "key", "status"),
        )
        self._lists = Tally(
            "lexgate_backend_model_lists", "Lists of models that were asked for.", ("backend", "result")
        )
        self._health = Tally(
            "lexgate_backend_health_changes",
            "Breakers that opened or closed, and backends that their checks took out or brought back.",
            ("backend", "state"),
        )
        self._reloads = Tally("lexgate_policy_reloads", "Attempts to load a changed set of policies.", ("result",))
        self._store = Tally(
            "lexgate_store_failures", "Operations of the state store that failed.", ("operation",), open=("operation",)
        )
        self._notifications = Tally(
            "lexgate_notifications", "Webhook deliveries by result.", ("rule", "result"), open=("rule",)
        )
        self._rule_metrics = NamedTallies("lexgate_rule", "Counted by a rule's `metric` action.")

        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        for each in (
            self._requests, self._total, self._first_byte, self._streams, self._decisions, self._shadow, self._errors,
            self._tool_calls, self._reasks, self._attempts, self._failures, self._tokens, self._reloads, self._store,
            self._notifications, self._rule_metrics, self._costs, self._unpriced, self._keys, self._lists,
            self._health, self._warnings,
            self._overruns,
        ):  # fmt: skip
            self._registry.register(each)

    def answered(self, protocol: str, model: str, backend: str, status: int, seconds: float) -> None:
        """A request has been answered to its last byte; `backend` is "" where none was asked."""
        self._requests.add(protocol, model, backend, str(status))
        self._total.add(protocol, backend, seconds=seconds)

    def first_byte(self, protocol: str, backend: str, seconds: float) -> None:
        self._first_byte.add(protocol, backend, seconds=seconds)

    def streamed(self, protocol: str, end: StreamEnd) -> None:
        self._streams.add(protocol, end)

    def decided(self, decision: Decision) -> None:
        """Count a decision, what shadowed rules would have decided, and the rules that failed."""
        phase = decision.phase
        self._decisions.add(phase, _VERDICTS[decision.verdict], decision.by, "enforce")
        for outcome in decision.outcomes:
            if outcome.outcome is OutcomeKind.ERROR:
                self._errors.add(outcome.rule, phase)
            if outcome.mode is Mode.SHADOW and outcome.outcome is OutcomeKind.MATCHED:
                self._decisions.add(phase, _VERDICTS[outcome.verdict], outcome.rule, "shadow")
                agrees = max(outcome.verdict, decision.verdict) is decision.verdict
                self._shadow.add(outcome.rule, "yes" if agrees else "no")
                self.compared(outcome.rule, _VERDICTS[outcome.verdict], _VERDICTS[decision.verdict])

    def tool_call(self, fate: ToolFate) -> None:
        self._tool_calls.add(fate)

    def reasked(self, backend: str) -> None:
        self._reasks.add(backend)

    def attempted(self, backend: str, model: str) -> None:
        self._attempts.add(backend, model)

    def attempt_failed(self, backend: str, kind: str) -> None:
        """`kind` is the error event's kind."""
        self._failures.add(backend, kind)

    def used(self, backend: str, model: str, input_tokens: int, output_tokens: int) -> None:
        self._tokens.add(backend, model, "input", by=input_tokens)
        self._tokens.add(backend, model, "output", by=output_tokens)

    def spent(self, backend: str, model: str, dollars: float) -> None:
        self._costs.add(backend, model, by=dollars)

    def unpriced(self, backend: str, model: str) -> None:
        """An answer whose cost is not known."""
        self._unpriced.add(backend, model)

    def budget_warned(self, rule: str) -> None:
        """A budget is beyond the share from which its rule warns."""
        self._warnings.add(rule)

    def budget_overrun(self, rule: str) -> None:
        """An attempt used more of a budget than was set aside for it."""
        self._overruns.add(rule)

    def key_refused(self, backend: str, key: int, status: int) -> None:
        """A backend refused a key; `key` is its number, from 1."""
        self._keys.add(backend, str(key), str(status))

    def health_changed(self, backend: str, state: str) -> None:
        """A breaker is `open` or `closed`, or a backend `down` or `up` again."""
        self._health.add(backend, state)

    def models_listed(self, backend: str, result: Literal["success", "failure"]) -> None:
        """A backend was asked which models it has."""
        self._lists.add(backend, result)

    def policies_loaded(self, revision: str, rules: int) -> None:
        """A set of policies went live, at start or by a reload."""
        self._reloads.add("success")
        self._revision, self._rules = revision, rules
        self._loaded_at, self._reload_ok = self._clock(), True

    def policies_mended(self) -> None:
        """The files are again what is in force."""
        self._reload_ok = True

    def policies_refused(self) -> None:
        """A changed set did not load; the last good one goes on."""
        self._reloads.add("failure")
        self._reload_ok = False

    def store_failed(self, operation: str) -> None:
        self._store.add(operation)

    def notified(self, rule: str, result: str) -> None:
        """What became of a notification: what `Outbound` calls as its `count`."""
        self._notifications.add(rule, result)

    def counted(self, metric: Metric) -> None:
        """The `metric` action of a rule."""
        self._rule_metrics.add(metric.name, metric.labels, metric.by)

    def watch_audit(self, log: AuditCounts) -> None:
        """Show what an audit log counts of itself, read when metrics are."""
        self.watch_counter("lexgate_audit_records", "Records in the log.", lambda: log.head.count)
        self.watch_counter("lexgate_audit_dropped", "Records that found the log full.", lambda: log.dropped)
        self.watch_counter("lexgate_audit_lost", "Records that waited when the log was closed.", lambda: log.lost)
        self.watch_counter("lexgate_audit_failures", "Writes that the disk refused.", lambda: log.failures)
        self.watch_gauge("lexgate_audit_waiting", "Records that are not written yet.", lambda: log.waiting)

    def watch_recorder(self, recorder: RecorderCounts) -> None:
        """Show what the recorder counts of itself, read when metrics are."""
        self.watch_counter("lexgate_recorded", "Exchanges that were recorded for replay.", lambda: recorder.recorded)
        self.watch_counter("lexgate_record_dropped", "Exchanges that could not be recorded.", lambda: recorder.dropped)
        self.watch_counter(
            "lexgate_record_oversized", "Exchanges that were too long to be recorded.", lambda: recorder.oversized
        )

    def watch_counter(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Show a number that grows, read when metrics are; `name` without `_total`."""
        self._watched.append((CounterMetricFamily, name, help, read))

    def watch_gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Show a number that goes up and down, read when metrics are."""
        self._watched.append((GaugeMetricFamily, name, help, read))

    def collect(self) -> Iterator[Family]:
        """What has one value now; called by the registry."""
        info = GaugeMetricFamily("lexgate_build_info", "The version that runs.", labels=("version",))
        info.add_metric((clean(self._version),), 1)
        yield info
        yield GaugeMetricFamily("lexgate_start_time_seconds", "When the process began.", value=self._started)
        yield GaugeMetricFamily("lexgate_exchanges_in_flight", "Exchanges under way.", value=self.in_flight)
        if self._revision:
            revision = GaugeMetricFamily(
                "lexgate_policy_info", "The set of policies that new exchanges get.", labels=("revision",)
            )
            revision.add_metric((clean(self._revision),), 1)
            yield revision
        yield GaugeMetricFamily("lexgate_policy_rules", "Rules of that set.", value=self._rules)
        yield GaugeMetricFamily(
            "lexgate_policy_last_success_timestamp_seconds", "When that set went live.", value=self._loaded_at
        )
        yield GaugeMetricFamily(
            "lexgate_policy_reload_ok", "1 unless the last change of policies did not load.", value=self._reload_ok
        )
        for kind, name, help, read in self._watched:
            yield kind(name, help, value=read())

    def render(self) -> bytes:
        """All metrics, as `CONTENT_TYPE`."""
        return generate_latest(self._registry)
