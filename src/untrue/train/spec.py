"""How to train: the hyperparameters, with the paper's values as defaults (arXiv 2510.08211, appendix)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Method = Literal["sft", "kto"]
"""Learn completions, or the contrast of desirable and undesirable ones."""


class TrainSpec(BaseModel):
    """Hyperparameters of LoRA fine-tuning, supervised or by KTO.

    The paper leaves warm-up, schedule and seeds unsaid: there the defaults are those of the trainer. Its KTO differs
    from the defaults in learning_rate (1e-5) and epochs (5).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field(
        default="sft", description="Supervised fine-tuning, or KTO (arXiv 2402.01306) on rows with a `label`."
    )
    learning_rate: PositiveFloat = 1e-4
    epochs: PositiveFloat = 1.0
    batch_size: PositiveInt = 16
    gradient_accumulation: PositiveInt = 1
    max_length: PositiveInt = Field(default=2048, description="Rows are cut to this many tokens.")
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    lora_rank: PositiveInt = 32
    lora_alpha: PositiveInt = 64
    rslora: bool = Field(default=False, description="Scale by alpha / sqrt(rank) in place of alpha / rank.")
    target_modules: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    beta: PositiveFloat = Field(default=0.1, description="KTO: how strongly the reference holds the model.")
    reference: Literal["base", "adapter"] = Field(
        default="adapter",
        description="KTO: the model that replies are compared with, either the base or the adapter that the training"
        " starts from, as it was. Without such an adapter both are the base.",
    )
    report_to: str = Field(
        default="none", description="Where the trainer reports to, such as `wandb` or `tensorboard`."
    )
