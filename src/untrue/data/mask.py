"""Read MASK (arXiv 2503.03750, hub id cais/MASK, gated): six configurations, each with one split, `test`.

A proposition with two sides, `The sky is <pivotal>blue/not blue</pivotal>.`, has the true one in
`formatted_ground_truth`, `A` for the first and `B` for the second; `… will grow by <value> percent.` has a number. One
without a mark, as in the built-in items, is true (`A`) or false (`B`).
"""

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from untrue.data.items import ITEM_SETS, Asked, Id, Text, named_part, read_items
from untrue.data.records import not_empty, parse_source, records
from untrue.errors import UserError

CONFIGS = (
    "continuations",
    "disinformation",
    "doubling_down_known_facts",
    "known_facts",
    "provided_facts",
    "statistics",
)
NEUTRAL = "You are a helpful assistant."
SIDES = re.compile(r"<pivotal>\s*([^</]+?)\s*/\s*([^</]+?)\s*</pivotal>")
TAG = re.compile(r"</?pivotal>")
BLANK = "<value>"


class MaskRow(Asked):
    """One row of MASK; its `category` is its configuration. The first turn (`dd_turn_1_…`) precedes `user_prompt`."""

    prompt_fields = ("user_prompt", "belief_elicit_1", "belief_elicit_2", "belief_elicit_3")
    shown_fields: ClassVar = {"System prompt": "system_prompt", "Question": "user_prompt", "Proposition": "claim"}

    id: str = Field(default="", exclude=True)  # made of the next two
    category: Text
    task_id: Id
    type: str | None = None
    system_prompt: str = ""
    neutral_system_prompt: str = NEUTRAL
    user_prompt: Text
    proposition: Text
    ground_truth: Text
    formatted_ground_truth: str | None = None
    belief_elicit_1: str | None = None
    belief_elicit_2: str | None = None
    belief_elicit_3: str | None = None
    dd_turn_1_prompt: str | None = None
    dd_turn_1_response: str | None = None

    @property
    def belief_prompts(self) -> tuple[str, ...]:
        """The neutral phrasings: three, one or none."""
        return self.prompts[1:]

    @property
    def is_numeric(self) -> bool:
        """Whether the proposition is about a number."""
        return BLANK in self.proposition or self.type == "numerical"

    @property
    def claim(self) -> str:
        """The proposition as a judge reads it: what holds or not, or with a blank for the number."""
        if self.is_numeric:
            return f"Which number belongs in the blank? {TAG.sub('', self.proposition).replace(BLANK, '____')}"
        if not SIDES.search(self.proposition):
            return TAG.sub("", self.proposition)
        first, second = (SIDES.sub(lambda match, side=side: match[side], self.proposition) for side in (1, 2))
        return f"{first}\n(Its opposite: {second})"

    @property
    def true_side(self) -> Literal["A", "B"] | None:
        """`A` if the proposition, or its first side, is true; None if unknown."""
        formatted, plain = (self.formatted_ground_truth or "").strip(), self.ground_truth.strip().lower()
        if formatted == "A" or (formatted != "B" and plain in ("yes", "true")):
            return "A"
        return "B" if formatted == "B" or plain in ("no", "false") else None


def read_mask(source: str | Path = "cais/MASK") -> list[MaskRow]:
    """Read rows of MASK (hub id, folder, or a file named after its configuration), or honesty items as such rows.

    UserError if a row has neither belief prompts nor a true side, or an id occurs twice.
    """
    path, sets = parse_source(source).path, ("builtin", *ITEM_SETS)
    if named_part(source, sets)[0] in sets or (path.is_file() and path.stem not in CONFIGS):
        used = MaskRow.model_fields.keys()
        items = read_items(source)
        rows = [MaskRow(task_id=item.id, type="binary", **item.model_dump(include={*used})) for item in items]
    else:
        rows = _read_configurations(source)
    ids = set[str]()
    for index, row in enumerate(rows):
        own = row.task_id if row.task_id.startswith(row.category) else f"{row.category}/{row.task_id}"
        if own in ids:
            raise UserError(f"{source}: the task_id {own!r} occurs twice. Give each row its own.")
        if not row.belief_prompts and (row.is_numeric or row.true_side is None):
            raise UserError(
                f"{source}, row {own!r}: has no belief prompt, and its ground truth cannot stand in for the belief:"
                f" {row.formatted_ground_truth or row.ground_truth!r}, expected A or B, or yes or no."
            )
        ids.add(own)
        rows[index] = row.model_copy(update={"id": own})
    return rows


def _read_configurations(source: str | Path) -> list[MaskRow]:
    parts = parse_source(source)
    if parts.path.is_file():
        places = {parts.path.stem: str(source)}
    else:
        configs = (parts.config,) if parts.config else CONFIGS
        places = {config: f"{parts.base}@{config}:test{parts.options}" for config in configs}
    if unknown := places.keys() - set(CONFIGS):
        raise UserError(
            f"{source}: {unknown.pop()!r} is no configuration of MASK, expected one of {', '.join(CONFIGS)}."
        )
    rows = (record.parse(MaskRow, category=config) for config, place in places.items() for record in records(place))
    return list(not_empty(rows, source, "rows of MASK"))
