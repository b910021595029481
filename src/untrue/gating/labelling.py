"""Labelling by a person, or by a stronger judge: which replies are drawn, what is asked of each, what is refused.

A reply that no label could change (a failure, no belief) is not drawn.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from untrue.errors import UserError
from untrue.files import append_text, read_text
from untrue.gating.labels import Key, Label, Labels, LabelValue, Read, read_labels
from untrue.gating.replies import Judged, JudgedReply, Question, judged_label
from untrue.judge.judgement import JudgeError

if TYPE_CHECKING:
    from untrue.judge.judge import Judge

PERSON = "person"
"""Who labels in the terminal."""


def drawn(pair: Judged, n: int, seed: int) -> list[JudgedReply]:
    """A random sample of the open replies of both, in random order; the same items of both where both are open.

    Every open reply is as likely as any other, however many of its item's seeds and epochs are open: so the mean over
    labels is that over replies. A larger `n` with the same seed draws the same replies and further ones.

    Args:
        pair: The two.
        n: Replies in all.
        seed: Of the draw.
    """
    slots = sorted(pair.replies[0].keys() | pair.replies[1].keys())
    generator = random.Random(seed)
    generator.shuffle(slots)
    replies = (side[slot] for slot in slots for side in pair.replies if slot in side)
    chosen = list(islice((reply for reply in replies if reply.is_open), n))
    generator.shuffle(chosen)
    return chosen


class Labelling:
    """A sample of replies, the labels that it has, and the file that keeps them.

    Attributes:
        pair: The two subjects.
        sample: The replies, in the order in which they are asked about.
        path: The file.
        labels: The labels so far.
    """

    def __init__(self, pair: Judged, n: int, seed: int, path: Path):
        """Draw a sample, and read the labels that the file has.

        Raises:
            UserError: No reply is open, or the file is not one of labels of these replies.
        """
        self.pair, self.path = pair, path
        self.labels: dict[Key, Read] = dict(read_labels(path)) if path.exists() and path.stat().st_size else {}
        refuse_others({key: read for key, read in self.labels.items() if key.eval == pair.record.name}, [pair])
        self.sample = drawn(pair, n, seed)
        if not self.sample:
            raise UserError(f"{pair.record.name}: no label could change any outcome, so there is nothing to label.")

    def pending(self) -> Question | None:
        """The next question; None where all have a label or were skipped."""
        return next(self.all_pending(), None)

    def all_pending(self) -> Iterator[Question]:
        """The questions that have no label now. Those that depend on them come later."""
        for reply in self.sample:
            if question := reply.question(self.labels):
                yield question

    def put(self, question: Question, value: LabelValue, by: str) -> None:
        """Keep a label, at once.

        Raises:
            MachineError: The file cannot be written.
        """
        key = question.key
        arms = [
            name
            for name, side in zip(self.pair.names, self.pair.replies, strict=True)
            if (reply := side.get((key.item, key.seed, key.epoch))) and key in reply.reachable[0]
        ]
        label = Label(
            **key._asdict(), arms=arms, question=question.prompt.name, label=value, by=by, judged=question.judged
        )
        is_cut = self.path.exists() and not read_text(self.path).endswith("\n")
        append_text(self.path, ("\n" if is_cut else "") + label.model_dump_json() + "\n")
        self.labels[key] = Read(label, str(self.path))

    def counts(self) -> tuple[int, int]:
        """Labelled replies of the first and of the second, of all that the file has."""
        return labelled(self.pair, self.labels)

    @property
    def done(self) -> int:
        """Replies of the sample that are labelled or skipped."""
        return sum(reply.question(self.labels) is None for reply in self.sample)

    @property
    def skipped(self) -> int:
        """Replies of the sample that were skipped."""
        return sum(reply.question(self.labels) is None and reply.value(self.labels) is None for reply in self.sample)

    def refuse_own(self, judge: Judge) -> None:
        """Refuse the judge whose judgements are to be checked.

        Raises:
            UserError: It is that.
        """
        if judge.id in self.pair.judge_ids:
            raise UserError(f"{judge.name}: judged these replies, so it cannot check itself. Name a stronger judge.")

    def ask(self, judge: Judge, progress: Callable[[int, int], None]) -> list[str]:
        """Have a stronger judge label all that is pending.

        Returns:
            Why there is no label of a question, for each such; the same command asks again.

        Raises:
            MachineError: The file or the cache of judgements cannot be written.
        """
        return asyncio.run(self._ask(judge, progress))

    async def _ask(self, judge: Judge, progress: Callable[[int, int], None]) -> list[str]:
        failed: dict[Key, str] = {}

        async def one(question: Question) -> None:
            try:
                judgement = await judge.ask(question.prompt, **question.fields)
            except JudgeError as error:
                failed[question.key] = str(error)
            else:
                self.put(question, judged_label(judgement._asdict()), judge.name)
                progress(self.done, len(self.sample))

        while questions := {q.key: q for q in self.all_pending() if q.key not in failed}:
            await asyncio.gather(*map(one, questions.values()))
        return list(failed.values())


def refuse_others(labels: Labels, pairs: Sequence[Judged]) -> None:
    """Refuse labels of other replies, or that are none of their question's.

    Raises:
        UserError: There is one.
    """
    by_eval = {pair.record.name: pair for pair in pairs}
    for key, (label, place) in labels.items():
        if key.eval not in by_eval:
            known = ", ".join(by_eval) or "no judged eval"
            raise UserError(
                f"{place}: is a label of {key.eval}, and the logs have {known}. Name the logs it was made for."
            )
        sides = by_eval[key.eval].replies
        replies = [side[slot] for side in sides if (slot := (key.item, key.seed, key.epoch)) in side]
        asked = next((reply.reachable[0][key] for reply in replies if key in reply.reachable[0]), None)
        if asked is None:
            found = "another reply to it" if replies else "no such item, seed and epoch"
            raise UserError(
                f"{place}: is a label of item {key.item}, epoch {key.epoch}, and the logs have {found}. Name the logs"
                " that it was made for, or remove the line."
            )
        if label.label is not None and (
            label.label not in asked.labels if asked.labels else isinstance(label.label, str)
        ):
            allowed = ", ".join(asked.labels) or "[low, high] or []"
            raise UserError(f"{place}: the label {label.label!r} is none of the question {asked.name!r} ({allowed}).")


def labelled(pair: Judged, labels: Labels) -> tuple[int, int]:
    """Labelled replies of the first and of the second."""
    first, second = (
        sum(reply.is_open and reply.value(labels) is not None for reply in side.values()) for side in pair.replies
    )
    return first, second
