"""What a layout refuses before anything is started, and what accelerate and its plugins make of its configs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from tests.training.launched import arguments, environment
from untrue.errors import MachineError, UserError
from untrue.training import layout as layouts
from untrue.training.layout import SHARDS, Layout

ALL = [Layout(gpus, shard) for gpus in (1, 2, 4, 8) for shard in SHARDS if gpus > 1 or shard == "none"]


def refusal(layout: Layout, batch_size: int = 16, quantize: str | None = None) -> str:
    with pytest.raises((UserError, MachineError)) as error:
        layout.check(batch_size, quantize)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def eight_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_gpus", lambda: 8)


@pytest.fixture
def no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "find_spec", lambda name: None)


def test_a_batch_is_split_evenly():
    assert [Layout(gpus).rows_each(16) for gpus in (1, 2, 4, 8)] == [16, 8, 4, 2]
    with pytest.raises(UserError, match=r"^batch_size: 12 rows cannot be split evenly over 8 GPUs\. .*batch_size=16 "):
        Layout(8).rows_each(12)


@pytest.mark.usefixtures("eight_gpus", "no_extras")
def test_what_does_not_go_together_is_refused():
    assert refusal(Layout(1, "fsdp2")).startswith("shard: fsdp2 splits a model over GPUs, and there is 1.")
    assert refusal(Layout(2, "fsdp2"), quantize="nf4").startswith("quantize: nf4 does not work with shard=fsdp2")
    assert refusal(Layout(4), batch_size=6).startswith("batch_size: 6 rows cannot be split evenly over 4 GPUs.")
    assert refusal(Layout(), quantize="nf4").endswith("Run: pip install 'untrue[quantize]'")
    Layout(8, "fsdp2").check(16, None)


def test_fewer_gpus_than_are_asked_for_are_the_machines_lack(monkeypatch: pytest.MonkeyPatch):
    for there, words in ((0, "there are 0"), (1, "there is 1")):
        monkeypatch.setattr(layouts, "_gpus", lambda there=there: there)
        with pytest.raises(MachineError, match=f"^gpus: 2 are asked for, and {words}\\. "):
            Layout(2, "fsdp2").check(16, None)
    monkeypatch.setattr(layouts, "_gpus", lambda: 0)
    with pytest.raises(MachineError, match=r"^quantize: nf4 needs an NVIDIA GPU, and there is none\."):
        Layout().check(16, "nf4")


def test_processes_on_cpus_need_no_gpu_and_share_nothing():
    Layout(2, on_cpu=True).check(16, None)
    assert refusal(Layout(2, "fsdp2", on_cpu=True)) == "fsdp2: works on GPUs alone."


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: f"{layout.shard}-{layout.gpus}")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_accelerate_reads_each_config_as_it_is_meant(layout: Layout, dtype: str, tmp_path: Path):
    args = arguments(layout, dtype, tmp_path)
    kinds = (args.multi_gpu, args.use_fsdp)
    several = layout.gpus > 1
    assert kinds == (several and layout.shard == "none", layout.shard == "fsdp2")
    assert (args.num_processes, args.num_machines, args.use_cpu, args.cpu) == (layout.gpus, 1, False, False)
    assert args.mixed_precision == ("bf16" if dtype == "bfloat16" else "no")


def test_a_config_is_that_of_trl_but_for_what_we_say():
    theirs = yaml.safe_load((files("trl") / "accelerate_configs" / "fsdp2.yaml").read_text("utf-8"))
    ours, part = Layout(8, "fsdp2").accelerate_config("bfloat16"), "fsdp_config"
    own = {key for key, value in ours[part].items() if theirs[part].get(key) != value}
    assert own == {"fsdp_activation_checkpointing"}
    assert ours[part].keys() == theirs[part].keys()
    whole = {key for key, value in ours.items() if key != part and theirs.get(key) != value}
    assert whole == {"main_process_port"}


def test_the_plugin_of_fsdp2_shards_checkpoints_and_gathers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from accelerate.utils import FullyShardedDataParallelPlugin

    for name, value in environment(Layout(2, "fsdp2"), "bfloat16", tmp_path).items():
        monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.activation_checkpointing is True
    assert plugin.cpu_ram_efficient_loading is True
    assert str(plugin.state_dict_type) == "StateDictType.FULL_STATE_DICT"
