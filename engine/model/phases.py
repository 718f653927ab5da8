"""The phases of an exchange, in the order in which it meets them."""

from enum import StrEnum


class Phase(StrEnum):
    COMMAND = "command"
    REQUEST = "request"
    TOOL_RESULT = "tool_result"
    ROUTE = "route"
    ATTEMPT = "attempt"
    ERROR = "error"
    TEXT = "text"
    TOOL_CALL = "tool_call"
    RESPONSE = "response"
    DONE = "done"

    # Phases are looked up several times an event, and an enumeration's own hash is a call of Python code.
    __hash__ = str.__hash__
