"""Packets at the edges of what a router forwards: what leaves, the kernel and flowgate must agree on.

States are compared elsewhere; here it is the packets: forwarded ones octet by octet, errors by their addresses, type,
code and pointer or MTU. Between two ports everything is forwarded but what goes to port 99, which is rejected.
"""

import json
import os
import socket
import struct
import subprocess
import time

import packets as p
from kernel import Broken, Built, inside, sh

A, B = "10.0.1.2", "10.0.2.2"
A6, B6 = "fd00:1::2", "fd00:2::2"
ROUTER, ROUTER6 = "10.0.1.1", "fd00:1::1"
STEP = 50_000  # microseconds between two cases, so that what leaves is known by its time

# Cases that src/conntrack/departures.md explains, by the beginning of the row.
KNOWN = {
    "source 10.0.1.255": "Sources that are no host's",
    "source 10.0.2.255": "Sources that are no host's",
    "source fd00:1::1": "Sources that are no host's",
    "source fd00:2::1": "Sources that are no host's",
    "source 169.254.1.1": "Link-local IPv4",
    "destination ::": "Destinations that are no host's",
    "options 860800000001020200": "CIPSO",
    "second fragment 07300000": "Options of later fragments",
    "second fragment 8307040a00020900": "Options of later fragments",
    "hop-by-hop 1e0400000000 without a length": "IPv6 payload length 0",
}


def udp(src, dst, dport=2, bad=False, **more):
    """An IPv4 or IPv6 packet of one octet of UDP."""
    src, dst = p.address(src), p.address(dst)
    return p.ip(src, dst, p.UDP, p.udp(src, dst, 1, dport, b"x", bad=bad), **more)


