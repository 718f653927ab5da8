"""Which backends serve a request: by rule, by the model's name, or by the default route; pure, but for one random number."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.diagnostics import LexgateError
from engine.language.globs import any_glob_matcher, is_glob
from engine.model.exchange import Exchange
from engine.model.legs import Chances, stages
from engine.model.plan import Leg, Plan, PlanError, named, parse_plan, plan_text, resolved
from engine.settings.model import Settings

SHOWN: Final = 20
OWN_ROUTES: Final = "own-route/"
"""What stands before the name of a session's own route among its variables; its value is `{own_route: name, plan: text}`."""

NO_VARIABLES: Final[Mapping[str, Any]] = {}
_SIGNS: Final = "|^!?"
_BEGINNINGS: Final = ("[", "round_robin(", "cheapest(")
"""By what a route is told from the name of a model."""

REMEMBERED: Final = 4096


class NotServed(LexgateError):
    """No backend serves the model; the message names what is served."""


class Routes:
    """The configuration's backends and routes, prepared for lookups."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.served_backends
        self.backends: tuple[str, ...] = tuple(self._settings)
        self._discovered: dict[str, Sequence[str]] = {}
        self._exact: dict[str, Leg] = {}
        self._served: list[str] = []
        self._list()
        self._globs = [
            (name, backend.prefix, any_glob_matcher(globs, ignore_case=False))
            for name, backend in self._settings.items()
            if (globs := [backend.prefix + model for model in backend.models if is_glob(model)])
        ]
        written = {name: parse_plan(plan_text(each), name) for name, each in settings.routes.items()}
        self.named: Mapping[str, Plan] = {name: resolved(plan, written.get) for name, plan in written.items()}
        self._remembered: dict[str, Plan] = {}
        self._parsed: dict[str, Plan] = {}
        self._missed: set[str] = set()
        self.default = settings.default_route
        self.default_models = frozenset({"", *settings.default_models})

    def _list(self) -> None:
        """The names of models, each with the leg that it means; of equal ones the first backend's."""
        self._exact, self._served = {}, []
        for name, backend in self._settings.items():
            exact = [model for model in backend.models if not is_glob(model)]
            for model in dict.fromkeys((*exact, *self._discovered.get(name, ()))):
                self._exact.setdefault(backend.prefix + model, Leg(name, model))
            listed = self._discovered.get(name) or backend.models
            self._served += [backend.prefix + model for model in listed]

    def discovered(self, backend: str, models: Sequence[str]) -> None:
        """What a backend says it has: of that, what fits its `models`, or all. New exchanges know it at once."""
        wanted = self._settings[backend].models
        fits = any_glob_matcher(wanted, ignore_case=False) if wanted else None
        self._discovered[backend] = [model for model in models if fits is None or fits(model)]
        self._list()
        self._remembered.clear()

    def plan(self, text: str) -> Plan:
        """The plan of a route as a rule or the configuration names it: `@name` or the compact text. Raises PlanError."""
        name = named(text)
        if name is not None:
            if name not in self.named:
                raise PlanError(f"unknown route '@{name}'")
            return self.named[name]
        plan = self._parsed.get(text)
        if plan is None:
            plan = resolved(parse_plan(text), self.named.get)
            if len(self._parsed) < REMEMBERED:
                self._parsed[text] = plan
        return plan

    def chosen(self, text: str, own: Mapping[str, Any] = NO_VARIABLES) -> Plan:
        """The plan that a session chose: a route, the name of a model, or a route of its own. Raises NotServed.

        `own` are the session's variables, among which its routes are (`own_route`). A configured name comes first.
        """
        name = named(text)
        if name is not None and name not in self.named and (made := own_route(own, name)) is not None:
            if not made:
                raise NotServed(f"The route '@{name}' of this session has no legs yet.")
            text = made
        elif name is None and not (text.startswith(_BEGINNINGS) or any(sign in text for sign in _SIGNS)):
            return self.for_model(text)
        try:
            plan = self.plan(text)
        except PlanError as wrong:
            raise NotServed(f"The route '{text}' cannot be taken: {wrong}.") from wrong
        for leg in plan.leaves:
            if leg.backend not in self.backends:
                raise NotServed(f"The route '{text}' names a backend '{leg.backend}' that there is not.")
        return plan

    def misses(self, text: str) -> bool:
        """Whether it is the first time that a route of a policy was not there, so that it is worth a line."""
        if text in self._missed or len(self._missed) >= REMEMBERED:
            return False
        self._missed.add(text)
        return True

    def for_model(self, model: str) -> Plan:
        """The plan for a model that a client names. Raises NotServed."""
        plan = self._remembered.get(model)
        if plan is None:
            plan = self._looked_up(model)
            if len(self._remembered) < REMEMBERED:
                self._remembered[model] = plan
        return plan

    def _looked_up(self, model: str) -> Plan:
        """The plan of a model's name.

        A prefix `backend:` counts only if it names a backend (`llama3:8b` is a model); then exact names, then globs, both
        in the configuration's order; then the default route, for no model or one of `default_models`.
        """
        backend, separator, rest = model.partition(":")
        if separator and backend in self.backends:
            return Plan("failover", (Leg(backend, rest),))
        if model and (exact := self._exact.get(model)) is not None:
            return Plan("failover", (exact,))
        if model and (model not in self.default_models or not self.default):
            for name, prefix, fits in self._globs:
                if fits(model):
                    return Plan("failover", (Leg(name, model.removeprefix(prefix)),))
        if model in self.default_models and self.default:
            return self.plan(self.default)
        shown = ", ".join(self._served[:SHOWN]) + (", ..." if len(self._served) > SHOWN else "")
        what = (
            f"The model '{model}' is not served here"
            if model
            else "The request names no model, and there is no default"
        )
        raise NotServed(f"{what}. Served: {shown or 'nothing'}.")

    def models(self) -> list[Mapping[str, str]]:
        """What `GET /v1/models` lists: the exact names, each once."""
        return [{"id": model, "owned_by": leg.backend} for model, leg in self._exact.items()]


