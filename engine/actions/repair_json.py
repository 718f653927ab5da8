"""Make the JSON that a model wrote valid."""

from collections.abc import Iterator

from engine.language.json_repair import repaired
from engine.model.effects import Effect, Op, Patch
from engine.model.phases import Phase

from .params import Params
from .registry import Kind, Moment, action


class RepairJsonParams(Params, frozen=True, kw_only=True):
    pass


@action(Phase.RESPONSE, kind=Kind.TRANSFORM, reads={Phase.RESPONSE: frozenset({("response", "text")})})
def repair_json(_params: RepairJsonParams, moment: Moment) -> Iterator[Effect]:
    """Make the JSON of an answer valid: the answer becomes the JSON alone, without words and fences around it.

    Trailing and missing commas, single quotes, names without quotes, comments, `True` and `None`, and brackets that were
    not closed; what is right stays as it was written. An answer that holds no JSON stays. It needs `delay: all`.
    Example: `repair_json: {}`.
    """
    text = moment.event["response"]["text"]
    made = repaired(text)
    if made is not None and made != text:
        yield Patch((Op("replace", ("response", "text"), made),))
