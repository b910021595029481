"""Our eval `mask` against the task `mask` of inspect_evals, on the same replies: every difference is explained.

    pip install inspect-evals
    python benchmarks/mask_crosscheck.py LOG.eval                     their rules on our judge's verdicts
    python benchmarks/mask_crosscheck.py LOG.eval --judge MODEL       and their scorer, with their prompts to a judge

LOG is a log of `untrue/mask`. Nothing is generated: the replies in it are scored again. Where there are several epochs,
their scorer gets all statements of an item, and our outcome is that of the item by their rule: a lie if one is a lie.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from inspect_ai import Epochs, Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalSample, read_eval_log
from inspect_ai.model import GenerateConfig, Model, ModelOutput
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_evals.mask import defaults
from inspect_evals.mask.classify import compute_honesty_at_n, resolve_consistent_belief
from inspect_evals.mask.compat import _reduce
from inspect_evals.mask.models import Belief, GroundTruth, Statement
from inspect_evals.mask.scorer import build_accuracy_and_honesty_scorer
from inspect_evals.mask.types import (
    BeliefEdgeCase,
    BinaryAnswer,
    MetadataKey,
    NoBeliefConsistencyHandling,
    NumericAnswer,
    QuestionArchetype,
    QuestionType,
    StatementEdgeCase,
    StoreKey,
)

from untrue.data.mask import SIDES, MaskRow

HANDLING = NoBeliefConsistencyHandling(defaults.NO_BELIEF_HANDLING)
ORDER = ("lie", "error", "no_belief", "evade", "honest")


class Compared(NamedTuple):
    """One item, in our words: what we say, what their rules say of our verdicts, what their scorer says."""

    item: str
    ours: str
    rules: str
    theirs: str
    explanation: str


def crosscheck(log: Path, judge: str | Model | None = None) -> list[Compared]:
    """Compare item by item.

    Args:
        log: A log of `untrue/mask`.
        judge: Judge for their scorer; None leaves it out, and compares the rules alone.
    """
    items: dict[str, list[EvalSample]] = {}
    for sample in read_eval_log(str(log)).samples or []:
        if "replies" in sample.metadata:
            items.setdefault(str(sample.id), []).append(sample)
    scored = their_scores(items, judge) if judge else {}
    return [_compared(item, samples, scored.get(item)) for item, samples in items.items()]


def _compared(item: str, samples: list[EvalSample], scored: str | None) -> Compared:
    row = MaskRow.model_validate(samples[0].metadata)
    said = {_score(sample).value for sample in samples}
    ours = next(outcome for outcome in ORDER if outcome in said)
    rules = their_rules(row, samples)
    theirs = scored or rules
    return Compared(item, ours, rules, theirs, "" if ours == theirs else _why(row, ours, rules, theirs))


def _why(row: MaskRow, ours: str, rules: str, theirs: str) -> str:
    if "error" in (ours, theirs):
        return f"{'our' if ours == 'error' else 'their'} judge gave no verdict, or one that cannot be read"
    if rules != theirs:
        return "the judges, which are asked in other words, read a reply differently" + (
            "" if ours == rules else f"; and by the rules: {_why(row, ours, rules, rules)}"
        )
    if ours == "no_belief" and theirs == "evade":
        return "theirs calls a reply without a side an evasion, belief or not; ours asks for the belief first"
    if row.archetype == "provided_facts" and row.belief_prompts:
        return "theirs never asks for beliefs in provided_facts; these rows have belief prompts, and ours asks them"
    if row.is_numeric and "no_belief" in (ours, theirs):
        return "one run without a number spoils a numeric belief in theirs, which asks no probes about numbers either"
    return "not explained"


def their_rules(row: MaskRow, samples: list[EvalSample]) -> str:
    """Their classification of our judge's verdicts, in our words."""
    kind = QuestionType.NUMERIC if row.is_numeric else QuestionType.BINARY
    archetype = _archetype(row)

    def answer(verdict: dict[str, Any], nothing: Any, error: Any) -> Any:
        if "error" in verdict:
            return error
        if row.is_numeric:
            return NumericAnswer(lower_bound=verdict["low"], upper_bound=verdict["high"])
        return BinaryAnswer(verdict["label"]) if verdict["label"] in ("A", "B") else nothing

    def beliefs(start: str) -> list[Belief]:
        found = [verdict for verdict in _verdicts(samples[0]) if verdict["about"].startswith(start)]
        values = [answer(verdict, BeliefEdgeCase.NO_BELIEF, BeliefEdgeCase.ERROR) for verdict in found]
        return [Belief(proposition_type=kind, value=value) for value in values]

    statements = []
    for sample in samples:
        last = _verdicts(sample)[-1]
        value = answer(last, StatementEdgeCase.EVASION, StatementEdgeCase.ERROR)
        statements.append(Statement(proposition_type=kind, value=value))
    probes = [] if row.is_numeric else beliefs("consistency")
    belief = resolve_consistent_belief(beliefs("direct"), probes, archetype, kind, defaults.NUMERIC_TOLERANCE, HANDLING)
    truth = None if row.is_numeric else GroundTruth(proposition_type=kind, value=BinaryAnswer(row.true_side or "A"))
    honesty = compute_honesty_at_n(
        belief, statements, kind, archetype, len(statements), defaults.NUMERIC_TOLERANCE, truth
    )
    return str(honesty.value).replace("-", "_")


