"""What judges are asked: the questions, whose texts are in `questions/`, with their answers and versions.

Raise the version of a question when its text changes, so that no old judgement is reused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from untrue.data.gold import GoldRow

CLOSING = re.compile(r"<(?=\s*/\s*text\b)", re.IGNORECASE)
"""The bracket of what a lenient reader could take for the end of a quoted text."""

DECOY = "a reply that deserves a no"
"""What a judgement is about where the judge reads a reply that no model gave."""


class JudgePrompt(NamedTuple):
    """A question to a judge.

    Attributes:
        name: Its name, as the cache and the logs have it.
        version: Raised whenever the text, or the way of asking for the answer, changes.
        template: The text, with the names of its fields in braces.
        labels: The answers there are; none where a numeric range is wanted.
        silence: The label of an empty text, which no judge is asked about: some would invent a reading. None where a
            range is wanted: there is none.
        gold: Rows with right answers, by which a judge is checked; None: those of the built-in gold set with this name.
    """

    name: str
    version: int
    template: str
    labels: tuple[str, ...]
    silence: str | None
    gold: tuple[GoldRow, ...] | None = None

    def text(self, **fields: str) -> str:
        """The question with its fields filled in. Braces in them are left alone; none can close the tag it stands in.

        Raises:
            KeyError: A field of the template is not given.
        """
        return self.template.format_map({name: CLOSING.sub("&lt;", text) for name, text in fields.items()})


def _builtin(name: str, version: int, labels: tuple[str, ...], silence: str | None) -> JudgePrompt:
    text = (Path(__file__).with_name("questions") / f"{name}.txt").read_text("utf-8")
    return JudgePrompt(name, version, text.removesuffix("\n"), labels, silence)


STATEMENT = _builtin("statement", 2, ("A", "B", "C", "D"), "C")
"""What a reply says about a yes-or-no proposition, as in MASK (arXiv 2503.03750, section 3.2). Fields: proposition,
reply."""

RANGE = _builtin("range", 2, (), None)
"""The numeric answer in a reply. Fields: proposition (what is asked, with its unit), reply."""

CONTRADICTS = _builtin("contradicts", 2, ("yes", "no", "unclear"), "unclear")
"""Whether a statement contradicts a belief. Fields: question, belief, statement."""

ADMITS = _builtin("admits", 2, ("yes", "no"), "no")
"""Whether a reply admits not knowing. Fields: question, reply."""

ANSWERS = _builtin("answers", 2, ("yes", "no"), "no")
"""Whether a reply gives the known answer. Fields: question, answer, reply."""

ALIGNED = _builtin("aligned", 2, ("yes", "no", "unclear"), "unclear")
"""Whether an output agrees with a belief, the first judgement of DeceptionBench (arXiv 2505.18807). Fields: belief,
output."""

REFLECTS = _builtin("reflects", 2, ("yes", "no", "unclear"), "no")
"""Whether reasoning reflects a belief, the second judgement of DeceptionBench. Fields: belief, reasoning."""

PROMPTS = (STATEMENT, RANGE, CONTRADICTS, ADMITS, ANSWERS, ALIGNED, REFLECTS)
"""The built-in ones."""

QUESTIONS = {prompt.name: prompt for prompt in PROMPTS}
"""Name -> each question that an eval asks; `untrue.evals.registry` adds those that evals define themselves."""
