#!/bin/sh
# every COMMAND… runs it each JOB_EVERY seconds, and tells the container's health how it ended.
trap 'kill "$pid" 2>/dev/null; exit 0' TERM INT
while :; do
    "$@" & pid=$!
    if wait "$pid"; then
        healthhub report job pass --ttl "${JOB_TTL:-25h}"
    else
        healthhub report job fail "exit code $?"
    fi
    sleep "${JOB_EVERY:-86400}" & pid=$!
    wait "$pid"
done
