# SPDX-License-Identifier: AGPL-3.0-or-later
#
# `make` builds the four programs into bin/; `make help` lists the rest.
#
# VERSION        what the programs say they are; from git, else "devel"
# FUZZTIME       how long `make fuzz` works on each target, default 20s
# SOAK_MINUTES   after how long `make soak` begins no new round, default 30; its tests see HUB_SOAK=1 and may last longer
# CI=true        nothing may be left out: without a Docker engine `make test` fails at once
#
# Container tests are those of the packages that import baseimage/dockertest. They run when HUB_DOCKER=1, which
# `make test` sets for them once the image is built; a plain `go test` says that they are left out, and
# fails over them where CI=true.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := build
MAKEFLAGS   += --no-builtin-rules --no-print-directory

PROGRAMS  := ./confighub ./healthhub ./loghub ./baseimage/hubinit
PLATFORMS := linux/amd64 linux/arm64 linux/arm/v7
VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME     ?= 20s
SOAK_MINUTES ?= 30

# Left out of the certificate client that confighub links: databases that a client has no use for, gRPC's tracing (it keeps
# the linker from dropping unused methods), and the command line library's manual writer. 10 MB in all.
TAGS := nopgx,nomysql,nobadger,nobbolt,grpcnotrace,urfave_cli_no_docs

# Every go command below, those of scripts and tests too, builds alike, so that each package is compiled once; only the
# race detector, which needs cgo, builds all of it again. buildvcs would refuse a checkout that belongs to
# another user, and VERSION says the same.
export GOFLAGS     := $(GOFLAGS) -tags=$(TAGS) -trimpath -buildvcs=false
export CGO_ENABLED := 0

BUILD = go build -ldflags '-s -w -X cloud4.internal/hub/internal/daemon.version=$(VERSION) -X main.version=$(VERSION)'

.PHONY: build build-all test check vuln image demo demo-down bench bench-logs fuzz soak clean help

build: ## build the four programs into bin/
	@mkdir -p bin
	$(BUILD) -o bin/ $(PROGRAMS)

build-all: ## build for amd64, arm64 and armv7 into dist/<arch>/ and print the sizes
	@for platform in $(PLATFORMS); do
		IFS=/ read -r os arch variant <<<"$$platform"
		dir=dist/$$arch$$variant
		mkdir -p "$$dir"
		GOOS=$$os GOARCH=$$arch GOARM=$${variant#v} $(BUILD) -o "$$dir/" $(PROGRAMS)
	done
	printf '%-10s %10s %10s %10s\n' program amd64 arm64 armv7
	for program in $(notdir $(PROGRAMS)); do
		printf '%-10s' "$$program"
		stat -c '%s' dist/{amd64,arm64,armv7}/"$$program" | awk '{printf " %7.1f MB", $$1 / 1e6} END {print ""}'
	done

test: ## everything: check, unit tests with the race detector, containers (installs what it lacks on Debian as root)
	@.ci/test

check: ## gofmt, vet, staticcheck, and who may import whom
	@unformatted=$$(gofmt -l .)
	[[ -z $$unformatted ]] || { printf 'not gofmt-ed:\n%s\n' "$$unformatted"; exit 1; }
	go vet ./...
	GOARCH=arm GOARM=7 go vet ./... # where an int has 32 bits
	go tool staticcheck ./...
	go test ./internal
	echo "check: good"

vuln: ## known vulnerabilities of what the programs link (needs https://vuln.go.dev)
	@code=$$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 20 https://vuln.go.dev/index/db.json || true)
	if [[ $$code != 200 ]]; then
		echo "vuln: the database https://vuln.go.dev cannot be reached from here (HTTP $$code): NOTHING was checked"
		exit 1
	fi
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

image: build ## the base image, cloud4/base
	@.ci/needs image
	baseimage/build.sh

demo: ## genesis machine, host, nginx and a database, on this machine, shown step by step
	@examples/demo.sh up

demo-down: ## stop and remove the demo, all of it and only it
	@examples/demo.sh down

bench: image ## all figures (beside wrk, Gatus, Fluent Bit, the OpenTelemetry Collector and rsyslog with RELP where they are on the PATH)
	go test -run '^$$' -bench . -benchmem -timeout 1h $$(.ci/packages unit)
	baseimage/bench.sh

bench-logs: ## loghub alone beside Fluent Bit, the Collector and rsyslog, where they are on the PATH
	go test ./loghub -run '^$$' -bench Delivery -benchtime 1x -timeout 1h

fuzz: ## every fuzz target for FUZZTIME (20s)
	@FUZZTIME='$(FUZZTIME)' .ci/fuzz

soak: ## unit tests again and again, shuffled, with the race detector, for SOAK_MINUTES (30)
	@packages=$$(.ci/packages unit)
	for ((round = 1; SECONDS < 60 * $(SOAK_MINUTES); round++)); do
		echo "== round $$round after $$SECONDS s"
		HUB_SOAK=1 CGO_ENABLED=1 go test -race -count=1 -shuffle=on -timeout 60m $$packages
	done

clean: ## remove what was built; images and the demo stay
	rm -rf bin dist

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
