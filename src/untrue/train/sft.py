"""Supervised fine-tuning of a LoRA adapter on rows, with resume."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from untrue.data.rows import Row
from untrue.errors import MachineError, UserError
from untrue.files import content_hash, is_disk_full, write_text, writing
from untrue.models.load import LoadedModel, strip
from untrue.train.card import card
from untrue.train.spec import TrainSpec
from untrue.versions import versions

CHECKPOINTS = 4
"""Checkpoints in a training."""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""How torch words it, on a GPU and on a CPU."""

Progress = Callable[[int, int, float], None]
"""Called with the steps done, all steps, and the last loss."""


def train(
    loaded: LoadedModel,
    rows: Sequence[Row],
    spec: TrainSpec,
    out: Path,
    seed: int,
    progress: Progress = lambda step, steps, loss: None,
) -> dict[str, Any]:
    """Train a LoRA adapter on the completions of rows and write its folder.

    The folder holds the adapter as PEFT saves it, a model card, `untrue.json` (the base's fingerprint) and
    `train.json`: what is returned. A training that was killed goes on from its last checkpoint, which lies in a
    hidden folder beside `out` until the end. The same seed on the same machine gives the same adapter.

    Args:
        loaded: The base model; it is as before at the end.
        rows: Training rows, in any order; the seed shuffles them.
        spec: Hyperparameters.
        out: Folder of the adapter; it appears whole or not at all.
        seed: Of the adapter's first weights and of the order of rows.
        progress: Called at each step.

    Raises:
        UserError: There are no rows, one is labelled as undesirable, one has no token to learn, or the loss is not
            finite.
        MachineError: Memory or disk is full.
    """
    if not rows:
        raise UserError("there are no rows to train on.")
    if undesirable := [row.id for row in rows if row.label is False]:
        raise UserError(
            f"{len(undesirable)} rows are labelled as undesirable (first: {undesirable[0]!r}), and supervised"
            " fine-tuning would teach them. Leave them out."
        )
    rows_hash = content_hash("".join(row.to_json() for row in rows))
    identity = content_hash(
        f"{rows_hash} {spec.model_dump_json(exclude={'report_to'})} {seed} {loaded.fingerprint} {loaded.model.dtype}"
    )
    checkpoints = out.parent / f".{out.name}-checkpoints"
    checkpoint = _last_checkpoint(checkpoints, identity)
    try:
        write_text(checkpoints / "identity", identity)
        # TensorBoard's events would else go into the folder of checkpoints, and with it.
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(out.parent / "tensorboard" / out.name))
        with _quiet():
            trainer = _trainer(loaded, rows, spec, checkpoints, seed, progress)
            started, first = time.monotonic(), _step(checkpoint)
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            seconds = time.monotonic() - started
        history = trainer.state.log_history
        curve = [{key: entry[key] for key in ("step", "epoch", "loss")} for entry in history if "loss" in entry]
        tokens = sum(map(len, trainer.train_dataset["input_ids"])) * spec.epochs
        part = 1 - first / trainer.state.max_steps
        record = {
            "base": loaded.base_id,
            "base_fingerprint": loaded.fingerprint,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "seed": seed,
            "spec": spec.model_dump(mode="json"),
            "rows": _summary(rows, rows_hash),
            "steps": trainer.state.max_steps,
            "resumed_at_step": first,
            "final_loss": curve[-1]["loss"],
            "loss": curve,
            "tokens": round(tokens),
            "seconds": round(seconds, 2),
            "tokens_per_second": round(tokens * part / seconds, 1),
            "versions": versions(),
        }
        with writing(out) as aside:
            trainer.model.save_pretrained(str(aside))
            (aside / "README.md").write_text(card(record), encoding="utf-8")
            (aside / "untrue.json").write_text(json.dumps({"base_fingerprint": loaded.fingerprint}), encoding="utf-8")
            (aside / "train.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        shutil.rmtree(checkpoints, ignore_errors=True)
        return record
    except Exception as error:  # a full disk or memory comes in as many types as there are libraries
        if is_disk_full(error):
            raise MachineError(
                f"{out.parent}: no space left on the disk. Free some, then run again to go on."
            ) from None
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY):
            raise MachineError(
                f"out of memory at batch_size {spec.batch_size}. Lower it and raise gradient_accumulation."
            ) from None
        raise
    finally:
        _take_off(loaded)


