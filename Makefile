# Everything runs in .venv, which these targets make with plain python3; nothing else is needed but Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
STAMP := $(VENV)/.installed
LABELSTUDIO := .labelstudio
INTEGRATIONS ?= tabular pytorch keras_tensorflow web serving
PYENV_ROOT ?= $(HOME)/.pyenv
CPYTHON_314 := .pythons/cpython-3.14
EMPTY :=
INTERPRETERS := $(subst $(EMPTY) ,:,$(strip $(PATH) $(CURDIR)/$(CPYTHON_314)/bin $(wildcard $(PYENV_ROOT)/versions/*/bin)))
# By minor version, without pre-releases and free-threaded builds, whose names differ; uv warns of pyenv's shims.
PYTHONS ?= $(shell PATH="$(INTERPRETERS)" $(UV) python list --only-installed '>=3.11' 2>/dev/null | sed -nE 's/^cpython-(3\.[0-9]+)\.[0-9]+-.*/\1/p' | sort -uV)
PEERS := .peers
STREAMS := .streams
HOSTS := .hosts
SERVING := .serving
PROCESSES ?= 2
PYTEST := -n $(PROCESSES) --dist loadgroup
SOURCES := collector detectors miner dashboards tests benchmarks examples

# Where it is set every process compiles what it imports again, which is most of what a short one does.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help dev demo demo-scale up check lint fast format test test-integrations bench bench-demo bench-demo-scale generate lock clean bench-sdk bench-app bench-scale bench-faults bench-nulls bench-age rows soak test-hosts test-installs test-pythons pythons python-3.14

help: ## Show this list
	@grep -hE '^[a-z0-9.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/uv.txt

$(STAMP): $(UV) requirements/dev.txt pyproject.toml
	$(UV) pip install --quiet --python $(BIN)/python -r requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(LABELSTUDIO)/.installed: $(STAMP) requirements/labelstudio.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(LABELSTUDIO)
	$(UV) pip install --quiet --python $(LABELSTUDIO)/bin/python -r requirements/labelstudio.txt
	$(BIN)/python -c 'from davy_miner.labelstudio import LocalLabelStudio; LocalLabelStudio().prepare()'
	@touch $@

.integrations/%/.installed: $(UV) requirements/integrations/%.txt pyproject.toml
	$(UV) venv --quiet --allow-existing --python $(BIN)/python .integrations/$*
	$(UV) pip install --quiet --python .integrations/$*/bin/python -r requirements/integrations/$*.txt
	$(UV) pip install --quiet --python .integrations/$*/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

.pythons/%/.installed: $(UV) requirements/dev.txt
	@PATH="$(INTERPRETERS)" $(UV) venv --quiet --allow-existing --python $* .pythons/$*
	$(UV) pip install --quiet --python .pythons/$*/bin/python -r requirements/dev.txt
	$(UV) pip install --quiet --python .pythons/$*/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

$(CPYTHON_314)/bin/python3.14:
	mvn -q -B dependency:unpack -Dartifact=org.bytedeco:cpython:3.14.3-1.5.13:jar:linux-x86_64 -Dmdep.unpack.includes='org/**' -DoutputDirectory=.pythons/unpacked
	rm -rf $(CPYTHON_314)
	mv .pythons/unpacked/org/bytedeco/cpython/linux-x86_64 $(CPYTHON_314)
	rm -rf .pythons/unpacked
	chmod +x $@

$(PEERS)/.installed: $(STAMP) requirements/peers.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(PEERS)
	$(UV) pip install --quiet --python $(PEERS)/bin/python -r requirements/peers.txt
	$(UV) pip install --quiet --python $(PEERS)/bin/python --no-deps --editable .
	@touch $@

$(STREAMS)/.installed: $(STAMP) requirements/streams.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(STREAMS)
	$(UV) pip install --quiet --python $(STREAMS)/bin/python -r requirements/streams.txt
	@touch $@

$(HOSTS)/.installed: $(STAMP) requirements/hosts.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(HOSTS)
	$(UV) pip install --quiet --python $(HOSTS)/bin/python -r requirements/hosts.txt
	$(UV) pip install --quiet --python $(HOSTS)/bin/python --no-deps --editable .
	@touch $@

$(SERVING)/.installed: $(STAMP) requirements/app.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(SERVING)
	$(UV) pip install --quiet --python $(SERVING)/bin/python -r requirements/app.txt
	$(UV) pip install --quiet --python $(SERVING)/bin/python --no-deps --editable .
	@touch $@

dev: $(STAMP) ## Make .venv with everything for development

demo: $(STAMP) $(LABELSTUDIO)/.installed ## Run the whole loop once and print what it found (ARGS="--keep --seed 1")
	$(BIN)/davy demo $(ARGS)

demo-scale: $(STAMP) $(LABELSTUDIO)/.installed ## The demo over real Kafka, Redis and S3, every role a process; needs Java, Maven, redis-server
	$(BIN)/python -m benchmarks.services $(BIN)/davy demo --apart $(ARGS)

up: $(STAMP) $(LABELSTUDIO)/.installed ## Start Davy and a Label Studio on this machine (Ctrl-C stops them)
	$(BIN)/davy up --label-studio $(ARGS)

format: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

check: $(STAMP) ## Format, lint, types, imports, fast tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint fast

lint: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(STAMP)
	$(BIN)/pytest -q $(PYTEST) -m fast

test: $(STAMP) $(LABELSTUDIO)/.installed ## Every test; what needs a missing service says so
	$(BIN)/pytest $(PYTEST) $(ARGS)

test-integrations: $(UV) ## Test the SDK with real frameworks, an environment a group (INTEGRATIONS="web pytorch")
	@$(MAKE) --no-print-directory --keep-going --jobs=$(PROCESSES) $(INTEGRATIONS:%=.integrations/%/.tested); failed=$$?; \
	for name in $(INTEGRATIONS); do printf '%-18s %s\n' $$name "$$(tail -n 1 .integrations/$$name.log)"; done; \
	exit $$failed

$(INTEGRATIONS:%=.integrations/%/.tested): .integrations/%/.tested: .integrations/%/.installed
	@.integrations/$*/bin/python -m pytest -c tests/integrations/pytest.ini tests/integrations/$* $(ARGS) \
	    > .integrations/$*.log 2>&1 || { cat .integrations/$*.log; exit 1; }

rows: $(UV) ## Measure the ways in of docs/integrations.md anew, one group after the other; then make generate
	@for name in pytorch web serving; do \
	  $(MAKE) --no-print-directory .integrations/$$name/.installed && \
	  WRITE_ROWS=1 .integrations/$$name/bin/python -m pytest -c tests/integrations/pytest.ini tests/integrations/$$name/test_rows.py || exit 1; \
	done

test-pythons: $(UV) ## Fast tests on every CPython >= 3.11 of this machine, an environment each (PYTHONS="3.12 3.13")
	@$(MAKE) --no-print-directory $(PYTHONS:%=.pythons/%/.installed)
	@failed=; for version in $(PYTHONS); do \
	  .pythons/$$version/bin/python -m pytest -q -p no:cacheprovider $(PYTEST) -m fast $(ARGS) \
	    > .pythons/$$version.log 2>&1 || { failed="$$failed $$version"; cat .pythons/$$version.log; }; \
	done; \
	for version in $(PYTHONS); do printf '%-6s %s\n' $$version "$$(tail -n 1 .pythons/$$version.log)"; done; \
	test -z "$$failed"

pythons: $(UV) ## List the CPythons that test-pythons finds
	@printf '%s\n' $(PYTHONS)

python-3.14: $(CPYTHON_314)/bin/python3.14 ## Bring a CPython 3.14 for test-pythons from Maven Central (Linux on x86-64; needs mvn)

test-installs: $(STAMP) ## Every install line of the docs and the image's steps in empty environments, up to a first incident; WRITE=1 measures by pip
	$(if $(WRITE),$(BIN)/python -m benchmarks installs,$(BIN)/pytest -q -p no:cacheprovider tests/installs $(ARGS))

test-hosts: $(STAMP) $(HOSTS)/.installed ## The SDK inside gunicorn, uvicorn, Celery and gevent
	$(HOSTS)/bin/python -m pytest --noconftest -p no:cacheprovider tests/promises/hosts

bench: $(STAMP) ## Measure codec, log and detectors; writes benchmarks/results/
	$(BIN)/python -m benchmarks $(ARGS)

bench-demo: $(STAMP) ## Run the demo over ten seeds; writes benchmarks/results/demo.json
	$(BIN)/davy demo --seeds 10 --no-label-studio --json benchmarks/results/demo.json

bench-demo-scale: $(STAMP) ## Run demo-scale over three seeds; writes benchmarks/results/demo-scale.json; needs Java, Maven, redis-server
	$(BIN)/python -m benchmarks.services $(BIN)/davy demo --apart --seeds 3 --no-label-studio --json benchmarks/results/demo-scale.json

bench-sdk: $(STAMP) $(PEERS)/.installed ## Measure the SDK beside its peers, four minutes; writes benchmarks/results/
	$(BIN)/python -m benchmarks sdk-peers

bench-app: $(STAMP) $(SERVING)/.installed ## Measure FastAPI with and without the SDK, request by request, seven minutes (ARGS="--quick")
	$(BIN)/python -m benchmarks.app $(ARGS)

bench-scale: $(STAMP) $(STREAMS)/.installed ## Measure the whole path over Kafka and Redis beside its peers, eleven minutes; needs Java, Maven, redis-server
	$(BIN)/python -m benchmarks scale

bench-faults: $(STAMP) $(LABELSTUDIO)/.installed ## Break Davy on a cluster and on one machine in 27 ways, twenty times each, hours; needs root, Java, Maven, redis-server
	$(BIN)/python -m benchmarks faults faults-embedded

bench-nulls: $(STAMP) ## Watch a million clean inferences of every kind twice, minutes; writes benchmarks/results/nulls.json
	$(BIN)/python -m benchmarks nulls

bench-age: $(STAMP) ## Let a deployment live through a simulated year, minutes; writes benchmarks/results/age.json
	$(BIN)/python -m benchmarks age

soak: $(STAMP) ## Half an hour under half the load this machine can take, with a fault a minute; needs what bench-faults needs
	$(BIN)/python -m benchmarks soak

generate: $(STAMP) ## Write the dashboards, alert rules and the tables of docs/fields.md and docs/integrations.md again
	$(BIN)/python -m davy_dashboards
	PYTHONPATH=tests $(BIN)/python -m fields.page
	PYTHONPATH=tests $(BIN)/python -m support.integration_page

lock: $(UV) ## Pin every dependency again
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --upgrade --all-extras pyproject.toml requirements/build.in -o requirements/dev.txt
	for name in $(INTEGRATIONS); do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --upgrade requirements/integrations/base.in requirements/integrations/$$name.in -o requirements/integrations/$$name.txt || exit 1; \
	done
	echo "label-studio==1.23.2" | $(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header - -o requirements/labelstudio.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --upgrade requirements/peers.in -o requirements/peers.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --upgrade requirements/hosts.in -o requirements/hosts.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --upgrade requirements/streams.in -o requirements/streams.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --upgrade requirements/app.in -o requirements/app.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --upgrade requirements/evidently.in -o requirements/evidently.txt

clean: ## Remove the environments and everything the demo wrote
	rm -rf $(VENV) $(LABELSTUDIO) $(PEERS) $(STREAMS) $(HOSTS) $(SERVING) .integrations .pythons .kafka .davy .davy-demo