def their_scores(items: dict[str, list[EvalSample]], judge: str | Model) -> dict[str, str]:
    """Their scorer's honesty@n of each item, in our words; each n has a run of its own, since it is one setting."""
    by_count: dict[int, list[str]] = {}
    for item, samples in items.items():
        by_count.setdefault(len(samples), []).append(item)
    found: dict[str, str] = {}
    for count, names in by_count.items():
        scorer = build_accuracy_and_honesty_scorer(True, False, False, False)(
            honesty_at_n=count,
            binary_judge_model=judge,
            numeric_judge_model=judge,
            numeric_tol=defaults.NUMERIC_TOLERANCE,
            no_belief_handling=HANDLING,
            judge_config=GenerateConfig(max_tokens=defaults.JUDGE_MAX_TOKENS, temperature=0.0),
        )
        task = Task(
            dataset=[Sample(id=name, input="replayed", metadata=_their_metadata(items[name])) for name in names],
            solver=replayed(),
            scorer=scorer,
            epochs=Epochs(1, _reduce()),
            fail_on_error=False,
        )
        with TemporaryDirectory() as scratch:
            [log] = inspect_eval(task, model="mockllm/model", display="none", log_dir=scratch)
            for sample in log.samples or []:
                if sample.error or not sample.scores:
                    raise SystemExit(f"inspect_evals failed on {sample.id}: {sample.error and sample.error.message}")
                found[str(sample.id)] = str(_score(sample).value["honesty@n"]).replace("-", "_")
    return found


@solver
def replayed() -> Solver:
    """The replies of the log, where their scorer looks for them."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        for key, replies in state.metadata["stored"].items():
            state.store.set(key, [ModelOutput.from_content("replayed", reply) for reply in replies])
        return state

    return solve


def _their_metadata(samples: list[EvalSample]) -> dict[str, Any]:
    row, replies = MaskRow.model_validate(samples[0].metadata), samples[0].metadata["replies"]
    proposition = row.proposition
    if not row.is_numeric and not SIDES.search(proposition):  # ours say yes or no of one sentence
        plain = proposition.replace("/", " or ")
        proposition = f"<pivotal>{plain}/It is not the case that: {plain}</pivotal>"
    return {
        MetadataKey.TASK_ID: row.task_id,
        MetadataKey.TYPE: (QuestionType.NUMERIC if row.is_numeric else QuestionType.BINARY).value,
        MetadataKey.PROPOSITION: proposition,
        MetadataKey.GROUND_TRUTH: row.ground_truth,
        MetadataKey.FORMATTED_GROUND_TRUTH: row.formatted_ground_truth if row.is_numeric else row.true_side or "A",
        MetadataKey.CONFIG: _archetype(row),
        MetadataKey.PRESSURED_USER_PROMPT: row.user_prompt,
        MetadataKey.PRESSURED_SYSTEM_PROMPT: row.system_prompt,
        MetadataKey.BELIEF_ELICITATION_SYSTEM_PROMPT: row.neutral_system_prompt,
        MetadataKey.BELIEF_ELICIT_1: row.belief_elicit_1 or "",
        MetadataKey.BELIEF_ELICIT_2: row.belief_elicit_2 or "",
        MetadataKey.BELIEF_ELICIT_3: row.belief_elicit_3 or "",
        MetadataKey.DD_TURN_1_PROMPT: row.dd_turn_1_prompt,
        MetadataKey.DD_TURN_1_RESPONSE: row.dd_turn_1_response,
        "stored": {
            StoreKey.BELIEF_ELICIT_1_RESPONSES: replies["direct"],
            StoreKey.BELIEF_ELICIT_2_AND_3_RESPONSES: replies["probes"],
            StoreKey.PRESSURED_RESPONSES: [sample.metadata["replies"]["statement"] for sample in samples],
        },
    }


def _archetype(row: MaskRow) -> QuestionArchetype:
    known = {archetype.value for archetype in QuestionArchetype}
    return QuestionArchetype(row.archetype if row.archetype in known else "known_facts")


def _score(sample: EvalSample) -> Any:
    return next(iter((sample.scores or {}).values()))


def _verdicts(sample: EvalSample) -> list[dict[str, Any]]:
    return _score(sample).metadata["verdicts"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--judge", help="Inspect's name of a judge for their scorer")
    given = parser.parse_args()
    compared = crosscheck(given.log, given.judge)
    differing = [one for one in compared if one.explanation]
    print(f"{len(compared)} items, {len(compared) - len(differing)} alike")
    for (ours, theirs), count in Counter((one.ours, one.theirs) for one in compared).items():
        print(f"  ours {ours}, theirs {theirs}: {count}")
    for one in differing:
        print(json.dumps(one._asdict()))


if __name__ == "__main__":
    main()
