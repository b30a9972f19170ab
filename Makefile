.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO    ?= go
DATA  ?= ./data
FLAGS ?=
PKG   ?= ./...
BENCH ?= .
BENCHTIME ?= 1s
COUNT ?= 1
ONLY  ?=
ROUNDS ?= 3
WINDOW ?= 2s
DURATION ?= 30m

# Without a home, Go has nowhere to keep what it builds and fetches.
ifeq ($(strip $(HOME)),)
CACHE := $(or $(TMPDIR),/tmp)/mollifier-build-$(shell id -u)
export GOCACHE ?= $(CACHE)/build
export GOPATH ?= $(CACHE)/path
export STATICCHECK_CACHE ?= $(CACHE)/staticcheck
endif

# The version goes into the binary where git can tell it.
VCS := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)

# The race detector needs a C compiler with its headers.
CAN_RACE = printf '\043include <stdlib.h>\nint main(void) { return 0; }\n' | $$($(GO) env CC) -x c -o /dev/null - >/dev/null 2>&1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## check for Go, Redis and Postgres; as root on Debian or Ubuntu, install the last two
	@sh scripts/deps.sh

.PHONY: build
build: ## build bin/node
	$(GO) build -buildvcs=$(VCS) -o bin/node ./cmd/node

.PHONY: run
run: deps build ## run a node with its own Redis and Postgres in ./data (DATA=folder, FLAGS='more flags')
	bin/node -data $(DATA) $(FLAGS)

.PHONY: openapi
openapi: build ## print the OpenAPI description of the HTTP API
	@bin/node openapi

.PHONY: demo
demo: deps build ## run a storm of triggers and check that each key gave one run
	bin/node demo

.PHONY: test
test: deps lint ## lint, then all tests, under the race detector where there is a C compiler
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	@race=-race; if ! $(CAN_RACE); then race=; echo "no C compiler with headers: the race detector is left out"; fi; \
	set -x; bin/teststack $(GO) test $$race -timeout 20m $(PKG)$(if $(filter ./...,$(PKG)), && bin/teststack $(GO) -C bench/peers test -mod=mod $$race -timeout 20m ./... && bin/teststack $(GO) -C examples test -mod=mod $$race -timeout 20m ./...)

# What talks to Redis, for the suites that run on another one.
REDIS_PKGS = ./redisdb ./claim ./buffer ./gate ./ring ./fleet ./override ./fallback ./drain .

.PHONY: test-cluster
test-cluster: deps ## what talks to Redis, on a Redis Cluster of three masters; some minutes (PKG=packages)
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	MOLLIFIER_TEST_REDIS=cluster bin/teststack $(GO) test -count 1 -timeout 20m $(if $(filter ./...,$(PKG)),$(REDIS_PKGS),$(PKG))

.PHONY: test-failovers
test-failovers: deps ## storms in which a Cluster, Sentinels or Postgres fail over, or the disk of Postgres is full
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	MOLLIFIER_TEST_FAILOVERS=1 bin/teststack $(GO) test -count 1 -parallel 1 -timeout 20m -run 'FailsOverInAStorm|FailOverInAStorm|StandbyTakesOver|DiskOfPostgres' .

.PHONY: test-valkey
test-valkey: deps ## the same on Valkey, which is fetched if need be; some minutes (PKG=packages)
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	@programs=$$(sh scripts/valkey.sh bin/valkey) && folder=$$(mktemp -d) && chmod 755 $$folder && trap 'rm -rf '$$folder EXIT && set -x; \
	PATH="$$programs:$$PATH" TMPDIR=$$folder bin/teststack $(GO) test -count 1 -timeout 20m $(if $(filter ./...,$(PKG)),$(REDIS_PKGS),$(PKG))

.PHONY: test-sdk
test-sdk: deps build ## drive a node with the SDK of trigger.dev from npm (FILES=suite/x.test.mjs for one file)
	@sh scripts/test-sdk.sh $(FILES)

.PHONY: screenshots
screenshots: deps ## take docs/images anew: a storm, seen on the live page in Chromium
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	SCREENSHOTS=$(CURDIR)/docs/images bin/teststack $(GO) test -count 1 -run '^TestScreenshots$$' ./cmd/node

.PHONY: record-sdk
record-sdk: deps build ## record anew what the SDK sends and is answered, in test/sdk/recorded
	@sh scripts/test-sdk.sh --record

.PHONY: race
race: deps ## all tests under the race detector, whatever was cached
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	bin/teststack $(GO) test -race -count 1 -timeout 20m $(PKG)

.PHONY: chaos
chaos: deps build ## break nodes and stores while clients trigger, and judge what came back (FLAGS='-runs 50', bin/chaos -h)
	$(GO) build -buildvcs=false -o bin/chaos ./test/chaos
	bin/chaos $(FLAGS)

