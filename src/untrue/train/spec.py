"""How to train: the hyperparameters, with the paper's values as defaults (arXiv 2510.08211, appendix)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class TrainSpec(BaseModel):
    """Hyperparameters of LoRA supervised fine-tuning.

    The paper leaves warm-up, schedule and seeds unsaid: there the defaults are those of the trainer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    report_to: str = Field(
        default="none", description="Where the trainer reports to, such as `wandb` or `tensorboard`."
    )
