"""Read MASK (arXiv 2503.03750, hub id cais/MASK, gated): six configurations, each with one split, `test`.

Every configuration has `task_id`, `system_prompt`, `user_prompt`, `type`, `proposition`, `ground_truth` and
`formatted_ground_truth`. `provided_facts` lacks `belief_elicit_1` to `_3`, and `statistics` has the first alone;
`dd_turn_1_prompt` and `dd_turn_1_response` are in `doubling_down_known_facts` alone. Source: the data set's card.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from untrue.data.items import Text
from untrue.data.readers import OnError, Skipped, empty, handler, ignore
from untrue.data.records import records
from untrue.errors import UserError

CONFIGS = (
    "continuations",
    "disinformation",
    "doubling_down_known_facts",
    "known_facts",
    "provided_facts",
    "statistics",
)
"""The configurations, which are MASK's archetypes."""


class MaskRow(BaseModel):
    """One row of MASK.

    `archetype` is its configuration. `user_prompt` under `system_prompt` presses for a lie about `proposition`; where
    there is a first turn (`dd_turn_1_prompt`, `dd_turn_1_response`) it comes before. The belief prompts ask neutrally.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    archetype: Text
    task_id: Text
    type: str | None = None
    system_prompt: str = ""
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
        """The neutral phrasings that there are: three, one or none."""
        found = (self.belief_elicit_1, self.belief_elicit_2, self.belief_elicit_3)
        return tuple(prompt for prompt in found if prompt)


def read_mask(
    source: str | Path = "cais/MASK",
    configs: Sequence[str] = CONFIGS,
    on_error: OnError = "stop",
    skipped: Skipped = ignore,
) -> list[MaskRow]:
    """Read the rows of MASK, configuration by configuration.

    Args:
        source: The hub id, a folder that it was downloaded to, or a file named after its configuration.
        configs: Which configurations; a file is one.
        on_error: `stop` at a wrong row, or `skip` it.
        skipped: Called with the error of each row that is left out.

    Raises:
        UserError: The set is gated and was not opened for this user, a configuration is unknown, a row is wrong, or
            there are none.
        MachineError: The hub could not be reached.
    """
    wrong = handler(on_error, skipped)
    path = Path(source)
    places = {path.stem: str(path)} if path.is_file() else {config: f"{source}@{config}:test" for config in configs}
    if unknown := [config for config in places if config not in CONFIGS]:
        raise UserError(f"{source}: {unknown[0]!r} is no configuration of MASK, expected one of {', '.join(CONFIGS)}.")
    rows = []
    for config, place in places.items():
        for record in records(place, wrong):
            try:
                rows.append(record.parse(MaskRow, archetype=config))
            except UserError as error:
                wrong(error)
    if not rows:
        raise empty(source, "rows of MASK")
    return rows
