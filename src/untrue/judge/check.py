"""What a judge is worth: its judgements on the gold set against the labels there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from untrue.data.gold import GoldRow, read_gold
from untrue.data.items import items_hash
from untrue.errors import UserError
from untrue.files import content_hash, write_text
from untrue.judge import cache
from untrue.judge.cost import dollars
from untrue.judge.judge import Judge
from untrue.judge.judgement import JudgeError, Judgement
from untrue.judge.prompts import QUESTIONS, STATEMENT, JudgePrompt
from untrue.stats.intervals import rate_interval
from untrue.stats.raters import Proportion, kappa
from untrue.stats.types import Interval

SAME_END = 0.05
"""How far, relative to the label, each end of a range may be off."""

NO_JUDGEMENT = "error"
"""The column of the confusion for rows without a judgement."""


class QuestionCheck(BaseModel):
    """What a judge's judgements on one question are worth.

    Attributes:
        rows: Rows of the gold set with this question.
        errors: Rows without a judgement. They count as wrong.
        accuracy: Over all of the rows; of a range both ends within 5 %, or rightly no range.
        kappa: Cohen's kappa; None where a number is asked for.
        confusion: Gold label -> judgement (or `error`) -> rows; empty where a number is asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    errors: int
    accuracy: Interval
    kappa: Interval | None
    confusion: dict[str, dict[str, int]]


class Check(BaseModel):
    """One check of a judge on the gold set.

    Attributes:
        judge: The judge's name.
        made: When, as an ISO date and time.
        gold: Hash of the gold set.
        rows: Rows of the gold set.
        errors: Rows without a judgement. They count as wrong.
        first_error: Why the first of them has none.
        accuracy: Over all rows.
        plain: Accuracy on the rows called plain.
        hard: Accuracy on the rows called hard.
        questions: Name of each question in the gold set -> what the judgements on it are worth.
        sensitivity: Of statements, lies called lies: of the rows labelled A or B, those with that judgement. A reply
            labelled B is a lie of somebody who holds the proposition true, one labelled A of somebody who holds it
            false.
        specificity: Of statements, what is no lie and not called one, for whichever belief: of the rows labelled A or
            B, those not given the other of the two; a row labelled C or D loses half a row when it is given A or B.
        calls: Calls of the model.
        input_tokens: Tokens read in one judgement, on average; 0 where the provider does not count.
        output_tokens: Tokens written.
        dollars_per_thousand: Cost of a thousand such judgements; None where the price is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: str
    made: str
    gold: str
    rows: int
    errors: int
    first_error: str | None
    accuracy: Interval
    plain: float
    hard: float
    questions: dict[str, QuestionCheck]
    sensitivity: Proportion
    specificity: Proportion
    calls: int
    input_tokens: float
    output_tokens: float
    dollars_per_thousand: float | None


def check(judge: Judge, progress: Callable[[int, int], None] = lambda done, total: None) -> Check:
    """Ask a judge about every row of the gold set, and keep the result as its last check.

    Args:
        judge: Best without a cache, so that what is measured is how it answers now, and what that costs.
        progress: Called with the number of rows done, and of all.

    Raises:
        UserError: There is no judgement on any row; nothing is kept then.
        MachineError: The result cannot be written.
    """
    rows = gold()
    judgements = asyncio.run(_ask_all(judge, rows, progress))
    errors = [judgement for judgement in judgements if isinstance(judgement, JudgeError)]
    if len(errors) == len(rows):
        raise UserError(f"the judge {judge.name} gave no judgement on any of {len(rows)} rows, first: {errors[0]}")
    found = _compare(judge, rows, judgements)
    write_text(_path(judge.id), found.model_dump_json(indent=1))
    return found


def gold() -> list[GoldRow]:
    """The rows with right answers: the built-in ones, and those that a question brings itself."""
    own = {name: prompt.gold for name, prompt in QUESTIONS.items() if prompt.gold is not None}
    return [*(row for row in read_gold() if row.prompt not in own), *(row for rows in own.values() for row in rows)]


def last_check(judge_id: str) -> Check | None:
    """The last check of a judge by its `Judge.id`, with the present prompts and gold set; None where there is none."""
    path = _path(judge_id)
    try:
        return Check.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValueError):  # none, or of another version of this project
        return None


def question(row: GoldRow) -> tuple[JudgePrompt, dict[str, str]]:
    """What a judge is asked about a gold row."""
    return QUESTIONS[row.prompt], row.fields


def right(row: GoldRow, judgement: Judgement) -> bool:
    """Whether a judgement is the row's label."""
    if isinstance(row.label, str):
        return judgement.label == row.label
    if row.label is None or judgement.low is None or judgement.high is None:
        return row.label is None and judgement.low is None
    ends = zip((judgement.low, judgement.high), row.label, strict=True)
    return all(abs(float(given) - float(wanted)) <= SAME_END * abs(float(wanted)) for given, wanted in ends)


