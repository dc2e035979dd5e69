# make figures | cifar | cifar-long | test | other-processor | lint | docs | browser | bench | fuzz | falsify | mutation | oldest | shuffled | clean: each target installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: figures cifar cifar-long test other-processor links lint docs browser bench fuzz falsify mutation oldest shuffled clean

figures: $(INSTALLED)
	$(BIN)/finegrain figures --out figures

# CIFAR-10 with five coarse labels: train, then recover the hidden classes. Killed, it goes on after its last checkpoint.
#   make cifar DATA=images:PATH      a folder or tar of images; by default the official archive, in this folder
DATA ?= cifar10:cifar-10-python.tar.gz
cifar: $(INSTALLED)
	$(BIN)/finegrain train configs/cifar.toml --data $(DATA)
	$(BIN)/finegrain recover configs/cifar.toml --data $(DATA)

cifar-long: $(INSTALLED)
	$(BIN)/finegrain train configs/cifar_long.toml --data $(DATA)
	$(BIN)/finegrain recover configs/cifar_long.toml --data $(DATA)

# One thread a process: the suite runs in parallel over processes instead. In its own order, also after make shuffled.
# worksteal gives each process tests that lie together, so that what a module's tests share is made once.
SUITE := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -p no:randomly
test: $(INSTALLED)
	$(SUITE)

# The suite with the kernels of other processors: an older one, one of AVX2, and one of AVX-512 where this processor
# has it. TESTS=tests/empirical runs a part of it.
TESTS ?= tests
other-processor: $(INSTALLED)
	ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default OPENBLAS_CORETYPE=Nehalem MKL_CBWR=COMPATIBLE $(SUITE) $(TESTS)
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OPENBLAS_CORETYPE=Haswell MKL_CBWR=AVX2 $(SUITE) $(TESTS)
	if grep -q avx512bw /proc/cpuinfo; then \
	    ATEN_CPU_CAPABILITY=avx512 OPENBLAS_CORETYPE=SkylakeX $(SUITE) $(TESTS); \
	fi

# Tools that read sources without running them look for finegrain.theory in finegrain/theory: a link, not in git.
PACKAGES := theory sims empirical paper_figs
links:
	for name in $(PACKAGES); do ln -sfn ../$$name finegrain/$$name; done

lint: $(INSTALLED) links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site, into build/site.
docs: $(INSTALLED) links
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The report in a headless Chromium, which must be installed with its driver.
browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt selenium
	$(BIN)/python -m pytest tests/paper_figs/test_report_in_a_browser.py

# Every number of docs/results/performance.md.
bench: export OMP_NUM_THREADS := 1
bench: export OPENBLAS_NUM_THREADS := 1
bench: $(INSTALLED)
	$(BIN)/python -m pytest benchmarks --benchmark-only
	$(BIN)/python benchmarks/moments_accuracy.py
	$(BIN)/python benchmarks/streamed_memory.py
	$(BIN)/python benchmarks/scaling.py --out figures

# 10,000 damaged inputs for every reader; the report and the inputs that failed go to build/fuzz.
fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.fuzz --inputs 10000 --out build/fuzz

# The suite on the oldest NumPy and SciPy that pyproject.toml allows, all else as in constraints.txt, in an environment of its own.
oldest:
	$(PYTHON) -m venv build/oldest
	grep -vE '^(numpy|scipy)==' constraints.txt > build/oldest/constraints.txt
	build/oldest/bin/python -m pip install --quiet --disable-pip-version-check --constraint build/oldest/constraints.txt \
	    --editable '.[test]' --requirement tests/oldest.txt
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 build/oldest/bin/python -m pytest -n auto

# The suite in random order with random seeds, and other examples drawn by Hypothesis. pytest prints the seed:
# --randomly-seed=SEED --hypothesis-seed=SEED repeats it.
shuffled: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pytest-randomly
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --hypothesis-profile shuffled

# Does anything turn red when a theorem is falsified? Every mutant; make falsify MUTANTS=30 a random sample of them.
MUTANTS ?= 0
falsify: $(INSTALLED)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/falsify.py --sample $(MUTANTS)

# Do the tests notice a wrong line of theory/? Then theorems: steps deleted, sides swapped, statements changed. A random sample: make mutation SAMPLE=400 SEED=0, about an hour.
SAMPLE ?= 400
SEED ?= 0
mutation: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutation]'
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/mutation.py --sample $(SAMPLE) --seed $(SEED)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/falsify.py

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache figures
