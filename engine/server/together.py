"""This process among all that share its store: what it tells of itself, and how it does what was ordered of all."""

from engine import __version__
from engine.passage.replies import House
from engine.policy.live import Live, UnknownRevision
from engine.server.edge import Edge
from engine.world.fleet import Fleet, Member, Orders


def fleet_of(edge: Edge, house: House, live: Live, worker: int) -> Fleet:
    """The fleet as this process is part of it; `worker` is its number among those of its host, 0 where it is alone."""
    world = house.world
    started = world.clock()

    def told() -> Member:
        return Member(
            id="",
            host="",
            pid=0,
            worker=worker,
            version=__version__,
            revision=live.current.revision,
            pinned=live.pinned,
            serving_last_good=live.serving_last_good,
            leaving=edge.leaving,
            started=started,
        )

    async def carry(before: Orders, now: Orders) -> str:
        world.health.drained = frozenset(now.drained)
        try:
            if now.pin and now.pin != live.pinned:
                await live.pin(now.pin)
            elif not now.pin and live.pinned:
                await live.unpin()
            elif now.reloads != before.reloads:
                await live.reload_now()
        except UnknownRevision as unknown:
            return str(unknown)
        return ""

    return Fleet(world.store, told, carry, lambda: world.clock())