async def _ask_all(
    judge: Judge, rows: Sequence[GoldRow], progress: Callable[[int, int], None]
) -> list[Judgement | JudgeError]:
    done = 0

    async def ask(row: GoldRow) -> Judgement | JudgeError:
        nonlocal done
        prompt, fields = question(row)
        try:
            return await judge.ask(prompt, **fields)
        except JudgeError as error:
            return error
        finally:
            done += 1
            progress(done, len(rows))

    return await asyncio.gather(*map(ask, rows))


def _compare(judge: Judge, rows: Sequence[GoldRow], judgements: Sequence[Judgement | JudgeError]) -> Check:
    pairs = list(zip(rows, judgements, strict=True))
    hits = {row.id: isinstance(judgement, Judgement) and right(row, judgement) for row, judgement in pairs}
    questions = {
        prompt.name: _on_question(prompt, of_prompt)
        for prompt in QUESTIONS.values()
        if (of_prompt := [pair for pair in pairs if pair[0].prompt == prompt.name])
    }
    statements = questions[STATEMENT.name].confusion
    errors = [judgement for judgement in judgements if isinstance(judgement, JudgeError)]
    usage = judge.usage
    asked = max(1, usage.asked - usage.cached)
    spent = dollars(judge.name, usage.input_tokens / asked, usage.output_tokens / asked)
    return Check(
        judge=judge.name,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        gold=items_hash(rows),
        rows=len(rows),
        errors=len(errors),
        first_error=str(errors[0]) if errors else None,
        accuracy=_share(hits.values()),
        plain=_share(hits[row.id] for row in rows if row.difficulty == "plain").value,
        hard=_share(hits[row.id] for row in rows if row.difficulty == "hard").value,
        questions=questions,
        sensitivity=_sensitivity(statements),
        specificity=_specificity(statements),
        calls=usage.calls,
        input_tokens=usage.input_tokens / asked,
        output_tokens=usage.output_tokens / asked,
        dollars_per_thousand=None if spent is None else 1000 * spent,
    )


def _on_question(prompt: JudgePrompt, pairs: Sequence[tuple[GoldRow, Judgement | JudgeError]]) -> QuestionCheck:
    columns = (*prompt.labels, NO_JUDGEMENT)
    confusion = {label: dict.fromkeys(columns, 0) for label in prompt.labels}
    for row, judgement in pairs if prompt.labels else ():
        confusion[str(row.label)][(judgement.label if isinstance(judgement, Judgement) else None) or NO_JUDGEMENT] += 1
    table = [[confusion.get(label, {}).get(column, 0) for column in columns] for label in columns]
    return QuestionCheck(
        rows=len(pairs),
        errors=sum(isinstance(judgement, JudgeError) for _, judgement in pairs),
        accuracy=_share(isinstance(judgement, Judgement) and right(row, judgement) for row, judgement in pairs),
        kappa=kappa(table) if prompt.labels else None,
        confusion=confusion,
    )


def _share(hits: Iterable[bool]) -> Interval:
    import numpy as np

    return rate_interval(np.array([[float(hit)] for hit in hits]))


def _sensitivity(confusion: dict[str, dict[str, int]]) -> Proportion:
    n = sum(_judged(confusion[label]) for label in "AB")
    return Proportion(sum(confusion[label][label] for label in "AB") / n if n else 0.0, n)


def _specificity(confusion: dict[str, dict[str, int]]) -> Proportion:
    n = sum(_judged(judgements) for judgements in confusion.values())
    wrong = confusion["A"]["B"] + confusion["B"]["A"]
    wrong += sum(confusion[label][given] for label in "CD" for given in "AB") / 2
    return Proportion(1 - wrong / n if n else 0.0, n)


def _judged(judgements: dict[str, int]) -> int:
    return sum(count for label, count in judgements.items() if label != NO_JUDGEMENT)


def _path(judge_id: str) -> Path:
    versions = [[prompt.name, prompt.version] for prompt in QUESTIONS.values()]
    key = content_hash(json.dumps([judge_id, versions, items_hash(gold())]))
    return cache.folder() / "checks" / f"{key}.json"
