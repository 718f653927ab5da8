"""POSIX shell text read by tree-sitter's Bash grammar: statements in, commands recorded."""

import re
from collections.abc import Sequence

import tree_sitter_bash
from tree_sitter import Language, Node, Parser, Tree

from engine.language.shell.commands import Command, Function, Redirect
from engine.language.shell.reading import NO_FEED, Feed, Reading, TooMuch
from engine.language.shell.running import Running
from engine.language.shell.scope import Scope
from engine.language.shell.words import MARKS, Word

_PARSER = Parser(Language(tree_sitter_bash.language()))
# The grammar takes quadratic time over deep nesting and endless pipelines; ordinary text stays far below these.
_PROGRESS_LIMIT = 600
_BROKEN_PROGRESS_LIMIT = 100
_PARENTHESES = re.compile(r"[()]")
_PARENTHESES_LIMIT = 200

# The grammar takes a line continuation inside a word for the word's end; the shell removes it.
_INSIDE_WORD = re.compile(r"(?<=[^\s\\])\\\n(?=\S)")
_LEADING_BRACES = re.compile(r"(\A|[;&|(\n])([ \t]*)\{([^\s{}'\"]{1,400},[^\s{}'\"]{0,400})\}")
_LOOP_SURPRISES = re.compile(r"\b(?:read|mapfile|readarray|printf\s+-v|eval|source|unset|let|getopts)\b")

_SKIPPED = frozenset({"comment", "heredoc_start", "heredoc_end", "heredoc_content", "file_descriptor", "test_operator"})
_WORDS = frozenset({
    "word", "raw_string", "string", "ansi_c_string", "concatenation", "simple_expansion", "expansion", "number",
    "translated_string", "variable_name", "special_variable_name", "command_name", "extglob_pattern", "regex",
    "brace_expression",
})  # fmt: skip
_SEQUENCES = frozenset({"program", "compound_statement", "do_group", "ERROR", "list"})
_BRANCHES = frozenset({"if_statement", "elif_clause", "else_clause", "case_statement", "case_item"})
_LOOPS = frozenset({"for_statement", "while_statement", "c_style_for_statement"})


def read(reading: Reading, text: str, arguments: tuple[str, ...] = ()) -> None:
    """Record the commands of `text`, run with positional `arguments` (`$0` first)."""
    Script(reading, text, Scope(arguments)).run()


def parse(text: str, source: bytes) -> Tree:
    """The syntax tree; raises `TooMuch` for text over which the grammar would take long."""
    if len(source) > 1000:
        depth = deepest = 0
        for match in _PARENTHESES.finditer(text):
            depth += 1 if match[0] == "(" else -1 if depth else 0
            deepest = max(deepest, depth)
        if deepest > _PARENTHESES_LIMIT:
            raise TooMuch
    calls = 0

    def too_long(_offset: int, error: bool) -> bool:
        nonlocal calls
        calls += 1
        return calls > (_BROKEN_PROGRESS_LIMIT if error else _PROGRESS_LIMIT)

    view = memoryview(source)
    try:
        return _PARSER.parse(lambda offset, _point: view[offset:], encoding="utf8", progress_callback=too_long)
    except ValueError as error:
        _PARSER.reset()
        raise TooMuch from error


