"""Opens the door of a configuration: what it knows of keys, whom it believes, and that somebody can look after it."""

from collections.abc import Awaitable, Callable

from engine.access.directory import Directory
from engine.access.door import Door
from engine.access.keysets import KeySet
from engine.access.registry import Registry
from engine.access.tokens import Tokens
from engine.diagnostics import ConfigurationError, Where, error
from engine.settings.judge import CONTRADICTION
from engine.settings.model import Issuer, Settings
from engine.world.beacon import Beacon
from engine.world.fetch import Fetcher, read_file
from engine.world.store.base import Store


async def require_admin(registry: Registry) -> None:
    """Somebody can look after the endpoint. Raises ConfigurationError, StoreDown."""
    if await registry.has_admin():
        return
    message = "team mode needs an admin key, and there is none in the store that counts now"
    help = "make one, it is shown once: policy keys create --admin --name YOURS (with --config FILE as for serve)"
    raise ConfigurationError([error(CONTRADICTION, message, Where("server.mode"), help)])


async def open_door(
    settings: Settings,
    store: Store,
    registry: Registry,
    timer: Callable[[], float],
    clock: Callable[[], float],
    beacon: Beacon | None,
) -> Door:
    """The door of team mode; to be closed. Raises ConfigurationError where nobody is an admin, StoreDown."""
    await require_admin(registry)
    directory = Directory(store, timer, clock, beacon)
    fetcher = Fetcher() if settings.access.issuers else None

    def source(issuer: Issuer) -> Callable[[], Awaitable[bytes]]:
        if issuer.jwks_file or fetcher is None:
            path = settings.resolve(issuer.jwks_file)
            return lambda: read_file(path)
        return lambda: fetcher.get(issuer.jwks_url)

    keysets = {name: KeySet(name, source(issuer), timer) for name, issuer in settings.access.issuers.items()}
    door = Door(settings, directory, Tokens(settings.access.issuers, keysets, clock), timer, clock, fetcher)
    await directory.start()
    return door
