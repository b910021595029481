"""Identity of a model: hashes of everything that can change its figures, of weights tensor by tensor."""

import hashlib
import json
import mmap
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from untrue.errors import MachineError
from untrue.files import content_hash, write_text

PASSING = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "architectures")
"""Keys of a model's config that change no figure, or are told apart elsewhere."""

_CONTROL = re.compile(r"<.*>|\[.*\]", re.DOTALL)


def weights_hash(folder: Path) -> str:
    """The first 16 hex digits of the SHA-256 of a model's tensors in safetensors: names, types, shapes and values.

    OSError if the files are missing or unreadable, ValueError if one is damaged.
    """
    files = _files(folder)
    stamps = [(str(file.resolve()), *stamp(file)) for file in files]
    key = content_hash(json.dumps(stamps))
    known = _known()
    if key not in known:
        known[key] = _tensors_hash(files)
        _keep(known)
    return known[key]


def stamp(file: Path) -> tuple[int, ...]:
    """What differs once a file is written or replaced, even by a copy that keeps size and time of modification."""
    about = file.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def live_hash(model: Any) -> str:
    """`weights_hash` of a model in memory, without tied weights: that of its files, if these have its dtype."""
    from safetensors.torch import save

    tied = model.all_tied_weights_keys
    tensors = model.state_dict()
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if name in tied and tensors.get(tied[name]) is not None and tensors[tied[name]].data_ptr() == tensor.data_ptr():
            continue
        content = save({name: tensor.detach().cpu().contiguous().clone()})
        start = 8 + int.from_bytes(content[:8], "little")
        about = json.loads(content[8:start])[name]
        _update(digest, name, about, memoryview(content)[start:])
    return digest.hexdigest()[:16]


def shapes(folder: Path) -> dict[str, list[int]]:
    """Name -> shape of the tensors in a model's folder, from the heads of its files; errors as `weights_hash`."""
    return {name: about["shape"] for file in _files(folder) for name, about in _head(file)[0].items()}


def folder_hash(folder: Path) -> str:
    """Hash of the weights, config, tokenizer and template in a model's folder."""
    try:
        parts = [weights_hash(folder)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        parts = []
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*.model")]):
        parts += [file.name, hashlib.sha256(file.read_bytes()).hexdigest()]
    return content_hash(" ".join(parts))


def config_hash(config: Any) -> str:
    """Hash of a model's architecture and numbers such as RoPE's theta."""
    content = {key: value for key, value in config.to_dict().items() if key not in PASSING}
    return content_hash(json.dumps(content, sort_keys=True, default=str))


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash of a fast tokenizer: its vocabulary, merges, normalisation and special tokens."""
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend |= {"padding": None, "truncation": None}  # settings of the last call
    splits = getattr(tokenizer, "split_special_tokens", False)
    return content_hash(f"{json.dumps(backend, sort_keys=True)} {special} {splits}")


def tokenisation_hash(tokenizer: Any) -> str:
    """Hash of how a fast tokenizer splits texts; margins per token can be compared only if it is equal.

    It covers the vocabulary with its merges, all processing, and the added tokens that a text may hold, but not tokens
    such as `<|im_end|>` or `[PAD]`, which stand in no text.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    parts = {name: backend[name] for name in ("normalizer", "pre_tokenizer", "model", "post_processor")}
    added = [
        token for token in backend["added_tokens"] if not (token["special"] and _CONTROL.fullmatch(token["content"]))
    ]
    splits = getattr(tokenizer, "split_special_tokens", False)
    return content_hash(json.dumps([parts, added, splits], sort_keys=True))


def _files(folder: Path) -> list[Path]:
    if (whole := folder / "model.safetensors").is_file():
        return [whole]
    index = folder / "model.safetensors.index.json"
    names = json.loads(index.read_text("utf-8"))["weight_map"].values()
    return [folder / name for name in sorted(set(names))]


def _head(file: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of each tensor, and the offset of their values."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _tensors_hash(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    places: dict[str, tuple[Path, dict[str, Any], int]] = {}
    for file in files:
        header, start = _head(file)
        places |= {name: (file, about, start) for name, about in header.items()}
    for name, (file, about, start) in sorted(places.items()):
        first, last = about["data_offsets"]
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if start + last > len(content):
                raise ValueError(f"{file}: is cut off")
            _update(digest, name, about, memoryview(content)[start + first : start + last])
    return digest.hexdigest()[:16]


def _update(digest: Any, name: str, about: dict[str, Any], values: memoryview) -> None:
    digest.update(json.dumps([name, about["dtype"], about["shape"]]).encode())
    digest.update(values)


def _known() -> dict[str, str]:
    with suppress(OSError, ValueError, AttributeError):
        return {str(key): str(value) for key, value in json.loads(_cache().read_text("utf-8")).items()}
    return {}


def _keep(known: dict[str, str]) -> None:
    """Keep the hashes in the cache if possible."""
    with suppress(OSError, MachineError):
        _cache().parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_cache().with_suffix(".lock")):
            write_text(_cache(), json.dumps(_known() | known, indent=0))


def _cache() -> Path:
    return user_cache_path("untrue") / "weights.json"
