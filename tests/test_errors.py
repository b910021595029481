"""What a library says went wrong is told in one line, whatever it looks like."""

from __future__ import annotations

import pytest
from inspect_ai._util.error import pip_dependency_error
from inspect_ai.model._providers.util import environment_prerequisite_error

from untrue.errors import one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            environment_prerequisite_error("Mine", ["ONE_KEY", "OTHER_KEY"]),
            "Unable to initialise Mine client. No ONE_KEY or OTHER_KEY defined in the environment",
        ),
        (
            pip_dependency_error("Mine", ["mine"]),
            "Mine requires optional dependencies. Install with: pip install mine",
        ),
        (ValueError("a [thing] of\n  two lines.\n"), "a [thing] of two lines"),
        (ValueError(), "ValueError"),
        ("\n\n", "str"),
        ("word " * 1000, "word " * 100 + "…"),
        ("x" * 1000, "x" * 500 + " …"),
    ],
)
def test_it_is_one_plain_line_with_its_cause(error: object, line: str):
    assert one_line(error) == line
