"""Long mixed histories from a seed: plausible endpoints, and a network and attackers that are not.

A run is a few hundred histories with equal settings, each between hosts of its own, side by side in time. The
same seed gives the same run.
"""

import random

import packets as p
from script import Case, Hosts, Setup

CT = "netfilter.nf_conntrack_"

# Timeouts that differ from one another, so that a wrong one shows; and short ones that histories see run out.
TELLING = {"tcp_timeout_syn_sent": 121, "tcp_timeout_syn_recv": 61, "tcp_timeout_fin_wait": 123, "tcp_timeout_close_wait": 63,
           "tcp_timeout_last_ack": 31, "tcp_timeout_time_wait": 125, "tcp_timeout_close": 11, "tcp_timeout_max_retrans": 301,
           "tcp_timeout_unacknowledged": 303, "sctp_timeout_cookie_wait": 4, "sctp_timeout_cookie_echoed": 5,
           "sctp_timeout_shutdown_sent": 6, "sctp_timeout_shutdown_recd": 7, "sctp_timeout_shutdown_ack_sent": 8}
SHORT = {"tcp_timeout_syn_sent": 2, "tcp_timeout_syn_recv": 2, "tcp_timeout_established": 5, "tcp_timeout_fin_wait": 3,
         "tcp_timeout_close_wait": 2, "tcp_timeout_last_ack": 1, "tcp_timeout_time_wait": 2, "tcp_timeout_close": 1,
         "tcp_timeout_max_retrans": 3, "tcp_timeout_unacknowledged": 2, "udp_timeout": 1, "udp_timeout_stream": 3,
         "icmp_timeout": 1, "icmpv6_timeout": 1, "gre_timeout": 1, "gre_timeout_stream": 3, "generic_timeout": 2,
         "sctp_timeout_closed": 1, "sctp_timeout_cookie_wait": 2, "sctp_timeout_cookie_echoed": 2,
         "sctp_timeout_established": 4, "sctp_timeout_shutdown_sent": 1, "sctp_timeout_shutdown_recd": 2,
         "sctp_timeout_shutdown_ack_sent": 1, "sctp_timeout_heartbeat_sent": 2}
# Sums of these stay clear of whole seconds.
PAUSES = (0.37, 0.74, 1.37, 2.37)


def run(seed, histories):
    """The histories of one seed."""
    rng = random.Random(seed)
    short = rng.random() < 0.35
    sysctls = {CT + name: value for name, value in (SHORT if short else TELLING).items()}
    if short:
        sysctls["ipv4.ipfrag_time"] = 2
        sysctls[CT + "frag6_timeout"] = 2
    for name, value, share in (("tcp_loose", 0, 0.15), ("tcp_be_liberal", 1, 0.15), ("tcp_ignore_invalid_rst", 1, 0.15),
                               ("checksum", 0, 0.1)):
        if rng.random() < share:
            sysctls[CT + name] = value
    if rng.random() < 0.3:
        sysctls[CT + "tcp_max_retrans"] = rng.choice((0, 1, 2, 5))
    ftp = rng.random() < 0.6
    zones = {}
    if rng.random() < 0.15:
        for port in ("left", "right"):
            if rng.random() < 0.8:
                # Where ids of directions differ, what has expired in another zone is a departure.
                directions = ("both",) if short else ("both", "both", "original", "original", "reply")
                zones[port] = [rng.choice((5, 5, 6)), rng.choice(directions)]
    setup = Setup(sysctls, ["ftp"] if ftp else [], zones=zones)
    cases = []
    for index in range(histories):
        history = History(random.Random(rng.getrandbits(64)), index, short, ftp)
        history.write()
        cases.append(Case(f"seed-{seed}-{index}-{history.kind}", history.events, setup))
    return cases


