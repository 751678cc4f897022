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
        if [[ $state == running* ]] && docker exec "$id" hubinit probe >/dev/null 2>&1; then continue; fi
        printf '\n  %s is %s; not well; its last lines:\n' "$name" "$state"
        docker logs --tail 5 "$id" 2>&1 | cut -c 1-200 | quote
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
        printf '%s %s  ' "$name" "$(megabytes "$(stat -c %s "$root/bin/$name")")"
    done >"$remark"
    printf '(MB)' >>"$remark"
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
    local before
    before=$(image_ids)
    section "Build"
    work "four programs" build_programs
    work "parent image" find_parent
    tail -n 1 "$remark" >"$work_dir/parent"
    work "base image" build_base
    work "certificate authority" build_step_ca
    work "services FROM the base image" build_shop
    drop_replaced "$before"
}

image_ids() { docker images --quiet --no-trunc --filter 'reference=cloud4/*'; }

# drop_replaced removes those of the images $1 that the build has put others in place of.
drop_replaced() {
    local current id
    current=$(image_ids)
    for id in $1; do
        [[ $current == *"$id"* ]] || docker rmi "$id" >/dev/null 2>&1 || true # another container may use it
    done
}

# make_authority fills the state directory: the certificate authority, a one-time token for everybody, and a
# copy of the tree to play with.
make_authority() {
    mkdir -p "$CLOUD4_DEMO"
    touch "$CLOUD4_DEMO/.made-by-demo" # first, so that an interruption leaves nothing that clean would not know
    mkdir "$CLOUD4_DEMO/tokens"
    cp -r "$here/genesis/tree" "$tree"
    "$root/bin/confighub" ca-init --dir "$CLOUD4_DEMO/ca" --seen-as /ca | cut -c 1-16 >"$remark"
    local kind service
    for kind in config log health; do
        mint "genesis.$kind" --genesis "$kind"
    done
    mint host.vm1 --host vm1
    for service in web db; do
        mint "$service.shop.vm1" --host vm1 --stack shop --service "$service"
    done
}

# mint NAME WHO… writes the one-time token of one member of the fleet.
mint() {
    local file=$CLOUD4_DEMO/tokens/$1 ca=$CLOUD4_DEMO/ca
    shift
    (umask 077 && "$root/bin/confighub" token --key "$ca/secrets/enrol.jwk" --ca-url https://genesis.internal:9000 \
        --fingerprint "$(<"$ca/fingerprint")" "$@" >"$file")
}

make_network() { docker network create --label "$CLOUD4_NETWORK" "$CLOUD4_NETWORK"; }

# healthy PROJECT SERVICE asks what Docker asks, without waiting for its turn.
healthy() { inside "$1" "$2" hubinit probe; }

# identity_of PROJECT SERVICE writes the URI of its certificate as the remark.
identity_of() { inside "$1" "$2" cat /run/hub/identity.json | field id >"$remark" && [[ -s $remark ]]; }

# field NAME prints the first string or number of that name in the JSON on stdin.
field() { grep -o "\"$1\": *\(\"[^\"]*\"\|[0-9.]*\)" | head -n 1 | sed 's/^"[^"]*": *//; s/^"//; s/"$//'; }

start_genesis() {
    section "The genesis machine, genesis.internal"
    work "certificate authority and one-time tokens made; root" make_authority
    CLOUD4_CA_FINGERPRINT=$(<"$CLOUD4_DEMO/ca/fingerprint")
    work "network $CLOUD4_NETWORK" make_network
    work "containers started" compose "$genesis" up -d --no-build
    work "step-ca answers" within 30 healthy "$genesis" ca
    local service
    for service in config log health; do
        work "$service" within 30 identity_of "$genesis" "$service"
    done
}

start_shop() {
    section "The docker VM, vm1.internal: stack shop"
    work "containers started" compose "$shop" up -d --no-build
    local service
    for service in host web db; do
        work "$service" within 30 identity_of "$shop" "$service"
    done
    work "page served" within 30 page_says "$(value greeting)"
    for service in web db; do
        work "$service healthy" within 60 well "$service"
    done
    work "both have told vm1 that they are well" within 30 all_well
}

