# shellcheck shell=bash
# Two hosts behind vhost-user sockets and the router between them. Sourced after topology.sh, services.sh and metrics.sh.

MODE=flowgate

need_peer() {
    have dpdk-testpmd || { ((EUID == 0)) && say "installing dpdk-dev librte-net-tap23 librte-net-vhost23"; }
    have dpdk-testpmd || install_packages dpdk-dev librte-net-tap23 librte-net-vhost23
}

# A binary with DPDK's ports, beside the one without. PROFILE=dev takes less time to build and more to run.
build_flowgate_dpdk() {
    [[ -n ${FLOWGATE_BIN:-} ]] && return 0
    need_rust
    need_dpdk
    local log built=${CARGO_TARGET_DIR:-$ROOT/target} profile=${PROFILE:-release}
    log=$(mktemp)
    if ! (cd "$ROOT" && cargo build --profile "$profile" --features dpdk --bin flowgate </dev/null) >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        die "flowgate does not build with the feature dpdk"
    fi
    rm -f "$log"
    # A build without the feature would take its place.
    FLOWGATE_BIN=$built/flowgate-dpdk
    cp "$built/${profile/#dev/debug}/flowgate" "$FLOWGATE_BIN"
}

bring_up_virtio() {
    local ns
    rm -rf "$LOGS"
    mkdir -p "$STATE/www" "$LOGS"
    # The router's own namespace has nothing but its metrics.
    for ns in "$NS_LAN" "$NS_ROUTER" "$NS_WAN"; do
        ip netns add "$ns"
        ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
            net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
        ip -n "$ns" link set lo up
    done
    write_router_conf
    start_peer
    start_router
    head -c "$PAYLOAD_SIZE" /dev/urandom >"$STATE/www/payload.bin"
    start http-wan ip netns exec "$NS_WAN" "$PYTHON" -m http.server --bind :: --directory "$STATE/www" 80
    wait_for 30 listens "$NS_WAN" 80 || die "nothing listens on port 80 of the wan host"
}

write_router_conf() {
    cat >"$STATE/router.yaml" <<CONF
version: 1
workers: { count: 2 }
ports:
  lan0: { driver: virtio_user, path: $STATE/lan.sock, addresses: [$ROUTER_LAN4/24, "$ROUTER_LAN6/64"] }
  wan0: { driver: virtio_user, path: $STATE/wan.sock, addresses: [$ROUTER_WAN4/24, "$ROUTER_WAN6/64"] }
chains:
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: bad, ct_state: invalid, verdict: drop }
      - { id: lan-out, iif: lan0, ct_state: new, verdict: accept }
metrics: { listen: "$METRICS" }
CONF
}

# The other ends of both sockets, and the hosts' taps behind them. It polls without rest; the scheduler places it.
start_peer() {
    local cpus
    cpus=$(awk '$1 == "Cpus_allowed_list:" { print $2 }' /proc/self/status)
    # DPDK does not take over a socket that a dead process left.
    rm -f "$STATE/lan.sock" "$STATE/wan.sock"
    start peer ip netns exec "$NS_LAN" dpdk-testpmd --lcores "0@($cpus),1@($cpus)" --no-huge -m 256 --no-pci \
        --no-telemetry --no-shconf --file-prefix "fgpeer$LAB" \
        --vdev "net_vhost0,iface=$STATE/lan.sock" --vdev "net_tap0,iface=lan0" \
        --vdev "net_vhost1,iface=$STATE/wan.sock" --vdev "net_tap1,iface=wan0" \
        -- --total-num-mbufs=8192 --forward-mode=io --auto-start --stats-period=60
    # Its death is nothing that the shell need announce.
    disown "$!"
    wait_for 30 has_taps || { tail -n 20 "$LOGS/peer.log" >&2; die "testpmd did not start"; }
    ip -n "$NS_LAN" link set wan0 netns "$NS_WAN"
    host_addresses "$NS_LAN" lan0 "$LAN4" "$LAN6" "$ROUTER_LAN4" "$ROUTER_LAN6"
    host_addresses "$NS_WAN" wan0 "$WAN4" "$WAN6" "$ROUTER_WAN4" "$ROUTER_WAN6"
}

has_taps() { ip -n "$NS_LAN" link show lan0 && ip -n "$NS_LAN" link show wan0 && [[ -S $STATE/lan.sock && -S $STATE/wan.sock ]]; }

host_addresses() {
    local ns=$1 device=$2 own4=$3 own6=$4 gateway4=$5 gateway6=$6
    ip -n "$ns" address add "$own4/24" dev "$device"
    ip -n "$ns" address add "$own6/64" dev "$device" nodad
    ip -n "$ns" link set "$device" up
    ip -n "$ns" route add default via "$gateway4"
    ip -n "$ns" -6 route add default via "$gateway6"
}

start_router() {
    start flowgate ip netns exec "$NS_ROUTER" "$FLOWGATE_BIN" run --config "$STATE/router.yaml"
    disown "$!"
    wait_for 30 scrape || { tail -n 15 "$LOGS/flowgate.log" >&2; die "flowgate did not come up"; }
}

# --- checks

check_traffic() {
    title "Traffic"
    try "ping, lan to wan" in_lan ping -c 3 -i 0.2 -W 5 "$WAN4"
    try "ping, lan to wan, IPv6" in_lan ping -c 3 -i 0.2 -W 5 "$WAN6"
    try "ping the router itself" in_lan ping -c 3 -i 0.2 -W 5 "$ROUTER_LAN4"
    try "16 MiB by curl arrive intact" fetches_payload "$WAN4"
    try "16 MiB by curl arrive intact, IPv6" fetches_payload "[$WAN6]"
    try "the wan cannot open a connection to the lan" refuses in_wan ping -c 2 -i 0.2 -W 1 "$LAN4"
}

fetches_payload() {
    local began
    began=$(now_ms)
    in_lan curl -sS --max-time 30 -o "$STATE/fetched" "http://$1/payload.bin"
    cmp "$STATE/fetched" "$STATE/www/payload.bin"
    note "in $(($(now_ms) - began)) ms"
}

# Whoever dies without a word: the next start works, and whoever stayed finds the way back.
check_deaths() {
    title "Deaths"
    try "kill -9 of the router: the next one routes" survives router_dies
    try "kill -9 of testpmd: the router finds the next one" survives peer_dies
    [[ $1 == all ]] || return 0
    try "sockets removed, then both killed: the next pair routes" survives all_die
    try "and again" survives all_die
}

survives() {
    local began
    "$1"
    began=$(now_ms)
    wait_for 30 in_lan ping -c 1 -W 1 "$WAN4"
    note "ping after $(($(now_ms) - began)) ms"
    in_lan curl -sS --max-time 20 -o "$STATE/fetched" "http://$WAN4/payload.bin"
    cmp "$STATE/fetched" "$STATE/www/payload.bin"
}

kill_9() {
    local pid
    pid=$(pid_of "$1")
    kill -KILL "$pid"
    wait_for 15 is_gone "$pid"
}

router_dies() { kill_9 flowgate; start_router; }
peer_dies() { kill_9 peer; start_peer; }

all_die() {
    rm -f "$STATE/lan.sock" "$STATE/wan.sock"
    kill_9 flowgate
    kill_9 peer
    start_peer
    start_router
}

stop_router() {
    local pid
    pid=$(pid_of flowgate)
    kill -TERM "$pid"
    wait_for 15 is_gone "$pid" || true
}

router_ended_well() { refuses is_running flowgate && grep -q 'stopped$' "$LOGS/flowgate.log"; }
