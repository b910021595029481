"""Texts that are nearly the same as another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasketch import MinHash

NEAR = 0.5
"""Jaccard similarity of the character 5-grams of two texts from which one counts as a near copy of the other."""


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
        copies = []
        for name in map(str, self._index.query(self._sketch(shingles))):
            similarity = len(shingles & self._grams[name]) / len(shingles | self._grams[name])
            if similarity >= NEAR:
                copies.append((name, similarity))
        return copies

    def _sketch(self, shingles: set[str]) -> MinHash:
        sketch = self._first.copy()  # drawing its permutations anew would take longer than all the rest
        sketch.update_batch([shingle.encode() for shingle in shingles])
        return sketch


def grams(text: str) -> set[str]:
    """The character 5-grams of the words of a text, in small letters."""
    plain = " ".join(re.findall(r"\w+", text.lower()))
    return {plain[start : start + 5] for start in range(max(1, len(plain) - 4))}