# well SERVICE: it is healthy; remarks how soon its service began.
well() { healthy "$shop" "$1" && echo "its service began $(start_time "$1") after the container" >"$remark"; }

# start_time SERVICE: from the start of the container, as the engine saw it, to the start of its service.
start_time() {
    local container service
    container=$(date -d "$(docker inspect --format '{{.State.StartedAt}}' "$(container "$shop" "$1")")" +%s%3N)
    service=$(date -d "$(service_state "$1" | field started_at)" +%s%3N)
    printf '%d ms' $((service - container))
}

# all_well: the host has heard from both services, and that they are well. What it says of the machine is another matter: not
# every one has an NTP service, and this one has just been busy.
all_well() {
    [[ $(curl -sf --max-time 2 "http://127.0.0.1:$CLOUD4_HOST_PORT/v1/summary" | field pass) == 2 ]]
}

# value NAME prints a string of the tree's defaults.
value() { field "$1" <"$tree/defaults/data/site.json"; }

page_says() { curl -sf --max-time 2 "$page" | grep -qF "$1"; }

# service_pid is the process id of nginx inside its container, from the state that hubinit keeps.
service_pid() { service_state "$1" | field pid; }

service_state() { inside "$shop" "$1" cat /run/hub/init.json | tr -d '\n' | sed 's/.*"service": *//'; }

show_state() {
    section "What there is now"
    tick "the page at $page"
    curl -s "$page" | sed -n 's/^ *<\(h1\|p\)>//p' | sed 's/<[^>]*>//g' | quote
    tick "the identity of web"
    inside "$shop" web confighub status | quote
    tick "the health of vm1, also at http://127.0.0.1:$CLOUD4_HOST_PORT/"
    inside "$shop" host healthhub status | cut -c 1-136 | quote
    tick "the health of web, as it says itself"
    inside "$shop" web healthhub status | cut -c 1-136 | quote
    work "this visit and other events have reached the genesis machine" within 10 visit_arrived
    last_events 4 | quote
}

# visit_arrived: the line that nginx wrote of show_state's look at the page is an event at genesis.
visit_arrived() { inside "$genesis" log grep -q '"user_agent.original":"curl' /events/web.shop.vm1.jsonl; }

show_change() {
    section "A value changes in the tree"
    local greeting="Good day from the genesis machine" start pid before
    pid=$(service_pid web) before=$(applied)
    start=$(now)
    edit "s/\"greeting\": *\"[^\"]*\"/\"greeting\": \"$greeting\"/" defaults/data/site.json
    until page_says "$greeting"; do
        (($(now) - start < 15000)) || give_up "the new value on the page"
    done
    tick "written to defaults/data/site.json, served by nginx" "$(took "$start")"
    curl -s "$page" | sed -n 's/^ *<p>\([^<]*\)<.*/\1/p' | head -n 1 | quote
    [[ $(service_pid web) == "$pid" ]] || give_up "nginx is still the same process"
    tick "nginx is still process $pid of its container"
    work "watched on the new version for ten seconds, and kept" within 30 kept "$before"
}

# applied prints the version in place in web, and whether it is on trial still.
applied() { inside "$shop" web confighub status | grep '^applied'; }

# kept BEFORE: another version is in place, and not on trial any more.
kept() {
    local now
    now=$(applied)
    [[ $now != "${1%% *on trial}" && $now != "$1" && $now != *"on trial"* ]]
}

# edit SCRIPT FILE changes a file of the tree in one step, as an editor or git does.
edit() {
    sed "$1" "$tree/$2" >"$tree/.$$.tmp"
    mv "$tree/.$$.tmp" "$tree/$2"
}

