"""Pages about what a policy names, and about what its rules may do where."""

from typing import Final

PAGES: Final = r"""
E401: two policies have one name.

A rule's full name is `policy/rule`: logs, exceptions and tests could mean either. Rename one of the policies.

E402: two rules of a policy have one name.

Exceptions, tests and logs could mean either.

Example:
    - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
    - {id: stop, phase: request, match: {model: "gpt-4o"}, actions: [block: "No."]}  # <--
Use instead:
    - {id: stop-5, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
    - {id: stop-4o, phase: request, match: {model: "gpt-4o"}, actions: [block: "No."]}

E403: an exception names no rule.

Whoever relies on it is stopped all the same.

Example:
    rules:
      - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
    exceptions:
      - {rule: stopp, match: {caller: bot}, reason: OPS-1, expires: 2099-01-31}  # <--
Use instead:
    rules:
      - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
    exceptions:
      - {rule: stop, match: {caller: bot}, reason: OPS-1, expires: 2099-01-31}

E404: a rule of another file does not allow the exception.

Otherwise any file could switch off the rules of all others. The rule says who may: `exceptable_by: [policy]`.

E406: a set does not exist.

Sets belong to their file.

Example:
    match: {model: {$set: smal}}  # <--
Use instead:
    #!
    version: 1
    policy: example
    sets: {small: [gpt-5-mini]}
    rules:
      - {id: r, phase: request, match: {model: {$set: small}}, actions: [block: "No."]}

E407: a pattern set does not exist.

Nothing would be looked for, and nothing redacted.

Example:
    phase: tool_result
    actions: [redact: {patterns: keys}]  # <--
Use instead:
    #!
    version: 1
    policy: example
    patterns: {keys: {short: 'key-[a-z]{20}'}}
    rules:
      - {id: r, phase: tool_result, actions: [redact: {patterns: keys}]}

E408: a definition needs itself.

It could never be evaluated.

Example:
    definitions:
      busy: def('full')  # <--
      full: def('busy')
    rules:
      - {id: r, phase: request, when: "def('busy')", actions: [block: "No."]}
Use instead:
    definitions:
      busy: def('full')
      full: request.input_tokens > `1000`
    rules:
      - {id: r, phase: request, when: "def('busy')", actions: [block: "No."]}

E409: an action is used in a phase that it does not have.

A call cannot be dropped before it is made, a route cannot be chosen after the answer. `policy actions` shows which phase
has which.

Example:
    - {id: r, phase: request, match: {model: "gpt-5"}, actions: [drop: {}]}  # <--
Use instead:
    - {id: r, phase: tool_call, match: {tool: bash}, actions: [drop: {}]}

E410: a key of `match` does not belong to the phase, or has a wrong value.

The rule could never match.

Example:
    match: {command: deploy}  # <--
Use instead:
    phase: command
    match: {command: deploy}
    actions: [respond: "Not here."]

E411: an action does not exist, or a parameter of it is wrong.

What the rule would do cannot be known.

Example:
    actions:
      - blok: "Not here."  # <--
Use instead:
    actions:
      - block: "Not here."

E412: a backend does not exist.

The route would fail at the first request. Backends are those of the configuration: openai and local in this example.

Example:
    phase: route
    actions: [route: "opnai:gpt-5"]  # <--
Use instead:
    phase: route
    actions: [route: "openai:gpt-5"]

E413: a route does not exist.

Routes are those of the configuration: coding in this example.

Example:
    phase: route
    actions: [route: "@codign"]  # <--
Use instead:
    phase: route
    actions: [route: "@coding"]

E414: a route cannot be read.

A leg is `backend:model`, legs are separated by `|`, a named route is `@name`.

Example:
    phase: route
    actions: [route: "openai:gpt-5||local:llama"]  # <--
Use instead:
    phase: route
    actions: [route: "openai:gpt-5|local:llama"]

E415: a limit stands where none may, or does not say enough.

`limit` bounds how often a rule acts. On a verdict it must be said what happens then: after the third refusal the fourth
request would pass.

Example:
    limit: {max: 3, every: 1h}  # <--
    when: request.stream
Use instead:
    limit: {max: 3, every: 1h, beyond: block}
    when: request.stream

E416: the file goes beyond what its source is granted.

The configuration says what each source of policies may do; a team's file cannot take more. Ask the operator for the grant,
or leave out what it does not give.

E418: a field cannot be written in this phase.

What was sent already cannot be changed any more, and what names the caller must not be.

Example:
    actions: [set: {path: caller.team, value: red}]  # <--
Use instead:
    actions: [set: {path: request.params.temperature, value: 0}]

E419: a key or parameter does not belong in this phase.

It would have no effect, and its author believes that it has one.

Example:
    delay: all  # <--
Use instead:
    phase: response
    delay: all

E420: a policy that the configuration requires is not loaded, or enforces nothing.

`require:` is the operator's promise that these guards are in force. Without them the set does not go live.

E421: a rate limit shares its rule with a transform or a verdict.

A rate limit is taken before everything else, on the request as it came.

Example:
    actions:
      - rate_limit: {key: caller.id, limit: 60, window: 1m}  # <--
      - block: "Not here."
Use instead:
    actions:
      - rate_limit: {key: caller.id, limit: 60, window: 1m}

E422: a verdict on an answer comes too late.

In phase `response` the answer has been sent, unless the rule asks for all of it to be held back.

Example:
    - {id: r, phase: response, when: response.empty, actions: [block: "No."]}  # <--
Use instead:
    - {id: r, phase: response, delay: all, when: response.empty, actions: [block: "No."]}

E441: a command is declared twice, or not as it can be.

`many` takes all values that are left, so that no argument can come after it; and a name can mean one command only.

Example:
    commands:
      define:
        say:
          description: Say it.
          args: {words: {many: true}, loud: {}}  # <--
    rules:
      - {id: say, phase: command, match: {command: say}, actions: [respond: "said"]}
Use instead:
    commands:
      define:
        say:
          description: Say it.
          args: {loud: {}, words: {many: true}}
    rules:
      - {id: say, phase: command, match: {command: say}, actions: [respond: "said"]}
"""
