"""Sampling alone: frequencies are those of the distribution, and rows do not touch each other."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from untrue.engine import sampling
from untrue.engine.sampling import Draw, sample

DRAWS = 20_000
LOGITS = torch.tensor([0.3, 2.0, -1.0, 1.5, -30.0, 1.0, 0.0, -2.0])


def counts(temperature: float, top_p: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    uniforms = torch.rand(DRAWS, generator=generator).tolist()
    tokens = sample(LOGITS.expand(DRAWS, -1), [Draw(temperature, top_p, uniform) for uniform in uniforms])
    return torch.bincount(torch.tensor(tokens), minlength=len(LOGITS))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_softmax_at_the_temperature(temperature: float):
    found, expected = counts(temperature, 1.0), torch.softmax(LOGITS.double() / temperature, -1)
    likely = expected > 1e-4
    assert found[~likely].sum() <= 3
    expected = expected[likely] / expected[likely].sum()
    assert chisquare(found[likely].double(), expected * found[likely].sum()).pvalue > 1e-3


@pytest.mark.parametrize("head", [2, 1024], ids=["whole vocabulary sorted", "head alone"])
def test_top_p_keeps_the_fewest_tokens_that_reach_it_in_their_proportions(head: int, monkeypatch):
    monkeypatch.setattr(sampling, "HEAD", head)
    found, probabilities = counts(1.0, 0.75), torch.softmax(LOGITS.double(), -1)
    kept = [1, 3, 5]  # 0.43 + 0.26 + 0.16: two of them do not reach 0.75
    assert probabilities[kept[:2]].sum() < 0.75 < probabilities[kept].sum()
    assert found.sum() == found[kept].sum()
    expected = probabilities[kept] / probabilities[kept].sum()
    assert chisquare(found[kept].double(), expected * DRAWS).pvalue > 1e-3


def test_temperature_0_takes_the_most_likely_token():
    assert sample(LOGITS.expand(2, -1), [Draw(0, 1.0, 0.99), Draw(0, 0.1, 0.0)]) == [1, 1]


def test_the_ends_of_the_unit_interval_fall_on_tokens_that_have_a_probability():
    logits = torch.tensor([[-torch.inf, 1.0, 2.0, -torch.inf]])
    assert sample(logits, [Draw(1.0, 1.0, 0.0)]) == [1]
    assert sample(logits, [Draw(1.0, 1.0, 1 - 2**-53)]) == [2]
    assert sample(logits, [Draw(1.0, 0.9, 1 - 2**-53)]) == [1]  # the less likely of two comes last
