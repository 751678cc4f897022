#!/usr/bin/env bash
# Builds the images of this repository. Runs from any directory, needs a Docker engine and, for
# the programs, the Go toolchain; asks no registry for anything that is on this machine already.
#
#   build.sh [base]     cloud4/base from the top-level Dockerfile and bin/ (run `make build` first)
#   build.sh parent     only finds or makes the parent of all images, and prints its name
#   build.sh step-ca    cloud4/step-ca, the certificate authority of the example genesis machine
#
# BASE_IMAGE     the parent, default debian:bookworm-slim. Taken from this machine, else pulled. Where
#                neither works the default is made here from Debian's packages, once, as
#                cloud4/debian:bookworm-slim; any other parent that cannot be had is an error.
# IMAGE          name of the base image, default cloud4/base
# BIN            directory of the programs inside the repository, default bin
# DEBIAN_MIRROR  default http://deb.debian.org/debian; DEBIAN_SECURITY_MIRROR likewise
set -euo pipefail

readonly suite=bookworm
readonly default_parent="debian:$suite-slim"
readonly made_parent="cloud4/debian:$suite-slim"
readonly step_ca_package=github.com/smallstep/certificates/cmd/step-ca
# Those of the programs without nobbolt: bbolt is the database that `confighub ca-init` chooses. They are
# given here, because those of `make` come in by GOFLAGS.
readonly step_ca_tags=nopgx,nomysql,nobadger,grpcnotrace,urfave_cli_no_docs

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*" >&2; }
die() { say "build.sh: $*"; exit 1; }

image_exists() { docker image inspect "$1" >/dev/null 2>&1; }

need_docker() {
    command -v docker >/dev/null || die "docker is not installed; on Debian: apt-get install docker.io"
    docker version --format '{{.Server.Version}}' >/dev/null || die "no Docker engine answers"
}

# parent prints the name of an image that every other one can stand on.
parent() {
    local wanted=${BASE_IMAGE:-$default_parent}
    if image_exists "$wanted"; then echo "$wanted"; return; fi
    if [[ $wanted == "$default_parent" ]] && image_exists "$made_parent"; then echo "$made_parent"; return; fi
    say "pulling $wanted"
    if timeout 120 docker pull --quiet "$wanted" >/dev/null 2>&1; then echo "$wanted"; return; fi
    [[ $wanted == "$default_parent" || $wanted == "$made_parent" ]] ||
        die "$wanted is not on this machine and cannot be pulled; set BASE_IMAGE to an image that is"
    say "$wanted can be neither found nor pulled: making $made_parent from Debian's packages (about a minute)"
    make_parent
    echo "$made_parent"
}

# make_parent imports a root file system with the contents of Debian's slim images: the required
# packages and apt, without manuals, documentation and translations, and with the apt settings
# that keep package caches out of layers.
make_parent() {
    local work
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory of this call is meant
    trap "rm -rf -- '$work'" EXIT
    slim_settings "$work/settings"
    local tool
    for tool in mmdebstrap debootstrap ""; do
        [[ -n $tool ]] || die "neither mmdebstrap nor debootstrap is installed; on Debian: apt-get install mmdebstrap"
        command -v "$tool" >/dev/null && break
    done
    "with_$tool" "$work" >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; die "$tool ended with an error"; }
    docker import --change 'CMD ["bash"]' --message "Debian $suite, made by baseimage/build.sh" \
        "$work/root.tar" "$made_parent" >/dev/null
}

# slim_settings writes into $1 the files by which Debian's official slim images differ from a plain
# minimal installation.
slim_settings() {
    mkdir -p "$1/etc/apt/apt.conf.d" "$1/etc/dpkg/dpkg.cfg.d" "$1/usr/sbin"
    cat >"$1/etc/apt/apt.conf.d/docker-clean" <<'END'
// Keeps downloaded packages and apt's binary caches out of image layers.
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Apt::AutoRemove::SuggestsImportant "false";
END
    cat >"$1/etc/dpkg/dpkg.cfg.d/docker" <<'END'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/groff/*
path-exclude=/usr/share/linda/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
END
    printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
    chmod 0755 "$1/usr/sbin/policy-rc.d"
}

mirrors() {
    local main=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
    local security=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
    printf 'deb %s %s main\n' "$main" "$suite" "$main" "$suite-updates" "$security" "$suite-security"
}

with_mmdebstrap() {
    mirrors >"$1/sources.list"
    # usr-is-merged is named because apt would take its alternative usrmerge, which brings all of perl.
    # shellcheck disable=SC2016 # $1 in the hooks is mmdebstrap's: the new root
    mmdebstrap --quiet --variant=minbase --include=usr-is-merged \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --setup-hook="tar -C '$1/settings' -c . | tar --no-same-owner -C \"\$1\" -x" \
        --dpkgopt="$1/settings/etc/dpkg/dpkg.cfg.d/docker" \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/ldconfig/aux-cache' \
        --customize-hook='rm -rf "$1"/var/log/*.log "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
        "$suite" "$1/root.tar" - <"$1/sources.list"
}

with_debootstrap() {
    debootstrap --variant=minbase "$suite" "$1/root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
    tar -C "$1/settings" -c . | tar --no-same-owner -C "$1/root" -x
    mirrors >"$1/root/etc/apt/sources.list"
    find "$1/root/usr/share/doc" -type f ! -name copyright -delete
    find "$1/root/usr/share/locale" -mindepth 1 ! -name locale.alias -delete
    rm -rf "$1"/root/usr/share/{man,info,groff,linda,lintian}/* "$1"/root/var/lib/apt/lists/* \
        "$1"/root/var/cache/apt/*.bin "$1"/root/var/cache/apt/archives/*.deb "$1"/root/var/log/*.log
    tar -C "$1/root" --numeric-owner -c . >"$1/root.tar"
}

# base builds the image that users write FROM.
base() {
    local bin=${BIN:-bin} image=${IMAGE:-cloud4/base} from program
    for program in hubinit confighub healthhub loghub; do
        [[ -x $bin/$program ]] || die "$bin/$program is missing: run \`make build\` first"
    done
    from=$(parent)
    docker build --quiet --force-rm --tag "$image" \
        --build-arg BASE_IMAGE="$from" --build-arg BIN="$bin" \
        --build-arg VERSION="$("$bin/hubinit" --version | awk '{print $NF; exit}')" \
        --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || true)" \
        . >/dev/null
    say "$image stands on $from: $(size "$image")"
}

# step_ca builds the certificate authority from the module in go.mod, once, and its image.
step_ca() {
    if [[ ! -x bin/step-ca ]]; then
        say "building step-ca from its module (about a minute, once)"
        CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -tags "$step_ca_tags" -o bin/step-ca "$step_ca_package"
    fi
    tar -c -C bin step-ca -C "$root/examples/genesis/step-ca" . |
        docker build --quiet --force-rm --tag cloud4/step-ca --build-arg BASE_IMAGE="${IMAGE:-cloud4/base}" - >/dev/null
    say "cloud4/step-ca: $(size cloud4/step-ca)"
}

size() { docker image inspect --format '{{.Size}}' "$1" | awk '{printf "%.0f MB", $1 / 1e6}'; }

case ${1:-base} in
    base) need_docker; base ;;
    parent) need_docker; parent ;;
    step-ca) need_docker; step_ca ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
