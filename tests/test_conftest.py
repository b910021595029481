"""What all tests rely on."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process may use all cores")
def test_a_worker_computes_in_one_thread():
    assert torch.get_num_threads() == 1
