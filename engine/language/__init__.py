"""The condition language: JMESPath as its specification defines it, with pure functions, compiled to closures."""

from engine.language.compile import Condition, compile_expression, compile_node
from engine.language.errors import ConditionError, ConditionSyntaxError
from engine.language.parse import parse
from engine.language.scope import NO_NAMES, Env, Names

__all__ = [
    "NO_NAMES",
    "Condition",
    "ConditionError",
    "ConditionSyntaxError",
    "Env",
    "Names",
    "compile_expression",
    "compile_node",
    "parse",
]
