# One image for every role: a node, its agents, and the service that makes a network's keys. No secret is in it.
#
#     docker build -t gridmerit .
#     docker build --network host -t gridmerit .     where pip reaches its index through this machine alone
#
# The base is named by its digest, for a tag may be moved: the same bytes on every day, for every architecture that the
# index lists. A newer one, or one of your own:
#     docker buildx imagetools inspect python:3.11-slim-bookworm      its `Digest`
#     docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:… -t gridmerit .
ARG BASE=python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN command -v gcc >/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; }
WORKDIR /build
COPY requirements requirements
RUN python -m venv /opt/gridmerit \
    && /opt/gridmerit/bin/pip install --quiet --require-hashes -r requirements/base.lock \
    && awk '/^[a-z]/ { keep = /^setuptools==/ } keep' requirements/dev.lock > build.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --require-hashes -r build.lock
COPY . .
RUN /opt/build/bin/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist . \
    && /opt/gridmerit/bin/pip install --quiet --no-deps --no-index dist/*.whl \
    && /opt/gridmerit/bin/pip uninstall --quiet --yes pip setuptools \
    && /opt/gridmerit/bin/python -P -c "from consensus import seal; assert seal.active_path() != 'hashlib', 'not native'" \
    && /opt/gridmerit/bin/python -P -c "from ledger import state; assert state.NATIVE, 'not native'"

FROM ${BASE}
RUN groupadd --gid 1000 gridmerit \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /gridmerit --shell /usr/sbin/nologin gridmerit
COPY --from=builder /opt/gridmerit /opt/gridmerit
ENV PATH=/opt/gridmerit/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A volume takes on the owner of the directory that it is first mounted over. One is there for every name that may have a
# volume: `python -m gridmerit.network.compose` lists them.
RUN names="$(python -P -m gridmerit.network.compose)" \
    && for name in $names; do install -d -o 1000 -g 1000 -m 0700 "/gridmerit/$name"; done \
    && chmod 0755 /gridmerit /gridmerit/public
WORKDIR /gridmerit
USER 1000:1000
EXPOSE 9100 9200
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 CMD ["python", "-P", "-m", "node.system.health"]
ENTRYPOINT ["gridmerit"]
CMD ["--help"]
