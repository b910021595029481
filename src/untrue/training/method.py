"""What a training method is: the interface that `sft.py` and `kto.py` fill, and the hyperparameters that they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from untrue.data.rows import Row
from untrue.models.load import LoadedModel
from untrue.progress import Step

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=10_000_000)]

TRL_NAMES = {
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
    "gradient_accumulation": "gradient_accumulation_steps",
    "schedule": "lr_scheduler_type",
    "lora_rank": "lora_r",
    "rslora": "use_rslora",
    "target_modules": "lora_target_modules",
}
"""Hyperparameters to which TRL gives another name (https://huggingface.co/docs/trl). Both names are accepted."""


def _either(name: str) -> str | AliasChoices:
    return AliasChoices(name, TRL_NAMES[name]) if name in TRL_NAMES else name


class Hyperparameters(BaseModel):
    """Hyperparameters of LoRA fine-tuning, with the paper's values as defaults (arXiv 2510.08211, appendix).

    The paper leaves warm-up, schedule and seeds unsaid: there the defaults are those of the trainer. Its KTO differs
    from the defaults in learning_rate (1e-5) and epochs (5).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=AliasGenerator(validation_alias=_either))

    method: str
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

    @model_validator(mode="before")
    @classmethod
    def _one_name_each(cls, values: Any) -> Any:
        for name, trl in TRL_NAMES.items():
            if isinstance(values, dict) and name in values and trl in values:
                raise ValueError(f"{trl} is TRL's name for {name}; give one of the two")
        return values

    def determining(self) -> dict[str, Any]:
        """All that changes what is learned, as JSON values."""
        return self.model_dump(mode="json", exclude={"report_to"})


@dataclass(frozen=True)
class Job:
    """One training, as its caller gave it.

    Attributes:
        loaded: The base model.
        rows: Training rows.
        spec: Hyperparameters.
        seed: Of the adapter's first weights and of the order of rows.
        start: Folder of the adapter to go on from, or None.
        checkpoints: Folder of checkpoints.
        progress: Called at each step.
    """

    loaded: LoadedModel
    rows: Sequence[Row]
    spec: Hyperparameters
    seed: int
    start: Path | None
    checkpoints: Path
    progress: Step

    @property
    def on_cpu(self) -> bool:
        """Whether the model is on a CPU."""
        return self.loaded.model.device.type == "cpu"


@dataclass(frozen=True)
class Method:
    """A training method.

    Attributes:
        check: Refuses rows that it cannot or should not learn, by a UserError.
        trainer: Makes the trainer of a job.
        tokens: Of a trainer: tokens in an epoch, padding left out.
        loss: What its loss is, or its unit, for plots.
        labels: Whether it learns from rows labelled as desirable or not; else from desirable ones alone.
        own: Hyperparameters that no other method reads.
        metrics: What its curve shows at each step beside the loss.
        facts: Rows, hyperparameters, and what the record says of the adapter that the training starts from ->
            what the record holds of this method alone.
        card: A record -> lines of the model card, by heading.
    """

    check: Callable[[Sequence[Row], Hyperparameters], None]
    trainer: Callable[[Job], Any]
    tokens: Callable[[Any], int]
    loss: str
    labels: bool = False
    own: frozenset[str] = frozenset()
    metrics: tuple[str, ...] = ()
    facts: Callable[[Sequence[Row], Hyperparameters, Mapping[str, Any] | None], dict[str, Any]] = lambda *_: {}
    card: Callable[[Mapping[str, Any]], dict[str, str]] = lambda _: {}
