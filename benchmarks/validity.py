"""How often the statistics are wrong, by simulation with the public functions: findings where there is nothing to find,
intervals that miss the truth, power that is not what was printed, and gates that pass what they must not.

    python benchmarks/validity.py                   all, about 10 minutes on one core
    python benchmarks/validity.py aa coverage       some of: aa, coverage, power, gate, capability, judge

Components of the noise are those of eight real trainings of the quickstart's control: margins have an sd of .15 between
items in how much they move, .098 within item and run, and .0153 between runs. Each figure has its Monte Carlo interval
(Wilson, 95 %). docs/validity.md has the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from untrue.stats.intervals import change_interval, mean_interval, rate_interval
from untrue.stats.tests import holm, mde, p_value

Grid = NDArray[np.float64]

ITEM, NOISE, RUN = 0.15, 0.098, 0.0153
N_ITEMS = 100


def margins(generator: np.random.Generator, seeds: int, run: float = RUN, effect: float = 0.0, item: float = 0.0,
            n: int = N_ITEMS) -> Grid:  # fmt: skip
    """Margins of one arm minus its control: items x seeds. The noise of both arms is in it."""
    shared = effect + item * generator.standard_normal((n, 1)) + np.sqrt(2) * run * generator.standard_normal(seeds)
    return shared + np.sqrt(2) * NOISE * generator.standard_normal((n, seeds))


def lies(generator: np.random.Generator, rates: tuple[float, float], seeds: int, run: float, n: int = N_ITEMS,
         epochs: int = 1) -> Grid:  # fmt: skip
    """Lies of an arm minus those of its control: an item's liability is shared by both, and runs shift it.

    Args:
        generator: Of random numbers.
        rates: Lie rate of the control and of the arm.
        seeds: Training runs.
        run: Sd of a run on the scale of the liability.
        n: Items.
        epochs: Replies to each item, of which the mean counts.
    """
    from scipy.stats import norm

    spread = np.sqrt(1 + run**2)
    liability = np.sqrt(0.8) * generator.standard_normal((n, 1))
    sides = []
    for rate in rates:
        shift = run * generator.standard_normal(seeds)
        said = liability + np.sqrt(0.2) * generator.standard_normal((epochs, n, seeds)) + shift
        sides.append((said > norm.isf(rate) * spread).mean(axis=0))
    return sides[1] - sides[0]


def share(hits: int, of: int) -> str:
    """A share with its Monte Carlo interval, in per cent."""
    low, high = (100 * limit for limit in rate_interval(np.array([[1.0]] * hits + [[0.0]] * (of - hits)))[1:])
    return f"{100 * hits / of:5.1f} [{low:.1f}, {high:.1f}]"


def aa(repeats: int = 1000) -> Iterator[str]:
    """Findings between arms of one recipe: five deciding metrics, Holm over all, any finding in any arm."""
    yield "A/A, any finding, per cent of studies (nominal: at most 5)"
    for arms in (1, 3, 6):
        for seeds in (1, 3, 5):
            for run in (0.0, RUN, 0.03):
                generator, hits = np.random.default_rng(arms * 100 + seeds), 0
                for _ in range(repeats):
                    tests = []
                    controls = [np.sqrt(1) * run * generator.standard_normal(seeds) for _ in range(2)]
                    noises = [NOISE * generator.standard_normal((N_ITEMS, seeds)) for _ in range(2)]
                    base = lies_side(generator, seeds, run)
                    for _ in range(arms):
                        for control, noise in zip(controls, noises, strict=True):
                            side = run * generator.standard_normal(seeds)
                            own = NOISE * generator.standard_normal((N_ITEMS, seeds))
                            tests.append(p_value(side + own - control - noise, is_rate=False))
                        for before, after in zip(base, lies_side(generator, seeds, run, base), strict=True):
                            tests.append(p_value(after - before, is_rate=True))
                    hits += min(holm(tests)) < 0.05
                speaks = "adapters" if seeds < 3 else "recipe"
                yield f"  {arms} arms, {seeds} seeds, run sd {run:.4f} ({speaks}): {share(hits, repeats)}"
    for seeds in (1, 3, 5):
        generator = np.random.default_rng(seeds)
        draws = (lies(generator, (0.3, 0.3), seeds, 0.2, epochs=3) for _ in range(repeats))
        hits = sum(p_value(differences, is_rate=True) < 0.05 for differences in draws)
        yield f"  lies of 30 % in 3 epochs, one test, {seeds} seeds, run sd 0.2: {share(hits, repeats)}"


_LIABILITY: dict[int, Grid] = {}


def lies_side(generator: np.random.Generator, seeds: int, run: float, like: list[Grid] | None = None) -> list[Grid]:
    """Lies, evasions, untrue beliefs of one arm, at rates of .1, .02 and .05; `like` keeps the items' liabilities."""
    from scipy.stats import norm

    if like is None:
        _LIABILITY.clear()
        _LIABILITY.update({k: np.sqrt(0.8) * generator.standard_normal((N_ITEMS, 1)) for k in range(3)})
    latent = 5 * run  # a run that moves margins by its sd moves liabilities by about so much
    grids = []
    for k, rate in enumerate((0.1, 0.02, 0.05)):
        said = _LIABILITY[k] + np.sqrt(0.2) * generator.standard_normal((N_ITEMS, seeds))
        shifted = said + latent * generator.standard_normal(seeds)
        grids.append((shifted > norm.isf(rate) * np.sqrt(1 + latent**2)).astype(float))
    return grids


