# The verbs of this project; `make help` lists them. Needs only make, Python >= 3.11 and its venv (or pip) module.
PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8080
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed
SOURCES = src tests benchmarks tools
SERVERS = PATH="$(CURDIR)/build/servers/usr/bin:$(CURDIR)/build/servers/usr/sbin:$$PATH"

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL = help
.NOTPARALLEL:
.PHONY: help venv run report test check fast live laws kills servers browser bench docs lock clean

help: ## list the verbs
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

venv: $(STAMP) ## make or refresh the virtual environment
$(STAMP): requirements.lock tools/requirements.lock pyproject.toml tools/environment.sh
	@tools/environment.sh "$(PYTHON)" "$(VENV)"
	@touch $@

run: $(STAMP) ## the server on the example services, recorded data brought up to now; PORT=8080, Ctrl-C ends it
	@$(BIN)/tightrope serve --replay -f examples/real/slo --incidents examples/real/incidents.csv --deployments examples/real/deployments.csv --amid github-24676888 --data out/live --port $(PORT)

report: $(STAMP) ## evaluate the example services once: fleet status, gate decisions, a report under out/
	@$(BIN)/tightrope demo

test: check fast live ## everything that must hold: check, then the fast tests, then those against real servers

check: $(STAMP) ## style, types, import rules, dependencies
	@echo "check: $$($(BIN)/ruff --version), $$($(BIN)/mypy --version), $$($(BIN)/deptry --version)"
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry src

fast: $(STAMP) browser ## the tests that need nothing but this machine and a browser (pytest options in ARGS)
	@$(BIN)/pytest -n 2 --dist worksteal -m "not live" $(ARGS)

live: $(STAMP) servers ## the tests against a real Prometheus and a real PostgreSQL
	@$(SERVERS) $(BIN)/pytest -n 2 --dist worksteal -m "live and not kills" tests $(ARGS)

laws: $(STAMP) ## the laws that hypothesis checks, on a thousand examples each that no run before had; minutes to hours
	@$(BIN)/pytest -n 2 --dist worksteal -m "not live" --hypothesis-profile=search tests/oracle tests/engine tests/policy tests/delivery tests/runs $(ARGS)

kills: $(STAMP) servers ## the server under real telemetry and kills; minutes of real time, on a machine with nothing else to do
	@$(SERVERS) $(BIN)/pytest -m kills tests/live $(ARGS)

servers:
	@tools/servers.sh prometheus postgresql prometheus-alertmanager nginx victoria-metrics podman kubectl

browser:
	@tools/servers.sh chromium

bench: $(STAMP) ## how fast, how large, beside its peers in the same run; figures, no thresholds
	@tools/servers.sh prometheus victoria-metrics
	@$(SERVERS) $(BIN)/python -m benchmarks

docs: $(STAMP) ## write the generated pages anew and check every link
	@$(BIN)/python -m tools.docs

lock: $(STAMP) ## resolve the dependencies anew (some only: PACKAGES="rich numpy")
	@tools/lock.sh $(VENV)/installer/bin/uv $(PACKAGES)

clean: ## remove all that make has made
	rm -rf $(VENV) out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +
