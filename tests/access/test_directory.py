"""What a server knows of the store: how fresh it is, and what becomes of callers when the store is gone."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.access import keys
from engine.access.denial import Denied
from engine.access.directory import LIVES, Directory
from engine.access.door import Admitted, Door
from engine.access.records import KeyRecord
from engine.access.registry import Draft, Registry, RegistryError
from engine.access.scopes import Scope
from engine.access.tokens import Tokens
from engine.settings.model import Access, Settings, StoreDown
from engine.settings.values import Seconds
from engine.world.beacon import Beacon
from engine.world.store.base import Caps
from engine.world.store.base import StoreDown as Down
from engine.world.store.memory import MemoryStore


class House:
    """A store that can be stopped, a clock, and a door on them whose directory looks only when it is asked to."""

    def __init__(self, settings: Settings | None = None, beacon: Path | None = None) -> None:
        self.now = 1000.0
        self.reads = 0
        self.down = False
        self.store = MemoryStore(lambda: self.now, Caps())
        turn = iter(range(10_000))
        self.registry = Registry(
            self.store, lambda: self.now, lambda count: hashlib.sha512(str(next(turn)).encode()).digest()[:count],
            Beacon(beacon) if beacon else None,
        )  # fmt: skip
        self.directory = Directory(self, lambda: self.now, lambda: self.now, Beacon(beacon) if beacon else None)  # type: ignore[arg-type]
        self.door = Door(
            settings or Settings(), self.directory, Tokens({}, {}, lambda: self.now), lambda: self.now, lambda: self.now
        )

    async def read(self, **what: Any) -> Any:
        self.reads += 1
        if self.down:
            raise Down("gone")
        return await self.store.read(**what)

    async def scan(self, *what: Any, **more: Any) -> Any:
        if self.down:
            raise Down("gone")
        return await self.store.scan(*what, **more)

    async def ask(self, text: str, address: str = "1.2.3.4") -> str:
        """The caller's id, or the code of the refusal."""
        found = await self.door.admit([(b"x-api-key", text.encode())], b"", address)
        return found.identity.id if isinstance(found, Admitted) else found.code


def story(of: Callable[[House], Awaitable[None]], **more: Any) -> None:
    async def told() -> None:
        await of(House(**more))

    asyncio.run(told())


def test_a_key_that_is_known_costs_no_look_at_the_store() -> None:
    async def of(house: House) -> None:
        made = await house.registry.create(Draft(name="a"))
        assert await house.ask(made.text) == "key:a"
        before = house.reads
        for _ in range(100):
            assert await house.ask(made.text) == "key:a"
        assert house.reads == before

    story(of)


def test_a_change_is_seen_within_a_second() -> None:
    async def of(house: House) -> None:
        made = await house.registry.create(Draft(name="a"))
        assert await house.ask(made.text) == "key:a"
        await house.registry.revoke("a")
        house.now += LIVES + 0.01
        assert await house.ask(made.text) == "revoked_api_key"

    story(of)


def test_a_change_on_the_same_host_is_seen_at_once(tmp_path: Path) -> None:
    async def of(house: House) -> None:
        made = await house.registry.create(Draft(name="a"))
        assert await house.ask(made.text) == "key:a"
        await house.registry.revoke("a")
        assert await house.ask(made.text) == "revoked_api_key"

    story(of, beacon=tmp_path / "beacon")


def test_a_request_that_waited_does_not_bring_a_revoked_key_back() -> None:
    """The key is read, then revoked, and only then is what was read put away."""

    async def of(house: House) -> None:
        made = await house.registry.create(Draft(name="a"))
        find = house.directory.find

        async def slowly(id: str) -> KeyRecord | None:
            found = await find(id)
            await house.registry.revoke("a")
            return found

        house.directory.find = slowly  # type: ignore[method-assign]
        assert await house.ask(made.text) == "key:a"  # it began before
        house.directory.find = find  # type: ignore[method-assign]
        house.now += LIVES + 0.01
        assert await house.ask(made.text) == "revoked_api_key"

    story(of)


@pytest.mark.parametrize(("serve_for", "served"), [(0.0, 1.0), (60.0, 60.0)])
def test_while_the_store_is_down_known_keys_are_served_as_long_as_the_operator_says(
    serve_for: float, served: float
) -> None:
    settings = Settings(access=Access(store_down=StoreDown(serve_for=Seconds(serve_for))))

    async def of(house: House) -> None:
        made, other = await house.registry.create(Draft(name="a")), await house.registry.create(Draft(name="b"))
        assert await house.ask(made.text) == "key:a"
        house.down = True
        house.now += served
        assert await house.ask(made.text) == "key:a"
        assert await house.ask(other.text) == "store_down"
        house.now += 0.01
        assert await house.ask(made.text) == "store_down"
        house.down = False
        assert await house.ask(made.text) == "key:a"

    story(of, settings=settings)


def test_a_key_that_expires_while_the_store_is_down_is_refused() -> None:
    settings = Settings(access=Access(store_down=StoreDown(serve_for=Seconds(600))))

    async def of(house: House) -> None:
        made = await house.registry.create(Draft(expires=house.now + 30))
        assert (await house.ask(made.text)).startswith("key:lxg_")
        house.down = True
        house.now += 30
        assert await house.ask(made.text) == "expired_api_key"

    story(of, settings=settings)


