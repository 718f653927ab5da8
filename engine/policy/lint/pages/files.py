"""Pages about files: YAML, and the shape of a policy."""

from typing import Final

PAGES: Final = r"""
E101: the text is not YAML.

Nothing of the file can be read, so that none of its rules load. Most often a quote or a bracket is not closed, a value
begins with a sign that means something to YAML (`@`, a backtick, `%`), or a text in quotes goes on after its last quote.

Example:
    when: 'gpt-4o' == request.model  # <--
Use instead:
    when: request.model == 'gpt-4o'

E102: a key stands twice in one mapping.

YAML readers keep the last one in silence: a condition that was added above would be lost.

Example:
    when: request.stream
    when: request.model == 'gpt-4o'  # <--
Use instead:
    when: request.stream && request.model == 'gpt-4o'

E103: a key is not a text.

Names of sets, rules and fields are texts; a number as a key is nearly always a list that was meant.

Example:
    sets:
      small: [gpt-5-mini]
      5: [gpt-5]  # <--
    rules:
      - {id: a, phase: request, match: {model: {$set: small}}, actions: [block: "No."]}
Use instead:
    sets:
      small: [gpt-5-mini]
    rules:
      - {id: a, phase: request, match: {model: {$set: small}}, actions: [block: "No."]}

E104: a YAML tag is used.

A `!` at the beginning of a value is a tag of YAML, and not the "not" of a condition. Quote the whole condition.

Example:
    when: !request.empty  # <--
Use instead:
    when: "!(request.stream)"

E105: a merge key (`<<`) is used.

Merging is no part of YAML 1.2, and readers disagree on which value wins. Write the keys out, or use a set.

Example:
    - {id: a, phase: request, match: &who {team: red}, actions: [block: "No."]}
    - {id: b, phase: request, match: {<<: *who, model: "gpt-5"}, actions: [block: "No."]}  # <--
Use instead:
    - {id: a, phase: request, match: {team: red}, actions: [block: "No."]}
    - {id: b, phase: request, match: {team: blue, model: "gpt-5"}, actions: [block: "No."]}

E106: an alias names nothing, or repeats too much.

A value that begins with `*` is an alias of YAML. A glob that begins so must be quoted.

Example:
    match: {model: *-preview}  # <--
Use instead:
    match: {model: "*-preview"}

E107: a number cannot be used.

Infinity, not-a-number and numbers of hundreds of digits compare in surprising ways, and JSON cannot write them.

Example:
    actions: [clamp: {path: request.params.max_tokens, max: .inf}]  # <--
Use instead:
    actions: [clamp: {path: request.params.max_tokens, max: 16000}]

E108: a second document begins in the file.

One file is one policy; what stands after `---` would be lost.

Example:
    rules:
      - {id: a, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
    ---  # <--
    rules: []
Use instead:
    rules:
      - {id: a, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}

E109: the file is too large or too deep.

A policy of more than five million characters, or of a hundred levels, is made by a program that went wrong. It would hold
up every reload. Split it into several files.

E110: a character may not stand in a YAML file.

Control characters, and bytes that are no UTF-8, come from a file in another encoding, or from a copy out of a terminal.
Save the file as UTF-8, or write the character as an escape inside double quotes.

E131: a key of a policy file does not exist.

A key that is ignored is a condition that is not asked or a limit that does not hold: `filter` for `filters` runs the rule
unfiltered. So every unknown key is an error.

Example:
    whn: request.stream  # <--
Use instead:
    when: request.stream

E132: a key of a policy file is missing.

Without its name, phase or actions a rule cannot be told of, placed or carried out.

Example:
    - {id: quiet, match: {model: "gpt-5"}, actions: [block: "No."]}  # <--
Use instead:
    - {id: quiet, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}

E133: a policy file is empty.

An empty file is rarely meant: the editor or the copy that should have filled it failed. Remove it, or begin with
`version: 1`.

E134: a value of a policy file has the wrong type or size.

A text where a list is due, a number where a length of time is due, a key without its value: what the rule would do cannot
be known. A key without a value is nearly always a line that was meant to go on.

Example:
    rules:
      - id: example
        phase: request
        match:  # <--
        actions: [block: "No."]
Use instead:
    rules:
      - id: example
        phase: request
        match: {model: "gpt-5"}
        actions: [block: "No."]

E135: a value of a policy file is none of the possible ones.

A phase, mode or severity that does not exist would leave the rule without a place. The possible values are said.

Example:
    severity: hihg  # <--
Use instead:
    severity: high

E136: a policy or rule has a name that is no name.

Names stand in logs, metrics and headers, and other files refer to them: lower-case words with hyphens.

Example:
    - {id: No Push, phase: tool_call, match: {tool: push}, actions: [block: "No."]}  # <--
Use instead:
    - {id: no-push, phase: tool_call, match: {tool: push}, actions: [block: "No."]}

E137: a step names no action, or more than one.

The order of actions matters, and a mapping has none: each step is an item of the list.

Example:
    actions:
      - block: "Not here."  # <--
        log: "blocked"
Use instead:
    actions:
      - block: "Not here."
      - log: "blocked"
"""
