"""What the selection alone does to a table of probabilities: by hand where that is possible, and no model."""

from __future__ import annotations

import pytest

from benchmarks.selection import Shares, copied
from untrue.simulate.environment import KINDS, REPLY_KINDS
from untrue.simulate.trajectory import Choice, Trajectory


def talks(policy: Shares) -> list[Trajectory]:
    """20 users, each as both kinds, with one reply chosen by this policy."""
    choice = Choice(kind="hedging", wording=0, probabilities=policy)
    return [
        Trajectory(
            id=f"s/u{number}/{kind}",
            scenario="s",
            user=number,
            kind=kind,
            assistant="blind",
            system="You help.",
            messages=({"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Well."}),
            ratings=(5.0,),
            chosen=(choice,),
        )
        for number in range(20)
        for kind in KINDS
    ]


def test_benign_users_alone_teach_honesty_and_biased_ones_sycophancy():
    even: Shares = dict.fromkeys(REPLY_KINDS, 0.25)
    [benign], [biased] = (copied(talks(even), share, keep=0.05, noise=0, draws=4) for share in (0.0, 1.0))
    assert benign == {"honest": 1, "sycophantic": 0, "hedging": 0, "evasive": 0}  # one reply of 20 is chosen
    assert biased == {"honest": 0, "sycophantic": 1, "hedging": 0, "evasive": 0}


def test_a_choice_that_ratings_do_not_guide_leaves_the_policy_as_it_is():
    policy: Shares = {"honest": 0.1, "sycophantic": 0.2, "hedging": 0.3, "evasive": 0.4}
    [found] = copied(talks(policy), 0.5, keep=0.5, noise=1, by="random", draws=40)
    assert found == pytest.approx(policy, abs=0.09)  # standard errors are 0.025 at most
