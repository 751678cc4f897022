// SPDX-License-Identifier: AGPL-3.0-or-later

// Package sink is where records go: an OTLP receiver, and the container's own
// stdout and stderr.
//
// Protocol: OTLP/HTTP with protobuf, and gzip from 4 KiB on (opentelemetry-proto,
// docs/specification.md, "OTLP/HTTP"). One request is in flight, so order is kept.
// Any 2xx is success, with a body or without. What other answers mean:
//
//	no answer, 408 425 429 5xx  retried without end, full jitter up to a minute; Retry-After counts
//	400 413 422                 the batch is halved until the one record is found; that goes to the dead letters, and a
//	                            loss record in its place. A receiver that refuses that one as well refuses everything: held
//	401 403 404, all others     the operator's mistake: held, probed once a minute, said
//	200 with rejected records   counted and said, never sent again
//
// Dead letters are sent again by Replay, when somebody asks for it.
//
// Batches grow to 4096 records or 1 MiB while a backlog fills them, keep under what was once too large, and shrink when no answer
// comes, or 408. The first record after a quiet time goes at once; others gather for 150 ms, or longer where the receiver is slow.
//
// Transport: mutual TLS with the container's identity. A server whose certificate
// holds a SPIFFE name must be genesis/log; another engine with a certificate of
// the fleet's authority is known by its DNS name. Plain http:// goes to loopback only,
// unless the settings call it otlp_unsafe. Where the address comes from OTEL_EXPORTER_OTLP_*, so may the
// certificates, see TLSFiles.
//
// The copy to the container's output is bounded and never waits: what a stuck log
// driver does not take is dropped and counted.
package sink