def own_routes(variables: Mapping[str, Any]) -> list[str]:
    """The names of the routes that a session made for itself."""
    return [name.removeprefix(OWN_ROUTES) for name in variables if name.startswith(OWN_ROUTES)]


def own_route(variables: Mapping[str, Any], name: str) -> str | None:
    """The plan of a route that a session made for itself; None where it has none of the name."""
    kept = variables.get(f"{OWN_ROUTES}{name}")
    plan = kept.get("plan") if isinstance(kept, dict) else None
    return plan if isinstance(plan, str) else None


def legs_in_order(plan: Plan, random: float) -> Iterator[Leg]:
    """The legs in the order in which they are tried. Weighted: one by weight, then of the rest, as long as one fails.

    `random` is a number from 0 to below 1.
    """
    for stage in stages(plan, Chances(random)):
        yield from stage


def with_params(exchange: Exchange, params: Sequence[tuple[str, Any]]) -> Exchange:
    """The request with a leg's parameters; a name with dots stands for a field within another."""
    changed: dict[str, Any] = dict(exchange.params)
    for name, value in params:
        at: dict[str, Any] = changed
        *outer, last = name.split(".")
        for step in outer:
            inner = at.get(step)
            at[step] = dict(inner) if isinstance(inner, dict) else {}
            at = at[step]
        at[last] = value
    return msgspec.structs.replace(exchange, params=changed, body=None)


def with_model(leg: Leg, model: str) -> Leg:
    """A leg that names no model keeps the client's, less the prefix by which the client chose the backend."""
    if leg.model:
        return leg
    backend, separator, rest = model.partition(":")
    kept = rest if separator and backend == leg.backend else model
    return msgspec.structs.replace(leg, model=kept)
