"""The endpoint: Litestar for what people and monitors ask, the edge for exchanges; opened and closed with the process."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
from litestar import Litestar, MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.plugins import PluginProtocol

from engine import __version__
from engine.codecs.base import Problem
from engine.opening import open_house
from engine.passage.reading import reading_of
from engine.passage.replies import House
from engine.policy.live import Attempt, Live
from engine.policy.recipe import recipe_of
from engine.policy.ruleset import RuleSet
from engine.server.admin import audited, make_admin
from engine.server.admin_docs import STYLE_HASH
from engine.server.door import ADMIN, personal_problem
from engine.server.edge import Edge
from engine.server.models_pages import model, models, problem_response
from engine.server.paths import google_path
from engine.server.speakers import codec_of
from engine.server.together import fleet_of
from engine.settings import Loaded
from engine.settings.model import Settings
from engine.world.crew import Crew
from engine.world.fleet import Fleet
from engine.world.http.base import Headers
from engine.world.metrics import CONTENT_TYPE, Metrics
from engine.world.store.base import StoreDown

_LOG: Final = structlog.get_logger("lexgate")
_PAGE_HEADERS: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; frame-ancestors 'none'".encode(),
    ),
]


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
def healthz() -> str:
    """The process is alive."""
    return "ok"


@get("/readyz", media_type=MediaType.TEXT, sync_to_thread=False)
def readyz(state: State) -> Response[str]:
    """The process serves: a rule set is in force, and it is not stopping."""
    edge: Edge = state.edge
    ready = edge.house is not None and not edge.leaving and not edge.draining
    return Response("ready" if ready else "not ready", status_code=200 if ready else 503, media_type=MediaType.TEXT)


@get("/metrics")
async def metrics(state: State) -> Response[bytes]:
    """Prometheus text exposition; of several workers, whichever was asked shows all."""
    crew: Crew | None = state.crew
    text = state.metrics.render() if crew is None else await crew.render_all()
    return Response(text, headers={"content-type": CONTENT_TYPE})


@get("/policy/status", media_type=MediaType.JSON)
async def policy_status(state: State) -> Response[bytes]:
    """Which rules are in force, from which sources, what is wrong with those that are not, and who else serves what."""
    live: Live = state.edge.live
    status = {"version": __version__, **live.status(), "store": state.edge.house.world.store_status()}
    fleet: Fleet | None = state.fleet()
    if fleet is not None:
        with contextlib.suppress(StoreDown):  # `store` says it
            members = await fleet.members()
            revisions = {each.revision for each in members if not each.leaving}
            status |= {"processes": members, "agree": revisions <= {live.current.revision}}
    return Response(msgspec.json.encode(status), media_type=MediaType.JSON)


def _problem_page(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Everything that is no route of ours, in the shape that clients parse."""
    status, message, headers = error.status_code, error.detail, dict(error.headers or {})
    if status == 405 and google_path(request.scope["path"]) is not None:
        status = 404  # a method on a model that is none of ours
    match status:
        case 404:
            message = f"There is no {request.method} {request.url.path} here."
        case 405:
            message = f"{request.method} is not possible here; use GET."
            headers["allow"] = "GET"
        case _:
            pass
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return problem_response(request, Problem(status=status, message=message, kind=kind), headers)


def _broken_page(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The outermost edge of the pages: the log has the reason, the client does not."""
    _LOG.error("page failed", path=request.url.path, exc_info=error)
    problem = Problem(status=500, message="The proxy failed; its log has the reason.", kind="server_error")
    return problem_response(request, problem)


def guarded(
    app: Callable[[Any, Any, Any], Awaitable[None]], settings: Settings
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """The pages behind the door of personal mode (no foreign host, no web page of another site), with safe headers."""

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers: Headers = scope["headers"]
        problem = personal_problem(scope["method"], headers) if settings.server.mode == "personal" else None
        if problem is not None:
            body = codec_of(scope["path"], headers).encode_problem(problem)
            more = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *_PAGE_HEADERS]
            await send({"type": "http.response.start", "status": problem.status, "headers": more})
            await send({"type": "http.response.body", "body": body})
            return

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_PAGE_HEADERS]}
            await send(message)

        await app(scope, receive, sent)

    return guard


class _Pages(Litestar):
    """Pages that need no model library: by itself Litestar imports each that is installed, pydantic's takes 9 MB."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return plugins


def make_app(loaded: Loaded, crew: Callable[[Metrics], Crew] | None = None) -> Edge:
    """The ASGI application of a configuration. Where no rules can be served, its lifespan fails and `failure` says why.

    One of several workers is given how it finds the others.
    """
    settings = loaded.settings
    metrics_of_process = Metrics(__version__)
    recipe = recipe_of(loaded)
    together: list[Fleet] = []
    workers = crew(metrics_of_process) if crew is not None else None

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[tuple[House, Live]]:
        live = Live(
            recipe,
            last_good=settings.resolve(settings.reload.last_good) if settings.reload.last_good else None,
            watching=settings.reload.enabled,
            quiet=float(settings.reload.debounce),
            prepare=reading_of,
            on_swap=_swapped(metrics_of_process),
            on_attempt=_attempted(metrics_of_process),
        )
        await live.start()
        try:
            house = await open_house(settings, metrics_of_process)
            try:
                if workers is not None:
                    await workers.start()
                if settings.server.mode == "team" or workers is not None:
                    together.append(fleet_of(edge, house, live, workers.number if workers is not None else 0))
                    await together[0].start()
                yield house, live
            finally:
                for fleet in together:
                    await fleet.close()
                if workers is not None:
                    await workers.close()
                await house.aclose()
        finally:
            await live.close()

    pages = _Pages(
        route_handlers=[healthz, readyz, metrics, policy_status, models, model],
        openapi_config=None,
        exception_handlers={HTTPException: _problem_page, Exception: _broken_page},
        logging_config=None,
    )

    async def rest(scope: Any, receive: Any, send: Any) -> None:
        app = admin if admin is not None and scope["path"].startswith(ADMIN) else pages
        await app(scope, receive, send)

    edge = Edge(guarded(rest, settings), opened)
    # In personal mode there is none: what runs on this machine is what the rules govern.
    in_team = settings.server.mode == "team"
    admin = audited(make_admin(edge, lambda: together[0]), edge) if in_team else None
    pages.state.fleet = lambda: together[0] if together else None
    pages.state.edge = edge
    pages.state.metrics = metrics_of_process
    pages.state.crew = workers
    return edge


def _swapped(metrics: Metrics) -> Any:
    def on_swap(_old: RuleSet, new: RuleSet, removed: tuple[str, ...]) -> None:
        metrics.policies_loaded(new.revision, len(new.rules))
        _LOG.info("policies live", revision=new.revision, rules=len(new.rules), removed=list(removed))

    return on_swap


def _attempted(metrics: Metrics) -> Any:
    refused = False

    def on_attempt(attempt: Attempt) -> None:
        nonlocal refused
        was_refused, refused = refused, not attempt.sound
        if attempt.sound:
            if was_refused:
                metrics.policies_mended()
                _LOG.info("policies mended", revision=attempt.revision)
            return
        metrics.policies_refused()
        for each in attempt.diagnostics:
            if each.stops_loading:
                _LOG.error(
                    "policies refused", where=str(each.where), code=each.code, problem=each.message, help=each.help
                )

    return on_attempt
