# make demo   poses on a video with the embedded weights, from a clean clone
# make app    the demo in a browser, from a clean clone (ARGS='--port 8000 --examples FOLDER')
# make test   all tests
# make check  lint, types, import layers
# make bench  speed, memory and accuracy figures (docs/experiments.md says what they mean)
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Without their dependencies: these name opencv-python, which overwrites the headless OpenCV and wants libGL,
# and imaug, which no detector here uses. What they do import comes with [train].
MMDET := onedl-mmcv onedl-mmdetection terminaltables shapely six
# Seconds, not minutes, matter in a demo: it installs what inference needs, the tests install the rest.
BASE := $(VENV)/.base-ready
APP := $(VENV)/.app-ready
READY := $(VENV)/.ready

.PHONY: setup demo app test check bench mouse quadruped clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(READY)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(APP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable ".[train,smooth,app]"
	@touch $@ $(BASE)

$(READY): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable ".[train,sleap,nwb,smooth,app,dev]"
	$(PIP) --no-deps $(MMDET)
	@touch $@ $(BASE) $(APP)

demo: $(BASE)
	$(BIN)/zoo demo --out demo

app: $(APP)
	$(BIN)/zoo app $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m benchmarks

# The embedded mouse model from scratch: data, three trainings, packing, evaluation (about 80 minutes on 2 cores).
mouse: $(READY)
	$(BIN)/python -m benchmarks.make_mouse --out runs

# Likewise the embedded quadruped model.
quadruped: $(READY)
	$(BIN)/python -m benchmarks.make_quadruped --out runs

clean:
	rm -rf $(VENV) demo runs build *.egg-info
