"""Checks of data sets: what must hold of them, what was found, and whether it does.

| check                  | limit                                                                                  |
|------------------------|----------------------------------------------------------------------------------------|
| size                   | what docs/data.md says                                                                 |
| length                 | paired texts within 0.75-1.33 of each other, in words and in tokens, for 95 % of pairs |
| negation               | stands in the honest reply (of a scenario: in the truth) in 45-55 % of the items where |
|                        | one reply alone (of a scenario: the truth or what is wanted) has it                    |
| bag of words           | tells honest from dishonest replies 58 % of the time at most, 65 % in any archetype    |
| near copies            | none in a set, nor between eval sets and training sets or `gold`                       |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from untrue.data.gold import FIELDS, LABELS, GoldRow
from untrue.data.items import Item
from untrue.data.rows import Question

if TYPE_CHECKING:
    from datasketch import MinHash

RATIO = (0.75, 1.33)
"""What the second of two paired texts may be of the first."""

RATIO_HELD = 0.95
NEGATION_BALANCE = (0.45, 0.55)
BAG_OF_WORDS = 0.58
HARD_SHARE = (0.4, 0.6)
BAG_OF_WORDS_ARCHETYPE = 0.65
NEAR = 0.5
"""Jaccard similarity of the character 5-grams of two texts from which one counts as a near copy of the other."""

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
"""How many rows, items, pairs, scenarios or users each built-in set or archetype has at the least."""

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
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    texts = [text for pair in pairs for text in pair]
    labels = np.tile([1, 0], len(pairs))
    groups = np.repeat(np.arange(len(pairs)), 2)
    words = CountVectorizer(binary=True, ngram_range=(1, 1), token_pattern=r"(?u)\b\w[\w']*")
    model = make_pipeline(words, LogisticRegression(max_iter=1000))
    splits = GroupKFold(min(folds, len(pairs)), shuffle=True, random_state=0)
    predicted = cross_val_predict(model, texts, labels, groups=groups, cv=splits)
    return float(np.mean(predicted == labels))


class NearCopy(NamedTuple):
    """Two texts that are nearly the same."""

    first: str
    second: str
    similarity: float


class NearIndex:
    """Texts, by their ids, in which near copies of a text are looked up; of what is looked up nothing is kept.

    MinHash with locality-sensitive hashing finds candidates, and each is then compared exactly.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        from datasketch import MinHash, MinHashLSH

        self._first = MinHash(num_perm=128, seed=1)
        self._grams = {name: grams(text) for name, text in texts.items()}
        self._index = MinHashLSH(threshold=NEAR * 0.8, num_perm=128)  # lower, so that few are missed
        for name, shingles in self._grams.items():
            self._index.insert(name, self._sketch(shingles))

    def find(self, text: str) -> list[tuple[str, float]]:
        """Names of the texts whose similarity to `text` is `NEAR` or more, with that similarity, in no order."""
        shingles = grams(text)
        found = []
        for name in map(str, self._index.query(self._sketch(shingles))):
            similarity = len(shingles & self._grams[name]) / len(shingles | self._grams[name])
            if similarity >= NEAR:
                found.append((name, similarity))
        return found

    def _sketch(self, shingles: set[str]) -> MinHash:
        sketch = self._first.copy()  # drawing its permutations anew would take longer than all the rest
        sketch.update_batch([shingle.encode() for shingle in shingles])
        return sketch


def grams(text: str) -> set[str]:
    """The character 5-grams of the words of a text, in small letters."""
    plain = " ".join(re.findall(r"\w+", text.lower()))
    return {plain[start : start + 5] for start in range(max(1, len(plain) - 4))}


def near_copies(texts: Mapping[str, str], others: Mapping[str, str] | None = None) -> list[NearCopy]:
    """Pairs of texts whose character 5-grams have a Jaccard similarity of `NEAR` or more, as `NearIndex` finds them.

    Args:
        texts: Id -> text.
        others: What `texts` are compared with; without it, with each other.
    """
    index = NearIndex(texts if others is None else others)
    return sorted(
        NearCopy(name, other, similarity)
        for name, text in texts.items()
        for other, similarity in index.find(text)
        if others is not None or name < other
    )


