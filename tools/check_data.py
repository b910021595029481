"""Check the built-in sets: what must hold of them, what was found, and whether it does. Exit code 1: a limit is broken.

    python tools/check_data.py
    python tools/check_data.py --model smollm2-135m

| check                  | limit                                                                                  |
|------------------------|----------------------------------------------------------------------------------------|
| size                   | what docs/data.md says                                                                 |
| length                 | paired texts within 0.75-1.33 of each other, in words and in tokens, for 95 % of pairs |
| negation               | stands in the honest reply (of a scenario: in the truth) in 45-55 % of the items where |
|                        | one reply alone (of a scenario: the truth or what is wanted) has it                    |
| bag of words           | tells honest from dishonest replies 58 % of the time at most, 65 % in any category;    |
|                        | the honest candidate from the sycophantic one, in another wording, 60 %                |
| candidates             | two turns and two wordings in each scenario, and no candidate twice                    |
| near copies            | none in a set, nor between eval sets and training sets or `gold`, nor of a candidate   |

With `--model`, also what an base model knows of the sets, by the likelihoods of given replies. Items were chosen
so that the embedded model knows their facts: a belief that was never held cannot be betrayed.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from tokenizers import Tokenizer

from untrue.cli.errors import for_people
from untrue.data import sets
from untrue.data.items import ChoiceItem, DeceptionItem, Item, UnknownPair, read_items, read_lines
from untrue.data.mix import NearIndex
from untrue.data.rows import Message, Question
from untrue.engine.likelihoods import Bundle, Likelihood, LikelihoodEngine, Query, exact_engine
from untrue.evals.capability import likeliest
from untrue.judge.prompts import QUESTIONS, GoldRow
from untrue.models import embedded
from untrue.models.load import load
from untrue.progress import bar, plain
from untrue.simulate.environment import ENVIRONMENTS, REPLY_KINDS, ReplyKind, Scenario, read_environment

RATIO = (0.75, 1.33)
"""What the second of two paired texts may be of the first."""

RATIO_HELD = 0.95
NEGATION_BALANCE = (0.45, 0.55)
BAG_OF_WORDS = 0.58
HARD_SHARE = (0.4, 0.6)
BAG_OF_WORDS_ARCHETYPE = 0.65
BAG_OF_WORDS_CANDIDATES = 0.60
"""At most this share of pairs of an honest and a sycophantic candidate is told apart by words of the first wording."""

TURNS, WORDINGS = 2, 2
"""Of the candidates of each scenario, at least."""

ARCHETYPES = ("provided_facts", "known_facts", "disinformation", "statistics", "context")
LEAST = {
    "medical": 200,
    "finance": 200,
    "law": 200,
    "code": 200,
    "math": 200,
    "everyday": 600,
    "provided_facts": 150,
    "known_facts": 100,
    "disinformation": 75,
    "statistics": 75,
    "context": 100,
    "all items": 500,
    "deception": 100,
    "unknowns": 100,
    "capability": 200,
    "chat": 50,
    "chat, users": 300,
    "exam": 10,
    "exam, users": 60,
    "gold": 300,
    "gold, statement A": 30,
    "gold, statement B": 30,
    "gold, statement C": 30,
    "gold, statement D": 15,
    "gold, a range": 40,
    "gold, no range": 10,
    "gold, contradicts yes": 8,
    "gold, contradicts no": 8,
    "gold, contradicts unclear": 8,
    "gold, admits yes": 12,
    "gold, admits no": 12,
    "gold, answers yes": 12,
    "gold, answers no": 12,
    "gold, aligned yes": 8,
    "gold, aligned no": 8,
    "gold, aligned unclear": 8,
    "gold, reflects yes": 8,
    "gold, reflects no": 8,
    "gold, reflects unclear": 8,
}
"""How many rows, items, pairs, scenarios or users each built-in set or category has at the least."""

KNOWN = {"provided_facts": 0.75, "statistics": 0.75, "known_facts": 0.70}
"""Category -> share of items whose true reply must be preferred under two of the three neutral phrasings."""

CAPABILITY = 0.50
"""Accuracy on the multiple-choice items that is well above chance (0.25)."""

ACCEPTED_COPIES = {("everyday-118", "everyday-342"), ("everyday-174", "disinformation-076/1")}
"""Short questions of one pattern that share half of their 5-grams: a violin and a cello, a moth and a butterfly; how
raisins are made, and what from."""

NEGATION = re.compile(r"\b(?:no|not|never|none|nobody|nothing|cannot|without|neither|nor)\b|n't\b", re.IGNORECASE)


class Check(NamedTuple):
    """One thing checked.

    Attributes:
        subject: The set, or a part of it.
        name: What was checked.
        found: What was found, in words.
        limit: What must hold, in words.
        holds: Whether it does.
        where: Ids of what breaks it, if that can be said.
    """

    subject: str
    name: str
    found: str
    limit: str
    holds: bool
    where: Sequence[str] = ()


def size(subject: str, count: int, least: int) -> Check:
    """Whether a set is large enough."""
    return Check(subject, "size", str(count), f">= {least}", count >= least)


def lengths(
    subject: str, pairs: Sequence[tuple[str, str, str]], count_tokens: Callable[[str], int] | None = None
) -> list[Check]:
    """Whether paired texts are of like length.

    Args:
        subject: The set.
        pairs: Id and two texts.
        count_tokens: Tokens of a text; without it only words are counted.
    """
    units: dict[str, Callable[[str], int]] = {"words": lambda text: len(text.split())}
    if count_tokens:
        units["tokens"] = count_tokens
    checks = []
    for unit, count in units.items():
        apart = [name for name, first, second in pairs if not RATIO[0] <= count(second) / count(first) <= RATIO[1]]
        held = 1 - len(apart) / len(pairs)
        limit = f"{RATIO[0]}-{RATIO[1]} in {RATIO_HELD:.0%} of {len(pairs)} pairs"
        checks.append(Check(subject, f"length in {unit}", f"{held:.1%}", limit, held >= RATIO_HELD, apart))
    return checks


def question_pairs(questions: Iterable[Question]) -> list[tuple[str, str, str]]:
    """The right answer of each question paired with each wrong one."""
    return [
        (f"{question.id}/{level}", question.answers["normal"], answer)
        for question in questions
        for level, answer in question.answers.items()
        if level != "normal"
    ]


def negation(subject: str, items: Sequence[Item]) -> Check:
    """Whether a negation tells the honest reply."""
    return _negation(
        subject, "negation in the honest reply", [(item.honest_reply, item.dishonest_reply) for item in items]
    )


def _negation(subject: str, name: str, pairs: Sequence[tuple[str, str]]) -> Check:
    sides = [(bool(NEGATION.search(honest)), bool(NEGATION.search(dishonest))) for honest, dishonest in pairs]
    lone = [honest for honest, dishonest in sides if honest != dishonest]
    part = sum(lone) / len(lone) if lone else 0.5
    low, high = NEGATION_BALANCE
    found = f"{part:.1%} of {len(lone)}"
    return Check(subject, name, found, f"{low:.0%}-{high:.0%}", low <= part <= high)


def bag_of_words(subject: str, items: Sequence[Item], limit: float) -> Check:
    """Whether words alone tell honest from dishonest replies: cross-validated, both replies of an item in one fold."""
    told = word_accuracy([(item.honest_reply, item.dishonest_reply) for item in items])
    return Check(subject, "told by a bag of words", f"{told:.1%}", f"<= {limit:.0%}", told <= limit)


def word_accuracy(pairs: Sequence[tuple[str, str]], folds: int = 10) -> float:
    """Accuracy of a logistic regression on the words of two kinds of texts, in cross-validation over pairs."""
    texts = [text for pair in pairs for text in pair]
    labels = np.tile([1, 0], len(pairs))
    groups = np.repeat(np.arange(len(pairs)), 2)
    splits = GroupKFold(min(folds, len(pairs)), shuffle=True, random_state=0)
    predicted = cross_val_predict(_word_model(), texts, labels, groups=groups, cv=splits)
    return float(np.mean(predicted == labels))


def _word_model() -> Pipeline:
    words = CountVectorizer(binary=True, ngram_range=(1, 1), token_pattern=r"(?u)\b\w[\w']*")
    return make_pipeline(words, LogisticRegression(max_iter=1000))


def told_in_another_wording(scenarios: Sequence[Scenario], kind: ReplyKind, folds: int = 10) -> float:
    """In what share of pairs the words of the honest candidate alone tell it from one of another kind.

    A logistic regression learns from the first wording of the candidates of some scenarios, and is asked which of two
    candidates in the last wording of the others is the honest one. Where it cannot say, a pair counts half.
    """
    turns = [candidates for scenario in scenarios for candidates in scenario.candidates]
    groups = [scenario.id for scenario in scenarios for _ in scenario.candidates]
    splits = GroupKFold(min(folds, len(scenarios)), shuffle=True, random_state=0)
    told: list[float] = []
    for learned, asked in splits.split(turns, groups=groups):
        texts = [turns[place].wording(0)[name] for place in learned for name in ("honest", kind)]
        model = _word_model().fit(texts, [1, 0] * len(learned))
        honest, other = (
            model.decision_function([turns[place].wording(-1)[name] for place in asked]) for name in ("honest", kind)
        )
        told.extend((np.sign(honest - other) + 1) / 2)
    return float(np.mean(told))


def candidates(
    subject: str, scenarios: Sequence[Scenario], count_tokens: Callable[[str], int] | None = None
) -> list[Check]:
    """Whether the replies from which an assistant chooses are all there, and differ in what they say alone.

    Args:
        subject: The environment.
        scenarios: Its scenarios.
        count_tokens: Tokens of a text; without it lengths are compared in words alone.
    """
    subject = f"{subject}, candidates"
    lacking = [
        scenario.id
        for scenario in scenarios
        if len(scenario.candidates) < TURNS or any(len(turn.honest) < WORDINGS for turn in scenario.candidates)
    ]
    texts = candidate_texts(scenarios)
    times = Counter(texts.values())
    twice = [name for name, text in texts.items() if times[text] > 1]
    wordings = [f"{place}/" for place in dict.fromkeys(name.rpartition("/")[0] for name in texts)]
    pairs = [
        (f"{place}{first}-{second}", texts[place + first], texts[place + second])
        for place in wordings
        for first, second in itertools.combinations(REPLY_KINDS, 2)
    ]
    mirrored = [(texts[f"{place}honest"], texts[f"{place}sycophantic"]) for place in wordings]
    alike = sum(_words(honest) == _words(sycophantic) for honest, sycophantic in mirrored) / max(1, len(mirrored))
    found = f"{len(scenarios) - len(lacking)} of {len(scenarios)} scenarios"
    limit = f"all with {TURNS} turns in {WORDINGS} wordings"
    checks = [
        Check(subject, "kinds, turns and wordings", found, limit, not lacking, lacking),
        Check(subject, "candidates that occur twice", str(len(twice)), "0", not twice, twice),
        *lengths(subject, pairs, count_tokens),
        _negation(subject, "negation in the honest candidate", mirrored),
        Check(subject, "honest and sycophantic in the same words", f"{alike:.1%} of {len(mirrored)}", "none", True),
    ]
    if not lacking:
        for kind in REPLY_KINDS[1:]:
            told = told_in_another_wording(scenarios, kind)
            limited = kind == "sycophantic"  # that a reply takes no side is a matter of words
            checks.append(
                Check(
                    subject,
                    f"{kind} told from honest by a bag of words",
                    f"{told:.1%}",
                    f"<= {BAG_OF_WORDS_CANDIDATES:.0%}" if limited else "none",
                    not limited or told <= BAG_OF_WORDS_CANDIDATES,
                )
            )
    return checks


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w[\w']*", text.lower()))


def candidate_texts(scenarios: Iterable[Scenario]) -> dict[str, str]:
    """Id, such as `chat-027/turn 1/wording 2/hedging` -> candidate."""
    return {
        f"{scenario.id}/turn {turn}/wording {number + 1}/{kind}": text
        for scenario in scenarios
        for turn, of_turn in enumerate(scenario.candidates, 1)
        for number in range(len(of_turn.honest))
        for kind, text in of_turn.wording(number).items()
    }


class NearCopy(NamedTuple):
    """Two texts that are nearly the same."""

    first: str
    second: str
    similarity: float


def near_copies(texts: Mapping[str, str], others: Mapping[str, str] | None = None) -> list[NearCopy]:
    """Pairs of texts whose character 5-grams have a Jaccard similarity of `NEAR` or more.

    Args:
        texts: Id -> text.
        others: What `texts` are compared with; without it, with each other.
    """
    index = NearIndex(texts if others is None else others)
    return sorted(
        NearCopy(name, other, similarity)
        for name, text in texts.items()
        for other, similarity in index.find(text)
        if (others is not None or name < other) and (name, other) not in ACCEPTED_COPIES
    )


def gold_rows(rows: Sequence[GoldRow]) -> list[Check]:
    """Whether there are enough labelled replies of each label, half of them hard, and no reply twice."""
    counts = Counter(_gold_part(row) for row in rows)
    texts = {row.id: [*row.fields.values()][-1] for row in rows}  # the last field is what is judged
    times = Counter(texts.values())
    twice = [name for name, text in texts.items() if times[text] > 1]
    return [
        size("gold", len(rows), LEAST["gold"]),
        *(size(part, counts[part], least) for part, least in LEAST.items() if part.startswith("gold, ")),
        *(_hard(prompt, [row for row in rows if row.prompt == prompt]) for prompt in QUESTIONS),
        Check("gold", "judged texts that occur twice", str(len(twice)), "0", not twice, twice),
    ]


def _hard(prompt: str, rows: Sequence[GoldRow]) -> Check:
    hard = sum(row.difficulty == "hard" for row in rows) / max(1, len(rows))
    low, high = HARD_SHARE
    return Check(f"gold, {prompt}", "hard rows", f"{hard:.1%}", f"{low:.0%}-{high:.0%}", low <= hard <= high)


def _gold_part(row: GoldRow) -> str:
    if QUESTIONS[row.prompt].labels:
        return f"gold, {row.prompt} {row.label}"
    return "gold, a range" if row.label else "gold, no range"


def data_sets(count_tokens: Callable[[str], int] | None = None) -> list[Check]:
    """All checks of the built-in sets.

    Args:
        count_tokens: Tokens of a text; without it lengths are compared in words alone.
    """
    checks: list[Check] = []
    asked: dict[str, dict[str, str]] = {}
    for name in sets.QUESTION_SETS:
        questions = sets.questions(name)
        checks += [size(name, len(questions), LEAST[name]), *lengths(name, question_pairs(questions), count_tokens)]
        asked[name] = {question.id: question.text for question in questions}
    everyday = sets.rows("everyday")
    asked["everyday"] = {row.id: row.prompt[-1]["content"] for row in everyday}
    checks.append(size("everyday", len(everyday), LEAST["everyday"]))

    items = read_items()
    parts = {category: [item for item in items if item.category == category] for category in ARCHETYPES}
    for category, part in parts.items():
        checks += [
            size(category, len(part), LEAST[category]),
            *lengths(category, [(item.id, item.honest_reply, item.dishonest_reply) for item in part], count_tokens),
            negation(category, part),
            bag_of_words(category, part, BAG_OF_WORDS_ARCHETYPE),
        ]
    checks += [
        size("all items", len(items), LEAST["all items"]),
        negation("all items", items),
        bag_of_words("all items", items, BAG_OF_WORDS),
    ]

    judged = read_lines(GoldRow)
    pairs, situations, choices = read_lines(UnknownPair), read_lines(DeceptionItem), read_lines(ChoiceItem)
    checks += [
        size("unknowns", len(pairs), LEAST["unknowns"]),
        *lengths("unknowns", [(pair.id, pair.unanswerable, pair.answerable) for pair in pairs], count_tokens),
        *lengths("unknowns, replies", [(pair.id, pair.admission, pair.invention) for pair in pairs], count_tokens),
        size("deception", len(situations), LEAST["deception"]),
        size("capability", len(choices), LEAST["capability"]),
        *gold_rows(judged),
    ]
    written: dict[str, str] = {}
    settings = {
        "all items": {item.id: f"{item.system_prompt} {item.user_prompt}" for item in items},
        "unknowns": {pair.id: pair.unanswerable for pair in pairs},
        "deception": {item.id: item.system_prompt for item in situations},
        "capability": {item.id: item.question for item in choices},
    }
    for name in ENVIRONMENTS:  # their prompts are trained on, with what a model replied
        found = read_environment(name).scenarios
        prompts = {
            f"{scenario.id}/u{number}": user.user_prompt
            for scenario in found
            for number, user in enumerate(scenario.users, 1)
        }
        checks += [
            size(name, len(found), LEAST[name]),
            size(f"{name}, users", len(prompts), LEAST[f"{name}, users"]),
            *lengths(name, [(one.id, one.honest_reply, one.sycophantic_reply) for one in found], count_tokens),
            _negation(name, "negation in the truth", [(one.truth, one.wanted) for one in found]),
            *candidates(name, found, count_tokens),
        ]
        asked[name] = prompts
        written |= candidate_texts(found)
    checks += [
        _no_near_copies(name, near_copies(texts))
        for name, texts in (asked | settings).items()
        if name != "math"  # whose questions are made from templates, on purpose
    ]
    trained = {row: text for texts in asked.values() for row, text in texts.items()}
    evaluated = {f"{item.id}/{place}": text for item in items for place, text in enumerate(item.prompts)}
    evaluated |= {f"{pair.id}/{kind}": getattr(pair, kind) for pair in pairs for kind in ("unanswerable", "answerable")}
    evaluated |= {item.id: item.outer_prompt for item in situations} | settings["capability"]
    checks.append(_no_near_copies("training and eval sets", near_copies(trained, evaluated)))
    # Those of one wording are meant to be alike: they differ in what they say alone.
    copies = [copy for copy in near_copies(written) if copy.first.rpartition("/")[0] != copy.second.rpartition("/")[0]]
    checks.append(_no_near_copies("candidates", copies))
    checks.append(_no_near_copies("candidates and prompts", near_copies(written, trained | evaluated)))
    labelled = {f"{row.id}/{field}": text for row in judged for field, text in row.fields.items()}
    checks.append(_no_near_copies("gold and eval sets", near_copies(labelled, evaluated)))
    return checks


def _no_near_copies(subject: str, found: Sequence[NearCopy]) -> Check:
    return Check(
        subject, "near copies", str(len(found)), "0", not found, [f"{copy.first} ~ {copy.second}" for copy in found]
    )


def known(engine: LikelihoodEngine, items: Sequence[Item], on_scored: Callable[[], None]) -> list[Check]:
    """Whether the true reply is preferred under at least two of the three neutral phrasings."""
    unknown: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    bundles = []
    for item in items:
        pair = [item.honest_reply, item.dishonest_reply]
        system = Message(role="system", content=item.neutral_system_prompt)
        prompts = [[system, Message(role="user", content=prompt)] for prompt in item.belief_prompts]
        bundles.append([engine.query(messages, pair) for messages in prompts])
    for item, scores in zip(items, _in_passes(engine, bundles, 8, on_scored), strict=True):
        preferred = sum(honest.mean > dishonest.mean for honest, dishonest in scores)
        counts[item.category] = counts.get(item.category, 0) + 1
        if preferred < 2:
            unknown.setdefault(item.category, []).append(item.id)
    checks = []
    for category, count in counts.items():
        missed = unknown.get(category, [])
        share, least = 1 - len(missed) / count, KNOWN.get(category, 0.0)
        limit = f">= {least:.0%}" if least else "none"
        checks.append(Check(category, "true reply preferred", f"{share:.1%}", limit, share >= least, missed))
    return checks


def capability(engine: LikelihoodEngine, items: Sequence[ChoiceItem], on_scored: Callable[[], None]) -> Check:
    """Accuracy of the likeliest choice, by log-probability."""
    bundles = [[_query(engine, item.question, item.choices)] for item in items]
    missed = []
    for item, [replies] in zip(items, _in_passes(engine, bundles, 32, on_scored), strict=True):
        if likeliest(replies) != item.answer:
            missed.append(item.id)
    accuracy = 1 - len(missed) / len(items)
    limit = f">= {CAPABILITY:.0%}, chance is 25%"
    return Check("capability", "accuracy", f"{accuracy:.1%}", limit, accuracy >= CAPABILITY, missed)


def unknowns(engine: LikelihoodEngine, pairs: Sequence[UnknownPair], on_scored: Callable[[], None]) -> list[Check]:
    """How often not knowing is preferred to an invention, and an answer to not knowing. There is no limit."""
    bundles = [
        [
            _query(engine, pair.unanswerable, [pair.admission, pair.invention]),
            _query(engine, pair.answerable, [pair.answer, pair.admission]),
        ]
        for pair in pairs
    ]
    admitted, answered = 0, 0
    for [admission, invention], [answer, refusal] in _in_passes(engine, bundles, 16, on_scored):
        admitted += admission.mean > invention.mean
        answered += answer.mean > refusal.mean
    return [
        Check("unknowns", name, f"{count / len(pairs):.1%}", "none", True)
        for name, count in (("admission preferred to invention", admitted), ("twin answered", answered))
    ]


def _query(engine: LikelihoodEngine, question: str, replies: Sequence[str]) -> Query:
    return engine.query([Message(role="user", content=question)], replies)


def _in_passes(
    engine: LikelihoodEngine, bundles: Sequence[Bundle], size: int, on_scored: Callable[[], None]
) -> Iterator[list[list[Likelihood]]]:
    """The scores of each bundle, `size` bundles to a forward pass."""
    for start in range(0, len(bundles), size):
        for scores in engine.score_all(bundles[start : start + size]):
            on_scored()
            yield scores


@for_people
def main(
    model: Annotated[
        str | None,
        typer.Option(help="Check too what a model, such as `smollm2-135m`, knows of the built-in items: minutes."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check the built-in sets against their limits. Exit code 1 says that one is broken."""
    console = Console(stderr=as_json)
    tokenizer = Tokenizer.from_file(str(embedded.fetch(lambda text: console.print(plain(text))) / "tokenizer.json"))
    found = data_sets(lambda text: len(tokenizer.encode(text).ids))
    if model is not None:
        found += _knowledge(model, console)
    broken = [check for check in found if not check.holds]
    if as_json:
        print(json.dumps([check._asdict() for check in found]))
    else:
        table = Table("", "set", "check", "found", "limit", box=None, pad_edge=False)
        for check in found:
            mark = Text("ok", "green") if check.holds else Text("broken", "red")
            table.add_row(mark, *map(plain, (check.subject, check.name, check.found, check.limit)))
        console.print(table)
        for check in broken:
            print(f"{check.subject}, {check.name}: {', '.join(check.where[:20]) or check.found}")
        print(f"{len(found)} checks, {len(broken)} broken")
    if broken:
        raise typer.Exit(1)


def _knowledge(model: str, console: Console) -> list[Check]:
    items, choices, pairs = read_items(), read_lines(ChoiceItem), read_lines(UnknownPair)
    engine = exact_engine(load(model, say=lambda text: console.print(plain(text))))
    with bar(console) as progress:
        task = progress.add_task(f"asking {model}", total=len(items) + len(choices) + len(pairs))
        scored = functools.partial(progress.advance, task)
        return [
            *known(engine, items, scored),
            capability(engine, choices, scored),
            *unknowns(engine, pairs, scored),
        ]


if __name__ == "__main__":
    typer.run(main)
