"""Hidden states of a model at the last token of a text, as transformers returns them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from untrue.engine.likelihoods import check_can_switch_off
from untrue.errors import UserError
from untrue.models.load import LoadedModel


@torch.inference_mode()
def last_token_states(
    loaded: LoadedModel, texts: Sequence[str], model: Any = None, *, base: bool = False
) -> torch.Tensor:
    """The residual stream after each layer, at the last token of each text; all texts go through in one pass.

    Args:
        loaded: The base.
        texts: Read as documents, outside the chat format.
        model: The base with an adapter on it; None for the base as it is.
        base: Switch the adapter off for the length of the pass.

    Returns:
        Texts x layers x hidden size, in float32 on the CPU. The last layer's state is taken after the final norm.

    Raises:
        UserError: A text is empty or longer than the model's context, the adapter cannot be switched off, also because
            it is part of a model in memory, or the model returns no hidden states.
    """
    model = loaded.model if model is None else model
    switched_off = base and model is not loaded.model
    if switched_off:
        check_can_switch_off(loaded)
    elif base and any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise UserError(
            f"{loaded.name}: has an adapter on it in memory, and its base is needed too. Save the adapter and give its"
            " folder."
        )
    rows = [loaded.document(text) for text in texts]
    length = max(map(len, rows))
    padding = loaded.tokenizer.pad_token_id or 0
    with model.disable_adapter() if switched_off else nullcontext():
        states = model(  # padding stands on the right, where no token of the text attends to it
            input_ids=_tensor(loaded, [[*row, *[padding] * (length - len(row))] for row in rows]),
            attention_mask=_tensor(loaded, [[1] * len(row) + [0] * (length - len(row)) for row in rows]),
            output_hidden_states=True,
            logits_to_keep=1,
            use_cache=False,
        ).hidden_states
    if not states or any(state.shape[:2] != (len(rows), length) for state in states):
        raise UserError(f"{loaded.name}: returns no hidden states for each token, so no probe can read them.")
    last = torch.tensor([len(row) - 1 for row in rows])
    return torch.stack([state[torch.arange(len(rows)), last].float().cpu() for state in states[1:]], dim=1)


def _tensor(loaded: LoadedModel, rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, device=loaded.model.device)
