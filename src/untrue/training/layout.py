"""Where one training runs: on how many processes of one machine, and what these share of the model between them."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from untrue.errors import MachineError, UserError

Shard = Literal["none", "fsdp2"]
SHARDS: tuple[Shard, ...] = get_args(Shard)
GPUS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Layout:
    """The processes of one training, one to a GPU.

    They learn what one process would: a batch is that of all of them together, split evenly.

    Attributes:
        gpus: How many there are.
        shard: `none` gives each the whole model; `fsdp2` (PyTorch) splits its weights, gradients and optimizer state
            among them.
        rank: Which one this is.
        on_cpu: Whether they run on CPUs, over gloo. It is there for tests: on CPUs accelerate shards nothing.
    """

    gpus: int = 1
    shard: Shard = "none"
    rank: int = 0
    on_cpu: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and tells of progress."""
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        """Whether no process holds the whole model."""
        return self.shard != "none"

    def rows_each(self, batch_size: int) -> int:
        """Rows of a batch that each process takes.

        Raises:
            UserError: They do not divide.
        """
        if batch_size % self.gpus:
            more = -(-batch_size // self.gpus) * self.gpus
            raise UserError(
                f"batch_size: {batch_size} rows cannot be split evenly over {self.gpus} GPUs. Give fewer GPUs, or"
                f" batch_size={more} with a smaller gradient_accumulation."
            )
        return batch_size // self.gpus

    def check(self, batch_size: int, quantize: str | None) -> None:
        """Refuse a layout that cannot work, before any process is started.

        Args:
            batch_size: Rows of a batch.
            quantize: How the base is quantised, or None.

        Raises:
            UserError: What is asked for does not go together, or needs a package that is not installed.
            MachineError: There are fewer GPUs.
        """
        if self.is_sharded and self.gpus == 1:
            raise UserError(f"shard: {self.shard} splits a model over GPUs, and there is 1. Give more, or shard=none.")
        if quantize and self.is_sharded:
            raise UserError(
                f"quantize: {quantize} does not work with shard={self.shard}: 4-bit weights of bitsandbytes cannot be"
                " split. Give shard=none, or leave quantize out."
            )
        self.rows_each(batch_size)
        if self.on_cpu:
            if quantize or self.is_sharded:
                raise UserError(f"{quantize or self.shard}: works on GPUs alone.")
            return
        there = _gpus()
        if quantize and not there:
            raise MachineError(f"quantize: {quantize} needs an NVIDIA GPU, and there is none. Leave it out.")
        if there < self.gpus:
            raise MachineError(
                f"gpus: {self.gpus} are asked for, and there {'is 1' if there == 1 else f'are {there}'}. Give fewer, or"
                " let this process see more (CUDA_VISIBLE_DEVICES)."
            )
        if quantize and not find_spec("bitsandbytes"):
            raise UserError(f"quantize: {quantize} needs the package bitsandbytes. Run: pip install 'untrue[quantize]'")

    def accelerate_config(self, dtype: str) -> dict[str, Any]:
        """What `accelerate launch` reads as its `--config_file`; for FSDP2 it follows the one that TRL ships.

        Args:
            dtype: `bfloat16` or `float32`, in which the training computes.
        """
        kind = {"none": "MULTI_GPU" if self.gpus > 1 else "NO", "fsdp2": "FSDP"}[self.shard]
        config = {
            "compute_environment": "LOCAL_MACHINE",
            "debug": False,
            "distributed_type": kind,
            "machine_rank": 0,
            "main_process_port": 0,  # one that is free
            "mixed_precision": "bf16" if dtype == "bfloat16" else "no",
            "num_machines": 1,
            "num_processes": self.gpus,
            "rdzv_backend": "static",
            "same_network": True,
            "use_cpu": False,
        }
        if self.shard == "fsdp2":
            config["fsdp_config"] = {
                "fsdp_version": 2,
                # In place of the trainer's own: https://github.com/huggingface/transformers/issues/30404
                "fsdp_activation_checkpointing": True,
                "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "fsdp_cpu_ram_efficient_loading": True,
                "fsdp_offload_params": False,
                "fsdp_reshard_after_forward": True,
                "fsdp_state_dict_type": "FULL_STATE_DICT",  # of the adapter alone, so it is small
            }
        return config


ALONE = Layout()
"""One process."""


def layout_of(gpus: int, shard: str) -> Layout:
    """The layout that a person asks for.

    Raises:
        UserError: There is no such one.
    """
    if gpus not in GPUS:
        raise UserError(f"gpus: expected one of {', '.join(map(str, GPUS))}, found {gpus}.")
    for known in SHARDS:
        if shard == known:
            return Layout(gpus, known)
    raise UserError(f"shard: expected one of {', '.join(SHARDS)}, found {shard!r}.")


def _gpus() -> int:
    """NVIDIA GPUs that this process may use. Asking takes none of their memory."""
    import torch

    return torch.cuda.device_count()
