#!/usr/bin/env bash
# Installs the service from this checkout into a folder of its own, beside the release that runs there, and
# then switches to it. The same command upgrades; what was there before stays for a rollback.
#
#   deploy/install.sh [PREFIX]              # /opt/facetry, unless another folder is named
#   deploy/install.sh --rollback [PREFIX]   # back to the release before
#
# PREFIX/releases/NAME has the packages of the extras serve and openvino, in the versions and with the hashes
# of requirements.lock; PREFIX/current is a link to the release that is used. Restart the service afterwards.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
rollback=
if [ "${1:-}" = --rollback ]; then rollback=yes; shift; fi
prefix=${1:-/opt/facetry}
mkdir -p "$prefix/releases"
prefix=$(cd "$prefix" && pwd)

use() { # a link is replaced in one step, so that there is always a release
    ln -sfn "releases/$1" "$prefix/next"
    mv -T "$prefix/next" "$prefix/current"
    echo "$prefix/current is $1: $("$prefix/current/bin/facetry" --version)"
}
names() { find "$prefix/releases" -mindepth 1 -maxdepth 1 -name '[0-9]*' -printf '%f\n' | sort; }
current=$(basename "$(readlink "$prefix/current" || true)")

if [ -n "$rollback" ]; then
    before=$(names | awk -v current="$current" '$0 < current' | tail -n 1)
    if [ -z "$before" ]; then echo "There is no release before ${current:-the first one}." >&2; exit 2; fi
    use "$before"
    exit
fi

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    if [ ! -x "$prefix/tools/bin/uv" ]; then
        "${PYTHON:-python3}" -m venv "$prefix/tools"
        version=$(sed -n 's/^UV_VERSION := //p' "$checkout/Makefile")
        "$prefix/tools/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$version"
    fi
    uv=$prefix/tools/bin/uv
fi
name=$(date -u +%Y%m%d-%H%M%S)
draft=$prefix/releases/.draft
rm -rf "$draft"
"$uv" venv --quiet --relocatable --python "${PYTHON:-python3}" "$draft"
"$uv" pip install --quiet --python "$draft" --constraint "$checkout/requirements.lock" \
    "$checkout[serve,openvino]"
mv "$draft" "$prefix/releases/$name"
use "$name"
names | head -n -3 | while read -r old; do rm -rf "${prefix:?}/releases/$old"; done # three are kept
