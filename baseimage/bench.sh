#!/usr/bin/env bash
# Figures of the image cloud4/base, measured side by side in one run, medians:
#
#   start    from the start of the container to the first instruction of the service, over the bare image
#   probe    one run of `hubinit probe` inside a container
#   memory   proportional set size of each program, idle, with N containers on this machine, each with an empty
#            bundle and no genesis
#
# ROUNDS   how often each start is measured, default 15
# N        containers for the memory figures, default 10
#
# Needs the image (`make image`) and root, for /proc/<pid>/smaps_rollup. Removes the containers it makes.
set -euo pipefail

readonly image=cloud4/base label=cloud4-bench
rounds=${ROUNDS:-15} n=${N:-10}

clean() { docker ps -aq --filter "label=$label" | xargs -r docker rm --force --volumes >/dev/null; }
trap clean EXIT

# started FLAGS…: milliseconds from the container's start, as the engine saw it, to the service's own clock.
started() {
    local id service container
    id=$(docker create --label "$label" "$@")
    docker start "$id" >/dev/null
    docker wait "$id" >/dev/null
    service=$(docker logs "$id" 2>/dev/null | grep -Eo '^[0-9]{19}$')
    container=$(date -d "$(docker inspect --format '{{.State.StartedAt}}' "$id")" +%s%N)
    docker rm --volumes "$id" >/dev/null
    echo $(((service - container) / 10000)) | awk '{printf "%.2f\n", $1 / 100}'
}

median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

measure_start() {
    local work round
    work=$(mktemp -d)
    for ((round = 0; round < rounds; round++)); do
        started --entrypoint date "$image" +%s%N >>"$work/bare"
        started --env HUB_HUBS=none "$image" date +%s%N >>"$work/hubinit"
        started "$image" date +%s%N >>"$work/all"
    done
    printf 'start, ms after the engine started the container (median of %d)\n' "$rounds"
    printf '  %-22s %8s\n' 'bare image' "$(median <"$work/bare")" 'hubinit alone' "$(median <"$work/hubinit")" \
        'all hubs, no genesis' "$(median <"$work/all")"
    rm -rf -- "$work"
}

measure_probe() {
    local id
    id=$(docker run --detach --label "$label" "$image" sleep infinity)
    sleep 2
    printf 'probe, ms (mean of 50 in a row)\n  %-22s %8s\n' 'hubinit probe' "$(docker exec "$id" bash -c '
        t=${EPOCHREALTIME/./}
        for i in {1..50}; do hubinit probe >/dev/null; done
        echo $(((${EPOCHREALTIME/./} - t) / 50))' | awk '{printf "%.1f", $1 / 1000}')"
    docker rm --force --volumes "$id" >/dev/null
}

measure_memory() {
    local i program bundle
    bundle=$(mktemp -d) # without anything to apply confighub would end
    echo '{}' >"$bundle/bundle.json"
    for ((i = 0; i < n; i++)); do
        docker run --detach --label "$label" --volume "$bundle:/etc/hub/bundle:ro" "$image" sleep infinity >/dev/null
    done
    sleep 10 # idle: what starting needed is given back
    printf 'memory, MB per container with %d of them, storage driver %s\n  %-22s %8s %10s\n' \
        "$n" "$(docker info --format '{{.Driver}}')" '' PSS 'of it own'
    for program in hubinit confighub healthhub loghub; do
        docker ps -q --filter "label=$label" | while read -r id; do
            docker top "$id" -eo pid,comm | awk -v p="$program" '$2 == p {print $1}'
        done | while read -r pid; do cat "/proc/$pid/smaps_rollup"; done |
            awk -v n="$n" -v p="$program" '/^Pss:/ {all += $2} /^Pss_Anon:/ {own += $2} END {print p, all / n, own / n}'
    done | awk '{printf "  %-22s %8.2f %10.2f\n", $1, $2 / 1000, $3 / 1000; all += $2; own += $3}
        END {printf "  %-22s %8.2f %10.2f\n", "together", all / 1000, own / 1000}'
    rm -rf -- "$bundle"
}

measure_start
measure_probe
measure_memory
