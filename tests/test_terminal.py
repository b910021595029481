"""Text of a file does to a terminal nothing but print."""

from __future__ import annotations

import pytest

from untrue.progress import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]8;;http://a\x07here\x1b]8;;\x07", "\\x1b]8;;http://a\\x07here\\x1b]8;;\\x07"),
        ("a\x00b\x08c\x7fd", "a\\x00b\\x08c\\x7fd"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb", "a\\rb"),
        ("left \u202eright\u202c \u2066x\u2069 \u200f", "left \\u202eright\\u202c \\u2066x\\u2069 \\u200f"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str):
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["a\n\tb\r\nc", "é 中 🙂 👩\u200d🚀 نص", "[red]a[/] \\x1b 5 − 3\u00a0%"])
def test_all_else_stays(text: str):
    assert visible(text) == text
