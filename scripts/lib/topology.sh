# shellcheck shell=bash
# Three namespaces and two links, the programs in them, and their removal. Sourced after common.sh.
#
#   lan 10.77.1.2 ──── lan0 router wan0 ──── 10.77.2.2 wan
#     fd77:1::2                                fd77:2::2
#
# A lab is named by its namespaces' suffix. What it started is recorded with each process's start
# time, so that a later run, after a crash too, ends exactly those processes and no other.

LAN4=10.77.1.2 LAN6=fd77:1::2
WAN4=10.77.2.2 WAN6=fd77:2::2
ROUTER_LAN4=10.77.1.1 ROUTER_LAN6=fd77:1::1
ROUTER_WAN4=10.77.2.1 ROUTER_WAN6=fd77:2::1

# Each checkout has namespaces of its own, so that several can run at once.
CHECKOUT=$(printf '%s' "$ROOT" | cksum | awk '{ printf "%04x", $1 % 65536 }')

# use_lab SUFFIX: the lab that the functions below are about.
use_lab() {
    LAB=$1
    NS_LAN=fg-lan-$LAB NS_ROUTER=fg-router-$LAB NS_WAN=fg-wan-$LAB
    STATE=/run/flowgate-lab/$LAB
    LOGS=$ROOT/target/lab/$LAB
}

in_lan() { ip netns exec "$NS_LAN" "$@"; }
in_router() { ip netns exec "$NS_ROUTER" "$@"; }
in_wan() { ip netns exec "$NS_WAN" "$@"; }

# Another run of the same lab would take it apart under us.
lock_lab() {
    mkdir -p /run/flowgate-lab
    exec 9>"/run/flowgate-lab/$LAB.lock"
    flock -n 9 || die "another run is using this lab; let it finish"
}

can_make_namespaces() {
    local name=fg-probe-$$
    ip netns add "$name" 2>/dev/null || return 1
    ip netns delete "$name"
}

# Namespaces, links and addresses. The router's ends stay bare: who routes decides what they carry.
build_topology() {
    local ns
    mkdir -p "$STATE" "$LOGS"
    for ns in "$NS_LAN" "$NS_ROUTER" "$NS_WAN"; do
        ip netns add "$ns"
        # Quiet hosts: nothing on the links that no program asked for.
        ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0 \
            net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.accept_dad=0
        ip -n "$ns" link set lo up
    done
    in_router sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    # Link addresses are fixed so that captures of one run mean something in the next.
    ip -n "$NS_ROUTER" link add lan0 address 02:00:00:00:01:01 type veth \
        peer name eth0 address 02:00:00:00:01:02 netns "$NS_LAN"
    ip -n "$NS_ROUTER" link add wan0 address 02:00:00:00:02:01 type veth \
        peer name eth0 address 02:00:00:00:02:02 netns "$NS_WAN"
    host_side "$NS_LAN" "$LAN4" "$LAN6" "$ROUTER_LAN4" "$ROUTER_LAN6"
    host_side "$NS_WAN" "$WAN4" "$WAN6" "$ROUTER_WAN4" "$ROUTER_WAN6"
}

host_side() {
    local ns=$1 own4=$2 own6=$3 gateway4=$4 gateway6=$5
    ip -n "$ns" address add "$own4/24" dev eth0
    ip -n "$ns" address add "$own6/64" dev eth0 nodad
    ip -n "$ns" link set eth0 up
    ip -n "$NS_ROUTER" link set "$([[ $ns == "$NS_LAN" ]] && echo lan0 || echo wan0)" up
    ip -n "$ns" route add default via "$gateway4"
    ip -n "$ns" -6 route add default via "$gateway6"
}

# The router namespace's own kernel must stay silent: no address, no forwarding, no ARP answer.
silence_kernel() {
    in_router sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.arp_ignore=8 net.ipv4.conf.all.rp_filter=0
}

