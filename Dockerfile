# The base image: Debian slim, the four static programs, and the places they use.
#
#   FROM cloud4/base
#   RUN apt-get update && apt-get install -y --no-install-recommends nginx-light && rm -rf /var/lib/apt/lists/*
#   CMD ["nginx", "-g", "daemon off;"]
#
# Built by `make image` (baseimage/build.sh), which finds or makes the parent; by hand:
#   make build && docker build -t cloud4/base .
# For another architecture: make build-all, then --build-arg BIN=<its directory>.
# Kept to what both the classic builder of Docker 20.10 and BuildKit take, without a network for the
# Dockerfile itself.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}

# /run/hub and /var/lib/hub are open to every uid, so that an image works under any USER; started as
# root, hubinit tightens them. nonroot is there for images that want `USER 65532`.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/*.log /var/cache/ldconfig/aux-cache \
 && groupadd --gid 65532 nonroot \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nonroot \
 && install -d -m 0755 /etc/hub /etc/hub/hub.d /etc/hub/init.d /etc/hub/stop.d \
 && install -d -m 1777 /run/hub /var/lib/hub

ARG BIN=bin
COPY ${BIN}/hubinit ${BIN}/confighub ${BIN}/healthhub ${BIN}/loghub /usr/local/bin/
COPY baseimage/rootfs/ /

VOLUME /var/lib/hub
ENTRYPOINT ["hubinit"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["hubinit", "probe"]

# Last, because they change with every commit while nothing above needs to.
ARG BASE_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cloud4/base" \
      org.opencontainers.image.description="Debian with an init that gives a service its identity, configuration, health and logs" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
