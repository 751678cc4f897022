// SPDX-License-Identifier: AGPL-3.0-or-later

// Package enginetest runs real OTLP receivers for tests: VictoriaLogs and the OpenTelemetry Collector, built from their
// modules, and Debian's nginx as the door with mutual TLS in front of the former, which has none.
//
// Builds are kept in the user's cache directory under cloud4-hub/receivers, by a hash of how they were made, so that only the first
// run pays: one to three minutes on two cores. The module proxy may refuse a module, or there may be no network: then the test
// says so and is skipped, except where CI=true. HUB_RECEIVERS names a directory with binaries of one's own
// (victoria-logs, otelcol-genesis) instead.
//
// Versions are those that the public module proxy is known to serve in a way that builds; they are here to speak the protocol,
// not as advice. Left out: Loki, which takes ten minutes to build.
package enginetest
