"""The condition language: JMESPath as its specification defines it, with pure functions, compiled to closures."""

from engine.language.compile import Condition, compile_expression, compile_node
from engine.language.definitions import compile_definitions, names_used
from engine.language.errors import ConditionError, ConditionSyntaxError
from engine.language.parse import parse
from engine.language.scope import NO_NAMES, Env, Names
from engine.language.templates import Template, compile_template
from engine.language.truth import TruthNode, truth_tree

__all__ = [
    "NO_NAMES",
    "Condition",
    "ConditionError",
    "ConditionSyntaxError",
    "Env",
    "Names",
    "Template",
    "TruthNode",
    "compile_definitions",
    "compile_expression",
    "compile_node",
    "compile_template",
    "names_used",
    "parse",
    "truth_tree",
]
