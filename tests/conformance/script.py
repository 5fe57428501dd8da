"""Cases written by hand: `*.txt`, a packet a line.

    case NAME [v4|v6] [WORD ...]    begins a case; both families unless said. A WORD is one of
        ftp, tftp, ...              a helper, attached to its usual port
        NAME=VALUE                  a sysctl without `net.`
        notrack=UDP/7               no tracking for that protocol and destination port, in the raw hook
        zone=left:5                 packets that come in by that port are in zone 5; `:original`, `:reply` for one direction
    setup NAME WORD ...             gives a number of WORDs a name
    > PACKET [=> STATE]      from the client; `<` from the server. `NEW dropped`: tracked, but not forwarded
    wait SECONDS
    hs                       the handshake: SYN 1000, SYN+ACK 5000/1001, ACK 1001/5001

A PACKET is one of these, with `key=value` words behind it:

    SYN+ACK ...              TCP flags, `none` for none. seq ack win len data ws sackok sack=A-B opts=HEX urg off bad sport dport
    say TEXT                 TCP data that continues what its side said before
    udp                      len data length (the field) bad zero sport dport
    udplite                  the same; length is the coverage
    icmp TYPE CODE           id seq len bad. ICMPv6 in the v6 variant
    error TYPE CODE          quotes the last packet of the other direction: `of=N` the Nth packet of the case, `cut=N` only
                             so many octets behind the inner IP header, `ip=N` only so many octets of all, `dst=other`,
                             `src=other`, `set=OFFSET:HEX` changes the quoted packet
    sctp TAG CHUNK,CHUNK     INIT:TAG INIT_ACK:TAG ABORT:T DATA ... ; bad
    gre VERSION [KEY]        proto=HEX
    proto NUMBER             len
    frag FROM-TO/PACKET      octets FROM to TO of the payload of the IP packet of that PACKET; id, more, ecn
    raw PROTO HEX
    ext NUMBER HEX PACKET    that IPv6 packet behind an extension header; its first octet is set

`dst=router`, `ttl=N`, `ipopts=HEX` (IPv4 options) go with most. Backslashes in data are read as Python does, `_` is a space. Numbers of a TCP packet are those of `hs` unless given.
"""

import packets as p

CHUNKS = {"DATA": 0, "INIT": 1, "INIT_ACK": 2, "SACK": 3, "HEARTBEAT": 4, "HEARTBEAT_ACK": 5, "ABORT": 6, "SHUTDOWN": 7,
          "SHUTDOWN_ACK": 8, "ERROR": 9, "COOKIE_ECHO": 10, "COOKIE_ACK": 11, "SHUTDOWN_COMPLETE": 14}
WORDS = {"SYN": "S", "ACK": "A", "FIN": "F", "RST": "R", "PSH": "P", "URG": "U", "ECE": "E", "CWR": "C", "none": ""}
HANDSHAKE = ("> SYN", "< SYN+ACK", "> ACK")


class Setup:
    """What both routers are told before the first packet."""

    def __init__(self, sysctls=None, helpers=(), notrack=(), zones=None):
        self.sysctls = sysctls or {}
        self.helpers = sorted(helpers)
        self.notrack = sorted(notrack)  # PROTOCOL/PORT
        self.zones = zones or {}  # port: [zone, direction]
        self.options = {}  # of helpers: helper: {option: 0 or 1}
        self.full = None  # the table is full before the first packet; see full.py

    def head(self):
        """As the first line of a batch."""
        head = {"sysctls": self.sysctls}
        if self.helpers:
            head["helpers"] = self.helpers
        if self.notrack:
            head["notrack"] = self.notrack
        if self.zones:
            head["zones"] = self.zones
        if self.options:
            head["options"] = self.options
        if self.full:
            head["full"] = self.full
        return head

    @staticmethod
    def of(words):
        setup = Setup()
        for word in words:
            key, eq, value = word.partition("=")
            if not eq:
                setup.helpers.append(word)
            elif key == "notrack":
                setup.notrack.append(value)
            elif key == "zone":
                port, zone, *direction = value.split(":")
                setup.zones[port] = [int(zone), direction[0] if direction else "both"]
            else:
                setup.sysctls[key] = int(value)
        return setup