def test_wrong_keys_make_their_address_wait_and_nobody_who_was_right() -> None:
    async def of(house: House) -> None:
        right, late = await house.registry.create(Draft(name="a")), await house.registry.create(Draft(name="b"))
        assert await house.ask(right.text) == "key:a"
        answers = [await house.ask("guess") for _ in range(20)]
        assert answers == ["invalid_api_key"] * 11 + ["too_many_wrong_keys"] * 9
        assert await house.ask(right.text) == "key:a"
        assert await house.ask(late.text) == "too_many_wrong_keys"  # nobody knows yet that it is right
        assert await house.ask(late.text, "5.6.7.8") == "key:b"
        house.now += 1.01
        assert await house.ask(right.text) == "key:a"

    story(of)


def test_a_right_key_is_looked_at_though_its_neighbours_guess_and_the_store_changed() -> None:
    async def of(house: House) -> None:
        right = await house.registry.create(Draft(name="a"))
        assert await house.ask(right.text) == "key:a"
        for _ in range(50):
            await house.ask("guess")
        await house.registry.put_team("x", Scope())
        house.now += LIVES + 0.01
        assert await house.ask(right.text) == "key:a"

    story(of)


def test_expired_and_revoked_keys_are_no_guesses() -> None:
    async def of(house: House) -> None:
        gone = await house.registry.create(Draft(name="a"))
        await house.registry.revoke("a")
        assert [await house.ask(gone.text) for _ in range(50)] == ["revoked_api_key"] * 50

    story(of)


def test_a_wrong_secret_of_a_real_key_is_refused() -> None:
    async def of(house: House) -> None:
        made = await house.registry.create(Draft(name="a"))
        forged = keys.mint(lambda count: bytes(count), made.record.id)
        assert keys.id_of(forged.text) == made.record.id
        assert await house.ask(forged.text) == "invalid_api_key"

    story(of)


def test_the_cache_is_bounded() -> None:
    async def of(house: House) -> None:
        made = [await house.registry.create(Draft()) for _ in range(20)]
        for each in made:
            assert (await house.ask(each.text)).startswith("key:")
        assert len(house.door._known) == 5

    story(of, settings=Settings(access=Access(cached=5)))


# --- the registry -----------------------------------------------------------------------------------------------------


def test_a_name_is_given_once_and_for_all() -> None:
    async def of(house: House) -> None:
        await house.registry.create(Draft(name="ci"))
        await house.registry.revoke("ci")
        with pytest.raises(RegistryError, match="never given to another"):
            await house.registry.create(Draft(name="ci"))
        assert len(await house.registry.all()) == 1

    story(of)


@pytest.mark.parametrize(
    "draft",
    [
        Draft(name="lxg_000000000000"),
        Draft(name="a b"),
        Draft(name="*"),
        Draft(name="a/b"),
        Draft(team="*"),
        Draft(roles=("a b",)),
        Draft(expires=999.0),
        Draft(roles=("admin",), team="payments"),
        Draft(roles=("admin", "dev")),
        Draft(roles=("operator",), scope=Scope(models=("*",))),
        Draft(scope=Scope(addresses=("here",))),
    ],
)
def test_what_makes_no_sense_is_no_key(draft: Draft) -> None:
    async def of(house: House) -> None:
        with pytest.raises(RegistryError):
            await house.registry.create(draft)
        assert await house.registry.all() == []

    story(of)


def test_what_is_stored_holds_no_secret() -> None:
    async def of(house: House) -> None:
        made = await house.registry.create(Draft(name="a"))
        rotated = await house.registry.rotate("a", grace=60.0)
        page = await house.store.scan("records/keys")
        stored = b"".join(fact.value for fact in page.facts.values())
        for text in (made.text, rotated.text):
            assert text.rpartition("_")[2].encode() not in stored

    story(of)


def test_a_rotated_key_keeps_everything_but_its_secret() -> None:
    async def of(house: House) -> None:
        made = await house.registry.create(Draft(name="a", team="t", scope=Scope(models=("m",))))
        rotated = await house.registry.rotate(made.record.id, grace=10.0)
        assert await house.ask(made.text) == await house.ask(rotated.text) == "key:a"
        house.now += 10.0
        assert [await house.ask(made.text), await house.ask(rotated.text)] == ["expired_api_key", "key:a"]
        assert await house.ask(made.text) == "invalid_api_key"

    story(of)


def test_only_an_admin_that_counts_is_an_admin() -> None:
    async def of(house: House) -> None:
        assert not await house.registry.has_admin()
        await house.registry.create(Draft(roles=("operator",)))
        await house.registry.create(Draft(name="short", roles=("admin",), expires=house.now + 5))
        assert await house.registry.has_admin()
        house.now += 5
        assert not await house.registry.has_admin()

    story(of)


def test_a_denial_without_a_credential_is_no_failure() -> None:
    async def of(house: House) -> None:
        for _ in range(50):
            assert isinstance(await house.door.admit([], b"", "1.2.3.4"), Denied)
        assert len(house.door.guard) == 0

    story(of)
