# shellcheck shell=bash
# A Docker daemon to run the labs on: the one that is there, or one of our own that leaves nothing behind.
# Sourced after install.sh and topology.sh.

DAEMON_PID='' DAEMON_FOLDER=''

# Either kind of compose: the plugin, or the program of its own that Debian has.
compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

# need_docker FOLDER: afterwards `docker` and `compose` work. A daemon of our own keeps its data in FOLDER.
need_docker() {
    need docker
    docker compose version >/dev/null 2>&1 || need docker-compose
    if docker info >/dev/null 2>&1; then return; fi
    ((EUID == 0)) || die "no Docker daemon answers, and starting one needs root"
    need dockerd containerd iptables
    start_daemon "$1"
}

start_daemon() {
    DAEMON_FOLDER=$1
    mkdir -p "$1"
    export DOCKER_HOST=unix://$1/docker.sock
    FORWARDING=$(</proc/sys/net/ipv4/ip_forward)
    FORWARD_POLICY=$(iptables -S FORWARD 2>/dev/null | awk '$1 == "-P" { print $3 }')
    # Builds use the machine's own network, so the default bridge is not needed.
    setsid dockerd --bridge=none --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" --host "$DOCKER_HOST" \
        --log-level=warn </dev/null >"$1/log" 2>&1 9>&- &
    DAEMON_PID=$!
    if ! wait_for 30 docker info; then
        tail -n 20 "$1/log" >&2
        die "dockerd did not start"
    fi
}

# stop_daemon [keep]: ours, if there is one; its images go with it unless they are to be kept.
stop_daemon() {
    [[ -n $DAEMON_PID ]] || return 0
    kill -TERM "$DAEMON_PID" 2>/dev/null || true
    wait_for 20 is_gone "$DAEMON_PID" || kill -KILL "$DAEMON_PID" 2>/dev/null || true
    wait "$DAEMON_PID" 2>/dev/null || true
    DAEMON_PID=''
    forget_rules
    echo "$FORWARDING" >/proc/sys/net/ipv4/ip_forward
    local mounted
    while read -r mounted; do
        umount "$mounted" || true
    done < <(awk -v below="$DAEMON_FOLDER/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r)
    rm -rf "${DAEMON_FOLDER:?}/exec" "$DAEMON_FOLDER"/{pid,log,docker.sock}
    [[ ${1:-} == keep ]] || rm -rf "$DAEMON_FOLDER"
}

# Docker leaves its chains in the machine's tables when it ends.
forget_rules() {
    local table rule
    for table in filter nat raw; do
        iptables -t "$table" -S 2>/dev/null | grep -E -- '^-A (FORWARD|PREROUTING|OUTPUT|POSTROUTING) .*-j DOCKER' |
            while read -r rule; do
                # The rule is split into words as iptables printed it.
                # shellcheck disable=SC2086
                iptables -t "$table" ${rule/#-A/-D} 2>/dev/null || true
            done
        for rule in $(iptables -t "$table" -S 2>/dev/null | awk '$1 == "-N" && $2 ~ /^DOCKER/ { print $2 }'); do
            iptables -t "$table" -F "$rule" 2>/dev/null || true
        done
        for rule in $(iptables -t "$table" -S 2>/dev/null | awk '$1 == "-N" && $2 ~ /^DOCKER/ { print $2 }'); do
            iptables -t "$table" -X "$rule" 2>/dev/null || true
        done
    done
    [[ -z $FORWARD_POLICY ]] || iptables -P FORWARD "$FORWARD_POLICY"
}
