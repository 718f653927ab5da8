"""Every function that a condition may call: the specification's, and ours. A new one is one decorated function."""

from collections.abc import Mapping
from typing import Final

from engine.language.extensions import EXTENSIONS
from engine.language.signatures import Function, Param
from engine.language.standard import STANDARD

__all__ = ["FUNCTIONS", "Function", "Param"]

FUNCTIONS: Final[Mapping[str, Function]] = dict(sorted({**STANDARD.functions, **EXTENSIONS.functions}.items()))
