"""The count of code leaves out comments, docstrings and blank lines, and no line that holds code."""

from tools.size import code_lines, docstring_lines

SOURCE = '''"""A module.

Of three lines."""

import os  # a comment beside code

# a comment
TEXT = """not a
docstring"""
"""What it is."""


def name() -> str:
    """One line."""
    return f(
        "a",
    )
'''


def test_only_lines_with_code_are_counted():
    assert sorted(code_lines(SOURCE)) == [5, 8, 9, 13, 15, 16, 17]
    assert sorted(docstring_lines(SOURCE)) == [1, 2, 3, 10, 14]
