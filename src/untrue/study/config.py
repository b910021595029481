"""The study as its YAML file says it: arms x seeds on one base model, with its evals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializeAsAny,
    TypeAdapter,
    model_validator,
)

from untrue import settings
from untrue.errors import UserError
from untrue.files import read_text
from untrue.harness.eval import ChosenSpec, EvalSpec, FileName, JudgedSpec
from untrue.models.name import ModelName
from untrue.models.runtime import Dtype
from untrue.simulate.environment import NamedModel
from untrue.study.routes import ROUTES
from untrue.study.routes.route import Distinct, Route
from untrue.study.store import refuse_no_run
from untrue.training.layout import Layout, Shard, layout_of
from untrue.training.spec import TrainSpec

TRAINED_HERE = (
    "a study trains its model in this process, so it must be `smollm2-135m`, a folder or a hub id. Served models are"
    " for `untrue eval`; to have the replies of this study from a vLLM server: run.eval.engine=vllm."
)

MOST_SEEDS = 100  # the largest number of seeds; a larger one is more likely meant as a seed

# Beside the studies of the paper: the models and data sets that they name, and no study.
SOURCES = "sources.yaml"


def _no_served_model(model: str) -> str:
    try:
        ModelName.here(model, TRAINED_HERE)
    except UserError:
        raise ValueError(TRAINED_HERE) from None
    return model


def _by_route(value: Any) -> Any:
    routes: Any = Annotated[Union[tuple(ROUTES.values())], Field(discriminator="by")]  # noqa: UP007
    return TypeAdapter(routes).validate_python(value)


def _seeds(value: Any) -> Any:
    """A number means that many seeds, from 0 on."""
    if not isinstance(value, int) or isinstance(value, bool):
        return settings.listed(value)
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"a number of seeds is from 1 to {MOST_SEEDS}, and a single seed is written `{value},`")
    return list(range(value))


def named_evals(value: Any) -> Any:
    """A list of evals, in which one may be given by its name only."""
    entries = settings.listed(value)
    return [{"name": entry} if isinstance(entry, str) else entry for entry in entries]


def _parsed(entry: Any) -> Any:
    """An eval with the options of its own."""
    from untrue.harness.catalogue import parse  # late: it loads every eval

    return parse(entry) if isinstance(entry, dict) else entry


AnEval = Annotated[SerializeAsAny[EvalSpec], BeforeValidator(_parsed)]


class Place(BaseModel):
    """What one step of a cell gets of a machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    gpus: Annotated[int, Field(ge=0, le=8)] | None = Field(
        default=None, description="By default one where the cluster has any."
    )
    cpus: PositiveInt = Field(default=1, description="Cores.")


class TrainPlace(Place):
    """What one training gets; its GPUs lie in one machine."""

    shard: Shard = Field(default="none", description="How several GPUs split the model: `none` or `fsdp2`.")

    @property
    def layout(self) -> Layout:
        """The processes of a training."""
        return layout_of(self.gpus or 1, self.shard)

    @model_validator(mode="after")
    def _can_be(self) -> TrainPlace:
        try:
            layout = self.layout
        except UserError as error:
            raise ValueError(str(error).rstrip(".")) from None
        if layout.is_sharded and layout.gpus == 1:
            raise ValueError(f"shard: {self.shard} splits a model over GPUs, so gpus must be 2, 4 or 8")
        return self


class EvalPlace(Place):
    """What the evals of a cell get, and its dialogues."""

    engine: Literal["untrue", "vllm"] = Field(
        default="untrue",
        description="What writes the replies that a judge reads, and the assistant's in generated dialogues: `untrue`,"
        " or `vllm` for the server at VLLM_BASE_URL. Likelihoods are computed here either way.",
    )


