# Serves the shipped models on a processor:
#
#   docker build --build-arg TORCH_INDEX=ADDRESS -t sequence-zoo .
#   docker run --rm -p 127.0.0.1:8000:8000 sequence-zoo
#
# ADDRESS is PyTorch's index of CPU wheels: pytorch.org names it where it says how to install. Without
# it the build says so, and gets PyPI's torch: for Linux it brings CUDA, several GB.
# Other models: docker run -e MODELS=NAME,NAME …
# `python tests/serving/dockerfile.py` runs these lines without Docker.
FROM python:3.12-slim

ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 1000 zoo
RUN test -n "$TORCH_INDEX" || echo "TORCH_INDEX is empty: PyPI's torch brings CUDA, several GB. For CPU wheels: --build-arg TORCH_INDEX=ADDRESS"
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.11,<2.14"

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY zoo zoo
COPY tasks tasks
COPY configs configs
RUN pip install "sequence-zoo[serve] @ file://$PWD"

USER zoo
WORKDIR /home/zoo
ENV MODELS=classify/imdb,classify/langid,classify/locale,generate/pydoc,generate/wikitext2,tag/ewt-upos,tag/fields,translate/en-de,translate/en-ja,translate/ja-en,translate/localise-en-ja
ENV PORT=8000
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s CMD python -c "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=3)"
CMD ["sh", "-c", "exec zoo serve model=$MODELS host=0.0.0.0 port=$PORT"]
