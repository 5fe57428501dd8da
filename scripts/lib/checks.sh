# shellcheck shell=bash
# What the lab tries, with real programs and a few forged packets. Sourced after metrics.sh.
#
# Each check_NAME is a list of `try` lines. What is tried is a function that fails as soon as one of its commands does.

CHECKS=(ping http iperf traceroute ftp tftp irc icmp-error unsolicited mid-stream checksum stray-error)

# The forward chain's rules in conf/lab.yaml.
RULE_KNOWN=known RULE_BAD=bad RULE_OUT=lan-out

# --- ping

check_ping() {
    try "ping the wan host from the lan" pings "$WAN4" ipv4
    try "ping the wan host from the lan, IPv6" pings "$WAN6" ipv6
    try "ping the router itself" pings_router "$ROUTER_LAN4"
    try "ping the router itself, IPv6" pings_router "$ROUTER_LAN6"
}

# One identifier is one connection: the first request is NEW, all that follows a reply ESTABLISHED.
pings() {
    mark
    in_lan timeout 20 ping -n -q -c 3 -i 0.2 -W 5 "$1"
    packets eq 1 new "family=$2"
    packets eq 5 established "family=$2"
    rule 1 "$RULE_OUT"
    rule 1 "$RULE_KNOWN"
    all_valid
}

pings_router() { in_lan timeout 20 ping -n -q -c 2 -i 0.2 -W 2 "$1"; }

# --- http

check_http() {
    try "curl from a web server in the wan" fetches "http://$WAN4/" ipv4
    try "curl from a web server in the wan, IPv6" fetches "http://[$WAN6]/" ipv6
}

# A page, then a file large enough that segmentation and windows matter, compared by checksum.
fetches() {
    mark
    in_lan curl -sSf --max-time 20 "$1hello.txt" | grep -q 'flowgate lab'
    in_lan curl -sSf --max-time 20 -o "$STATE/fetched" "$1payload.bin"
    same_as_payload "$STATE/fetched"
    packets eq 2 new "family=$2"
    packets ge 8 established "family=$2"
    all_valid
    note "$((PAYLOAD_SIZE / 1024 / 1024)) MiB intact"
}

same_as_payload() {
    local sum
    sum=$(sha256sum "$1" | awk '{ print $1 }')
    rm -f "$1"
    if [[ $sum != $(<"$STATE/payload.sha256") ]]; then
        say "the file arrived damaged"
        return 1
    fi
}

# --- iperf

check_iperf() {
    try "iperf3 TCP, lan to wan" tcp_flows "$WAN4"
    try "iperf3 TCP, wan to lan" tcp_flows "$WAN4" --reverse
    try "iperf3 TCP, lan to wan, IPv6, four streams" tcp_flows "$WAN6" --parallel 4
    try "iperf3 UDP, 50 Mbit/s, lan to wan" udp_flows "$WAN4"
    try "iperf3 UDP, 50 Mbit/s, wan to lan, IPv6" udp_flows "$WAN6" --reverse
}

iperf() { in_lan timeout 30 iperf3 --json --connect-timeout 3000 --client "$@" >"$STATE/iperf.json"; }

iperf_says() {
    local line good=0
    line=$("$PYTHON" "$LIB/probe.py" iperf "$1" "$STATE/iperf.json") || good=1
    note "$line"
    return "$good"
}

tcp_flows() {
    mark
    iperf "$1" --time 2 "${@:2}"
    iperf_says rate
    packets ge 2 new
    packets ge 100 established
}

