"""Sessions of real programs between two hosts, taken where they enter the router in between.

The kernel forwards meanwhile. Each session has addresses of its own, those of a case's hosts, so that all of them can
be played side by side afterwards. What was taken is kept with the kernel's answers (answers/sessions-*).
"""

import contextlib
import glob
import gzip
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import packets as p
from kernel import Broken, Built, inside, sh
from script import Case, Hosts, Setup

FIRST = 24_000  # the number of the first session's hosts
SETUP = Setup(helpers=["ftp", "tftp", "irc", "sip", "pptp"])
# No timeout is as short as the pauses that programs make, so they need not last as long again.
PAUSE = 10_000


class Wire(Built):
    """Two hosts and the router between them, with the addresses of the referee's router."""

    def __init__(self, hosts):
        self.hosts = hosts
        name = f"fgref-{os.getpid()}"
        self.client, self.router, self.server = name + "-c", name + "-m", name + "-s"
        self.running = []
        self.folder = tempfile.mkdtemp(prefix="fgref-")
        os.chmod(self.folder, 0o755)

    def __exit__(self, *_):
        for one in self.running:
            stop(one)
        for name in (self.client, self.router, self.server):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _build(self):
        for name in (self.client, self.router, self.server):
            sh(f"ip netns add {name}")
        with inside(self.router):
            sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0")
        for n, (port, side) in enumerate((("left", self.client), ("right", self.server)), 1):
            low4, low6 = [socket.inet_ntop(pair[n - 1][0], pair[n - 1][1]) for pair in self._pairs()]
            with inside(self.router):
                sh(f"ip link add {port} address {p.ROUTER[n - 1].hex(':')} type veth peer name eth0 address "
                   f"{p.HOST[n - 1].hex(':')} netns {side}")
                # Frames as on a wire: full checksums, no super-frames.
                sh(f"ethtool -K {port} tx off tso off gso off gro off")
                sh(f"ip address add 10.{n}.0.1/24 dev {port}; ip address add fd0{n}::1/64 dev {port} nodad; ip link set {port} up")
                sh(f"ip route add 10.{n}.0.0/16 via 10.{n}.0.2; ip -6 route add fd0{n}::/32 via fd0{n}::2")
            with inside(side):
                sh("ethtool -K eth0 tx off tso off gso off gro off; ip link set lo up")
                sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.accept_dad=0")
                sh(f"ip address add 10.{n}.0.2/24 dev eth0; ip address add fd0{n}::2/64 dev eth0 nodad; ip link set eth0 up")
                sh(f"ip address add {low4}/32 dev eth0; ip address add {low6}/128 dev eth0 nodad preferred_lft 0")
                sh(f"ip route add default via 10.{n}.0.1 src {low4}; ip -6 route add default via fd0{n}::1 src {low6}")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with inside(self.router):
                if sh("ip -o link show").count("state UP") == 2:
                    break
            time.sleep(0.02)
        self.here("ping -q -c 1 -W 2 10.2.0.2")
        self.here("ping -q -c 1 -W 2 fd02::2")

    def _pairs(self):
        v4, v6 = self.hosts
        return [[(socket.AF_INET, one) for one in v4.pair], [(socket.AF_INET6, one) for one in v6.pair]]

    @property
    def c4(self):
        return socket.inet_ntop(socket.AF_INET, self.hosts[0].pair[0])

    @property
    def s4(self):
        return socket.inet_ntop(socket.AF_INET, self.hosts[0].pair[1])

    @property
    def c6(self):
        return socket.inet_ntop(socket.AF_INET6, self.hosts[1].pair[0])

    @property
    def s6(self):
        return socket.inet_ntop(socket.AF_INET6, self.hosts[1].pair[1])

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(content if isinstance(content, bytes) else content.encode())
            os.chmod(path, 0o644)
        return path

    def start(self, command, namespace=None, **more):
        """A program that goes on, on the server unless said otherwise."""
        log = open(self.path(f"log-{len(self.running)}"), "wb")
        one = subprocess.Popen(["ip", "netns", "exec", namespace or self.server, "bash", "-c", "exec " + command],
                               stdin=more.pop("stdin", subprocess.DEVNULL), stdout=more.pop("stdout", log), stderr=log,
                               start_new_session=True, **more)
        self.running.append(one)
        return one

    def here(self, command, fails=False, namespace=None):
        """A command on the client, to its end."""
        done = subprocess.run(["timeout", "30", "ip", "netns", "exec", namespace or self.client, "bash", "-c", command],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self.folder)
        if (done.returncode != 0) != fails:
            raise Broken(f"{command}: exit status {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.stdout

    def there(self, command, fails=False):
        return self.here(command, fails, self.server)

    def listens(self, *ports, udp=False, namespace=None):
        deadline = time.monotonic() + 20
        for port in ports:
            while not subprocess.run(["ip", "netns", "exec", namespace or self.server, "ss", "-Hl" + ("un" if udp else "tn"), f"sport = :{port}"],
                                     capture_output=True, text=True).stdout.strip():
                if time.monotonic() > deadline:
                    raise Broken(f"nothing listens on port {port}")
                time.sleep(0.05)

    def logs(self):
        """The ends of what the programs said."""
        names = sorted(name for name in os.listdir(self.folder) if name.startswith("log-"))
        return "".join(open(os.path.join(self.folder, name), errors="replace").read()[-600:] for name in names)


def stop(one):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(one.pid, 15)
    try:
        one.wait(3)
    except subprocess.TimeoutExpired:
        os.killpg(one.pid, 9)
        one.wait()


class Capture:
    """What comes in by the router's ports, as events of a case."""

    def __init__(self, wire):
        self.wire, self.events, self.done = wire, [], False

    def __enter__(self):
        with inside(self.wire.router):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
            self.sock.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
            self.sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)
            self.ports = {"left": 0, "right": 1}
        self.sock.settimeout(0.1)
        self.thread = threading.Thread(target=self._take)
        self.thread.start()
        return self

    def _take(self):
        start = None
        while True:
            try:
                frame, (port, kind, *_) = self.sock.recvfrom(70000)
            except TimeoutError:
                if self.done:
                    return
                continue
            now = time.monotonic_ns()
            start = start or now
            # What the links speak among themselves is left out.
            if kind in (0x0800, 0x86DD) and not frame[0] & 1 and not self._is_neighbour_talk(frame):
                self.events.append((self.ports[port], (now - start) // 1000, frame))

    @staticmethod
    def _is_neighbour_talk(frame):
        return frame[12:14] == b"\x86\xdd" and frame[20] == 58 and 133 <= frame[54] <= 137

    def __exit__(self, *_):
        time.sleep(0.2)
        self.done = True
        self.thread.join()
        received, dropped = struct.unpack("II", self.sock.getsockopt(263, 6, 8))  # PACKET_STATISTICS
        self.sock.close()
        if dropped:
            raise Broken(f"{dropped} of {received} packets were not taken")
        if any(len(frame) > 1514 for _, _, frame in self.events):
            raise Broken("a frame is longer than the wire's")


# The sessions. Each takes a wire, starts its servers before `take()`, and talks within it.

def http(w, take):
    w.path("www/page.txt", "".join(f"{n}\n" for n in range(1800)))
    w.path("www/hello.txt", "hello\n")
    w.start(f"{sys.executable} -m http.server --bind :: --protocol HTTP/1.1 --directory {w.folder}/www 80")
    w.listens(80)
    with take():
        for host in (w.s4, f"[{w.s6}]"):
            curl = "curl -sSf -o /dev/null --max-time 10 --max-redirs 0"
            w.here(f"{curl} http://{host}/page.txt")
            # One connection kept, three at once, one given up in the middle, one that nobody answers.
            w.here(f"{curl} http://{host}/hello.txt -o /dev/null http://{host}/page.txt")
            w.here(f"{curl} -Z http://{host}/page.txt -o /dev/null http://{host}/hello.txt -o /dev/null http://{host}/page.txt")
            w.here(f"curl -sS --max-time 10 http://{host}/page.txt | head -c 10; true")
            w.here(f"{curl} http://{host}/missing", fails=True)
            w.here(f"{curl} http://{host}:81/", fails=True)
        w.here("curl -sS --connect-timeout 2.5 http://10.2.250.9/", fails=True)


def ssh(w, take):
    for name in ("host", "user"):
        sh(f"ssh-keygen -q -t ed25519 -N '' -f {w.path(name)}")
    shutil.copy(w.path("user.pub"), w.path("authorized"))
    os.makedirs("/run/sshd", exist_ok=True)
    w.path("sshd_config", f"HostKey {w.path('host')}\nAuthorizedKeysFile {w.path('authorized')}\nPidFile none\nStrictModes no\n"
           "PermitRootLogin yes\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n")
    w.path("data", os.urandom(20_000))
    w.start(f"/usr/sbin/sshd -D -e -f {w.path('sshd_config')}")
    w.listens(22)
    options = f"-i {w.path('user')} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    with take():
        w.here(f"scp {options} {w.path('data')} root@{w.s4}:{w.path('copy')}")
        w.here(f"scp {options} 'root@[{w.s6}]:{w.path('data')}' {w.path('copy')}")
        w.here(f"ssh {options} root@{w.s4} 'echo one; sleep 0.3; echo two'")


def iperf(w, take):
    w.start("iperf3 --server")
    w.listens(5201)
    with take():
        w.here(f"until iperf3 -c {w.s4} -n 100K; do sleep 0.3; done")  # it may still be busy
        w.here(f"until iperf3 -c {w.s6} -n 100K -P 2 -R; do sleep 0.3; done")
        w.here(f"until iperf3 -c {w.s4} -u -b 2M -n 40K -l 1000; do sleep 0.3; done")
        w.here(f"until iperf3 -c {w.s6} -u -b 2M -n 40K -l 1000 -R; do sleep 0.3; done")


def ftp(w, take):
    w.path("www/page.txt", "".join(f"{n}\n" for n in range(1800)))
    w.path("www/hello.txt", "hello\n")
    os.makedirs(w.path("www/in"))
    os.makedirs(w.path("empty"))
    os.chmod(w.path("www/in"), 0o777)
    w.path("vsftpd.conf", "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\nlocal_enable=NO\n"
           f"write_enable=YES\nanon_upload_enable=YES\nanon_umask=022\nanon_root={w.path('www')}\nsecure_chroot_dir={w.path('empty')}\n"
           "ftp_username=ftp\nnopriv_user=nobody\nseccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\nconnect_from_port_20=YES\n")
    os.chmod(w.path("vsftpd.conf"), 0o600)
    w.start(f"vsftpd {w.path('vsftpd.conf')} 0>&1")
    w.listens(21)
    lftp = "set net:max-retries 1; set net:timeout 10; set ftp:ssl-allow no; set ftp:passive-mode {}; set ftp:prefer-epsv {}; "
    with take():
        w.here(f"curl -sSf -o /dev/null --max-time 10 --disable-epsv ftp://{w.s4}/page.txt")
        w.here(f"curl -sSf -o /dev/null --max-time 10 ftp://[{w.s6}]/hello.txt -o /dev/null ftp://[{w.s6}]/page.txt")
        w.here(f"curl -sSf -o /dev/null --max-time 10 --disable-eprt --ftp-port - ftp://{w.s4}/hello.txt")
        w.here(f"curl -sSf -o /dev/null --max-time 10 --ftp-port - ftp://[{w.s6}]/hello.txt")
        w.here(f"curl -sSf --max-time 10 -T {w.path('www/hello.txt')} ftp://{w.s4}/in/a.txt")
        w.here(f"lftp -c '{lftp.format('yes', 'no')} open {w.s4}; ls; get -O {w.folder} hello.txt; put -O in {w.path('www/page.txt')}; ls in'")
        w.here(f"lftp -c '{lftp.format('no', 'no')} open {w.s4}; ls; get -O {w.folder} page.txt; cd in; ls'")


def dns(w, take):
    w.path("dnsmasq.conf", "no-daemon\nno-resolv\nno-hosts\nbind-interfaces\nlog-facility=-\nuser=root\nedns-packet-max=4096\n"
           f"listen-address={w.s4},{w.s6}\naddress=/host.test/192.0.2.7\naddress=/host.test/2001:db8::7\nlocal=/test/\n"
           + "".join(f"txt-record=long.test,{'x' * 250}\n" for _ in range(10)))
    w.start(f"dnsmasq -C {w.path('dnsmasq.conf')}")
    w.listens(53)
    with take():
        for host in (w.s4, w.s6):
            dig = f"dig +tries=1 +time=3 @{host}"
            w.here(f"{dig} host.test A; {dig} host.test AAAA; {dig} none.test; {dig} +tcp host.test A +keepopen host.test AAAA")
            # An answer that comes in fragments; and one cut short, asked for again over TCP.
            w.here(f"{dig} +bufsize=4096 +ignore long.test TXT; {dig} +bufsize=512 long.test TXT")
            w.here(f"{dig} -p 54 host.test", fails=True)


def tftp(w, take):
    w.path("tftp/page.txt", "".join(f"{n}\n" for n in range(800)))
    w.path("tftp/put.txt", "")
    os.chmod(w.path("tftp/put.txt"), 0o666)
    for host in (f"{w.s4}", f"[{w.s6}]"):
        w.start(f"in.tftpd -L -{'6' if ':' in host else '4'} -a {host}:69 -u nobody -s {w.path('tftp')}")
    w.listens(69, udp=True)
    with take():
        for host in (w.s4, f"[{w.s6}]"):
            w.here(f"curl -sSf -o /dev/null --max-time 10 tftp://{host}/page.txt")
            w.here(f"curl -sSf -o /dev/null --max-time 10 --tftp-blksize 1024 tftp://{host}/page.txt")
            w.here(f"curl -sSf --max-time 10 -T {w.path('tftp/page.txt')} tftp://{host}/put.txt")
            w.here(f"curl -sSf -o /dev/null --max-time 10 tftp://{host}/missing", fails=True)


def sip(w, take):
    # Where its scenario with a recording of speech looks for it.
    os.symlink("/usr/share/sip-tester", w.path("pcap"))
    for host in (w.s4, f"[{w.s6}]"):
        w.start(f"sipp -sn uas -rtp_echo -i {host} -mi {host} -p 5060 -nostdin")
    w.listens(5060, udp=True)
    with take():
        w.here(f"sipp -sn uac_pcap -i {w.c4} -mi {w.c4} {w.s4}:5060 -m 1 -nostdin -timeout 20")
        for src, dst in ((w.c4, w.s4), (f"[{w.c6}]", f"[{w.s6}]")):
            w.here(f"sipp -sn uac -i {src} -mi {src} {dst}:5060 -m 2 -r 5 -d 100 -nostdin -timeout 15")


def irc(w, take):
    w.path("ngircd.conf", f"[Global]\nName = irc.test\nInfo = test\nListen = {w.s4},{w.s6}\nPorts = 6667\nServerUID = root\nServerGID = root\n"
           "[Options]\nDNS = no\nIdent = no\nPAM = no\nAllowRemoteOper = no\n")
    w.start(f"ngircd -n -f {w.path('ngircd.conf')}")
    w.listens(6667)
    w.path("gift.txt", "a gift\n" * 300)
    with take():
        chat(w, w.s4)


def chat(w, host):
    """Two irssi, on either side of the router; each offers the other a file."""
    ends = []
    for name, namespace, other in (("alice", w.client, "bob"), ("bob", w.server, "alice")):
        home = w.path(f"irssi-{name}")
        os.makedirs(home)
        w.path(f"irssi-{name}/config", f'servers = ( {{ address = "{host}"; chatnet = "t"; port = "6667"; autoconnect = "yes"; }} );\n'
               f'chatnets = {{ t = {{ type = "IRC"; nick = "{name}"; }}; }};\n'
               f'settings = {{ core = {{ real_name = "{name}"; user_name = "{name}"; nick = "{name}"; }};\n'
               f' "irc/dcc" = {{ dcc_autoget = "yes"; dcc_download_path = "{home}"; dcc_autochat_masks = "*!*@*"; }}; }};\n')
        ends.append(w.start(f"env TERM=vt100 HOME={home} script -qfc 'stty rows 24 cols 80; exec irssi --home={home}' /dev/null",
                            namespace, stdin=subprocess.PIPE))
    alice, bob = ends

    def type_(end, text, pause=1.5):
        end.stdin.write(text.encode() + b"\r")
        end.stdin.flush()
        time.sleep(pause)

    time.sleep(2.5)
    type_(alice, f"/dcc send bob {w.path('gift.txt')}", 2)
    type_(bob, f"/dcc send alice {w.path('gift.txt')}", 2)
    type_(alice, "/dcc chat bob")
    type_(alice, "/msg =bob hello", 0.7)
    type_(alice, "/quit", 0.3)
    type_(bob, "/quit", 0.3)
    for name in ("alice", "bob"):
        if not os.path.exists(w.path(f"irssi-{name}/gift.txt")):
            raise Broken(f"{name} got no file over DCC")


def hdlc(packet):
    """A PPP packet as pppd gives it to a line (RFC 1662): with its check sequence, and escapes."""
    fcs = 0xFFFF
    for octet in packet:
        fcs ^= octet
        for _ in range(8):
            fcs = fcs >> 1 ^ 0x8408 * (fcs & 1)
    packet += (fcs ^ 0xFFFF).to_bytes(2, "little")
    return b"~" + b"".join(bytes((0x7D, o ^ 32)) if o < 32 or o in (0x7D, 0x7E) else bytes((o,)) for o in packet) + b"~"


def pptp(w, take):
    """Real programs for control and GRE; what stands for pppd on either side only sends a few echo requests."""
    echo = w.path("echo", hdlc(bytes.fromhex("ff03c0210901000c0000000001020304")))
    talk = w.path("ppp", f"#!/bin/bash\nfor n in 1 2 3 4 5 6; do cat {echo}; sleep 0.2; done\nexec sleep 5\n")
    os.chmod(talk, 0o755)
    w.path("pptpd.conf", f"ppp {talk}\noption /dev/null\nlocalip 192.0.2.1\nremoteip 192.0.2.10-20\nnoipparam\n")
    w.start(f"pptpd -f -c {w.path('pptpd.conf')} -p {w.path('pptpd.pid')}")
    w.listens(1723)
    with take():
        for _ in range(2):
            line, end = socket.socketpair()
            line.settimeout(5)
            with line, end:
                one = w.start(f"pptp {w.s4} --nolaunchpppd --nohostroute --timeout 1", w.client, stdin=end)
                end.close()
                for _ in range(6):
                    line.send(open(echo, "rb").read())
                    time.sleep(0.2)
                if not line.recv(1000):
                    raise Broken("nothing came through the tunnel")
            one.wait(10)


SESSIONS = {one.__name__: one for one in (http, ssh, iperf, ftp, dns, tftp, sip, irc, pptp)}


def make(name):
    """Lets the programs of a session talk. Gives a case."""
    number = list(SESSIONS).index(name)
    captures = []
    with Wire([Hosts(FIRST + number, v6) for v6 in (False, True)]) as wire:
        def take():
            captures.append(Capture(wire))
            return captures[0]
        try:
            SESSIONS[name](wire, take)
        except (Broken, OSError) as e:
            raise Broken(f"session {name}: {e}\n{wire.logs()}") from e
    events, now, last = [], 0, 0
    for port, micros, frame in captures[0].events:
        now += min(max(micros - last, 1), PAUSE)
        last = micros
        events.append((port, now, frame))
    return Case(f"session/{name}", events, SETUP)


def kept(folder):
    """The sessions whose packets and answers are kept."""
    cases = []
    for path in sorted(glob.glob(os.path.join(folder, "sessions-*.jsonl.gz"))):
        with gzip.open(path, "rt") as lines:
            json.loads(next(lines))
            parts = {}
            for port, micros, frame, name, answer in map(json.loads, lines):
                events, expected = parts.setdefault(name, ([], []))
                events.append((port, micros, bytes.fromhex(frame)))
                expected.append(answer)
        cases += [Case(name, *part[:1], SETUP, part[1]) for name, part in parts.items()]
    return cases
