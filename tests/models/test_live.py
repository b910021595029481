"""A model in memory is identified as its files are, with the adapters on it, or refused in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from untrue.errors import UserError
from untrue.models.identity import weights_hash
from untrue.models.live import from_live
from untrue.models.load import load


def test_the_hash_of_a_live_model_is_that_of_its_files(live: tuple[Any, Any], tiny_folder: Path) -> None:
    loaded = from_live(*live)
    assert loaded.weights == weights_hash(tiny_folder)
    assert loaded.about == load(str(tiny_folder), dtype="float32", device=loaded.model.device.type).about
    live[0].model.norm.weight.data[0] += 1e-3
    assert from_live(*live).weights != loaded.weights


def test_adapters_that_are_on_are_a_part_of_the_identity(live: tuple[Any, Any], adapter: Path) -> None:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    tuned = PeftModel.from_pretrained(live[0], str(adapter))
    identity = from_live(tuned, live[1]).identity
    with tuned.disable_adapter():
        assert from_live(tuned, live[1]).identity != identity
    assert from_live(tuned, live[1]).identity == identity
    for module in tuned.modules():
        if isinstance(module, BaseTunerLayer):
            scaling: Any = module.scaling
            scaling["default"] *= 2
    assert from_live(tuned, live[1]).identity != identity


def test_a_base_that_an_adapter_has_written_to_is_not_taken_for_the_base(live: tuple[Any, Any]) -> None:
    from peft import KasaConfig, LoraConfig, get_peft_model

    model, tokenizer = live
    pissa = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa"))
    assert from_live(pissa, tokenizer).about["adapters"]  # on, it is the model as it is
    with pissa.disable_adapter(), pytest.raises(UserError, match=r"default is off, and was begun by pissa, which has"):
        from_live(pissa, tokenizer)
    pissa.add_adapter("plain", LoraConfig(r=2, target_modules=["q_proj"]))
    pissa.set_adapter("plain")
    with pytest.raises(UserError, match=r"default is off, and was begun by pissa, which has written to the base"):
        from_live(pissa, tokenizer)
    kasa = LoraConfig(r=2, target_modules=["q_proj"], kasa_config=KasaConfig())
    with pytest.raises(UserError, match="its adapter default is a KaSA adapter"):
        from_live(get_peft_model(pissa.unload(), kasa), tokenizer)


def test_other_live_models_are_refused_in_a_line(live: tuple[Any, Any]) -> None:
    import torch
    from peft import PromptTuningConfig, TaskType, get_peft_model

    model, tokenizer = live
    with pytest.raises(UserError, match="needs its fast tokenizer"):
        from_live(model, None)
    with pytest.raises(UserError, match="Linear: expected a transformers language model"):
        from_live(torch.nn.Linear(2, 2), tokenizer)
    with pytest.raises(UserError, match="LlamaModel: expected a transformers language model"):
        from_live(model.model, tokenizer)
    with pytest.raises(UserError, match="is in float16"):
        from_live(model.to(torch.float16), tokenizer)
    prompted = get_peft_model(model.float(), PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2))
    with pytest.raises(UserError, match="a learned prompt"):
        from_live(prompted, tokenizer)