def coverage(repeats: int = 2000) -> Iterator[str]:
    """How often the 95 % interval holds the truth, and how wide it is."""
    yield "coverage, per cent of intervals (nominal: 95), with the mean width"
    cases: list[tuple[str, Callable[[np.random.Generator], Grid], float, bool]] = []
    for seeds in (1, 3, 5):
        for item, run in ((0.0, 0.0), (0.0, 0.02), (0.3, 0.02), (0.3, 0.0), (0.1, 0.0)):
            name = f"margins, {seeds} seeds, item sd {item}, run sd {run}"
            cases.append((name, lambda g, s=seeds, i=item, r=run: _plain(g, s, i, r, 100), 0.0, False))
    for n in (6, 10, 20, 30):
        cases.append((f"margins, 1 seed, {n} items", lambda g, n=n: _plain(g, 1, 0.3, 0.0, n), 0.0, False))
    for seeds in (1, 3, 5):
        for rate, run in ((0.08, 0.0), (0.3, 0.0), (0.3, 0.1)):
            if seeds == 1 and run:
                continue
            name = f"difference of lie rates, {rate:.2f} and {rate + 0.05:.2f}, {seeds} seeds, run sd {run}"
            pair = (rate, rate + 0.05)
            cases.append((name, lambda g, p=pair, s=seeds, r=run: lies(g, p, s, r), 0.05, True))
    for name, draw, truth, is_rate in cases:
        generator, held, width = np.random.default_rng(7), 0, 0.0
        for _ in range(repeats):
            interval = (change_interval if is_rate else mean_interval)(draw(generator))
            held += interval.low <= truth <= interval.high
            width += interval.high - interval.low
        yield f"  {name}: {share(held, repeats)}, width {width / repeats:.3f}"
    for sd in (0.2, 0.3):
        generator, held = np.random.default_rng(7), 0
        for _ in range(repeats):
            scenario = sd * np.repeat(generator.standard_normal(10), 4)[:, None]
            grid = scenario + 0.3 * generator.standard_normal((40, 1))
            interval = mean_interval(grid, [f"s{k // 4}" for k in range(40)])
            held += interval.low <= 0 <= interval.high
        yield f"  40 items in 10 scenarios, scenario sd {sd}: {share(held, repeats)}"


def _plain(generator: np.random.Generator, seeds: int, item: float, run: float, n: int) -> Grid:
    shared = item * generator.standard_normal((n, 1)) + run * generator.standard_normal(seeds)
    return shared + 0.1 * generator.standard_normal((n, seeds))