def gold_rows(rows: Sequence[GoldRow]) -> list[Check]:
    """Whether there are enough labelled replies of each label, half of them hard, and no reply twice."""
    counts = Counter(_gold_part(row) for row in rows)
    judged = Counter(row.judged for row in rows)
    twice = [row.id for row in rows if judged[row.judged] > 1]
    return [
        size("gold", len(rows), LEAST["gold"]),
        *(size(part, counts[part], least) for part, least in LEAST.items() if part.startswith("gold, ")),
        *(_hard(prompt, [row for row in rows if row.prompt == prompt]) for prompt in FIELDS),
        Check("gold", "judged texts that occur twice", str(len(twice)), "0", not twice, twice),
    ]


def _hard(prompt: str, rows: Sequence[GoldRow]) -> Check:
    hard = sum(row.difficulty == "hard" for row in rows) / max(1, len(rows))
    low, high = HARD_SHARE
    return Check(f"gold, {prompt}", "hard rows", f"{hard:.1%}", f"{low:.0%}-{high:.0%}", low <= hard <= high)


def _gold_part(row: GoldRow) -> str:
    if LABELS[row.prompt]:
        return f"gold, {row.prompt} {row.label}"
    return "gold, a range" if row.label else "gold, no range"


def builtin(count_tokens: Callable[[str], int] | None = None) -> list[Check]:
    """All checks of the built-in sets.

    Args:
        count_tokens: Tokens of a text; without it lengths are compared in words alone.
    """
    from untrue.data import capability, deception, gold, scenarios, sets, unknowns
    from untrue.data.items import read_items

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
    parts = {archetype: [item for item in items if item.archetype == archetype] for archetype in ARCHETYPES}
    for archetype, part in parts.items():
        checks += [
            size(archetype, len(part), LEAST[archetype]),
            *lengths(archetype, [(item.id, item.honest_reply, item.dishonest_reply) for item in part], count_tokens),
            negation(archetype, part),
            bag_of_words(archetype, part, BAG_OF_WORDS_ARCHETYPE),
        ]
    checks += [
        size("all items", len(items), LEAST["all items"]),
        negation("all items", items),
        bag_of_words("all items", items, BAG_OF_WORDS),
    ]

    judged = gold.read_gold()
    pairs, situations, choices = unknowns.read_unknowns(), deception.read_deception(), capability.read_capability()
    checks += [
        size("unknowns", len(pairs), LEAST["unknowns"]),
        *lengths("unknowns", [(pair.id, pair.unanswerable, pair.answerable) for pair in pairs], count_tokens),
        *lengths("unknowns, replies", [(pair.id, pair.admission, pair.invention) for pair in pairs], count_tokens),
        size("deception", len(situations), LEAST["deception"]),
        size("capability", len(choices), LEAST["capability"]),
        *gold_rows(judged),
    ]
    settings = {
        "all items": {item.id: f"{item.system_prompt} {item.user_prompt}" for item in items},
        "unknowns": {pair.id: pair.unanswerable for pair in pairs},
        "deception": {item.id: item.system_prompt for item in situations},
        "capability": {item.id: item.question for item in choices},
    }
    for name in scenarios.ENVIRONMENTS:  # their prompts are trained on, with what a model replied
        found = scenarios.read_environment(name).scenarios
        prompts = {
            f"{scenario.id}/u{number}": user.user_prompt
            for scenario in found
            for number, user in enumerate(scenario.users, 1)
        }
        checks += [
            size(name, len(found), LEAST[name]),
            size(f"{name}, users", len(prompts), LEAST[f"{name}, users"]),
            *lengths(name, [(one.id, one.honest_reply, one.pleasing_reply) for one in found], count_tokens),
            _negation(name, "negation in the truth", [(one.truth, one.wanted) for one in found]),
        ]
        asked[name] = prompts
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
    labelled = {f"{row.id}/{field}": text for row in judged for field, text in row.fields.items()}
    checks.append(_no_near_copies("gold and eval sets", near_copies(labelled, evaluated)))
    return checks


def _no_near_copies(subject: str, found: Sequence[NearCopy]) -> Check:
    return Check(
        subject, "near copies", str(len(found)), "0", not found, [f"{copy.first} ~ {copy.second}" for copy in found]
    )
