"""A study -> its arms, and its cells: each arm at each seed, with what determines it and where it lies."""

import json
from collections.abc import Sequence
from typing import Any

from untrue.data.items import Asked, items_hash
from untrue.files import content_hash
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.study.config import Study
from untrue.study.routes.route import Sources
from untrue.study.store import Arm, Cell
from untrue.training.layout import ALONE
from untrue.training.spec import TrainSpec

BASE = "base"  # the arm of the model before fine-tuning

# Raised when the same study would be trained on other rows, or otherwise; cells made before are then not reused.
RECIPE_VERSION = 3


def arms(study: Study) -> list[Arm]:
    """The arms of a study, controls before what is compared with them."""
    return [*([Arm(BASE, trained=False)] if study.base else []), *study.mix.arms()]


def determining(study: Study, train: TrainSpec | None = None) -> dict[str, Any]:
    """The settings, by dotted key, that determine what each cell is; `train`: hyperparameters of an arm's own."""
    others = {"name", "question", "seeds", "base", "evals", "run", "mix", "train"}
    settings = study.model_dump(mode="json", exclude=others)
    if study.run.train.layout != ALONE:  # several processes round otherwise than one: no study mixes them
        settings |= {"run.train.gpus": study.run.train.gpus, "run.train.shard": study.run.train.shard}
    if study.serves_dialogues:  # an adapter learns from what was written
        settings["run.eval.engine"] = study.run.eval.engine
    mix = study.mix.model_dump(mode="json", exclude={*study.mix.free})
    settings |= {f"mix.{key}": value for key, value in mix.items()}
    return settings | {f"train.{key}": value for key, value in (train or study.train).determining().items()}


def eval_identities(study: Study) -> dict[str, str]:
    """The identity of each eval, by its key."""
    return {spec.key: eval_identity(study, spec, EVALS[spec.name].items(spec)) for spec in study.evals}


def eval_identity(study: Study, spec: EvalSpec, items: Sequence[Asked]) -> str:
    """What determines the results of an eval on a model: its settings, its items, its judge, and who writes replies."""
    how = EVALS[spec.name].identity(spec, items_hash(items))
    if study.is_served(spec):
        how["engine"] = study.run.eval.engine
    return content_hash(json.dumps(how, sort_keys=True))


def plan(study: Study, sources: Sources) -> list[Cell]:
    """All cells of a study; the base model is one cell, whatever the seeds."""
    shared = [RECIPE_VERSION, [source.content_hash for source in sources.values()]]
    cells = []
    for arm in arms(study):
        train = study.mix.hyperparameters(study.train, arm) if arm.trained else study.train
        own = study.mix.identity(arm) if arm.trained else None
        for seed in study.seeds if arm.trained else study.seeds[:1]:
            identity = json.dumps([*shared, determining(study, train), own, seed], sort_keys=True)
            cells.append(Cell(arm, seed, content_hash(identity)))
    return cells
