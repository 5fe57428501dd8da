"""The full table: what becomes of new flows when there is no room, and of what is there.

A packet that found no victim switches the scan under pressure on, which in the kernel may take a minute to come: those
cases are slow ones.

The kernel's limit holds for the whole machine, so it stays what it is: the table of the run's own namespace is filled
up to it by netlink. flowgate gets a small table, filled by packets.
"""

import socket
import struct

import kernel
import packets as p
from script import Case, Setup, Builder, Hosts

PAIR = Hosts(0).pair

# Entries of flowgate's table.
SMALL = 64
ORIG, REPLY, STATUS, PROTOINFO, TIMEOUT = 1, 2, 3, 4, 7
TIME_WAIT = 7
SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8

# A known flow is that of `udp`, which is the last one made.
PACKETS = {
    "assured": """
        > udp => ESTABLISHED
        < udp => ESTABLISHED
        < error 3 3 => RELATED
        > udp dport=81 => NONE dropped
        > SYN => NONE dropped
        > ACK => NONE dropped
        > RST => NONE dropped
        < SYN+ACK => NONE dropped
        > FIN+ACK => NONE dropped
        > udp dport=82 bad => NONE dropped
        < icmp 0 0 => NONE dropped
        > icmp 8 0 => NONE dropped
        > udp dport=7 => UNTRACKED
        < error 3 3 set=20:1234 => INVALID
        > udp => ESTABLISHED
    """,
    "unreplied": """
        > udp dport=81 => NEW
        > SYN => NEW
        > ACK sport=3 => NEW
        > udp dport=82 => NEW
        > icmp 8 0 => NEW
        > RST sport=4 => INVALID
        > udp dport=7 => UNTRACKED
    """,
}
SLOW = {
    # Whoever is closing goes, although assured.
    "closing": """
        > udp dport=81 => NONE dropped
        wait 75
        > udp dport=82 => NEW
        > SYN dport=83 => NEW
    """,
    # Nobody goes: all are assured and open.
    "assured": """
        > udp dport=81 => NONE dropped
        wait 75
        > udp dport=82 => NONE dropped
        > udp => ESTABLISHED
    """,
}


def fill(sock, kind, count):
    """Makes `count` UDP entries (`closing`: TCP in TIME_WAIT), the last one between the hosts of PAIR."""
    nested = 0x8000
    u32 = lambda value: struct.pack(">I", value)
    attr = kernel.attr

    def tuple_(src, dst, sport, dport):
        ip = attr(1, src) + attr(2, dst)
        proto = attr(1, b"\x06" if kind == "closing" else b"\x11") + attr(2, struct.pack(">H", sport)) + attr(3, struct.pack(">H", dport))
        return attr(1 | nested, ip) + attr(2 | nested, proto)

    status = attr(STATUS, u32(CONFIRMED | (0 if kind == "unreplied" else SEEN_REPLY | ASSURED))) + attr(TIMEOUT, u32(600))
    if kind == "closing":
        status += attr(PROTOINFO | nested, attr(1 | nested, attr(1, bytes((TIME_WAIT,)))))
    server = socket.inet_aton("10.2.99.9")
    batch = b""
    for n in range(count):
        a, b, ports = socket.inet_aton(f"10.1.99.{1 + (n >> 16)}"), server, (n & 0xFFFF, 9)
        if n == count - 1:
            a, b, ports = *PAIR, (1000, 80)
        body = attr(ORIG | nested, tuple_(a, b, *ports)) + attr(REPLY | nested, tuple_(b, a, *ports[::-1])) + status
        # IPCTNL_MSG_CT_NEW; NLM_F_REQUEST, NLM_F_CREATE, NLM_F_EXCL; answered only if refused.
        batch += kernel.message(1 << 8, 0x601, socket.AF_INET, 0, body)
        if len(batch) > 60000 or n == count - 1:
            sock.send(batch)
            batch = b""


CLOSING = ((0, "S", 1000, 0), (1, "SA", 5000, 1001), (0, "A", 1001, 5001), (0, "FA", 1001, 5001), (1, "FA", 5001, 1002),
           (0, "A", 1002, 5002))


def prefix(kind):
    """The same for flowgate, by packets: those of a flow that is assured come more than two seconds apart."""
    packets = []
    flows = [(n + 100, 9, (p.address("10.1.99.1"), p.address("10.2.99.9"))) for n in range(SMALL - 1)] + [(1000, 80, PAIR)]
    if kind == "closing":
        for sport, dport, hosts in flows:
            for side, flags, seq, ack in CLOSING:
                src, dst, ports = hosts[side], hosts[1 - side], (sport, dport) if side == 0 else (dport, sport)
                packets.append((side, 0, p.frame(side, p.ip(src, dst, p.TCP, p.tcp(src, dst, *ports, flags, seq, ack)))))
        return packets
    for at, sides in ((0, (0,)),) + (((100_000, (1,)), (2_500_000, (0,))) if kind == "assured" else ()):
        for sport, dport, hosts in flows:
            for side in sides:
                src, dst, ports = hosts[side], hosts[1 - side], (sport, dport) if side == 0 else (dport, sport)
                packets.append((side, at, p.frame(side, p.ip(src, dst, p.UDP, p.udp(src, dst, *ports, b"x")))))
    return packets


def cases(slow=False):
    made = []
    for name, text in (SLOW if slow else PACKETS).items():
        hosts = Hosts(0)
        builder = Builder(hosts)
        events, expected, now = [], [], 0
        for line in filter(None, map(str.strip, text.splitlines())):
            if line.startswith("wait"):
                now += int(line.split()[1]) * 1_000_000
                continue
            packet, _, state = line.partition("=>")
            events.append(({">": 0, "<": 1}[packet[0]], now, builder.packet({">": 0, "<": 1}[packet[0]], packet[1:].strip())))
            expected.append(state.strip())
        setup = Setup(notrack=["udp/7"])
        setup.full = name
        made.append(Case(f"full/{'pressure-' if slow else ''}{name}", events, setup, expected))
    return made
