# `make help` lists the targets. Four are all a newcomer needs: `make demo`,
# `make demo-batch`, `make observe` and `make test`; each sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -o errexit -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

# As ko has it, and programs are run with -trimpath as it builds them: what both are made
# of is compiled once.
export CGO_ENABLED := 0

include hack/cluster/cluster.mk

# What the commands below need in their environment; on a cluster of one's own it
# is there already.
ifeq ($(CLUSTER),existing)
CLUSTER_ENV := true
else
CLUSTER_ENV := $(CLUSTER_TOOL) env
endif

# Modules of their own, beside the product's.
MODULES := . hack/cluster hack/dashboards test/images/ranker test/conformance

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

.PHONY: generate
generate: ## generate deep copies, clients, CRDs from the API types
	@hack/update-codegen.sh

.PHONY: presubmit
presubmit: ## check format, vet, lint, generated code and module files
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [[ -z "$$unformatted" ]] || { echo "run gofmt on:"; echo "$$unformatted"; exit 1; }
	for module in $(MODULES); do (cd $$module && go vet ./... && go mod tidy -diff); done
	# A module of 1,900 packages, whose tests need some that no proxy serves: neither tidied nor linted here.
	(cd cmd/collector && go vet -tags remove_all_sd,enable_kubernetes_sd ./...)
	go vet -tags e2e ./test/... ./functions/batch/objects ./functions/batch/topic
	hack/lint.sh $(MODULES)
	hack/verify-codegen.sh

.PHONY: test-unit
test-unit: ## run the unit, table, golden and property tests; no cluster
	@for module in $(MODULES); do (cd $$module && go test ./...); done
	# As ko builds it, so that it is compiled once.
	(cd cmd/collector && go test -trimpath -tags remove_all_sd,enable_kubernetes_sd ./...)

.PHONY: fuzz
fuzz: ## search for nonsense, by coverage, that the webhook lets in and Knative refuses; the unit tests try some as well
	@go test -run '^$$' -fuzz FuzzModel -fuzztime 1m ./cmd/webhook

.PHONY: install
install: up ## build Sluice's images and install it
	@eval "$$($(CLUSTER_ENV))"
	hack/install.sh

.PHONY: uninstall
uninstall: ## take Sluice out again: its Models too, or SLUICE_HANDOVER=<ingress class> serves them on
	@eval "$$($(CLUSTER_ENV))"
	hack/uninstall.sh

.PHONY: test-e2e
test-e2e: export SLUICE_OBSERVABILITY := true
test-e2e: install ## run the end-to-end tests on the local stack
	@eval "$$($(CLUSTER_ENV))"
	RANKER_IMAGE=$$(hack/build-image.sh ./test/images/ranker)
	STREAMS_IMAGE=$$(hack/build-image.sh ./test/images/streams)
	S3EVENTS_IMAGE=$$(hack/build-image.sh ./test/images/s3events)
	VERSITYGW_IMAGE=$$(hack/build-image.sh ./hack/cluster/toolsets/versitygw github.com/versity/versitygw/cmd/versitygw)
	export RANKER_IMAGE STREAMS_IMAGE S3EVENTS_IMAGE VERSITYGW_IMAGE
	# By now, so that no test runs beside its build.
	[[ -z "$$SLUICE_CLUSTER" ]] || "$$SLUICE_CLUSTER" up versitygw kafka prometheus victorialogs victoriametrics jaeger
	# Where a store is away nothing is done but to wait.
	go test -tags e2e -count 1 -timeout 30m -v ./functions/batch/objects ./functions/batch/topic ./test/stores & objects=$$!
	go test -tags e2e -count 1 -timeout 40m -parallel 4 -v ./test/e2e/...
	wait $$objects

.PHONY: conformance
conformance: install ## run Knative's conformance suite against Sluice's ingress class
	@eval "$$($(CLUSTER_ENV))"
	test/conformance/run.sh

.PHONY: test-uninstall
test-uninstall: install ## take Sluice out of the local stack, with its Models and without them
	@eval "$$($(CLUSTER_ENV))"
	RANKER_IMAGE=$$(hack/build-image.sh ./test/images/ranker)
	export RANKER_IMAGE
	go test -tags e2e -count 1 -timeout 15m -v ./test/uninstall

.PHONY: test
test: test-unit test-e2e conformance test-uninstall ## run every test, bringing up what they need

