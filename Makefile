# The README's two commands. Both make the environment first; nothing has to be installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What has been installed: the program, and what its tests need as well.
READY := $(VENV)/.ready
TESTS_READY := $(VENV)/.tests-ready
INSTALL := $(BIN)/pip install --quiet --no-compile --constraint constraints.txt
# pip compiles one file after another; here all cores do. The left-out packages are a third of the
# code, and no sweep imports them or most of them; what is imported is compiled then. Files of other
# Pythons fail and do not matter.
LEFT_OUT := /(tests|testing|transformers/models|datasets|deepspeed|pip|pygments|rllib|serve|setuptools|sqlalchemy|torchgen)/
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '$(LEFT_OUT)' $(VENV)/lib search_spaces study trainables

.PHONY: sweep test tests-on-ray tests-without-ray checks docs mutants clean

sweep: $(READY)
	$(BIN)/python -m study.sweep

# Both halves run at the same time, because tests on Ray mostly wait for it. Each runs to its end, and
# the command fails if either does.
test: $(TESTS_READY)
	$(MAKE) --jobs=2 --keep-going tests-on-ray tests-without-ray

# In one process: a second Ray on a machine joins the first. Ray gives its workers a niceness of 15,
# with which they would starve beside the other half. The output is printed at the end, in one piece.
tests-on-ray: $(TESTS_READY)
	@files=$$(grep --recursive --files-with-matches --include='*.py' 'mark\.ray' tests); \
	output=$$(RAY_worker_niceness=0 $(BIN)/python -m pytest -m ray $$files 2>&1); status=$$?; \
	printf '%s\n' "$$output"; exit $$status

# Two processes, which take one file at a time. They give way to the half on Ray, which is one chain of
# starts and would otherwise end long after them.
tests-without-ray: $(TESTS_READY)
	nice -n 10 $(BIN)/python -m pytest -m "not ray" --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# What CI runs before the tests: style, types, import directions.
checks: $(TESTS_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site that needs no network: site/index.html. A broken link or anchor, or a
# page that the navigation lacks, fails.
docs: $(TESTS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Outside CI: plants faults in the core and counts those that no test notices (docs/design/mutants.md).
mutants: $(TESTS_READY)
	$(INSTALL) --editable '.[mutants]'
	$(BIN)/python -m benchmarks.mutants

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": set PYTHON=/path/to/python3.11")'
	@echo 'Installing into $(VENV), which takes a few minutes'
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) torch --editable .
	@$(COMPILE) || true
	@touch $@

$(TESTS_READY): $(READY)
	@$(INSTALL) --editable '.[dev]'
	@$(COMPILE) || true
	@touch $@

clean:
	rm -rf $(VENV) runs site
