"""Data sets in the hub's format, on the hub or in a folder, streamed by the library datasets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from untrue.errors import MachineError, UntrueError, UserError, one_line
from untrue.files import is_disk_full


def dataset_rows(
    name: str, base: str, config: str | None, split: str | None, revision: str | None
) -> Iterator[dict[str, Any]]:
    """Give the rows of a hub id or folder, streamed; MachineError if the hub cannot be reached.

    The default split is `train` or the only one. A UserError is one line in the library's own words.
    """
    try:
        rows = _load(base, config, split, revision)
        if split is None:
            chosen = "train" if "train" in rows else next(iter(rows))
            if chosen != "train" and len(rows) > 1:
                raise UserError(f"{name}: has the splits {', '.join(rows)}. Add one to its name, such as :{chosen}.")
            rows = rows[chosen]
        yield from rows
    except (UntrueError, MemoryError):
        raise
    except Exception as error:  # datasets raises what its many parts raise
        if is_disk_full(error):
            raise
        if is_unreached(error) and not Path(base).is_dir():
            raise MachineError(
                f"{name}: no file or folder here, and the hub could not be reached. Check the name and the network."
            ) from None
        raise UserError(f"{name}: cannot be read as a data set ({one_line(error)}).") from None


def _load(base: str, config: str | None, split: str | None, revision: str | None) -> Any:
    from datasets import load_dataset
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # the hub's warnings of its retries
    try:
        return load_dataset(base, config, split=split, revision=revision, streaming=True)
    finally:
        logging.set_verbosity(level)


def is_unreached(error: BaseException) -> bool:
    """Whether an error, or a cause of it, says that the hub could not be reached, or has trouble of its own."""
    from huggingface_hub.errors import HfHubHTTPError

    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    return any(
        isinstance(cause, ConnectionError | TimeoutError)
        or any(base.__name__ == "TransportError" for base in type(cause).__mro__)  # httpx, or httpx2 in newer hubs
        or (isinstance(cause, HfHubHTTPError) and cause.response.status_code >= 500)
        for cause in chain
    )
