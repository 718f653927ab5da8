"""How a function of the condition language is declared: typed parameters, a docstring that is its page, one decorator."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from engine.language.types import Type

Infer = Callable[[tuple[Type, ...]], Type]


class Param(msgspec.Struct, frozen=True):
    """One parameter. A `literal` must be written as a string or JSON literal, or as `set('name')` where lists are
    accepted; it is read when the condition is compiled. `variadic` (the last one only) takes one or more arguments."""

    name: str
    type: Type
    literal: bool = False
    optional: bool = False
    variadic: bool = False


class Function(msgspec.Struct, frozen=True):
    """One function of the language.

    `run` is called with the checked arguments. A function with literal parameters, or declared `at_load`, is called once
    at load instead, with a `Site` and its literals, and returns what is then called with the remaining arguments; one
    that `sees_env` is given the `Env` before its arguments. `infer` narrows `returns` by the types of the arguments.
    A function that `costs` charges the size of its arguments to the step budget.
    """

    name: str
    params: tuple[Param, ...]
    returns: Type
    page: str
    run: Callable[..., Any]
    costs: bool = False
    at_load: bool = False
    sees_env: bool = False
    standard: bool = False
    infer: Infer | None = None

    @property
    def least(self) -> int:
        """The fewest arguments it takes."""
        return sum(not param.optional for param in self.params)

    @property
    def most(self) -> int | None:
        """The most arguments it takes; None when there is no limit."""
        return None if self.params and self.params[-1].variadic else len(self.params)

    @property
    def signature(self) -> str:
        """How it is written: `split(text, separator, limit?)`."""
        marks = (each.name + ("?" if each.optional else "") + ("…" if each.variadic else "") for each in self.params)
        return f"{self.name}({', '.join(marks)})"

    def param(self, index: int) -> Param:
        """The parameter that the argument at `index` fills."""
        return self.params[min(index, len(self.params) - 1)]

    def takes(self, count: int) -> bool:
        return self.least <= count and (self.most is None or count <= self.most)


class Group:
    """A shelf of functions that one module declares."""

    def __init__(self, *, standard: bool = False) -> None:
        self._standard = standard
        self._functions: dict[str, Function] = {}

    def function(
        self,
        *params: Param,
        returns: Type,
        costs: bool = False,
        at_load: bool = False,
        sees_env: bool = False,
        infer: Infer | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a function of the language; its Python name, less a trailing underscore, is its name there."""

        def declare(run: Callable[..., Any]) -> Callable[..., Any]:
            name = run.__name__.rstrip("_")
            page = inspect.getdoc(run)
            assert page, f"{name}() has no page"
            self._functions[name] = Function(
                name=name,
                params=params,
                returns=returns,
                page=page,
                run=run,
                costs=costs,
                at_load=at_load or any(param.literal for param in params),
                sees_env=sees_env,
                standard=self._standard,
                infer=infer,
            )
            return run

        return declare

    @property
    def functions(self) -> Mapping[str, Function]:
        return self._functions
