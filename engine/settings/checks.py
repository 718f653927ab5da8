"""What no single setting can know: values that contradict each other."""

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, Final

from engine.diagnostics import Diagnostic, Where, error
from engine.model.plan import Plan, PlanError, parse_plan, plan_text, resolved
from engine.settings.access_checks import ACCESS_CHECKS
from engine.settings.backend_checks import BACKEND_CHECKS, Finding
from engine.settings.judge import CONTRADICTION, Steps, closest
from engine.settings.model import Settings

STATE_SCHEMES: Final = ("memory", "sqlite", "postgresql", "redis", "rediss", "valkey", "valkeys")


def contradictions(settings: Settings, where: Callable[[Steps], Where]) -> list[Diagnostic]:
    """Return everything in which the settings contradict each other or cannot work."""
    findings = [finding for check in CHECKS for finding in check(settings)]
    return [error(CONTRADICTION, message, where(path), help) for path, message, help in findings]


def personal_is_loopback(settings: Settings) -> Iterator[Finding]:
    host = settings.server.host
    if settings.server.mode == "personal" and not is_loopback(host):
        help = "listen on 127.0.0.1, or set server.mode: team, where every caller has a key"
        yield ("server", "host"), f"personal mode has no keys, so it cannot listen on '{host}'", help


def state_is_known_and_shared(settings: Settings) -> Iterator[Finding]:
    scheme = settings.state.reveal().partition("://")[0]
    if "://" not in settings.state.reveal() or scheme not in STATE_SCHEMES:
        shown = ", ".join(f"{each}://" for each in STATE_SCHEMES)
        yield ("state",), "this is no store that can be used", f"one of {shown}"
    elif scheme == "memory" and settings.server.workers > 1:
        message = f"{settings.server.workers} workers cannot share state in memory://"
        yield ("server", "workers"), message, "set state: sqlite:///… (one host) or redis://…, or one worker"


def default_route_exists(settings: Settings) -> Iterator[Finding]:
    named = settings.default_route.removeprefix("@")
    if settings.default_route.startswith("@") and named not in settings.routes:
        yield ("default_route",), f"there is no route '{named}'", closest(named, list(settings.routes))


def routes_lead_to_backends(settings: Settings) -> Iterator[Finding]:
    """Every route is written as the grammar wants it, and names backends that are there."""
    written: list[tuple[Steps, Any]] = [(("routes", name), route) for name, route in settings.routes.items()]
    if settings.default_route and not settings.default_route.startswith("@"):
        written.append((("default_route",), settings.default_route))
    known = list(settings.served_backends)
    plans: dict[str, Plan] = {}
    read: list[tuple[Steps, Plan]] = []
    for place, route in written:
        try:
            plan = parse_plan(plan_text(route), str(place[1]) if len(place) > 1 else "")
        except PlanError as wrong:
            yield place, wrong.message, wrong.help
            continue
        read.append((place, plan))
        if plan.name:
            plans[plan.name] = plan
    for place, plan in read:
        try:
            resolved(plan, plans.get)
        except PlanError as wrong:
            yield place, wrong.message, wrong.help or closest(wrong.message.partition("'@")[2].rstrip("'"), list(plans))
            continue
        for leg in plan.legs:
            if not leg.route and leg.backend not in known:
                help = closest(leg.backend, known) or f"known: {', '.join(known)}"
                yield place, f"there is no backend '{leg.backend}'", help


CHECKS: Final = (
    personal_is_loopback,
    state_is_known_and_shared,
    *BACKEND_CHECKS,
    *ACCESS_CHECKS,
    default_route_exists,
    routes_lead_to_backends,
)


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address or `localhost`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
