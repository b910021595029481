"""Texts that are nearly the same as another."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import chain

NEAR = 0.5
"""Jaccard similarity of the character 5-grams of two texts from which one counts as a near copy of the other."""


class NearIndex:
    """Texts, by their ids, in which all near copies of a text are looked up."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._sizes = dict[str, int]()
        self._names = defaultdict[str, list[str]](list)  # of the texts that have a 5-gram
        for name, text in texts.items():
            shingles = grams(text)
            self._sizes[name] = len(shingles)
            for shingle in shingles:
                self._names[shingle].append(name)

    def find(self, text: str) -> list[tuple[str, float]]:
        """Names of the texts whose similarity to `text` is `NEAR` or more, with that similarity, in no order."""
        shingles = grams(text)
        shared = Counter(chain.from_iterable(self._names.get(shingle, ()) for shingle in shingles))
        similarities = ((name, count / (len(shingles) + self._sizes[name] - count)) for name, count in shared.items())
        return [(name, similarity) for name, similarity in similarities if similarity >= NEAR]


def grams(text: str) -> set[str]:
    """The character 5-grams of the words of a text, in small letters."""
    plain = " ".join(re.findall(r"\w+", text.lower()))
    return {plain[start : start + 5] for start in range(max(1, len(plain) - 4))}
