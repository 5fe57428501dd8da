"""The kernel as the reference: packets go in by raw sockets, each one's state comes back by the netlink log.

Three network namespaces' worth of wiring in two: a router with the ports `left` and `right`, and a namespace that
holds their other ends, where nothing answers. A packet is handled to its end on the sender's core before the
next one is taken up, and the log keeps that order, so it reads, packet by packet:

    I   it came in (netdev ingress hook: before IP input may refuse it, before defragmentation)
    N E R V U, o or r   its state and direction (prerouting, right after tracking); mark: the entry's status bits
    T   mark: milliseconds left on the entry's timer
    O0 O1   something went out of that port (netdev egress hook), but not what the router says for itself

What comes between two I belongs to the first. The I shows the first octets, and they must be those sent.
"""

import ctypes
import fcntl
import os
import random
import socket
import struct
import subprocess
import time

PORTS = ("left", "right")
GROUP = 7
SHOWN = 64  # octets of a packet the log repeats
PATIENCE = 30  # seconds, for what a busy machine does late
# Helpers and the ports they are attached to.
HELPERS = {"ftp": ("tcp", 21), "tftp": ("udp", 69), "irc": ("tcp", 6667), "sip": ("udp", 5060), "sip-tcp": ("tcp", 5060),
           "pptp": ("tcp", 1723), "amanda": ("udp", 10080), "sane": ("tcp", 6566)}
STATES = {"N": "NEW", "E": "ESTABLISHED", "R": "RELATED", "V": "INVALID", "U": "UNTRACKED"}
CONFIRMED, DYING = 1 << 3, 1 << 9

RULES = """
table netdev door {{
  chain left_in {{
    type filter hook ingress device "left" priority 0
    log prefix "I" group {group} snaplen {shown}
  }}
  chain right_in {{
    type filter hook ingress device "right" priority 0
    log prefix "I" group {group} snaplen {shown}
  }}
  chain left_out {{
    type filter hook egress device "left" priority 0
    ip6 daddr ff00::/8 accept
    ip6 saddr {{ fd01::1, fd02::1, fd77:1::1, fd77:2::1 }} accept
    ip saddr {{ 10.1.0.1, 10.2.0.1, 10.77.1.1, 10.77.2.1 }} accept
    log prefix "O0" group {group} snaplen 1
  }}
  chain right_out {{
    type filter hook egress device "right" priority 0
    ip6 daddr ff00::/8 accept
    ip6 saddr {{ fd01::1, fd02::1, fd77:1::1, fd77:2::1 }} accept
    ip saddr {{ 10.1.0.1, 10.2.0.1, 10.77.1.1, 10.77.2.1 }} accept
    log prefix "O1" group {group} snaplen 1
  }}
}}
table inet referee {{
  {helper}
  chain zone {{
    type filter hook prerouting priority -450
    {zone}
  }}
  chain raw {{
    type filter hook prerouting priority -300
    {raw}
  }}
  chain port {{
    type filter hook prerouting priority -152
  }}
  chain attach {{
    type filter hook prerouting priority -151
    {attach}
  }}
  chain status {{
    type filter hook prerouting priority -150
  }}
  chain state {{
    type filter hook prerouting priority -149
    ct state new ct direction original log prefix "No" group {group} snaplen 1
    ct state established ct direction original log prefix "Eo" group {group} snaplen 1
    ct state established ct direction reply log prefix "Er" group {group} snaplen 1
    ct state related ct direction original log prefix "Ro" group {group} snaplen 1
    ct state related ct direction reply log prefix "Rr" group {group} snaplen 1
    ct state invalid log prefix "V" group {group} snaplen 1
    ct state untracked log prefix "U" group {group} snaplen 1
  }}
  chain left_time {{
    type filter hook prerouting priority -148
  }}
  chain report {{
    type filter hook prerouting priority -147
    ct state new,established,related log prefix "T" group {group} snaplen 1
    meta mark set 0
  }}
}}
"""


class Observation:
    """What the kernel did with one packet."""

    __slots__ = ("micros", "state", "direction", "bits", "left", "forwarded")

    def __init__(self, micros):
        self.micros = micros  # when it was sent
        self.state = "NONE"  # NONE: it never came to tracking
        self.direction = None
        self.bits = None  # the entry's status bits
        self.left = None  # milliseconds until it expires; None while it is not in the table
        self.forwarded = False

    def answer(self):
        return self.state + ("" if self.forwarded else " dropped")


