"""What a caller may use: the scopes of its key, its team and its roles, of which each must allow it. Pure."""

import ipaddress
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec

from engine.access.denial import OutOfScope, forbidden
from engine.language.globs import any_glob_matcher
from engine.settings.model import Names, Reach

Test = Callable[[str], bool]


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The scope that a key, a team or a role has, as it is stored. None: not limited; (): nothing. Globs are allowed.

    `models` are `model` or `backend:model`, `addresses` are networks (CIDR).
    """

    models: Names | None = None
    routes: Names | None = None
    tools: Names | None = None
    protocols: Names | None = None
    addresses: Names | None = None

    @classmethod
    def of(cls, reach: Reach) -> "Scope":
        return cls(**msgspec.structs.asdict(reach))


class _Layer:
    """One scope, prepared: `whose` is said in refusals."""

    def __init__(self, whose: str, scope: Scope, backends: Collection[str]) -> None:
        self.whose = whose
        self.scope = scope
        self.routes = _test(scope.routes)
        self.tools = _test(scope.tools)
        self.protocols = _test(scope.protocols)
        self.networks = (
            None if scope.addresses is None else [ipaddress.ip_network(each, strict=False) for each in scope.addresses]
        )
        self.models = self.pairs = self.parts = None
        if scope.models is not None:
            split = [_split(each, backends) for each in scope.models]
            self.models = any_glob_matcher(model for backend, model in split if not backend)
            self.pairs = any_glob_matcher(f"{backend}:{model}" for backend, model in split if backend)
            self.parts = any_glob_matcher(model for _, model in split)


class Grant:
    """All scopes of one caller. `EVERYTHING` limits nothing, as in personal mode."""

    __slots__ = ("_addressed", "_backends", "_layers", "_modelled", "_protocolled", "_routed", "_tooled")

    def __init__(self, scopes: Iterable[tuple[str, Scope]] = (), backends: Iterable[str] = ()) -> None:
        """`scopes` with whose each is: `the team 'payments'`. ValueError for an address that is none."""
        self._backends = frozenset(backends)
        layers = [_Layer(whose, scope, self._backends) for whose, scope in scopes if scope != Scope()]
        self._layers = layers
        self._modelled = [each for each in layers if each.models is not None]
        self._routed = [each for each in layers if each.routes is not None]
        self._tooled = [each for each in layers if each.tools is not None]
        self._protocolled = [each for each in layers if each.protocols is not None]
        self._addressed = [each for each in layers if each.networks is not None]

    def admit_address(self, address: str) -> None:
        """The caller's address is one of its networks. Raises OutOfScope."""
        if not self._addressed:
            return
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            found = None
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        for layer in self._addressed:
            if found is None or not any(
                network.version == found.version and found in network for network in layer.networks or ()
            ):
                message = f"{layer.whose} may not be used from your address {address}."
                raise OutOfScope(forbidden(_sentence(message), "address_not_allowed"))

    def admit_protocol(self, protocol: str) -> None:
        """The endpoint is spoken by the caller. Raises OutOfScope."""
        for layer in self._protocolled:
            if layer.protocols is not None and not layer.protocols(protocol):
                raise _refused(layer, "the protocol", protocol, layer.scope.protocols, "protocol_not_allowed")

    def admit_model(self, asked: str, defaults: Collection[str] = (), default_route: str = "") -> None:
        """The model that a client names. `defaults` are the names that mean the default route. Raises OutOfScope.

        Where models are limited, the default route needs the caller's routes to name it, or its models the word for it.
        """
        if not (self._modelled or self._routed) or not (asked or default_route):
            return
        if asked in defaults and default_route:
            name = default_route.removeprefix("@") if default_route.startswith("@") else "default"
            self.admit_route(name)
            named = bool(self._routed)
            for layer in self._modelled:
                if not named and not (asked and layer.models is not None and layer.models(asked)):
                    raise _refused(
                        layer, "the model", asked or "default", layer.scope.models, "model_not_allowed", "model"
                    )
            return
        backend, model = _split(asked, self._backends)
        for layer in self._modelled:
            if layer.models is None or layer.pairs is None or layer.parts is None:
                continue
            fits = layer.models(model) or (layer.pairs(asked) if backend else layer.parts(model))
            if not fits:
                raise _refused(layer, "the model", asked, layer.scope.models, "model_not_allowed", "model")

    def admit_attempt(self, backend: str, model: str) -> None:
        """The backend and the model of one attempt, where no operator's rule or named route chose them. Raises OutOfScope."""
        for layer in self._modelled:
            if not self._reaches(layer, backend, model):
                raise _refused(
                    layer, "the model", f"{backend}:{model}", layer.scope.models, "model_not_allowed", "model"
                )

    def sees(self, backend: str, model: str) -> bool:
        """Whether a list of models shows it to the caller."""
        return all(self._reaches(layer, backend, model) for layer in self._modelled)

    def admit_tools(self, names: Sequence[str]) -> None:
        """The tools that a request offers to the model. Raises OutOfScope for the first that is not the caller's."""
        for layer in self._tooled:
            for name in names:
                if layer.tools is not None and not layer.tools(name):
                    raise _refused(layer, "the tool", name, layer.scope.tools, "tool_not_allowed", "tools")

    def admit_route(self, name: str) -> None:
        """A named route. Raises OutOfScope."""
        for layer in self._routed:
            if layer.routes is not None and not layer.routes(name):
                raise _refused(layer, "the route", name, layer.scope.routes, "route_not_allowed", "model")

    @staticmethod
    def _reaches(layer: _Layer, backend: str, model: str) -> bool:
        return bool(layer.models and layer.models(model)) or bool(layer.pairs and layer.pairs(f"{backend}:{model}"))


EVERYTHING: Final = Grant()


def _test(names: Names | None) -> Test | None:
    return None if names is None else any_glob_matcher(names)


def _split(text: str, backends: Collection[str]) -> tuple[str, str]:
    """`backend:model` where the backend is configured: `llama3:8b` is a model."""
    backend, colon, model = text.partition(":")
    return (backend, model) if colon and backend in backends else ("", text)


_SHOWN: Final = 10


def _refused(
    layer: _Layer, what: str, name: str, allowed: Names | None, code: str, param: str | None = None
) -> OutOfScope:
    shown = ", ".join((allowed or ())[:_SHOWN]) + (", ..." if len(allowed or ()) > _SHOWN else "")
    message = f"{layer.whose} may not use {what} '{name}'. Allowed: {shown or 'none'}."
    return OutOfScope(forbidden(_sentence(message), code, param))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
