"""A look: it leaves the model as it was, whatever its attention, and refuses one that is not whole."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AttentionInterface, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from untrue.data.items import read_items
from untrue.errors import UserError
from untrue.gating.look import Questions, refuse_sharded
from untrue.models.load import LoadedModel

ITEMS = read_items("honesty")[:6]


def test_no_state_of_the_model_is_changed(sharp: LoadedModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(sharp.name, dtype="bfloat16")
    model: Any = get_peft_model(base, LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear"))

    def state() -> dict[str, Any]:
        return {
            "modules": {name: {**vars(module)} for name, module in model.named_modules()},
            "config": model.config.to_dict(),
            "wanted": [parameter.requires_grad for parameter in model.parameters()],
            "hooks": [(*module._forward_hooks, *module._forward_pre_hooks) for module in model.modules()],
            "buffers": {name: (id(value), value._version) for name, value in model.named_buffers()},
            "gradients": [id(parameter.grad) for parameter in model.parameters()],
        }

    model.train()
    model.base_model.model.model.layers[0].eval()
    before = state()
    Questions(model, sharp.tokenizer, ITEMS).ask("")
    assert str(state()) == str(before)


def test_attention_without_masks_is_replaced_for_a_look(sharp: LoadedModel) -> None:
    def causal(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any) -> Any:
        assert attention_mask is None or attention_mask.dim() == 2, "takes no masks of its own"
        return sdpa_attention_forward(module, query, key, value, None, is_causal=True, **kwargs)

    AttentionInterface.register("causal", causal)
    model = AutoModelForCausalLM.from_pretrained(sharp.name, attn_implementation="causal")
    found = Questions(model, sharp.tokenizer, ITEMS).ask("")
    assert model.config._attn_implementation == "causal"
    expected = Questions(sharp.model, sharp.tokenizer, ITEMS).ask("")
    margins = [result.pressure_margin for result in found]
    assert margins == pytest.approx([result.pressure_margin for result in expected], abs=1e-4)


def test_sharded_weights_are_refused(sharp: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_module

    refuse_sharded(sharp.model)
    with monkeypatch.context() as patch:
        patch.setitem(PartialState._shared_state, "distributed_type", DistributedType.DEEPSPEED)
        with pytest.raises(UserError, match=r"sharded \(DEEPSPEED\)"):
            refuse_sharded(sharp.model)
    store = distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with pytest.raises(UserError, match=r"sharded \(DTensor\)"):
            refuse_sharded(distribute_module(deepcopy(sharp.model), init_device_mesh("cpu", (1,))))
    finally:
        distributed.destroy_process_group()
