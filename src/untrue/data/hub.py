"""Data sets in the hub's format, on the hub or in a folder, streamed by the library datasets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from untrue.errors import MachineError, UntrueError, UserError, one_line
from untrue.files import is_disk_full


def dataset_rows(
    name: str, base: str, config: str | None, split: str | None, revision: str | None
) -> Iterator[dict[str, Any]]:
    """Give the rows of a data set, streamed. Without a split it is `train`, or the only one there is.

    Args:
        name: What errors call it.
        base: Its hub id or folder.
        config: Its configuration.
        split: Its split.
        revision: A branch, tag or commit of the hub.

    Raises:
        UserError: It cannot be read.
        MachineError: The hub could not be reached.
    """
    with _errors(name, base):
        rows = _load(base, config, split, revision)
        if split is None:
            chosen = "train" if "train" in rows else next(iter(rows))
            if chosen != "train" and len(rows) > 1:
                raise UserError(f"{name}: has the splits {', '.join(rows)}. Add one to its name, such as :{chosen}.")
            rows = rows[chosen]
        yield from rows


def _load(base: str, config: str | None, split: str | None, revision: str | None) -> Any:
    """The data set, streamed; the hub's warnings of its retries stay off the terminal."""
    from datasets import load_dataset
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return load_dataset(base, config, split=split, revision=revision, streaming=True)
    finally:
        logging.set_verbosity(level)


@contextmanager
def _errors(name: str, base: str) -> Iterator[None]:
    """Say on one line, in the library's own words, why a data set cannot be read."""
    try:
        yield
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


def is_unreached(error: BaseException) -> bool:
    """Whether an error, or what it came of, says that the hub could not be reached, or has trouble of its own."""
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
