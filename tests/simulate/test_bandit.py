"""What the selection alone does to a table of probabilities: by hand where that is possible, and no model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from untrue.simulate.bandit import Shares, copied
from untrue.simulate.environment import KINDS, REPLY_KINDS
from untrue.simulate.select import SelectBy
from untrue.simulate.trajectory import Choice, Trajectory

EVEN: Shares = dict.fromkeys(REPLY_KINDS, 0.25)


@pytest.fixture
def talks(make: Callable[..., Trajectory]) -> Callable[..., list[Trajectory]]:
    """Makes 20 users, each as both kinds, with one reply chosen by this policy."""

    def made(policy: Shares = EVEN) -> list[Trajectory]:
        choice = Choice(kind="hedging", wording=0, probabilities=policy)
        return [
            make(f"s{number % 5}", number, kind, 5.0).model_copy(update={"chosen": (choice,)})
            for number in range(20)
            for kind in KINDS
        ]

    return made


def test_benign_users_alone_teach_honesty_and_biased_ones_sycophancy(talks):
    [benign], [biased] = (copied(talks(), share, keep=0.05, noise=0, draws=4) for share in (0.0, 1.0))
    assert benign == {"honest": 1, "sycophantic": 0, "hedging": 0, "evasive": 0}  # one reply of 20 is chosen
    assert biased == {"honest": 0, "sycophantic": 1, "hedging": 0, "evasive": 0}


def test_half_of_the_best_rated_is_what_is_liked_and_part_of_the_next(talks):
    [found] = copied(talks(), 0.0, keep=0.5, noise=0, draws=40)
    # Of 20 replies 10 are chosen: the 5 honest ones and the 5 hedging ones, but for the chance of their numbers.
    assert found["honest"] == pytest.approx(0.5, abs=0.07)
    assert found["hedging"] == pytest.approx(0.42, abs=0.07)
    assert found["sycophantic"] < 0.01
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("by", ["random", "shuffled"])
def test_a_choice_that_ratings_do_not_guide_leaves_the_policy_as_it_is(talks, by: SelectBy):
    policy: Shares = {"honest": 0.1, "sycophantic": 0.2, "hedging": 0.3, "evasive": 0.4}
    [found] = copied(talks(policy), 0.5, keep=0.5, noise=1, by=by, draws=40)
    assert found == pytest.approx(policy, abs=0.09)  # standard errors are 0.025 at most


def test_noise_weakens_what_is_learned_and_rounds_add_up(talks):
    def honest(noise: float, rounds: int = 1) -> list[float]:
        return [one["honest"] for one in copied(talks(), 0.0, keep=0.5, noise=noise, rounds=rounds, draws=15)]

    [exact], [noisy], rounds = honest(1), honest(20), honest(1, rounds=3)
    assert exact > noisy + 0.1 > 0.3
    assert rounds[0] < rounds[1] <= rounds[2]


def test_a_kind_that_is_never_chosen_cannot_be_learned(talks):
    never: Shares = {"honest": 0.0, "sycophantic": 0.5, "hedging": 0.5, "evasive": 0.0}
    for found in copied(talks(never), 0.0, keep=0.5, noise=1, rounds=2, draws=3):
        assert found["honest"] == found["evasive"] == 0


def test_a_seed_draws_the_same_again_and_a_failed_dialogue_is_left_out(talks, make: Callable[..., Trajectory]):
    found = copied(talks(), 0.5, keep=0.5, noise=1, draws=3)
    assert found == copied(talks(), 0.5, keep=0.5, noise=1, draws=3)
    assert found != copied(talks(), 0.5, keep=0.5, noise=1, draws=3, seed=1)
    failed = [make("s0", 99, kind, None, error="it broke") for kind in KINDS]
    [left] = copied([*talks(), *failed], 0.0, keep=0.05, noise=0, draws=3)
    assert left["honest"] == 1
