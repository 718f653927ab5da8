"""Files of tests beside policies, in a folder `cases/`: for all rules of the set that the folder belongs to. Pure."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from engine import documents
from engine.diagnostics import Diagnostic, Where, error
from engine.policy.compile import PolicySource
from engine.policy.spec import CaseSpec

FOLDER: Final = "cases"
_MISFIT: Final = 134


class CaseFileSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of tests. Rules are named in full: `policy/rule`."""

    description: Annotated[str, Meta(description="What the tests are about.")] = ""
    tests: Annotated[list[CaseSpec], Meta(description="The tests.", min_length=1)]


class CaseFile(msgspec.Struct, frozen=True):
    """A file of tests as it was read, and where each test stands; `diagnostics` where it cannot be."""

    file: str
    tests: tuple[CaseSpec, ...] = ()
    places: tuple[Where, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def case_file(source: PolicySource) -> CaseFile:
    """A file of tests from its text."""
    document = documents.load(source.text, source.file)
    if not document.sound:
        return CaseFile(source.file, diagnostics=document.diagnostics)
    try:
        spec = msgspec.convert(document.data, CaseFileSpec)
    except msgspec.ValidationError as wrong:
        return CaseFile(source.file, diagnostics=(error(_MISFIT, str(wrong), Where(source.file)),))
    places = tuple(document.value(("tests", index)) for index in range(len(spec.tests)))
    return CaseFile(source.file, tuple(spec.tests), places)
