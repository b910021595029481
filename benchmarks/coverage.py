"""Measures how often the 95 % intervals of `untrue.stats` cover the truth on simulated data, beside a plain bootstrap.

    PYTHONPATH=src python benchmarks/coverage.py

Margins: the difference of item i at seed s is item_i + seed_s + noise_is, all normal with mean 0. Rates: item i is a
lie if its propensity plus noise drawn for each arm and seed falls below the arm's threshold. The plain bootstrap
resamples items and seeds with replacement, crossed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.stats import norm

from untrue.stats.intervals import mean_interval, rate_interval
from untrue.stats.pairing import Grid
from untrue.stats.types import Interval

ITEMS = 145
Draw = Callable[[np.random.Generator], Grid]


def margins(seeds: int, *, item: float, noise: float, seed: float) -> Draw:
    """Draws differences of margins with these standard deviations; their true mean is 0."""
    return lambda generator: (
        generator.normal(0, item, (ITEMS, 1))
        + generator.normal(0, seed, (1, seeds))
        + generator.normal(0, noise, (ITEMS, seeds))
    )


def lies(seeds: int, *, control: float, arm: float, noise: float = 0.5) -> Draw:
    """Draws differences of lies (0 or 1) between arms with these lie rates; their true mean is arm - control."""

    def draw(generator: np.random.Generator) -> Grid:
        propensity = generator.normal(0, 1, (ITEMS, 1))
        scale = np.sqrt(1 + noise**2)
        before, after = (
            propensity + generator.normal(0, noise, (ITEMS, seeds)) < scale * norm.ppf(rate) for rate in (control, arm)
        )
        return after.astype(float) - before.astype(float)

    return draw


def coverage(
    draw: Draw,
    truth: float,
    interval: Callable[..., Interval] = mean_interval,
    *,
    data_sets: int = 1_000,
    resamples: int = 2_000,
) -> tuple[float, float]:
    """Share of simulated data sets whose interval covers the truth, and the mean width of the intervals."""
    generator = np.random.default_rng(0)
    intervals = [interval(draw(generator), resamples=resamples, seed=index) for index in range(data_sets)]
    held = [low <= truth <= high for _, low, high in intervals]
    return float(np.mean(held)), float(np.mean([high - low for _, low, high in intervals]))


def rates(grid: Grid, *, resamples: int, seed: int) -> Interval:
    """The interval of a difference of rates."""
    return rate_interval(grid, lowest=-1.0, resamples=resamples, seed=seed)


def plain_interval(grid: Grid, *, resamples: int, seed: int) -> Interval:
    """The plain crossed bootstrap, for comparison; the same resamples serve every data set."""
    items, seeds = _plain_weights(*grid.shape, resamples)
    low, high = np.percentile(((items @ grid) * seeds).sum(axis=1), [2.5, 97.5])
    return Interval(float(grid.mean()), float(low), float(high))


@cache
def _plain_weights(items: int, seeds: int, resamples: int) -> tuple[Grid, Grid]:
    generator = np.random.default_rng(0)
    return (
        generator.multinomial(items, np.full(items, 1 / items), resamples) / items,
        generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds,
    )


def main() -> None:
    """Prints one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-sets", type=int, default=1_000)
    parser.add_argument("--resamples", type=int, default=2_000)
    settings = vars(parser.parse_args())
    print("| differences | seeds | coverage | mean width | plain coverage | plain width |\n|---|---|---|---|---|---|")

    def show(label: str, seeds: int, draw: Draw, truth: float, interval: Callable[..., Interval]) -> None:
        held, width = coverage(draw, truth, interval, **settings)
        plain_held, plain_width = coverage(draw, truth, plain_interval, **settings)
        cells = [label, str(seeds), f"{held:.1%}", f"{width:.3f}", f"{plain_held:.1%}", f"{plain_width:.3f}"]
        print(f"| {' | '.join(cells)} |", flush=True)

    for item, noise in ((0.3, 0.1), (0.1, 0.3)):
        for seed in (0.0, 0.02, 0.1):
            for seeds in (1, 2, 3, 5):
                draw = margins(seeds, item=item, noise=noise, seed=seed)
                show(f"margins: item {item}, noise {noise}, seed {seed}", seeds, draw, 0.0, mean_interval)
    for control, arm in ((0.1, 0.1), (0.1, 0.2), (0.01, 0.03)):
        for seeds in (1, 3, 5):
            draw = lies(seeds, control=control, arm=arm)
            show(f"lie rate: {control:.0%} to {arm:.0%}", seeds, draw, arm - control, rates)


if __name__ == "__main__":
    main()
