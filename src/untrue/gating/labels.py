"""Labels of judged replies by a person, or by a stronger judge: which are drawn, what is asked of each, their file.

A label takes the place of the judge's, and the eval decides the outcome anew. What the judge made of beliefs stands. A
reply that no label could change (a failure, no belief) is not drawn. A row of the file:

{"eval": "mask", "arms": ["severe-1"], "seed": 0, "item": "rain-3", "epoch": 1, "about": "statement",
 "question": "statement", "text": "0f3a…", "label": "B", "by": "person", "judged": "A"}

`text` is a hash of the question with the reply in it: a label belongs to these texts, whatever their log is called. A
range is `[low, high]`, none `[]`; a skipped question has no label. The last row of a question counts.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from untrue.data.records import records, some
from untrue.errors import UserError, one_line
from untrue.evals.eval import Eval
from untrue.evals.judged import Finding, Hearing
from untrue.files import append_text, content_hash, read_text
from untrue.gating.subject import Answers, Subject, paired
from untrue.judge.judgement import JudgeError, Judgement
from untrue.judge.prompts import JudgePrompt
from untrue.logs import details_of
from untrue.outcomes import Outcome, Result
from untrue.stats.compare import pair
from untrue.stats.intervals import seeds_half, spread
from untrue.stats.labelled import FEWEST_LABELS, Corrected, Replies, corrected
from untrue.stats.pairing import METRICS
from untrue.stats.types import Reason

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample

    from untrue.judge.judge import Judge

PERSON = "person"
"""Who labels in the terminal."""

LabelValue = str | tuple[float, float] | tuple[()] | None
"""A label: one of the question's; the two ends of a range, or none; None where the question was skipped."""


class Key(NamedTuple):
    """What a label belongs to: a question about one reply, by the hash of its text."""

    eval: str
    seed: int
    item: str
    epoch: int
    about: str
    text: str


class Label(BaseModel):
    """A row of a file of labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    eval: str
    arms: list[str]
    seed: int
    item: str
    epoch: int
    about: str
    question: str
    text: str
    label: LabelValue = None
    by: str
    judged: LabelValue = None

    @property
    def key(self) -> Key:
        """What it belongs to."""
        return Key(self.eval, self.seed, self.item, self.epoch, self.about, self.text)


class Read(NamedTuple):
    """A label and its place in its file, for errors."""

    label: Label
    place: str


Labels = Mapping[Key, Read]


class Question(NamedTuple):
    """One question about one reply.

    Attributes:
        key: What its label belongs to.
        prompt: The question as judges are asked it.
        fields: The texts in it.
        asked: What the model was asked: role and text of each message.
        judged: The judge's own label; None where it was not asked.
    """

    key: Key
    prompt: JudgePrompt
    fields: dict[str, str]
    asked: list[tuple[str, str]]
    judged: LabelValue


class _Wanted(Exception):
    """A judgement of the reply that no label stands for."""

    def __init__(self, question: Question):
        self.question = question


@dataclass(frozen=True)
class JudgedReply:
    """A reply of one arm, and what the eval makes of it by labels.

    Attributes:
        record: The eval.
        arm: Name of the arm.
        seed: Seed of its log.
        sample: The sample of the log.
    """

    record: Eval
    arm: str
    seed: int
    sample: EvalSample

    @property
    def slot(self) -> tuple[str, int, int]:
        """Item, seed and epoch: the same in both arms."""
        return str(self.sample.id), self.seed, self.sample.epoch

    def finding(self, given: Mapping[Key, LabelValue]) -> Finding:
        """What the eval concludes with these labels in place of the judge's.

        Raises:
            _Wanted: A question about the reply has no label.
            JudgeError: The log lacks a judgement of something else.
            UserError: The sample is not as the eval writes it.
        """
        assert self.record.decide
        try:
            return _finished(self.record.decide(self.sample.metadata, _Replay(self, given)))
        except (ValidationError, KeyError) as error:
            raise UserError(
                f"{self.arm}: the sample of item {self.sample.id} is not as {self.record.name} writes it"
                f" ({one_line(error)}). Measure it again."
            ) from None

    @cached_property
    def reachable(self) -> tuple[dict[Key, JudgePrompt], bool]:
        """All questions that labels can lead to, and whether the outcome depends on them."""
        if "replies" not in self.sample.metadata or details_of(self.sample).get("failed"):
            return {}, False
        questions: dict[Key, JudgePrompt] = {}
        outcomes: set[Outcome | float] = set()

        def explore(given: dict[Key, LabelValue]) -> None:
            try:
                outcomes.add(_kind(self.finding(given).value))
            except _Wanted as wanted:
                key, prompt = wanted.question.key, wanted.question.prompt
                questions[key] = prompt
                for value in prompt.labels or _RANGES:
                    explore({**given, key: value})
            except JudgeError:
                outcomes.clear()

        explore({})
        return questions, len(outcomes) > 1

    @property
    def is_open(self) -> bool:
        """Whether a label could change what counts of it."""
        return self.reachable[1]

    def question(self, labels: Labels) -> Question | None:
        """The next question that has no label; None where there is none, or one was skipped."""
        try:
            self.finding(_given(labels))
        except _Wanted as wanted:
            return None if wanted.question.key in labels else wanted.question
        return None

    def value(self, labels: Labels) -> Outcome | float | None:
        """What its labels make of it; None where one is missing or was skipped."""
        try:
            return self.finding(_given(labels)).value
        except _Wanted:
            return None


_RANGES: tuple[LabelValue, ...] = ((), (-1e300, 1e300), (1e300, 1e300))
"""No range, one that agrees with every other, and one that agrees with none."""


def _kind(value: Outcome | float) -> Outcome | float:
    """What the compared rate tells apart: a lie or none, or the value."""
    return float(value is Outcome.LIE) if isinstance(value, Outcome) else value


def _given(labels: Labels) -> dict[Key, LabelValue]:
    return {key: read.label.label for key, read in labels.items() if read.label.label is not None}


class _Replay(Hearing):
    """Answers as the log does, and of the reply itself as the labels do."""

    def __init__(self, reply: JudgedReply, given: Mapping[Key, LabelValue]):
        self._reply, self._given = reply, given
        self._recorded = {row["about"]: row for row in details_of(reply.sample).get("judgements", [])}

    async def ask(self, about: str, prompt: JudgePrompt, **fields: str) -> Judgement:
        record, of_reply = self._recorded.get(about), about in self._reply.record.about_reply
        if of_reply and all(text.strip() for text in fields.values()):
            item, seed, epoch = self._reply.slot
            key = Key(self._reply.record.name, seed, item, epoch, about, content_hash(prompt.text(**fields)))
            if key not in self._given:
                sample = self._reply.sample
                asked = [("user", sample.input)] if isinstance(sample.input, str) else []
                asked = asked or [
                    (message.role, message.text) for message in sample.input if not isinstance(message, str)
                ]
                raise _Wanted(Question(key, prompt, fields, asked, _judged_label(record)))
            value = self._given[key]
            if isinstance(value, str):
                return Judgement(value, None, None, "")
            return Judgement(None, *(value or (None, None)), "")
        if of_reply:
            return Judgement(prompt.silence, None, None, "")
        if record is None or "error" in record:
            raise JudgeError(f"the log has no judgement of the {about}")
        return Judgement(record["label"], record["low"], record["high"], "")


def _judged_label(record: Mapping[str, Any] | None) -> LabelValue:
    """The judge's own label, as the log has it."""
    if record is None or "error" in record:
        return None
    if record["label"] is not None:
        return record["label"]
    return () if record["low"] is None else (record["low"], record["high"])


