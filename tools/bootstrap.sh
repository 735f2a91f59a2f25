#!/bin/sh
# Make .venv hold the locked packages of this project and of the extras named as arguments.
#
#   sh tools/bootstrap.sh datasets dev
#
# When nothing has changed it only compares a checksum. What an interrupted run left half done is
# mended by the next one. pip and uv read their own settings (indexes, proxies, certificates).
set -eu
cd "$(dirname "$0")/.."

uv_version=0.13.9
marks=.venv/.loyalty

die() {
    printf 'error: %s\n' "$@" >&2
    exit 2
}

# Two makes at once would build the environment twice over each other; the lock dies with its holder.
if command -v flock >/dev/null 2>&1; then
    exec 9<pyproject.toml
    flock 9 || :
fi

# The folder belongs to the key, since an environment holds absolute paths and cannot be moved.
here=$(pwd -P)
key=$({ cat pyproject.toml uv.lock; printf '%s' "$here $uv_version"; } | cksum)
holds() {
    [ -f "$marks/$1" ] && [ "$(cat "$marks/$1")" = "$2" ]
}

missing=
[ -x .venv/bin/python ] || missing=python
for extra in "$@"; do
    holds "extra-$extra" "$key" || missing="$missing $extra"
done
[ -n "$missing" ] || exit 0

# --- a Python that is new enough and can make environments -------------------------------------
new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}
choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.13 python3.12 python3.11
    fi
    for candidate in "$@"; do
        if new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    found=$("$1" --version 2>&1) || found="$1 cannot be run"
    die "Python 3.11 or newer is needed, but $1 is not: $found" \
        "install one, or name the one to use: make setup PYTHON=/usr/bin/python3.12"
}

works() {
    [ -x .venv/bin/python ] && new_enough .venv/bin/python
}
has_uv() {
    [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f1,2)" = "uv $uv_version" ]
}

# --- the environment and uv inside it ----------------------------------------------------------
# Only what this script made is ever removed.
remove() {
    [ -d "$marks" ] || die ".venv is there, but $1, and this project did not make it" \
        "remove it or mend it, then run make again"
    [ -w "$marks" ] || die ".venv belongs to another user; $1"
    echo "Removing .venv: $1"
    rm -rf .venv
}
if [ -e .venv ]; then
    if [ -f "$marks/making" ]; then
        remove "an earlier run was interrupted"
    elif [ -f "$marks/place" ] && ! holds place "$here"; then
        remove "the folder has moved, which an environment does not survive"
    elif ! works; then
        remove "its Python cannot be run or is older than 3.11"
    fi
fi
if [ ! -e .venv ]; then
    python=$(choose_python)
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        die "$python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
    echo "Making .venv with $("$python" --version 2>&1)"
    mkdir -p "$marks"
    : >"$marks/making"
    "$python" -m venv .venv
    rm "$marks/making"
fi
[ -w .venv ] || die ".venv is out of date and belongs to another user"
mkdir -p "$marks"
if ! has_uv; then
    # an environment that uv made has no pip of its own
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
    # forced, since an interrupted install may look complete
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps \
        "uv==$uv_version" ||
        die "uv $uv_version could not be installed; is there a network? pip's own message is above"
    has_uv || die "uv $uv_version was installed but does not run on this machine"
fi
printf '%s' "$here" >"$marks/place"

# --- the locked packages -----------------------------------------------------------------------
# --inexact: what another target or the user installed stays.
unset VIRTUAL_ENV UV_PYTHON
UV_PROJECT_ENVIRONMENT=.venv
export UV_PROJECT_ENVIRONMENT
mend=
if [ -f "$marks/syncing" ]; then
    mend=--reinstall
fi
: >"$marks/syncing"
echo "Installing the locked packages ($*)"
quiet=--quiet
if [ -t 2 ]; then
    quiet=
fi
extras=
for extra in "$@"; do
    extras="$extras --extra $extra"
done
# shellcheck disable=SC2086  # these hold several words, or none
.venv/bin/uv sync --frozen --inexact --no-python-downloads --python .venv/bin/python $quiet $mend $extras ||
    die "the locked packages could not be installed; uv's own message is above"
for extra in "$@"; do
    printf '%s' "$key" >"$marks/extra-$extra"
done
rm -f "$marks/syncing"
