#!/usr/bin/env bash
# The whole thing on one machine: a genesis machine (examples/genesis) and one docker VM with a web
# server and a database (examples/shop), all in containers, shown step by step.
#
#   demo.sh up      build, start, show, and leave it running; cleans up what an earlier run left
#   demo.sh down    stop and remove all of it: containers, networks, volumes and the state directory.
#                   Images stay, so that the next time is quick.
#
# CLOUD4_DEMO        state directory: authority, tokens and the tree it plays with (default .demo
#                    in the repository)
# CLOUD4_PAGE_PORT, CLOUD4_HOST_PORT, CLOUD4_FLEET_PORT    ports on 127.0.0.1, default 8080 8480 8481
#
# Needs Debian, root, a Docker engine and Go; installs curl, a compose and mmdebstrap where they are
# missing. Elsewhere it names what is missing and ends.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname -- "$here")
readonly here root

export CLOUD4_DEMO=${CLOUD4_DEMO:-$root/.demo}
export CLOUD4_NETWORK=cloud4-demo
export CLOUD4_PAGE_PORT=${CLOUD4_PAGE_PORT:-8080}
export CLOUD4_HOST_PORT=${CLOUD4_HOST_PORT:-8480}
export CLOUD4_FLEET_PORT=${CLOUD4_FLEET_PORT:-8481}
export CLOUD4_CA_FINGERPRINT=${CLOUD4_CA_FINGERPRINT:-none}

readonly genesis=cloud4-genesis shop=cloud4-shop
readonly page=http://127.0.0.1:$CLOUD4_PAGE_PORT/
readonly tree=$CLOUD4_DEMO/tree

work_dir=$(mktemp -d)
readonly work_dir
output=$work_dir/output remark=$work_dir/remark
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf -- "$work_dir"' EXIT

# shellcheck source-path=SCRIPTDIR
source "$here/terminal.sh"

# --- what is needed ------------------------------------------------------------------------------

readonly debian_packages=(curl mmdebstrap docker-compose)

have() { command -v "$1" >/dev/null; }

have_compose() { docker compose version >/dev/null 2>&1 || have docker-compose; }

compose() {
    local project=$1
    shift
    if docker compose version >/dev/null 2>&1; then
        docker compose -p "$project" -f "$here/${project#cloud4-}/compose.yaml" "$@"
    else
        docker-compose -p "$project" -f "$here/${project#cloud4-}/compose.yaml" "$@"
    fi
}

have_parent() {
    local image
    for image in "${BASE_IMAGE:-debian:bookworm-slim}" cloud4/debian:bookworm-slim; do
        docker image inspect "$image" >/dev/null 2>&1 && return
    done
    have mmdebstrap || have debootstrap
}

# missing prints the Debian packages that this machine still needs.
missing() {
    have curl || echo curl
    have_compose || echo docker-compose
    have_parent || echo mmdebstrap
}

prerequisites() {
    local lacks=() hint=''
    have go || lacks+=("Go 1.26 or newer (https://go.dev/dl/)")
    have make || lacks+=("make (Debian: apt-get install make)")
    if ! have docker; then
        lacks+=("a Docker engine (Debian: apt-get install docker.io)")
    elif ! docker version >/dev/null 2>&1; then
        lacks+=("a running Docker engine that $(id -un) may talk to (docker version fails)")
    fi
    if ((${#lacks[@]} == 0)); then
        local packages
        mapfile -t packages < <(missing)
        ((${#packages[@]})) || return 0
        if [[ -e /etc/debian_version && $(id -u) == 0 ]]; then
            work "installed ${packages[*]}" install_packages "${packages[@]}"
            return
        fi
        lacks+=("${packages[@]}")
        hint="as root on Debian, demo.sh installs these itself: ${debian_packages[*]}"
    fi
    cross "this machine lacks:"
    printf '%s\n' "${lacks[@]}" | quote
    [[ -z $hint ]] || note "$hint"
    exit 1
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update && apt-get install -y --no-install-recommends "$@"
}

# --- containers ----------------------------------------------------------------------------------

# container PROJECT SERVICE prints the id of that service's container, running or not.
container() {
    docker ps -aq --filter "label=com.docker.compose.project=$1" --filter "label=com.docker.compose.service=$2" \
        --filter label=com.docker.compose.oneoff=False | head -n 1
}

inside() {
    local id
    id=$(container "$1" "$2")
    shift 2
    docker exec "$id" "$@"
}

# give_up ends the demo after a step that did not work, with what each unwell container said last.
give_up() {
    local id name state
    while read -r id name; do
        state=$(docker inspect --format '{{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}' "$id")
        [[ $state != "running healthy" && $state != "running " ]] || continue
        printf '\n  %s is %s; its last lines:\n' "$name" "$state"
        docker logs --tail 15 "$id" 2>&1 | quote
    done < <(ours)
    printf '\n  %sThe demo ended at: %s%s\n' "$red" "$1" "$plain"
    note "What runs is left as it is: docker ps --filter name=cloud4- . Again: make demo. Away: make demo-down."
    exit 1
}

# ours lists id and name of every container of the demo.
ours() {
    local project
    for project in "$genesis" "$shop"; do
        docker ps -a --filter "label=com.docker.compose.project=$project" --format '{{.ID}} {{.Names}}'
    done
}

# clean removes everything an earlier run made, however it ended. It goes by the labels that compose sets, so
# it needs neither the state directory nor a compose file that loads.
clean() {
    local project ids
    ours | cut -d ' ' -f 1 | xargs -r docker rm --force --volumes >/dev/null
    for project in "$genesis" "$shop"; do
        ids=$(docker volume ls -q --filter "label=com.docker.compose.project=$project")
        [[ -z $ids ]] || xargs docker volume rm --force <<<"$ids" >/dev/null
        ids=$(docker network ls -q --filter "label=com.docker.compose.project=$project")
        [[ -z $ids ]] || xargs docker network rm <<<"$ids" >/dev/null
    done
    ids=$(docker network ls -q --filter "label=$CLOUD4_NETWORK")
    [[ -z $ids ]] || xargs docker network rm <<<"$ids" >/dev/null
    [[ ! -e $CLOUD4_DEMO ]] || remove_state
}

# remove_state takes away the state directory, but only one that a demo made.
remove_state() {
    if [[ ! -e $CLOUD4_DEMO/.made-by-demo && -n $(ls -A "$CLOUD4_DEMO") ]]; then
        echo "$CLOUD4_DEMO was not made by this script: name another directory in CLOUD4_DEMO"
        return 1
    fi
    rm -rf -- "$CLOUD4_DEMO"
}

ports_free() {
    local port
    for port in "$CLOUD4_PAGE_PORT" "$CLOUD4_HOST_PORT" "$CLOUD4_FLEET_PORT"; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "something listens on 127.0.0.1:$port already; choose others with CLOUD4_PAGE_PORT, CLOUD4_HOST_PORT, CLOUD4_FLEET_PORT"
            return 1
        fi
    done
}

# --- steps ---------------------------------------------------------------------------------------

build_programs() {
    make -C "$root" --no-print-directory build
    local name
    for name in hubinit confighub healthhub loghub; do
        printf '%s %s MB  ' "$name" "$(megabytes "$(stat -c %s "$root/bin/$name")")"
    done >"$remark"
}

megabytes() { awk -v n="$1" 'BEGIN {printf "%.1f", n / 1e6}'; }

find_parent() { "$root/baseimage/build.sh" parent >"$remark"; }

build_base() { BASE_IMAGE=$(<"$work_dir/parent") "$root/baseimage/build.sh" base && image_size cloud4/base; }

build_step_ca() { "$root/baseimage/build.sh" step-ca && image_size cloud4/step-ca; }

build_shop() { compose "$shop" build && image_size cloud4/shop-web cloud4/shop-db; }

image_size() {
    local image
    for image in "$@"; do
        printf '%s %s MB  ' "${image#cloud4/}" "$(megabytes "$(docker image inspect --format '{{.Size}}' "$image")")"
    done >"$remark"
}

build_all() {
    section "Build"
    work "four programs" build_programs
    work "parent image" find_parent
    tail -n 1 "$remark" >"$work_dir/parent"
    work "base image" build_base
    work "certificate authority" build_step_ca
    work "services FROM the base image" build_shop
}