def behind(dst, headers, inner=None, **more):
    """IPv6 UDP behind extension headers: their numbers, and hexadecimal digits from the third octet on."""
    src, to = p.address(A6), p.address(dst)
    made = []
    for kind, digits in headers:
        body = bytes.fromhex(digits)
        body += bytes((-len(body) - 2) % 8)
        made.append((kind, bytes((0, (len(body) - 6) // 8)) + body))
    proto, payload = inner or (p.UDP, p.udp(src, to, 1, 2, b"x"))
    return p.ip(src, to, proto, payload, extensions=made, **more)


def cases():
    """Names, each with the packets that are sent by the first port."""
    out = []

    def add(name, *packets):
        out.append((name, packets))

    for src in ("10.0.1.2 10.0.1.255 10.0.1.0 10.0.2.2 10.0.2.255 10.0.1.1 10.0.2.1 0.0.0.0 0.1.2.3 127.0.0.1 169.254.1.1 "
                "224.0.0.5 239.1.1.1 240.0.0.1 255.255.255.255 192.0.2.1 100.64.0.1 9.9.9.9").split():
        add(f"source {src}", udp(src, B))
    for dst in ("10.0.2.0 10.0.2.255 10.0.1.255 10.0.1.2 0.0.0.0 0.1.2.3 127.0.0.1 127.5.5.5 169.254.1.1 224.0.0.5 "
                "239.1.1.1 240.0.0.1 255.255.255.255 192.0.2.1 9.9.9.9 10.0.1.1 10.0.2.1 10.8.0.1").split():
        add(f"destination {dst}", udp(A, dst))
    for src in (f"{A6} :: ::1 fe80::5 ff02::1 ff0e::1 ::ffff:10.0.1.2 fec0::1 2001:db8::5 fd00:1::1 fd00:2::1 fd00:2::2 "
                "64:ff9b::1 ::10.0.0.1 2002:a00:1::1").split():
        add(f"source {src}", udp(src, B6))
    for dst in (":: ::1 ff02::1 ff05::2 ff0e::1 ::ffff:10.0.2.2 fec0::1 2001:db8::9 fd00:1:: fd00:2:: fd00:1::1 fd00:1::2 "
                "64:ff9b::1").split():
        add(f"destination {dst}", udp(A6, dst))
    for ttl in (0, 1, 2):
        add(f"ttl {ttl}", udp(A, B, ttl=ttl))
        add(f"hop limit {ttl}", udp(A6, B6, ttl=ttl))
    src, dst = p.address(A), p.address(B)
    add("reserved flag", udp(A, B, flags=4))
    add("don't fragment", udp(A, B, flags=2))
    add("more fragments", udp(A, B, flags=3, ident=77))
    for proto, payload in ((0, b"abc"), (17, b""), (41, bytes(40)), (2, b"\x11\0\xee\xff\0\0\0\0"), (253, b"x")):
        add(f"protocol {proto} {payload.hex()[:8]}", p.ip(src, dst, proto, payload))
        add(f"protocol {proto} {payload.hex()[:8]} to the router", p.ip(src, p.address(ROUTER), proto, payload))
    add("no checksum", p.ip(src, dst, p.UDP, p.udp(src, dst, 5, 6, b"x", zero=True)))
    add("trailing octets", udp(A, B) + bytes(20))
    for bad in (False, True):
        word = "wrong" if bad else "right"
        add(f"rejected, {word} checksum", udp(A, B, 99, bad))
        add(f"rejected, {word} checksum, IPv6", udp(A6, B6, 99, bad))
        add(f"rejected TCP, {word} checksum", p.ip(src, dst, p.TCP, p.tcp(src, dst, 1, 99, "S", 7, bad=bad)))
        add(f"to the router, {word} checksum", udp(A, ROUTER, 2, bad))

    # IPv4 options. Of these, times are not compared.
    for digits in (
        "00112233", "01010101", "01010107", "07000000", "07010000", "07300000", "1e010000", "1e020000", "1e050000",
        "07020000", "07030300", "07030400", "07070300000000", "07070500000000", "0708050000000000", "07070400000000",
        "070b040000000000000000", "070b080101010100000000", "07070801020304", "0707ff00000000",
        "0707040000000007070400000000", "44020000", "44030500", "4408040000000000", "4408050000000000",
        "4408060000000000", "4408090000000000", "440809f000000000", "4408090100000000", "440c05010000000000000000",
        "4408050100000000", "440c05030a00020200000000", "440c05030a00010100000000", "440c05030a0001ff00000000",
        "440c05030001020300000000", "440c05037f00000100000000", "4408050200000000", "44080500000000004408050000000000",
        "83020000", "83070300000000", "83070400000000", "83030400", "8307080a000209", "8307040000000089070400000000",
        "89070400000000", "8307040000000007000000", "94040000", "94030000", "94040001", "820b000000000000000000",
        "88040001", "860800000001020200",
    ):
        add(f"options {digits}", udp(A, B, options=bytes.fromhex(digits)))
    for digits in ("07300000", "83070400000000"):
        for dst in (ROUTER, "10.0.1.255", "10.8.0.1", "10.8.1.1", "10.8.2.1"):
            add(f"options {digits} to {dst}", udp(A, dst, options=bytes.fromhex(digits)))
        add(f"options {digits}, ttl 1", udp(A, B, ttl=1, options=bytes.fromhex(digits)))
    for digits in ("1e040000", "07070400000000", "070f04000000000000000000000000", "440c05000000000000000000", "4408050000000000",
                   "441405010000000000000000000000000000000000", "4414050" + "30a000101000000000a00020100000000",
                   "9404000001070b04000000000000000044080500" + "00000000", "07090400000000000000", "07070800000000"):
        to = p.address(ROUTER)
        add(f"echo {digits}", p.ip(src, to, p.ICMP, p.icmp(src, to, 8, 0, 7, b"abcd"), options=bytes.fromhex(digits)))
    whole = p.udp(src, p.address(B), 7, 8, bytes(40))
    for n, (first, second) in enumerate((("07300000", ""), ("8307040a00020900", "8307040a00020900"), ("", "07300000"),
                                         ("", "8307040a00020900"))):
        halves = [p.fragment(src, p.address(B), p.UDP, whole[a:b], a, a == 0, 100 + n, options=bytes.fromhex(options))
                  for a, b, options in ((0, 24, first), (24, 48, second))]
        add(f"first fragment {first}" if first else f"second fragment {second}", *halves)

    # IPv6 extension headers, on the way and at its end.
    for digits in ("000000000000", "010400000000", "010401000000", "1e0400000000", "5e0400000000", "9e0400000000", "de0400000000",
                   "050200000100", "050100000000", "c20400010000", "c2040000ffff", "0000c2040001", "c20500010000", "1e2000000000",
                   "0000000000000000000000000000", "1e009e000000", "1e00" * 8 + "9e000000", "c91000000000"):
        add(f"hop-by-hop {digits}", behind(B6, [(0, digits)]))
        add(f"hop-by-hop {digits} to the router", behind(ROUTER6, [(0, digits)]))
        add(f"destination options {digits}", behind(B6, [(60, digits)]))
        add(f"destination options {digits} to the router", behind(ROUTER6, [(60, digits)]))
    for digits in ("c20400000010", "c20400010000", "1e0400000000"):
        add(f"hop-by-hop {digits} without a length", behind(B6, [(0, digits)], total=0))
    for kind in (0, 2, 3, 4, 5):
        for left in (0, 1):
            route = [(43, f"{kind:02x}{left:02x}00000000" + p.address(B6).hex())]
            add(f"routing header {kind}/{left}", behind(B6, route))
            add(f"routing header {kind}/{left} to the router", behind(ROUTER6, route))
    add("hop-by-hop in second place", behind(ROUTER6, [(60, "010400000000"), (0, "010400000000")]))
    add("route in second place", behind(ROUTER6, [(60, "010400000000"), (43, "000100000000" + p.address(B6).hex())]))
    add("no next header to the router", behind(ROUTER6, [], (59, b"abcd")))
    add("unknown next header to the router", behind(ROUTER6, [(60, "010400000000")], (253, b"abcd")))
    request = p.icmp(p.address(A6), p.address(ROUTER6), 128, 0, 7, b"abcd")
    add("echo behind options", behind(ROUTER6, [(60, "010400000000")], (p.ICMP6, request)))
    add("short IPv6", udp(A6, B6, total=100))
    add("version 4 as IPv6", b"\x45" + udp(A6, B6)[1:])
    return out


def outline(port, frame):
    """A packet that left, as far as it is compared; nothing of neighbour discovery and the like."""
    kind, ip = frame[12:14], frame[14:]
    if kind == b"\x08\0":
        header, proto, ip = (ip[0] & 15) * 4, ip[9], ip[:int.from_bytes(ip[2:4], "big")]
        own = ip[12:16] in (p.address(ROUTER), p.address("10.0.2.1"))
        ends, options = ip[12:20], without_times(ip[20:header])
    elif kind == b"\x86\xdd":
        header, proto, ip = 40, ip[6], ip[:40 + int.from_bytes(ip[4:6], "big")]
        own = ip[8:24] in map(p.address, (ROUTER6, "fd00:2::1", "fd00:1::", "fd00:2::"))
        ends, options = ip[8:40], b""
        if ip[24] == 0xFF or proto == 58 and (ip[40] in range(133, 138) or ip[40] in (131, 143)):
            return None
    else:
        return None
    l4 = ip[header:]
    if own and (proto, l4[0]) in ((1, 3), (1, 11), (1, 12), (58, 1), (58, 2), (58, 3), (58, 4)):
        return port, "error", ends.hex(), f"{l4[0]}/{l4[1]}", int.from_bytes(l4[4:8], "big")
    if own:
        return port, "answer", ends.hex(), options.hex(), l4[:14].hex() if proto == p.TCP else l4.hex()
    if proto == p.TCP and l4[13] & p.RST:
        l4 = l4[:16]  # The kernel leaves its checksum to the device.
    # All but the checksum of a header with times.
    head = ip[:header] if not options or options == ip[20:header] else ip[:10] + ip[12:20]
    return port, "forwarded", (head + options + l4).hex()


def without_times(options):
    """IPv4 options with zeros for the times in them."""
    out, at = bytearray(options), 0
    while at < len(out) and out[at]:
        if out[at] == 1:
            at += 1
            continue
        size = out[at + 1] if at + 1 < len(out) else 0
        if size < 2:
            break
        if out[at] == 68:
            step = 4 if out[at + 3] & 15 == 0 else 8
            for entry in range(at + 4, at + min(out[at + 2] - 1, size), step):
                out[entry + step - 4:entry + step] = bytes(4)
        at += size
    return bytes(out)


class Router(Built):
    """The kernel between two ports whose other ends are ours."""

    def __init__(self):
        self.name = f"fgref-{os.getpid()}-edges"
        self.hosts = self.name + "-h"

    def __exit__(self, *_):
        for sock in getattr(self, "peers", []):
            sock.close()
        for name in (self.name, self.hosts):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def _build(self):
        sh(f"ip netns add {self.name}; ip netns add {self.hosts}")
        with inside(self.hosts):
            sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        with inside(self.name):
            batch = ["link set lo up"]
            for n, port in ((1, "left"), (2, "right")):
                batch += [f"link add {port} address 02:00:00:00:00:0{n} type veth peer name peer{n - 1} netns {self.hosts}",
                          f"address add 10.0.{n}.1/24 dev {port}", f"address add fd00:{n}::1/64 dev {port} nodad",
                          f"link set {port} up"]
                for host in (f"10.0.{n}.2", f"10.0.{n}.0", f"10.0.{n}.9", f"fd00:{n}::2", f"fd00:{n}::9"):
                    batch.append(f"neighbour replace {host} lladdr 02:00:00:00:01:0{n} dev {port} nud permanent")
            batch += ["route add default via 10.0.2.9", "route add ::/0 via fd00:2::9", "route add blackhole 10.8.0.0/24",
                      "route add unreachable 10.8.1.0/24", "route add prohibit 10.8.2.0/24"]
            sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 "
               "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.icmp_ratelimit=0 "
               "net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=100000 net.ipv6.icmp.ratelimit=0 "
               "net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_ra=0")
            sh("ip -batch -", input="\n".join(batch) + "\n")
            sh("nft -f -", input="table inet edges {\n chain forward {\n type filter hook forward priority 0\n ct state new counter\n"
               " udp dport 99 reject\n tcp dport 99 reject with tcp reset\n }\n}\n")
        self.peers = []
        with inside(self.hosts):
            sh("ip link set peer0 up; ip link set peer1 up")
            for n in (0, 1):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                sock.bind((f"peer{n}", 3))
                sock.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
                sock.setblocking(False)
                self.peers.append(sock)
        deadline = time.monotonic() + 5
        with inside(self.name):
            while sh("ip -o link show").count("state UP") != 2:
                if time.monotonic() > deadline:
                    raise Broken("the links do not come up")
                time.sleep(0.01)
        time.sleep(0.3)

    def ask(self, frames):
        """Sends frames by the first port; outlines of what left because of them."""
        self._arrived()
        for frame in frames:
            self.peers[0].send(frame)
        time.sleep(0.004)
        return self._arrived()

    def _arrived(self):
        out = []
        for port, sock in enumerate(self.peers):
            while True:
                try:
                    frame = sock.recv(4096)
                except BlockingIOError:
                    break
                out.append(outline(port, frame))
        return sorted(filter(None, out))


CONF = """version: 1
ports:
  left: { driver: memory, mac: "02:00:00:00:00:01", addresses: [10.0.1.1/24, "fd00:1::1/64"] }
  right: { driver: memory, mac: "02:00:00:00:00:02", addresses: [10.0.2.1/24, "fd00:2::1/64"] }
routes:
  - { to: default, via: 10.0.2.9 }
  - { to: "::/0", via: "fd00:2::9" }
  - { to: 10.8.0.0/24, type: blackhole }
  - { to: 10.8.1.0/24, type: unreachable }
  - { to: 10.8.2.0/24, type: prohibit }
icmp: { msgs_per_sec: 100000, msgs_burst: 100000 }
chains:
  forward:
    policy: accept
    rules:
      - { id: told, l4proto: udp, dport: 99, verdict: reject }
      - { id: reset, l4proto: tcp, dport: 99, verdict: reject with tcp-reset }
"""


def ours(arguments, all_frames):
    """What leaves `flowgate replay` because of each case's frames."""
    os.makedirs(arguments.out, exist_ok=True)
    base = os.path.join(arguments.out, "edges")
    with open(base + ".yaml", "w") as out:
        out.write(CONF)
    with open(base + ".pcap", "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n, frames in enumerate(all_frames):
            for m, frame in enumerate(frames):
                micros = n * STEP + m
                out.write(struct.pack("<IIII", 1 + micros // 10**6, micros % 10**6, len(frame), len(frame)) + frame)
    program = os.path.join(os.path.dirname(os.path.dirname(arguments.binary)), "flowgate")
    command = [program, "replay", "--quiet", "--config", base + ".yaml", "--port", f"left={base}.pcap", "--verdicts",
               base + ".jsonl", "--write", f"left={base}-0.pcap", "--write", f"right={base}-1.pcap"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Broken(f"{' '.join(command)}: {done.stderr}")
    left = [[] for _ in all_frames]
    for port in (0, 1):
        data = open(f"{base}-{port}.pcap", "rb").read()
        unit = 1000 if data[:4] == b"\x4d\x3c\xb2\xa1" else 1
        at = 24
        while at < len(data):
            seconds, part, size = struct.unpack_from("<III", data, at)
            line = outline(port, data[at + 16:at + 16 + size])
            if line:
                left[((seconds - 1) * 10**6 + part // unit) // STEP].append(line)
            at += 16 + size
    reasons = [json.loads(line)["reason"] for line in open(base + ".jsonl")]
    return [sorted(lines) for lines in left], reasons


def run(arguments):
    """Whether the two agree but for what departures.md explains."""
    chosen = [case for case in cases() if not arguments.only or arguments.only in case[0]]
    all_frames = [[p.frame(0, packet, pad=False) for packet in packets] for _, packets in chosen]
    # The kernel's IPv6 input takes what says it is IPv6.
    for (name, _), frames in zip(chosen, all_frames):
        if name == "version 4 as IPv6":
            frames[0] = frames[0][:12] + b"\x86\xdd" + frames[0][14:]
    began = time.monotonic()
    mine, reasons = ours(arguments, all_frames)
    good, known, at = True, 0, 0
    with Router() as kernel:
        for (name, packets), frames, left in zip(chosen, all_frames, mine):
            at += len(frames)
            said = kernel.ask(frames)
            for _ in range(2):
                # Who is late, for another's work or a neighbour's question, is asked again.
                if said != left and name not in KNOWN:
                    time.sleep(0.05)
                    said = kernel.ask(frames)
            if (said != left) != (name in KNOWN):
                good = False
                print(f"{name}: kernel {said or 'nothing'}\n    flowgate {left or 'nothing'} {reasons[at - 1] or ''}")
                if name in KNOWN:
                    print("    which departures.md says differs")
            known += name in KNOWN and said != left
    print(f"{len(chosen)} packets at the edges: the same leaves, but for {known} that departures.md explains; "
          f"{time.monotonic() - began:.1f} s")
    return good
