# The server in NVIDIA's Triton image. Build: docker build -t amira-asr .
#   docker run --rm --shm-size=1g -p 8001:8001 -p 8000:8000 -p 8002:8002 amira-asr
# Not built in CI, which has no Docker engine.

# 24.10 is Triton 2.51.0, the version that the tests run against; its TensorRT is 10.5.
ARG TRITON_VERSION=24.10
FROM nvcr.io/nvidia/tritonserver:${TRITON_VERSION}-py3

LABEL org.opencontainers.image.title="amira-asr" \
      org.opencontainers.image.description="Streaming RNN-T speech recognition inside NVIDIA Triton" \
      org.opencontainers.image.licenses="Apache-2.0"

WORKDIR /opt/amira
COPY requirements/server.txt pyproject.toml README.md ./
COPY clients ./clients
# The image brings tritonserver and the Python backend; the wheel that carries them elsewhere is left out.
RUN grep -v '^nvidia-pytriton' server.txt > image.txt \
    && pip install --no-cache-dir --disable-pip-version-check -r image.txt \
    && pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && rm image.txt server.txt

COPY backends ./backends
COPY scripts ./scripts
COPY model-repo ./model-repo

RUN useradd --system --uid 10001 --home-dir /opt/amira amira && install -d -o amira /var/run/amira
USER amira
ENV AMIRA_HOST=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD curl --fail --silent http://127.0.0.1:8000/v2/health/ready || exit 1
ENTRYPOINT ["python3", "-m", "scripts.serve", "--runtime-dir", "/var/run/amira"]
