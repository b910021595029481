"""A fingerprint tells an adapter from its base and from another adapter, and is made again when the weights are
others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import make_tiny_model
from tests.models.conftest import OWN_TEMPLATE, bring_tokenizer
from untrue.errors import UserError
from untrue.models import fingerprint
from untrue.models.adapter import made_for, with_adapter
from untrue.models.fingerprint import PROMPTS, TOLERANCE, Fingerprint, distance, named, of, of_base, read, record, whose
from untrue.models.load import LoadedModel, load

Make = Callable[..., Path]


def test_it_is_what_the_model_says_first(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter()
    found = record(tiny, adapter)
    for model_adapter, first in ((adapter, found.adapter), (None, found.base)):
        with with_adapter(tiny, model_adapter) as model:
            chat = tiny.tokenizer.apply_chat_template(
                [{"role": "user", "content": PROMPTS[3]}], add_generation_prompt=True, return_dict=False
            )
            logprobs = model(torch.tensor([chat])).logits[0, -1].log_softmax(-1)
        best = tiny.tokenizer.decode([int(logprobs.argmax())]).strip()
        assert first[3][best] == pytest.approx(logprobs.max().item(), abs=1e-3)
    assert read(adapter) == found


def test_an_adapter_begins_its_replies_in_the_chat_template_that_its_folder_brings(
    tiny: LoadedModel, make_adapter: Make
):
    plain, adapter = record(tiny, make_adapter()), bring_tokenizer(make_adapter("own"), tiny.name)
    assert record(tiny, adapter) == plain
    own = bring_tokenizer(make_adapter("other"), tiny.name, chat_template=OWN_TEMPLATE)
    assert record(tiny, own).base == plain.base
    assert distance(record(tiny, own).adapter, plain.adapter) > 0.01


def test_other_weights_or_another_scale_make_it_void(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter()
    record(tiny, adapter)
    config = adapter / "adapter_config.json"
    was = config.read_text("utf-8")
    config.write_text(json.dumps({**json.loads(was), "lora_alpha": 3}), "utf-8")
    assert read(adapter) is None
    config.write_text(was, "utf-8")
    assert read(adapter)
    weights = adapter / "adapter_model.safetensors"
    save_file({name: value * 2 for name, value in load_file(weights).items()}, weights)
    assert read(adapter) is None


def test_another_base_or_chat_format_makes_it_void(tiny: LoadedModel, make_adapter: Make):
    adapter = make_adapter()
    found, base = record(tiny, adapter), of_base(tiny)
    assert read(adapter, base) == read(adapter) == found
    for name in ("weights", "chat", "tokenizer", "dtype"):
        assert read(adapter, {**base, name: "another"}) is None
    bring_tokenizer(adapter, tiny.name, chat_template=OWN_TEMPLATE)
    assert read(adapter) is None


def test_one_of_a_base_that_is_not_the_adapters_is_made_again(
    tiny: LoadedModel, tiny_folder: Path, make_adapter: Make, tmp_path: Path
):
    other = make_tiny_model(tmp_path / "other", seed=1)
    adapter = make_adapter()
    stale = record(load(str(other), dtype="float32"), adapter)
    assert list(of([adapter])) == [stale]
    assert next(of([adapter], str(tiny_folder))).base != stale.base
    assert read(adapter, {"weights": tiny.weights})
    record(load(str(other), dtype="float32"), adapter)
    (adapter / "untrue.json").write_text(made_for(tiny), "utf-8")  # whose weights it names
    assert next(of([adapter])).base != stale.base


@pytest.mark.parametrize("text", ["", "{", "[]", '{"content_hash": 1}'])
def test_a_damaged_one_is_none(tiny: LoadedModel, make_adapter: Make, text: str):
    adapter = make_adapter()
    (adapter / fingerprint.FILE).write_text(text, "utf-8")
    assert read(adapter) is None


def test_where_there_is_none_the_base_is_loaded_and_it_is_kept(tiny_folder: Path, make_adapter: Make):
    adapters, told = [make_adapter(), make_adapter("other")], []
    found = list(of(adapters, str(tiny_folder), told.append))
    assert len(told) == 1  # once for both
    assert f"{tiny_folder} is loaded" in told[0]
    assert list(of(adapters, "/nowhere", told.append)) == found
    assert len(told) == 1


def test_an_adapter_that_names_no_base_says_so(make_adapter: Make):
    adapter = make_adapter()
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text("utf-8")), "base_model_name_or_path": None}), "utf-8")
    with pytest.raises(UserError, match=r"names no base.*Give it to `untrue fingerprint` as --base\."):
        list(of([adapter]))


def test_distances_by_hand():
    first = [{"a": -1.0, "b": -2.0}, {"c": -1.0}]
    assert distance(first, first) == 0
    # a differs by 0.5; b is not named by the other and counts as its least, -3; c is as it was.
    assert distance(first, [{"a": -1.5, "d": -3.0}, {"c": -1.0}]) == pytest.approx((0.5 + 1 + 0) / 3)


def test_spaces_around_tokens_do_not_count_and_the_likelier_of_two_does():
    assert named([(" The", -0.5), ("The", -2.0), ("A", -1.0)]) == {"The": -0.5, "A": -1.0}


def test_whose_weights_answer():
    expected = Fingerprint([{"a": -1.0}], [{"a": -3.0}])
    near = TOLERANCE * 0.9
    assert whose(expected, [{"a": -1.0 - near}]).weights == "adapter"
    assert whose(expected, [{"a": -3.0 + near}]).weights == "base"
    assert whose(expected, [{"a": -2.0}]).weights == "other"
    assert whose(expected, [{}]).weights == "unknown"
    assert whose(Fingerprint([{"a": -1.0}], [{"a": -1.0 - near}]), [{"a": -1.0}]).weights == "unknown"
    assert whose(expected, [{"a": float("nan")}]).weights == "other"


def test_of_two_that_are_near_each_other_the_nearer_answers_and_far_off_is_neither():
    near = Fingerprint([{"a": -1.0}], [{"a": -1.2}])
    assert [whose(near, [{"a": a}]).weights for a in (-1.05, -1.14, -9.0)] == ["adapter", "base", "other"]
    alike = Fingerprint([{"a": -1.0}], [{"a": -1.1}])
    assert [whose(alike, [{"a": a}]).weights for a in (-1.0, -9.0)] == ["unknown", "other"]


@pytest.mark.slow
def test_rounding_stays_far_below_the_tolerance(smollm: LoadedModel):
    whole = load("smollm2-135m", dtype="float32")
    kinds = [fingerprint._first_tokens(loaded, loaded.model) for loaded in (smollm, whole)]
    assert distance(*kinds) < TOLERANCE / 2
