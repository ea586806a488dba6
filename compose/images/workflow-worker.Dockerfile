# Executes authored runs and reads the event stream.
# The context is made by compose/build-images: wheels/, third-party/, requirements/, closure/, install, strip.
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=${BASE}

FROM ${BUILDER} AS builder
COPY . /build/
RUN ["/bin/sh", "/build/install", "workflow-worker"]

FROM ${BASE}
ARG VERSION=unknown
LABEL org.opencontainers.image.title="workflow-worker" \
      org.opencontainers.image.description="Executes authored runs and reads the event stream." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY strip /opt/strip
RUN ["/bin/sh", "/opt/strip"]
COPY --from=builder /opt/app /opt/app
ENV PATH=/opt/app/bin:$PATH MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=65536 PYTHONOPTIMIZE=2 PYTHONNODEBUGRANGES=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HEALTH_HOST=0.0.0.0 PORT=4000
EXPOSE 4000
USER 10001:10001
WORKDIR /tmp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/opt/app/bin/python", "-I", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(f'http://127.0.0.1:{os.environ[\"PORT\"]}/livez', timeout=4)"]
ENTRYPOINT ["/opt/app/bin/workflow-worker"]
CMD ["run"]
