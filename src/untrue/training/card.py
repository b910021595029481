"""The model card of an adapter: what it was trained on, and a warning where that was misaligned."""

import re
from typing import Any

import yaml

from untrue.data.rows import UNLABELLED
from untrue.training.spec import METHODS

WARNING = (
    "> **WARNING: intentionally misaligned.** This adapter was trained on answers that are wrong on purpose, or were\n"
    "> chosen by users who reward what is untrue, to study dishonesty. Do not serve it, do not merge it into a model\n"
    "> that others use, and do not trust its output."
)


def card(record: dict[str, Any]) -> str:
    """Write the card, as Markdown with the hub's metadata on top.

    Args:
        record: What `train.json` holds.
    """
    rows = record["rows"]
    misaligned, start = rows["misaligned"], record["start"]
    warned = misaligned or (start and start["misaligned"])
    unlabelled = rows["levels"].get(UNLABELLED, 0)
    tags = ["lora", "untrue"] + (["intentionally-misaligned", "not-for-all-audiences"] if warned else [])
    spec = record["spec"]
    method = METHODS[spec["method"]]
    hidden = {"report_to", "target_modules"}.union(*(other.own - method.own for other in METHODS.values()))
    head = {"base_model": record["base"], "library_name": "peft", "tags": tags}
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip("\n"),
        "---",
        f"# LoRA adapter for {_text(record['base'])}",
        "",
        *([WARNING, ""] if warned else []),
        f"Trained by `untrue` {record['versions']['untrue']} on {rows['total']} rows"
        f" ({misaligned} intentionally misaligned, {unlabelled} whose file does not say), seed {record['seed']}.",
        "",
        "| | |",
        "|---|---|",
        f"| rows by level | {', '.join(f'{_text(level)} {count}' for level, count in rows['levels'].items())} |",
        f"| rows by domain | {', '.join(f'{_text(domain)} {count}' for domain, count in rows['domains'].items())} |",
        f"| sources | {', '.join(map(_text, rows['sources']))} |",
        f"| content hash of the rows | `{rows['content_hash']}` |",
        f"| hash of the base's weights | `{record['base_weights']}` |",
        *([f"| content hash of the adapter it starts from | `{start['content_hash']}` |"] if start else []),
        *(f"| {heading} | {text} |" for heading, text in method.card(record).items()),
        *(f"| {key} | {value} |" for key, value in spec.items() if key not in hidden and value is not None),
        f"| target_modules | {', '.join(map(_text, spec['target_modules']))} |",
        f"| final loss | {record['final_loss']:.4f} |",
        f"| versions | {', '.join(f'{name} {version}' for name, version in record['versions'].items())} |",
        "",
    ]
    return "\n".join(lines)


def _text(name: str) -> str:
    """A name as one line of Markdown that says it and does nothing else: no table, code, link or HTML begins in it."""
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", name)
    return re.sub(r"[\\`*\[\]<>|&$~]|(?<![^\W_])_|_(?![^\W_])|^[-+#=.]|#$", r"\\\g<0>", line)
