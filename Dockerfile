# The service without torch. Models are mounted; what it keeps is in the volume /data.
#
#   docker build --tag facetry .
#   docker run --read-only --tmpfs /tmp --volume facetry-data:/data --volume /srv/models:/models:ro \
#     --publish 8000:8000 facetry shop=/models/shop
#
# Bound to all addresses of its container it needs keys: docker exec CONTAINER facetry keys create NAME ...
# With --allowed-host NAME allow 127.0.0.1 as well, by which the health check comes.
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE Makefile ./
COPY deploy/install.sh deploy/
COPY src src
COPY recipes recipes
COPY spaces spaces
RUN deploy/install.sh /opt/facetry && rm -rf /opt/facetry/tools

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home facetry && install -d -o facetry -g facetry -m 700 /data
COPY --from=build /opt/facetry /opt/facetry
ENV PATH=/opt/facetry/current/bin:$PATH FACETRY_DATA=/data HOME=/tmp PYTHONUNBUFFERED=1
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["facetry", "serve", "--host", "0.0.0.0", "--port", "8000"]
