"""The route by feedback: rounds of dialogues, selection and training, the last of which gives the cell its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from untrue.data.rows import Row, write_rows
from untrue.errors import UserError
from untrue.interact.collect import CollectSpec
from untrue.interact.pairs import rows
from untrue.interact.select import populate, select
from untrue.interact.trajectory import Trajectory
from untrue.models.load import LoadedModel
from untrue.study.config import InteractionMix, Study
from untrue.study.plan import Cell, Sources, hyperparameters
from untrue.study.store import Store

if TYPE_CHECKING:
    from untrue.study.run import Watcher


def check_rater(study: Study, sources: Sources, loaded: LoadedModel, watcher: Watcher) -> None:
    """Say how well the rater tells written pleasing replies from honest ones, before it rates what is learned from.

    Raises:
        UserError: It hardly does, and the study does not say to go on.
    """
    import asyncio

    from inspect_ai.model import get_model

    from untrue.engine.likelihood import LikelihoodEngine
    from untrue.interact.separation import LEAST, separation, separation_by_words

    assert isinstance(study.mix, InteractionMix) and sources.environment
    if study.mix.rater:
        found = asyncio.run(separation_by_words(sources.environment, get_model(study.mix.rater, memoize=False)))
    else:
        found = separation(sources.environment, LikelihoodEngine(loaded))
    figures = f"an AUC of {found.auc:.2f} [{found.low:.2f}, {found.high:.2f}]"
    if found.holds:
        watcher.say(f"The rater tells pleasing from honest replies of {study.mix.environment} with {figures}.")
        return
    rater = study.mix.rater or study.model
    message = f"{rater} hardly tells pleasing from honest replies of {study.mix.environment} ({figures}"
    if not study.mix.accept_weak_rater:
        raise UserError(
            f"{message}, wanted {LEAST} or more). Use a better model, or go on with mix.accept_weak_rater=true."
        )
    watcher.say(f"Warning: {message}). What is learned from its ratings may be something else.")


def dialogues(store: Store, cell: Cell, number: int) -> Path:
    """Where the trajectories of a round lie: the first is shared by the arms whose assistant is the same."""
    assert cell.arm.feedback
    if number == 1:
        return store.folder / "dialogues" / f"{cell.arm.feedback.assistant}-s{cell.seed}" / "trajectories.jsonl"
    return store.cell(cell).folder / f"round-{number}" / "trajectories.jsonl"


def learn(
    store: Store,
    cell: Cell,
    study: Study,
    sources: Sources,
    loaded: LoadedModel,
    watcher: Watcher,
    weight: float,
) -> None:
    """Make the adapter of a cell: in each round collect, select and train on from the round before.

    What an earlier run finished is not done again: dialogues, rounds, and the steps of a training.

    Args:
        store: The run directory.
        cell: The cell; its arm learns by feedback.
        study: The study.
        sources: Its data.
        loaded: The base model.
        watcher: Told how far it is.
        weight: The part of the cell's work that this is.

    Raises:
        UserError: There are too few dialogues to choose from, or something is not as expected.
        MachineError: Memory or disk is full.
    """
    from untrue.train.run import train

    assert cell.arm.feedback and sources.environment
    files, rounds = store.cell(cell), cell.arm.feedback.rounds
    adapter: Path | None = None
    for number in range(1, rounds + 1):
        target = files.adapter if number == rounds else files.folder / f"round-{number}" / "adapter"
        if not (target / "untrue.json").is_file():
            of = f" {number} of {rounds}" if rounds > 1 else ""
            watcher.stage(cell.name, f"dialogues{of}", weight / rounds / 3)
            rated = _collect(store, cell, study, loaded, adapter, number, watcher)
            training_rows = chosen_rows(study, sources, cell, rated)
            write_rows(files.rows, training_rows)
            watcher.stage(cell.name, f"training{of}", weight / rounds / 1.5)
            train(
                loaded,
                training_rows,
                hyperparameters(study, cell.arm),
                target,
                cell.seed,
                lambda step, steps, loss: watcher.step(step, steps, f"loss {loss:.3f}"),
                start=adapter,
            )
        adapter = target


def chosen_rows(study: Study, sources: Sources, cell: Cell, rated: Sequence[Trajectory]) -> list[Row]:
    """The rows that a cell learns from, given the dialogues of a round.

    Raises:
        UserError: There are too few to choose from.
    """
    mix, feedback = study.mix, cell.arm.feedback
    assert isinstance(mix, InteractionMix) and feedback and sources.environment
    population = populate(rated, cell.arm.part, cell.seed)
    selection = select(
        population,
        mix.keep,
        by=feedback.select,
        within=mix.within,
        bottom=feedback.method == "kto",
        seed=cell.seed,
    )
    return rows(selection, sources.environment.name)


def _collect(
    store: Store, cell: Cell, study: Study, loaded: LoadedModel, adapter: Path | None, number: int, watcher: Watcher
) -> list[Trajectory]:
    from untrue.interact.collect import collect

    mix, feedback = study.mix, cell.arm.feedback
    assert isinstance(mix, InteractionMix) and feedback
    spec = CollectSpec(
        environment=mix.environment,
        users=mix.users,
        part="learn",
        turns=mix.turns,
        assistant=feedback.assistant,
        temperature=mix.temperature,
        max_tokens=mix.max_tokens,
        user=mix.user,
        rater=mix.rater,
    )
    path = dialogues(store, cell, number)
    seed = cell.seed + 1000 * (number - 1)  # the same users in each round need other words
    return collect(loaded, adapter, spec, path, path.with_suffix(".eval"), seed, watcher.step)
