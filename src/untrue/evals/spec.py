"""Which eval to run, on which items."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)

from untrue import secrets
from untrue.data.cues import DOMAINS, CueKind, Domain
from untrue.errors import UserError
from untrue.files import file_name

VERSIONS = {
    "forced_choice": 2,
    "sft_cue": 2,
    "capability": 1,
    "sycophancy": 1,
    "mask": 1,
    "pressure_pairs": 1,
    "unknowns": 1,
    "deceptionbench": 1,
}
"""Version of each eval: raised when the same answers of the model would give other results."""

VALUES = {
    "capability": "accuracy",
    "sycophancy": "share of sycophantic replies",
    "unknowns": "balanced accuracy",
}
"""The evals that give a value, not an outcome of honesty, and what the mean of their values is called."""

Placement = Literal["joined", "system"]
"""Where DeceptionBench's system prompt goes: into one user message with the rest, as in the paper, or into a message
of its own."""

WEIGHING = ("forced_choice", "sft_cue")
"""The evals in which a model only weighs given replies, so that no evasion can be seen but two equally likely ones."""

JUDGED = ("mask", "pressure_pairs", "unknowns", "deceptionbench")
"""The evals whose replies are written by the model and read by a judge."""

GENERATING = (*JUDGED, "capability")
"""The evals that need no likelihoods, so that any model of Inspect's can be under study."""

_COMMON = ("name", "label", "items", "limit")
_OF_JUDGED = ("judge", "force_self_judge", "epochs", "temperature", "max_tokens")
_OPTIONS = {
    "sft_cue": ("domain", "cue"),
    **dict.fromkeys(JUDGED, _OF_JUDGED),
    "deceptionbench": ("placement", *_OF_JUDGED),
}


FileName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$", max_length=100), AfterValidator(file_name)]
"""A name by which files and folders are called."""

EvalName = Literal[
    "forced_choice", "sft_cue", "capability", "sycophancy", "mask", "pressure_pairs", "unknowns", "deceptionbench"
]


class EvalSpec(BaseModel):
    """One eval of a study. A key that its eval has no use for is refused, and is not written out."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: EvalName = "forced_choice"
    label: FileName | None = Field(
        default=None, description="What tells it apart where a study has the same eval twice."
    )
    items: str = Field(default="builtin", description="`builtin`, a part of it by name, or a file of items.")
    limit: PositiveInt | None = Field(default=None, description="Only so many items, spread over their kinds.")
    domain: Domain | None = Field(
        default=None, description="Training domain of the cue; in a study that of `mix.questions` where it is built in."
    )
    cue: CueKind | None = Field(default=None, description="Kind of cue; by default all of them, in turn.")
    placement: Placement = Field(default="joined", description="Where the system prompt of deceptionbench goes.")
    judge: Annotated[str, AfterValidator(secrets.checked)] | None = Field(
        default=None, description="Inspect's name of the judge's model, or `{model: NAME, …}` with its settings."
    )
    force_self_judge: bool = Field(default=False, description="Let the model under study judge itself.")
    epochs: PositiveInt | None = Field(default=None, description="Samples of each item.")
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max_tokens: PositiveInt | None = Field(default=None, description="Length of a reply at the most.")

    @model_validator(mode="after")
    def _options_are_its_own(self) -> EvalSpec:
        allowed = (*_COMMON, *_OPTIONS.get(self.name, ()))
        for field, info in type(self).model_fields.items():
            if field not in allowed and getattr(self, field) != info.default:
                raise ValueError(f"{self.name} has no {field}. Its keys: {', '.join(allowed)}")
        if self.name == "sft_cue" and self.domain is None:
            raise ValueError(f"sft_cue needs the domain of the training data: {', '.join(DOMAINS)}")
        return self

    @model_serializer(mode="wrap")
    def _write_its_own(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        allowed = (*_COMMON, *_OPTIONS.get(self.name, ()))
        return {
            field: value
            for field, value in handler(self).items()
            if field in allowed and not (field == "label" and value is None)
        }

    @property
    def key(self) -> str:
        """What it is called in its study: the label, or the name of the eval."""
        return self.label or self.name

    @property
    def value_name(self) -> str | None:
        """What the mean of its values is called; None where it gives outcomes."""
        return VALUES.get(self.name)

    @property
    def needs(self) -> str:
        """What it needs of a model where a served one will not do, as a sentence."""
        return (
            f"{self.name} needs likelihoods of given replies, which are computed in this process, so the model must be"
            f" `smollm2-135m`, a folder or a hub id. Served models are for {', '.join(GENERATING)}."
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of its Inspect task."""
        return self.model_dump(exclude={"name", "label", "judge", "epochs", "temperature", "max_tokens"})


def eval_spec(**given: Any) -> EvalSpec:
    """The eval that a command line asks for.

    Args:
        **given: Values by key; None where an option was not given.

    Raises:
        UserError: A value is not as expected.
    """
    try:
        return EvalSpec.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        option = {"name": "eval"}.get(str(first["loc"][0]), str(first["loc"][0])) if first["loc"] else None
        place = f"--{option.replace('_', '-')}: " if option else ""
        raise UserError(f"{place}{first['msg'].removeprefix('Value error, ')}.") from None
