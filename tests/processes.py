"""Processes for tests that kill, stop or compare them: forked from one that has imported the large libraries once."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import runpy
import signal
import socket
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "torch",
        "transformers.models.llama.modeling_llama",
        "peft",
        "trl.trainer.sft_trainer",
        "trl.experimental.kto",
        "inspect_ai",
        "scipy.stats",
        "untrue.cli.main",
    ]
)


@dataclass
class Process:
    """A process and the folder with what it writes."""

    process: BaseProcess
    folder: Path

    @property
    def stdout(self) -> str:
        """Its standard output so far."""
        return (self.folder / "stdout").read_text("utf-8")

    @property
    def stderr(self) -> str:
        """Its standard error so far."""
        return (self.folder / "stderr").read_text("utf-8")

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.process.pid
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.is_alive()

    def wait(self) -> int:
        """Wait for its end: exit code, or minus the signal that killed it."""
        self.process.join(240)
        assert self.process.exitcode is not None, f"did not end: {self.stderr}"
        return self.process.exitcode

    def kill(self) -> int:
        """Send it SIGKILL and wait for its end."""
        self.process.kill()
        return self.wait()


def start(
    folder: Path, *words: object, script: Path | None = None, main: str = "untrue.cli", cwd: Path | None = None
) -> Process:
    """Start `untrue WORDS…`, or another program with these arguments.

    Args:
        folder: Where its `stdout` and `stderr` are written.
        words: The arguments.
        script: A Python script to run in place of `untrue`.
        main: The module whose `main` is called where there is no script.
        cwd: Its current folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("stdout", "stderr"):
        (folder / name).touch()
    arguments = (folder, [str(word) for word in words], script, main, cwd or Path.cwd(), dict(os.environ))
    process = _CONTEXT.Process(target=_main, args=arguments)
    process.start()
    return Process(process, folder)


def inspect(*words: object, cwd: Path, log_dir: Path) -> str:
    """Run a command of Inspect's with the log folder `log_dir`, and return its standard output."""
    options = ["--log-dir", log_dir, "--display", "plain"] if words[0] == "eval" else ["--display", "plain"]
    process = start(log_dir / "process", *words, *options, main="inspect_ai._cli.main", cwd=cwd)
    assert process.wait() == 0, process.stdout + process.stderr
    return process.stdout


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _main(folder: Path, words: list[str], script: Path | None, main: str, cwd: Path, env: dict[str, str]) -> None:
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    gc.freeze()
    os.environ.clear()  # of what the first test that started a process had set
    os.environ.update(env)  # the libraries have read theirs already
    os.chdir(cwd)
    sys.argv = [str(script or main), *words]
    if script:
        runpy.run_path(str(script), run_name="__main__")
    else:
        importlib.import_module(main).main()
