#!/usr/bin/env bash
# Installs the service from this checkout into a folder of its own, beside the release that runs there, and
# then switches to it. The same command upgrades; what was there before stays for a rollback.
#
#   deploy/install.sh [PREFIX]              # /opt/facetry, unless another folder is named
#   deploy/install.sh --rollback [PREFIX]   # back to the release before
#
# PREFIX/releases/NAME has the packages of the extras serve and openvino, in the versions and with the hashes
# of requirements.lock; PREFIX/current is a link to the release that is used. Restart the service afterwards.
# PYTHON names another python3, UV another uv; without uv it is installed into PREFIX/tools.
set -euo pipefail
umask 022 # the service's user, who is another, has to read it
checkout=$(cd "$(dirname "$0")/.." && pwd)
rollback=
if [ "${1:-}" = --rollback ]; then rollback=yes; shift; fi
if [[ ${1:-} = -* || $# -gt 1 ]]; then sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
prefix=${1:-/opt/facetry}
mkdir -p "$prefix/releases"
prefix=$(cd "$prefix" && pwd)
python=$(command -v "${PYTHON:-python3}") || { echo "There is no ${PYTHON:-python3}." >&2; exit 2; }

use() { # a link is replaced in one step, so that there is always a release
    ln -sfn "releases/$1" "$prefix/next"
    mv -T "$prefix/next" "$prefix/current"
    echo "$prefix/current is $1: $("$prefix/current/bin/facetry" --version)"
}
names() { find "$prefix/releases" -mindepth 1 -maxdepth 1 -name '[0-9]*' -printf '%f\n' | sort; }
digest() { # of all that a release is made of
    {
        "$python" --version
        cd "$checkout"
        find -L src pyproject.toml requirements.lock -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c1-8
}
current=$(basename "$(readlink "$prefix/current" || true)")

if [ -n "$rollback" ]; then
    before=$(names | awk -v current="$current" '$0 < current' | tail -n 1)
    if [ -z "$before" ]; then echo "There is no release before ${current:-the first one}." >&2; exit 2; fi
    use "$before"
    exit
fi

made_of=$(digest)
if [[ $current = *-$made_of ]]; then echo "$prefix/current is this release: $current"; exit; fi

uv=${UV:-$(command -v uv || true)}
if [ -z "$uv" ]; then
    if [ ! -x "$prefix/tools/bin/uv" ]; then
        "$python" -m venv "$prefix/tools"
        version=$(sed -n 's/^UV_VERSION := //p' "$checkout/Makefile")
        "$prefix/tools/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$version"
    fi
    uv=$prefix/tools/bin/uv
fi
name=$(date -u +%Y%m%d-%H%M%S)-$made_of
draft=$prefix/releases/.draft
rm -rf "$draft"
"$uv" venv --quiet --relocatable --python "$python" "$draft"
# Bytecode is written now: the service may not write here, and would compile everything at each start.
"$uv" pip install --quiet --python "$draft" --compile-bytecode --constraint "$checkout/requirements.lock" \
    --build-constraint "$checkout/requirements.lock" "$checkout[serve,openvino]"
mv "$draft" "$prefix/releases/$name"
use "$name"
names | head -n -3 | while read -r old; do rm -rf "${prefix:?}/releases/$old"; done # three are kept
echo "Next: systemctl restart facetry; the first time, what deploy/facetry.service begins with."