class Case:
    """Packets with their times and, perhaps, what is expected of them."""

    def __init__(self, name, events, setup=None, expected=None):
        self.name = name
        self.events = events  # (port, microseconds, frame)
        self.setup = setup or Setup()
        self.expected = expected or [None] * len(events)


class Hosts:
    """The two hosts of a case; every case has its own, so that many run at once."""

    def __init__(self, index, v6=False):
        high, low = divmod(index, 250)
        if v6:
            self.pair = [p.address(f"fd0{n}:0:0:1::{index + 2:x}") for n in (1, 2)]
            self.others = [p.address(f"fd0{n}:0:0:2::{index + 2:x}") for n in (1, 2)]
        else:
            self.pair = [p.address(f"10.{n}.{high + 1}.{low + 2}") for n in (1, 2)]
            self.others = [p.address(f"10.{n}.{high + 101}.{low + 2}") for n in (1, 2)]
        self.v6 = v6


def number(text):
    return int(text, 0)


class Builder:
    """Makes one case's frames."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.ident = 1
        self.sent = []  # (side, IP packet)
        self.next = [1001, 5001]  # sequence numbers behind what was said

    def packet(self, side, text):
        words = text.split()
        if words[0] == "say":
            words = ["PSH+ACK", f"seq={self.next[side]}", f"ack={self.next[1 - side]}", "said", "data=" + words[1]] + words[2:]
        flags, named = set(), {}
        for word in words[1:]:
            key, eq, value = word.partition("=")
            if eq:
                named[key] = value
            else:
                flags.add(word)
        src, dst = self.hosts.pair[side], self.hosts.pair[1 - side]
        if named.get("src") == "other":
            src = self.hosts.others[side]
        if named.get("dst") == "other":
            dst = self.hosts.others[1 - side]
        if named.get("dst") == "router":
            dst = p.address(f"fd0{side + 1}::1" if self.hosts.v6 else f"10.{side + 1}.0.1")
        proto, payload = self.transport(side, src, dst, words, flags, named)
        if proto is None:
            packet = payload
        else:
            packet = p.ip(src, dst, proto, payload, ident=self.ident, ttl=number(named.get("ttl", "64")),
                          options=bytes.fromhex(named.get("ipopts", "")))
        self.ident += 1
        self.sent.append((side, packet))
        return p.frame(side, packet)

    def transport(self, side, src, dst, words, flags, named):
        kind = words[0]
        num = lambda key, default=0: number(named[key]) if key in named else default
        data = b"x" * num("len")
        if "data" in named:
            data = named["data"].replace("_", " ").encode().decode("unicode_escape").encode("latin1")
            # FTP speaks of its own addresses.
            for n, at in (("C", 0), ("S", 1)):
                if not self.hosts.v6:
                    data = data.replace(b"@" + n.encode(), ",".join(map(str, self.hosts.pair[at])).encode())
                    data = data.replace(b"$" + n.encode(), ".".join(map(str, self.hosts.pair[at])).encode())
        if "said" in flags:
            self.next[side] += len(data)
        bad = "bad" in flags
        ports = [num("sport", 1000 if side == 0 else 80), num("dport", 80 if side == 0 else 1000)]
        if kind == "udp" or kind == "udplite":
            proto = p.UDP if kind == "udp" else p.UDPLITE
            length = num("length") if "length" in named else None
            return proto, p.udp(src, dst, *ports, data, length, bad, "zero" in flags, proto)
        if kind == "icmp":
            proto = p.ICMP6 if self.hosts.v6 else p.ICMP
            rest = num("id", 1) << 16 | num("seq", 1)
            return proto, p.icmp(src, dst, number(words[1]), number(words[2]), rest, data, bad)
        if kind == "error":
            proto = p.ICMP6 if self.hosts.v6 else p.ICMP
            return proto, p.icmp(src, dst, number(words[1]), number(words[2]), 0, self.quote(side, named), bad)
        if kind == "sctp":
            chunks = [self.chunk(word) for word in words[2].split(",")] if words[2] != "-" else []
            return p.SCTP, p.sctp(*ports, number(words[1]), chunks, bad)
        if kind == "gre":
            version, key = number(words[1]), num("key")
            inner = int(named.get("proto", "880b" if version == 1 else "0800"), 16)
            head = (0x2000 | version).to_bytes(2, "big") + inner.to_bytes(2, "big")
            return p.GRE, head + num("size", 4).to_bytes(2, "big") + key.to_bytes(2, "big") + data
        if kind == "proto":
            return number(words[1]), data or b"12345678"
        if kind == "raw":
            return number(words[1]), bytes.fromhex(words[2]) if len(words) > 2 else b""
        if kind == "ext":
            rest = [word for word in words[3:]] + [f"{k}={v}" for k, v in named.items()] + sorted(flags - set(words))
            inner, payload = self.transport(side, src, dst, rest, flags, named)
            return number(words[1]), bytes((inner,)) + bytes.fromhex(words[2])[1:] + payload
        if kind == "frag":
            span, _, inner = words[1].partition("/")
            start, _, stop = span.partition("-")
            proto, whole = self.transport(side, src, dst, [inner] + words[2:], flags, named)
            stop = number(stop) if stop else len(whole)
            more = num("more", 1 if stop < len(whole) else 0)
            return None, p.fragment(src, dst, proto, whole[number(start):stop], number(start), more, num("id", 99), tos=num("ecn"),
                                    options=bytes.fromhex(named.get("ipopts", "")))
        letters = "".join(WORDS[word] for word in kind.split("+"))
        options = bytes.fromhex(named.get("opts", ""))
        if "ws" in named:
            options += p.option_wscale(num("ws"))
        if "sackok" in flags:
            options += p.OPTION_SACK_OK
        if "sack" in named:
            options += p.option_sack([tuple(map(number, block.split("-"))) for block in named["sack"].split(",")])
        seq = num("seq", (1000 if side == 0 else 5000) + ("S" not in letters))
        ack = num("ack", (5001 if side == 0 else 1001) if "A" in letters else 0)
        off = num("off") if "off" in named else None
        return p.TCP, p.tcp(src, dst, *ports, letters, seq, ack, num("win", 8192), options, data, bad, off, num("urg"))

    def chunk(self, word):
        name, _, value = word.partition(":")
        if name == "INIT" or name == "INIT_ACK":
            return p.sctp_init(number(value or "1"), name == "INIT_ACK")
        if name == "zero":
            return p.sctp_chunk(0, 0, b"", 0)
        kind = CHUNKS[name] if name in CHUNKS else number(name)
        return p.sctp_chunk(kind, 1 if value == "T" else 0, b"abcd")

    def quote(self, side, named):
        if "of" in named:
            quoted = self.sent[number(named["of"]) - 1][1]
        else:
            quoted = [packet for by, packet in self.sent if by != side][-1]
        if "set" in named:
            at, _, value = named["set"].partition(":")
            at, value = number(at), bytes.fromhex(value)
            quoted = quoted[:at] + value + quoted[at + len(value):]
        if "ip" in named:
            return quoted[:number(named["ip"])]
        if "cut" in named:
            return quoted[:(40 if self.hosts.v6 else 20) + number(named["cut"])]
        return quoted[:528]


def read(path, first=0):
    """The cases of a file; `first` is the number of the first one's hosts."""
    blocks, named = [], {}
    for n, line in enumerate(open(path), 1):
        line = line.split("#")[0].strip()
        if line.startswith("setup "):
            _, name, *named[name] = line.split()
        elif line.startswith("case "):
            blocks.append(([part for word in line.split()[1:] for part in named.get(word, [word])], []))
        elif line:
            blocks[-1][1].append((n, line))
    cases = []
    for (name, *words), lines in blocks:
        for v6 in (False, True):
            if ("v4" in words and v6) or ("v6" in words and not v6):
                continue
            setup = Setup.of(word for word in words if word not in ("v4", "v6"))
            builder = Builder(Hosts(first + len(cases), v6))
            events, expected, now = [], [], 0
            for n, line in lines:
                try:
                    if line.startswith("wait"):
                        now += int(float(line.split()[1]) * 1e6)
                        continue
                    for one in HANDSHAKE if line == "hs" else (line,):
                        text, arrow, state = one.partition("=>")
                        side = {">": 0, "<": 1}[text[0]]
                        events.append((side, now, builder.packet(side, text[1:].strip())))
                        expected.append(state.strip() if arrow else None)
                except (KeyError, ValueError, IndexError) as e:
                    raise SystemExit(f"{path}:{n}: {line}: {e!r}")
            label = f"{name} {'v6' if v6 else 'v4'}"
            cases.append(Case(label, events, setup, expected))
    return cases
