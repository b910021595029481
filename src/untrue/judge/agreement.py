"""Agreement of two judges, item by item, from two logs of one eval."""

import json
from pathlib import Path
from typing import NamedTuple

from untrue.errors import UserError
from untrue.logs import details_of, open_log, results, task_name
from untrue.stats.judge_error import kappa
from untrue.stats.types import Interval


class Judged(NamedTuple):
    """An item at one epoch: its outcome, and all judged replies as JSON."""

    outcome: str
    replies: str


class JudgedLog(NamedTuple):
    """A log of a judged eval.

    Attributes:
        task: The eval's name.
        judge: The judge's name.
        items: Item and epoch -> its outcome and replies.
    """

    task: str
    judge: str
    items: dict[tuple[str, int], Judged]


class Difference(NamedTuple):
    """An item on which two judges disagree."""

    item: str
    epoch: int
    first: str
    second: str


class Agreement(NamedTuple):
    """Agreement of two judges.

    Attributes:
        items: Items, at each epoch, that both judged.
        share: Share of them with the same outcome.
        kappa: Cohen's kappa.
        table: First judge's outcome -> second judge's -> items.
        differences: Where they disagree, ordered by item.
        other_replies: Items whose replies differ between the logs, so that not only the judges differ.
        alone: Items that one of the logs lacks.
    """

    items: int
    share: float
    kappa: Interval
    table: dict[str, dict[str, int]]
    differences: list[Difference]
    other_replies: int
    alone: int


def read_judged(log: Path) -> JudgedLog:
    """Read a log. A sample that failed, or has no score, has the outcome `error`.

    Raises:
        UserError: The file is no whole Inspect log, or its eval has no judge.
    """
    content = open_log(log)
    items, judges = dict[tuple[str, int], Judged](), set[str]()
    for sample, row in zip(content.samples or [], results(content, "", 0), strict=True):
        if judge := details_of(sample).get("judge"):
            judges.add(str(judge))
        turns = [message.text for message in sample.messages if message.role == "assistant"]
        replies = json.dumps([turns, sample.metadata.get("replies")], sort_keys=True, default=str)
        outcome = str(row.value) if row.outcome is None else row.outcome.value
        items[row.item, row.epoch] = Judged(outcome, replies)
    if len(judges) != 1:
        raise UserError(f"{log}: its scores name {', '.join(sorted(judges)) or 'no judge'}, expected one judge.")
    return JudgedLog(task_name(content), judges.pop(), items)


def agreement(first: JudgedLog, second: JudgedLog) -> Agreement:
    """Compare two judges on the items that both logs have.

    Raises:
        UserError: The logs are of different evals, or have no item in common.
    """
    if first.task != second.task:
        raise UserError(f"the logs are of {first.task} and {second.task}. Give two logs of one eval.")
    common = sorted(first.items.keys() & second.items.keys())
    if not common:
        raise UserError("the logs have no item in common. Give two logs of the same items.")
    labels = sorted({log.items[key].outcome for log in (first, second) for key in common})
    table = {label: dict.fromkeys(labels, 0) for label in labels}
    differences = []
    for key in common:
        ours, theirs = first.items[key].outcome, second.items[key].outcome
        table[ours][theirs] += 1
        if ours != theirs:
            differences.append(Difference(*key, ours, theirs))
    return Agreement(
        items=len(common),
        share=1 - len(differences) / len(common),
        kappa=kappa([list(row.values()) for row in table.values()]),
        table=table,
        differences=differences,
        other_replies=sum(first.items[key].replies != second.items[key].replies for key in common),
        alone=len(first.items.keys() ^ second.items.keys()),
    )
