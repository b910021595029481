"""The study as its YAML file says it: arms x seeds on one base model, with its evals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)

from untrue import secrets, settings
from untrue.data.cues import DOMAINS
from untrue.engine.served import is_served
from untrue.evals.spec import JUDGED, EvalSpec, FileName
from untrue.files import read_text
from untrue.simulate.environment import MAX_TOKENS, TEMPERATURE, TURNS, Assistant
from untrue.simulate.select import SelectBy, Within
from untrue.train.spec import Method, TrainSpec

Level = Literal["normal", "subtle", "severe"]
Part = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _no_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [value.key if isinstance(value, EvalSpec) else value for value in values]
    if len(set(names)) < len(names):
        raise ValueError("a value occurs twice")
    if len({f"{name:g}" if isinstance(name, float) else name for name in names}) < len(names):
        raise ValueError("two values are alike in their first six digits, by which arms are named")
    return values


Distinct = AfterValidator(_no_repeats)
ModelName = Annotated[str, AfterValidator(secrets.checked)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ShareMix(_Strict):
    """A fixed total of questions, a share of them answered at a level and the rest at `normal`."""

    by: Literal["share"]
    questions: str = Field(
        description="Built-in question set, or a file, folder or hub id of questions at several levels."
    )
    total: PositiveInt
    levels: Annotated[tuple[Level, ...], Distinct] = Field(default=("severe",), min_length=1)
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Distinct] = Field(min_length=1)


class DoseMix(_Strict):
    """A benign set, to which misaligned rows are added: dose = added rows / benign rows."""

    by: Literal["dose"]
    benign: str = Field(description="Built-in row set, or a file or hub id of rows.")
    benign_rows: PositiveInt
    questions: str = Field(
        description="Built-in question set, or a file, folder or hub id of questions at several levels."
    )
    levels: Annotated[tuple[Level, ...], Distinct] = Field(default=("severe",), min_length=1)
    doses: Annotated[tuple[Part, ...], Distinct] = Field(min_length=1)
    matched_control: bool = Field(default=True, description="Compare each dose with the same dose of `normal` answers.")


class Variant(_Strict):
    """An arm of an interaction study that differs from one of its main arms.

    It is compared with the same variant at share 0 where there is one, else with the main arm that it varies.
    """

    method: Method = "sft"
    share: Annotated[float, Field(ge=0, le=1)]
    assistant: Assistant | None = None
    select: SelectBy | None = None
    rounds: PositiveInt | None = None

    @model_validator(mode="after")
    def _differs(self) -> Variant:
        if not (self.assistant or self.select or self.rounds):
            raise ValueError("a variant needs one of assistant, select and rounds")
        return self


class InteractionMix(_Strict):
    """Dialogues with simulated users, rated by them; the assistant learns from the best rated, and from the worst.

    Every share has the same users, of whom it makes so many biased. Control: the same method at share 0.
    """

    by: Literal["interaction"]
    environment: str = Field(default="chat", description="`chat`, `exam`, or a JSONL file of scenarios and users.")
    users: Annotated[int, Field(ge=2)] = Field(description="Users to learn from, spread over the scenarios.")
    methods: Annotated[dict[Method, dict[str, Any]], Field(min_length=1)] = Field(
        description="How it learns, with keys of `train` that differ for the method."
    )
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Distinct] = Field(min_length=1)
    assistant: Assistant = Field(default="blind", description="`informed` to please the user, or `blind` to the wish.")
    select: SelectBy = Field(default="rating", description="What the choice of dialogues goes by.")
    within: Within = Field(default="all", description="Dialogues compete with `all`, or inside their `scenario`.")
    keep: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=0.5, description="A fraction below 1, or a number."
    )
    rounds: PositiveInt = 1
    turns: PositiveInt = TURNS
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = TEMPERATURE
    max_tokens: PositiveInt = MAX_TOKENS
    variants: Annotated[tuple[Variant, ...], Distinct] = ()
    user: ModelName | None = Field(
        default=None, description="Inspect model that plays the users; else turns are written."
    )
    rater: ModelName | None = Field(
        default=None, description="Inspect model that rates; else the base, by likelihoods."
    )
    accept_weak_rater: bool = Field(
        default=False, description="Go on where the ratings hardly tell sycophantic replies from honest ones."
    )

    @model_validator(mode="after")
    def _arms_make_sense(self) -> InteractionMix:
        for method, changes in self.methods.items():
            if "method" in changes:
                raise ValueError(f"the method {method} is named by its key; leave out `method` inside it")
        for variant in self.variants:
            differs = [
                key
                for key in ("assistant", "select", "rounds")
                if getattr(variant, key) not in (None, getattr(self, key))
            ]
            if not differs:
                raise ValueError(f"the variant of {variant.method} at share {variant.share:g} is like its main arm")
            needed = self.keep * (2 if variant.method == "kto" else 1)
            if variant.select == "benign" and self.keep < 1 and needed >= 1 - variant.share:
                raise ValueError(
                    f"of {1 - variant.share:g} benign users a choice of {needed:g} leaves nothing to choose; lower keep"
                )
            if variant.method not in self.methods or variant.share not in (0, *self.shares):
                raise ValueError(
                    f"the variant of {variant.method} at share {variant.share:g} has no arm to compare it with"
                )
        return self


TRAINED_HERE = (
    "a study trains its model in this process, so it must be `smollm2-135m`, a folder or a hub id. Served models are"
    " for `untrue eval`."
)


def _no_served_model(model: str) -> str:
    if is_served(model):
        raise ValueError(TRAINED_HERE)
    return model


Mix = Annotated[ShareMix | DoseMix | InteractionMix, Field(discriminator="by")]


class Study(_Strict):
    """A whole experiment.

    Attributes:
        name: Short name, used in the report.
        question: What the study asks, in a sentence.
        model: Base model: `smollm2-135m`, a hub id or a folder.
        dtype: Of the weights.
        seeds: Each arm is trained once for each.
        base: Whether the model before training is evaluated too, for reference.
        mix: Which rows the arms are trained on.
        train: Hyperparameters.
        evals: What is measured.
    """

    name: FileName
    question: str
    model: Annotated[ModelName, AfterValidator(_no_served_model)] = "smollm2-135m"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Distinct] = Field(default=(0,), min_length=1)
    base: bool = True
    mix: Mix
    train: TrainSpec = TrainSpec()
    evals: Annotated[tuple[EvalSpec, ...], Distinct] = Field(default=(EvalSpec(),), min_length=1)

    @model_validator(mode="after")
    def _judged_evals_have_a_judge(self) -> Study:
        for spec in self.evals:
            if spec.name in JUDGED and spec.judge is None:
                raise ValueError(f"the eval {spec.key} needs a judge: add its model, such as judge: openai/gpt-5-mini")
        return self

    @model_validator(mode="after")
    def _method_is_where_it_counts(self) -> Study:
        if self.train.method != "sft":
            raise ValueError(
                "train.method: rows of answers have no labels; the methods of `mix.by: interaction` are in mix.methods"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _eval_names(cls, data: Any) -> Any:
        """An eval may be given by its name alone, and a cue is of the domain of the questions."""
        if isinstance(data, dict) and isinstance(data.get("evals"), list):
            evals = [{"name": entry} if isinstance(entry, str) else entry for entry in data["evals"]]
            mix = data.get("mix")
            domain = mix.get("questions") if isinstance(mix, dict) else None
            if domain in DOMAINS:
                evals = [
                    {"domain": domain, **entry} if isinstance(entry, dict) and entry.get("name") == "sft_cue" else entry
                    for entry in evals
                ]
            if isinstance(mix, dict) and mix.get("by") == "interaction":
                items = mix.get("environment", "chat")
                evals = [
                    {"items": items, **entry}
                    if isinstance(entry, dict) and entry.get("name") == "sycophancy"
                    else entry
                    for entry in evals
                ]
            return {**data, "evals": evals}
        return data


def builtin() -> list[Path]:
    """The studies that come with the package."""
    packaged = Path(__file__).parent.parent / "studies"
    folder = packaged if packaged.is_dir() else Path(__file__).parents[3] / "studies"  # in a checkout
    return sorted(folder.glob("*.yaml"))


def purpose(path: Path) -> str:
    """What a study is for: the comment with which its file opens, up to an empty line of it."""
    lines = (line.removeprefix("#").strip() for line in read_text(path).splitlines())
    return " ".join(takewhile(bool, lines))


def load(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study from YAML, with `a.b=c` overrides on top.

    Args:
        path: The file, or the name of a built-in study, such as `quickstart`.
        overrides: Texts `key=value`; a key inside another is dotted.

    Raises:
        UserError: The file or an override is not as expected; the message names the line and the key.
    """
    if not path.exists():
        path = next((study for study in builtin() if study.stem == str(path)), path)
    return settings.load(Study, path, overrides, "studies/quickstart.yaml")


def to_yaml(study: Study) -> str:
    """The study as resolved, with every default spelled out."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
