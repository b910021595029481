"""What the selection alone does in the feedback study: its ratings with a table as policy, and no language model.

    python benchmarks/selection.py runs/interaction          a run of studies/interaction.yaml

Replies are drawn from the policy before training, rated and selected as in the study. A learner that copied what was
selected, and nothing else, would choose each kind of reply as often in the next round. Whatever else a trained model
does comes from the model. Prints, for each share of biased users, the percentages of sycophantic and of honest replies
before and among those selected in each round. docs/claims.md has the figures.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from untrue.api import load_study
from untrue.simulate.environment import KINDS, REPLY_KINDS, ReplyKind
from untrue.simulate.select import SelectBy, populate, select
from untrue.simulate.trajectory import Choice, Trajectory, read_trajectories
from untrue.simulate.users import rate_by_kind
from untrue.study.routes.interaction import InteractionRoute, UserArm

DRAWS = 50  # how often the whole loop is drawn, over all seeds

Shares = dict[ReplyKind, float]


def copied(
    trajectories: Sequence[Trajectory],
    share: float,
    *,
    keep: float,
    noise: float,
    rounds: int = 1,
    by: SelectBy = "rating",
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Shares]:
    """The share of each kind of reply among the selected, round by round, averaged over draws."""
    random = np.random.default_rng(seed)
    totals = np.zeros((rounds, len(REPLY_KINDS)))
    for draw in range(draws):
        policy: Mapping[ReplyKind, float] | None = None
        population = populate(trajectories, share, seed + draw)
        for number in range(rounds):
            drawn = [_drawn(trajectory, policy, noise, random) for trajectory in population]
            chosen = select(drawn, keep, by=by, seed=seed + draw).top
            kinds = [choice.kind for trajectory in chosen for choice in trajectory.chosen]
            policy = {kind: kinds.count(kind) / len(kinds) for kind in REPLY_KINDS}
            totals[number] += list(policy.values())
    return [dict(zip(REPLY_KINDS, (of_round / draws).tolist(), strict=True)) for of_round in totals]


def _drawn(
    trajectory: Trajectory, policy: Mapping[ReplyKind, float] | None, noise: float, random: np.random.Generator
) -> Trajectory:
    """The dialogue with other replies: drawn from a policy, by default from its own, and rated."""
    choices = []
    for choice in trajectory.chosen:
        weights = np.array([(policy or choice.probabilities)[kind] for kind in REPLY_KINDS])
        kind = REPLY_KINDS[random.choice(len(REPLY_KINDS), p=weights / weights.sum())]
        choices.append(Choice(kind=kind, wording=choice.wording, probabilities=choice.probabilities))
    rated = rate_by_kind(trajectory.kind, [choice.kind for choice in choices], noise, int(random.integers(2**31)))
    return trajectory.model_copy(update={"chosen": tuple(choices), "ratings": tuple(one.value for one in rated)})


def before(rated: Sequence[Trajectory], share: float) -> Shares:
    """The probabilities before anything is selected, as users of whom this share is biased meet them."""
    parts = dict(zip(KINDS, (1 - share, share), strict=True))
    means = {
        (kind, reply): fmean(choice.probabilities[reply] for one in rated if one.kind == kind for choice in one.chosen)
        for kind in KINDS
        for reply in REPLY_KINDS
    }
    return {reply: sum(part * means[kind, reply] for kind, part in parts.items()) for reply in REPLY_KINDS}


def averaged(shares: Sequence[Shares]) -> Shares:
    return {reply: fmean(one[reply] for one in shares) for reply in REPLY_KINDS}


def main(out: Path) -> None:
    study = load_study(out / "study.yaml")
    mix = study.mix
    if not isinstance(mix, InteractionRoute) or not mix.is_rated_by_kind:
        sys.exit(f"{out}: is no run of a study of chosen replies that are rated by their kinds.")
    line = mix.line()[1]
    for arm in mix.arms():
        if arm.name not in line:
            continue
        assert isinstance(arm, UserArm)
        by_seed = []
        for seed in study.seeds:
            path = out / "dialogues" / f"{arm.assistant}-s{seed}" / "trajectories.jsonl"
            rated, draws = read_trajectories(path), max(1, DRAWS // len(study.seeds))
            settings = {"keep": mix.keep, "noise": mix.rating_noise, "rounds": arm.rounds, "by": arm.select}
            by_seed.append([before(rated, arm.part), *copied(rated, arm.part, seed=seed, draws=draws, **settings)])
        shown = [averaged(of_seeds) for of_seeds in zip(*by_seed, strict=True)]
        told = ", ".join(f"{100 * of['sycophantic']:.1f} : {100 * of['honest']:.1f}" for of in shown)
        print(f"share {arm.part:g}, sycophantic : honest, before and by round: {told}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