def clean(reading: Reading, text: str) -> str:
    """The text without what no shell reads (zero bytes, lone surrogates, our own marks), unresolved where it had such."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if not text.isascii():
        cleaned = MARKS.sub("?", text.encode("utf-8", "replace").decode())
        reading.resolved = reading.resolved and cleaned == text
        text = cleaned
    if "\0" in text:
        reading.resolved = False
        text = text.replace("\0", "")
    return _INSIDE_WORD.sub("", text) if "\\\n" in text else text


class Script(Running):
    """One script in one process."""

    def __init__(self, reading: Reading, text: str, scope: Scope) -> None:
        super().__init__(reading, clean(reading, text), scope)
        self._last_start = 0

    def run(self, feed: Feed = NO_FEED) -> str | None:
        """Run the whole script; what it prints, or None. Functions that nothing called are read too."""
        printed = self._run_root(feed)
        scope = self.scope
        for name in list(scope.functions):
            if name not in scope.called:
                scope.called.add(name)
                scope.positional = None
                owner, body = scope.functions[name]
                owner.active = (name,)
                owner.run_all([body], NO_FEED)
        return printed

    def _run_root(self, feed: Feed) -> str | None:
        text = self._text if self._text is not None else self.source.decode()
        root = parse(text, self.source).root_node
        if root.has_error:
            rewritten = _LEADING_BRACES.sub(lambda m: m[1] + m[2] + m[3].replace(",", " "), text)
            again = parse(rewritten, rewritten.encode()).root_node if rewritten != text else root
            if again.has_error:
                self.reading.resolved = False
            else:
                root, self.source = again, rewritten.encode()
                self._text = rewritten if len(rewritten) == len(self.source) else None
        return self.run_all([root], feed)

    def run_text(self, text: str, feed: Feed = NO_FEED) -> str | None:
        """Run a text in this same scope, as `eval` does."""
        reading = self.reading
        reading.deeper()
        reading.accept(text)
        inner = Script(reading, text, self.scope)
        inner.active = self.active
        printed = inner._run_root(feed)
        reading.shallower()
        return printed

    def run_all(self, nodes: Sequence[Node], feed: Feed) -> str | None:
        """Run statements in turn; what they print together, or None where one of them is not known."""
        printed: str | None = ""
        for node in nodes:
            if node.is_named:
                text = self._statement(node, feed)
                printed = None if printed is None or text is None else printed + text
            elif node.is_missing:
                self.reading.resolved = False
        return printed

    def _statement(self, node: Node, feed: Feed, redirects: tuple[Redirect, ...] = ()) -> str | None:
        kind = node.type
        if kind in _SKIPPED:
            return ""
        reading = self.reading
        reading.step()
        reading.deeper()
        printed: str | None = None
        if kind in ("command", "declaration_command", "unset_command"):
            printed = self._command(node, feed, redirects)
        elif kind == "list":
            printed = self._list(node, feed)
        elif kind in _SEQUENCES:
            printed = self.run_all(node.children, feed)
        elif kind == "pipeline":
            printed = self._pipeline(node.named_children, feed)
        elif kind == "redirected_statement":
            printed = self._redirected(node, feed)
        elif kind in ("variable_assignment", "variable_assignments"):
            for child in node.named_children if kind.endswith("s") else (node,):
                self._assignment(child)
            printed = ""
        elif kind == "subshell":
            before = self.scope.snapshot()
            printed = self.run_all(node.children, feed)
            self.scope.restore(before)
        elif kind == "negated_command":
            printed = self.run_all(node.children, feed)
        elif kind in _BRANCHES:
            self._branches(node, feed)
        elif kind in _LOOPS:
            self._loop(node, feed)
        elif kind == "function_definition":
            self._function(node)
            printed = ""
        elif kind in ("file_redirect", "heredoc_redirect", "herestring_redirect"):
            self._alone(node, feed)
        elif kind in _WORDS:
            self.marked(node)
        elif kind == "test_command":
            self.visit(node)
            printed = ""
        else:
            self._other(node, feed)
        reading.shallower()
        return printed

    def _other(self, node: Node, feed: Feed) -> None:
        """What is no statement (a condition, a subscript, a broken piece): the statements and words below it."""
        if node.type in ("command_substitution", "process_substitution", "arithmetic_expansion"):
            self.marked(node)
        else:
            self.run_all(node.children, feed)

    def _list(self, node: Node, feed: Feed, redirects: tuple[Redirect, ...] = (), piped: bool = False) -> str | None:
        """`a && b || c`: what follows an operator may not run, so what it sets is not relied on afterwards.

        Where the grammar puts a whole list before a pipe or a redirection (`piped`), only its last command is meant.
        """
        flat: list[Node] = []
        stack = [node]
        while stack:
            current = stack.pop()
            if current.type == "list":
                stack.extend(reversed(current.children))
            else:
                flat.append(current)
        printed = self._statement(flat[0], feed) if flat and flat[0].is_named else ""
        before = self.scope.snapshot()
        for place, part in enumerate(flat[1:], 1):
            if part.is_named:
                self._last_start = len(self.reading.commands)
                if place == len(flat) - 1 and part.type == "command":
                    text = self._command(part, feed, redirects)
                else:
                    text = self._statement(part, feed)
                printed = "" if piped else printed
                printed = None if printed is None or text is None else printed + text
            elif part.type == "||":
                self.scope.merge(before)
        self.scope.merge(before)
        return printed

    def _pipeline(self, stages: Sequence[Node], feed: Feed) -> str | None:
        reading, start = self.reading, len(self.reading.commands)
        printed: str | None = None
        for index, stage in enumerate(stages):
            before = self.scope.snapshot()
            body = stage.child_by_field_name("body") if stage.type == "redirected_statement" else None
            printed = self._list(stage, feed, piped=True) if stage.type == "list" else self._statement(stage, feed)
            if stage.type == "list" or (body is not None and body.type == "list"):
                start = self._last_start
            self.scope.restore(before)
            if index + 1 < len(stages):
                feed = Feed(printed, tuple(dict.fromkeys((*feed.by, *reading.programs_since(start)))))
        return printed

    def _branches(self, node: Node, feed: Feed) -> None:
        before = self.scope.snapshot()
        for child in node.children:
            if child.is_named:
                self._statement(child, feed)
                self.scope.merge(before)
            elif child.is_missing:
                self.reading.resolved = False

    def _loop(self, node: Node, feed: Feed) -> None:
        scope = self.scope
        for name in self._assigned_names(node):
            scope.set(name, None)
        if _LOOP_SURPRISES.search(self.raw(node)):
            scope.forget()
        before = scope.snapshot()
        variable = node.child_by_field_name("variable")
        listed: list[Node] = []
        if variable is not None:
            listed = node.children_by_field_name("value")
            values = [word for child in listed for word in self.words(child)]
            only = values[0] if len(values) == 1 and values[0].known and not values[0].glob else None
            scope.set(self.raw(variable), only.text if only else None)
        for child in node.named_children:
            if child not in listed and child != variable:
                self._statement(child, feed)
        scope.merge(before)

    def _assigned_names(self, node: Node) -> list[str]:
        names, stack = [], [node]
        while stack:
            self.reading.step()
            current = stack.pop()
            if current.type == "variable_assignment" and current.named_children:
                names.append(self.raw(current.named_children[0]))
            elif current.child_count:
                stack.extend(current.children)
        return names

    def _function(self, node: Node) -> None:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is None or body is None:
            self.run_all(node.children, NO_FEED)
            return
        called = self.raw(name)
        self.scope.functions[called] = (self, body)
        self.scope.called.discard(called)
        self.reading.functions.append(Function(called, _forks(self, body, called)))
        for child in node.children_by_field_name("redirect"):
            self._alone(child, NO_FEED)

    def _assignment(self, node: Node, exported: bool = False) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            return
        key = self.raw(name)
        appends = any(child.type == "+=" for child in node.children)
        if value is not None and value.type == "array":
            items = [word for child in value.named_children for word in self.words(child)]
            known = not appends and all(word.known for word in items)
            self.scope.values.pop(key, None)
            self.assign(key, None if not known else " ".join(word.text for word in items), self.raw(value))
            self.scope.values.pop(key, None)
            self.scope.arrays[key] = tuple(word.text for word in items) if known else None
            return
        word = self.value(value) if value is not None else Word("", "")
        text: str | None = word.text if word.known else None
        if appends and text is not None:
            earlier = self.scope.values.get(key)
            text = None if earlier is None else earlier + text
        if name.type != "variable_name":
            key, text = key.partition("[")[0], None
        self.assign(key, text, word.text, exported)

    def _command(self, node: Node, feed: Feed, redirects: tuple[Redirect, ...] = ()) -> str | None:
        outer, self.fed = self.fed, []
        streams, self.streams = self.streams, {}
        words: list[Word] = []
        prefixed: list[Node] = []
        own: list[Redirect] = []
        declaring = node.type != "command"
        begin, ended, taken = 0, -1, 0  # the last word's span, and how many words there were before it
        for child in node.children:
            kind = child.type
            if kind == "file_redirect":
                redirect, feed = self._file_redirect(child, feed)
                own.append(redirect)
            elif kind == "herestring_redirect":
                feed = self._herestring(child)
            elif kind == "variable_assignment" and not declaring:
                prefixed.append(child)
            elif kind == "variable_assignment":
                value = self.value(child.named_children[-1]) if len(child.named_children) > 1 else Word("", "")
                written = self.raw(child)
                head = written[: len(written) - len(value.raw)] if value.raw else written
                words.append(Word(head + value.text, written, value.known))
            elif kind in ("subshell", "compound_statement"):  # `time (a; b)`
                self._statement(child, feed)
            elif child.is_named:
                if child.start_byte == ended:  # the grammar cuts `a$IFS/b` in two
                    del words[taken:]
                    words.extend(self.loose(self.slice(begin, child.end_byte)))
                else:
                    begin, taken = child.start_byte, len(words)
                    words.extend(self.words(child))
                ended = child.end_byte
            elif declaring:
                words.append(Word(self.raw(child), self.raw(child)))
            elif child.is_missing:
                self.reading.resolved = False
        before = self.scope.snapshot() if prefixed and words else None
        exported = set(self.scope.exported)
        for child in prefixed:
            self._assignment(child, exported=bool(words))
        printed = self._execute(words, self.raw(node), feed, (*own, *redirects))
        if before is not None:
            self.scope.restore(before)
            self.scope.exported = exported
        self.fed, self.streams = outer, streams
        return printed

    def _execute(self, words: list[Word], raw: str, feed: Feed, redirects: tuple[Redirect, ...]) -> str | None:
        if not words:
            self._bare_redirects(raw, feed, redirects)
            return ""
        printed = self.execute(words, raw, feed, redirects)
        files = self.reading.files
        if words[0].text == "tee" and printed is not None:
            for word in words[1:]:
                files[word.text] = printed
        for redirect in redirects:
            if ">" in redirect.op and "&" not in redirect.op and not redirect.op.startswith("2"):
                known = files.get(redirect.target, "") if redirect.op.endswith(">>") else ""
                if printed is None:
                    files.pop(redirect.target, None)
                else:
                    files[redirect.target] = known + printed
                printed = ""
        return printed

    def _bare_redirects(self, raw: str, feed: Feed, redirects: tuple[Redirect, ...]) -> None:
        if redirects:
            self.reading.add(Command("", raw=raw, redirects=redirects, input=feed.text or "", fed_by=feed.by))

    def _alone(self, node: Node, feed: Feed) -> None:
        if node.type == "file_redirect":
            redirect, feed = self._file_redirect(node, feed)
            self._bare_redirects(self.raw(node), feed, (redirect,))
        else:
            self.run_all([child for child in node.children if child.type not in ("heredoc_body",)], feed)

    def _redirected(self, node: Node, feed: Feed) -> str | None:
        body = node.child_by_field_name("body")
        redirects: list[Redirect] = []
        tails: list[Node] = []
        outer_fed, outer_streams = self.fed, self.streams
        self.fed, self.streams = [], {}
        for child in node.children:
            if child.type == "file_redirect":
                redirect, feed = self._file_redirect(child, feed)
                redirects.append(redirect)
            elif child.type == "herestring_redirect":
                feed = self._herestring(child)
            elif child.type == "heredoc_redirect":
                feed = self._heredoc(child, redirects, tails)
        carried = tuple(self.fed)
        self.fed, self.streams = outer_fed, {**outer_streams, **self.streams}
        if carried:
            feed = Feed(feed.text, tuple(dict.fromkeys((*feed.by, *carried))), feed.present)
        start = len(self.reading.commands)
        printed: str | None = ""
        if body is None:
            self._bare_redirects(self.raw(node), feed, tuple(redirects))
        elif body.type in ("command", "declaration_command", "unset_command"):
            printed = self._command(body, feed, tuple(redirects))
        elif body.type == "list":
            printed = self._list(body, feed, tuple(redirects), piped=True)
        else:
            printed = self._statement(body, feed)
            self._bare_redirects(self.raw(node), NO_FEED, tuple(redirects))
            printed = "" if any(">" in redirect.op for redirect in redirects) else printed
        self.streams = outer_streams
        for tail in tails:
            if tail.type == "pipeline" and not tail.children[0].is_named:
                by = self.reading.programs_since(start)
                printed = self._pipeline(tail.named_children, Feed(printed, by))
            else:
                before = self.scope.snapshot()
                self._statement(tail, NO_FEED)
                self.scope.merge(before)
                printed = None
        return printed

    def _heredoc(self, node: Node, redirects: list[Redirect], tails: list[Node]) -> Feed:
        start, body, strips = "", Word("", ""), False
        for child in node.children:
            kind = child.type
            if kind == "<<-":
                strips = True
            elif kind == "heredoc_start":
                start = self.raw(child)
            elif kind == "heredoc_body":
                quoted = any(mark in start for mark in "'\"\\")
                body = Word(self.raw(child), "") if quoted else self.body(child)
            elif kind == "file_redirect":
                redirects.append(self._file_redirect(child, NO_FEED)[0])
            elif kind not in _SKIPPED and child.is_named:
                tails.append(child)
        text = re.sub(r"(?m)^\t+", "", body.text) if strips else body.text
        return Feed(text)

    def _herestring(self, node: Node) -> Feed:
        word = self.value(node.named_children[-1]) if node.named_children else Word("", "")
        return Feed(word.text + "\n" if word.known else None, tuple(self.fed))

    def _file_redirect(self, node: Node, feed: Feed) -> tuple[Redirect, Feed]:
        op, target = "", Word("", "")
        for child in node.children:
            if child.type == "file_descriptor" or not child.is_named:
                op += self.raw(child)
            else:
                target = self.value(child)
        if op == "<":
            if target.raw in self.streams:
                printed, by = self.streams[target.raw]
                feed = Feed(printed, by)
            elif target.text in self.reading.files:
                feed = Feed(self.reading.files[target.text])
            else:
                feed = NO_FEED
        return Redirect(op, target.text, not target.known), feed


def _forks(script: Script, body: Node, name: str) -> bool:
    """Whether a function's body calls the function itself in a pipeline or in the background."""
    stack = [body]
    while stack:
        script.reading.step()
        node = stack.pop()
        if node.type == "command" and script.raw(node).split(None, 1)[:1] == [name]:
            parent, after = node.parent, node.next_sibling
            if (parent is not None and parent.type == "pipeline") or (after is not None and after.type == "&"):
                return True
        elif node.child_count:
            stack.extend(node.children)
    return False
