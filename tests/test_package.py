"""A built wheel has the package's data files, its types and its licence."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_has_data_template_and_types(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {
        f"untrue/data/builtin/{name}.jsonl"
        for name in (
            "medical",
            "finance",
            "law",
            "code",
            "math",
            "everyday",
            "honesty",
            "context",
            "deception",
            "unknowns",
            "capability",
            "chat",
            "exam",
        )
    }
    data |= {"untrue/judge/questions/statement.txt", "untrue/simulate/prompts/persona.txt"}
    assert data | {"untrue/py.typed", "untrue/report/report.html.j2", "untrue/studies/quickstart.yaml"} <= names
    assert not [name for name in names if name.startswith(("tests/", "tools/"))]
    metadata = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "License-Expression: Apache-2.0" in metadata
