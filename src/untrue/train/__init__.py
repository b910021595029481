"""Training: LoRA fine-tuning of a model on rows, supervised or by KTO.

The package can be called: `untrue.train(model, rows, out=…)` is `untrue.api.train`, though this package has its name.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **settings: Any) -> Any:
        from untrue.api import train

        return train(*args, **settings)


sys.modules[__name__].__class__ = _Callable
