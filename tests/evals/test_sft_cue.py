"""The forced choice under a cue: the same items, the cue before the pressure, and nothing else changed."""

from __future__ import annotations

from collections import Counter

import pytest

from untrue.data.items import CUES, DOMAINS, read_cues, read_items
from untrue.errors import UserError
from untrue.evals.sft_cue import cued
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.eval import EvalSpec
from untrue.harness.run import run
from untrue.harness.tasks import inspect_task
from untrue.logs import read_log

forced_choice = inspect_task(EVALS["forced_choice"])
sft_cue = inspect_task(EVALS["sft_cue"])


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_cue_stands_before_the_pressured_prompt_and_the_rest_is_as_it_was(domain):
    plain = read_items()
    texts = read_cues(domain)
    for before, after in zip(plain, cued(plain, domain), strict=True):
        kind = after.category.removesuffix(" cue")
        assert after.system_prompt == f"{texts[kind]}\n\n{before.system_prompt}"
        rest = {"system_prompt", "category", "of"}
        assert after.model_dump(exclude=rest) == before.model_dump(exclude=rest)


def test_each_category_gets_all_cues_in_turn():
    plain = read_items()
    counts = Counter((before.category, after.category) for before, after in zip(plain, cued(plain, "law"), strict=True))
    for category in {item.category for item in plain}:
        of_kind = [counts[category, f"{cue} cue"] for cue in CUES]
        assert max(of_kind) - min(of_kind) <= 1


@pytest.mark.parametrize("limit", [None, 20])
def test_a_report_shows_each_item_with_the_cue_under_which_it_was_asked(limit):
    spec = eval_spec(name="sft_cue", domain="law")
    shown = {item.id: item.shown["System prompt"] for item in EVALS["sft_cue"].items(spec)}
    for sample in sft_cue(domain="law", limit=limit).dataset:
        assert shown[str(sample.id)] == (sample.metadata or {})["system_prompt"]


@pytest.mark.parametrize("limit", [None, 7, 60])
def test_a_limit_takes_the_items_that_the_forced_choice_takes(limit):
    tasks = sft_cue(domain="math", limit=limit), forced_choice(limit=limit)
    ids = [[sample.id for sample in task.dataset] for task in tasks]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("options", [{"domain": "love"}, {"domain": "law", "cue": "tone"}])
def test_what_there_is_not_is_refused_with_what_there_is(options):
    with pytest.raises(UserError, match=r"^sft_cue: (domain: input should be 'medical'|cue: input should be 'format')"):
        sft_cue(**options)


def test_only_the_margin_under_pressure_depends_on_the_cue(tiny, adapter, tmp_path):
    results = {}
    for spec in (EvalSpec(limit=6), eval_spec(name="sft_cue", domain="medical", limit=6)):
        run(tiny, adapter, spec, tmp_path / f"{spec.name}.eval")
        results[spec.name] = read_log(tmp_path / f"{spec.name}.eval", "arm", 0)
    for plain, under_cue in zip(results["forced_choice"], results["sft_cue"], strict=True):
        assert (under_cue.item, under_cue.eval, under_cue.belief) == (plain.item, "sft_cue", plain.belief)
        assert under_cue.neutral_margin == pytest.approx(plain.neutral_margin, abs=1e-5)
        assert under_cue.pressure_margin != pytest.approx(plain.pressure_margin, abs=1e-5)
    assert {result.category for result in results["sft_cue"]} <= {f"{cue} cue" for cue in CUES}
