"""Every code of a diagnostic with its meaning in one line; `docs/reference/codes.md` is made of this table."""

from collections.abc import Mapping
from typing import Final

from engine.language.findings import CODES as LANGUAGE

FAMILIES: Final[Mapping[int, str]] = {
    1: "Files and their shape",
    2: "Types",
    3: "Nulls and booleans",
    4: "The policy set",
    5: "Patterns",
    6: "Cost",
}

_FILES: Final[Mapping[int, str]] = {
    101: "the text is not YAML",
    102: "a key stands twice in one mapping",
    103: "a key is not a string",
    104: "a YAML tag is used",
    105: "a merge key (`<<`) is used",
    106: "an alias names nothing, or repeats too much",
    107: "a number cannot be used",
    108: "a second document begins in the file",
    109: "the file is too large or too deep",
    110: "a character may not stand in a YAML file",
    111: "a text is cut off by what YAML takes for a comment",
    112: "a character is not seen, or turns the direction of text",
    113: "a word mixes letters of scripts that look alike",
    120: "a setting does not exist",
    121: "a setting has a wrong value",
    122: "a setting is missing",
    123: "a variable of the environment, or a secret's file, is not there",
    124: "settings contradict each other, or cannot work",
    125: "the configuration file is not there or cannot be read",
    131: "a key of a policy file does not exist",
    132: "a key of a policy file is missing",
    133: "a policy file is empty",
    134: "a value of a policy file has the wrong type or size",
    135: "a value of a policy file is none of the possible ones",
    136: "a policy or rule has a name that is no name",
    137: "a step names no action, or more than one",
    150: "a source of policies that the configuration lists is not there or cannot be read",
    151: "a source of policies that the configuration lists holds none",
    152: "a pack that the configuration switches on does not exist",
    153: "`outbound.allow` lists what is no host and no network",
    154: "an override names a set or rule that the pack does not have",
}

_SET: Final[Mapping[int, str]] = {
    401: "two policies have one name",
    402: "two rules of a policy have one name",
    403: "an exception names no rule",
    404: "a rule of another file does not allow the exception",
    405: "an exception's day is not a day, or has passed",
    406: "a set does not exist",
    407: "a pattern set does not exist",
    408: "a definition needs itself",
    409: "an action is used in a phase that it does not have",
    410: "a key of `match` does not belong to the phase, or has a wrong value",
    411: "an action does not exist, or a parameter of it is wrong",
    412: "a backend does not exist",
    413: "a route does not exist",
    414: "a route cannot be read",
    415: "a limit stands where none may, or does not say enough",
    416: "the file goes beyond what its source is granted",
    417: "a set, pattern set or definition is never used",
    418: "a field cannot be written in this phase",
    419: "a key or parameter does not belong in this phase",
    420: "a policy that the configuration requires is not loaded, or enforces nothing",
    421: "a rate limit shares its rule with a transform or a verdict",
    422: "a verdict on an answer comes too late",
    423: "a rule is lifted by what the client says of itself",
    424: "nobody has the role",
    425: "half a control: redacted in `request`, not in `tool_result`",
    426: "half a control: tools are taken out of the offer, and calls of them are not refused",
    427: "a policy or rule has no description (`--strict`)",
    428: "a policy has no owner (`--strict`)",
    429: "no test names the rule (`--strict`)",
    430: "a source of policies cannot be read",
    431: "a source of policies that had rules has vanished",
    432: "a source of policies that had rules is empty",
    433: "files of policies keep changing, so that no set of them can be read whole",
    434: "a policy's own test fails, so that it does not go live",
    435: "the process that compiles policies died; it is started again",
    436: "the compiler, or the change to the new set, failed: a mistake of Lexgate",
    437: "the last good set could not be kept",
    438: "rules that were enforced are so no longer",
    439: "a test speaks of a field or rule that does not exist",
    440: "a list of names under `match` or `scope` is empty",
    441: "a command is declared twice, or not as it can be",
    442: "a rule waits for a command that no file declares",
    443: "a command is declared, and no rule answers it",
    450: "a revision is pinned, so that a changed set waits",
}

_PATTERNS: Final[Mapping[int, str]] = {
    502: "a pattern can match without bound in flowing text",
    503: "a condition on flowing text does not say how far it looks",
}

_MEANT: Final[Mapping[int, str]] = {
    444: "a rule can never fire",
    445: "`match` does not let through what the condition asks for",
    446: "another rule always decides where this one matches",
    447: "a comment silences a finding that is not there",
    448: "a comment that silences a finding does not say why",
    449: "an exception changes nothing, or lifts the rule for everybody",
    461: "a rule has been in shadow for long",
    462: "a rule is in shadow, and nothing says since when (`--strict`)",
    463: "a rule of high severity lets the call pass after its attempts",
    464: "rules of equal priority write or choose different things",
    465: "a secret stands in the policy",
    466: "a model's name is misspelt, or its backend does not list it",
    467: "a limit or budget is counted by what the client says of itself",
}

_COST: Final[Mapping[int, str]] = {
    601: "too many rules of a phase are tried on every event",
}

CODES: Final[Mapping[int, str]] = dict(sorted({**_FILES, **LANGUAGE, **_SET, **_PATTERNS, **_MEANT, **_COST}.items()))
"""All codes. The letter before the number is the severity of the single finding: error, warning or note."""