.PHONY: demo
demo: install ## serve a real model, show its limit follow its replicas, and a warm-up
	@eval "$$($(CLUSTER_ENV))"
	image=$$(hack/build-image.sh ./test/images/ranker)
	go run -trimpath ./test/demo -image "$$image"

.PHONY: demo-batch
demo-batch: install ## put an object into a store, whose event starts a batch beside live traffic
	@eval "$$($(CLUSTER_ENV))"
	ranker=$$(hack/build-image.sh ./test/images/ranker)
	events=$$(hack/build-image.sh ./test/images/s3events)
	store=$$(hack/build-image.sh ./hack/cluster/toolsets/versitygw github.com/versity/versitygw/cmd/versitygw)
	go run -trimpath ./test/demo/batch -ranker "$$ranker" -store "$$store" -events "$$events"

.PHONY: observe
observe: export SLUICE_OBSERVABILITY := true
observe: install ## bring up stores of metrics, logs and traces, and hold what they have of a load to what was counted
	@eval "$$($(CLUSTER_ENV))"
	[[ -z "$$SLUICE_CLUSTER" ]] || "$$SLUICE_CLUSTER" up prometheus victoriametrics victorialogs kafka jaeger
	image=$$(hack/build-image.sh ./test/images/ranker)
	go run -trimpath ./test/demo/observe -image "$$image"

.PHONY: soak
soak: install ## the demo's load for ten minutes, each second held against the limit
	@eval "$$($(CLUSTER_ENV))"
	image=$$(hack/build-image.sh ./test/images/ranker)
	go run -trimpath ./test/demo -image "$$image" -namespace soak -rounds 17

.PHONY: bench-network
bench-network: install ## measure what the networking costs, against the same by hand
	@eval "$$($(CLUSTER_ENV))"
	image=$$(hack/build-image.sh ./test/images/ranker)
	go run -trimpath ./test/bench/network -image "$$image"

.PHONY: bench-limits
bench-limits: install ## measure how fast and how exactly limits follow replicas
	@eval "$$($(CLUSTER_ENV))"
	image=$$(hack/build-image.sh ./test/images/streams)
	go run -trimpath ./test/bench/limits -streams "$$image"

.PHONY: bench-warmup
bench-warmup: install ## measure what a warm-up spares callers, and what it costs
	@eval "$$($(CLUSTER_ENV))"
	image=$$(hack/build-image.sh ./test/images/ranker)
	go run -trimpath ./test/bench/warmup -image "$$image"

.PHONY: bench-batch
bench-batch: install ## measure what batches cost online callers, and how much of the slack they use
	@eval "$$($(CLUSTER_ENV))"
	streams=$$(hack/build-image.sh ./test/images/streams)
	ranker=$$(hack/build-image.sh ./test/images/ranker)
	go run -trimpath ./test/bench/batch -streams "$$streams" -ranker "$$ranker"

.PHONY: soak-batch
soak-batch: install ## a batch of a million items, each one's record counted
	@eval "$$($(CLUSTER_ENV))"
	streams=$$(hack/build-image.sh ./test/images/streams)
	ranker=$$(hack/build-image.sh ./test/images/ranker)
	go run -trimpath ./test/bench/batch -streams "$$streams" -ranker "$$ranker" -only many -items 1000000 -name batch-soak

.PHONY: bench-tuning
bench-tuning: install ## measure how soon a tuning has its effect, and hold what is predicted to what comes
	@eval "$$($(CLUSTER_ENV))"
	image=$$(hack/build-image.sh ./test/images/streams)
	go run -trimpath ./test/bench/tuning -streams "$$image"

.PHONY: bench-observability
bench-observability: export SLUICE_OBSERVABILITY := true
bench-observability: install ## measure what it costs a request to be seen, how soon it is, and whether it adds up
	@eval "$$($(CLUSTER_ENV))"
	[[ -z "$$SLUICE_CLUSTER" ]] || "$$SLUICE_CLUSTER" up prometheus victorialogs
	ranker=$$(hack/build-image.sh ./test/images/ranker)
	lines=$$(hack/build-image.sh ./test/images/gatewaylog)
	go run -trimpath ./test/bench/observability -image "$$ranker" -lines "$$lines"

.PHONY: soak-tuning
soak-tuning: install ## twenty traces of five minutes, predicted and then run
	@eval "$$($(CLUSTER_ENV))"
	image=$$(hack/build-image.sh ./test/images/streams)
	go run -trimpath ./test/bench/tuning -streams "$$image" -only traces -traces 20 -lasts 5m -name tuning-soak
