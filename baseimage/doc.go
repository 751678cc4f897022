// SPDX-License-Identifier: AGPL-3.0-or-later

// Package baseimage holds what makes the image cloud4/base from the programs of this repository:
//
//	build.sh     builds it, and its parent where no registry is in reach
//	rootfs/      files that are copied into it as they are
//	hubinit/     its ENTRYPOINT, process 1 of every container
//	dockertest/  how tests use the Docker engine
//
// The image itself is described by the Dockerfile at the top of the repository. The tests here hold what an image
// FROM it may count on: entry point, health check, exit codes, stopping, and running with next to no rights.
package baseimage