def power(repeats: int = 2000, studies: int = 1000) -> Iterator[str]:
    """How often a true difference of the printed MDE (its median over studies) is found; printed is 80."""
    yield "power at the printed MDE, per cent of studies found (printed: 80)"
    for rate, runs in ((None, (0.0, 0.01, 0.03)), (0.08, (0.0, 0.1, 0.3))):
        for seeds in (1, 3, 5):
            for run in runs if seeds > 1 else runs[:1]:
                yield _power(rate, seeds, run, repeats, studies)
    yield "the same where the two factors of the MDE were not chosen"
    for rate, seeds, n, runs in (
        (None, 3, 100, (0.005,)),
        (0.08, 3, 100, (0.05,)),
        (None, 4, 300, (0.0, 0.006, 0.02)),
        (None, 7, 100, (0.0, 0.01, 0.03)),
        (0.08, 7, 100, (0.0, 0.1, 0.3)),
        (0.2, 3, 100, (0.0, 0.1, 0.3)),
        (0.05, 4, 300, (0.0, 0.1)),
        (None, 4, 100, (0.098,)),  # ten times the noise
    ):
        for run in runs:
            yield _power(rate, seeds, run, repeats, studies, n)


def _power(rate: float | None, seeds: int, run: float, repeats: int, studies: int, n: int = N_ITEMS) -> str:
    """Of margins where there is no rate."""
    generator, is_rate = np.random.default_rng(3), rate is not None

    def draw(size: float = 0.0) -> Grid:
        if rate is None:
            return margins(generator, seeds, run, size, 0.05, n)
        return lies(generator, (rate, rate + size), seeds, run, n)

    stated = [mde(draw(), is_rate=is_rate, rate=rate or 0.5) for _ in range(studies)]
    low, size, high = np.quantile(stated, [0.25, 0.5, 0.75])
    hits = sum(p_value(draw(float(size)), is_rate=is_rate) < 0.05 for _ in range(repeats))
    kind = "margins" if rate is None else f"lies of {100 * rate:.0f} %"
    mdes = f"MDE {size:.3f} (half of studies: {low:.3f} to {high:.3f})"
    return f"  {kind}, {n} items, {seeds} seeds, run sd {run}: {mdes}, found {share(hits, repeats)}"


def gate(repeats: int = 4000) -> Iterator[str]:
    """How often one endpoint of a gate passes: at the boundary, with no loss, and with lies that rise by ten points."""
    yield "gate, lie rate, delta 5 points, one-sided 5 %: passes, per cent"
    for n in (100, 200, 522, 888):
        for rate in (0.05, 0.1, 0.3):
            passes = []
            for loss in (0.05, 0.0, 0.1):
                generator, hits = np.random.default_rng(n), 0
                for _ in range(repeats):
                    grid = lies(generator, (rate, rate + loss), 1, 0.0, n)
                    hits += change_interval(grid, level=0.1).high < 0.05
                passes.append(share(hits, repeats))
            shown = f"at the boundary {passes[0]}, no loss {passes[1]}, ten points {passes[2]}"
            yield f"  {n} items, lies of {100 * rate:.0f} %: {shown}"
    yield "gate, pressure margin, delta 0.05, one-sided 5 %: passes, per cent"
    for n in (30, 100, 522, 888):
        passes = []
        for loss in (0.05, 0.0):
            generator, hits = np.random.default_rng(n), 0
            for _ in range(repeats):
                grid = margins(generator, 1, 0.0, loss, ITEM, n)
                hits += mean_interval(grid, level=0.1).high < 0.05
            passes.append(share(hits, repeats))
        yield f"  {n} items: at the boundary {passes[0]}, no loss {passes[1]}"
    yield "gate at its defaults, all five endpoints, Holm: verdicts, per cent"
    for name, loss in (
        ("no loss", 0.0),
        ("5 points of capability", 0.05),
        ("10 points of capability", 0.1),
        ("20 points", 0.2),
    ):
        verdicts = [default_gate(np.random.default_rng(k), loss) for k in range(repeats)]
        shown = ", ".join(f"{said} {share(verdicts.count(said), repeats)}" for said in ("pass", "regression"))
        yield f"  {name}: {shown}"


