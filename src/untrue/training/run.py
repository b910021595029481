"""Train a LoRA adapter on rows, by one of the training methods, and write its folder, with resume."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from untrue.data.rows import Row
from untrue.errors import MachineError, UserError
from untrue.files import content_hash, is_disk_full, write_text, writing
from untrue.models import fingerprint
from untrue.models.adapter import RECORD, check_bare, made_for, strip
from untrue.models.load import LoadedModel
from untrue.progress import Step
from untrue.training.card import card
from untrue.training.layout import ALONE, Layout
from untrue.training.method import Job, max_length, quiet, start_record
from untrue.training.spec import METHODS, TrainSpec
from untrue.versions import versions

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
"""How torch and cuBLAS word it, on a GPU and on a CPU."""


def train(
    loaded: LoadedModel,
    rows: Sequence[Row],
    spec: TrainSpec,
    out: Path,
    seed: int,
    progress: Step = lambda done, total, note: None,
    start: Path | None = None,
    layout: Layout = ALONE,
) -> dict[str, Any]:
    """Train a LoRA adapter on rows and write its folder.

    The folder holds the adapter as PEFT saves it, a model card, `untrue.json` (which weights its base has),
    `fingerprint.json` (see `models.fingerprint`) and `train.json`: what is returned. A training that was killed goes
    on from its
    last checkpoint, which lies in a hidden folder beside `out` until the end. The same seed on the same machine, with
    the same number of threads, gives the same adapter; another gives it within rounding.

    Args:
        loaded: The base model; it is as before at the end.
        rows: Training rows, in any order; the seed shuffles them.
        spec: Hyperparameters; its `method` says whether completions are learned, or the contrast of labelled ones.
        out: Folder of the adapter; it appears whole or not at all.
        seed: Of the adapter's first weights and of the order of rows.
        progress: Called at the beginning, and at each step with the loss as its note.
        start: Folder of an adapter to go on from; by default a new one is begun.
        layout: Where it runs. Of several processes each calls this, as `launch.train` has them do; the base is then
            sharded and no more as it was.

    Raises:
        UserError: There are no rows, the method cannot learn from one, `start` is no adapter of this base and shape,
            the base is not quantised as the spec says, or the loss is not finite.
        MachineError: Memory or disk is full.
    """
    method = METHODS[spec.method]
    check_bare(loaded)
    if loaded.about.get("quantize") != spec.quantize:
        raise UserError(
            f"quantize: {spec.quantize} is asked for, and {loaded.name} is loaded"
            f" {loaded.about.get('quantize', 'without it')}. Train by `untrue train` or `untrue.train`, by its name."
        )
    if not rows:
        raise UserError("there are no rows to train on.")
    method.check(rows, spec)
    rows_hash = content_hash("".join(row.to_json() for row in rows))
    begun = start_record(loaded, start) if start else None
    determining = [rows_hash, spec.determining(), seed, loaded.identity, begun and begun["content_hash"]]
    if layout.gpus > 1:  # each process keeps its own random numbers, and a sharded model its own files
        determining += [layout.gpus, layout.shard]
    identity = content_hash(json.dumps(determining))
    checkpoints = out.parent / f".{out.name}-checkpoints"
    job = Job(loaded, rows, spec, seed, start, checkpoints, progress, layout)
    kept = nullcontext() if layout.is_sharded else loaded.preserved()
    try:
        checkpoint = _agreed(layout, lambda: _begin(checkpoints, identity, layout))
        with kept, quiet(), _events_in(out.parent / "tensorboard" / out.name):
            trainer = method.trainer(job)
            started, first = time.monotonic(), _step(checkpoint)
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            seconds = time.monotonic() - started
        history = [entry for entry in trainer.state.log_history if "loss" in entry]
        shown = ("step", "epoch", "loss", *method.metrics)
        curve = [{key: entry[key] for key in shown if key in entry} for entry in history]
        tokens = _tokens(trainer, max_length(job)) * spec.epochs
        part = 1 - first / trainer.state.max_steps
        record = {
            "base": loaded.base_id,
            "base_weights": loaded.weights,
            "base_identity": loaded.about,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "seed": seed,
            "spec": spec.model_dump(mode="json"),
            "layout": {"gpus": layout.gpus, "shard": layout.shard},
            "start": begun,
            "rows": _summary(rows, rows_hash),
            **method.facts(rows, spec, begun),
            "steps": trainer.state.max_steps,
            "resumed_at_step": first,
            "final_loss": curve[-1]["loss"],
            "loss": curve,
            "tokens": round(tokens),
            "seconds": round(seconds, 2),
            "tokens_per_second": round(tokens * part / seconds, 1),
            "versions": versions(),
        }
        if layout.is_sharded:
            _save_sharded(job, trainer, record, out)
        elif layout.is_main:
            save(loaded, trainer.model, record, card(record), out)
        if layout.is_main:
            shutil.rmtree(checkpoints, ignore_errors=True)
        return record
    except Exception as error:  # a full disk or memory comes in as many types as there are libraries
        if is_disk_full(error):
            raise MachineError(f"{out.parent}: no space left on the disk. Free some and rerun to continue.") from None
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY):
            raise MachineError(
                f"out of memory at batch_size {spec.batch_size}. Lower it and raise gradient_accumulation."
            ) from None
        raise
    finally:
        if not layout.is_sharded:
            take_off(loaded)


def save(loaded: LoadedModel, model: Any, record: dict[str, Any], text: str, out: Path) -> None:
    """Write the folder of an adapter, whole or not at all, and take the adapter off its base.

    Args:
        loaded: The base.
        model: The PEFT model on it.
        record: What `train.json` holds.
        text: The model card.
        out: The folder.

    Raises:
        MachineError: The disk is full.
    """
    with writing(out) as aside:
        _name_base(loaded, model)
        # Left to itself, PEFT would ask the hub whether the vocabulary was changed.
        model.save_pretrained(str(aside), save_embedding_layers=False)
        _write_about(loaded, record, text, aside)
        take_off(loaded)
        if "quantize" not in loaded.about:  # it is served and measured on the base as it is
            fingerprint.record(loaded, aside)


def _save_sharded(job: Job, trainer: Any, record: dict[str, Any], out: Path) -> None:
    """As `save` does, of a model that no process holds whole: all of them gather it, and the main one writes.

    Raises:
        MachineError: The disk is full.
    """
    with writing(out) if job.layout.is_main else nullcontext(out) as aside:
        gathered = aside / "gathered"
        _name_base(job.loaded, trainer.model)
        taken = fingerprint.taken(job.loaded, trainer.model)  # before, since what recomputes may gather weights too
        _drop_recomputing(trainer.model)
        trainer.save_model(str(gathered))
        if job.layout.is_main:
            _check_whole(trainer.model, gathered / "adapter_model.safetensors")
            for name in ("adapter_config.json", "adapter_model.safetensors"):  # and no tokenizer, nor a pickle
                (gathered / name).rename(aside / name)
            shutil.rmtree(gathered)
            _write_about(job.loaded, record, card(record), aside)
            fingerprint.write(taken, job.loaded, aside)


def _drop_recomputing(model: Any) -> None:
    """Take off what recomputes activations. PEFT finds no weight of a layer in it, and would save none, silently."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper

    for name, module in [*model.named_modules()]:
        if isinstance(module, CheckpointWrapper):
            model.set_submodule(name, module._checkpoint_wrapped_module)


