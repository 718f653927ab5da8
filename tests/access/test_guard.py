"""Wrong keys of an address are slowed down, and nothing else is."""

from engine.access.guard import FORGOTTEN, Guard


def test_a_few_failures_are_free_and_then_each_doubles_the_wait() -> None:
    guard = Guard(free=3, longest=300.0)
    waits = []
    now = 0.0
    for _ in range(7):
        guard.failed("1.2.3.4", now)
        waits.append(guard.wait("1.2.3.4", now))
        now += waits[-1]
    assert waits == [0, 0, 0, 1, 2, 4, 8]


def test_the_wait_has_an_end() -> None:
    guard = Guard(free=1, longest=300.0)
    for _ in range(10_000):
        guard.failed("1.2.3.4", 0.0)
    assert guard.wait("1.2.3.4", 0.0) == 300.0
    assert guard.wait("1.2.3.4", 300.0) == 0.0


def test_other_addresses_do_not_wait() -> None:
    guard = Guard(free=1, longest=300.0)
    for _ in range(9):
        guard.failed("1.2.3.4", 0.0)
    assert guard.wait("1.2.3.5", 0.0) == 0.0


def test_a_network_of_ipv6_is_one_address() -> None:
    guard = Guard(free=1, longest=300.0)
    for host in range(9):
        guard.failed(f"2001:db8:1:2::{host}", 0.0)
    assert guard.wait("2001:db8:1:2:ffff::1", 0.0) > 0
    assert guard.wait("2001:db8:1:3::1", 0.0) == 0


def test_an_ipv4_address_is_the_same_written_as_ipv6() -> None:
    guard = Guard(free=1, longest=300.0)
    guard.failed("::ffff:1.2.3.4", 0.0)
    guard.failed("1.2.3.4", 0.0)
    assert guard.wait("1.2.3.4", 0.0) > 0
    assert guard.wait("::ffff:1.2.3.4", 0.0) > 0


def test_an_address_without_failures_for_a_while_begins_anew() -> None:
    guard = Guard(free=1, longest=1.0)
    for _ in range(5):
        guard.failed("1.2.3.4", 0.0)
    later = 2 * FORGOTTEN
    guard.failed("1.2.3.4", later)
    assert guard.wait("1.2.3.4", later) == 0.0


def test_the_memory_of_addresses_is_bounded() -> None:
    guard = Guard(free=1, longest=300.0, addresses=100)
    for number in range(1000):
        guard.failed(f"10.0.{number // 256}.{number % 256}", float(number))
    assert len(guard) == 100
