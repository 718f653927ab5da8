"""Breakers and health checks: who may be asked, from when on, and who is told."""

import pytest

from engine.settings.model import Resilience
from engine.world.health import REMEMBERED, Health


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def health(clock: Clock, told: list[tuple[str, str, str]]) -> Health:
    return Health(Resilience(), clock, lambda *change: told.append(change))


def fail(health: Health, times: int) -> None:
    for _ in range(times):
        health.asked("a", "m")
        health.failed("a", "m")


def test_two_failures_open_nothing(health: Health) -> None:
    fail(health, 2)
    assert health.why_not("a", "m") == ""


def test_three_open_the_breaker_of_that_model_alone(health: Health, told: list[tuple[str, str, str]]) -> None:
    fail(health, 3)
    assert health.why_not("a", "m") == "its breaker is open for another 30 s, after 3 failures in a row"
    assert health.why_not("a", "n") == ""
    assert health.rests_until("a", "m") == 1030.0
    assert told == [("a", "m", "open")]


def test_an_answer_to_the_end_makes_failures_count_anew(health: Health) -> None:
    fail(health, 2)
    health.ended("a", "m")
    fail(health, 2)
    assert health.why_not("a", "m") == ""


def test_one_attempt_tries_it_and_an_answer_closes_it(
    health: Health, clock: Clock, told: list[tuple[str, str, str]]
) -> None:
    fail(health, 3)
    clock.now += 30
    assert health.why_not("a", "m") == ""
    health.asked("a", "m")
    assert health.why_not("a", "m") == "its breaker waits for the attempt that tries it"
    health.answered("a", "m")
    assert health.why_not("a", "m") == ""
    assert told == [("a", "m", "open"), ("a", "m", "closed")]


def test_a_failure_of_that_attempt_opens_it_again(health: Health, clock: Clock) -> None:
    fail(health, 3)
    clock.now += 30
    fail(health, 1)
    assert health.rests_until("a", "m") == 1060.0


def test_a_client_that_leaves_lets_another_one_try(health: Health, clock: Clock) -> None:
    fail(health, 3)
    clock.now += 30
    health.asked("a", "m")
    health.left("a", "m")
    assert health.why_not("a", "m") == ""


def test_breakers_may_be_switched_off(clock: Clock) -> None:
    health = Health(Resilience(breaker_failures=0), clock)
    fail(health, 9)
    assert health.why_not("a", "m") == ""


def test_what_clients_name_does_not_fill_the_memory(health: Health) -> None:
    for number in range(REMEMBERED + 10):
        health.failed("a", f"m{number}")
    assert len(health._circuits) == REMEMBERED


def test_a_check_takes_a_backend_out_with_all_its_models_and_says_so_once(
    health: Health, told: list[tuple[str, str, str]]
) -> None:
    health.checked("a", "it answered 503")
    health.checked("a", "it answered 500")
    assert health.why_not("a", "any") == "its health check fails: it answered 500"
    health.checked("a", "")
    assert health.why_not("a", "any") == ""
    assert told == [("a", "", "down"), ("a", "", "up")]
