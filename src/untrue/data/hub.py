"""Data sets in the hub's format, on the hub or in a folder, streamed by the library datasets; files of the hub."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from untrue.data.source import Source
from untrue.errors import MachineError, UntrueError, UserError
from untrue.files import is_disk_full

PERSONA_VECTORS = "safety-research/persona_vectors"


class HubFiles(NamedTuple):
    """Places of files in a data set of the hub, and whether they are all that there are."""

    places: list[PurePosixPath]
    complete: bool


def dataset_rows(source: Source) -> Iterator[dict[str, Any]]:
    """Give the rows of a data set, streamed.

    Args:
        source: The data set.

    Raises:
        UserError: There is no such data set, configuration, split or revision, it is gated, or it cannot be read.
        MachineError: The hub could not be reached.
    """
    with _errors(source):
        splits = _load(source)
        if source.split is None:
            split = "train" if "train" in splits else next(iter(splits))
            if split != "train" and len(splits) != 1:
                example = source._replace(split=split)
                raise UserError(f"{source}: has the splits {', '.join(splits)}. Say which: {example}.")
            splits = splits[split]
        yield from splits


def hub_files(source: Source) -> HubFiles:
    """List the files of a data set of the hub; those downloaded before, where it cannot be reached.

    Args:
        source: The data set.

    Raises:
        UserError: There is no such data set or revision, or it is gated.
        MachineError: The hub could not be reached, and nothing was downloaded before.
    """
    from huggingface_hub import HfApi

    with _errors(source):
        try:
            siblings = HfApi().dataset_info(source.base, revision=source.revision).siblings or ()
            return HubFiles([PurePosixPath(file.rfilename) for file in siblings], complete=True)
        except Exception as error:
            if not is_unreached(error):
                raise
            try:
                here = _snapshot(source, allow_patterns=[], local_files_only=True)
            except FileNotFoundError:
                raise error from None
            places = (path.relative_to(here) for path in Path(here).rglob("*") if path.is_file())
            return HubFiles([PurePosixPath(path.as_posix()) for path in places], complete=False)


def download(source: Source, files: Sequence[PurePosixPath]) -> Path:
    """Download files of a data set of the hub, unless they are in its cache, and give the folder that they lie in.

    Args:
        source: The data set.
        files: Their places in its repository.

    Raises:
        UserError: It is gated, or a file cannot be had.
        MachineError: The hub could not be reached.
    """
    from tqdm.auto import tqdm

    class Quiet(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"disable": True})

    with _errors(source):
        patterns = [escape(str(path)) for path in files]
        return Path(_snapshot(source, allow_patterns=patterns, tqdm_class=Quiet))


def _snapshot(source: Source, **options: Any) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(source.base, repo_type="dataset", revision=source.revision, **options)


def _load(source: Source) -> Any:
    """The data set, streamed; the hub's warnings of its retries stay off the terminal."""
    from datasets import load_dataset
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return load_dataset(source.base, source.config, split=source.split, revision=source.revision, streaming=True)
    finally:
        logging.set_verbosity(level)


@contextmanager
def _errors(source: Source) -> Iterator[None]:
    try:
        yield
    except (UntrueError, MemoryError):
        raise
    except Exception as error:  # datasets raises what its many parts raise
        if is_disk_full(error):
            raise
        raise _error(source, error) from None


def _error(source: Source, error: BaseException) -> UntrueError:
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    chain, base = _chain(error), source.base
    text, first = str(error), first_line(chain[-1])
    if any(isinstance(cause, GatedRepoError) for cause in chain) or "is a gated dataset" in text:
        return UserError(
            f"{source}: is gated on the hub. Accept its terms at https://huggingface.co/datasets/{base}, make a token"
            " at https://huggingface.co/settings/tokens and log in with `hf auth login` (or set HF_TOKEN)."
        )
    if any(isinstance(cause, RevisionNotFoundError) for cause in chain):
        return UserError(f"{source}: has no such revision on the hub. Give a branch, a tag, or the hash of a commit.")
    if configs := re.search(r"Config name is missing.*?available configs: (\[.*?\])", text, re.DOTALL):
        names = configs[1].strip("[]").replace("'", "")
        first_config = source._replace(config=names.split(", ")[0])
        return UserError(f"{source}: has the configurations {names}. Say which: {first_config}.")
    if "BuilderConfig" in text or "Bad split" in text:
        return UserError(f"{source}: {first_line(error)}.")
    if "scripts are no longer supported" in text:
        return UserError(f"{source}: needs code from its repository, which is never run here. Give one of its files.")
    if isinstance(error, EmptyDatasetError | DataFilesNotFoundError):
        return UserError(f"{source}: holds no data files (parquet, CSV or JSON).")
    if Path(base).is_dir():
        return UserError(f"{source}: is a folder that cannot be read as a data set ({first}).")
    if isinstance(error, DatasetNotFoundError | RepositoryNotFoundError):
        if base.lower() == PERSONA_VECTORS:
            return UserError(
                f"{source}: not on the hub. Its data is dataset.zip in https://github.com/{PERSONA_VECTORS}: unzip it"
                " and give a folder of it, such as dataset/mistake_medical."
            )
        return UserError(
            f"{source}: no such data set on the hub, nor a file or folder here. Check the name; if it is private, log"
            " in with `hf auth login`."
        )
    if is_unreached(error):
        return unreached(source)
    return UserError(f"{source}: cannot be read from the hub ({first}).")


def unreached(source: Source) -> MachineError:
    """The error of a data set that is not here, while the hub cannot be reached."""
    return MachineError(
        f"{source}: no file or folder here, and the data hub could not be reached. Check the name and the network,"
        " or download it and give its folder."
    )


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it came of."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    return chain


def is_unreached(error: BaseException) -> bool:
    """Whether an error, or what it came of, says that the hub could not be reached, or has trouble of its own."""
    from huggingface_hub.errors import HfHubHTTPError

    return any(
        isinstance(cause, ConnectionError | TimeoutError)
        or any(base.__name__ == "TransportError" for base in type(cause).__mro__)  # httpx, or httpx2 in newer hubs
        or (isinstance(cause, HfHubHTTPError) and cause.response.status_code >= 500)
        for cause in _chain(error)
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".")
