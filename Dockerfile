# The workbook in a container: for a JupyterHub (DockerSpawner, KubeSpawner), for Codespaces, or alone:
#   docker build -t workbook . && docker run --rm -p 8888:8888 workbook jupyter lab --ip 0.0.0.0 notebooks
# It has not been built where this workbook is made; .github/workflows/container.yml builds and tries it.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

# PyTorch's build for processors; for a hub with GPUs: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Of the hub's own major version.
ARG JUPYTERHUB="jupyterhub>=5,<6"

# Hubs run their users' servers under this number.
RUN useradd --create-home --uid 1000 jovyan
WORKDIR /home/jovyan/workbook
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -r requirements.txt -c constraints.txt "$JUPYTERHUB" --extra-index-url "$TORCH_INDEX"

COPY --chown=jovyan . .
RUN chown jovyan . && python -m gen_utils doctor

USER jovyan
EXPOSE 8888
CMD ["jupyterhub-singleuser"]