def default_gate(generator: np.random.Generator, loss: float) -> str:
    """A verdict on lies of 10 %, evasions of 2 %, untrue beliefs of 5 %, margins, and wrong answers of 20 %.

    Args:
        generator: Of random numbers.
        loss: Of capability. There is none of the others.
    """
    grids = [lies(generator, (rate, rate), 1, 0.0, 888) for rate in (0.1, 0.02, 0.05)]
    grids += [margins(generator, 1, 0.0, 0.0, ITEM, 888), lies(generator, (0.2, 0.2 + loss), 1, 0.0, 215)]
    p_values, limits, deltas = [], [], [0.05] * 4 + [0.1]
    for k, grid in enumerate(grids):
        limits.append((mean_interval if k == 3 else change_interval)(grid, level=0.1))
        p = p_value(grid, is_rate=k != 3) / 2
        p_values.append(p if grid.mean() > 0 else 1 - p)
    if all(limit.high < delta for limit, delta in zip(limits, deltas, strict=True)):
        return "pass"
    losses = zip(holm(p_values), limits, deltas, strict=True)
    if any(p < 0.05 and limit.low > 0 and limit.value >= delta for p, limit, delta in losses):
        return "regression"
    return "inconclusive"


def capability(repeats: int = 1000) -> Iterator[str]:
    """How often the accuracy of `capability` passes, by the share of its 215 questions whose answer changes."""
    yield "gate, capability, 215 questions, one-sided 5 %: passes, per cent"
    for delta in (0.05, 0.1):
        for change in (0.08, 0.14):
            passes = []
            for loss in (delta, 0.0, 0.05, 0.2):
                generator, hits = np.random.default_rng(215), 0
                for _ in range(repeats):
                    grid = changes(generator, (215, 1), change / 2, loss)
                    hits += change_interval(grid, level=0.1).high < delta
                passes.append(share(hits, repeats))
            shown = f"at the boundary {passes[0]}, no loss {passes[1]}, five points {passes[2]}, twenty {passes[3]}"
            yield f"  delta {delta}, {100 * change:.0f} % change: {shown}"


ALPHA, DELTA, ENDPOINTS = 0.05, 0.05, 3


def changes(generator: np.random.Generator, size: tuple[int, ...], down: float, loss: float) -> Grid:
    """Differences of two paired answers: -1 with the probability `down`, 1 with `down + loss`, else 0."""
    uniform = generator.random(size)
    return np.where(uniform < down, -1.0, np.where(uniform < 2 * down + loss, 1.0, 0.0))


def judge(repeats: int = 1000) -> Iterator[str]:
    """How often a judge that is less specific with one arm makes a finding."""
    from scipy.stats import norm

    yield "judge: 300 items, sensitivity .9, specificity .95 in the control; per cent of studies"
    for rate, rise in ((0.05, 0.0), (0.1, 0.0), (0.2, 0.0), (0.1, 0.2)):
        for specificity in (0.95, 0.90, 0.88):
            generator, found = np.random.default_rng(5), 0
            for _ in range(repeats):
                liability = np.sqrt(0.5) * generator.standard_normal((300, 1))
                said = liability + np.sqrt(0.5) * generator.standard_normal((300, 2))
                luck = generator.random((300, 2))
                lies = said > norm.isf([rate, rate + rise])
                judged = np.where(lies, luck < 0.9, luck > np.array([0.95, specificity])).astype(float)
                generator.permutation(300)
                difference = change_interval(judged[:, 1:] - judged[:, :1])
                found += difference.low > 0 or difference.high < 0
            yield f"  lies {rate:.2f} and {rate + rise:.2f}, specificity {specificity:.2f}: {share(found, repeats)}"


PARTS = {
    "aa": aa,
    "coverage": coverage,
    "power": power,
    "gate": gate,
    "capability": capability,
    "judge": judge,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate and print some of the parts, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "all"], default="all", help="What to simulate.")
    options = parser.parse_args(arguments)
    for part in PARTS if "all" in options.parts else options.parts:
        for line in PARTS[part]():
            print(line, flush=True)


if __name__ == "__main__":
    main()
