# Builds the image: the program, the certificates that it trusts, and nothing else. Both architectures are
# cross-compiled on the builder's own; nothing is emulated.

# Makes the SBOM scan the sources: Cargo.lock names the crates, the binary doesn't.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

FROM --platform=$BUILDPLATFORM rust:1.95.0-slim-trixie AS build
# Packages have no version here: Debian removes a version when a newer one appears.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates clang \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl
WORKDIR /source
COPY . .
ARG TARGETARCH
# The builder caches what is compiled, so that a change compiles only what depends on it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target,id=target-$TARGETARCH,sharing=locked \
    image/build /image "$TARGETARCH"

FROM scratch
LABEL org.opencontainers.image.title="kubernetes-oom-event-generator" \
      org.opencontainers.image.description="Tells a Kubernetes team, exactly once, that a container was OOM-killed and started again" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/xing/kubernetes-oom-event-generator"
ARG TARGETARCH
COPY --from=build /image/$TARGETARCH/ /
USER 65532:65532
EXPOSE 10254
ENTRYPOINT ["/kubernetes-oom-event-generator"]
