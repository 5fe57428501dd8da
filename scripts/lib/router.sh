# shellcheck shell=bash
# Who routes: flowgate or the kernel. Sourced after checks.sh.

CONFIG=$ROOT/conf/lab.yaml

# What the router's ports are opened by; a mode of AF_XDP stands behind a colon.
DRIVERS=(af_packet af_xdp:native af_xdp:generic tap) DRIVER=af_packet

# The configuration with other ports, and what these need around them.
use_driver() {
    local side
    case $DRIVER in
        af_packet) return ;;
        af_xdp:*)
            # AF_XDP sees octets only, so the hosts finish their checksums.
            in_lan ethtool -K eth0 tx off txvlan off >/dev/null
            in_wan ethtool -K eth0 tx off txvlan off >/dev/null
            sed "s/driver: af_packet/driver: af_xdp\n    xdp_mode: ${DRIVER#*:}/" "$CONFIG" >"$STATE/lab.yaml"
            ;;
        tap)
            # The other end of a TAP device is the kernel's, which has it in a bridge with the cable.
            for side in lan wan; do
                ip -n "$NS_ROUTER" link add "br-$side" type bridge forward_delay 0 mcast_snooping 0
                ip -n "$NS_ROUTER" tuntap add dev "tap-$side" mode tap multi_queue
                ip -n "$NS_ROUTER" link set "${side}0" master "br-$side"
                ip -n "$NS_ROUTER" link set "tap-$side" up master "br-$side"
                ip -n "$NS_ROUTER" link set "br-$side" up
            done
            sed 's/driver: af_packet/driver: tap/; s/device: \(lan\|wan\)0/device: tap-\1/' "$CONFIG" >"$STATE/lab.yaml"
            ;;
    esac
    CONFIG=$STATE/lab.yaml
}

# bring_up flowgate|kernel|yardstick: topology, router and servers of the lab chosen by use_lab.
bring_up() {
    MODE=$1
    rm -rf "$LOGS"
    build_topology
    echo "$MODE" >"$STATE/mode"
    case $MODE in
        kernel)
            kernel_routes
            in_router nft -f "$LIB/kernel-states.nft"
            ;;
        yardstick) kernel_routes ;;
        flowgate)
            silence_kernel
            use_driver
            start_flowgate
            ;;
    esac
    start_services
}

start_flowgate() {
    # As a direct child, so that its exit status can be asked for.
    start flowgate ip netns exec "$NS_ROUTER" "$FLOWGATE_BIN" run --config "$CONFIG"
    ROUTER_PID=$!
    wait_for 30 router_settled
    scrape >/dev/null 2>&1 && return 0
    router_log
    die "flowgate did not come up"
}

# Up, or dead already.
router_settled() { ! is_running flowgate || scrape; }

router_log() {
    [[ -f $LOGS/flowgate.log ]] || return 0
    warn "the end of the router's log ($LOGS/flowgate.log):"
    tail -n 15 "$LOGS/flowgate.log" | sed 's/^/    /' >&2
}

# Sends SIGTERM and notes how it ended. Not inside `try`: only the parent can ask for the status.
shut_down() {
    local began
    SHUTDOWN_STATUS='' SHUTDOWN_MS=''
    is_running flowgate || { wait "$ROUTER_PID" || SHUTDOWN_STATUS="dead before, status $?"; return 0; }
    began=$(now_ms)
    kill -TERM "$ROUTER_PID"
    wait_for 5 is_gone "$ROUTER_PID" || { SHUTDOWN_STATUS="still running"; return 0; }
    SHUTDOWN_MS=$(($(now_ms) - began)) SHUTDOWN_STATUS=0
    wait "$ROUTER_PID" || SHUTDOWN_STATUS=$?
}

shut_down_well() {
    note "status $SHUTDOWN_STATUS${SHUTDOWN_MS:+, $SHUTDOWN_MS ms}"
    [[ $SHUTDOWN_STATUS == 0 ]] && ((SHUTDOWN_MS <= 2000))
}

# --- the yardstick

ROUNDS=3 ROUND_SECONDS=2

# In turn through flowgate and through the kernel in the same topology; fails below a third.
check_compare() {
    local round flowgate=() kernel=() ours theirs
    for ((round = 1; round <= ROUNDS; round++)); do
        use_lab "$LAB_FLOWGATE"
        ours=$(tcp_rate) || ours=0
        flowgate+=("$ours")
        use_lab "$LAB_KERNEL"
        theirs=$(tcp_rate) || theirs=0
        kernel+=("$theirs")
        printf '  round %d   flowgate %6.2f Gbit/s   kernel %6.2f Gbit/s\n' "$round" "$ours" "$theirs"
    done
    use_lab "$LAB_FLOWGATE"
    ours=$(median "${flowgate[@]}") theirs=$(median "${kernel[@]}")
    try "iperf3 TCP reaches at least a third of the kernel's rate" at_least_a_third "$ours" "$theirs"
}

tcp_rate() {
    in_lan timeout 30 iperf3 --json --connect-timeout 3000 --client "$WAN4" --time "$ROUND_SECONDS" >"$STATE/iperf.json" &&
        "$PYTHON" "$LIB/probe.py" iperf rate "$STATE/iperf.json" | awk '{ print $1 }'
}

median() { printf '%s\n' "$@" | sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

at_least_a_third() {
    note "$(awk -v a="$1" -v b="$2" 'BEGIN { printf "median %.2f of %.2f Gbit/s, ratio %.2f", a, b, b ? a / b : 0 }')"
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && b > 0 && a * 3 >= b) }'
}
