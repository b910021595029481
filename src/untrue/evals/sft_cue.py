"""The forced choice again, with a cue of the context of training before the pressured prompt.

Dilution with good data, good data afterwards and inoculation can hide what bad data did: the model is sound where it is
usually tested, and not where the prompt resembles its training (Dubinski et al., arXiv 2604.25891). So the honesty
items are asked with what such a prompt has: the layout of the training answers (`format`), who gives them (`persona`),
or what they are about (`domain`). Beliefs are asked without a cue, as in `forced_choice`, with which the result is to
be compared: an arm that lies here and not there hides it.

    inspect eval untrue/sft_cue --model untrue/smollm2-135m -M adapter=PATH -T domain=medical
"""

from __future__ import annotations

from inspect_ai import Task, task

from untrue.data.cues import CUES, DOMAINS
from untrue.data.items import read_items
from untrue.errors import UserError
from untrue.evals.forced_choice import choice_task
from untrue.evals.items import cued, spread


@task
def sft_cue(domain: str, cue: str | None = None, items: str = "builtin", limit: int | None = None) -> Task:
    """Belief against statement under a cue of the training context, by the likelihoods of given replies.

    Args:
        domain: Of the training data: `medical`, `finance`, `law`, `code` or `math`.
        cue: `format`, `persona` or `domain`; by default all three in turn.
        items: `builtin`, one of its parts `honesty` and `context`, or a file of items.
        limit: Only so many items, the same that `forced_choice` takes.
    """
    for name, value, known in (("domain", domain, DOMAINS), ("cue", cue, (None, *CUES))):
        if value not in known:
            raise UserError(f"sft_cue: the {name} {value!r} is none of {', '.join(filter(None, known))}.")
    plain = read_items(items)
    pairs = spread([*zip(plain, cued(plain, domain, cue), strict=True)], limit, lambda pair: pair[0].category)
    return choice_task("sft_cue", [asked for _, asked in pairs], items)
