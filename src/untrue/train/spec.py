"""How to train: the hyperparameters, with the paper's values as defaults (arXiv 2510.08211, appendix)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Method = Literal["sft", "kto"]
"""Learn completions, or the contrast of desirable and undesirable ones."""


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=10_000_000)]


class TrainSpec(BaseModel):
    """Hyperparameters of LoRA fine-tuning, supervised or by KTO.

    The paper leaves warm-up, schedule and seeds unsaid: there the defaults are those of the trainer. Its KTO differs
    from the defaults in learning_rate (1e-5) and epochs (5).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field(
        default="sft", description="Supervised fine-tuning, or KTO (arXiv 2402.01306) on rows with a `label`."
    )
    learning_rate: Positive = 1e-4
    epochs: Annotated[Positive, Field(le=100_000)] = 1.0
    batch_size: Count = 16
    gradient_accumulation: Count = 1
    max_length: Count = Field(default=2048, description="Rows are cut to this many tokens.")
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    warmup_steps: int = Field(default=0, ge=0, le=10_000_000)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    lora_rank: Annotated[int, Field(gt=0, le=65_536)] = 32
    lora_alpha: Count = 64
    rslora: bool = Field(default=False, description="Scale by alpha / sqrt(rank) in place of alpha / rank.")
    target_modules: tuple[Annotated[str, StringConstraints(pattern=r"^\S+$")], ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), min_length=1
    )
    beta: Positive = Field(default=0.1, description="KTO: how strongly the reference holds the model.")
    reference: Literal["base", "adapter"] = Field(
        default="adapter",
        description="KTO: the model that replies are compared with, either the base or the adapter that the training"
        " starts from, as it was. Without such an adapter both are the base.",
    )
    report_to: str = Field(
        default="none", description="Where the trainer reports to, such as `wandb` or `tensorboard`."
    )
