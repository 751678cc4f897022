// SPDX-License-Identifier: AGPL-3.0-or-later

// Package lifecycle holds the proofs that one container brings itself up from a genesis machine and keeps its service
// through whatever happens to the hubs, the genesis and the configuration.
//
// Everything is real: hubinit as process 1 of a PID namespace with the three hubs, a genesis machine and a docker host
// (package genesistest), nginx from Debian, certificates of a step-ca. Only the container engine is missing, so that the whole
// package takes a minute or two; the image's own tests are package baseimage's. The directories of a container (/run/hub,
// /var/lib/hub, /etc/hub) are directories of the test. It needs root, for namespaces.
package lifecycle
