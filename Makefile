# make help lists the targets; CONTRIBUTING.md tells more.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
PKG      ?= ./...
FUZZTIME ?= 10s
COUNT    ?= 1

# The tools are built once for each state of tools/go.sum and this toolchain.
TOOLS := .cache/tools/$(shell cat tools/go.sum <($(GO) version) | sha256sum | cut -c1-12)

# Docker Compose, to check the files of deployments; it needs no engine for that.
COMPOSE_VERSION := v2.40.3
COMPOSE := .cache/tools/compose-$(COMPOSE_VERSION)

# Every module of the tree that has tests: the product and, nested in it, those
# that need libraries the product must not depend on.
MODULES = $$(git ls-files '*go.mod' | grep -v '^tools/' | xargs -n1 dirname)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: run
run: ## run the main job: discover, check, archive, serve
	$(GO) run ./cmd/bigbrotr up

.PHONY: build
build: ## build the static binary bin/bigbrotr
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bigbrotr ./cmd/bigbrotr

.PHONY: test
test: needs ## run all tests, also those of nested modules
	@for module in $(MODULES); do echo "# module $$module"; $(GO) -C $$module test -timeout 20m ./...; done

.PHONY: race
race: needs ## run the tests with the race detector, without end-to-end tests and killed servers
	$(GO) test -race -short -timeout 20m $$($(GO) list ./... | grep -v '/e2e')

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## check form and habits
	$(TOOLS)/golangci-lint run $(PKG)

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## format the source
	$(TOOLS)/golangci-lint fmt

.PHONY: compose
compose: $(COMPOSE) ## let Docker Compose check the files of the deployments
	COMPOSE=$(CURDIR)/$(COMPOSE) $(GO) test -count 1 -run '^TestCompose$$' ./internal/archtest

.PHONY: bench
bench: $(TOOLS)/benchstat ## run benchmarks: PKG=./internal/core/nostr COUNT=10
	@mkdir -p .cache
	BENCH_FULL=1 $(GO) test -run '^$$' -bench . -benchmem -timeout 2h -count $(COUNT) $(PKG) | tee .cache/bench.txt
	$(TOOLS)/benchstat .cache/bench.txt

.PHONY: bench-store
bench-store: needs ## compare the layout of PostgreSQL with that of the original, at 500,000 events
	BENCH_FULL=1 $(GO) test -run '^$$' -bench BenchmarkLayouts -benchtime 1x -timeout 2h ./internal/core/store/postgres

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' cmd internal | xargs -n1 dirname | sort -u | while read -r dir; do \
		$(GO) test -list '^Fuzz' ./$$dir | grep '^Fuzz' | while read -r target; do \
			echo "# $$dir $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) ./$$dir; \
		done; \
	done

.PHONY: soak
soak: ## let processes live and die among SOAK=1000 new networks: SOAK_SEED= the first seed
	SOAK=$${SOAK:-1000} SOAK_SEED=$${SOAK_SEED:-$$(date +%s)} $(GO) test -count 1 -v -timeout 2h -run '^TestSoak$$' ./internal/services/synchronizer | grep -vE '^ *(=== |--- PASS)'

.PHONY: cover
cover: needs ## measure which statements the tests reach: .cache/cover.html
	@mkdir -p .cache
	$(GO) test -coverprofile .cache/cover.out -coverpkg ./cmd/...,./internal/... $(PKG)
	$(GO) tool cover -html .cache/cover.out -o .cache/cover.html
	@$(GO) tool cover -func .cache/cover.out | tail -1

.PHONY: generate
generate: ## make generated files again: the manual and the schema of the configuration
	$(GO) generate ./...

.PHONY: picture
picture: ## take the pictures of docs/ of the running demo
	$(GO) test -run '^TestPages$$' -count 1 ./e2e -update

.PHONY: map
map: ## make the outlines of the world map again, of Natural Earth's data
	@mkdir -p .cache/map && cp tools/map/package*.json .cache/map
	cd .cache/map && npm ci --ignore-scripts --no-audit --no-fund
	NODE_PATH=.cache/map/node_modules node tools/map/outline.js internal/services/api/pages/assets

.PHONY: deps
deps: ## print the package line for Debian and install what is missing
	@tools/deps.sh

.PHONY: needs
needs:
	@tools/deps.sh -q

.PHONY: ci
ci: ## run everything that must pass before a change lands
	.ci/run

$(TOOLS)/golangci-lint:
	@echo "building golangci-lint, once; this takes some minutes"
	$(GO) -C tools build -trimpath -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/benchstat:
	$(GO) -C tools build -trimpath -o $(CURDIR)/$@ golang.org/x/perf/cmd/benchstat

# In the module cache, by its own go.mod and go.sum: what it requires would get
# the better of what our linters require.
$(COMPOSE):
	@echo "building docker compose, once; this takes some minutes"
	$(GO) -C "$$($(GO) mod download -json github.com/docker/compose/v2@$(COMPOSE_VERSION) | sed -n 's/^.*"Dir": "\(.*\)".*/\1/p')" build -trimpath -o $(CURDIR)/$@ ./cmd
