FROM python:3.11-slim-bookworm AS build

# What pip installs as torch, options included: TORCH="torch==2.13.0 --index-url <PyTorch's index of CPU builds>".
ARG TORCH=torch==2.13.0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/service \
 && /opt/service/bin/pip install --requirement requirements.lock
# hadolint ignore=SC2086
RUN /opt/service/bin/pip install ${TORCH}
COPY pyproject.toml README.md LICENSE ./
COPY service ./service
RUN /opt/service/bin/pip install --no-deps . \
 && /opt/service/bin/pip uninstall --yes pip


FROM python:3.11-slim-bookworm

RUN useradd --no-log-init --uid 10001 --user-group --home-dir /tmp --shell /usr/sbin/nologin service \
 && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /opt/service /opt/service

ENV PATH=/opt/service/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    JACOBIAN_HOST=0.0.0.0 JACOBIAN_PORT=8000 JACOBIAN_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"JACOBIAN_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["jacobian-service"]
CMD ["serve"]
