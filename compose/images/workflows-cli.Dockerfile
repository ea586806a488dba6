# The command line: migrations, set-up, operators and authors.
# The context is made by compose/build-images: wheels/, third-party/, requirements/, closure/, install, strip.
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=${BASE}

FROM ${BUILDER} AS builder
COPY . /build/
RUN ["/bin/sh", "/build/install", "workflows-cli"]

FROM ${BASE}
ARG VERSION=unknown
LABEL org.opencontainers.image.title="workflows-cli" \
      org.opencontainers.image.description="The command line: migrations, set-up, operators and authors." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY strip /opt/strip
RUN ["/bin/sh", "/opt/strip"]
COPY --from=builder /opt/app /opt/app
ENV PATH=/opt/app/bin:$PATH MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=65536 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/app/bin/workflows"]
CMD ["--help"]