show_refusal() {
    section "A template that its check refuses"
    local start before pid
    before=$(curl -s "$page") pid=$(service_pid web)
    start=$(now)
    edit 's/listen 80;/lisen 80;/' services/web/templates/nginx.conf
    work "refused by nginx -t in web, told in docker logs" within 30 refusal_in_logs "$(container "$shop" web)"
    docker logs --tail 200 "$(container "$shop" web)" 2>&1 | grep '"state":"rejected"' | tail -n 1 |
        sed 's/.*"message":"//; s/\\n.*//; s/\\"/"/g; s/"}$//' | wrap | quote
    [[ $(curl -s "$page") == "$before" && $(service_pid web) == "$pid" ]] || give_up "nothing changed for the service"
    tick "the page and nginx's process $pid are what they were"
    work "the health of vm1 says so" within 30 status_says "$shop" host lisen
    inside "$shop" host healthhub status | grep -F web.shop.vm1 | cut -c 1-104 | tail -n 1 | quote
    work "the genesis machine knows" within 30 fleet_says rejected
    inside "$genesis" config confighub fleet | cut -c 1-136 | quote
    edit 's/lisen 80;/listen 80;/' services/web/templates/nginx.conf
    work "mended, and the fleet is as it is to be" within 60 fleet_is_well
}

wrap() { fold -s -w 104 | sed 's/ *$//'; }

fleet_says() { inside "$genesis" config confighub fleet | grep -qF "$1"; }

fleet_is_well() { ! fleet_says rejected && ! status_says "$shop" host lisen; }

refusal_in_logs() { docker logs --tail 200 "$1" 2>&1 | grep -q '"state":"rejected".*lisen'; }

status_says() { inside "$1" "$2" healthhub status | grep -qF "$3"; }

show_stop() {
    section "The web container stops"
    local id start last code
    id=$(container "$shop" web)
    start=$(now)
    docker stop "$id" >/dev/null
    code=$(docker inspect --format '{{.State.ExitCode}}' "$id")
    tick "docker stop: exit code $code, nginx's own" "$(took "$start")"
    last=$(docker logs --tail 50 "$id" 2>&1 | grep -F '[notice]' | tail -n 1)
    work "its last line is with the genesis machine" within 10 event_arrived "$last"
    printf '%s\n' "$last" | quote
    last_events 1 web | sed -n 1p | quote # of what is said of its end, the headline
    work "started again, with the identity it has" docker start "$id"
    work "page served" within 30 page_says "$(value greeting)"
    tick "nginx began $(start_time web) after the container"
}

# event_arrived LINE: the genesis machine keeps the event that loghub made of this line of nginx's,
# "2026/11/21 08:39:09 [notice] 33#33: exit".
event_arrived() {
    local day clock pid message
    read -r day clock _ pid message <<<"$1"
    inside "$genesis" log grep -q "\"time\":\"${day//\//-}T${clock}Z\".*\"message\":\"$message\".*\"process.pid\":${pid%%#*}[,}]" \
        /events/web.shop.vm1.jsonl
}

# last_events N [SERVICE] prints events as the genesis machine keeps them, without those of the health check, which fetches the
# page every few seconds.
last_events() {
    inside "$genesis" log sh -c "loghub tail --last $1 --where 'not user_agent.original~healthhub' /events/${2:-*}.shop.vm1.jsonl" | cut -c 1-110
}

summary() {
    local log
    log=$(docker inspect --format '{{.Name}}' "$(container "$genesis" log)")
    section "It runs"
    note "page       $page"
    note "vm1        http://127.0.0.1:$CLOUD4_HOST_PORT/"
    note "fleet      http://127.0.0.1:$CLOUD4_FLEET_PORT/"
    note "events     docker exec ${log#/} sh -c 'loghub tail --last 20 /events/*.jsonl'"
    note "tree       $tree (change something)"
    note "away       make demo-down"
}

up() {
    local start
    start=$(now)
    prerequisites
    work "cleared what an earlier run left" clean
    work "ports 127.0.0.1:$CLOUD4_PAGE_PORT $CLOUD4_HOST_PORT $CLOUD4_FLEET_PORT free" ports_free
    build_all
    start_genesis
    start_shop
    show_state
    show_change
    show_refusal
    show_stop
    summary
    printf '\n  %sall of it in %s%s\n' "$bold" "$(took "$start")" "$plain"
}

down() {
    work "removed the demo's containers, networks, volumes and $CLOUD4_DEMO" clean
    note "The images cloud4/… stay for the next time: docker rmi \$(docker images -q 'cloud4/*') removes them."
}

case ${1:-} in
    up) up ;;
    down) down ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
