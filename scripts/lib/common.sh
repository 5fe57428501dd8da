# shellcheck shell=bash
# Words, limits and small tools every script here shares. Sourced, never run.

# The checkout, wherever the script was called from.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
LIB=$ROOT/scripts/lib

# Colour only for a person at a terminal.
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
    BOLD='' GREEN='' RED='' PLAIN=''
fi

say() { printf '%s\n' "$*"; }
title() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
warn() { printf '%s\n' "$*" >&2; }

# Ends the script with a message; cleaning up is the EXIT trap's business.
die() {
    warn "${0##*/}: $*"
    exit 1
}

# wait_for SECONDS COMMAND...: until the command succeeds, at most so long.
wait_for() {
    local limit=$1 deadline
    shift
    deadline=$(($(now_ms) + limit * 1000))
    until "$@" >/dev/null 2>&1; do
        (($(now_ms) < deadline)) || return 1
        sleep 0.05
    done
}

not() { ! "$@"; }

# Why no network namespace can be made here, or nothing. The root of a container may not be allowed to.
no_namespaces() {
    if ((EUID != 0)); then
        echo 'network namespaces need root'
    elif ! unshare --net --mount true 2>/dev/null; then
        echo 'root can make no network namespaces here'
    fi
}

now_ms() { printf '%s' "$((${EPOCHREALTIME//[.,]/} / 1000))"; }

# The system's own interpreter starts several times faster than a version manager's shim.
PYTHON=python3
[[ -x /usr/bin/python3 ]] && PYTHON=/usr/bin/python3
