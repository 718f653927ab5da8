"""Command lines and what is read from them, as text pairs."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.language.shell import Shell, parse_argv, parse_command
from engine.language.shell.reading import COMMAND_LIMIT, TEXT_LIMIT


def told(shell: Shell) -> list[str]:
    """Each command as `program subcommand [flags] operands`, a `?` before one that is dynamic."""
    return [
        " ".join(
            part
            for part in (
                ("?" if c.dynamic else "") + c.program,
                c.subcommand,
                "[" + ",".join(f for f in c.flags if not f.startswith(("-", "/"))) + "]" if c.flags else "",
                *c.operands,
            )
            if part
        )
        for c in shell.commands
    ]


POSIX = [
    # words and quoting
    ("ls -la src", ["ls [l,a] src"]),
    ("/bin/rm -rf /", ["rm [r,f] /"]),
    (r"\rm -rf /", ["rm [r,f] /"]),
    ("r''m -rf /", ["rm [r,f] /"]),
    ('"rm" "-rf" "/"', ["rm [r,f] /"]),
    ("'rm' -'r'f /", ["rm [r,f] /"]),
    ("r\\\nm -rf \\\n /", ["rm [r,f] /"]),
    ("$'\\x72\\155' $'-rf' $'/\\u0065'", ["rm [r,f] /e"]),
    ('$"rm" x', ["rm x"]),
    ("rm a\\ b", ["rm a b"]),
    ("echo \"a  b\" 'c $d'", ["echo a  b c $d"]),
    ('echo "say \\"hi\\" \\$x"', ['echo say "hi" $x']),
    ('echo "rm -rf /"', ["echo rm -rf /"]),
    ("echo a # rm -rf /", ["echo a"]),
    ("rm ~/x *.log", ["rm ~/x *.log"]),
    ("rm é 你", ["rm é 你"]),
    ("RM.EXE x", ["rm x"]),
    # flags and operands
    ("rm -r -f -- -x --y=z", ["rm [r,f] -x --y=z"]),
    ("git push --force=x --no-verify", ["git push [force,no-verify]"]),
    ("kill -9 -1", ["kill [9,1]"]),
    ("tar -xzf a.tgz -C /tmp", ["tar [x,z,f,C] a.tgz /tmp"]),
    ("find . -name x -delete", ["find [name,delete] . x"]),
    ("terraform -chdir=infra destroy -auto-approve", ["terraform destroy [chdir,auto-approve]"]),
    ("cat -", ["cat -"]),
    # subcommands
    ("git -C /repo -c push.default=x push -f origin +main", ["git push [C,c,f] origin +main"]),
    ("git --git-dir /x/.git --no-pager log", ["git log [git-dir,no-pager]"]),
    ("docker -H tcp://h compose up -d", ["docker compose [H,d] up"]),
    ("kubectl -n prod delete pod x", ["kubectl delete [n] pod x"]),
    ("npm --prefix web run build", ["npm run [prefix] build"]),
    ("aws --profile p s3 rm s3://b --recursive", ["aws s3 [profile,recursive] rm s3://b"]),
    ("make clean", ["make clean"]),
    # operators and compounds
    ("a | b && c || d; e & f", ["a", "b", "c", "d", "e", "f"]),
    ("a |& b\nc", ["a", "b", "c"]),
    ("(a; b) && { c; }", ["a", "b", "c"]),
    ("! a", ["a"]),
    ("if a; then b; elif c; then d; else e; fi", ["a", "b", "c", "d", "e"]),
    ("for x in 1 2; do a; done; until b; do c; done; while d; do e; done", ["a", "b", "c", "d", "e"]),
    ("case $x in a) b;; *) c;; esac", ["b", "c"]),
    ("f() { rm x; }", ["rm x"]),
    ('f() { rm -rf "$1"; }; f /', ["f /", "rm [r,f] /"]),
    ("[[ -n $(a) ]] && b", ["a", "b"]),
    ("coproc rm x", ["coproc", "rm x"]),
    # substitutions
    ('echo $(rm a) `rm b` "$(rm c)"', ["rm a", "rm b", "rm c", "?echo $(rm a) `rm b` $(rm c)"]),
    ("diff <(a x) <(b y)", ["a x", "b y", "?diff <(a x) <(b y)"]),
    ("echo $((1 + $(rm z)))", ["rm z", "?echo $((1 + $(rm z)))"]),
    ("echo `echo \\`rm x\\``", ["rm x", "?echo `rm x`", "?echo `echo \\`rm x\\``"]),
    ("$(echo rm) -rf /", ["echo rm", "rm [r,f] /"]),
    ("> >(rm x) a", ["rm x", "a"]),
    # variables
    ("X=rm; $X -rf /", ["rm [r,f] /"]),
    ("a=rm b=-rf; $a $b /", ["rm [r,f] /"]),
    ("c='rm -rf'; $c /", ["rm [r,f] /"]),
    ("c='rm -rf'; \"$c\" /", ["rm -rf /"]),
    ("a=r; ${a}m x; a+=m; $a y", ["rm x", "rm y"]),
    ("X=abrm; ${X:2} y; ${X/ab/} z; ${X#ab} w", ["rm y", "rm z", "rm w"]),
    ("X=RM; ${X,,} y", ["rm y"]),
    ('c=(rm -rf /); "${c[@]}"', ["rm [r,f] /"]),
    ("rm$IFS-rf$IFS/", ["rm [r,f] /"]),
    ("rm${IFS}-rf${IFS}/", ["rm [r,f] /"]),
    ("r$@m -rf /; r${@}m x; r$1m y", ["rm [r,f] /", "rm x", "rm y"]),
    ("IFS=_; X=rm_-rf_/; $X", ["rm [r,f] /"]),
    ("for i in $(seq 3); do a; done", ["seq 3", "a"]),
    ("unset Z; r${Z}m x", ["unset Z", "rm x"]),
    ("export X=rm; sh -c '$X y'", ["export X=rm", "sh [c] $X y", "rm y"]),
    ("read a b <<< 'rm -rf'; $a $b /", ["read a b", "rm [r,f] /"]),
    ("printf -v X rm; $X y", ["printf [v] X rm", "rm y"]),
    ("for c in rm; do $c x; done", ["rm x"]),
    ("echo $HOME/x", ["?echo $HOME/x"]),
    # braces
    ("rm -rf /{a,b}/{c,d{e,f}}", ["rm [r,f] /a/c /a/de /a/df /b/c /b/de /b/df"]),
    ("{rm,-rf,/}", ["rm [r,f] /"]),
    ("echo {} {x} a,b HEAD@{1}", ["echo {} {x} a,b HEAD@{1}"]),
    # scripts in words
    ("sh -c 'rm -rf /'", ["sh [c] rm -rf /", "rm [r,f] /"]),
    ("bash -euo pipefail -lc 'a; b' x", ["bash [e,u,o,l,c] pipefail a; b x", "a", "b"]),
    ("sh -c 'rm \"$1\"' _ /", ['sh [c] rm "$1" _ /', "rm /"]),
    ("eval rm '-rf' /", ["eval [r,f] rm /", "rm [r,f] /"]),
    ("eval 'eval \"rm x\"'", ['eval eval "rm x"', "eval rm x", "rm x"]),
    ("trap 'rm x' EXIT", ["trap rm x EXIT", "rm x"]),
    ("python3 -c 'print(1)'", ["python3 [c] print(1)"]),
    ("su - bob -c 'rm x'", ["su [c] - bob rm x", "rm x"]),
    ("ssh -p 22 h 'rm x && ls'", ["ssh [p] 22 h", "rm x", "ls"]),
    ("watch -n1 'rm x'", ["watch [n,1]", "rm x"]),
    # wrappers
    ("sudo -u root rm -rf /", ["sudo [u] root", "rm [r,f] /"]),
    ("doas rm x", ["doas", "rm x"]),
    ("FOO=1 BAR=2 rm x", ["rm x"]),
    ("env -i -u A FOO=1 rm x", ["env [i,u] A FOO=1", "rm x"]),
    ("env -S 'rm -rf /'", ["env [S] rm -rf /", "rm [r,f] /"]),
    ("nohup nice -n 5 rm x", ["nohup", "nice [n] 5", "rm x"]),
    ("timeout -k 1 10 rm x", ["timeout [k] 1 10", "rm x"]),
    ("time -p rm x", ["time [p]", "rm x"]),
    ("command rm x; builtin echo; exec rm y", ["command", "rm x", "builtin", "echo", "exec", "rm y"]),
    ("command -v rm", ["command [v] rm"]),
    (
        "stdbuf -oL rm x; setsid rm y; busybox rm z",
        ["stdbuf [o,L]", "rm x", "setsid", "rm y", "busybox", "rm z"],
    ),
    ("ls | xargs -0 -n 1 rm -rf", ["ls", "xargs [0,n] 1", "?rm [r,f]"]),
    ("echo / | xargs rm -rf", ["echo /", "xargs", "rm [r,f] /"]),
    ("echo / | xargs -I{} sh -c 'rm {}'", ["echo /", "xargs [I]", "sh [c] rm /", "rm /"]),
    ("parallel rm ::: a b", ["parallel", "rm a b"]),
    (
        "find . -exec rm {} \\; -o -execdir sh -c 'ls' \\;",
        ["find [exec,o,execdir] .", "?rm {}", "sh [c] ls", "ls"],
    ),
    ("docker exec -it web rm x", ["docker exec [i,t] web", "rm x"]),
    ("kubectl exec pod -c c -- rm x", ["kubectl exec [c] pod c", "rm x"]),
    ("uv run --with a rm x", ["uv run [with] a", "rm x"]),
    ("alias x='rm -rf'; x /", ["alias x=rm -rf", "x /", "rm [r,f] /"]),
    ("git -c alias.x='!rm y' x", ["git x [c]", "rm y"]),
    ("git config alias.x '!rm y'", ["git config alias.x !rm y", "rm y"]),
    ("git rebase -x 'rm y' main", ["git rebase [x] rm y main", "rm y"]),
    ("git submodule foreach rm y", ["git submodule foreach rm y", "rm y"]),
    ("time (a; b)", ["a", "b", "time"]),
    # decoded pipes
    ("echo cm0gLXJmIC8= | base64 -d | sh", ["echo cm0gLXJmIC8=", "base64 [d]", "sh", "rm [r,f] /"]),
    (
        'bash -c "$(echo cm0gLXJmIC8= | base64 --decode)"',
        ["echo cm0gLXJmIC8=", "base64 [decode]", "bash [c] rm -rf /", "rm [r,f] /"],
    ),
    ("base64 -d <<< cm0gLXJmIC8= | sh", ["base64 [d]", "sh", "rm [r,f] /"]),
    ("printf 'rm -rf %s\\n' / | bash", ["printf rm -rf %s\\n /", "bash", "rm [r,f] /"]),
    ("echo -e 'rm\\x20x' | sh", ["echo [e] rm\\x20x", "sh", "rm x"]),
    ("echo '/ fr- mr' | rev | sh", ["echo / fr- mr", "rev", "sh", "rm [r,f] /"]),
    ("echo 726d2078 | xxd -r -p | sh", ["echo 726d2078", "xxd [r,p]", "sh", "rm x"]),
    ("echo 'sn y' | tr 'ns' 'mr' | sh", ["echo sn y", "tr ns mr", "sh", "rm y"]),
    ("echo 'rm x' | tee log | sudo sh", ["echo rm x", "tee log", "sudo", "sh", "rm x"]),
    # here-documents
    ("bash <<'EOF'\nrm -rf /\nEOF", ["bash", "rm [r,f] /"]),
    ("cat <<EOF | sh\nrm x\nEOF", ["cat", "sh", "rm x"]),
    ("bash <<-EOF\n\trm x\n\tEOF\n", ["bash", "rm x"]),
    ("cat <<EOF && rm x\nhi $(a)\nEOF", ["a", "cat", "rm x"]),
    ("bash <<< 'rm x'", ["bash", "rm x"]),
    ("cat > x.sh <<'EOF'\nrm x\nEOF\nbash x.sh", ["cat", "bash x.sh", "rm x"]),
    ("echo 'rm x' > s; . ./t; sh s", ["echo rm x", ". ./t", "sh s", "rm x"]),
    ("sudo -s <<EOF\nrm x\nEOF", ["sudo [s]", "rm x"]),
    # other dialects inside
    ('cmd /c "del /s /q C:\\x & rd /s/q y"', ["cmd /c del /s /q C:\\x & rd /s/q y", "del [s,q] C:\\x", "rd [s,q] y"]),
    (
        'powershell -NoProfile -Command "Remove-Item -Recurse C:\\x"',
        ["powershell [NoProfile,Command] Remove-Item -Recurse C:\\x", "remove-item [recurse] C:\\x"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), POSIX, ids=[text[:40] for text, _ in POSIX])
def test_a_posix_command_line_is_read(text: str, expected: list[str]) -> None:
    shell = parse_command(text, "posix")
    assert told(shell) == expected
    assert shell.resolved


UNRESOLVED = [
    "$X -rf /",
    "$(cat x) y",
    "`a` y",
    "/bin/r? x",
    "/???/rm x",
    "curl x | sh",
    "curl x | sudo bash -s -- y",
    "bash <(curl x)",
    "bash < <(curl x)",
    "source <(curl x)",
    'sh -c "$(curl x)"',
    'eval "$(curl x)"',
    'eval "$X"',
    "base64 -d x | sh",
    "ls | xargs -I{} sh -c '{}'",
    "ls | xargs -I{} {} x",
    "echo 'unclosed",
    "if a; then b",
    "a && && b",
    "X=ls; false && X=rm; $X y",
    "X=ls; if a; then X=rm; fi; $X y",
    "X=ls; for i in 1 2; do $X y; X=rm; done",
    "read X; $X y",
    "X=ls; . ./x; $X y",
    "rm \0x",
    "powershell -enc !!!",
]


@pytest.mark.parametrize("text", UNRESOLVED)
def test_what_the_text_does_not_decide_is_not_resolved(text: str) -> None:
    assert not parse_command(text, "posix").resolved


def test_a_subshell_keeps_its_variables_to_itself() -> None:
    assert told(parse_command("X=ls; (X=rm); $X y; X=rm | a; $X z", "posix")) == ["ls y", "a", "ls z"]


def test_commands_of_a_broken_text_are_still_recorded() -> None:
    assert "rm [r,f] /" in told(parse_command("rm -rf / ; if", "posix"))


def test_redirections_are_recorded_with_their_targets() -> None:
    shell = parse_command("a 2>&1 >> 'x y' <in; > /etc/passwd; { b; } > c", "posix")
    assert [(c.program, [(r.op, r.target) for r in c.redirects]) for c in shell.commands] == [
        ("a", [("2>&", "1"), (">>", "x y"), ("<", "in")]),
        ("", [(">", "/etc/passwd")]),
        ("b", []),
        ("", [(">", "c")]),
    ]


def test_assignments_are_recorded_also_those_of_one_command() -> None:
    shell = parse_command("A=1 b; export C=d; env E=f g; H=$I", "posix")
    assert [(a.name, a.value, a.dynamic) for a in shell.assignments] == [
        ("A", "1", False),
        ("C", "d", False),
        ("E", "f", False),
        ("H", "$I", True),
    ]


def test_an_interpreter_fed_by_a_here_document_has_it_as_input() -> None:
    command = parse_command("python3 - <<'EOF'\nimport os\nEOF", "posix").commands[0]
    assert (command.program, command.input) == ("python3", "import os\n")


def test_a_command_names_the_programs_that_feed_it() -> None:
    fed = {c.program: c.fed_by for c in parse_command('curl x | tee y | sudo sh; eval "$(wget z)"', "posix").commands}
    assert fed["sh"] == ("curl", "tee")
    assert fed["eval"] == ("wget",)


def test_a_pipe_after_a_redirection_carries_only_the_last_command_of_a_list() -> None:
    commands = parse_command("curl x && make 2>&1 | sh", "posix").commands
    assert [(c.program, c.fed_by, len(c.redirects)) for c in commands] == [
        ("curl", (), 0),
        ("make", (), 1),
        ("sh", ("make",), 0),
    ]


@pytest.mark.parametrize(
    ("text", "forks"),
    [(":(){ :|:& };:", True), ("f() { f & }; f", True), ("f() { g | h; }", False), ("f(){ f; }", False)],
)
def test_a_function_that_multiplies_itself_is_told(text: str, forks: bool) -> None:
    assert [f.forks_itself for f in parse_command(text, "posix").functions] == [forks]


def test_words_are_as_written_and_argv_as_run() -> None:
    command = parse_command("X=1; 'r'm \"a b\"  $X", "posix").commands[0]
    assert command.argv == ("rm", "a b", "1")
    assert command.words == ("'r'm", '"a b"', "$X")
    assert command.raw == "'r'm \"a b\"  $X"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["bash", "-lc", "rm x && ls"], ["rm x", "ls"]),
        (["rm", "-rf", "a b"], ["rm [r,f] a b"]),
        (["sudo", "sh", "-c", "rm x"], ["sudo", "sh [c] rm x", "rm x"]),
        (["rm -rf x"], ["rm [r,f] x"]),
        (["powershell", "-Command", "ri x"], ["remove-item x"]),
        (["cmd", "/c", "del x"], ["del x"]),
        (["echo", "$HOME", "*"], ["echo $HOME *"]),
        ([], []),
    ],
)
def test_an_argument_vector_is_read_without_a_shell(argv: list[str], expected: list[str]) -> None:
    shell = parse_argv(argv)
    assert told(shell) == expected
    assert shell.resolved


def test_a_text_beyond_the_limits_is_not_resolved() -> None:
    assert not parse_command("a " * TEXT_LIMIT).resolved
    many = parse_command("a;" * (COMMAND_LIMIT + 1))
    assert not many.resolved
    assert len(many.commands) == COMMAND_LIMIT
    assert not parse_command("sh -c " * 200 + "rm").resolved or parse_command("$(" * 200 + ")" * 200).resolved is False
    assert not parse_command("$(" * 100 + "a" + ")" * 100).resolved


def test_values_that_grow_without_end_are_given_up() -> None:
    assert parse_command("a=xxxxxxxx;" + "a=$a$a$a$a;" * 20 + "echo $a", "posix").commands[-1].dynamic


def test_a_document_is_plain_json() -> None:
    document = parse_command("A=1 git push -f > x; f() { f | f; }", "posix").document()
    assert json.loads(json.dumps(document)) == document
    assert document["commands"][0]["flags"] == ["f", "-f"]


PIECES = st.sampled_from(
    [
        "rm", "-rf", "/", "$X", "$(", ")", "`", "'", '"', "\\", "\n", ";", "|", "&", "&&", "{", "}", "<<EOF", "EOF", "<",
        ">", "$'", "${", "X=", "[[", "]]", "if", "then", "fi", "for", "in", "do", "done", "case", "esac", "eval", "sh -c",
        "xargs", "find", "-exec", " ", " ", " ", "f()", "@'", "'@", "^", "%A%", "iex", "cmd /c", "sudo", "::", "=", "a",
        "alias", "base64 -d", "echo", "printf", "%s", "tr", "a-z", "\ufdd0", "\ud800", "\0", "é", "((", "))", "powershell -c",
        "for %i in (a) do", "if exist x", "@(", "#", "<#", "$a=", "[x]::y(",
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join), st.lists(PIECES, max_size=25).map(" ".join)
    ),
    dialect=st.sampled_from(["posix", "powershell", "cmd", None]),
)
def test_no_text_raises(text: str, dialect: None) -> None:
    document = parse_command(text, dialect).document()
    json.dumps(document)
    parse_argv(text.split(" "))


def test_base64_of_utf_16_is_the_encoded_command_of_powershell() -> None:
    encoded = base64.b64encode("Remove-Item C:\\x -Recurse".encode("utf-16-le")).decode()
    for option in ("-EncodedCommand", "-enc", "-e", "-ec"):
        assert told(parse_command(f"pwsh {option} {encoded}", "posix"))[-1] == "remove-item [recurse] C:\\x"