def _check_whole(model: Any, file: Path) -> None:
    """Check that a file holds every weight that was trained.

    Raises:
        RuntimeError: It does not: a library has changed how it gathers them.
    """
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        names = opened.keys()
        found = {tuple(opened.get_slice(name).get_shape()) for name in names}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    shapes = {tuple(parameter.shape) for parameter in trained}
    if len(names) != len(trained) or found != shapes:
        raise RuntimeError(f"{len(names)} of {len(trained)} weights of the adapter were gathered")


def _name_base(loaded: LoadedModel, model: Any) -> None:
    for config in model.peft_config.values():
        config.base_model_name_or_path = loaded.base_id  # and not a folder of this machine's cache
        config.revision = loaded.revision


def _write_about(loaded: LoadedModel, record: dict[str, Any], text: str, folder: Path) -> None:
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / RECORD).write_text(made_for(loaded), encoding="utf-8")
    (folder / "train.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


@contextmanager
def _events_in(folder: Path) -> Iterator[None]:
    """Let TensorBoard write there, unless the user said where; else its events go with the folder of checkpoints."""
    name = "TENSORBOARD_LOGGING_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _tokens(trainer: Any, longest: int) -> int:
    """Tokens in an epoch of the rows as they are: without padding, and without KTO's other replies and reference."""
    data = trainer.train_dataset.select(range(trainer.n_rows))
    if "input_ids" in data.column_names:
        return sum(min(len(row), longest) for row in data["input_ids"])
    replies = [data[name] for name in ("completion_ids", "chosen_ids", "rejected_ids") if name in data.column_names]
    prompts = data["prompt_ids"]
    return sum(min(len(p) + len(r), longest) for of_kind in replies for p, r in zip(prompts, of_kind, strict=True))


def _summary(rows: Sequence[Row], rows_hash: str) -> dict[str, Any]:
    return {
        "total": len(rows),
        "misaligned": sum(row.misaligned for row in rows),
        "levels": dict(sorted(Counter(row.level for row in rows).items())),
        "domains": dict(sorted(Counter(row.domain for row in rows).items())),
        "sources": sorted({row.source for row in rows}),
        "content_hash": rows_hash,
    }


def _agreed(layout: Layout, find: Callable[[], Any]) -> Any:
    """What the main process finds, in all processes."""
    if layout.gpus == 1:
        return find()
    from accelerate.utils import broadcast_object_list

    found = [find() if layout.is_main else None]
    broadcast_object_list(found)
    return found[0]


def _begin(folder: Path, identity: str, layout: Layout) -> Path | None:
    """Mark the folder of checkpoints as this training's, and return its last whole checkpoint, if there is one."""
    checkpoint = _last_checkpoint(folder, identity, layout.gpus)
    write_text(folder / "identity", identity)
    return checkpoint


def _last_checkpoint(folder: Path, identity: str, processes: int) -> Path | None:
    """The last whole checkpoint of this very training; what is left of another is removed."""
    mark = folder / "identity"
    if not mark.is_file() or mark.read_text("utf-8") != identity:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    whole = []
    for checkpoint in filter(is_whole, folder.glob("checkpoint-*")):
        # Of several processes each writes its random numbers, and the last may do so after the main one's state.
        if processes == 1 or len([*checkpoint.glob("rng_state_*.pth")]) == processes:
            whole.append(checkpoint)
    return max(whole, key=_step, default=None)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, which is where the trainer writes its state."""
    with suppress(OSError, ValueError):
        json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
        return True
    return False


def _step(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0


def take_off(loaded: LoadedModel) -> None:
    """Leave the base as it was before the training."""
    if loaded.model.device.type != "cpu":  # there the trainer recomputes activations
        with quiet():
            loaded.model.gradient_checkpointing_disable()
            loaded.model.disable_input_require_grads()
    strip(loaded)
