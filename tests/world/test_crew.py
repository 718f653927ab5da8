"""The metrics of several workers as one text."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.world.crew import Crew, joined

pytestmark = pytest.mark.anyio

ONE = '# HELP a_total Things.\n# TYPE a_total counter\na_total{x="1 2",y="}"} 3.0\n# HELP b B.\n# TYPE b gauge\nb 1.0\n'
TWO = '# HELP a_total Things.\n# TYPE a_total counter\na_total{x="1 2",y="}"} 4.0\n'


def test_families_stand_together_and_samples_say_whose_they_are() -> None:
    found = {family.name: family for family in text_string_to_metric_families(joined({"1": ONE, "2": TWO}))}
    assert [(sample.labels, sample.value) for sample in found["a"].samples] == [
        ({"worker": "1", "x": "1 2", "y": "}"}, 3.0),
        ({"worker": "2", "x": "1 2", "y": "}"}, 4.0),
    ]
    assert [(sample.labels, sample.value) for sample in found["b"].samples] == [({"worker": "1"}, 1.0)]


async def test_each_worker_tells_of_all_that_answer(tmp_path: Path) -> None:
    first, second = Crew(tmp_path, 1, ONE.encode), Crew(tmp_path, 2, TWO.encode)
    await first.start()
    await second.start()
    assert await first.render_all() == await second.render_all() == joined({"1": ONE, "2": TWO}).encode()
    await second.close()
    assert await first.render_all() == joined({"1": ONE}).encode()
    await first.close()


async def test_a_worker_that_replaces_another_is_asked_in_its_place(tmp_path: Path) -> None:
    asking, old, new = Crew(tmp_path, 2, TWO.encode), Crew(tmp_path, 1, TWO.encode), Crew(tmp_path, 1, ONE.encode)
    for each in (asking, old, new):
        await each.start()
    await old.close()
    assert await asking.render_all() == joined({"1": ONE, "2": TWO}).encode()
    for each in (asking, new):
        await each.close()
