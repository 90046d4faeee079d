# Everything is made from this file; make help lists it.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

# The name of a context of your kubeconfig: the demo plays there instead of on
# the local cluster.
CONTEXT ?=
# Nodes of the local cluster; empty: as last time, or one.
NODES ?=

# The stack whose manifests are written.
STACK ?= dev

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
ifeq ($(CONTEXT),)
demo: cluster ## Play the whole story on a local Kubernetes (CONTEXT=name: on a cluster of yours)
	@. .local/env; ./demo.sh
else
demo:
	@./demo.sh '$(CONTEXT)'
endif

.PHONY: setup
setup: ## Install what the local cluster needs and build it (root, Debian)
	@cd local && CGO_ENABLED=0 go build -o ../.local/bin/setup ./cmd/setup
	@.local/bin/setup

.PHONY: cluster
cluster: setup ## Start the local Kubernetes (NODES=3 for three nodes)
	@.local/bin/localkube up $(if $(NODES),--nodes $(NODES))

.PHONY: cluster-down
cluster-down: ## Stop the local Kubernetes; its data stays
	@if [ -x .local/bin/localkube ]; then .local/bin/localkube down; else echo "No local cluster here."; fi

.PHONY: manifests
manifests: ## Write what a stack deploys as plain manifests (STACK=mine; no cluster needed)
	@./manifests.sh '$(STACK)'

.PHONY: test
test: setup ## Run every test, on the local Kubernetes
	@./test.sh

.PHONY: bench
bench: cluster ## Measure against plain tools and write docs/benchmarks.md
	@. .local/env; go run ./bench

.PHONY: lint
lint: ## Check formatting, vet and staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-clean: $$unformatted" >&2; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	cd provider && go vet ./...
	cd provider && go run $(STATICCHECK) ./...
	cd local && CGO_ENABLED=0 go vet ./...
	cd local && CGO_ENABLED=0 go run $(STATICCHECK) ./...

.PHONY: clean
clean: cluster-down ## Remove the local Kubernetes with its data, and all that was built
	@find .local -mindepth 1 -maxdepth 1 ! -name .gitkeep -exec rm -rf {} +
	@echo "Removed all that was under .local. Debian packages that were installed stay."