# The same topology with the kernel as the router and a ruleset that says what conf/lab.yaml says.
kernel_routes() {
    in_router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.lan0.disable_ipv6=0 \
        net.ipv6.conf.wan0.disable_ipv6=0 net.ipv6.conf.all.forwarding=1
    ip -n "$NS_ROUTER" address add "$ROUTER_LAN4/24" dev lan0
    ip -n "$NS_ROUTER" address add "$ROUTER_WAN4/24" dev wan0
    ip -n "$NS_ROUTER" address add "$ROUTER_LAN6/64" dev lan0 nodad
    ip -n "$NS_ROUTER" address add "$ROUTER_WAN6/64" dev wan0 nodad
    in_router nft -f "$LIB/kernel.nft"
}

# start NAME COMMAND...: in the background, away from our terminal and lock, recorded.
start() {
    local name=$1 pid
    shift
    setsid "$@" </dev/null >"$LOGS/$name.log" 2>&1 9>&- &
    pid=$!
    record "$name" "$pid"
}

# setsid gives each program a session of its own, by which its children are known later.
record() { printf '%s %s %s\n' "$1" "$2" "$(started_at "$2")" >>"$STATE/processes"; }

# When a process began, in ticks since boot: with its id, an identity that no other process has.
started_at() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # The second field may hold anything; what follows its closing bracket may not.
    awk '{ print $20 }' <<<"${stat##*) }"
}

session_of() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    awk '{ print $4 }' <<<"${stat##*) }"
}

# pid_of NAME: its process id while it runs, else nothing.
pid_of() {
    local name pid began
    [[ -f $STATE/processes ]] || return 0
    while read -r name pid began; do
        [[ $name == "$1" && -n $began && $(started_at "$pid") == "$began" ]] && echo "$pid"
    done <"$STATE/processes"
    return 0
}

is_running() { [[ -n $(pid_of "$1") ]]; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }

# Every live process that this lab started: the recorded ones, and within our namespaces the
# members of their sessions.
our_processes() {
    local name pid began ns sessions=" "
    [[ -f $STATE/processes ]] || return 0
    while read -r name pid began; do
        sessions+="$pid "
        [[ -n $began && $(started_at "$pid") == "$began" ]] && echo "$pid"
    done <"$STATE/processes"
    for ns in "$NS_LAN" "$NS_ROUTER" "$NS_WAN"; do
        for pid in $(ip netns pids "$ns" 2>/dev/null); do
            [[ $sessions == *" $(session_of "$pid") "* ]] && echo "$pid"
        done
    done | sort -u
    return 0
}

no_process_left() { [[ -z $(our_processes) ]]; }

# Whether anything of this lab is there, alive or left by a crash.
lab_exists() {
    [[ -d $STATE ]] || [[ -e /run/netns/$NS_LAN || -e /run/netns/$NS_ROUTER || -e /run/netns/$NS_WAN ]]
}

# Removes everything; finding nothing is fine, and so is half of it.
remove_lab() {
    local ns pid
    lab_exists || return 0
    for pid in $(our_processes); do kill -TERM "$pid" 2>/dev/null || true; done
    if ! wait_for 3 no_process_left; then
        for pid in $(our_processes); do kill -KILL "$pid" 2>/dev/null || true; done
        wait_for 2 no_process_left || warn "still running: $(our_processes | xargs)"
    fi
    for ns in "$NS_ROUTER" "$NS_LAN" "$NS_WAN"; do
        [[ -e /run/netns/$ns ]] || continue
        # A shell that someone still has open in there keeps the namespace, not the links.
        [[ -z $(ip netns pids "$ns" 2>/dev/null) ]] || warn "someone is still inside $ns: $(ip netns pids "$ns" | xargs)"
        ip -n "$ns" link delete lan0 2>/dev/null || true
        ip -n "$ns" link delete wan0 2>/dev/null || true
        ip netns delete "$ns" || true
    done
    rm -rf "$STATE"
}
