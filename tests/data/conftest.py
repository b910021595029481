"""Files in the formats that others use, made small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes records to a file in the format that its suffix says; `.json` is an array."""

    def save(name: str, records: list[dict[str, Any]]) -> Path:
        from datasets import Dataset

        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
        elif path.suffix == ".json":
            path.write_text(json.dumps(records, indent=2), "utf-8")
        elif path.suffix == ".csv":
            Dataset.from_list(records).to_csv(path)
        else:
            Dataset.from_list(records).to_parquet(path)
        return path

    return save
