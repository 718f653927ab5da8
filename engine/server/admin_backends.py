"""Backends: how they are, as the process sees it that is asked, and taking one out of service on every process."""

from typing import Annotated, Final

import msgspec
from litestar.datastructures import State
from litestar.params import PathParameter
from msgspec import Meta
from msgspec.structs import replace

from .admin_base import FOR_OPERATORS, NEEDS, AnyRequest, Desk, Refusal, desk, get, noted, post

Name = Annotated[str, PathParameter(max_length=200)]


class BackendView(msgspec.Struct, frozen=True, kw_only=True):
    """A backend without its keys."""

    name: str
    protocol: str
    url: str
    models: tuple[str, ...]
    available: Annotated[bool, Meta(description="Whether new attempts may go there.")]
    why_not: Annotated[str, Meta(description="Why not: its health check, or an operator.")] = ""
    drained: Annotated[bool, Meta(description="Taken out by an operator, on every process.")] = False
    keys: Annotated[int, Meta(description="How many keys are configured for it.")] = 0
    keys_rest_until: Annotated[
        float, Meta(description="When one of its keys may be used again, as all of them rest; 0: one may be now.")
    ] = 0.0


def _view(at: Desk, name: str) -> BackendView:
    backend = at.world.backends.by_name.get(name)
    if backend is None:
        known = ", ".join(at.world.backends.by_name)
        raise Refusal(404, "backend_not_found", f"There is no backend '{name}'.", f"there are: {known}")
    settings = backend.settings
    why = at.world.health.why_not(name, "")
    return BackendView(
        name=name,
        protocol=backend.protocol,
        url=settings.base_url,
        models=settings.models,
        available=not why,
        why_not=why,
        drained=name in at.world.health.drained,
        keys=0 if settings.forwards_client_key else len(settings.api_key),
        keys_rest_until=backend.rests_until,
    )


@get("/backends", tags=["backends"])
async def list_backends(state: State) -> list[BackendView]:
    """All backends, in the order in which models are looked up."""
    at = desk(state)
    return [_view(at, name) for name in at.world.backends.by_name]


@get("/backends/{name:str}", tags=["backends"])
async def show_backend(state: State, name: Name) -> BackendView:
    """One backend."""
    return _view(desk(state), name)


async def _set(request: AnyRequest, at: Desk, name: str, action: str, *, drained: bool) -> BackendView:
    _view(at, name)
    await at.fleet.order(
        lambda orders: replace(
            orders, drained=tuple(sorted({*orders.drained, name} if drained else {*orders.drained} - {name}))
        )
    )
    noted(request, action, name)
    return _view(at, name)


@post("/backends/{name:str}/drain", tags=["backends"], status_code=200, opt={NEEDS: FOR_OPERATORS})
async def drain(request: AnyRequest, state: State, name: Name) -> BackendView:
    """Begin no new attempts there, on any process; what is in flight goes on."""
    return await _set(request, desk(state), name, "backends.drain", drained=True)


@post("/backends/{name:str}/undrain", tags=["backends"], status_code=200, opt={NEEDS: FOR_OPERATORS})
async def undrain(request: AnyRequest, state: State, name: Name) -> BackendView:
    """Take it into service again."""
    return await _set(request, desk(state), name, "backends.undrain", drained=False)


ROUTES: Final = (list_backends, show_backend, drain, undrain)
