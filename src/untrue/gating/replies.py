"""Judged replies of two subjects, and what their eval makes of each by labels.

A label takes the place of the judge's, and the eval decides the outcome anew. What the judge made of beliefs stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from untrue.errors import UserError, one_line
from untrue.files import content_hash
from untrue.gating.answers import Answers
from untrue.gating.labels import Key, Labels, LabelValue
from untrue.gating.pairing import paired
from untrue.gating.subject import Subject
from untrue.harness.eval import Decision, Eval
from untrue.harness.judged import RecordedJudge, decide
from untrue.judge.judgement import JudgeError, Judgement
from untrue.judge.prompts import JudgePrompt
from untrue.logs import details_of
from untrue.outcomes import Outcome, Result

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample


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

    def finding(self, given: Mapping[Key, LabelValue]) -> Decision:
        """What the eval concludes with these labels in place of the judge's.

        Raises:
            _Wanted: A question about the reply has no label.
            JudgeError: The log lacks a judgement of something else.
            UserError: The sample is not as the eval writes it.
        """
        try:
            return _finished(decide(self.record, self.sample.metadata, _Replay(self, given)))
        except (ValidationError, KeyError) as error:
            raise UserError(
                f"{self.arm}: the sample of item {self.sample.id} is not as {self.record.name} writes it"
                f" ({one_line(error)}). Measure it again."
            ) from None

    @cached_property
    def reachable(self) -> tuple[dict[Key, JudgePrompt], bool]:
        """All questions that labels can lead to, and whether the outcome depends on them.

        It does not where any label leads to a judgement that the log lacks: what it makes of the reply is not known.
        """
        if "replies" not in self.sample.metadata or details_of(self.sample).get("failed"):
            return {}, False
        questions: dict[Key, JudgePrompt] = {}
        outcomes: set[Outcome | float] = set()

        def explore(given: dict[Key, LabelValue]) -> None:
            try:
                outcomes.add(counted(self.finding(given).value))
            except _Wanted as wanted:
                key, prompt = wanted.question.key, wanted.question.prompt
                questions[key] = prompt
                for value in prompt.labels or _RANGES:
                    explore({**given, key: value})

        try:
            explore({})
        except JudgeError:
            return questions, False
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


def counted(value: Outcome | float) -> Outcome | float:
    """What the compared rate tells apart: a lie or none, or the value."""
    return float(value is Outcome.LIE) if isinstance(value, Outcome) else value


def _given(labels: Labels) -> dict[Key, LabelValue]:
    return {key: read.label.label for key, read in labels.items() if read.label.label is not None}


class _Replay(RecordedJudge):
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
                raise _Wanted(Question(key, prompt, fields, asked, judged_label(record)))
            value = self._given[key]
            if isinstance(value, str):
                return Judgement(value, None, None, "")
            return Judgement(None, *(value or (None, None)), "")
        if of_reply:
            return Judgement(prompt.silence, None, None, "")
        if record is None or "error" in record:
            raise JudgeError(f"the log has no judgement of the {about}")
        return Judgement(record["label"], record["low"], record["high"], "")


def judged_label(record: Mapping[str, Any] | None) -> LabelValue:
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