.PHONY: test-chaos-short
test-chaos-short: deps build ## the same with the main faults once, in two minutes
	$(GO) build -buildvcs=false -o bin/chaos ./test/chaos
	bin/chaos -short $(FLAGS)

.PHONY: test-upgrade
test-upgrade: deps build ## upgrade nodes of another commit under traffic, roll back, upgrade again (BASE=ref, FLAGS='-runs 5')
	$(GO) build -o bin/chaos ./test/chaos
	@GO='$(GO)' BASE='$(BASE)' FLAGS='$(FLAGS)' sh scripts/test-upgrade.sh

.PHONY: soak
soak: deps build ## play rounds with and without faults on one deployment for DURATION=30m, and say what has grown; report in soak/
	$(GO) build -buildvcs=false -o bin/chaos ./test/chaos
	bin/chaos -soak $(DURATION) -dir soak $(FLAGS)

.PHONY: overload
overload: deps build ## offer one node ten times what it can take, with a quiet neighbour and slow clients, and say what held; two minutes
	$(GO) build -buildvcs=false -o bin/chaos ./test/chaos
	bin/chaos -overload 12s $(FLAGS)

.PHONY: bench
bench: deps ## engines, peers and the stores alone in turn, with ratios; 10 minutes (ONLY=pattern, ROUNDS=3, WINDOW=2s)
	$(GO) -C bench/peers run -mod=mod ./cmd/compare -only '$(ONLY)' -rounds $(ROUNDS) -window $(WINDOW) -out ../out/latest.json

.PHONY: bench-full
bench-full: deps ## the comparisons in more rounds, then the whole grid of benchmarks (BENCH=pattern, BENCHTIME=1s, COUNT=1)
	$(GO) -C bench/peers run -mod=mod ./cmd/compare -rounds 5 -window 3s -out ../out/latest.json
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	bin/teststack $(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -count $(COUNT) -timeout 4h ./bench ./bench/limits | tee bench/out/full.txt

.PHONY: profile
profile: deps ## profiles and a trace of one benchmark (BENCH=pattern, BENCHTIME=1s)
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	@mkdir -p bench/out
	bin/teststack $(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -timeout 1h -o bench/out/bench.test \
		-cpuprofile bench/out/cpu.pprof -memprofile bench/out/heap.pprof -mutexprofile bench/out/mutex.pprof \
		-blockprofile bench/out/block.pprof -trace bench/out/trace.out ./bench
	@echo "open them: $(GO) tool pprof -http : bench/out/cpu.pprof (or heap, mutex, block)"
	@echo "           $(GO) tool trace bench/out/trace.out"
	@echo "how to read them: docs/benchmarks.md"

.PHONY: mutants
mutants: deps ## leave out each protection of the protocol in turn, and see that a test notices (ONLY=pattern)
	@$(GO) build -buildvcs=false -o bin/teststack ./internal/devstack/cmd/teststack
	bin/teststack $(GO) run ./internal/mutant/cmd/mutants -only '$(ONLY)'

.PHONY: model
model: ## check the protocol's model with Spin, some minutes; writes docs/model/README.md
	sh docs/model/run.sh

.PHONY: model-full
model-full: ## the same, with the configurations that take long
	sh docs/model/run.sh full

.PHONY: lint
lint: ## go vet, staticcheck, gofumpt
	$(GO) vet ./...
	$(GO) -C bench/peers vet -mod=mod ./...
	$(GO) -C examples vet -mod=mod ./...
	$(GO) tool staticcheck ./...
	@unformatted=$$($(GO) tool gofumpt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi

.PHONY: fmt
fmt: ## format all Go files
	$(GO) tool gofumpt -l -w .

.PHONY: verify
verify: ## check that go.mod and generated files are up to date
	$(GO) mod tidy -diff
	$(GO) -C bench/peers mod tidy -diff
	$(GO) -C examples mod tidy -diff
	$(GO) mod verify
	@state() { git diff HEAD | git hash-object --stdin; git status --porcelain; }; \
	before=$$(state); $(GO) generate ./... || exit 1; \
	if [ "$$before" != "$$(state)" ]; then echo "generated files were not up to date; they are now"; exit 1; fi

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME=30s in turn (ONLY=pattern over "./folder FuzzName")
	@GO='$(GO)' FUZZTIME='$(or $(FUZZTIME),30s)' ONLY='$(ONLY)' sh scripts/fuzz.sh

.PHONY: vuln
vuln: ## known vulnerabilities in code that is called; fails plainly where the database is out of reach (GOVULNDB=url)
	@GO='$(GO)' GOVULNDB='$(GOVULNDB)' sh scripts/vuln.sh