# What is lost must be counted somewhere, and little of it by the router, its ports and the links. What a socket has no
# room for, since its program is given no processor in time, is lost behind the router.
udp_flows() {
    local lost socket router lines
    mark
    socket=$(lost_in_sockets) lines=$(lost_on_devices)
    iperf "$1" --time 2 --udp --bitrate 50M --length 1200 "${@:2}"
    lost=$("$PYTHON" "$LIB/probe.py" iperf lost "$STATE/iperf.json")
    socket=$(($(lost_in_sockets) - socket)) lines=$(($(lost_on_devices) - lines)) router=$(lost_in_router)
    note "${lost% *} of ${lost#* } lost; sockets dropped $socket, router and ports $router, links $lines"
    ((${lost% *} <= socket + router + lines)) || { say "some were lost and not counted"; return 1; }
    ((router + lines < ${lost#* } / 10)) || { say "too many were lost on the way"; return 1; }
    packets ge 2 new
    packets ge 1 established
}

# What the hosts' sockets had no room for, of both families.
lost_in_sockets() {
    local host
    for host in in_lan in_wan; do "$host" cat /proc/net/snmp /proc/net/snmp6; done | awk '
        $1 == "Udp:" && !column { for (i = 1; i <= NF; i++) if ($i == "RcvbufErrors") column = i; next }
        $1 == "Udp:" { sum += $column; column = 0 }
        $1 == "Udp6RcvbufErrors" { sum += $2 }
        END { print sum + 0 }'
}

# What the kernel dropped on the links and in the queues behind them.
lost_on_devices() {
    local host
    for host in in_lan in_router in_wan; do
        "$host" sh -c 'cat /sys/class/net/*/statistics/rx_dropped /sys/class/net/*/statistics/tx_dropped'
    done | awk '{ sum += $1 } END { print sum + 0 }'
}

# Since the mark; the kernel as router counts on its devices.
lost_in_router() {
    [[ $MODE != kernel ]] || { echo 0; return; }
    quiet >/dev/null
    echo $(($(change drops_total) + $(change port_errors_total)))
}

# --- traceroute

check_traceroute() {
    try "traceroute with UDP names the router, then the wan host" traces -4 "$ROUTER_LAN4" "$WAN4"
    try "traceroute with echo requests" traces -4 "$ROUTER_LAN4" "$WAN4" --icmp
    try "traceroute with UDP, IPv6" traces -6 "$ROUTER_LAN6" "$WAN6"
    try "traceroute with echo requests, IPv6" traces -6 "$ROUTER_LAN6" "$WAN6" --icmp
}

traces() {
    local family=$1 hop=$2 target=$3 path
    mark
    path=$(in_lan timeout 40 traceroute "$family" -n -q 1 -w 5 -m 4 "${@:4}" "$target")
    say "$path"
    path=$(awk 'NR > 1 { printf "%s ", $2 }' <<<"$path")
    [[ $path == "$hop $target " ]]
    # With UDP the wan host's answer is an ICMP error about a known connection.
    [[ $* == *--icmp* ]] || packets ge 1 related
}

# --- ftp

check_ftp() {
    try "passive FTP (EPSV), list and download" transfers "$WAN4" ipv4
    try "passive FTP (PASV)" transfers "$WAN4" ipv4 --disable-epsv
    try "active FTP (EPRT)" transfers "$WAN4" ipv4 --ftp-port -
    try "active FTP (PORT)" transfers "$WAN4" ipv4 --disable-eprt --ftp-port -
    try "passive FTP (EPSV), IPv6" transfers "[$WAN6]" ipv6
    try "active FTP (EPRT), IPv6" transfers "[$WAN6]" ipv6 --ftp-port -
}

# curl ends an active transfer with status 8 when the server's 150 overtakes the last ACK of the data connection's
# handshake, as two connections on two cores may; then it is asked again.
ftp_fetch() {
    local status=0
    in_lan curl -sSf --max-time 20 "$@" || status=$?
    ((status != 8)) || { status=0 && in_lan curl -sSf --max-time 20 "$@" || status=$?; }
    return "$status"
}

# Each data connection opens with one RELATED packet; none is NEW.
transfers() {
    local host=$1 family=$2
    shift 2
    mark
    ftp_fetch "$@" -o "$STATE/list" "ftp://$host/"
    grep -q payload.bin "$STATE/list"
    ftp_fetch "$@" -o "$STATE/fetched" "ftp://$host/payload.bin"
    same_as_payload "$STATE/fetched"
    packets ge 2 new "family=$family"
    packets ge 2 related "family=$family"
    all_valid
}

# --- tftp

check_tftp() {
    try "TFTP, download" fetches_by_tftp "$WAN4" ipv4
    try "TFTP, larger blocks" fetches_by_tftp "$WAN4" ipv4 --tftp-blksize 1428
    try "TFTP, upload" sends_by_tftp "$WAN4" ipv4
    try "TFTP, download, IPv6" fetches_by_tftp "[$WAN6]" ipv6
}

# The server answers from a port of its own: RELATED until curl has acknowledged.
fetches_by_tftp() {
    local host=$1 family=$2
    shift 2
    mark
    in_lan curl -sSf --max-time 20 "$@" -o "$STATE/fetched" "tftp://$host/notes.txt"
    cmp "$STATE/fetched" "$STATE/tftp/notes.txt"
    one_transfer "$family"
}

sends_by_tftp() {
    mark
    in_lan curl -sSf --max-time 20 -T "$STATE/tftp/notes.txt" "tftp://$1/upload.txt"
    # The server writes what it got while it acknowledges.
    wait_for 15 cmp -s "$STATE/tftp/notes.txt" "$STATE/tftp/upload.txt"
    one_transfer "$2"
}

one_transfer() {
    packets eq 1 new "family=$1"
    packets eq 1 related "family=$1"
    packets ge 10 established "family=$1"
    all_valid
}

# --- irc

check_irc() {
    try "IRC: a file offered from the lan is fetched from the wan (DCC)" offers_by_irc
}

# Alice on the lan offers, bob beside the server on the wan connects to her: a connection from the wan that the forward
# chain lets in as RELATED only.
offers_by_irc() {
    local who
    mark
    irssi_on "$NS_LAN" alice
    irssi_on "$NS_WAN" bob
    for who in alice bob; do wait_for 30 grep -qa Welcome "$STATE/irc/$who/log"; done
    local attempt
    for attempt in 1 2 3 4 5; do
        printf '/dcc send bob %s\r' "$STATE/irc/gift.txt" >"$STATE/irc/alice/keys"
        if wait_for 3 cmp -s "$STATE/irc/gift.txt" "$STATE/irc/bob/gift.txt"; then break; fi
    done
    for who in alice bob; do printf '/quit\r' >"$STATE/irc/$who/keys"; done
    for who in alice bob; do wait_for 15 not is_running "irc-$who"; done
    cmp "$STATE/irc/gift.txt" "$STATE/irc/bob/gift.txt"
    packets ge 1 related family=ipv4
    all_valid
}

# irssi wants a terminal; what is typed comes through a pipe that stays open.
irssi_on() {
    local home=$STATE/irc/$2
    rm -rf "$home"
    mkdir -p "$home"
    mkfifo "$home/keys"
    cat >"$home/config" <<CONF
servers = ( { address = "$WAN4"; chatnet = "lab"; port = "6667"; autoconnect = "yes"; } );
chatnets = { lab = { type = "IRC"; nick = "$2"; }; };
settings = {
  core = { real_name = "$2"; user_name = "$2"; nick = "$2"; };
  "irc/dcc" = { dcc_autoget = "yes"; dcc_download_path = "$home"; };
};
CONF
    # shellcheck disable=SC2016 # expanded by the shell that is started
    start "irc-$2" bash -c 'exec <>"$1/keys"; exec ip netns exec "$2" env TERM=vt100 HOME="$1" script -qfc "irssi --home=$1" "$1/log"' \
        irssi "$home" "$1"
}

# --- icmp-error

check_icmp-error() {
    try "a UDP request to a closed port: the ICMP error comes back" is_refused "$WAN4" ipv4
    try "a UDP request to a closed port, IPv6" is_refused "$WAN6" ipv6
}

is_refused() {
    mark
    in_lan timeout 10 "$PYTHON" "$LIB/probe.py" refused "$1" 4567
    packets eq 1 new "family=$2"
    packets eq 1 related "family=$2"
    all_valid
}

# --- unsolicited

check_unsolicited() {
    try "a connection from the wan that nobody asked for is blocked" is_blocked "http://$LAN4/"
    try "a connection from the wan that nobody asked for, IPv6" is_blocked "http://[$LAN6]/"
}

is_blocked() {
    mark
    refuses in_wan curl -sS --connect-timeout 1 --max-time 2 "$1"
    packets ge 1 new
    grew ge 1 drops_total
    grew eq 0 rule_packets_total chain=forward "rule=$RULE_OUT"
    packets eq 0 established
}

# --- forged packets

check_mid-stream() {
    try "a segment from the middle of nowhere, lan to wan: NEW, passes" picked_up "$LAN4" "$WAN4" ipv4
    try "the same, IPv6" picked_up "$LAN6" "$WAN6" ipv6
    try "the same from the wan: NEW, blocked" not_picked_up "$WAN4" "$LAN4" ipv4
    try "the same from the wan, IPv6" not_picked_up "$WAN6" "$LAN6" ipv6
}

picked_up() {
    mark
    arrives lan wan mid-stream "$1" "$2"
    packets eq 1 new "family=$3"
    rule 1 "$RULE_OUT"
}

not_picked_up() {
    mark
    never_arrives wan lan mid-stream "$1" "$2"
    packets eq 1 new "family=$3"
    packets eq 0 established
}

check_checksum() {
    try "a TCP segment with a wrong checksum: INVALID, dropped" is_invalid lan wan bad-tcp "$LAN4" "$WAN4" tcp_checksum
    try "a UDP datagram with a wrong checksum" is_invalid lan wan bad-udp "$LAN4" "$WAN4" udp_checksum
    try "a TCP segment with a wrong checksum, IPv6" is_invalid lan wan bad-tcp "$LAN6" "$WAN6" tcp_checksum
    try "a UDP datagram with a wrong checksum, IPv6" is_invalid lan wan bad-udp "$LAN6" "$WAN6" udp_checksum
}

check_stray-error() {
    try "an ICMP error about nothing: INVALID, dropped" is_invalid wan lan stray-error "$WAN4" "$LAN4" icmp_no_flow
    try "an ICMP error about nothing, IPv6" is_invalid wan lan stray-error "$WAN6" "$LAN6" icmp_no_flow
}

is_invalid() {
    mark
    never_arrives "$1" "$2" "$3" "$4" "$5"
    packets eq 1 invalid
    invalid 1 "$6"
    rule 1 "$RULE_BAD"
}

# forged FROM TO KIND SOURCE DESTINATION SECONDS: whether it got through; 0 it did, 3 it did not.
forged() {
    local from=in_$1 to=in_$2 marker=flowgate-$RANDOM$RANDOM listener seen=0
    rm -f "$STATE/listening"
    "$to" timeout 30 "$PYTHON" "$LIB/probe.py" listen "$marker" "$6" "$STATE/listening" &
    listener=$!
    wait_for 15 test -e "$STATE/listening"
    "$from" timeout 15 "$PYTHON" "$LIB/probe.py" send "$3" "$4" "$5" "$marker"
    wait "$listener" || seen=$?
    return "$seen"
}

arrives() { forged "$@" 10; }

never_arrives() {
    local seen=0
    forged "$@" 0.7 || seen=$?
    ((seen == 3)) || { say "it went through ($seen)"; return 1; }
}
