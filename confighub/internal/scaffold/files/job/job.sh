#!/bin/sh
# The job: put here what is to be done. What it prints is in docker logs and goes to the genesis machine.
set -eu
echo "the job runs"
