"""The configuration: one typed model, four layers, and for every value the layer that gave it."""

from engine.settings.layers import DEFAULT, Layer, LayerKind, Loaded, load_settings, variable
from engine.settings.model import (
    SANDBOX,
    Audit,
    Backend,
    Betas,
    Capabilities,
    Commands,
    Limits,
    Log,
    Outbound,
    Pack,
    PolicySource,
    Price,
    Record,
    Reload,
    Scope,
    Server,
    Settings,
    Steer,
    Stream,
    Timeouts,
    Upstream,
)
from engine.settings.reference import Option, Shown, describe, options, settings_schema
from engine.settings.values import Seconds, Secret, SecretUrl, Size

__all__ = [
    "DEFAULT", "SANDBOX", "Audit", "Backend", "Betas", "Capabilities", "Commands", "Layer", "LayerKind", "Limits",
    "Loaded", "Log", "Option", "Outbound", "Pack", "PolicySource", "Price", "Record", "Reload", "Scope", "Seconds",
    "Secret", "SecretUrl", "Server", "Settings", "Shown", "Size", "Steer", "Stream", "Timeouts", "Upstream", "describe",
    "load_settings", "options", "settings_schema", "variable",
]  # fmt: skip
