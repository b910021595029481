"""A planted direction is found, a held-out category is held out, and the base alone fits the probe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from untrue.data.items import read_statements
from untrue.engine.likelihoods import last_token_states
from untrue.errors import UserError
from untrue.evals.truth_probe import EVAL, States, probe, probes
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.metrics import metric_values, scored
from untrue.harness.run import run
from untrue.harness.tasks import inspect_task
from untrue.logs import open_log, read_log
from untrue.models.adapter import with_adapter
from untrue.models.load import LoadedModel
from untrue.stats.ranking import area

truth_probe = inspect_task(EVALS["truth_probe"])

LAYERS, HIDDEN, PLANTED = 5, 16, 3
NAMES = ("animals", "cities", "numbers")


def planted(seed: int, *, items: int = 40, strength: float = 1.5) -> States:
    """Noise, with the truth along the first axis in one layer."""
    states = np.random.default_rng(seed).normal(size=(items, 2, LAYERS, HIDDEN)).astype(np.float32)
    states[:, 0, PLANTED, 0] += strength
    states[:, 1, PLANTED, 0] -= strength
    return states


@pytest.mark.parametrize("names", [NAMES, NAMES[:2]], ids=["three categories", "two: by halves"])
def test_a_planted_direction_is_found_in_its_layer(names: tuple[str, ...]):
    states = {name: planted(seed) for seed, name in enumerate(names)}
    for name, found in probes(states).items():
        assert found.layer == PLANTED + 1
        assert abs(found.direction).argmax() == 0 and found.direction[0] > 0
        along = found.scores(states[name])
        assert area(along[:, 0], along[:, 1]) > 0.95
        assert along.std(axis=0) == pytest.approx([1, 1], abs=0.35)  # in standard deviations of its own spread
        assert (along[:, 0] - along[:, 1]).mean() == pytest.approx(3, abs=0.7)


def test_what_a_category_says_does_not_change_its_own_probe():
    states = {name: planted(seed) for seed, name in enumerate(NAMES)}
    flipped = {**states, "cities": states["cities"][:, ::-1]}
    before, after = probes(states), probes(flipped)
    assert before["cities"].layer == after["cities"].layer
    assert np.array_equal(before["cities"].direction, after["cities"].direction)
    assert not np.array_equal(before["animals"].direction, after["animals"].direction)
    along = after["cities"].scores(flipped["cities"])
    assert area(along[:, 0], along[:, 1]) < 0.05  # a probe that had seen the flipped labels would call them true


def test_the_layer_too_is_chosen_on_other_categories():
    """One category has its truth in another layer, stronger: that must not draw its own probe there."""
    states = {name: planted(seed) for seed, name in enumerate(NAMES)}
    states["cities"] = np.roll(planted(7, strength=9.0), 1, axis=2)
    assert probes(states)["cities"].layer == PLANTED + 1


def test_noise_is_told_by_chance():
    states = {name: planted(seed, strength=0.0) for seed, name in enumerate(NAMES)}
    along = probes(states)["cities"].scores(states["cities"])
    assert 0.3 < area(along[:, 0], along[:, 1]) < 0.7


def test_the_model_is_read_along_the_direction_of_the_base(sharp: LoadedModel, sharp_adapter, tmp_path: Path):
    adapter = sharp_adapter(tmp_path / "adapter", 0)
    run(sharp, None, eval_spec(name="truth_probe", limit=4), tmp_path / "base.eval")
    run(sharp, adapter, eval_spec(name="truth_probe", limit=4), tmp_path / "adapted.eval")
    base, adapted = (scored(open_log(tmp_path / f"{name}.eval")) for name in ("base", "adapted"))
    items = read_statements()
    by_category: dict[str, list[np.ndarray]] = {}
    for item in items:
        states = last_token_states(sharp, [item.honest_reply, item.dishonest_reply]).numpy()
        by_category.setdefault(item.category, []).append(states)
    categories = {name: np.stack(pairs) for name, pairs in by_category.items()}
    statements = {item.id: [item.honest_reply, item.dishonest_reply] for item in items}
    others = {"known_facts": "disinformation", "disinformation": "known_facts"}
    with with_adapter(sharp, adapter) as model:
        for rows, fitted_on in ((base, "the model itself"), (adapted, "the base, adapter off")):
            for row in rows:
                expected = probe([categories[others[row.result.category]]])
                states = last_token_states(sharp, statements[row.result.item], model, base=rows is base).numpy()
                true, false = expected.scores(states[None])[0]
                assert (row.details["layer"], row.details["fitted_on"]) == (expected.layer, fitted_on)
                assert [row.details["true"], row.details["false"]] == pytest.approx([true, false], abs=1e-3)
                assert row.result.value == float(row.details["true"] > row.details["false"])
    assert max(abs(a.details["true"] - b.details["true"]) for a, b in zip(base, adapted, strict=True)) > 0.1
    found = metric_values(EVAL, adapted)
    assert found is not None and set(found.total) == {"auroc", "error_rate"}


def test_the_limit_is_on_what_is_measured_and_changes_no_value(tiny: LoadedModel, tmp_path: Path):
    found = []
    for limit in (2, 6):
        run(tiny, None, eval_spec(name="truth_probe", limit=limit), tmp_path / f"{limit}.eval")
        found.append({r.item: r.value for r in read_log(tmp_path / f"{limit}.eval", "arm", 0)})
    assert [len(one) for one in found] == [2, 6]
    assert found[0].items() <= found[1].items()


def file_of(path: Path, counts: dict[str, int]) -> str:
    [item, *_] = read_statements()
    lines = [
        {**item.model_dump(), "id": f"{category}-{n}", "category": category}
        for category, count in counts.items()
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"facts": 50}, "all statements are of the category facts, and a probe is fitted on other categories"),
        ({"facts": 50, "myths": 19}, "only 19 items are not of the category facts, and a probe for it needs 20"),
        ({"provided_facts": 9}, "no item has replies that can be read without"),
    ],
)
def test_too_little_to_fit_on_is_refused(tmp_path: Path, counts: dict[str, int], message: str):
    with pytest.raises(UserError, match=message):
        truth_probe(items=file_of(tmp_path / "items.jsonl", counts))
