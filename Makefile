# Every target does its own set-up: a bare checkout, Python >= 3.11 and a C compiler are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := $(wildcard consensus/native/* ledger/native/*)
LIVE = $(shell grep -rl --include='test_*.py' 'mark\.live' tests)

# A program that installs and starts a container engine where there is none; empty: whoever has one, uses that.
DOCKER_ENGINE ?=

# An image to build containers on, where the one that the Dockerfile names cannot be had.
BASE ?=

# A container may forbid it in its environment: then each process of a node would compile this project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo dist dist-test test computing living quick walk faults torn hostile hostile-seeds pbft-seeds state-years market-of-agents years market-size lint bench bench-load idle lock clean help compose-image compose-test compose-short

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

$(READY): requirements/dev.lock pyproject.toml setup.py $(NATIVE)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing locked dependencies and building the nonce search and the state tree ..." >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib  # pip would compile on one core
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(READY)  ## run a whole market on this machine: four peers, 24 hours of a real day
	@$(BIN)/gridmerit demo

test: $(READY)  ## lint, types and every test
	@touch $(LIVING)
	@$(MAKE) --no-print-directory --jobs 3 lint computing living
	@$(BIN)/python -m pytest -m quiet $(LIVE)

# What waits, for clocks and for other processes, comes first, and what computes takes the rest of the machine while the
# file says that it is there (tests/conftest.py). Whole lines, each with its part's name; `pipefail`, for it is the exit
# code of pytest that counts.
LIVING := $(VENV)/.living
computing living: SHELL := bash

computing: $(READY)
	@set -o pipefail; YIELD_WHILE=$(abspath $(LIVING)) $(BIN)/python -m pytest -m "not live" -n 2 --dist worksteal | \
	sed -u 's/^/computing  /'

living: $(READY)
	@set -o pipefail; trap 'rm -f $(LIVING)' EXIT; \
	($(BIN)/python -m pytest -m "live and not (alone or quiet or long)" -n 3 --dist loadgroup $(LIVE) && \
	$(BIN)/python -m pytest -m alone $(LIVE)) | sed -u 's/^/living     /'

walk: $(READY)  ## every command of docs/run-a-network.md, in its order, on a network of its own
	@$(BIN)/python -m pytest -o faulthandler_timeout=0 -m long tests/processes/test_run_a_network.py

quick: $(READY) lint  ## lint, types and the pure tests: no process, no socket, no world
	@$(BIN)/python -m pytest -m "not live" -n 2 --dist worksteal tests/architecture tests/ledger tests/consensus tests/market

compose-image:  ## the container image `gridmerit`
	@docker build --network host $(if $(BASE),--build-arg BASE=$(BASE)) --tag gridmerit .

compose-test:  ## the cluster in containers: kill, pause, cut off and partition it, and lose nothing
	@DOCKER_ENGINE="$(DOCKER_ENGINE)" $(PYTHON) -m tests.compose.drive

compose-short:  ## the same with one container killed
	@DOCKER_ENGINE="$(DOCKER_ENGINE)" $(PYTHON) -m tests.compose.drive --short

faults: $(READY)  ## PBFT networks of 4, 7 and 10 processes: kill, pause, cut off f of them, their clocks wrong, their disks full or read-only
	@for nodes in 4 7 10; do $(BIN)/python -m tests.processes.pbft_faults --nodes $$nodes || exit 1; done

torn: $(READY)  ## a node's directory after 10 000 crashes, at every write, sync and rename, and after failures of the disk
	@$(BIN)/python -m tests.torn.torn_images

hostile: $(READY)  ## real processes, and one liar of each sort among them in turn; clocks, disks, accomplices at the market; 40 min
	@$(BIN)/python -m tests.processes.hostile

hostile-seeds: $(READY)  ## 1 000 seeded worlds of each engine with a liar and failing reads: no step does what none may
	@$(BIN)/python -m tests.node.chain.hostile_world --seeds 1000 --jobs $$(getconf _NPROCESSORS_ONLN)

pbft-seeds: $(READY)  ## 100 000 seeded PBFT worlds with liars, twins, amnesia, crashes and partitions, none left out
	@$(BIN)/python -m tests.consensus.pbft.pbft_world --seeds 100000 --jobs $$(getconf _NPROCESSORS_ONLN)

market-of-agents: $(READY)  ## 1 000 periods of the agents' market with a bank, in virtual time: nobody's money runs out, and all of it adds up
	@$(BIN)/python -m tests.support.market_of_agents --periods 1000

state-years: $(READY)  ## 2 000 periods of a market under both engines, and traded twice: no kind of state passes its bound, and none grows
	@$(BIN)/python -m tests.support.market_years --periods 2000

years: $(READY)  ## two years of a market of 100 players, and a month of 1 000, in virtual time on disk: figures by month; hours
	@$(BIN)/python -m tests.support.years --players 100 --days 730
	@$(BIN)/python -m tests.support.years --players 1000 --days 30 --every 3

market-size: $(READY)  ## one period of 10 000 orders and trades and 20 000 readings over three chains: blocks, CPU and bytes
	@for engine in pbft poca; do $(BIN)/python -m tests.support.market_size --orders 10000 --engine $$engine || exit 1; done

lint: $(READY)
	@nice -n 10 $(BIN)/ruff check --quiet .
	@nice -n 10 $(BIN)/ruff format --quiet --check .
	@nice -n 10 $(BIN)/mypy

bench: $(READY)  ## every benchmark, one table, and bench.json
	@$(BIN)/python -m benchmarks

bench-load: $(READY)  ## four PBFT processes under rising load, and one of them killed: minutes, on two quiet cores
	@$(BIN)/python benchmarks/pbft_load.py

# A network namespace of its own, where this user may have one: else all that crosses the loopback counts.
ALONE := $(shell unshare -rn true 2>/dev/null && echo unshare -rn)

idle: $(READY)  ## what a member uses in a day, idle and with 100 players: CPU, traffic, disk, watts of a Raspberry Pi; 10 min
	@$(ALONE) sh -c 'ip link set lo up 2>/dev/null; exec $(BIN)/python benchmarks/idle.py'

dist: $(READY)  ## a source archive, and from it a wheel, in dist/
	@rm -rf dist
	@$(BIN)/python tests/releases/build.py dist

dist-test: $(READY)  ## the first hour of the demo, from what `make dist` makes, in an empty environment
	@$(BIN)/python -m pytest -o faulthandler_timeout=0 tests/releases/test_dist.py

lock:  ## renew the lock files (needs uv)
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 pyproject.toml -o requirements/base.lock
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra plot --extra lab --extra dask --extra dev pyproject.toml -o requirements/dev.lock

clean:  ## remove everything that was built
	@rm -rf $(VENV) build dist *.egg-info consensus/*.so ledger/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