def _finished(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("the rule of an eval waits for something other than its judge")


@dataclass(frozen=True)
class Judged:
    """The replies of two subjects in one judged eval.

    Attributes:
        record: The eval.
        names: Of the first and the second.
        answers: What they answered.
        results: The same as results of the arms `baseline` and `candidate`.
    """

    record: Eval
    names: tuple[str, str]
    answers: tuple[Answers, Answers]
    results: list[Result]

    @cached_property
    def replies(self) -> tuple[dict[tuple[str, int, int], JudgedReply], dict[tuple[str, int, int], JudgedReply]]:
        """Of each side by item, seed and epoch."""
        first, second = (
            {reply.slot: reply for reply in _replies(self.record, name, answers)}
            for name, answers in zip(self.names, self.answers, strict=True)
        )
        return first, second

    @property
    def judge_ids(self) -> set[str]:
        """`Judge.id` of each judge of these replies."""
        return {id for answers in self.answers for _, judging in answers.reading.judgings for id in judging.judges}


def judged(first: Subject, second: Subject, eval: str | None = None) -> Judged:
    """Two subjects in a judged eval that both have.

    Args:
        first: The baseline or control.
        second: What is compared with it.
        eval: Its name; None where there is but one.

    Raises:
        UserError: There is none or several, or they were not asked the same.
    """
    for subject in (first, second):
        has = [name for name, answers in subject.answers.items() if answers.record.judged]
        if not has or (eval and eval not in has):
            raise UserError(
                f"{subject.name}: has no log of {eval or 'a judged eval'} (found:"
                f" {', '.join(subject.answers) or 'none'}). Name logs, or arms of a run, whose replies a judge read."
            )
    common = [name for name, answers in second.answers.items() if answers.record.judged and name in first.answers]
    if not eval and len(common) != 1:
        raise UserError(f"both have {', '.join(common) or 'no judged eval in common'}. Name one eval after them.")
    [(before, after, results, _)] = paired(first, second, [eval or common[0]])
    names = first.name, second.name if second.name != first.name else f"{second.name} (2)"
    return Judged(after.record, names, (before, after), results)


def _replies(record: Eval, arm: str, answers: Answers) -> Iterator[JudgedReply]:
    if record.decide is None:
        raise UserError(f"{record.name}: its record has no `decide`, so its replies cannot be labelled. Add it.")
    if answers.version != record.version:
        raise UserError(
            f"{arm}: its log is of version {answers.version} of {record.name}, and labels need {record.version}."
            " Measure it again."
        )
    for seed, content in zip(answers.logs, answers.contents, strict=True):
        for sample in content.samples or []:
            yield JudgedReply(record, arm, seed, sample)


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
                self.put(question, _judged_label(judgement._asdict()), judge.name)
                progress(self.done, len(self.sample))

        while questions := {q.key: q for q in self.all_pending() if q.key not in failed}:
            await asyncio.gather(*map(one, questions.values()))
        return list(failed.values())


def read_labels(path: Path) -> Labels:
    """Read a file of labels; of several of one question the last counts.

    Raises:
        UserError: There is no such file, or a line is no label.
    """
    labels: dict[Key, Read] = {}
    for record in some(records(path), path, "labels"):
        label = record.parse(Label)
        labels[label.key] = Read(label, record.place)
    return labels


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


@dataclass(frozen=True)
class Correction:
    """What labels say of a judge, and of the difference that it found.

    Attributes:
        metric: `lie_rate`, or `value`.
        by: Who labelled how many questions.
        labels: Labelled replies of the first and of the second.
        right: Of these, those on whose outcome label and judge agree.
        skipped: Questions without a label because they were skipped.
        sensitivity: Of both arms: labelled yes, and of these judged yes.
        specificity: Of each arm: labelled no, and of these not judged yes.
        found: The corrected figures; None where there are too few labels.
        reason: Why there are none.
    """

    metric: str
    by: dict[str, int]
    labels: tuple[int, int]
    right: tuple[int, int]
    skipped: int
    sensitivity: tuple[int, int]
    specificity: tuple[tuple[int, int], tuple[int, int]]
    found: Corrected | None
    reason: Reason | None


def correction(both: Judged, labels: Labels) -> Correction:
    """The difference of two subjects, corrected by labels of their replies.

    The rates are those of `stats.compare`: over all items asked, and an answer that only the second lacks counts as the
    worst.
    """
    own = {key: read for key, read in labels.items() if key.eval == both.record.name}
    metric = "value" if any(result.value is not None for result in both.results) else "lie_rate"
    before, after = sides = _sides(both, metric, own)
    by = defaultdict[str, int](int)
    for read in own.values():
        by[read.label.by] += read.label.label is not None
    pairs = [(side.judged[side.labelled] > 0.5, side.labels[side.labelled] > 0.5) for side in sides]
    counts = int(before.labelled.sum()), int(after.labelled.sum())
    arms = [[result for result in both.results if result.arm == arm] for arm in ("baseline", "candidate")]
    grids = pair(METRICS[metric], *arms)
    differences = grids.after - grids.before
    least = 0.0 if np.isnan(differences).all() else seeds_half(spread(differences, grids.clusters))
    found = corrected(before, after, least) if min(counts) else None
    return Correction(
        metric=metric,
        by=dict(by),
        labels=counts,
        right=(int((pairs[0][0] == pairs[0][1]).sum()), int((pairs[1][0] == pairs[1][1]).sum())),
        skipped=sum(read.label.label is None for read in own.values()),
        sensitivity=(sum(int(yes.sum()) for _, yes in pairs), sum(int((said & yes).sum()) for said, yes in pairs)),
        specificity=(_specificity(*pairs[0]), _specificity(*pairs[1])),
        found=found,
        reason=None if found else Reason("few_labels", values=(*counts, FEWEST_LABELS)),
    )


def _specificity(said: np.ndarray, yes: np.ndarray) -> tuple[int, int]:
    return int((~yes).sum()), int((~yes & ~said).sum())


def _sides(both: Judged, metric: str, labels: Labels) -> tuple[Replies, Replies]:
    """The replies of both as the statistics take them: those of an item at a seed weigh as much as those of another."""
    worst = 1.0 if metric == "lie_rate" or not both.record.higher_is_better else 0.0
    cells = defaultdict[tuple[str, int], tuple[list[Result], list[Result]]](lambda: ([], []))
    for result in both.results:
        if result.outcome is not Outcome.ERROR:
            cells[result.item, result.seed][result.arm == "candidate"].append(result)
    cells = {key: cell for key, cell in cells.items() if cell[0]}
    names = {cell[0][0].cluster or f"item {item}": 0 for (item, _), cell in cells.items()}
    numbers = {name: number for number, name in enumerate(names)}
    rows: tuple[list[tuple[int, float, float, bool, float]], ...] = ([], [])
    for (item, _), cell in cells.items():
        cluster = numbers[cell[0][0].cluster or f"item {item}"]
        for side, replies, of_side in zip(rows, both.replies, cell, strict=True):
            weight = 1 / len(cells) / max(len(of_side), len(cell[0]))
            for result in of_side:
                reply = replies.get((result.item, result.seed, result.epoch))
                is_open = reply is not None and reply.is_open
                value = reply.value(labels) if reply and is_open else None
                label = np.nan if value is None else float(_kind(value))
                side.append((cluster, weight, float(METRICS[metric].of(result) or 0.0), is_open, label))
            side += [(cluster, weight, worst, False, np.nan)] * (len(cell[0]) - len(of_side))
    empty = [()] * len(Replies._fields)
    first, second = (Replies(*map(np.array, zip(*side, strict=True) if side else empty)) for side in rows)
    return first, second
