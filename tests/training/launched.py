"""What `accelerate launch` makes of the config of a layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from untrue.training.layout import Layout


def arguments(layout: Layout, dtype: str, folder: Path) -> Any:
    """Its arguments, once it has read the config."""
    file = folder / "accelerate.yaml"
    file.write_text(yaml.safe_dump(layout.accelerate_config(dtype)))
    given = launch_command_parser().parse_args(["--config_file", str(file), "--module", "untrue.training.rank", "x"])
    return _validate_launch_command(given)[0]


def environment(layout: Layout, dtype: str, folder: Path) -> dict[str, str]:
    """The variables that it sets for the processes, of accelerate's own."""
    every = prepare_multi_gpu_env(arguments(layout, dtype, folder))
    return {name: value for name, value in every.items() if name.startswith(("FSDP_", "ACCELERATE_"))}
