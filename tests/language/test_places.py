"""Paths and addresses, judged by their text."""

import pytest

from engine.language.places import within


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/repo", "/repo"),
        ("/repo/a/b", "/repo/"),
        ("a/../b", "/repo"),
        ("./a//b/.", "/repo"),
        ("/repo/a/../../repo/b", "/repo"),
        ("/x", "/"),
        ("~/work/a", "~/work"),
        (r"C:\Repo\a", r"c:\repo"),
        ("c:/repo/A", r"C:\repo"),
        (r"src\a.py", r"C:\repo"),
        ("...", "/repo"),
        ("..a", "/repo"),
        ("a b", "/repo"),
    ],
)
def test_within(path: str, root: str) -> None:
    assert within(path, root)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/repository", "/repo"),
        ("/Repo/a", "/repo"),
        ("/repo/../etc", "/repo"),
        ("..", "/repo"),
        ("a/../../x", "/repo"),
        ("/../..", "/"),
        ("", "/repo"),
        ("a", ""),
        ("a", "relative/root"),
        ("~", "/home/me"),
        ("~other/a", "/repo"),
        ("a/~/b", "/repo"),
        ("$HOME/a", "/repo"),
        ("a/`id`", "/repo"),
        ("%USERPROFILE%", r"C:\repo"),
        ("a/{..,b}/x", "/repo"),
        ("a\x00b", "/repo"),
        (r"D:\repo\a", r"C:\repo"),
        ("C:a", r"C:\repo"),
        (r"\repo\a", r"C:\repo"),
        (r"\\server\share", r"C:\repo"),
        (r"\\?\C:\repo\a", r"C:\repo"),
        ("//server/share", "/"),
        (r"C:\repo\a:stream", r"C:\repo"),
        (r"C:\repo.\a", r"C:\repo"),
        (r"C:\repo\.. \x", r"C:\repo"),
        ("C:/repo/a", "/repo"),
    ],
)
def test_not_within_or_not_to_be_told(path: str, root: str) -> None:
    assert not within(path, root)


def test_a_backslash_does_not_hide_a_way_out_on_posix() -> None:
    """There it is a letter of one name, so that one `..` leaves more than a folder that it would separate."""
    assert not within(r"a\b/../../x", "/repo")
    assert not within(r"a\..\..\x", "/repo")
