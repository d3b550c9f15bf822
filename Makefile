# `make` prints the menu: each target's line of help stands behind its `##`.
.DEFAULT_GOAL := menu
.PHONY: menu setup up test check fix docs bench clean

python := .venv/bin/python
# Guests, namespaces and taps need root. sudo drops the environment, so what steers gridvisor is handed on by name.
as_root := $(if $(filter-out 0,$(shell id -u)),sudo $(foreach name,GRIDVISOR_HOME GRIDVISOR_MIRROR http_proxy https_proxy,$(if $($(name)),$(name)='$($(name))')))
gridvisor := $(as_root) .venv/bin/gridvisor

menu:
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: ## install what is missing (Debian packages, .venv), and say what and why
	@setup/setup

up: setup ## set up, boot the first machine from examples/vm1.cfg, show it and ask it for its kernel
	$(gridvisor) domain create --wait --exists-ok examples/vm1.cfg
	$(gridvisor) domain list
	$(gridvisor) domain ssh vm1 -- uname -a

test: setup ## set up, run the quick tests, then those that boot real guests
	$(python) -m pytest -m 'not uml'
	$(as_root) $(python) -B -m pytest -p no:cacheprovider --timeout 900 -m uml tests

check: setup ## lint, formatting and types, without changing a file
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

fix: setup ## mend what ruff can mend, and format
	$(python) -m ruff check --fix
	$(python) -m ruff format

docs: setup ## write docs/reference/commands.md anew from the commands' own help
	$(python) docs/reference/commands.py

bench: setup ## measure what the README and docs give figures for (boots guests)
	for benchmark in benchmarks/*.py; do $(as_root) $(python) -B "$$benchmark" || exit; done

clean: ## remove .venv and the tools' caches; domains and images stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
