"""Hyperparameters: TRL's names are accepted for ours, one of them at a time."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from untrue.errors import UserError
from untrue.settings import assignments, validate
from untrue.training.method import TRL_NAMES
from untrue.training.spec import TrainSpec


def override(texts: list[str]) -> TrainSpec:
    return validate(TrainSpec, assignments(texts), "override")


VALUES = {
    "epochs": 3.0,
    "batch_size": 2,
    "gradient_accumulation": 4,
    "schedule": "cosine",
    "lora_rank": 8,
    "rslora": True,
    "target_modules": ("q_proj",),
}


@pytest.mark.parametrize("name", TRL_NAMES)
def test_trls_name_sets_the_same_hyperparameter_and_ours_is_dumped(name: str):
    by_trl = TrainSpec.model_validate({TRL_NAMES[name]: VALUES[name]})
    assert by_trl == TrainSpec.model_validate({name: VALUES[name]}) != TrainSpec()
    assert by_trl.model_dump()[name] == VALUES[name]
    assert TRL_NAMES[name] not in by_trl.model_dump()


def test_trls_names_are_trls():
    from trl.trainer.model_config import ModelConfig
    from trl.trainer.sft_config import SFTConfig

    fields = {**SFTConfig.__dataclass_fields__, **ModelConfig.__dataclass_fields__}
    assert {*TRL_NAMES.values(), "learning_rate", "max_length", "weight_decay", "warmup_steps"} <= fields.keys()


@pytest.mark.parametrize("name", TRL_NAMES)
def test_both_names_at_once_are_refused(name: str):
    value = VALUES[name]
    with pytest.raises(ValidationError, match=f"{TRL_NAMES[name]} is TRL's name for {name}; give one of the two"):
        TrainSpec.model_validate({name: value, TRL_NAMES[name]: value})


def test_errors_name_the_key_that_was_given():
    with pytest.raises(UserError, match=r"override: num_train_epochs: input should be greater than 0"):
        override(["num_train_epochs=0"])
    with pytest.raises(UserError, match=r"override: lora_ran: unknown key\. Did you mean 'lora_rank'\?"):
        override(["lora_ran=0"])
    with pytest.raises(UserError, match=r"num_train_epoch: unknown key\. Did you mean 'num_train_epochs'\?"):
        override(["num_train_epoch=1"])


def test_the_spec_and_the_command_line_do_without_torch():
    code = "import sys, untrue.cli.main, untrue.study.config, untrue.training.spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
