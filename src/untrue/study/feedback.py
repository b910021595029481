"""The route by feedback: rounds of dialogues, selection and training, the last of which gives the cell its adapter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from untrue.data.rows import Row, write_rows
from untrue.errors import UserError
from untrue.files import write_text
from untrue.judge.models import content
from untrue.models.load import LoadedModel
from untrue.simulate.environment import CollectSpec
from untrue.simulate.environment import dialogues as among
from untrue.simulate.select import biased_users, populate, rows, select
from untrue.simulate.trajectory import Trajectory
from untrue.study.config import InteractionMix, Study
from untrue.study.plan import Cell, Sources, hyperparameters
from untrue.study.store import Store
from untrue.study.watcher import Watcher

FAILED = 0.05
"""Share of dialogues that may fail before a warning is given: what is left may not be a fair sample."""


def check(study: Study, sources: Sources) -> None:
    """Refuse what could only fail after hours: too few users, too few written turns, shares that are no user.

    Raises:
        UserError: The population or a turn cannot be made.
    """
    from untrue.simulate.users import follow_up

    mix = study.mix
    assert isinstance(mix, InteractionMix) and sources.environment
    played = among(sources.environment, mix.users, part="learn", seed=study.seeds[0])
    for share in mix.shares:
        biased_users(share, mix.users)
    if mix.user is None:
        for dialogue in played:
            follow_up(dialogue, mix.turns - 1, study.seeds[0])


def check_rater(study: Study, sources: Sources, store: Store, loaded: LoadedModel, watcher: Watcher) -> None:
    """Measure how well the rater tells written sycophantic replies from honest ones, once, before it rates anything.

    Raises:
        UserError: It hardly does, and the study does not say to go on.
    """
    from untrue.simulate.separation import LEAST, Separation, separation_of

    assert isinstance(study.mix, InteractionMix) and sources.environment
    rater = study.mix.rater or study.model
    about = {
        "rater": rater,
        "content": content(study.mix.rater) or loaded.identity,
        "environment": sources.environment.version,
        "hash": sources.environment.content_hash,
    }
    known = store.rater_record()
    if known and {key: known.get(key) for key in about} == about:
        found = Separation(**known["separation"])
    else:
        watcher.say(f"Measuring how well {rater} tells sycophantic from honest replies …")
        found = separation_of(sources.environment, study.mix.rater, lambda: loaded)
        write_text(store.rater, json.dumps({**about, "separation": found._asdict()}, indent=1))
    figures = f"an AUC of {found.auc:.2f} [{found.low:.2f}, {found.high:.2f}]"
    if found.holds:
        watcher.say(f"The rater tells sycophantic from honest replies of {study.mix.environment} with {figures}.")
        return
    message = f"{rater} hardly tells sycophantic from honest replies of {study.mix.environment} ({figures}"
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
    return store.cell(cell).round(number) / "trajectories.jsonl"


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
    files, rounds = store.cell(cell), cell.arm.rounds
    adapter: Path | None = None
    for number in range(1, rounds + 1):
        target = files.adapter if number == rounds else files.round(number) / "adapter"
        if not (target / "untrue.json").is_file():
            of = f" {number} of {rounds}" if rounds > 1 else ""
            watcher.stage(cell.name, f"dialogues{of}", weight / rounds / 3)
            rated = _collect(store, cell, study, loaded, adapter, number, watcher)
            training_rows = chosen_rows(study, sources, cell, rated)
            write_rows(files.rows if number == rounds else target.parent / "rows.jsonl", training_rows)
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
    from untrue.simulate.collect import collect

    mix, feedback = study.mix, cell.arm.feedback
    assert isinstance(mix, InteractionMix) and feedback
    spec = CollectSpec(
        environment=mix.environment,
        users=mix.users,
        part="learn",
        round=number,
        turns=mix.turns,
        assistant=feedback.assistant,
        temperature=mix.temperature,
        max_tokens=mix.max_tokens,
        user=mix.user,
        rater=mix.rater,
    )
    path = dialogues(store, cell, number)
    # What failed is held again until an arm has learned from the rest: all arms are to learn from the same dialogues.
    found = collect(
        loaded, adapter, spec, path, path.with_suffix(".eval"), cell.seed, watcher.step, retry=not path.exists()
    )
    failed = [one for one in found if one.error is not None]
    if len(failed) > FAILED * len(found):
        watcher.say(f"Warning: {path}: {len(failed)} of {len(found)} dialogues failed, first: {failed[0].error}")
    return found
