# Tuna on a machine with NVIDIA GPUs and the NVIDIA container toolkit; the driver comes from the machine, CUDA with torch:
#   docker build --tag tuna .
#   docker run --rm --gpus all --shm-size 8g --volume "$PWD:/work" tuna train stage=tuna_c trainer=gpu
# It runs as user 1000; where the folder belongs to another, add: --user "$(id -u):$(id -g)" --env HOME=/work
FROM python:3.12-slim-bookworm

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# Triton compiles the kernels of FlexAttention on the machine they run on.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/tuna
COPY requirements.lock ./
RUN pip install --no-cache-dir --requirement requirements.lock

COPY pyproject.toml MANIFEST.in README.md LICENSE tuna_ranking.py ./
COPY conf conf
COPY tuna tuna
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --create-home --uid 1000 tuna

# Runs, caches and models go to the folder that is mounted here.
USER 1000
WORKDIR /work
ENV HF_HOME=/work/.cache/huggingface \
    TUNA_CACHE=/work/.cache/tuna
ENTRYPOINT ["tuna"]
CMD ["--help"]
