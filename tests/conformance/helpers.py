"""Cases for the helpers, too many and too alike to be written by hand: every message cut at every octet, and mutations.

All helpers are attached at once, each to its usual port, so all cases share one run.
"""

import random
import struct

import packets as p
from kernel import HELPERS
from script import Case, Hosts, Setup

EVERY = Setup(helpers=[name for name in HELPERS if name not in ("ftp", "sip", "pptp")])


class Talk:
    """A control connection of one case, and what is tried around it."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.events, self.expected = [], []
        self.now = 0
        self.next = [1001, 5001]
        self.ports = (4000, 0)

    def put(self, side, proto, payload, expected=None, src=None):
        a, b = self.hosts.pair[side], self.hosts.pair[1 - side]
        packet = p.ip(src or a, b, proto, payload, ident=len(self.events) + 1)
        self.events.append((side, self.now, p.frame(side, packet)))
        self.expected.append(expected)

    def wait(self, seconds):
        self.now += int(seconds * 1e6)

    def pair(self, side):
        return self.hosts.pair[side], self.hosts.pair[1 - side]

    def tcp(self, side, sport, dport, flags, seq=0, ack=0, data=b"", expected=None, src=None):
        a, b = self.pair(side)
        self.put(side, p.TCP, p.tcp(src or a, b, sport, dport, flags, seq, ack, payload=data), expected, src)

    def udp(self, side, sport, dport, data=b"", expected=None, src=None):
        a, b = self.pair(side)
        self.put(side, p.UDP, p.udp(src or a, b, sport, dport, data), expected, src)

    def open(self, dport, sport=4000):
        """The handshake of a control connection."""
        self.ports = (sport, dport)
        self.next = [1001, 5001]
        self.tcp(0, sport, dport, "S", 1000)
        self.tcp(1, dport, sport, "SA", 5000, 1001)
        self.tcp(0, sport, dport, "A", 1001, 5001)

    def say(self, side, data, expected=None, moves=True):
        """TCP data that continues what that side said before; `moves=False` if it will be said again."""
        ports = self.ports if side == 0 else self.ports[::-1]
        self.tcp(side, *ports, "PA", self.next[side], self.next[1 - side], data, expected)
        if moves:
            self.next[side] += len(data)

    def syn(self, side, sport, dport, expected=None, other=False):
        """A connection that may have been announced; from another host than the peer."""
        src = self.hosts.others[side] if other else None
        self.tcp(side, sport, dport, "S", 77, expected=expected, src=src)

    def gre(self, side, call, expected=None, version=1, data=b"data"):
        head = struct.pack(">HHHH", 0x2000 | version, 0x880B if version == 1 else 0x0800, len(data), call)
        self.put(side, p.GRE, head + data, expected)

    def decimal(self, side):
        return int.from_bytes(self.hosts.pair[side], "big")

    def case(self, name):
        return Case(f"helper/{name} {'v6' if self.hosts.v6 else 'v4'}", self.events, EVERY, self.expected)


class Book:
    """Collects cases, each with hosts of its own."""

    def __init__(self, first):
        self.first, self.cases = first, []

    def talk(self, v6=False):
        return Talk(Hosts(self.first + len(self.cases), v6))

    def add(self, name, talk):
        self.cases.append(talk.case(name))


FAMILIES = (False, True)


# TFTP


def tftp(book):
    for v6 in FAMILIES:
        for name, opcode, rest in (("read", 1, b"file\0octet\0"), ("write", 2, b"file\0octet\0"), ("bare", 1, b"")):
            t = book.talk(v6)
            t.udp(0, 2000, 69, bytes((0, opcode)) + rest, "NEW")
            t.udp(1, 3000, 2000, b"\0\3\0\1data", "RELATED")
            t.udp(1, 3000, 2000, b"\0\3\0\1data", "RELATED")
            t.udp(0, 2000, 3000, b"\0\4\0\1", "ESTABLISHED")
            t.udp(1, 3000, 2000, b"\0\3\0\2data", "ESTABLISHED")
            t.udp(1, 3001, 2000, b"\0\3\0\1data", "NEW")
            book.add(f"tftp/{name}", t)
        for data in (b"", b"\0", b"\1", b"\0\0", b"\0\3\0\1x", b"\0\4\0\1", b"\0\5\0\1x\0", b"\1\0", b"\2\1"):
            t = book.talk(v6)
            t.udp(0, 2000, 69, data, "NEW")
            t.udp(1, 3000, 2000, b"x", "NEW")
            book.add(f"tftp/other-{data.hex()}", t)
        t = book.talk(v6)  # The server answers from its own port, then another client's transfer
        t.udp(0, 2000, 69, b"\0\1f\0octet\0", "NEW")
        t.udp(1, 69, 2000, b"\0\3\0\1data", "ESTABLISHED")
        t.udp(1, 3000, 2000, b"x", "RELATED")
        t.udp(0, 2000, 69, b"\0\1g\0octet\0", "ESTABLISHED")
        t.udp(1, 3001, 2000, b"x", "RELATED")
        t.udp(1, 69, 2000, b"\0\1g\0octet\0", "ESTABLISHED")
        t.udp(1, 3002, 2000, b"x", "RELATED")
        book.add("tftp/again", t)
        t = book.talk(v6)  # Replaced: one more request, one expectation
        for _ in range(3):
            t.udp(0, 2000, 69, b"\0\1f\0octet\0", "NEW")
        t.udp(1, 3000, 2000, b"x", "RELATED")
        t.udp(1, 3001, 2000, b"x", "NEW")
        book.add("tftp/replaced", t)
        t = book.talk(v6)  # The data connection is no control connection
        t.udp(0, 2000, 69, b"\0\1f\0octet\0")
        t.udp(1, 3000, 2000, b"\0\1f\0octet\0", "RELATED")
        t.udp(0, 4000, 3000, b"x", "NEW")
        book.add("tftp/not-inherited", t)
        t = book.talk(v6)  # From elsewhere, and from a port that has a helper itself
        t.udp(0, 2000, 69, b"\0\1f\0octet\0")
        t.udp(1, 3000, 2000, b"x", "NEW", src=t.hosts.others[1])
        t.udp(1, 69, 2000, b"\0\3\0\1data", "ESTABLISHED")
        book.add("tftp/elsewhere", t)


# IRC


def dcc(t, text):
    return text.replace("@", str(t.decimal(0))).encode("latin1")


IRC_LINES = {
    "chat": "PRIVMSG bob :\x01DCC CHAT chat @ 4100\x01\r\n",
    "send": "PRIVMSG bob :\x01DCC SEND f.txt @ 4100 1024\x01\r\n",
    "move": "PRIVMSG bob :\x01DCC MOVE f.txt @ 4100\x01\r\n",
    "tsend": "PRIVMSG bob :\x01DCC TSEND f.txt @ 4100\x01\r\n",
    "schat": "PRIVMSG bob :\x01DCC SCHAT chat @ 4100\x01\r\n",
    "lower-privmsg": "privmsg bob :\x01DCC CHAT chat @ 4100\x01\r\n",
    "lower-dcc": "PRIVMSG bob :\x01dcc CHAT chat @ 4100\x01\r\n",
    "lower-chat": "PRIVMSG bob :\x01DCC chat chat @ 4100\x01\r\n",
    "blanks-before": " \r\n  PRIVMSG bob :\x01DCC CHAT chat @ 4100\x01\r\n",
    "notice": "NOTICE bob :\x01DCC CHAT chat @ 4100\x01\r\n",
    "prefix": ":me!a@b PRIVMSG bob :\x01DCC CHAT chat @ 4100\x01\r\n",
    "two-blanks": "PRIVMSG bob :\x01DCC CHAT chat  @ 4100\x01\r\n",
    "two-blanks-between": "PRIVMSG bob :\x01DCC CHAT chat @   4100\x01\r\n",
    "file-with-blank": "PRIVMSG bob :\x01DCC SEND my file @ 4100 1\x01\r\n",
    "no-argument": "PRIVMSG bob :\x01DCC CHAT @ 4100\x01\r\n",
    "empty-argument": "PRIVMSG bob :\x01DCC CHAT  @ 4100\x01\r\n",
    "forged": "PRIVMSG bob :\x01DCC CHAT chat 167837698 4100\x01\r\n",
    "port-0": "PRIVMSG bob :\x01DCC CHAT chat @ 0\x01\r\n",
    "port-large": "PRIVMSG bob :\x01DCC CHAT chat @ 69636\x01\r\n",
    "port-huge": "PRIVMSG bob :\x01DCC CHAT chat @ 18446744073709555716\x01\r\n",
    "no-port": "PRIVMSG bob :\x01DCC CHAT chat @\x01\r\n",
    "no-lf": "PRIVMSG bob :\x01DCC CHAT chat @ 4100\x01",
    "cr-only": "PRIVMSG bob :\x01DCC CHAT chat @ 4100\x01\r",
    "text-before": "PRIVMSG bob :hi \x01DCC CHAT chat @ 4100\x01\r\n",
    "second-colon": "PRIVMSG bob :hi :\x01DCC CHAT chat @ 4100\x01\r\n",
    "no-colon": "PRIVMSG bob \x01DCC CHAT chat @ 4100\x01\r\n",
    "second-line": "JOIN #x\r\nPRIVMSG bob :\x01DCC CHAT chat @ 4100\x01\r\n",
    "line-after": "PRIVMSG bob :\x01DCC CHAT chat @ 4100\x01\r\nJOIN #channel\r\n",
    "resume": "PRIVMSG bob :\x01DCC RESUME f @ 4100 1\x01\r\n",
    "resume-then-chat": "PRIVMSG bob :\x01DCC RESUME :\x01DCC CHAT chat @ 4100\x01\r\n",
    "chat-then-move": "PRIVMSG bob :\x01DCC CHAT MOVE chat @ 4100\x01\r\n",
    "two": "PRIVMSG bob :\x01DCC CHAT chat @ 4100\x01\r\nPRIVMSG bob :\x01DCC CHAT chat @ 4101\x01\r\n",
    "short": "PRIVMSG b :\x01DCC CHAT c 1 2\x01\n",
}


def irc(book):
    for name, line in IRC_LINES.items():
        t = book.talk()
        t.open(6667)
        t.say(0, dcc(t, line))
        t.syn(1, 3000, 4100)
        t.syn(1, 3001, 4101)
        t.syn(1, 3002, 4)
        book.add(f"irc/{name}", t)
    line = IRC_LINES["send"]
    for cut in range(1, len(dcc(book.talk(), line))):
        t = book.talk()
        t.open(6667)
        whole = dcc(t, line)
        t.say(0, whole[:cut], moves=False)
        t.syn(1, 3000, 4100)
        t.syn(1, 3002, 410)
        t.syn(1, 3003, 41)
        t.say(0, whole)
        t.syn(1, 3001, 4100)
        book.add(f"irc/cut-{cut}", t)
    t = book.talk()  # Anybody may come; eight at most, and the oldest goes first
    t.open(6667)
    for port in range(4100, 4110):
        t.say(0, dcc(t, IRC_LINES["chat"].replace("4100", str(port))), "ESTABLISHED")
    for port in range(4100, 4110):
        t.syn(1, 3000, port, "NEW" if port < 4102 else "RELATED", other=True)
    book.add("irc/eight", t)
    t = book.talk()  # Replaced, not doubled; a replaced one is the newest again
    t.open(6667)
    for port in (*range(4100, 4108), 4100, 4110):
        t.say(0, dcc(t, IRC_LINES["chat"].replace("4100", str(port))), "ESTABLISHED")
    for port in (*range(4100, 4108), 4110):
        t.syn(1, 3000, port, "NEW" if port == 4101 else "RELATED")
    book.add("irc/replaced", t)
    t = book.talk()  # Another connection of the same client announces the same
    t.open(6667)
    t.say(0, dcc(t, IRC_LINES["chat"]))
    t.open(6667, sport=4001)
    t.say(0, dcc(t, IRC_LINES["chat"]), "ESTABLISHED dropped")
    t.syn(1, 3000, 4100, "RELATED")
    t.say(0, dcc(t, IRC_LINES["chat"]))
    book.add("irc/busy", t)
    t = book.talk()  # The server says it, and the client before the handshake is over
    t.open(6667)
    t.say(1, dcc(t, IRC_LINES["chat"]), "ESTABLISHED")
    t.syn(1, 3000, 4100, "NEW")
    t.tcp(0, 4005, 6667, "S", 1000, data=dcc(t, IRC_LINES["chat"]))
    t.syn(1, 3001, 4100, "NEW")
    book.add("irc/server-or-syn", t)
    for head in (4070, 4095):  # What lies behind 4095 octets is not read, but no segment is that long
        t = book.talk()
        t.open(6667)
        t.say(0, b" " * (1400 if head == 4070 else 1350) + dcc(t, IRC_LINES["chat"]))
        t.syn(1, 3000, 4100, "RELATED")
        book.add(f"irc/blanks-{head}", t)


# Amanda

AMANDA_TEXTS = {
    "three": "Amanda 2.6 REP HANDLE 1 SEQ 2\nCONNECT DATA 5001 MESG 5002 INDEX 5003\n",
    "state": "CONNECT STATE 5001 INDEX 5002 MESG 5003 DATA 5004\n",
    "no-newline": "CONNECT DATA 5001 MESG 5002",
    "next-line": "CONNECT DATA 5001\nMESG 5002\n",
    "five-digits": "CONNECT DATA 705371 MESG 5002\n",
    "large": "CONNECT DATA 70537 MESG 5002\n",
    "no-port": "CONNECT DATA MESG 5002\n",
    "zero": "CONNECT DATA 0 MESG 5002\n",
    "letters": "CONNECT MESG 5002x DATA x\n",
    "two-blanks": "CONNECT DATA  5001 MESG 5002\n",
    "lower": "connect DATA 5001\n",
    "twice": "CONNECT DATA 5001 DATA 5002\n",
    "same-port": "CONNECT DATA 5001 MESG 5001\n",
    "same-port-first": "CONNECT DATA 5001 MESG 5001 INDEX 5002\n",
    "second-connect": "CONNECT \nCONNECT DATA 5001\n",
    "glued": "CONNECT DATA 5001MESG 5002\n",
    "prefix": "CONNECT XDATA 5001\n",
    "minus": "CONNECT DATA -1 MESG 5002\n",
    "plus": "CONNECT DATA +5001 MESG 5002\n",
    "hex": "CONNECT DATA 0x10 MESG 5002\n",
}


def amanda(book):
    for v6 in FAMILIES:
        for name, text in AMANDA_TEXTS.items():
            for cut in range(1, len(text)) if name == "three" else ():
                t = book.talk(v6)
                t.udp(0, 2000, 10080, b"Amanda REQ")
                t.udp(1, 10080, 2000, text[:cut].encode())
                for port in (5001, 5002, 5003, 50, 500, 5):
                    t.syn(0, 3000, port)
                book.add(f"amanda/cut-{cut}", t)
            t = book.talk(v6)
            t.udp(0, 2000, 10080, b"Amanda REQ")
            t.udp(1, 10080, 2000, text.encode())
            t.udp(1, 10080, 2000, text.encode())
            for port in (5001, 5002, 5003, 5004, 70537 & 0xFFFF, 7053, 0, 16, 1):
                t.syn(0, 3000, port)
                t.syn(0, 3001, port)
            book.add(f"amanda/{name}", t)
        t = book.talk(v6)
        t.udp(0, 2000, 10080, AMANDA_TEXTS["three"].encode())
        t.syn(0, 3000, 5001, "NEW")
        t.udp(1, 10080, 2000, b"")
        t.udp(0, 2000, 10080, b"x")
        t.syn(1, 3000, 5001, "NEW")
        book.add("amanda/client-says", t)
        t = book.talk(v6)  # One more than four
        t.udp(0, 2000, 10080, b"x")
        for text in (b"CONNECT DATA 5001 MESG 5002\n", b"CONNECT DATA 5003 MESG 5004 INDEX 5005\n"):
            t.udp(1, 10080, 2000, text, "ESTABLISHED")
        for port in range(5001, 5006):
            t.syn(0, 3000, port, "NEW" if port == 5001 else "RELATED")
        book.add("amanda/five", t)


# SANE


def sane(book):
    start = struct.pack(">II", 7, 1)
    answer = struct.pack(">IHHII", 0, 0, 5001, 0x1234, 0)
    for v6 in FAMILIES:
        rows = {"start": (start, answer), "no-resource": (start, answer[:8]), "other": (struct.pack(">II", 6, 1), answer),
                "long-request": (start + b"\0", answer), "failed": (start, struct.pack(">IHH", 1, 0, 5001)),
                "not-zero": (start, struct.pack(">IHH", 0, 1, 5001)), "port-0": (start, struct.pack(">IHH", 0, 0, 0))}
        rows |= {f"request-{n}": (start[:n], answer) for n in range(1, 8)}
        rows |= {f"answer-{n}": (start, answer[:n]) for n in range(1, 16)}
        for name, (request, reply) in rows.items():
            t = book.talk(v6)
            t.open(6566)
            t.say(0, request)
            t.say(1, reply)
            t.syn(0, 3000, 0 if name == "port-0" else 5001)
            t.say(1, reply)
            t.syn(0, 3001, 5001)
            t.say(0, start)
            t.say(1, reply)
            t.syn(0, 3002, 5001)
            book.add(f"sane/{name}", t)
        t = book.talk(v6)
        t.open(6566)
        t.say(0, start)
        t.say(0, b"\0\0")
        t.say(1, answer)
        t.syn(0, 3000, 5001, "RELATED")
        t.say(0, start)
        t.say(0, struct.pack(">II", 5, 1))
        t.say(1, answer)
        t.syn(0, 3001, 5001, "NEW")
        t.say(0, start)
        t.say(1, answer)
        t.say(0, start)
        t.say(1, struct.pack(">IHH", 0, 0, 5002))
        t.syn(0, 3002, 5001, "NEW")
        t.syn(0, 3002, 5002, "RELATED")
        book.add("sane/order", t)


def cases(first=0):
    """All that are written down."""
    book = Book(first)
    for part in (tftp, irc, amanda, sane):
        part(book)
    return book.cases


# Mutations


def mutate(rng, data, words):
    """A few changes of the kind that parsers trip over."""
    data = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        what = rng.random()
        if what < 0.25:
            data[at:at + rng.choice((1, 1, 1, 2, 5))] = b""
        elif what < 0.5:
            data[at:at] = rng.choice(words)
        elif what < 0.6:
            end = rng.randrange(at, len(data) + 1)
            data[at:at] = data[at:end][:rng.choice((1, 4, 12, 40))]
        elif what < 0.8 and at < len(data):
            data[at] = rng.choice((rng.randrange(256), rng.choice(b" \r\n\t:;,=@0123456789")))
        elif what < 0.9:
            del data[at:]
        else:
            data = bytearray(data.swapcase()) if rng.random() < 0.3 else data + rng.choice(words)
    return bytes(data[:1400])


def fuzz_tftp(rng, t):
    for _ in range(rng.randint(1, 4)):
        t.udp(rng.choice((0, 0, 1)), *rng.choice(((2000, 69), (69, 2000))), mutate(rng, bytes((0, rng.choice((1, 2, 3)))) + b"f\0octet\0", [b"\0", b"\1", b"\2"]))
        t.udp(1, rng.choice((3000, 3001, 69)), 2000, b"\0\3\0\1")


def fuzz_irc(rng, t):
    t.open(6667)
    for _ in range(rng.randint(1, 5)):
        line = dcc(t, rng.choice(list(IRC_LINES.values())).replace("4100", str(rng.randint(4100, 4103))))
        t.say(rng.choice((0, 0, 0, 1)), mutate(rng, line, [b" ", b"\n", b" :", b"\x01DCC ", b"CHAT ", b"SEND ", b"4100", b"4101 "]), moves=rng.random() < 0.9)
        t.syn(1, rng.randint(3000, 3003), rng.randint(4100, 4103), other=rng.random() < 0.3)


def fuzz_amanda(rng, t):
    t.udp(0, 2000, 10080, b"REQ")
    for _ in range(rng.randint(1, 4)):
        text = rng.choice(list(AMANDA_TEXTS.values())).encode()
        t.udp(rng.choice((1, 1, 1, 0)), *rng.choice(((10080, 2000), (2000, 10080))), mutate(rng, text, [b" ", b"\n", b"CONNECT ", b"DATA ", b"5001", b"INDEX 5002"]))
        for _ in range(2):
            t.syn(0, rng.randint(3000, 3003), rng.randint(5001, 5004))


def fuzz_sane(rng, t):
    t.open(6566)
    for _ in range(rng.randint(1, 6)):
        if rng.random() < 0.5:
            t.say(0, mutate(rng, struct.pack(">II", rng.choice((7, 7, 7, 6)), 1), [b"\0", b"\7"]) or b"x")
        else:
            t.say(1, mutate(rng, struct.pack(">IHHI", rng.choice((0, 0, 0, 1)), 0, rng.randint(5001, 5003), 7), [b"\0", b"\1"]) or b"x")
        t.syn(0, rng.randint(3000, 3003), rng.randint(5001, 5003))


FUZZ = [(fuzz_tftp, FAMILIES), (fuzz_irc, (False,)), (fuzz_amanda, FAMILIES), (fuzz_sane, FAMILIES)]


def run(seed, count):
    """As many histories as asked for."""
    rng = random.Random(seed)
    book = Book(0)
    for n in range(count):
        make, families = rng.choice(FUZZ)
        t = book.talk(rng.choice(families))
        make(rng, t)
        book.add(f"mutated/{make.__name__[5:]}-{seed}-{n}", t)
    return book.cases
