# Every target sets up .venv first, once, and again when pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NAME ?= demo

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help demo test test-shapes test-full test-all test-slow lint format types docs benchmark sampler-errors faults figures notebooks pictures unmelting likelihood priors sampling restoration clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV), once: it takes some minutes"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unmelt needs Python 3.11 or newer: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@# All that is pinned, which leaves pip nothing to choose; then what this system needs besides. Compiled when imported.
	@$(BIN)/pip install --quiet --no-compile --no-deps --requirement constraints.txt
	@$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

# As many threads as cores are free: one too many has all of them wait for its turn. torch reads it when it is imported.
FREE := import psutil; print(max(1, round(psutil.cpu_count() * (1 - psutil.cpu_percent(1) / 100))))

demo: $(READY) ## Train heat dissipation on 28x28 digits on the CPU (a few minutes) and draw samples
	@echo "training on the digits; the run goes to runs/$(NAME)"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$$($(BIN)/python -c '$(FREE)')} $(BIN)/python recipes/demo.py --name $(NAME)

test: $(READY) ## Prove the mathematics: the fast tests, on two cores in a few minutes
	@# Two processes of one thread each: threads that wait for each other's turn would cost more than they do.
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

test-shapes: $(READY) ## The floors that all others stand on, with the shapes in signatures checked on every call
	@# A few examples of each property tell whether shapes are what signatures say; what compares numbers is left out.
	@OMP_NUM_THREADS=1 UNMELT_CHECK_SHAPES=1 UNMELT_EXAMPLES=3 $(BIN)/pytest -n 2 --dist worksteal -k "not formula and not dense and not every_law" \
		tests/core tests/degradations tests/models

test-full: $(READY) ## The rest: all processes by all laws, compiled code, runs from end to end, the wheel (ten minutes more)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "full and not slow"

test-all: test test-shapes test-full ## All three

test-slow: $(READY) ## The tests that take minutes: the whole demo, its quality, time and memory
	@$(BIN)/pytest -m slow

lint: $(READY) ## Check style and docstrings (ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(READY) ## Put the code into ruff's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(READY) ## Type-check the built and installed wheel (strict), then recipes and benchmarks against it
	@rm -rf build
	@$(BIN)/python -m build --wheel --outdir build/wheel . >build.log 2>&1 || (cat build.log; rm -f build.log; exit 1)
	@rm -f build.log
	@$(BIN)/pip install --quiet --no-deps --target build/installed build/wheel/*.whl
	@$(BIN)/pyright --level warning --warnings

benchmark: $(READY) ## Time the process beside hand-written forms, and a run on whatever device is there
	@$(BIN)/python benchmarks/speed.py
	@$(BIN)/python benchmarks/transforms.py
	@$(BIN)/python benchmarks/device.py
	@$(BIN)/python benchmarks/samplers.py --quick

sampler-errors: $(READY) ## Measure samplers' error against network calls, for benchmarks/results (ten minutes; RIVALS="--azula FOLDER ...")
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/samplers.py --save benchmarks/results $(RIVALS)

faults: $(READY) ## Kill, stop and damage runs, and write what they lose to benchmarks/results/faults.md (a quarter of an hour)
	@$(BIN)/python benchmarks/faults --save benchmarks/results

docs: $(READY) ## Build the site of the documentation, strictly: build/site/index.html
	@rm -rf docs/reference/names build/site
	@OMP_NUM_THREADS=1 $(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs/site docs build/site

figures: $(READY) ## Draw the figures of the documentation (a minute and a half)
	@$(BIN)/python docs/drawing/family_figures.py
	@$(BIN)/python docs/drawing/concept_figures.py

notebooks: $(READY) ## Execute the notebooks and store their outputs (ten minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python docs/notebooks/execute.py

likelihood: $(READY) ## Train three small models and write the tables of docs/concepts/likelihood.md (twenty minutes)
	@$(BIN)/python recipes/studies/likelihood.py

priors: $(READY) ## Measure what samples owe to each prior; tables of docs/concepts/priors.md (ten minutes, models of `make likelihood`)
	@$(BIN)/python recipes/studies/priors.py

sampling: $(READY) ## Train two small models; pictures and tables of docs/concepts/sampling.md (half an hour)
	@$(BIN)/python recipes/studies/sampling.py

restoration: $(READY) ## Restore photographs; picture and tables of docs/how_to/restoration.md (half an hour)
	@$(BIN)/python recipes/studies/restoration.py

pictures: $(READY) ## Make the pictures that pages show of the demo (a minute; needs Chromium)
	@$(BIN)/python docs/drawing/demo_pictures.py runs/$(NAME)

unmelting: $(READY) ## Make the moving picture of README, of runs/fashion_heat (a minute)
	@$(BIN)/python docs/drawing/moving_picture.py runs/fashion_heat

clean: ## Remove .venv, build products and caches (runs stay)
	@rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis *.egg-info
