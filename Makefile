# `make help` lists every target.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
NEMO_VENV := .venv-nemo
NEMO_PY := $(NEMO_VENV)/bin/python
INSTALL = scripts/install.sh "$(PYTHON)" $(VENV)
# The Triton wheel needs numpy < 2, which has wheels up to Python 3.12.
PYTHON ?= $(shell for v in 3.12 3.11 3.10; do command -v python$$v >/dev/null && python$$v -c 'import venv, ensurepip' 2>/dev/null && { echo python$$v; break; }; done)
SPEECH ?= ../shared/speech
OUT ?=
comma := ,
DEFAULT_NEMO := scripts/train/default.nemo
# Attention contexts that the default checkpoint was trained with, besides the one that is served.
OTHER_CONTEXTS := 70,13 70,1
EXPORT_OTHER_CONTEXTS = for context in $(OTHER_CONTEXTS); do \
    $(NEMO_PY) -m scripts.export $(DEFAULT_NEMO) --att-context $$context \
    --model-repo work/repositories/$${context/,/-} || exit 1; done
RECORDINGS = --real $(SPEECH)/eval --synthetic $(SPEECH)/tts
# One thread a process, and large blocks kept by the allocator: see scripts/train/README.md.
TRAIN_ENV := OMP_NUM_THREADS=1 THP_MEM_ALLOC_ENABLE=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=34359738368 \
    MALLOC_TOP_PAD_=268435456

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/ready: requirements/dev.txt pyproject.toml scripts/install.sh
	@$(INSTALL) requirements/dev.txt --compile-bytecode -e .
	@touch $@

$(NEMO_VENV)/ready: requirements/nemo.txt scripts/install.sh
	@scripts/install.sh "$(PYTHON)" $(NEMO_VENV) requirements/nemo.txt
	@touch $@

.PHONY: setup
setup: $(VENV)/ready ## create .venv with pinned packages

.PHONY: setup-nemo
setup-nemo: $(NEMO_VENV)/ready ## create .venv-nemo: NeMo, for export and training

.PHONY: setup-tests
setup-tests: $(VENV)/import $(VENV)/engines $(VENV)/lm $(VENV)/deploy ## what only the tests need, beside `make setup`

.PHONY: demo
demo: setup ## stream real speech through a real Triton and watch the words appear
	@$(PY) -m scripts.demo

.PHONY: serve
serve: setup ## run the server in the foreground (AMIRA_* and config files configure it)
	@$(PY) -m scripts.serve

.PHONY: gateway
gateway: setup ## HTTP, WebSocket and a browser page at http://localhost:8080, in front of a running server
	@$(if $(wildcard work/draft/draft.json),AMIRA_GATEWAY_DRAFT=$${AMIRA_GATEWAY_DRAFT:-work/draft}) $(PY) -m amira_gateway

.PHONY: draft
draft: setup-nemo $(VENV)/import ## the recogniser that the browser page drafts with: chunks of 160 ms, INT8, for `make gateway`
	$(NEMO_PY) -m scripts.export $(DEFAULT_NEMO) --att-context 70,1 --model-repo work/repositories/70-1
	PYTHONPATH=backends $(PY) -m scripts.draft --model-repo work/repositories/70-1 --out work/draft

.PHONY: switch
switch: setup ## new version into the running server, no stream dropped: REPO=folder [RECOGNISER=name]
	@$(PY) -m scripts.switch $(if $(REPO),"$(REPO)") $(if $(RECOGNISER),--recogniser "$(RECOGNISER)")

.PHONY: test
test: setup-tests lint ## lint, types, and all tests against real servers [JOBS=3]
	$(PY) -m pytest -n $(or $(JOBS),3) --dist loadfile --no-loadscope-reorder

.PHONY: fuzz
fuzz: setup ## hostile requests against the real server while known streams run [CASES=5000]
	AMIRA_FUZZ_CASES=$(or $(CASES),5000) $(PY) -m pytest tests/hostile --timeout 7200

.PHONY: memcheck
memcheck: setup ## streams through Triton under Valgrind: does it touch memory that it has freed? [DURATION=120]
	PYTHONPATH=backends $(PY) -m loadtest.memcheck --seconds $(or $(DURATION),120)

clients/javascript/node_modules/ready: clients/javascript/package.json clients/javascript/package-lock.json
	@command -v npm >/dev/null || { echo "needs Node 20 or newer with npm (Debian: apt install npm)"; exit 2; }
	cd clients/javascript && npm ci --no-audit --no-fund
	@touch $@

.PHONY: test-js
test-js: setup clients/javascript/node_modules/ready ## the JavaScript client in Node and Chromium, against a real server and gateway
	$(PY) -m pytest tests/javascript