def near(rng, value, window=8192):
    """A number that is wrong in an interesting way."""
    off = rng.choice((0, 1, -1, 2, -2, 10, -10, window, -window, window + 1, -window - 1, window - 1, 1 - window, 65999, 66000,
                      66001, -65999, -66000, -66001, 100000, -100000, 1 << 31, rng.getrandbits(32),
                      rng.randint(-window, window), rng.randint(-3000, 3000)))
    return (value + off) & 0xFFFFFFFF


# Options that pass, are written into, and stop their packet.
IP_OPTIONS = tuple(map(bytes.fromhex, (
    "01010101", "94040000", "1e040000", "88040001", "07070400000000", "07070800000000", "440c050000000000000000",
    "440c050100000000000000", "440809f000000000", "07300000", "0707050000000000", "83070400000000", "89070800000000",
)))


class History:
    def __init__(self, rng, index, pauses, ftp):
        self.rng = rng
        self.v6 = rng.random() < 0.4
        self.hosts = Hosts(index, self.v6)
        self.events = []
        self.now = rng.randint(0, 2_000_000) if pauses else 0
        self.pauses = 6 if pauses else 0
        self.ftp = ftp
        self.seen = []  # IP packets sent, for ICMP errors to quote
        self.ident = rng.getrandbits(16)
        self.kind = "mixed"
        self.late = []  # packets held back: (rounds to wait, side, IP packet)

    def write(self):
        rng = self.rng
        kinds = [(self.tcp, "tcp", 45), (self.udp, "udp", 8), (self.icmp, "icmp", 8), (self.sctp, "sctp", 10),
                 (self.others, "others", 4), (self.mixed, "mixed", 15)]
        if self.ftp:
            kinds.append((self.ftp_dialogue, "ftp", 20))
        write, self.kind, _ = rng.choices(kinds, [k[2] for k in kinds])[0]
        write()
        while self.late:
            self.tick()

    # Sending.

    def pause(self, chance=0.06):
        if self.pauses and self.rng.random() < chance:
            self.pauses -= 1
            self.now += int(self.rng.choice(PAUSES) * 1e6)

    def emit(self, side, packet):
        """To the router now."""
        self.events.append((side, self.now, p.frame(side, packet)))
        self.seen.append((side, packet))
        self.pause()
        if self.rng.random() < 0.015:
            self.error()

    def tick(self):
        due = [one for one in self.late if one[0] <= 0]
        self.late = [(n - 1, side, packet) for n, side, packet in self.late if n > 0]
        for _, side, packet in due:
            self.emit(side, packet)

    def carry(self, side, packet):
        """Through a network that loses, repeats, delays and cuts. True if the other host gets it."""
        rng = self.rng
        self.tick()
        chance = rng.random()
        if chance < 0.03:
            return False  # lost before the router
        if chance < 0.07:
            self.late.append((rng.randint(0, 4), side, packet))
            return True
        if rng.random() < 0.03:
            self.cut(side, packet)
        else:
            self.emit(side, packet)
        if rng.random() < 0.03:
            for _ in range(rng.choice((1, 1, 2, 5))):
                self.emit(side, packet)
        return rng.random() > 0.03  # or lost behind it

    def ip(self, side, proto, payload, src=None, dst=None):
        rng = self.rng
        self.ident = (self.ident + 1) & 0xFFFF
        src = src or self.hosts.pair[side]
        dst = dst or self.hosts.pair[1 - side]
        more = {}
        if rng.random() < 0.01:
            more["ttl"] = rng.choice((1, 2, 255, 0))
        if self.v6 and rng.random() < 0.02:
            more["extensions"] = [self.extension() for _ in range(rng.choice((1, 1, 2)))]
            more["extensions"].sort(key=lambda e: e[0] != 0)
        if not self.v6 and rng.random() < 0.01:
            more["options"] = rng.choice(IP_OPTIONS)
            if rng.random() < 0.2:
                more["options"] = bytes(rng.choice((0, 1, 4, 5, 7, 8, 68, 131, 148, rng.randint(0, 255)))
                                        for _ in range(rng.choice((4, 8, 12, 20))))
        if rng.random() < 0.003:
            # IPv6 with 0 is a departure (RFC 2675).
            more["total"] = rng.choice((20, 20, 24, 39, 41, 60, rng.randint(1, 2000)) if self.v6 else (0, 20, 24, 39, 41, 60, rng.randint(0, 2000)))
        if not self.v6 and rng.random() < 0.002:
            more["bad"] = True
        return p.ip(src, dst, proto, payload, ident=self.ident, **more)

    def extension(self):
        rng = self.rng
        return rng.choice((
            (60, b"\0\0\1\4\0\0\0\0"),
            (0, b"\0\0\1\4\0\0\0\0"),
            (43, b"\0\0\4\0\0\0\0\0"),
            (51, b"\0\4" + bytes(22)),
            (44, bytes(8)),
        ))

    def cut(self, side, packet):
        """In fragments, mostly well made."""
        rng = self.rng
        at = 40 if self.v6 else 20
        if packet[0] not in (0x45, 0x60) or len(packet) - at < 9 or (self.v6 and packet[6] in (0, 43, 44, 51, 60)):
            return self.emit(side, packet)
        size = len(packet) - at
        points = sorted({8 * rng.randint(1, max(1, (size - 1) // 8)) for _ in range(rng.choice((1, 1, 2, 3)))})
        if rng.random() < 0.05:
            # Unless a last piece that begins before octet 8 becomes an atomic one: see below.
            points = sorted({rng.randint(1, size - 1) for _ in range(2)} | {rng.randint(8, size - 1)})
        ident = rng.getrandbits(32 if self.v6 else 16)
        pieces = p.fragments(packet, points, ident)
        if rng.random() < 0.3:
            rng.shuffle(pieces)
        if rng.random() < 0.15:
            pieces.insert(rng.randrange(len(pieces)), rng.choice(pieces))
        if rng.random() < 0.1:
            pieces.pop(rng.randrange(len(pieces)))
        if rng.random() < 0.1:
            src, dst = self.hosts.pair[side], self.hosts.pair[1 - side]
            start = 8 * rng.randint(0, size // 8)
            length = 8 * rng.randint(0, 10)
            proto = packet[6] if self.v6 else packet[9]
            # An atomic fragment that shares another datagram's identification is a departure (RFC 6946).
            more = rng.random() < 0.7 or (self.v6 and start == 0)
            odd = p.fragment(src, dst, proto, bytes(length), start, more, ident)
            pieces.insert(rng.randint(0, len(pieces)), odd)
        for piece in pieces:
            self.emit(side, piece)

    def error(self):
        """An ICMP error about a random earlier packet, perhaps with a changed quotation."""
        rng = self.rng
        if not self.seen:
            return
        by, quoted = rng.choice(self.seen[-30:])
        side = 1 - by if rng.random() < 0.9 else by
        quoted = bytearray(quoted[:rng.choice((600, 600, 28, 48, rng.randint(0, 80)))])
        if quoted and rng.random() < 0.25:
            at = rng.randrange(min(len(quoted), 64))
            quoted[at] ^= 1 << rng.randrange(8)
        kinds = (1, 2, 3, 4, 1, 1, 100, 127) if self.v6 else (3, 3, 3, 11, 12, 4, 5)
        src = self.hosts.pair[side] if rng.random() < 0.6 else self.hosts.others[side]
        dst = self.hosts.pair[1 - side] if rng.random() < 0.95 else self.hosts.others[1 - side]
        data = p.icmp(src, dst, rng.choice(kinds), rng.choice((0, 1, 3, 4)), 0, bytes(quoted), rng.random() < 0.03)
        self.emit(side, self.ip(side, p.ICMP6 if self.v6 else p.ICMP, data, src, dst))

    # TCP.

    def tcp(self, connections=None):
        rng = self.rng
        ports = [(rng.randint(1024, 60000), rng.choice((80, 443, 22, 8080))) for _ in range(rng.choice((1, 1, 2)))]
        for _ in range(connections or rng.choice((1, 2, 3, 4))):
            sport, dport = rng.choice(ports)
            Connection(self, rng.choice((0, 0, 0, 0, 1)), sport, dport).live(rng.randint(6, 40))

    # The others.

    def udp(self, steps=None):
        rng = self.rng
        flows = [(rng.randint(0, 65535), rng.choice((53, 123, 5000, 0))) for _ in range(rng.choice((1, 2, 3)))]
        for _ in range(steps or rng.randint(4, 25)):
            sport, dport = rng.choice(flows)
            side = rng.choice((0, 0, 1))
            src, dst = self.hosts.pair[side], self.hosts.pair[1 - side]
            if side:
                sport, dport = dport, sport
            data = bytes(rng.randint(0, 60) if rng.random() < 0.9 else rng.randint(100, 1400))
            length = rng.choice((7, 8, 9, len(data) + 8 + 1, len(data) + 7, 0)) if rng.random() < 0.06 else None
            proto = p.UDP
            made = p.udp(src, dst, sport, dport, data, length, rng.random() < 0.05, rng.random() < 0.05, proto)
            if rng.random() < 0.02:
                made = made[:rng.randint(0, 12)]
            self.carry(side, self.ip(side, proto, made))
            self.pause(0.1)

    def icmp(self, steps=None):
        rng = self.rng
        ids = [rng.getrandbits(16) for _ in range(2)]
        asks = ((128, 129), (128, 129), (139, 140)) if self.v6 else ((8, 0), (8, 0), (13, 14), (15, 16), (17, 18))
        ask, answer = rng.choice(asks)
        for n in range(steps or rng.randint(4, 25)):
            side = rng.choice((0, 0, 1))
            kind = rng.choice((ask, ask, answer, answer))
            if rng.random() < 0.05:
                kind = rng.randint(0, 255 if not self.v6 else 160)
            code = 0 if rng.random() < 0.93 else rng.choice((1, 5, 255))
            src, dst = self.hosts.pair[side], self.hosts.pair[1 - side]
            data = p.icmp(src, dst, kind, code, rng.choice(ids) << 16 | n, bytes(rng.randint(0, 60)), rng.random() < 0.04)
            if rng.random() < 0.02:
                data = data[:rng.randint(0, 8)]
            proto = p.ICMP6 if self.v6 else p.ICMP
            if rng.random() < 0.01:
                proto = p.ICMP + p.ICMP6 - proto
            self.carry(side, self.ip(side, proto, data))
            if rng.random() < 0.1:
                self.error()
            self.pause(0.1)

    def others(self, steps=None):
        rng = self.rng
        proto = rng.choice((47, 47, 47, 50, 51, 4, 33, 255, 2, 89, 103, 132))
        for _ in range(steps or rng.randint(3, 15)):
            side = rng.choice((0, 0, 1))
            data = bytes(rng.getrandbits(8) for _ in range(rng.randint(0, 40)))
            if proto == 47:
                version = rng.choice((0, 0, 1, 1, 2))
                inner = 0x880B if version == 1 and rng.random() < 0.9 else 0x0800
                data = (0x2000 | version).to_bytes(2, "big") + inner.to_bytes(2, "big") + \
                    b"\0\4\0" + bytes((rng.choice((1, 2)),)) + data
                if rng.random() < 0.05:
                    data = data[:rng.randint(0, 8)]
            self.carry(side, self.ip(side, proto, data))
            self.pause(0.1)

    def sctp(self, steps=None):
        rng = self.rng
        for _ in range(rng.choice((1, 1, 2))):
            Association(self, rng.randint(1024, 1030), rng.choice((2905, 3868))).live(steps or rng.randint(5, 30))

    def mixed(self):
        for _ in range(self.rng.randint(2, 5)):
            write = self.rng.choice((lambda: self.tcp(1), lambda: self.udp(6), lambda: self.icmp(6), lambda: self.others(4),
                                     lambda: self.sctp(8), self.error))
            write()
            if self.rng.random() < 0.3:
                self.error()

    def ftp_dialogue(self):
        Dialogue(self, 0, self.rng.randint(1024, 60000), 21).live(self.rng.randint(10, 40))


class End:
    """A TCP endpoint's numbers."""

    def __init__(self, rng):
        self.iss = rng.choice((1000, rng.getrandbits(32), 0xFFFFFF00, 0))
        self.nxt = self.iss
        self.una = self.iss
        self.rcv = 0
        self.knows = False  # the other side's numbers
        self.window = rng.choice((8192, 65535, 1000, 500, 29200, 5000))
        self.scale = rng.choice((None, None, 0, 2, 7, 14))
        self.sack = rng.random() < 0.5
        self.stamps = rng.random() < 0.3
        self.fin = False
        self.sent = []  # (seq, flags, payload), for retransmissions


class Connection:
    def __init__(self, history, client, sport, dport):
        self.h, self.rng = history, history.rng
        self.client = client
        self.ports = (sport, dport) if client == 0 else (dport, sport)
        self.end = [End(self.rng), End(self.rng)]
        self.chaos = self.rng.choice((0, 0.02, 0.1, 0.3))

    def segment(self, side, flags, seq, ack, window=None, options=b"", payload=b"", bad=False, offset=None):
        sport, dport = self.ports if side == 0 else self.ports[::-1]
        src, dst = self.h.hosts.pair[side], self.h.hosts.pair[1 - side]
        if window is None:
            me = self.end[side]
            window = me.window if "S" in flags or me.scale is None else max(1, me.window >> me.scale)
        data = p.tcp(src, dst, sport, dport, flags, seq, ack, window, options, payload, bad, offset)
        if self.rng.random() < 0.002:
            data = data[:self.rng.randint(0, len(data))]
        return self.h.ip(side, p.TCP, data)

    def options(self, side, syn):
        me, out = self.end[side], b""
        if syn:
            out += b"\2\4\5\xb4"
            if me.scale is not None:
                out += p.option_wscale(me.scale)
            if me.sack:
                out += p.OPTION_SACK_OK
        if me.stamps:
            out += p.option_timestamp(1, 2)
        if self.rng.random() < 0.01:
            out = self.rng.choice((b"\3\3\x0f", b"\3\2", b"\3\1", b"\5\x0a" + bytes(4), b"\0\1\1\1", b"\xfd\x04\0\0", b"\3\3", b"\4\3\0",
                                   b"\1\1\1\3\3\5", b"\4", b"\3\4\7\7", b"\5\x0b" + bytes(9)))
        elif not syn and self.rng.random() < 0.1:
            base = self.end[1 - side].nxt
            blocks = [(near(self.rng, base, 500), near(self.rng, base, 500)) for _ in range(self.rng.choice((1, 1, 2, 3, 4)))]
            out += p.option_sack(blocks)
        return out[:40]

    def send(self, side, flags, payload=b"", seq=None, ack=None, **more):
        """One segment as the endpoint means it; then the network has it."""
        me, other, rng = self.end[side], self.end[1 - side], self.rng
        plain = seq is None
        seq = me.nxt if plain else seq
        if ack is None:
            ack = me.rcv if "A" in flags else 0
        options = self.options(side, "S" in flags)
        end = (seq + len(payload) + ("S" in flags) + ("F" in flags)) & 0xFFFFFFFF
        if plain:
            if end != seq:
                me.sent.append((seq, flags, payload))
            me.nxt = end
        if rng.random() < self.chaos:
            what = rng.randrange(7)
            if what == 0:
                seq = near(rng, seq, other.window)
            elif what == 1:
                ack = near(rng, ack, me.window)
            elif what == 2:
                flags = "".join(c for c in "FSRPAUEC" if rng.random() < 0.3)
            elif what == 3:
                more["window"] = rng.choice((0, 1, 10, 65535, rng.getrandbits(16)))
            elif what == 4:
                more["bad"] = rng.random() < 0.3
            elif what == 5:
                flags = rng.choice(("R", "RA", "S", "SA", "FA", "A", "F", "AU", "SU", "FAU", "PA", "SE", "SEC"))
            else:
                more["offset"] = rng.choice((4, 5, 6, 15, None, None, None))
        packet = self.segment(side, flags, seq, ack, options=options, payload=payload, **more)
        if self.h.carry(side, packet) and plain:
            if "R" in flags:
                return
            if not other.knows and "S" in flags:
                other.rcv, other.knows = end, True
            elif other.rcv == seq:
                other.rcv = end
            if "A" in flags and other.una != ack:
                other.una = ack

    def handshake(self):
        rng, c = self.rng, self.client
        s = 1 - c
        me, other = self.end[c], self.end[s]
        how = rng.random()
        if how < 0.08:  # picked up in mid-stream
            me.nxt, other.nxt = me.iss + 1 & 0xFFFFFFFF, other.iss + 1 & 0xFFFFFFFF
            me.rcv, other.rcv = other.nxt, me.nxt
            me.knows = other.knows = True
            return
        syn_data = bytes(rng.choice((0, 0, 0, 0, 0, 10)))
        self.send(c, "S", syn_data)
        if how < 0.14:  # again, perhaps with other numbers
            if rng.random() < 0.5:
                self.send(c, "S", seq=me.iss)
            else:
                self.end[c] = me = End(rng)
                self.send(c, "S")
        if how < 0.19:  # from both sides
            self.send(s, "S")
            self.send(c, "SA", seq=me.iss)
            self.send(s, "SA", seq=other.iss)
            return
        if how < 0.25:
            return self.send(s, "RA", seq=0, ack=me.nxt if rng.random() < 0.8 else near(rng, me.nxt))
        if how < 0.28:  # a half-open server
            old = rng.getrandbits(32)
            self.send(s, "A", seq=rng.getrandbits(32), ack=old)
            return self.send(c, "R", seq=old)
        self.send(s, "SA")
        if how < 0.9:
            self.send(c, "A")

    def live(self, steps):
        rng = self.rng
        self.handshake()
        for _ in range(steps):
            side = rng.randrange(2)
            me, other = self.end[side], self.end[1 - side]
            what = rng.random()
            if rng.random() < self.chaos * 0.7:
                flags = rng.choice(("A", "A", "S", "SA", "R", "RA", "FA", "PA"))
                base = rng.choice((me.nxt, me.una, me.iss, other.rcv))
                self.send(side, flags, bytes(rng.choice((0, 0, 1, 100))), seq=near(rng, base, other.window),
                          ack=near(rng, rng.choice((me.rcv, other.nxt, other.iss)), me.window) if rng.random() < 0.4 else None)
            elif what < 0.40:
                if not me.fin:
                    room = max(1, min(1300, other.window))
                    self.send(side, "PA", bytes(rng.choice((1, 10, 100, room, rng.randint(1, room)))))
            elif what < 0.70:
                self.send(side, "A")
            elif what < 0.74:
                for _ in range(rng.randint(1, 5)):
                    self.send(side, "A")
            elif what < 0.80 and me.sent:
                seq, flags, payload = rng.choice(me.sent[-4:])
                self.send(side, flags, payload, seq=seq, ack=me.rcv if "A" in flags else 0)
            elif what < 0.83:
                self.send(side, "A", seq=me.nxt - 1 & 0xFFFFFFFF, payload=bytes(rng.choice((0, 1))))
            elif what < 0.86:
                me.window = rng.choice((0, 1, 100, 1000, 8192, 65535))
                self.send(side, "A")
            elif what < 0.92:
                if not me.fin:
                    me.fin = True
                    self.send(side, "FA")
                    if rng.random() < 0.8:
                        self.send(1 - side, "A")
                    if rng.random() < 0.7 and not other.fin:
                        other.fin = True
                        self.send(1 - side, "FA")
                        self.send(side, "A")
            elif what < 0.95:
                seq = rng.choice((me.nxt, me.nxt, other.rcv, me.una, near(rng, me.nxt, other.window), 0))
                self.send(side, rng.choice(("R", "RA")), seq=seq)
            elif what < 0.975:
                # The client begins anew on the same ports; perhaps the server still remembers.
                if rng.random() < 0.5:
                    self.end[self.client] = End(rng)
                    self.end[1 - self.client] = End(rng)
                    self.handshake()
                else:
                    self.end[self.client] = End(rng)
                    self.send(self.client, "S")
                    if rng.random() < 0.5:
                        self.send(1 - self.client, "A")
            else:
                self.h.error()


class Dialogue(Connection):
    """An FTP control connection: lines cut and joined as a hostile network might, and the data connections."""

    def __init__(self, *more):
        super().__init__(*more)
        self.chaos = self.rng.choice((0, 0, 0.02))
        self.announced = []  # (side that will connect, port)

    def lines(self, side):
        rng, h = self.rng, self.h
        me = h.hosts.pair[side]
        port = rng.choice((1234, 1235, 40000, rng.randint(0, 65535)))
        # Whoever is told connects: the other side.
        if rng.random() < 0.4:
            self.announced.append((1 - side, port))
        end = rng.choice((b"\r\n",) * 8 + (b"\n", b"\r", b""))
        if h.v6:
            import socket
            text = socket.inet_ntop(socket.AF_INET6, me)
            if rng.random() < 0.2:
                text = rng.choice(("::1", text.upper(), "fd01::99", ":::", "", text + "%1"))
        else:
            text = ".".join(map(str, me)) if rng.random() < 0.85 else rng.choice(("10.9.9.9", "1.2.3", "300.1.1.1", ""))
        six = ",".join([text.replace(".", ",") if not h.v6 else "10,0,0,1", str(port >> 8), str(port & 255)])
        d = rng.choice("|||||!;,1")
        family = rng.choice("2222213" if h.v6 else "1111123")
        word = lambda w: w if rng.random() < 0.8 else rng.choice((w.lower(), w.title(), w + "X", " " + w))
        if side == self.client:
            made = rng.choice((
                f"{word('PORT')} {six}", f"{word('PORT')} {six}", f"{word('EPRT')} {d}{family}{d}{text}{d}{port}{d}",
                f"{word('EPRT')} {d}{family}{d}{text}{d}{port}{d}",
                "USER anonymous", "PASS x@y", "NOOP", "PASV", "EPSV", "LIST", "P", "STOR PORT 1,2,3,4,5,6", f"PORT  {six}",
                f"PORT {six},7", f"PORT {six} ", "PORT", "EPRT", f"NOOP\r\nPORT {six}", f"PORT {six}\r\nNOOP"))
        else:
            made = rng.choice((
                f"{word('227')} Entering Passive Mode ({six}).", f"227 Entering Passive Mode ({six}).", f"227 ={six}", f"227 {six}x",
                f"{word('229')} Extended ({d}{d}{d}{port}{d})", f"229 Extended Passive Mode Entered (|||{port}|)", f"229 ok |||{port}|",
                f"229 (|1||{port}|)", "220 ready", "230 in", "150 here it comes", "226 done", "227-more", "229-more", "2", "22", "227",
                f"227 {six}", "227 ok (1,2,3)", f"229 ok (|||{port})", f"229 ok ({d}{d}{d}{port}x"))
        return made.encode() + end

    def live(self, steps):
        rng = self.rng
        self.handshake()
        self.send(1 - self.client, "PA", b"220 ready\r\n")
        for _ in range(steps):
            side = rng.randrange(2)
            me = self.end[side]
            what = rng.random()
            if what < 0.65:
                data = b"".join(self.lines(side) for _ in range(rng.choice((1, 1, 1, 1, 2))))
                if rng.random() < 0.15 and len(data) > 1:
                    cut = rng.randrange(1, len(data))
                    self.send(side, "PA", data[:cut])
                    self.send(side, "PA", data[cut:])
                else:
                    self.send(side, "PA", data)
                if rng.random() < 0.5:
                    self.send(1 - side, "A")
            elif what < 0.75 and me.sent:
                seq, flags, payload = rng.choice(me.sent[-4:])
                self.send(side, flags, payload, seq=seq, ack=me.rcv if "A" in flags else 0)
            elif what < 0.93 and self.announced:
                by, port = rng.choice(self.announced[-3:])
                data = Connection(self.h, by, *(rng.choice(((20, port), (rng.randint(1024, 65535), port)))))
                data.chaos = rng.choice((0, 0, 0.3))
                data.live(rng.choice((0, 1, 3, 8)))
            elif what < 0.95:
                self.send(side, rng.choice(("FA", "R")))
            elif what < 0.97:
                self.h.error()
            else:
                self.send(side, "A")


class Association:
    """SCTP, with every chunk at every moment."""

    def __init__(self, history, sport, dport):
        self.h, self.rng = history, history.rng
        self.ports = (sport, dport)
        self.tag = [self.rng.getrandbits(32) | 1, self.rng.getrandbits(32) | 1]

    def send(self, side, chunks, tag=None):
        rng = self.rng
        ports = self.ports if side == 0 else self.ports[::-1]
        if tag is None:
            tag = self.tag[1 - side]
        if rng.random() < 0.04:
            tag = rng.choice((0, self.tag[side], self.tag[1 - side], rng.getrandbits(32)))
        data = p.sctp(*ports, tag, chunks, rng.random() < 0.02)
        if rng.random() < 0.01:
            data = data[:rng.randint(0, len(data))]
        self.h.carry(side, self.h.ip(side, p.SCTP, data))

    def live(self, steps):
        rng, chunk = self.rng, p.sctp_chunk
        script = [lambda: self.send(0, [p.sctp_init(self.tag[0])], 0), lambda: self.send(1, [p.sctp_init(self.tag[1], True)]),
                  lambda: self.send(0, [chunk(10, 0, b"cookie")]), lambda: self.send(1, [chunk(11)])]
        closing = [lambda: self.send(0, [chunk(7, 0, bytes(4))]), lambda: self.send(1, [chunk(8)]), lambda: self.send(0, [chunk(14)])]
        for step in script:
            if rng.random() < 0.93:
                step()
            if rng.random() < 0.15:
                self.any()
        for _ in range(steps):
            what = rng.random()
            if what < 0.35:
                self.send(rng.randrange(2), [chunk(rng.choice((0, 3)), 0, bytes(12))])
            elif what < 0.5:
                side = rng.randrange(2)
                self.send(side, [chunk(4, 0, b"12345678")])
                if rng.random() < 0.8:
                    self.send(1 - side, [chunk(5, 0, b"12345678")])
            elif what < 0.55:
                for step in closing:
                    if rng.random() < 0.9:
                        step()
            elif what < 0.6:
                if rng.random() < 0.5:
                    self.tag = [rng.getrandbits(32) | 1, rng.getrandbits(32) | 1]
                for step in script:
                    step()
            elif what < 0.97:
                self.any()
            else:
                self.h.error()
            self.h.pause(0.05)

    def any(self):
        rng, chunk = self.rng, p.sctp_chunk
        side = rng.randrange(2)
        made = []
        tag = None
        for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
            kind = rng.choice((0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 14, 200, 64))
            if kind in (1, 2):
                made.append(p.sctp_init(rng.choice((self.tag[side], self.tag[side], rng.getrandbits(32), 0)), kind == 2))
                if kind == 1 and rng.random() < 0.9:
                    tag = 0
            else:
                flags = rng.choice((0, 0, 1))
                if kind in (6, 14) and flags:
                    tag = self.tag[side]
                length = rng.choice((None,) * 20 + (0, 3, 1000))
                made.append(chunk(kind, flags, bytes(rng.choice((4, 4, 0, 5, 8))), length))
        self.send(side, made, tag)
