# The server as an image; docs/deployment.md explains it.
#   docker build -t amira-asr .                          NVIDIA's Triton, for GPUs and CPUs
#   docker build -t amira-asr:cpu --target cpu .         python:slim and the Triton of a wheel, a tenth of the size
#   docker build -t amira-asr-engines --target engines . builds TensorRT engines for the GPU it runs on
#   docker build -t amira-gateway --target gateway .     HTTP and WebSocket in front of a server (docs/gateway.md)

# 24.10 is Triton 2.51.0, the version that the tests run against; its TensorRT is 10.5.0, its Python 3.10.
ARG TRITON_VERSION=24.10

# What is the same in every image.
FROM scratch AS application
COPY backends /opt/amira/backends
COPY scripts/__init__.py scripts/serve.py scripts/switch.py /opt/amira/scripts/
COPY scripts/serving /opt/amira/scripts/serving
COPY model-repo /opt/amira/model-repo


FROM python:3.11-slim-bookworm AS packages-cpu
# A compiler for kenlm, which has no wheels. It stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1
COPY requirements/image.txt requirements/server.txt requirements/
RUN python3 -m venv /opt/amira/venv \
    && /opt/amira/venv/bin/pip install --require-hashes -r requirements/image.txt \
    && /opt/amira/venv/bin/pip install --no-deps "$(grep -o '^nvidia-pytriton==[^ ;]*' requirements/server.txt)"
COPY pyproject.toml README.md ./
COPY clients clients
RUN /opt/amira/venv/bin/pip install --no-deps . \
    && /opt/amira/venv/bin/pip uninstall -y setuptools pip


FROM python:3.11-slim-bookworm AS cpu
LABEL org.opencontainers.image.title="amira-asr" \
      org.opencontainers.image.description="Streaming RNN-T speech recognition inside NVIDIA Triton, on the CPU" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=packages-cpu /opt/amira/venv /opt/amira/venv
COPY --from=application /opt/amira /opt/amira
RUN useradd --system --uid 10001 --home-dir /opt/amira amira \
    && install -d -m 1777 /run/amira
WORKDIR /opt/amira
ENV PATH=/opt/amira/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    AMIRA_HOST=0.0.0.0
USER 10001
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=3)"]
ENTRYPOINT ["python3", "-m", "scripts.serve", "--runtime-dir", "/run/amira", "--log-to-terminal"]


FROM python:3.11-slim-bookworm AS packages-gateway
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1
COPY requirements/gateway.txt requirements/
RUN python3 -m venv /opt/amira/venv \
    && /opt/amira/venv/bin/pip install --require-hashes -r requirements/gateway.txt
COPY pyproject.toml README.md ./
COPY clients clients
RUN /opt/amira/venv/bin/pip install --no-deps . \
    && /opt/amira/venv/bin/pip uninstall -y setuptools pip


FROM python:3.11-slim-bookworm AS gateway
LABEL org.opencontainers.image.title="amira-gateway" \
      org.opencontainers.image.description="HTTP, WebSocket and OpenAI's interface in front of Amira ASR" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=packages-gateway /opt/amira/venv /opt/amira/venv
RUN useradd --system --uid 10001 --home-dir /opt/amira amira
WORKDIR /opt/amira
ENV PATH=/opt/amira/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    AMIRA_GATEWAY_HOST=0.0.0.0
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health/live', timeout=3)"]
ENTRYPOINT ["amira-gateway"]


FROM nvcr.io/nvidia/tritonserver:${TRITON_VERSION}-py3 AS packages-gpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1
COPY requirements/image.txt requirements/
RUN python3 -m venv /opt/amira/venv \
    && /opt/amira/venv/bin/pip install --require-hashes -r requirements/image.txt
COPY pyproject.toml README.md ./
COPY clients clients
RUN /opt/amira/venv/bin/pip install --no-deps .


# Builds engines: the bindings of exactly the TensorRT that the image's Triton serves with, without libraries.
FROM packages-gpu AS packages-engines
COPY requirements/engine-builder.txt requirements/
COPY scripts/__init__.py scripts/
COPY scripts/engines scripts/engines
RUN version="$(python3 -m scripts.engines.tensorrt_version)" \
    && /opt/amira/venv/bin/pip install --require-hashes -r requirements/engine-builder.txt \
    && /opt/amira/venv/bin/pip install --no-deps "tensorrt-cu${CUDA_VERSION%%.*}-bindings==${version}.*" \
    && /opt/amira/venv/bin/pip uninstall -y setuptools pip


FROM packages-gpu AS packages-server
RUN /opt/amira/venv/bin/pip uninstall -y setuptools pip


FROM nvcr.io/nvidia/tritonserver:${TRITON_VERSION}-py3 AS user
RUN useradd --system --uid 10001 --home-dir /opt/amira amira \
    && install -d -m 1777 /run/amira
WORKDIR /opt/amira
ENV PATH=/opt/amira/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1


FROM user AS engines
LABEL org.opencontainers.image.title="amira-asr-engines" \
      org.opencontainers.image.description="Builds the TensorRT engines of a model repository for the GPU it runs on" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=packages-engines /opt/amira/venv /opt/amira/venv
COPY --from=application /opt/amira /opt/amira
COPY scripts/export /opt/amira/scripts/export
COPY scripts/engines /opt/amira/scripts/engines
COPY tests/data/audio /opt/amira/tests/data/audio
# Volumes of Docker take their permissions from here.
RUN install -d -m 1777 /models /engines
ENV PYTHONPATH=/opt/amira/backends
USER 10001
ENTRYPOINT ["python3", "-m", "scripts.engines.provision"]


FROM user AS gpu
LABEL org.opencontainers.image.title="amira-asr" \
      org.opencontainers.image.description="Streaming RNN-T speech recognition inside NVIDIA Triton" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=packages-server /opt/amira/venv /opt/amira/venv
COPY --from=application /opt/amira /opt/amira
ENV AMIRA_HOST=0.0.0.0
USER 10001
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=3)"]
ENTRYPOINT ["python3", "-m", "scripts.serve", "--runtime-dir", "/run/amira", "--log-to-terminal"]