class RunSpec(BaseModel):
    """Where the steps of a study are done. Only several GPUs in a training (they round differently) and another engine
    (it writes other replies) change its figures, and no run directory mixes those.

    Attributes:
        on: `local` does one step after the other in this process; `ray` many at a time, on one machine or a cluster.
        address: Of a Ray cluster, such as `auto`. By default the one of the environment, else one on this machine.
        retries: How often a step may be lost with its worker, such as by preemption, before it counts as failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    on: Literal["local", "ray"] = "local"
    address: str | None = None
    retries: NonNegativeInt = 3
    train: TrainPlace = TrainPlace()
    eval: EvalPlace = EvalPlace()


class Study(BaseModel):
    """A whole experiment: each arm of `mix` is trained once for each seed, and the base is evaluated for reference.

    A number of seeds means that many: 3 is `[0, 1, 2]`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: FileName
    question: str
    model: Annotated[NamedModel, AfterValidator(_no_served_model)] = "smollm2-135m"
    dtype: Dtype = "auto"
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], BeforeValidator(_seeds), Distinct] = Field(
        default=(0,), min_length=1
    )
    base: bool = True
    mix: Annotated[SerializeAsAny[Route], BeforeValidator(_by_route)]
    train: TrainSpec = TrainSpec()
    evals: Annotated[tuple[AnEval, ...], Distinct] = Field(default=(ChosenSpec(),), min_length=1)
    run: RunSpec = RunSpec()

    @model_validator(mode="after")
    def _parts_fit(self) -> Study:
        for spec in self.evals:
            if isinstance(spec, JudgedSpec) and spec.judge is None:
                raise ValueError(f"the eval {spec.key} needs a judge: add its model, such as judge: openai/gpt-5-mini")
        self.mix.check_train(self.train)
        if self.run.eval.engine == "vllm" and not (self.serves_dialogues or self.serves_evals):
            raise ValueError(
                "run.eval.engine: vllm would write nothing, since no eval has a judge and no dialogues are generated;"
                " leave it out"
            )
        return self

    def is_served(self, spec: EvalSpec) -> bool:
        """Whether a vLLM server writes the replies to an eval."""
        return self.run.eval.engine == "vllm" and isinstance(spec, JudgedSpec)

    @property
    def serves_evals(self) -> bool:
        """Whether a vLLM server writes the replies to any eval."""
        return any(map(self.is_served, self.evals))

    @property
    def serves_dialogues(self) -> bool:
        """Whether a vLLM server writes the assistant's replies in the dialogues that it learns from."""
        return self.run.eval.engine == "vllm" and self.mix.generates

    @model_validator(mode="before")
    @classmethod
    def _eval_names(cls, data: Any) -> Any:
        """An eval may be given by its name alone, and some of its options follow from the mix."""
        if not isinstance(data, dict) or "evals" not in data:
            return data
        from untrue.harness.catalogue import EVALS

        evals = named_evals(data["evals"])
        mix = data["mix"] if isinstance(data.get("mix"), dict) else {}
        for index, entry in enumerate(evals):
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in EVALS:
                evals[index] = {**EVALS[name].options.defaults(mix), **entry}
        return {**data, "evals": evals}


def folder() -> Path:
    """Where the studies that come with the package lie."""
    packaged = Path(__file__).parent.parent / "studies"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "studies"  # in a checkout


def builtin() -> dict[str, Path]:
    """The studies that come with the package, by name: `quickstart`, and those of the paper, such as `paper/direct`."""
    files = [*sorted(folder().glob("*.yaml")), *sorted(folder().glob("paper/*.yaml"))]
    return {file.relative_to(folder()).with_suffix("").as_posix(): file for file in files if file.name != SOURCES}


def purpose(path: Path) -> str:
    """What a study is for: the comment with which its file opens, up to an empty line of it."""
    lines = (line.removeprefix("#").strip() for line in read_text(path).splitlines())
    return " ".join(takewhile(bool, lines))


def load(place: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study from its YAML file, or a built-in one by its name, with `a.b=c` overrides on top."""
    path = Path(place)
    if not path.exists():
        path = builtin().get(path.as_posix(), path)
    return settings.load(Study, path, overrides, "studies/quickstart.yaml")


def of_run(folder: Path) -> Study:
    """The study of a run directory, as resolved."""
    refuse_no_run(folder)
    return load(folder / "study.yaml")


def to_yaml(study: Study) -> str:
    """The study as resolved, with every default spelled out."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
