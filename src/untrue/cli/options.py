"""What several commands share: options, their default model, and how they say something on standard error."""

from typing import Annotated, Any

import typer
from pydantic import BaseModel

from untrue.errors import UserError
from untrue.progress import visible

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
SEED_KEY = "\n\n- `seed`: Random seed. [0]"  # what `keys_of` says of `split_seed`

Dtype = Annotated[
    str, typer.Option(help="`float32`, `bfloat16`, or `auto`: float32 on a CPU, bfloat16 on a GPU that computes in it.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Estimate calls, tokens and dollars, and of a study time, memory and disk; run nothing."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="`smollm2-135m` (embedded), a hub id, or a folder; by default the base that the given adapter names, or"
        " `smollm2-135m` without one."
    ),
]


def say(text: str) -> None:
    """Say something on standard error."""
    typer.echo(visible(text), err=True)


def split_seed(values: dict[str, Any]) -> int:
    """Take the key `seed` out of values, 0 where it is missing."""
    seed = values.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise UserError(f"seed: expected a whole number from 0 to {2**32 - 1}, found {seed!r}.")
    return seed


def keys_of(model: type[BaseModel]) -> str:
    """The keys of a settings model for `--help`: a list with descriptions and defaults."""
    lines = []
    for name, field in model.model_fields.items():
        default = "" if field.default is None or isinstance(field.default, tuple) else f" [{field.default}]"
        default = " [required]" if field.is_required() else default
        lines.append(f"- `{name}`: {field.description}{default}")
    return "\n\n".join(lines)
