# shellcheck shell=bash
# The servers that the hosts on either side run. Sourced after topology.sh.

# The one big file that is fetched and compared, in octets.
PAYLOAD_SIZE=$((16 * 1024 * 1024))

start_services() {
    mkdir -p "$STATE/www" "$STATE/empty"
    # vsftpd serves as another user.
    chmod 755 /run/flowgate-lab "$STATE" "$STATE/www" "$STATE/empty"
    head -c "$PAYLOAD_SIZE" /dev/urandom >"$STATE/www/payload.bin"
    printf 'flowgate lab\n' >"$STATE/www/hello.txt"
    sha256sum "$STATE/www/payload.bin" | awk '{ print $1 }' >"$STATE/payload.sha256"
    chmod 644 "$STATE/www"/*
    write_vsftpd_conf

    start http-wan ip netns exec "$NS_WAN" "$PYTHON" -m http.server --bind :: --directory "$STATE/www" 80
    start http-lan ip netns exec "$NS_LAN" "$PYTHON" -m http.server --bind :: --directory "$STATE/www" 80
    # What vsftpd has to complain about it writes to its standard input.
    start ftp-wan bash -c 'exec "$@" 0>&1' vsftpd ip netns exec "$NS_WAN" vsftpd "$STATE/vsftpd.conf"
    start iperf-wan ip netns exec "$NS_WAN" iperf3 --server
    mkdir -p "$STATE/tftp"
    seq 4000 >"$STATE/tftp/notes.txt"
    : >"$STATE/tftp/upload.txt"
    chmod 755 "$STATE/tftp"
    chmod 644 "$STATE/tftp/notes.txt"
    chmod 666 "$STATE/tftp/upload.txt"
    mkdir -p "$STATE/irc"
    seq 300 >"$STATE/irc/gift.txt"
    cat >"$STATE/irc/ngircd.conf" <<CONF
[Global]
Name = irc.lab
Info = lab
Listen = $WAN4
Ports = 6667
[Options]
DNS = no
Ident = no
PAM = no
CONF
    start irc-wan ip netns exec "$NS_WAN" ngircd --nodaemon --config "$STATE/irc/ngircd.conf"
    local host
    for host in "$WAN4" "[$WAN6]"; do
        start "tftp-wan-${#host}" ip netns exec "$NS_WAN" in.tftpd -L -a "$host:69" -u nobody -s "$STATE/tftp"
    done
    local port
    for port in 80 21 5201 6667; do
        wait_for 30 listens "$NS_WAN" "$port" || die "nothing listens on port $port of the wan host; see $LOGS"
    done
    wait_for 30 listens_udp "$NS_WAN" 69 || die "nothing listens on UDP port 69 of the wan host; see $LOGS"
    wait_for 30 listens "$NS_LAN" 80 || die "nothing listens on port 80 of the lan host; see $LOGS"
}

listens() { [[ -n $(ip netns exec "$1" ss -Hltn "sport = :$2") ]]; }

listens_udp() { [[ -n $(ip netns exec "$1" ss -Hlun "sport = :$2") ]]; }

# Anonymous, read-only, all four ways to open a data connection, nothing outside our own folder.
write_vsftpd_conf() {
    cat >"$STATE/vsftpd.conf" <<CONF
listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
write_enable=NO
anon_root=$STATE/www
secure_chroot_dir=$STATE/empty
ftp_username=ftp
nopriv_user=nobody
pasv_enable=YES
port_enable=YES
connect_from_port_20=YES
tcp_wrappers=NO
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
CONF
    chmod 600 "$STATE/vsftpd.conf"
}
