# `make` prints the menu: each target's line of help stands behind its `##`.
.DEFAULT_GOAL := menu
.PHONY: menu setup up test slow check fix docs bench clean

python := .venv/bin/python
# Guests, namespaces and taps need root. sudo drops the environment, so what steers gridvisor is handed on by name.
as_root := $(if $(filter-out 0,$(shell id -u)),sudo $(foreach name,GRIDVISOR_HOME GRIDVISOR_MIRROR http_proxy https_proxy,$(if $($(name)),$(name)='$($(name))')))
gridvisor := $(as_root) .venv/bin/gridvisor

menu:
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: ## install what is missing (Debian packages, .venv), and say what and why
	@setup/setup

up: setup ## set up, bring up the Grid site of examples/kiam.yaml, and send a first job through it
	$(gridvisor) up examples/kiam.yaml
	$(gridvisor) run --site kiam-test -- sh -c 'echo "A job ran on $$(hostname), kernel $$(uname -r)."'

test: setup ## set up, run the quick tests, then those that boot real guests
	$(python) -m pytest -m 'not uml and not box'
	$(as_root) $(python) -B -m pytest -p no:cacheprovider --timeout 900 -m '(uml or box) and not slow' tests

slow: setup ## run the tests that `test` leaves out for their length: more than an hour without KVM
	$(as_root) $(python) -B -m pytest -p no:cacheprovider --timeout 3600 -m slow tests

check: setup ## lint, formatting and types, without changing a file
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

fix: setup ## mend what ruff can mend, and format
	$(python) -m ruff check --fix
	$(python) -m ruff format

docs: setup ## write the pages of docs/reference that come from the code: commands, YAML files, probes
	for page in docs/reference/*.py; do $(python) "$$page" || exit; done

bench: setup ## measure what the README and docs give figures for (boots guests)
	for benchmark in benchmarks/*.py; do $(as_root) $(python) -B "$$benchmark" || exit; done

clean: ## remove .venv and the tools' caches; domains and images stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
