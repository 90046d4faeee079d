# Everything is made from this file; make help lists it.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

# The name of a context of your kubeconfig: the demo plays there instead of on
# the local cluster.
CONTEXT ?=
# Nodes of the local cluster; empty: as last time, or one.
NODES ?=

# What to measure, a regular expression, and the top of a checkout of an earlier
# commit to compare with; empty: everything, and none.
RUN ?=
BASELINE ?=

# Which faults strike, a regular expression, and how often; empty: each kind.
FAULT ?=
TIMES ?= 1
# How many groups of three nodes there are; each has a stack with one server and
# one with three.
GROUPS ?= 1

# The stack whose manifests are written.
STACK ?= dev

# As in .local/env and test.sh: with another setting all packages would be
# compiled again, under another key of Go's build cache. Whoever plays the demo
# on a cluster of their own goes on in a shell of their own, with its setting.
.local/bin/setup lint: export CGO_ENABLED := 0

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
setup: .local/bin/setup ## Install what the local cluster and the tests need and build it (root, Debian)
	@.local/bin/setup

# Go knows whether it is up to date.
.PHONY: .local/bin/setup
.local/bin/setup:
	@cd local && go build -o ../.local/bin/setup ./cmd/setup

.PHONY: cluster
cluster: .local/bin/setup ## Start the local Kubernetes (NODES=3 for three nodes)
	@.local/bin/setup -go-only
	@.local/bin/localkube up $(if $(NODES),--nodes $(NODES))

.PHONY: cluster-down
cluster-down: ## Stop the local Kubernetes; its data stays
	@if [ -x .local/bin/localkube ]; then .local/bin/localkube down; else echo "No local cluster here."; fi

.PHONY: manifests
manifests: ## Write what a stack deploys as plain manifests (STACK=mine; no cluster needed)
	@./manifests.sh '$(STACK)'

.PHONY: generate
generate: ## Write what is made from the table of settings (after a change of components/settings)
	go run ./components/settings/generate
	cd provider && go test . -run '^TestSchema$$' -update

.PHONY: pictures
pictures: cluster ## Run verify at 1, at 0 and with a row missing, and draw README.md's pictures
	@. .local/env; go run ./docs/pictures

.PHONY: test
test: setup ## Run every test, on the local Kubernetes
	@./test.sh

.PHONY: soak
soak: cluster ## Let every kind of fault strike one server and three (FAULT='node-kill' TIMES=20 GROUPS=2)
	@./soak.sh '$(FAULT)' '$(TIMES)' '$(GROUPS)'

.PHONY: bench
bench: cluster ## Measure against plain tools and write docs/benchmarks.md (BASELINE=DIR: and an earlier commit)
	@. .local/env; go run ./bench $(if $(RUN),-run '$(RUN)') $(if $(BASELINE),-baseline '$(BASELINE)')

.PHONY: lint
lint: ## Check formatting, vet and staticcheck, and build verify for other systems
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-clean: $$unformatted" >&2; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	cd provider && go vet ./...
	cd provider && go run $(STATICCHECK) ./...
	cd local && go vet ./...
	cd local && go run $(STATICCHECK) ./...
	GOOS=windows go build -o /dev/null ./verify
	GOOS=darwin go build -o /dev/null ./verify

.PHONY: clean
clean: cluster-down ## Remove the local Kubernetes with its data, and all that was built
	@find .local -mindepth 1 -maxdepth 1 ! -name .gitkeep -exec rm -rf {} +
	@echo "Removed all that was under .local. Debian packages that were installed stay."
