"""Pages about conditions: types, nulls, patterns."""

from typing import Final

PAGES: Final = r"""
E201: the text is not an expression.

Conditions are JMESPath: texts stand in single quotes, numbers and `true` between backticks, "and" is `&&`, "equal" is `==`.

Example:
    when: request.input_tokens > 1000  # <--
Use instead:
    when: request.input_tokens > `1000`

E202: a field does not exist.

In JMESPath a missing field is null: `requst.model != 'x'` would be true for every request. So each name is looked up in
the event of its phase.

Example:
    when: request.modle == 'gpt-4o'  # <--
Use instead:
    when: request.model == 'gpt-4o'

E203: a part of the event does not exist in this phase.

The rule would never match: in `request` no tool has been called yet. The message says in which phases the part exists.

Example:
    when: tool.name == 'bash'  # <--
Use instead:
    phase: tool_call
    when: tool.name == 'bash'

E204: a field is taken of a value that is no object.

A list has elements and no fields. `[*]` takes a field of every element, `[?...]` chooses elements.

Example:
    when: request.messages.role == 'user'  # <--
Use instead:
    when: any(request.messages[?role == 'user'])

E205: a comparison has always the same answer, because its sides are of different kinds.

A text never equals a number, nor a list a text. A guard that rests on it never acts, or always.

Example:
    when: request.input_tokens == '100'  # <--
Use instead:
    when: request.input_tokens == `100`

E206: a comparison has always the same answer, because the value is none of the possible ones.

The field has few values, and this is none of them, most often by a typing error.

Example:
    when: request.protocol == 'antropic'  # <--
Use instead:
    when: request.protocol == 'anthropic'

E207: an ordering compares what is no number.

In JMESPath the order of texts is null, so that the condition never holds.

Example:
    when: request.model > 'gpt-4'  # <--
Use instead:
    when: glob(request.model, 'gpt-5*')

E208: conditions that stand together contradict each other, or one of them always holds.

A field cannot have two values at once, nor lie in two intervals that do not meet. With `||`, two `!=` of one field hold for
everything. `&&` and `||` were confused, or a line was left over.

Example:
    when: request.model == 'gpt-4o' && request.model == 'gpt-5'  # <--
Use instead:
    when: request.model == 'gpt-4o' || request.model == 'gpt-5'

E209: a function does not exist.

`policy functions` lists those that conditions can call.

Example:
    when: startswith(request.model, 'gpt')  # <--
Use instead:
    when: starts_with(request.model, 'gpt')

E210: a function has too few or too many arguments.

The call would be an error on every event, which for a guard means that everything is refused.

Example:
    when: contains(request.model)  # <--
Use instead:
    when: contains(request.model, 'mini')

E211: an argument is of the wrong kind.

The call would be an error on every event.

Example:
    when: starts_with(request.messages, 'a')  # <--
Use instead:
    when: starts_with(request.last_user, 'a')

E212: an argument must be a literal.

Patterns and names are compiled when the policy is loaded; what an event says must never become a pattern.

Example:
    when: matches(request.last_user, request.model)  # <--
Use instead:
    when: matches(request.last_user, '(?i)password')

E213: a set, pattern set or definition does not exist.

Sets belong to their file: a set of another file is not seen here.

Example:
    when: contains(set('smal'), request.model)  # <--
Use instead:
    #!
    version: 1
    policy: example
    sets: {small: [gpt-5-mini]}
    rules:
      - {id: r, phase: request, when: "contains(set('small'), request.model)", actions: [block: "No."]}

E214: double quotes name a field; a text was probably meant.

In JMESPath `"gpt-4o"` is the field of that name, which is null; the comparison would be with nothing.

Example:
    when: request.model == "gpt-4o"  # <--
Use instead:
    when: request.model == 'gpt-4o'

E215: an index, a filter or a wildcard is applied to a value that has no elements.

It gives null, and the condition never holds.

Example:
    when: any(request.model[?@ == 'a'])  # <--
Use instead:
    when: any(request.tool_names[?@ == 'a'])

E216: an index or filter after a projection applies to every element of it.

`list[?x][0]` is not the first element for which x holds: `[0]` is taken of each element, and of what is no list that is
null. A pipe ends the projection.

Example:
    when: request.messages[?role == 'user'][0].text == 'hello'  # <--
Use instead:
    when: (request.messages[?role == 'user'] | [0].text) == 'hello'

E217: the expression has a value of the wrong kind for its place.

A condition must be true or false. A text or list counts as an error in `when`, so that it cannot match by mistake.

Example:
    when: request.model  # <--
Use instead:
    when: request.model != ''

E218: a literal argument cannot be read.

The network, or what else the function takes, is not written as it must be.

Example:
    when: cidr(caller.ip, '10.0.0.0/40')  # <--
Use instead:
    when: cidr(caller.ip, '10.0.0.0/8')

E219: `!` binds tighter than the dot and the filter that follow.

`!a.b` is `(!a).b`: a field of true or false, which is null. Brackets say what is meant.

Example:
    when: "!request.stream"  # <--
Use instead:
    when: "!(request.stream)"

W301: an operand of an ordering may be null.

An ordering with null is null, and the condition does not hold: a guard is silent where the value is missing. Say what null
means.

Example:
    phase: done
    when: response.usage.cost > `1`  # <--
    actions: [log: "dear"]
Use instead:
    phase: done
    when: default(response.usage.cost, `0`) > `1`
    actions: [log: "dear"]

W302: an argument may be null, which the function does not accept.

The call is then an error, and what that means is the rule's `on_error`: a guard refuses everything without the value.

Example:
    when: starts_with(caller.team, 'pay')  # <--
Use instead:
    when: starts_with(default(caller.team, ''), 'pay')

W303: a value that is always true stands where a boolean is expected.

In JMESPath a number counts as true, 0 too.

Example:
    when: length(request.tools) && request.stream  # <--
Use instead:
    when: length(request.tools) > `0` && request.stream

W304: a literal stands where a boolean is expected.

Its truth is known without an event; a comparison was left unfinished.

Example:
    when: request.stream && (`0` || request.model == 'gpt-5')  # <--
Use instead:
    when: request.stream && request.model == 'gpt-5'

W305: a condition may have a value that is neither a boolean nor null.

`a && b` has the value of its first operand that counts as false: an empty list or text, which is an error in `when`.

Example:
    when: request.tools && request.stream  # <--
Use instead:
    when: any(request.tools) && request.stream

E501: a pattern is not valid RE2.

Patterns are matched in time that grows with the text alone; look-around and back-references cannot be, and are refused.

Example:
    when: matches(request.last_user, '(?=secret)')  # <--
Use instead:
    when: matches(request.last_user, 'secret')

E502: a pattern can match without bound in flowing text.

A stream is held back as far as a match can reach. One that has no end would hold back the whole answer: say how wide it
may be.

Example:
    patterns:
      keys: {long: 'key-[a-z]+'}  # <--
    rules:
      - {id: r, phase: text, actions: [redact: {patterns: keys}]}
Use instead:
    patterns:
      keys: {long: {re2: 'key-[a-z]+', max_width: 100}}
    rules:
      - {id: r, phase: text, actions: [redact: {patterns: keys}]}

E503: a condition on flowing text does not say how far it looks.

In phase `text` a condition sees a window. Its width is held back of every stream with this rule, so that you choose it.

Example:
    - {id: r, phase: text, when: "contains(text.window, 'stop')", actions: [block: "No."]}  # <--
Use instead:
    - {id: r, phase: text, window: 40, when: "contains(text.window, 'stop')", actions: [block: "No."]}
"""
