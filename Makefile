VERSION      ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE        ?= leasehold:dev
LINT_VERSION := v2.15.0
LINT         := bin/golangci-lint

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-20s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/server
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/server ./cmd/server

.PHONY: demo
demo: ## Run three replicas on this machine, without Kubernetes
	go build -o bin/server ./cmd/server && exec bin/server demo

.PHONY: test
test: ## Run all tests with the race detector
	go test -race ./...

.PHONY: short
short: ## Run the quick tests
	go test -short ./...

# Where the cluster's Services cannot be reached from here, E2E_EXEC may be a command that runs another one where they can.
.PHONY: e2e
e2e: ## Test on the cluster of $KUBECONFIG (see test/e2e/doc.go; E2E_ARGS='-test.run Rollout' for one)
	CGO_ENABLED=0 go test -c -tags e2e -o bin/e2e.test ./test/e2e
	cd test/e2e && $(E2E_EXEC) ../../bin/e2e.test -test.v -test.timeout 80m $(E2E_ARGS)

.PHONY: failover
failover: ## Measure failovers, as root for all cases (FAILOVER_ARGS='-rounds 2 -cases sigterm,kill' for a minute, not hours)
	go build -o bin/server ./cmd/server
	go run ./test/failover -server bin/server -md docs/FAILOVER.md -svg docs/failover.svg $(FAILOVER_ARGS)

.PHONY: controls
controls: ## Show that the tests notice each protection that is switched off (CONTROLS_ARGS='-count 10' for every time)
	go run ./test/controls $(CONTROLS_ARGS)

.PHONY: chaos
chaos: ## Break three replicas for 3 minutes, as root, and check every promise (CHAOS_ARGS='-list' lists the faults)
	go build -o bin/server ./cmd/server
	go run ./test/chaos -server bin/server $(CHAOS_ARGS)

.PHONY: chaos-short
chaos-short: ## The same faults each time, one of each sort, in less than 3 minutes
	go build -o bin/server ./cmd/server
	go run ./test/chaos -server bin/server -seed 1 -case short $(CHAOS_ARGS)

.PHONY: chaos-long
chaos-long: ## An hour of it, with more than 100 faults; writes docs/CHAOS.md
	go build -o bin/server ./cmd/server
	go run ./test/chaos -server bin/server -for 1h -md docs/CHAOS.md -svg docs/chaos.svg $(CHAOS_ARGS)

# A module of its own: the clients of the other systems, and etcd's command, are no business of the main one.
.PHONY: bench-build
bench-build: build
	cd test/bench && go build -o ../../bin/ . ./etcd

.PHONY: bench
bench: bench-build ## Measure beside etcd and Redis, in less than 30 minutes; writes docs/BENCHMARKS.md (BENCH_ARGS=-help)
	bin/bench -server bin/server -etcd bin/etcd -md docs/BENCHMARKS.md -svg docs/benchmarks.svg $(BENCH_ARGS)

.PHONY: bench-short
bench-short: bench-build ## A minute of it, which shows that it works, and writes nothing
	bin/bench -server bin/server -etcd bin/etcd -runs 1 -for 1s -clients 64 -bars=false $(BENCH_ARGS)

.PHONY: bench-growth
bench-growth: bench-build ## Measure how cost grows, in less than 20 minutes; writes docs/GROWTH.md (GROWTH_ARGS=-help)
	bin/bench growth -server bin/server -md docs/GROWTH.md -svg docs/growth.svg $(GROWTH_ARGS)

.PHONY: bench-growth-short
bench-growth-short: bench-build ## Two minutes of it, which show that it works, and write nothing
	bin/bench growth -server bin/server -runs 1 -for 1s -keys 1000,10000 -values 16,4096 -clients 1,64 -watchers 0,10 -bars=false $(GROWTH_ARGS)

.PHONY: bench-reads
bench-reads: bench-build ## Measure what it brings to keep reads off the leader, in five minutes (READS_ARGS=-help)
	bin/bench reads -server bin/server $(READS_ARGS)

.PHONY: bench-check
bench-check: $(LINT) ## Vet, lint and test the benchmark, which the targets for everything else do not see
	cd test/bench && go mod tidy -diff && go vet ./... && ../../$(LINT) run ./... && go test -race ./...

.PHONY: vet
vet: ## Run go vet
	go vet ./... && go vet -tags e2e ./test/...

.PHONY: lint
lint: $(LINT) ## Run golangci-lint (the first time builds it into bin, which takes minutes)
	$(LINT) run ./...

$(LINT):
	GOBIN=$(CURDIR)/bin GOFLAGS=-mod=mod go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

.PHONY: promtool
promtool: bin/promtool ## Get bin/promtool, with which the tests try the alerts (Debian)

# From the package, of which nothing is installed: that would start a server.
bin/promtool:
	rm -rf bin/deb && mkdir -p bin/deb
	cd bin/deb && (apt-get download prometheus || (apt-get update && apt-get download prometheus)) && dpkg -x prometheus_*.deb .
	mv bin/deb/usr/bin/promtool $@ && touch $@
	rm -r bin/deb

.PHONY: image
image: ## Build the container image
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

.PHONY: clean
clean: ## Delete bin
	rm -rf bin