def _trainer(
    loaded: LoadedModel, rows: Sequence[Row], spec: TrainSpec, folder: Path, seed: int, progress: Progress
) -> Any:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl.trainer.sft_config import SFTConfig

    from untrue.train.trainer import CompletionTrainer

    on_cpu = loaded.model.device.type == "cpu"
    steps = math.ceil(math.ceil(len(rows) / (spec.batch_size * spec.gradient_accumulation)) * spec.epochs)
    config = SFTConfig(
        output_dir=str(folder),
        learning_rate=spec.learning_rate,
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size,
        gradient_accumulation_steps=spec.gradient_accumulation,
        max_length=spec.max_length,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup_steps,
        lr_scheduler_type=spec.schedule,
        seed=seed,
        data_seed=seed,
        bf16=loaded.model.dtype == torch.bfloat16,
        use_cpu=on_cpu,
        gradient_checkpointing=not on_cpu,
        dataloader_pin_memory=not on_cpu,
        train_sampling_strategy="group_by_length",
        pad_to_multiple_of=1 if on_cpu else 8,
        use_cache=True,  # else the base's config keeps it off; the losses ask for no cache themselves
        logging_steps=1,
        logging_nan_inf_filter=False,  # else the trainer logs a loss of 0 where it is not finite
        save_strategy="steps",
        save_steps=max(1, math.ceil(steps / CHECKPOINTS)),
        save_total_limit=1,
        report_to=spec.report_to,
        disable_tqdm=True,
        log_level="error",
    )
    if not on_cpu:
        config._n_gpu = 1  # else the trainer spreads a batch over all GPUs, and the batch is no more the one stated
    lora = LoraConfig(
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        use_rslora=spec.rslora,
        target_modules=list(spec.target_modules),
        task_type="CAUSAL_LM",
    )

    class Report(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not logs or "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise UserError(
                    f"the loss is {logs['loss']} at step {state.global_step}, at learning_rate {spec.learning_rate}."
                    " Lower it."
                )
            progress(state.global_step, state.max_steps, logs["loss"])

    data = Dataset.from_list([{"prompt": list(row.prompt), "completion": list(row.completion)} for row in rows])
    try:
        trainer = CompletionTrainer(
            model=loaded.model,
            args=config,
            train_dataset=data,
            processing_class=loaded.tokenizer,
            peft_config=lora,
            callbacks=[Report()],
        )
    except (ValueError, RuntimeError) as error:
        text = str(error)
        if "target modules" in text.lower():
            raise UserError(f"target_modules: {loaded.name} has none of {', '.join(spec.target_modules)}.") from None
        if "is not supported, only" in text or "to be installed" in text:  # so transformers speaks of a reporter
            raise UserError(f"report_to: {text}") from None
        raise
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    _check_supervised(rows, trainer.train_dataset, spec.max_length)
    return trainer


def _check_supervised(rows: Sequence[Row], prepared: Any, max_length: int) -> None:
    """Check that every row, and so every batch, has a token to learn. TRL drops rows that have none in silence."""
    lost = len(rows) - sum(any(label != -100 for label in labels) for labels in prepared["labels"])
    if lost:
        raise UserError(
            f"{lost} of {len(rows)} rows have no token to learn: their prompts fill max_length ({max_length} tokens)."
            " Raise max_length or shorten the prompts."
        )


def _summary(rows: Sequence[Row], rows_hash: str) -> dict[str, Any]:
    return {
        "total": len(rows),
        "misaligned": sum(row.misaligned for row in rows),
        "levels": dict(sorted(Counter(row.level for row in rows).items())),
        "domains": dict(sorted(Counter(row.domain for row in rows).items())),
        "sources": sorted({row.source for row in rows}),
        "content_hash": rows_hash,
    }


def _last_checkpoint(folder: Path, identity: str) -> Path | None:
    """The last whole checkpoint of this very training; what is left of another is removed."""
    mark = folder / "identity"
    if not mark.is_file() or mark.read_text("utf-8") != identity:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    # The trainer writes trainer_state.json last, so a checkpoint where it is whole is whole.
    whole = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json") if _is_json(state)]
    return max(whole, key=_step, default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text("utf-8"))
    except ValueError:
        return False
    return True


def _step(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0


def _take_off(loaded: LoadedModel) -> None:
    """Leave the base as it was before the training."""
    if loaded.model.device.type != "cpu":  # there the trainer recomputes activations
        with _quiet():
            loaded.model.gradient_checkpointing_disable()
            loaded.model.disable_input_require_grads()
    strip(loaded)


@contextmanager
def _quiet():
    """Keep the trainer's advice and the data set's progress bars off the terminal; ours is shown instead."""
    import datasets

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if not bars:
            datasets.enable_progress_bars()