class Broken(Exception):
    """The kernel could not be asked, or its answers do not add up."""


def sh(command, **more):
    done = subprocess.run(command, shell=True, capture_output=True, text=True, **more)
    if done.returncode:
        raise Broken(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


_libc = ctypes.CDLL(None, use_errno=True)


class inside:
    """Within this block the thread is in the named network namespace: sockets made there stay there."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._go(f"/run/netns/{self.name}")

    def _go(self, path):
        fd = os.open(path, os.O_RDONLY) if isinstance(path, str) else path
        if _libc.setns(fd, 0x40000000):
            raise Broken(f"setns: {os.strerror(ctypes.get_errno())}")
        os.close(fd)

    def __exit__(self, *_):
        self._go(self.home)


def attr(kind, data):
    data = bytes(data)
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind, flags, family, resource, attrs, seq=1):
    body = struct.pack("=BBH", family, 0, socket.htons(resource)) + attrs
    return struct.pack("=IHHII", 16 + len(body), kind, flags, seq, 0) + body


def acknowledged(sock, wanted):
    """Waits for `wanted` acknowledgements; raises on an error."""
    while wanted:
        data = sock.recv(65536)
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == 2:
                (code,) = struct.unpack_from("=i", data, at + 16)
                if code:
                    raise Broken(f"netlink: {os.strerror(-code)}")
                wanted -= 1
            at += (length + 3) & ~3


def netfilter_socket():
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)


def mark_from_ct(chain, key, direction=None):
    """Appends the rule `mark = ct KEY` to a chain. nft's own types forbid it for these keys; the kernel does not.

    Keys: 2 status, 5 expiration in milliseconds, 12 destination port in network order (NFT_CT_*).
    """
    nested = 0x8000

    def expression(name, data):
        return attr(1 | nested, attr(1, name + b"\0") + attr(2 | nested, data))

    be32 = struct.Struct(">I").pack
    way = b"" if direction is None else attr(3, bytes((direction,)))
    load = expression(b"ct", attr(2, be32(key)) + attr(1, be32(8)) + way)  # into register 32 bits 00
    save = expression(b"meta", attr(2, be32(3)) + attr(3, be32(8)))  # NFT_META_MARK from it
    rule = attr(1, b"referee\0") + attr(2, chain + b"\0") + attr(4 | nested, load + save)
    with netfilter_socket() as sock:
        sock.bind((0, 0))
        inet, create, append, ack, request = 1, 0x400, 0x800, 4, 1
        sock.send(
            message(0x10, request, 0, 10, b"", 1)
            + message(10 << 8 | 6, request | create | append | ack, inet, 0, rule, 2)
            + message(0x11, request, 0, 10, b"", 3)
        )
        acknowledged(sock, 1)


class Options:
    """Options of helpers, which hold for the whole machine; only while no other run is under way."""

    def __init__(self, options):
        self.wanted = {f"/sys/module/nf_conntrack_{name}/parameters/{'sip_' if name == 'sip' else ''}{option}": value
                       for name, values in options.items() for option, value in values.items()}
        self.before = {}

    def __enter__(self):
        os.makedirs("/run/lock", exist_ok=True)
        self.lock = open("/run/lock/flowgate-referee", "w")
        # Through one door, lest who wants it alone wait for ever.
        with open("/run/lock/flowgate-referee-door", "w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(self.lock, fcntl.LOCK_EX if self.wanted else fcntl.LOCK_SH)
        for path, value in self.wanted.items():
            self.before[path] = open(path).read()
            self._write(path, str(value))

    @staticmethod
    def _write(path, value):
        with open(path, "w") as out:
            out.write(value)

    def __exit__(self, *_):
        for path, value in self.before.items():
            self._write(path, value)
        self.lock.close()


class Built:
    """A context that is built whole, or taken away again."""

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self


class Kernel(Built):
    """A router of the kernel's. Use as a context; one run each, so that nothing is left over from another."""

    serial = 0

    def __init__(self, setup):
        Kernel.serial += 1
        self.name = f"fgref-{os.getpid()}-{Kernel.serial}"
        self.hosts = self.name + "-h"
        self.setup = setup
        self.sockets = []
        self.options = Options(setup.options)

    def __enter__(self):
        self.options.__enter__()
        return super().__enter__()

    def __exit__(self, *_):
        for sock in self.sockets:
            sock.close()
        for name in (self.name, self.hosts):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        self.options.__exit__()

    def _build(self):
        for name in (self.name, self.hosts):
            sh(f"ip netns add {name}")
        settings = {
            "ipv4.ip_forward": 1,
            "ipv4.conf.all.rp_filter": 0,
            "ipv4.conf.default.rp_filter": 0,
            "ipv6.conf.default.addr_gen_mode": 1,
            "ipv6.conf.default.accept_dad": 0,
            "ipv6.conf.all.forwarding": 1,
            "ipv6.conf.default.accept_ra": 0,
            **self.setup.sysctls,
        }
        # The first address family's rules load what registers the sysctls of the other.
        batch = ["link add left address 02:00:00:00:00:01 type veth peer name peer0 netns " + self.hosts,
                 "link add right address 02:00:00:00:00:02 type veth peer name peer1 netns " + self.hosts]
        for n, port in ((1, "left"), (2, "right")):
            batch += [
                f"address add 10.{n}.0.1/24 dev {port}",
                f"address add fd0{n}::1/64 dev {port} nodad",
                f"link set {port} up",
                f"neighbour replace 10.{n}.0.2 lladdr 02:00:00:00:01:0{n} dev {port} nud permanent",
                f"neighbour replace fd0{n}::2 lladdr 02:00:00:00:01:0{n} dev {port} nud permanent",
                # The lab's addresses, for its captures.
                f"address add 10.77.{n}.1/24 dev {port}",
                f"address add fd77:{n}::1/64 dev {port} nodad",
                f"neighbour replace 10.77.{n}.2 lladdr 02:00:00:00:01:0{n} dev {port} nud permanent",
                f"neighbour replace fd77:{n}::2 lladdr 02:00:00:00:01:0{n} dev {port} nud permanent",
                f"route add 10.{n}.0.0/16 via 10.{n}.0.2",
                f"-6 route add fd0{n}::/32 via fd0{n}::2",
            ]
        with inside(self.hosts):
            sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        with inside(self.name):
            first = {k: v for k, v in settings.items() if not k.startswith("netfilter.")}
            sh("sysctl -qw " + " ".join(f"net.{k}={v}" for k, v in first.items()))
            families = [line.replace("-6 ", "") for line in batch]
            sh("ip -batch -", input="\n".join(families) + "\n")
            sh("ip link set lo up")
            sh("nft -f -", input=self._rules())
            mark_from_ct(b"port", 12, 0)
            mark_from_ct(b"status", 2)
            mark_from_ct(b"left_time", 5)
            for name, value in self.setup.sysctls.items():
                sh(f"sysctl -qw net.{name}={value}")
            if self.setup.full:
                import full
                with netfilter_socket() as sock:
                    room = int(open("/proc/sys/net/netfilter/nf_conntrack_max").read())
                    full.fill(sock, self.setup.full, room)
                if int(open("/proc/sys/net/netfilter/nf_conntrack_count").read()) != room:
                    raise Broken("the table could not be filled")
            self._listen()
        with inside(self.hosts):
            sh("ip link set peer0 up; ip link set peer1 up")
            sh("nft -f -", input="".join(
                f"table netdev t{n} {{\n chain c {{\n type filter hook ingress device \"peer{n}\" priority 0\n drop\n }}\n}}\n"
                for n in (0, 1)))
            self.peers = []
            for n in (0, 1):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                sock.bind((f"peer{n}", 0))
                self.peers.append(sock)
                self.sockets.append(sock)
        # A carrier that has just come up still drops for a moment.
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with inside(self.name):
                if sh("ip -o link show").count("state UP") == 2:
                    return
            time.sleep(0.01)
        raise Broken("the links do not come up")

    def _rules(self):
        helper, attach = [], []
        for name in self.setup.helpers:
            protocol, port = HELPERS[name]
            helper.append(f'ct helper {name} {{\n type "{name.partition("-")[0]}" protocol {protocol}\n }}')
            # By the connection's port, for `tcp dport` does not look behind an authentication header.
            attach.append(f'meta mark {socket.htons(port)} ct original protocol {protocol} ct helper set "{name}"')
        raw = []
        for what in self.setup.notrack:
            protocol, port = what.split("/")
            raw.append(f"{protocol} dport {port} notrack")
        zone = []
        for port, (number, direction) in self.setup.zones.items():
            way = "" if direction == "both" else direction
            zone.append(f"iif {port} ct {way} zone set {number}")
        return RULES.format(group=GROUP, shown=SHOWN, helper="\n  ".join(helper), attach="\n    ".join(attach),
                            raw="\n    ".join(raw), zone="\n    ".join(zone))

    def _listen(self):
        log = netfilter_socket()
        log.bind((0, 0))
        log.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        be32 = struct.Struct(">I").pack
        config = attr(1, b"\1")  # bind the group
        settings = attr(2, be32(SHOWN) + b"\2\0") + attr(4, be32(1)) + attr(5, be32(40)) + attr(6, b"\0\1")
        for attrs in (config, settings):
            log.send(message(4 << 8 | 1, 1 | 4, 0, GROUP, attrs))
            acknowledged(log, 1)
        log.setblocking(False)
        self.log = log
        self.reader = Reader()
        self.sockets.append(log)

    def run(self, packets):
        """Sends (port, planned microseconds, frame), in that order; an Observation for each."""
        seen = []
        tail = b""
        home = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {random.choice(sorted(home))})
        send = [sock.send for sock in self.peers]
        clock = time.monotonic_ns
        try:
            start = clock()
            since = 0
            for port, planned, frame in packets:
                while (ahead := planned - (clock() - start) // 1000) > 0:
                    if ahead > 2000:
                        self._drain(seen)
                        time.sleep(min(ahead, 20000) / 1e6)
                observation = Observation((clock() - start) // 1000)
                send[port](frame)
                seen.append((observation, port, frame))
                since += 1
                if since >= 100:
                    since = 0
                    self._drain(seen)
            deadline = time.monotonic() + PATIENCE
            while self.reader.arrived < len(packets) and time.monotonic() < deadline:
                time.sleep(0.005)
                self._drain(seen)
            time.sleep(0.03)
            self._drain(seen)
        finally:
            os.sched_setaffinity(0, home)
        if self.reader.arrived != len(packets):
            raise Broken(f"{len(packets)} packets were sent, {self.reader.arrived} arrived")
        return [observation for observation, _, _ in seen]

    def _drain(self, seen):
        while True:
            try:
                data = self.log.recv(1 << 20)
            except BlockingIOError:
                return
            self.reader.read(data, seen)


class Reader:
    """Makes observations of the log's messages."""

    def __init__(self):
        self.arrived = 0
        self.seq = 0

    def read(self, data, seen):
        at, end = 0, len(data)
        header, attribute = struct.Struct("=IH").unpack_from, struct.Struct("=HH").unpack_from
        while at + 20 <= end:
            length, kind = header(data, at)
            if kind == 4 << 8:
                mark, prefix, payload = 0, b"", b""
                pos, stop = at + 20, at + length
                while pos + 4 <= stop:
                    size, what = attribute(data, pos)
                    if what == 10:
                        prefix = data[pos + 4:pos + size - 1]
                    elif what == 2:
                        mark = int.from_bytes(data[pos + 4:pos + 8], "big")
                    elif what == 9:
                        payload = data[pos + 4:pos + size]
                    elif what == 12:
                        seq = int.from_bytes(data[pos + 4:pos + 8], "big")
                        if seq != self.seq:
                            raise Broken(f"the log lost {seq - self.seq} messages")
                        self.seq += 1
                    pos += (size + 3) & ~3
                self._take(prefix.decode(), mark, payload, seen)
            at += (length + 3) & ~3

    def _take(self, prefix, mark, payload, seen):
        if prefix == "I":
            if self.arrived >= len(seen):
                raise Broken("a packet arrived that was not sent")
            frame = seen[self.arrived][2]
            self.arrived += 1
            if payload != frame[14:14 + len(payload)]:
                raise Broken(f"packet {self.arrived} is {frame[14:].hex()}, but {payload.hex()} arrived")
            return
        if not self.arrived:
            return
        observation, port, _ = seen[self.arrived - 1]
        if prefix[0] == "O":
            observation.forwarded |= int(prefix[1]) != port
        elif prefix == "T":
            observation.left = mark if observation.bits & CONFIRMED else None
        else:
            observation.state = STATES[prefix[0]]
            observation.direction = {"o": "original", "r": "reply"}.get(prefix[1:])
            observation.bits = mark


def sweep():
    """Removes what crashed runs left behind."""
    for line in sh("ip netns list").splitlines():
        name = line.split()[0]
        if name.startswith("fgref-") and not os.path.exists(f"/proc/{name.split('-')[1]}"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
