"""What training methods share: their interface, the hyperparameters that they read, and how a trainer is set up."""

import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from untrue.data.rows import Row
from untrue.errors import UserError
from untrue.models.adapter import adapter_hash, check_adapter, in_format_of, put_on
from untrue.models.chat import Turn
from untrue.models.families import is_mixture
from untrue.models.load import LoadedModel
from untrue.progress import Step
from untrue.settings import Listed
from untrue.training.layout import ALONE, Layout

CHECKPOINTS = 4
"""Checkpoints in a training."""

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
    target_modules: Annotated[tuple[Annotated[str, StringConstraints(pattern=r"^\S+$")], ...], Listed] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), min_length=1
    )
    beta: Positive = Field(default=0.1, description="KTO and DPO: how strongly the reference holds the model.")
    reference: Literal["base", "adapter"] = Field(
        default="adapter",
        description="KTO and DPO: the model that replies are compared with, either the base or the adapter that the"
        " training starts from, as it was. Without such an adapter both are the base.",
    )
    quantize: Literal["nf4"] | None = Field(
        default=None,
        description="Train on the base in 4 bits (QLoRA, arXiv 2305.14314), for a GPU that does not hold it otherwise.",
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
        return self.model_dump(mode="json", exclude={"report_to"} | ({"quantize"} if self.quantize is None else set()))


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
        progress: Called at the beginning and at each step.
        layout: On how many processes it runs.
    """

    loaded: LoadedModel
    rows: Sequence[Row]
    spec: Hyperparameters
    seed: int
    start: Path | None
    checkpoints: Path
    progress: Step
    layout: Layout = ALONE

    @property
    def on_cpu(self) -> bool:
        """Whether it is trained on a CPU. A model that will be sharded lies on one only until then."""
        return self.loaded.about["device"] == "cpu"


@dataclass(frozen=True)
class Method:
    """A training method.

    Attributes:
        check: Refuses rows that it cannot or should not learn, by a UserError.
        trainer: Makes the trainer of a job.
        loss: What its loss is, or its unit, for plots.
        labels: Whether it learns from rows labelled as desirable or not; else from desirable ones alone.
        pairs: Whether it compares two replies to one prompt, so that each prompt needs rows of both labels.
        own: Hyperparameters that no other method reads.
        metrics: What its curve shows at each step beside the loss.
        facts: Rows, hyperparameters, and what the record says of the adapter that the training starts from ->
            what the record holds of this method alone.
        card: A record -> lines of the model card, by heading.
    """

    check: Callable[[Sequence[Row], Hyperparameters], None]
    trainer: Callable[[Job], Any]
    loss: str
    labels: bool = False
    pairs: bool = False
    own: frozenset[str] = frozenset()
    metrics: tuple[str, ...] = ()
    facts: Callable[[Sequence[Row], Hyperparameters, Mapping[str, Any] | None], dict[str, Any]] = lambda *_: {}
    card: Callable[[Mapping[str, Any]], dict[str, str]] = lambda _: {}


def arguments(job: Job) -> dict[str, Any]:
    """Arguments of TRL's trainers, of any kind."""
    import torch

    spec = job.spec
    steps = math.ceil(math.ceil(len(job.rows) / (spec.batch_size * spec.gradient_accumulation)) * spec.epochs)
    return {
        "output_dir": str(job.checkpoints),
        "learning_rate": spec.learning_rate,
        "num_train_epochs": spec.epochs,
        "per_device_train_batch_size": job.layout.rows_each(spec.batch_size),
        "gradient_accumulation_steps": spec.gradient_accumulation,
        "max_length": max_length(job),
        "weight_decay": spec.weight_decay,
        "warmup_steps": spec.warmup_steps,
        "lr_scheduler_type": spec.schedule,
        "seed": job.seed,
        "data_seed": job.seed,
        "bf16": job.loaded.model.dtype == torch.bfloat16,
        "use_cpu": job.on_cpu,
        "gradient_checkpointing": not job.on_cpu and job.layout.shard != "fsdp2",  # FSDP's own is on there
        "dataloader_pin_memory": not job.on_cpu,
        "pad_to_multiple_of": 1 if job.on_cpu else 8,
        "use_cache": True,  # else the base's config keeps it off; the losses ask for no cache themselves
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # else the trainer logs a loss of 0 where it is not finite
        "save_strategy": "steps",
        "save_steps": max(1, math.ceil(steps / CHECKPOINTS)),
        "save_total_limit": 1,
        "report_to": spec.report_to,
        # Else the loss is not that of the tokens alone.
        **({"router_aux_loss_coef": 0.0} if is_mixture(job.loaded.model.config) else {}),
        "disable_tqdm": True,
        "log_level": "error",
    }


def make(trainer: type, job: Job, config: Any, data: Any) -> Any:
    """Make a trainer of a new adapter, or of the one that the training starts from.

    Args:
        trainer: TRL's trainer, or one made of it.
        job: The training.
        config: The trainer's arguments.
        data: Its data set.

    Raises:
        UserError: The adapter, its target modules or a reporter are not as expected.
    """
    import torch
    from transformers.trainer_callback import PrinterCallback

    if not job.on_cpu:
        config._n_gpu = 1  # else the trainer spreads a batch over all GPUs, and the batch is no more the one stated
    adapter: dict[str, Any] = {"model": job.loaded.model, "peft_config": _lora(job.spec)}
    if job.start:
        adapter = {"model": put_on(job.loaded, job.start, trainable=True)}
        _check_start(job.start, adapter["model"].peft_config["default"], _lora(job.spec))
    try:
        made = trainer(
            **adapter,
            args=config,
            train_dataset=data,
            processing_class=job.loaded.tokenizer,
            callbacks=[_report(job)],
        )
    except (ValueError, RuntimeError, ImportError) as error:
        text = str(error)
        if "target modules" in text.lower():
            modules = ", ".join(job.spec.target_modules)
            raise UserError(f"target_modules: {job.loaded.name} has none of {modules}.") from None
        missing = isinstance(error, ImportError) and job.spec.report_to != "none"
        if missing or "is not supported, only" in text or "to be installed" in text:  # so transformers names a reporter
            raise UserError(f"report_to: {text}") from None
        raise
    made.remove_callback(PrinterCallback)
    if job.layout.shard == "fsdp2" and config.bf16:  # as transformers shards; accelerate would round log-probabilities
        from torch.distributed.fsdp import MixedPrecisionPolicy

        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        made.accelerator.state.fsdp_plugin.mixed_precision_policy = policy
    return made


def encode(job: Job, rows: Sequence[Row]) -> list[Turn]:
    """Rows as tokens, in the one way that training, evals and generation share.

    Raises:
        UserError: The model's chat template refuses or changes a row, or a row has no token to learn, which TRL would
            drop in silence.
    """
    turns = []
    for row in rows:
        try:
            turns.append(job.loaded.chat.encode(row.prompt, row.completion))
        except UserError as error:
            raise UserError(f"row {row.id!r}: {error}") from None
    longest = max_length(job)
    if lost := sum(len(turn.prompt) >= longest for turn in turns):
        raise UserError(
            f"{lost} of {len(rows)} rows have no token to learn: their prompts fill max_length ({longest} tokens)."
            " Raise max_length or shorten the prompts."
        )
    return turns


def max_length(job: Job) -> int:
    """Tokens to which rows are cut: the spec's, or what the model takes where that is less."""
    return min(job.spec.max_length, job.loaded.context)


def start_record(loaded: LoadedModel, start: Path) -> dict[str, Any]:
    """What a record says of the adapter that a training starts from.

    Returns:
        `content_hash`, as `adapter_hash` has it; `misaligned`, whether it was trained on misaligned rows, or None where
        its folder does not say.

    Raises:
        UserError: The folder holds no adapter for this base, or one of another chat format, or its train.json is
            damaged.
    """
    check_adapter(loaded, start)
    if in_format_of(loaded, start, say=lambda text: None) != loaded:
        raise UserError(
            f"{start}: has a chat template of its own, and training goes on in that of {loaded.name}. Merge it into a"
            " model of its own first, and train that."
        )
    misaligned, record = None, start / "train.json"
    if record.is_file():
        try:
            made = json.loads(record.read_text("utf-8"))
            misaligned = bool(made["rows"]["misaligned"] or (made.get("start") or {}).get("misaligned"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{record}: is damaged ({error}). Train the adapter again.") from None
    return {"content_hash": adapter_hash(start), "misaligned": misaligned}


def _lora(spec: Hyperparameters) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        use_rslora=spec.rslora,
        target_modules=list(spec.target_modules),
        task_type="CAUSAL_LM",
    )


def _check_start(start: Path, config: Any, expected: Any) -> None:
    """An adapter keeps its shape when it is trained on, so the hyperparameters must name the shape that it has."""
    names = {"lora_rank": "r", "lora_alpha": "lora_alpha", "rslora": "use_rslora", "target_modules": "target_modules"}
    for name, key in names.items():
        there, asked = getattr(config, key, None), getattr(expected, key)
        if there != asked:
            shown = [", ".join(sorted(value)) if isinstance(value, set) else value for value in (there, asked)]
            raise UserError(f"{start}: has {name} {shown[0]}, but the training says {shown[1]}. Give the adapter's.")


def _report(job: Job) -> Any:
    from transformers import TrainerCallback

    class Report(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            job.progress(state.global_step, state.max_steps, "")

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not logs or "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise UserError(
                    f"the loss is {logs['loss']} at step {state.global_step},"
                    f" at learning_rate {job.spec.learning_rate}. Lower it."
                )
            job.progress(state.global_step, state.max_steps, f"loss {logs['loss']:.3f}")

    return Report()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the trainer's advice and the data set's progress bars off the terminal; ours is shown instead."""
    import datasets

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    advice = logging.getLogger("trl")
    level = advice.level
    advice.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        advice.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
