"""From an order to an answer: reads the files of a recipe, judges what changed, runs the policies' own tests."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from engine.diagnostics import Diagnostic
from engine.diagnostics import error as diagnose
from engine.language.shell import DEFAULT_TOOLS, ShellTools

from .compile import CheckedPolicy, Compiled, PolicySource, check_file, compile_policies, revision_of
from .context import Catalogue
from .link import Linked
from .recipe import Found, Recipe, availability, digest_of, gather, gather_steady
from .trial import CaseResult, run_tests


class Order(msgspec.Struct, frozen=True):
    """What is wanted of a compiler.

    `had` gives the rules of each origin in the last good set, `known` the digests of the files whose rules the asker
    holds, `last` the digest of what it was answered last (the same again is not worth an answer), `quiet` the seconds
    for which the files must not change (0: they are read once).
    """

    recipe: Recipe
    had: Mapping[str, int] = msgspec.field(default_factory=dict)
    known: frozenset[str] = frozenset()
    last: str = ""
    quiet: float = 0.0


class OriginReport(msgspec.Struct, frozen=True):
    """An origin as it was read: its files' digests, and a digest of them all. `rules` counts what its sound files hold."""

    name: str
    digest: str
    files: tuple[str, ...]
    rules: int


class Answer(msgspec.Struct, frozen=True):
    """What the files are worth: `checked` holds the files that the asker does not know yet, where the set is sound.

    `digest` names what was read; `unchanged` says that it is what was answered last, and nothing else is filled in.
    """

    digest: str
    unchanged: bool = False
    revision: str = ""
    origins: tuple[OriginReport, ...] = ()
    checked: tuple[CheckedPolicy, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def sound(self) -> bool:
        return not any(each.stops_loading for each in self.diagnostics)

    @property
    def files(self) -> tuple[str, ...]:
        """The digests of the set's files, in order."""
        return tuple(file for each in self.origins for file in each.files)


class _Judged(msgspec.Struct, frozen=True):
    policy: CheckedPolicy | None
    linked: Linked | None
    diagnostics: list[Diagnostic]
    failures: list[Diagnostic]


class Compiler:
    """Answers orders, and remembers how the files of the last one were judged."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._judged: dict[str, _Judged] = {}
        self._surroundings: tuple[Catalogue, Mapping[str, str]] | None = None
        self._shell_tools: ShellTools = DEFAULT_TOOLS

    def answer(self, order: Order) -> Answer:
        """Read the files, and say what they are worth."""
        origins = order.recipe.origins
        found = gather_steady(origins, order.quiet, self._sleep) if order.quiet else gather(origins)
        if found is None:
            help = "the set is read when they are quiet; what writes to them all the time?"
            return Answer(
                "", diagnostics=(diagnose(433, "the policies' files keep changing", order.recipe.where, help),)
            )
        digest = digest_of(found)
        if digest == order.last:
            return Answer(digest, unchanged=True)
        return self.judge(order, found)

    def judge(self, order: Order, found: Sequence[Found]) -> Answer:
        """What a set of files that was read is worth."""
        recipe = order.recipe
        self._settle_in(recipe)
        sources = [source for each in found for source in each.sources]
        compiled = compile_policies(sources, recipe.catalogue, recipe.require, self._check)
        failures = [each for source in sources for each in self._judged[source.digest].failures]
        diagnostics = (*availability(found, order.had), *_telling(compiled, found), *failures)
        answer = Answer(
            digest_of(found), False, revision_of(sources), tuple(self._reports(found)), (), tuple(diagnostics)
        )
        self._judged = {source.digest: self._judged[source.digest] for source in sources}
        if not answer.sound:
            return answer
        new = (self._judged[digest].policy for digest in answer.files if digest not in order.known)
        return msgspec.structs.replace(answer, checked=tuple(each for each in new if each is not None))

    def linked(self, digest: str) -> Linked:
        """The rules of a sound file of the last order, for an asker in the same process."""
        linked = self._judged[digest].linked
        assert linked is not None, "only files of a sound set are asked for"
        return linked

    def _settle_in(self, recipe: Recipe) -> None:
        """What was judged under other names of backends and routes, or other shell tools, says nothing now."""
        surroundings = (recipe.catalogue, recipe.shell_tools)
        if surroundings != self._surroundings:
            self._surroundings = surroundings
            self._judged = {}
            self._shell_tools = DEFAULT_TOOLS.extended(recipe.shell_tools) if recipe.shell_tools else DEFAULT_TOOLS

    def _check(
        self, source: PolicySource, catalogue: Catalogue
    ) -> tuple[CheckedPolicy | None, Linked | None, list[Diagnostic]]:
        digest = source.digest
        judged = self._judged.get(digest)
        if judged is None:
            policy, linked, diagnostics = check_file(source, catalogue)
            failures = [] if policy is None else list(failed_tests(run_tests(policy, catalogue, self._shell_tools)))
            judged = self._judged[digest] = _Judged(policy, linked, diagnostics, failures)
        return judged.policy, judged.linked, judged.diagnostics

    def _reports(self, found: Iterable[Found]) -> Iterator[OriginReport]:
        for each in found:
            files = tuple(source.digest for source in each.sources)
            linked = (self._judged[digest].linked for digest in files)
            rules = sum(len(one.rules) for one in linked if one is not None)
            yield OriginReport(each.origin.name, each.digest, files, rules)


def failed_tests(results: Iterable[CaseResult]) -> Iterator[Diagnostic]:
    """The tests of a policy that fail, as findings that stop loading: a rule that does not do what it says is no guard."""
    for result in results:
        if not result.passed:
            first = next(iter(result.mismatches), None)
            why = result.error
            if first is not None:
                why = f"{first.what} is {_shown(first.got)}, and should be {_shown(first.expected)}"
            help = f"see `policy test {result.where.file}`"
            yield diagnose(434, f"the policy's own test '{result.name}' fails: {why}", result.where, help)


def _telling(compiled: Compiled, found: Sequence[Found]) -> Iterator[Diagnostic]:
    """The findings of the files; a requirement is not said to be missing beside an origin that could not be read."""
    lost = any(each.missing or each.problem for each in found)
    for each in compiled.diagnostics:
        if not (lost and each.code == "E420"):
            yield each


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    return msgspec.json.encode(value).decode()