.PHONY: test-nemo
test-nemo: test-export test-train test-runners ## tests of export, training and torch's way of running graphs, which need NeMo's environment

.PHONY: test-export test-train test-runners
test-export test-train: test-%: setup-nemo
	OMP_NUM_THREADS=1 $(NEMO_PY) -m pytest --confcutdir=tests/$* tests/$*

test-runners: setup-nemo
	$(NEMO_PY) -m pytest --confcutdir=tests/backends tests/backends/test_runners.py tests/backends/test_torch_*.py \
	    tests/backends/test_simulated_gpu.py tests/backends/test_large_graphs.py

.PHONY: docs
docs: setup ## put the figures of docs/measurements into the tables of README and docs
	$(PY) -m scripts.render_docs

.PHONY: api-docs
api-docs: setup ## API reference of the Python client in work/api-docs; any warning is an error
	$(PY) -W error -m pdoc -d google -o work/api-docs amira_asr

.PHONY: wheel
wheel: setup ## build the wheel and source distribution in work/dist, install the wheel into a clean environment, try it
	rm -rf work/dist work/clean
	$(PY) -m build --installer uv --outdir work/dist .
	$(PY) -m venv work/clean
	work/clean/bin/pip install -q --disable-pip-version-check work/dist/*.whl
	cd work/clean && bin/amira-asr --help >/dev/null && bin/python -c 'import amira_asr' && echo "work/dist: the wheel installs and runs"

.PHONY: lint
lint: setup ## ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

.PHONY: format
format: setup ## let ruff format the code
	$(VENV)/bin/ruff check --fix -q .
	$(VENV)/bin/ruff format .

.PHONY: bench
bench: setup ## overhead, streams at real time, decoding, against raw ONNX Runtime [OUT=file.json, file_decoding.json]
	PYTHONPATH=backends $(PY) -m loadtest.bench $(if $(OUT),--out $(OUT))
	PYTHONPATH=backends $(PY) -m loadtest.decoding $(if $(OUT),--out $(OUT:.json=_decoding.json))

.PHONY: bench-cost
bench-cost: setup ## where a chunk's processor time goes, by process, at the pace of speech [OUT=file.json]
	PYTHONPATH=backends $(PY) -m loadtest.cost $(if $(OUT),--out $(OUT))

.PHONY: bench-check
bench-check: setup ## has the server become slower? ratios of one run against loadtest/bench_baseline.yaml
	@PYTHONPATH=backends $(PY) -m loadtest.bench_check

.PHONY: compare-peers
compare-peers: $(VENV)/import $(VENV)/baselines ## our server, sherpa-onnx's, NeMo's loop: same weights and cores, in turn [OUT=file.json]
	PYTHONPATH=backends $(PY) -m scripts.compare_peers $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(OUT),--out $(OUT))

.PHONY: performance
performance: setup setup-nemo $(VENV)/import $(VENV)/baselines ## measure docs/performance.md, but for the soak; ten idle minutes
	$(MAKE) bench OUT=docs/measurements/bench.json
	$(MAKE) compare-peers OUT=docs/measurements/peers.json
	$(PY) -m loadtest.capacity --first 64 --seconds 12 --precision 16 --out docs/measurements/capacity.json
	$(MAKE) loadtest SHAPE=ramp PEAK=64 DURATION=45 OUT=docs/measurements/load.json
	$(MAKE) bench-check
	$(PY) -m scripts.render_docs

.PHONY: bench-gateway
bench-gateway: setup ## the gateway against direct gRPC, streams and recordings, in one run [OUT=file.json]
	PYTHONPATH=backends $(PY) -m loadtest.gateway $(if $(OUT),--out $(OUT))

.PHONY: bench-draft
bench-draft: setup ## time to the first word in Chromium with and without the draft, after `make draft` [OUT=file.json]
	$(PY) -m loadtest.draft $(if $(OUT),--out $(OUT))

.PHONY: fuzz-gateway
fuzz-gateway: setup ## requests made up from the gateway's OpenAPI document, a real Triton behind [EXAMPLES=300]
	FUZZ_EXAMPLES=$(or $(EXAMPLES),300) $(PY) -m pytest --timeout 3600 tests/gateway/test_conformance.py

.PHONY: bench-shm
bench-shm: setup ## audio through shared memory against plain gRPC: streams and whole recordings [OUT=file.json]
	PYTHONPATH=backends $(PY) -m loadtest.shared_memory $(if $(OUT),--out $(OUT))

.PHONY: loadtest
loadtest: setup ## callers at real-time pace [SHAPE=ramp] [PEAK=32] [DURATION=60] [SLO=p95=300,errors=0] [USERS="StreamUser BatchUser"] [OUT=file.json]
	$(PY) -m loadtest.run --shape $(or $(SHAPE),ramp) --peak $(or $(PEAK),32) --seconds $(or $(DURATION),60) \
	    --slo $(or $(SLO),errors=0) --users $(or $(USERS),StreamUser) $(if $(OUT),--figures $(OUT))

.PHONY: soak
soak: setup ## callers for hours, resumable; memory and handles of every process [PEAK=32] [DURATION=14400] [OUT=file.json]
	$(PY) -m loadtest.run --resume --out work/soak --every 30 --peak $(or $(PEAK),32) --seconds $(or $(DURATION),14400) \
	    --slo $(or $(SLO),errors=0) $(if $(OUT),--figures $(OUT))

.PHONY: chaos
chaos: setup ## faults on real servers, lines and clients, and what streams lost by them [STREAMS=50] [OUT=file.json]
	$(PY) -m loadtest.chaos --streams $(or $(STREAMS),50) $(if $(OUT),--out $(OUT))

.PHONY: capacity
capacity: setup ## the most streams at real time on this machine [OUT=file.json]
	$(PY) -m loadtest.capacity $(if $(OUT),--out $(OUT))

.PHONY: evaluate
evaluate: setup ## WER and CER per subset, at every chunk size that is exported [SPEECH=folder] [OUT=file.json]
	$(PY) -m scripts.evaluation $(RECORDINGS) $(if $(OUT),--out $(OUT))

.PHONY: evaluate-chunks
evaluate-chunks: setup setup-nemo ## export the default model at its other chunk sizes, then evaluate [OUT=file.json]
	$(EXPORT_OTHER_CONTEXTS)
	$(PY) -m scripts.evaluation $(RECORDINGS) $(if $(OUT),--out $(OUT))

.PHONY: evaluate-decoding
evaluate-decoding: setup ## WER by search: beams, language model, phrases of a reading tutor [OUT=file.json]
	$(PY) -m scripts.evaluation.decoding $(RECORDINGS) $(if $(OUT),--out $(OUT))

.PHONY: babble
babble: setup ## what the model hears in silence and noise; fails above one token a minute [OUT=file.json]
	$(PY) -m scripts.evaluation.babble $(if $(OUT),--out $(OUT))

$(VENV)/baselines: $(VENV)/ready requirements/baselines.txt
	@$(INSTALL) requirements/baselines.txt
	@touch $@

.PHONY: baselines
baselines: $(VENV)/baselines ## default model and other recognisers on the same recordings [OUT=file] [KEEP=earlier OUT]
	$(PY) -m scripts.evaluation.baselines $(RECORDINGS) $(if $(KEEP),--keep $(KEEP)) $(if $(OUT),--out $(OUT))

.PHONY: quality
quality: setup-nemo $(VENV)/baselines ## measure all of docs/quality.md; KEEP=docs/measurements/baselines.json: only our model
	$(EXPORT_OTHER_CONTEXTS)
	$(PY) -m scripts.evaluation $(RECORDINGS) --out docs/measurements/evaluation.json
	$(PY) -m scripts.evaluation.baselines $(RECORDINGS) $(if $(KEEP),--keep $(KEEP)) --out docs/measurements/baselines.json
	$(PY) -m scripts.evaluation.babble --out docs/measurements/babble.json; status=$$?; \
	    $(PY) -m scripts.render_docs && exit $$status

.PHONY: export
export: setup-nemo ## turn NEMO=file.nemo into the model repository [OUT=folder] [CONTEXT=70,1]
	@test -n "$(NEMO)" || { echo "usage: make export NEMO=file.nemo [OUT=folder] [CONTEXT=70,1]"; exit 2; }
	$(NEMO_PY) -m scripts.export "$(NEMO)" --model-repo "$(or $(OUT),model-repo)" $(if $(CONTEXT),--att-context $(CONTEXT))

$(VENV)/import: $(VENV)/ready requirements/import.txt
	@$(INSTALL) requirements/import.txt
	@touch $@

# Built from source. Without a compiler there are no language models, and their tests are skipped.
$(VENV)/lm: $(VENV)/ready requirements/lm.txt
	@if command -v c++ >/dev/null; then \
	    $(INSTALL) requirements/lm.txt && touch $@; \
	else echo "no language models: kenlm needs a C++ compiler (Debian: apt install g++)"; fi

.PHONY: language-model
language-model: $(VENV)/lm ## estimate a small language model from the training texts [OUT=work/language_model.arpa]
	$(PY) -m scripts.language_model --speech $(SPEECH) $(if $(OUT),--out $(OUT))

$(VENV)/deploy: $(VENV)/ready requirements/deploy.txt
	@$(INSTALL) requirements/deploy.txt
	@touch $@

.PHONY: rehearse-image
rehearse-image: $(VENV)/deploy ## the steps of the Dockerfile in folders, and a clip through the server there [TARGET=gpu or gateway]
	@if bwrap --ro-bind / / --unshare-user true; then $(PY) -m scripts.image $(or $(TARGET),cpu); \
	else echo "not rehearsed: needs bubblewrap that may make user namespaces (Debian: apt install bubblewrap)"; fi

.PHONY: alerts
alerts: setup ## deploy/observability's alerts as a PrometheusRule for Kubernetes
	$(PY) -m scripts.prometheus_rule

.PHONY: sbom
sbom: $(VENV)/deploy ## bill of materials of the image, CycloneDX [TARGET=gpu] [OUT=work/sbom.json]
	$(PY) -m scripts.image.sbom --target $(or $(TARGET),cpu) --out $(or $(OUT),work/sbom.json)

.PHONY: import-zipformer
import-zipformer: $(VENV)/import ## turn the sherpa-onnx files in DIR into a model repository [OUT=folder ACTIVATIONS=float]
	@test -n "$(DIR)" || { echo "usage: make import-zipformer DIR=folder [OUT=folder ACTIVATIONS=float]"; exit 2; }
	$(PY) -m scripts.export.zipformer "$(DIR)" --model-repo "$(or $(OUT),work/repositories/zipformer)" \
		$(if $(ACTIVATIONS),--activations $(ACTIVATIONS))

$(VENV)/engines: $(VENV)/ready requirements/engines.txt
	@$(INSTALL) requirements/engines.txt
	@touch $@

.PHONY: dashboard
dashboard: setup ## write the Grafana dashboard of deploy/observability, and the table of metrics
	$(PY) -m scripts.observability.dashboard
	$(PY) -m scripts.observability.metrics_table

.PHONY: dashboard-picture
dashboard-picture: setup ## server, Prometheus and callers, drawn as the dashboard shows them [DURATION=90] (needs prometheus)
	$(PY) -m scripts.observability.picture --seconds $(or $(DURATION),90)

.PHONY: engines
engines: $(if $(DRY_RUN),setup,$(VENV)/engines) ## TensorRT engines, here or in IMAGE=triton-image [PRECISION=fp16] [DRY_RUN=1] [REPO=folder]
	PYTHONPATH=backends $(PY) -m scripts.engines all --precision $(or $(PRECISION),fp16) $(if $(IMAGE),--image "$(IMAGE)") \
	    $(if $(REPO),--model-repo "$(REPO)") $(if $(CALIBRATION),--calibration "$(CALIBRATION)") $(if $(DRY_RUN),--dry-run)

.PHONY: graphs
graphs: $(VENV)/engines ## the graphs of the model repository in FP16, for AMIRA_PRECISION=fp16 [REPO=folder]
	PYTHONPATH=backends $(PY) -m scripts.engines graphs --precision $(or $(PRECISION),fp16) $(if $(REPO),--model-repo "$(REPO)")

.PHONY: bench-gpu
bench-gpu: ## all figures of this GPU, resumable; PY=python with server and torch, OUT=folder [MINUTES=20] [REPO=folder] [DEVICE=cpu TINY=1]
	@test -n "$(OUT)" || { echo "usage: make bench-gpu PY=/path/to/python OUT=folder [MINUTES=20]"; exit 2; }
	PYTHONPATH=backends:clients:. $(PY) -m scripts.gpu.day --out $(OUT) --minutes $(or $(MINUTES),20) \
	    $(if $(REPO),--model-repo "$(REPO)") $(if $(DEVICE),--device $(DEVICE)) $(if $(TINY),--tiny)

.PHONY: random-model
random-model: setup-nemo ## repository with random weights in the shape of the 0.6B model [LAYERS=2] [REPO=work/repositories/random] [MAX_BATCH=32]
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-4} $(NEMO_PY) -m scripts.gpu.random_model --layers $(or $(LAYERS),2) \
	    $(if $(REPO),--model-repo "$(REPO)") $(if $(MAX_BATCH),--max-batch-size $(MAX_BATCH))

.PHONY: precisions
precisions: $(VENV)/engines ## FP32, FP16, INT8: WER, error chunk by chunk, size, latency on this processor [OUT=file.json]
	PYTHONPATH=backends $(PY) -m scripts.engines.compare --real $(SPEECH)/eval $(if $(OUT),--out $(OUT))

.PHONY: compare-zipformer
compare-zipformer: $(VENV)/import $(VENV)/baselines ## the model in DIR, imported and served, against sherpa-onnx [OUT=file.json]
	@test -n "$(DIR)" || { echo "usage: make compare-zipformer DIR=folder [OUT=file.json]"; exit 2; }
	$(PY) -m scripts.export.zipformer.compare "$(DIR)" --real $(SPEECH)/eval $(if $(OUT),--out $(OUT))

.PHONY: model
model: setup setup-nemo ## rebuild model-repo from the default checkpoint, and verify checksums and outputs
	rm -rf work/model
	$(NEMO_PY) -m scripts.export $(DEFAULT_NEMO) --model-repo work/model
	PYTHONPATH=backends $(PY) -m scripts.release adopt work/model

.PHONY: release
release: setup setup-nemo ## export a new default checkpoint, its goldens and checksums [TRAINING=work/train]
	$(NEMO_PY) -m scripts.export $(DEFAULT_NEMO)
	$(NEMO_PY) -m scripts.make_goldens $(DEFAULT_NEMO)
	PYTHONPATH=backends $(PY) -m scripts.release record $(if $(TRAINING),--training $(TRAINING))
	$(PY) -m scripts.render_docs

.PHONY: goldens
goldens: setup-nemo ## compute the reference outputs of the tests with NeMo [NEMO=file.nemo]
	@test -n "$(NEMO)" || { echo "usage: make goldens NEMO=file.nemo"; exit 2; }
	$(NEMO_PY) -m scripts.make_goldens $(NEMO)

.PHONY: train
train: setup-nemo ## train the default model, or go on where it stopped [MINUTES=150] [PROCESSES=2] [INIT=file.nemo] [TEACHER=zipformer folder]
	$(NEMO_PY) -m scripts.train.pack --speech $(SPEECH)
	$(NEMO_PY) -m scripts.train.evaluation_text --eval $(SPEECH)/eval/eval.tsv
	$(if $(TEACHER),PYTHONPATH=backends $(NEMO_PY) -m scripts.train.teacher "$(TEACHER)")
	$(TRAIN_ENV) $(NEMO_PY) -m scripts.train --minutes $(or $(MINUTES),150) --processes $(or $(PROCESSES),2) \
	    $(if $(INIT),--init-from $(INIT)) $(if $(TEACHER),--set "train.distillation.weight=[5$(comma)2]")

COMPILE := $(VENV)/bin/uv pip compile -q --universal --python-version 3.10

.PHONY: lock
lock: setup ## resolve the pinned requirements anew
	$(COMPILE) --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) --generate-hashes --extra server pyproject.toml -o requirements/server.txt
	# With hashes: what runs for others.
	$(COMPILE) --generate-hashes --extra backends --extra lm -c requirements/dev.txt \
	    pyproject.toml -o requirements/image.txt
	$(COMPILE) --generate-hashes --extra gateway -c requirements/dev.txt pyproject.toml \
	    -o requirements/gateway.txt
	$(COMPILE) --generate-hashes --extra engine-builder -c requirements/dev.txt \
	    -c requirements/import.txt pyproject.toml -o requirements/engine-builder.txt
	$(COMPILE) --extra deploy -c requirements/dev.txt pyproject.toml \
	    -o requirements/deploy.txt
	$(COMPILE) --extra baselines -c requirements/dev.txt pyproject.toml \
	    -o requirements/baselines.txt
	$(COMPILE) --extra import -c requirements/dev.txt pyproject.toml \
	    -o requirements/import.txt
	$(COMPILE) --extra lm -c requirements/dev.txt pyproject.toml \
	    -o requirements/lm.txt
	$(COMPILE) --extra engines -c requirements/dev.txt \
	    -c requirements/import.txt pyproject.toml -o requirements/engines.txt
	# CUDA packages are left to torch: its CPU build needs none.
	$(VENV)/bin/uv pip compile -q --universal --no-annotate --python-version 3.11 requirements/nemo.in \
	    | grep -vE '^(nvidia-|cuda-|triton==)' > requirements/nemo.txt

.PHONY: audit
audit: setup ## known vulnerabilities of the pinned packages, asked of PyPI [AUDIT_IGNORED=ids]
	$(VENV)/bin/pip-audit --strict --disable-pip --require-hashes $(AUDIT_IGNORED:%=--ignore-vuln %) \
	    -r requirements/server.txt

.PHONY: clean
clean: ## remove environments and runtime files
	rm -rf $(VENV) $(NEMO_VENV) run
