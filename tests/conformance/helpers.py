"""Cases for the helpers, too many and too alike to be written by hand: every message cut at every octet, and mutations.

All helpers are attached at once, each to its usual port, so all cases share one run.
"""

import random
import re
import socket
import struct

import packets as p
from kernel import HELPERS
from script import Case, Hosts, Setup

EVERY = Setup(helpers=[name for name in HELPERS if name != "ftp"])


class Talk:
    """A control connection of one case, and what is tried around it."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.events, self.expected = [], []
        self.now = 0
        self.next = [1001, 5001]
        self.ports = (4000, 0)

    def put(self, side, proto, payload, expected=None, src=None, dst=None):
        a, b = self.hosts.pair[side], self.hosts.pair[1 - side]
        packet = p.ip(src or a, dst or b, proto, payload, ident=len(self.events) + 1)
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

    def media(self, side, port, to=None, other=False):
        """A packet of RTP to where it was announced for, perhaps elsewhere than the peer; from the peer or another."""
        a, b = self.pair(side)
        a, b = self.hosts.others[side] if other else a, to or b
        self.put(side, p.UDP, p.udp(a, b, 7000 + len(self.events), port, b"rtp"), src=a, dst=b)

    def gre(self, side, call, expected=None, version=1, data=b"data"):
        head = struct.pack(">HHHH", 0x2000 | version, 0x880B if version == 1 else 0x0800, len(data), call)
        self.put(side, p.GRE, head + data, expected)

    def decimal(self, side):
        return int.from_bytes(self.hosts.pair[side], "big")

    def case(self, name, setup=EVERY):
        return Case(f"helper/{name} {'v6' if self.hosts.v6 else 'v4'}", self.events, setup, self.expected)


class Book:
    """Collects cases, each with hosts of its own."""

    def __init__(self, first):
        self.first, self.cases = first, []
        self.setup = EVERY

    def talk(self, v6=False):
        return Talk(Hosts(self.first + len(self.cases), v6))

    def add(self, name, talk):
        self.cases.append(talk.case(name, self.setup))


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


# SIP


class Phone:
    """A phone at the client, its registrar and peer at the server."""

    def __init__(self, talk, tcp=False):
        self.t = talk
        self.over_tcp = tcp
        self.family = 6 if talk.hosts.v6 else 4
        self.names = [socket.inet_ntop(socket.AF_INET6 if talk.hosts.v6 else socket.AF_INET, host) for host in talk.hosts.pair]
        self.hosts = [f"[{name}]" if talk.hosts.v6 else name for name in self.names]
        if tcp:
            talk.open(5060)

    def fill(self, text):
        """@C, @S: addresses as hosts of URIs; $C, $S: as in SDP."""
        for letter, n in (("C", 0), ("S", 1)):
            text = text.replace("@" + letter, self.hosts[n]).replace("$" + letter, f"IN IP{self.family} {self.names[n]}")
        return text

    def sdp(self, *media, side=0, session=True):
        """(kind, port[, connection])"""
        own = "$" + "CS"[side]
        lines = ["v=0", f"o=- 1 1 {own}", "s=-"] + ([f"c={own}"] if session else []) + ["t=0 0"]
        for kind, port, *rest in media:
            lines += [f"m={kind} {port} RTP/AVP 0"] + [f"c={line}" for line in rest]
        return "\r\n".join(lines) + "\r\n"

    def message(self, first, *headers, body=None, length=True):
        lines = [first, f"Via: SIP/2.0/{'TCP' if self.over_tcp else 'UDP'} @C:5060;branch=z9hG4bK1", "From: <sip:a@x>;tag=1",
                 "To: <sip:b@x>", "Call-ID: 1@x", *headers]
        body = self.fill(body or "")
        if length:
            lines.append(f"Content-Length: {len(body)}")
        return self.fill("\r\n".join(lines) + "\r\n\r\n") + body

    def say(self, side, text, expected=None, moves=True):
        if isinstance(text, str):
            text = text.encode("latin1")
        if self.over_tcp:
            self.t.say(side, text, expected, moves)
        else:
            ports = (5062, 5060) if side == 0 else (5060, 5062)
            self.t.udp(side, *ports, text, expected)

    def invite(self, *media, number=1, method="INVITE", **more):
        body = self.sdp(*media, **more) if media else ""
        return self.message(f"{method} sip:b@S SIP/2.0", f"CSeq: {number} {method}", "Contact: <sip:a@@C:5062>",
                            "Content-Type: application/sdp", body=body)

    def answer(self, code, *media, number=1, method="INVITE", headers=(), **more):
        body = self.sdp(*media, side=1, **more) if media else ""
        return self.message(f"SIP/2.0 {code} Text", f"CSeq: {number} {method}", *headers, body=body)

    def register(self, contact="<sip:a@@C:5062>", expires="Expires: 3600", number=1):
        headers = [f"CSeq: {number} REGISTER"] + ([f"Contact: {contact}"] if contact else []) + ([expires] if expires else [])
        return self.message("REGISTER sip:x SIP/2.0", *headers)

    def registered(self, code=200, contact="<sip:a@@C:5062>;expires=3600", number=1, headers=()):
        return self.message(f"SIP/2.0 {code} Text", f"CSeq: {number} REGISTER", *([f"Contact: {contact}"] if contact else []), *headers)

    def probe(self, side, *ports, other=False):
        """Media that may have been announced."""
        src = self.t.hosts.others[side] if other else None
        for port in ports:
            self.t.udp(side, 7000 + len(self.t.events), port, b"rtp", src=src)


def sip(book):
    for v6, tcp in ((False, False), (False, True), (True, False), (True, True)):

        def phone():
            return Phone(book.talk(v6), tcp)

        def add(name, one):
            book.add(f"sip{'-tcp' if tcp else ''}/{name}", one.t)

        one = phone()  # A call, from its begin to its end
        one.say(0, one.invite(("audio", 4000)))
        one.say(1, one.answer(100))
        one.probe(1, 4000, 4001, 4002)
        one.say(1, one.answer(200, ("audio", 6000)))
        one.say(0, one.invite(method="ACK"))
        one.probe(0, 6000, 6001, 6002)
        one.probe(0, 6000)
        one.say(0, one.invite(number=2, method="BYE"))
        one.say(1, one.answer(200, number=2, method="BYE"))
        add("call", one)
        for name, end in (("bye", lambda p: p.say(0, p.invite(number=2, method="BYE"))),
                          ("bye-from-peer", lambda p: p.say(1, p.invite(number=2, method="BYE"))),
                          ("busy-here", lambda p: p.say(1, p.answer(486))),
                          ("busy-other-number", lambda p: p.say(1, p.answer(486, number=2))),
                          ("ringing", lambda p: p.say(1, p.answer(180))),
                          ("redirect", lambda p: p.say(1, p.answer(302))),
                          ("cancel", lambda p: p.say(0, p.invite(method="CANCEL"))),
                          ("update-refused", lambda p: p.say(1, p.answer(488, method="UPDATE"))),
                          ("prack-refused", lambda p: p.say(1, p.answer(488, method="PRACK"))),
                          ("info-refused", lambda p: p.say(1, p.answer(488, method="INFO"))),
                          ("again", lambda p: p.say(0, p.invite(("audio", 4100), number=2))),
                          ("again-held", lambda p: p.say(0, p.invite(("audio", 0), number=2))),
                          ("again-without", lambda p: p.say(0, p.invite(number=2))),
                          ("code-0", lambda p: p.say(1, p.answer("0"))), ("code-x", lambda p: p.say(1, p.answer("x")))):
            one = phone()
            one.say(0, one.invite(("audio", 4000)))
            end(one)
            one.probe(1, 4000, 4001, 4100, 4101)
            add(f"end/{name}", one)
        for name, media in {
            "odd": [("audio", 4001)], "zero": [("audio", 0)], "low": [("audio", 1023)], "lowest": [("audio", 1024)],
            "highest": [("audio", 65535)], "too-high": [("audio", 65536)], "huge": [("audio", 4294971296)], "letters": [("audio", "x")],
            "several": [("audio", 4000), ("video", 4002), ("image", 4004)], "four": [("audio", 4000 + 2 * n) for n in range(4)],
            "huge-then": [("audio", 4294971296), ("video", 4002)], "zeros": [("audio", "0000004000")], "many-zeros": [("audio", "000000004000"), ("video", 4002)],
            "max": [("audio", 4294967295)],
            "application": [("application", 4000), ("audio", 4002)], "zero-then": [("audio", 0), ("video", 4002)],
            "own-line": [("audio", 4000, "$C")], "other-line": [("audio", 4000, "$S")], "other-then-own": [("audio", 4000, "$S"), ("video", 4002)],
            "bad-line": [("audio", 4000, "IN IP4 x")], "name-line": [("audio", 4000, "IN IP4 host.example")],
            "twice": [("audio", 4000), ("video", 4000)], "overlap": [("audio", 4000), ("audio", 4001)], "capitals": [("AUDIO", 4000)],
            "pairs": [("audio", "4000/2")], "unknown-text": [("text", 4000)],
        }.items():
            for session in (True, False):
                one = phone()
                one.say(0, one.invite(*media, session=session))
                one.probe(1, 4000, 4001, 4002, 4003, 4004, 4005, 4006, 1024, 65534, 65535)
                one.probe(1, 4000, other=True)
                add(f"media/{name}{'' if session else '-bare'}", one)
        for method in ("UPDATE", "ACK", "PRACK", "INFO", "invite", "INVITED", "BYE", "OPTIONS"):
            one = phone()
            one.say(0, one.invite(("audio", 4000), method=method))
            one.probe(1, 4000, 4001)
            add(f"method/{method}", one)
        for name, change in {
            "no-cseq": lambda m: m.replace("CSeq: 1 INVITE\r\n", ""), "cseq-x": lambda m: m.replace("CSeq: 1", "CSeq: x"),
            "cseq-0": lambda m: m.replace("CSeq: 1", "CSeq: 0"), "cseq-wraps": lambda m: m.replace("CSeq: 1", "CSeq: 4294967296"),
            "cseq-wraps-1": lambda m: m.replace("CSeq: 1", "CSeq: 4294967297"), "cseq-max": lambda m: m.replace("CSeq: 1", "CSeq: 4294967295"),
            "cseq-zeros": lambda m: m.replace("CSeq: 1", "CSeq: 00000000001"), "cseq-many-zeros": lambda m: m.replace("CSeq: 1", "CSeq: 000000000001"),
            "length-zeros": lambda m: m.replace("Content-Length: ", "Content-Length: 000"), "length-many-zeros": lambda m: m.replace("Content-Length: ", "Content-Length: 0000000000"),
            "cseq-lower": lambda m: m.replace("CSeq", "cseq"), "cseq-blanks": lambda m: m.replace("CSeq: ", "CSeq \t :\t "),
            "cseq-folded": lambda m: m.replace("CSeq: ", "CSeq:\r\n  "), "cseq-folded-name": lambda m: m.replace("CSeq: ", "CSeq\r\n : "),
            "cseq-no-colon": lambda m: m.replace("CSeq: ", "CSeq "), "lf-only": lambda m: m.replace("\r\n", "\n"),
            "cr-only": lambda m: m.replace("\r\n", "\r"), "no-length": lambda m: m.replace("Content-Length", "X-Length"),
            "compact-length": lambda m: m.replace("Content-Length:", "l:"), "wrong-length": lambda m: m.replace("Content-Length: 1", "Content-Length: "),
            "two-blanks": lambda m: m.replace("INVITE sip", "INVITE  sip"), "digit-after": lambda m: m.replace("INVITE sip", "INVITE 1"),
            "no-version": lambda m: m.replace("v=0", "w=0"), "version-x": lambda m: m.replace("v=0", "v=x"),
            "connection-lower": lambda m: m.replace("c=IN", "c=in"), "connection-blanks": lambda m: m.replace("c=IN ", "c=  IN "),
            "address-zeros": lambda m: m.replace("IP6 fd", "IP6 000fd").replace("IP4 10.", "IP4 010."),
            "address-zero-groups": lambda m: m.replace("fd01:0:0:1:", "fd01:00000:0000000:000001:"),
            "address-dots": lambda m: m.replace("\r\nt=", ".\r\nt="), "address-slash": lambda m: m.replace("\r\nt=", "/127\r\nt="),
            "address-letter": lambda m: m.replace("\r\nt=", "a\r\nt="), "address-z": lambda m: m.replace("\r\nt=", "z\r\nt="),
            "media-no-port": lambda m: m.replace("m=audio 4000", "m=audio"), "media-two-blanks": lambda m: m.replace("audio 4", "audio  4"),
            "media-tab": lambda m: m.replace("audio 4", "audio\t4"), "blank-lines": lambda m: m.replace("\r\n", "\r\n\r\n"),
            "leading-line": lambda m: "\r\n" + m, "response-like": lambda m: "SIP/2.0 " + m,
        }.items():
            one = phone()
            one.say(0, change(one.invite(("audio", 4000))))
            one.probe(1, 4000, 4001)
            add(f"text/{name}", one)
        for contact in ("<sip:a@@C:5062>", "sip:a@@C:5062", "<sip:@C:5062>", "<sip:a@@C>", "<sip:a@@C:1000>", "<sip:a@@C:70000>", "<sip:a@@S:5062>",
                        "<sip:a@@C:5062;transport=udp>", "<sip:a@@C:5062;transport=TCP>", "<sip:a@@C:5062;transport=tls>",
                        "<sip:a@@C:5062>;expires=0", "<sip:a@@C:5062>;expires=60", "<sip:a@@C:5062>;expires=x", "<sip:a@@C:5062>;expires=0x10",
                        "<sip:a@@C:5062>;expires=08", "*", "<tel:1>", "<sip:a@host.example>", "<sip:a@host.example>, <sip:a@@C:5062>", "", "sip:", "<sip:a@@C:>",
                        "\"x\" <SIP:a@@C:5062>", "<sips:a@@C:5062>", "<sip:a:b@@C:5062>"):
            for expires in ("Expires: 3600", "Expires: 0", "") if contact.startswith("<sip:a@@C:5062>") else ("Expires: 3600",):
                one = phone()
                one.say(0, one.register(contact, expires))
                port = 5062 if ":5062" in contact else 5060
                call = (lambda sport: one.t.syn(1, sport, port)) if tcp else (lambda sport: one.t.udp(1, sport, port, b"x"))
                call(5070)
                one.say(1, one.registered(contact=contact))
                call(5071)
                call(5072)
                add(f"register/{contact}-{expires}", one)
        for name, tail in {"host": "<sip:a@@C", "port": "<sip:a@@C:5062", "port-end": "<sip:a@@C:5062>", "long": "<sip:a@@C:05062>",
                           "longer": "<sip:a@@C:005062>"}.items():
            one = phone()
            one.say(0, one.fill(f"REGISTER sip:x SIP/2.0\r\nCSeq: 1 REGISTER\r\nExpires: 60\r\nContact: {tail}")
                    if not tcp else one.message("REGISTER sip:x SIP/2.0", "CSeq: 1 REGISTER", "Expires: 60", "Content-Length: 0", f"Contact: {tail}", length=False))
            one.say(1, one.fill(f"SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\nExpires: 60\r\nContact: {tail}") if not tcp else one.registered())
            for port in (5060, 5062):
                if tcp:
                    one.t.syn(1, 5070, port)
                else:
                    one.t.udp(1, 5070, port, b"x")
            add(f"register-cut/{name}", one)
        for name, answer in {
            "refused": dict(code=401), "trying": dict(code=100), "late": dict(number=0), "gone": dict(contact=None),
            "other-port": dict(contact="<sip:a@@C:5063>"), "third-party": dict(contact="<sip:a@@S:5062>;expires=3600"),
            "second": dict(contact="<sip:a@@S:5062>;expires=5, <sip:a@@C:5062>;expires=3600"),
            "second-header": dict(contact="<sip:a@@S:5062>", headers=["m: <sip:a@@C:5062>;expires=9"]),
            "second-broken": dict(contact="<sip:a@x>, <sip:a@@C:5062>;expires=3600"),
            "second-bad-port": dict(contact="<sip:a@@C:80>, <sip:a@@C:5062>;expires=3600"),
            "expires-header": dict(contact="<sip:a@@C:5062>", headers=["Expires: 60"]), "expires-none": dict(contact="<sip:a@@C:5062>"),
            "expires-0": dict(contact="<sip:a@@C:5062>;expires=0"), "expires-bad": dict(contact="<sip:a@@C:5062>;expires=x"),
            "expires-wraps": dict(contact="<sip:a@@C:5062>;expires=4294967296"),
            "expires-long": dict(contact="<sip:a@@C:5062>;expires=40000000"), "expires-zeros": dict(contact="<sip:a@@C:5062>;expires=00000000007"),
            "expires-header-wraps": dict(contact="<sip:a@@C:5062>", headers=["Expires: 4294967297"]), "code-large": dict(code=4294967296),
            "code-larger": dict(code=4294967496), "code-zeros": dict(code="00000000200"), "code-many-zeros": dict(code="000000000200"), "redirect": dict(code=302), "ok-202": dict(code=202),
        }.items():
            one = phone()
            one.say(0, one.register())
            one.say(1, one.registered(**answer))
            for sport in (5070, 5071):
                if tcp:
                    one.t.syn(1, sport, 5062)
                else:
                    one.t.udp(1, sport, 5062, b"x")
            one.say(1, one.registered())
            if tcp:
                one.t.syn(1, 5073, 5062)
            else:
                one.t.udp(1, 5073, 5062, b"x")
            add(f"registered/{name}", one)
    for v6 in FAMILIES:
        one = Phone(book.talk(v6))  # A registered phone is called, and the call has media of its own
        one.say(0, one.register())
        one.say(1, one.registered())
        one.t.udp(1, 5070, 5062, one.invite(("audio", 6000), side=1).encode(), "RELATED")
        one.t.udp(0, 5062, 5070, one.message("SIP/2.0 200 OK", "CSeq: 1 INVITE", body=one.sdp(("audio", 4000))).encode(), "ESTABLISHED")
        one.probe(0, 6000, 6001)
        one.probe(1, 4000, 4001)
        one.t.udp(0, 5062, 5070, one.register("<sip:a@@C:5080>", number=7).encode(), "ESTABLISHED")
        one.t.udp(1, 5070, 5062, one.registered(contact="<sip:a@@C:5080>;expires=60", number=7).encode(), "ESTABLISHED")
        one.t.udp(1, 5071, 5080, b"x", "NEW")
        one.t.udp(1, 5072, 5062, b"x", "NEW", src=one.t.hosts.others[1])
        one.say(0, one.register(contact="<sip:a@@C:5062>;expires=0", number=2))
        one.t.udp(1, 5073, 5062, b"x", "RELATED")
        one.say(1, one.registered(contact=None, number=2))
        one.t.udp(1, 5074, 5062, b"x", "NEW")
        book.add("sip/registered-and-called", one.t)
        one = Phone(book.talk(v6))  # The same media from two connections, as when a call rings at two
        one.say(0, one.invite(("audio", 4000)))
        one.t.udp(0, 5064, 5060, one.invite(("audio", 4000)).encode(), "NEW")
        one.t.udp(0, 5066, 5060, one.invite(("video", 4000)).encode())
        one.t.udp(0, 5066, 5060, one.invite(("audio", 4002)).encode())
        one.t.udp(0, 5064, 5060, one.invite(number=2, method="BYE").encode())
        one.probe(1, 4000, 4001, 4002, 4003)
        one.t.udp(0, 5064, 5060, one.register().encode())
        one.t.udp(0, 5066, 5060, one.register().encode(), "NEW dropped")
        book.add("sip/two", one.t)
        one = Phone(book.talk(v6), True)  # Messages in a stream
        invite, bye = one.invite(("audio", 4000)), one.invite(number=2, method="BYE")
        one.say(0, invite + bye)
        one.probe(1, 4000)
        one.say(0, one.invite(method="OPTIONS") + invite)
        one.probe(1, 4000)
        one.say(0, one.invite(("video", 4004), number=3) + invite[:100])
        one.probe(1, 4004)
        one.say(0, invite[100:])
        one.probe(1, 4000, 4001)
        one.say(0, "\r\n\r\n" + one.invite(("audio", 4006), number=4))
        one.probe(1, 4006)
        book.add("sip-tcp/stream", one.t)
    for what in ("invite", "ok", "register", "registered"):
        for tcp in FAMILIES:
            draft = Phone(book.talk(), tcp)
            make = {"invite": lambda p: p.invite(("audio", 4000)), "ok": lambda p: p.answer(200, ("audio", 6000)),
                    "register": lambda p: p.register(), "registered": lambda p: p.registered()}[what]
            for cut in range(1, len(make(draft)) + 3):
                one = Phone(book.talk(), tcp)
                text = make(one)
                side = int(what in ("ok", "registered"))
                if side:
                    one.say(0, one.invite() if what == "ok" else one.register())
                if cut > len(text):
                    continue
                one.say(side, text[:cut], moves=False)
                if what in ("invite", "ok"):
                    one.probe(1 - side, *((4000, 4001, 400) if what == "invite" else (6000, 6001, 600)))
                else:
                    if side == 0:
                        one.say(0, text)
                        one.say(1, one.registered())
                    for sport in (5070, 5071):
                        if tcp:
                            one.t.syn(1, sport, 5062)
                        else:
                            one.t.udp(1, sport, 5062, b"x")
                book.add(f"sip{'-tcp' if tcp else ''}/cut-{what}-{cut}", one.t)


# PPTP


def pptp_message(kind, body, size=None, cookie=0x1A2B3C4D, packet=1):
    body = body + bytes((size or len(body)) - len(body))
    return struct.pack(">HHIHH", 12 + len(body), packet, cookie, kind, 0) + body


def start_request():
    return pptp_message(1, b"\1\0", 144)


def start_reply(result=1):
    return pptp_message(2, bytes((1, 0, result, 0)), 144)


def out_request(call):
    return pptp_message(7, struct.pack(">H", call), 156)


def out_reply(call, peer, result=1):
    return pptp_message(8, struct.pack(">HHBB", call, peer, result, 0), 20)


def in_request(call):
    return pptp_message(9, struct.pack(">H", call), 208)


def in_reply(call, peer, result=1):
    return pptp_message(10, struct.pack(">HHBB", call, peer, result, 0), 12)


def in_connect(peer):
    return pptp_message(11, struct.pack(">H", peer), 16)


def clear(call):
    return pptp_message(12, struct.pack(">H", call), 4)


def disconnect(call):
    return pptp_message(13, struct.pack(">HB", call, 1), 136)


def stop_request():
    return pptp_message(3, b"\1", 4)


def stop_reply(result=1):
    return pptp_message(4, bytes((result,)), 4)


CALL = [(0, start_request), (1, start_reply), (0, lambda: out_request(50)), (1, lambda: out_reply(60, 50))]
CALLED = [(0, start_request), (1, start_reply), (1, lambda: in_request(60)), (0, lambda: in_reply(50, 60)), (1, lambda: in_connect(50))]


def pptp(book):
    def talk(messages):
        t = book.talk()
        t.open(1723)
        for side, make in messages:
            t.say(side, make() if callable(make) else make)
        return t

    def probe(t, first=0):
        """The client sends the server's call id, the server the client's."""
        for side in (first, 1 - first, first, 1 - first):
            t.gre(side, (60, 50)[side])
        t.gre(0, 61)
        t.gre(1, 51)

    for name, messages in (("out", CALL), ("in", CALLED)):
        for first in (0, 1):
            t = talk(messages)
            probe(t, first)
            book.add(f"pptp/{name}-{'server' if first else 'client'}-first", t)
            t = talk(messages)  # Ended, and again with the same ids
            probe(t, first)
            t.say(0, clear(50))
            probe(t, first)
            t.say(1, disconnect(60))
            probe(t, first)
            for side, make in messages[2:]:
                t.say(side, make())
            probe(t, first)
            book.add(f"pptp/{name}-again-{first}", t)
            t = talk(messages)  # Ended before its first packet
            t.say(1, disconnect(60))
            probe(t, first)
            book.add(f"pptp/{name}-unused-{first}", t)
            t = talk(messages)  # The acceptance is repeated, before and after the first packet
            t.say(*(lambda m: (m[0], m[1]()))(messages[-1]))
            probe(t, first)
            t.say(*(lambda m: (m[0], m[1]()))(messages[-1]))
            probe(t, first)
            t.say(1, disconnect(60))
            probe(t, first)
            book.add(f"pptp/{name}-repeated-{first}", t)
        for at in range(len(messages)):
            t = talk(messages[:at] + messages[at + 1:])
            probe(t)
            book.add(f"pptp/{name}-without-{at}", t)
            t = talk(messages[:at + 1] + messages[at:])
            probe(t)
            book.add(f"pptp/{name}-twice-{at}", t)
            t = talk([(1 - side, make) if n == at else (side, make) for n, (side, make) in enumerate(messages)])
            probe(t)
            book.add(f"pptp/{name}-mirrored-{at}", t)
            side, make = messages[at]
            for cut in range(1, len(make())) if at > 1 else (11, 12, 13, 100, 155):
                if cut > 40 and cut % 16 not in (0, 12):
                    continue
                t = talk(messages[:at] + [(side, make()[:cut])] + messages[at + 1:])
                probe(t)
                book.add(f"pptp/{name}-cut-{at}-{cut}", t)
    for name, messages in {
        "start-refused": [(0, start_request), (1, lambda: start_reply(2)), *CALL[2:]],
        "refused": [*CALL[:3], (1, lambda: out_reply(60, 50, 2))], "refused-then": [*CALL[:3], (1, lambda: out_reply(60, 50, 4)), CALL[3]],
        "other-peer": [*CALL[:3], (1, lambda: out_reply(60, 51))], "in-refused": [*CALLED[:3], (0, lambda: in_reply(50, 60, 2)), CALLED[4]],
        "in-other": [*CALLED[:3], (0, lambda: in_reply(50, 61)), CALLED[4]], "in-connect-other": [*CALLED[:4], (1, lambda: in_connect(51))],
        "call-0": [*CALL[:2], (0, lambda: out_request(0)), (1, lambda: out_reply(0, 0))],
        "cookie": [*CALL[:3], (1, lambda: pptp_message(8, struct.pack(">HHBB", 60, 50, 1, 0), 20, cookie=1))],
        "management": [*CALL[:3], (1, lambda: pptp_message(8, struct.pack(">HHBB", 60, 50, 1, 0), 20, packet=2))],
        "longer": [*CALL[:3], (1, lambda: out_reply(60, 50) + b"more")], "two-in-one": [*CALL[:3], (1, lambda: pptp_message(5, b"1234") + out_reply(60, 50))],
        "stopped": [*CALL, (0, stop_request), (1, stop_reply)], "stopped-then": [*CALL, (0, stop_request), (1, stop_reply), *CALL],
        "stop-refused": [*CALL[:2], (0, stop_request), (1, lambda: stop_reply(2)), *CALL], "stop-unasked": [*CALL[:2], (1, stop_reply), *CALL[2:]],
        "cleared": [*CALL[:3], (0, lambda: clear(50)), CALL[3]], "echo": [*CALL[:3], (0, lambda: pptp_message(5, b"1234")), CALL[3]],
        "error": [*CALL[:3], (1, lambda: pptp_message(14, bytes(28))), (0, lambda: pptp_message(15, bytes(12))), CALL[3]],
        "second-call": [*CALL, (0, lambda: out_request(51)), (1, lambda: out_reply(61, 51))],
        "second-same-client": [*CALL, (0, lambda: out_request(50)), (1, lambda: out_reply(61, 50))],
        "second-same-server": [*CALL, (0, lambda: out_request(51)), (1, lambda: out_reply(60, 51))],
        "unknown": [*CALL[:3], (1, lambda: pptp_message(99, bytes(200))), CALL[3]], "out-and-in": CALL + CALLED[2:],
    }.items():
        t = talk(messages)
        probe(t)
        for side in (0, 1):
            t.gre(side, (61, 51)[side])
            t.gre(side, 0)
            t.gre(side, (60, 50)[side], version=0)
        t.say(1, disconnect(60))
        probe(t, 1)
        for side in (0, 1):
            t.gre(side, (61, 51)[side])
            t.gre(side, 0)
        book.add(f"pptp/{name}", t)
    t = book.talk()  # Two control connections, the same calls
    t.open(1723)
    for side, make in CALL:
        t.say(side, make())
    t.open(1723, sport=4001)
    for side, make in CALL:
        t.say(side, make())
    probe(t)
    t.say(1, disconnect(60))
    probe(t)
    book.add("pptp/two", t)
    # Two control connections between the same hosts, of whose calls one id is the same: who came first has it.
    for name, (ask, reply) in {"server": (51, (60, 51)), "client": (50, (61, 50)), "crossed": (60, (50, 60))}.items():
        for end in (0, 1):
            t = talk(CALL)
            first = list(t.next)
            t.open(1723, sport=4001)
            for side, make in (*CALL[:2], (0, lambda: out_request(ask)), (1, lambda: out_reply(*reply))):
                t.say(side, make())
            probe(t)
            for side in (0, 1):
                t.gre(side, (61, 51)[side])
                t.gre(side, (50, 60)[side])
            if end:
                t.ports, t.next = (4000, 1723), first
            t.say(1, disconnect(60 if end else reply[0]))
            probe(t)
            for side in (0, 1):
                t.gre(side, (61, 51)[side])
                t.gre(side, (50, 60)[side])
            book.add(f"pptp/two-equal-{name}-{'first' if end else 'second'}-ends", t)
    for ids in ((7, 7), (0, 0), (0, 7)):
        t = talk([*CALL[:2], (0, lambda: out_request(ids[0])), (1, lambda: out_reply(ids[1], ids[0]))])
        for side in (0, 1, 0, 1):
            t.gre(side, ids[1 - side])
        book.add(f"pptp/ids-{ids[0]}-{ids[1]}", t)
    t = talk(CALL)  # Errors about the call's packets
    t.gre(0, 60, "RELATED")
    sent = t.events[-1][2][14:]
    t.put(1, p.ICMP, p.icmp(*t.pair(1), 3, 1, 0, sent[:28]), "RELATED")
    t.put(1, p.ICMP, p.icmp(*t.pair(1), 3, 1, 0, sent[:24]), "INVALID")
    t.gre(1, 50, "ESTABLISHED")
    sent = t.events[-1][2][14:]
    t.put(0, p.ICMP, p.icmp(*t.pair(0), 3, 1, 0, sent[:28]), "RELATED")
    book.add("pptp/errors", t)
    t = talk(CALL)  # Foreigners, a short packet, another protocol, fragments
    t.put(1, p.GRE, struct.pack(">HHHH", 0x2001, 0x880B, 4, 50) + b"data", src=t.hosts.others[1])
    t.put(1, p.GRE, struct.pack(">HHH", 0x2001, 0x880B, 4))
    t.put(1, p.GRE, struct.pack(">HHHH", 0x2001, 0x0800, 4, 50) + b"data")
    whole = struct.pack(">HHHH", 0x2001, 0x880B, 4, 50) + bytes(24)
    for start, stop in ((0, 16), (16, 32)):
        packet = p.fragment(*t.pair(1), p.GRE, whole[start:stop], start, stop < 32, 77)
        t.events.append((1, t.now, p.frame(1, packet)))
        t.expected.append(None)
    t.gre(0, 60)
    book.add("pptp/strange", t)


# Options, and how long helpers let their connections be silent


def with_options(helpers, **options):
    setup = Setup(helpers=helpers)
    setup.options = options
    return setup


def options(book):
    """Media and registrations of SIP that need not be direct; FTP's addresses of others."""
    for name, values in (("direct", {}), ("indirect", {"direct_media": 0}), ("external", {"direct_media": 0, "external_media": 1}),
                         ("external-but-direct", {"external_media": 1}), ("any-caller", {"direct_signalling": 0})):
        book.setup = with_options(["sip", "sip-tcp"], **({"sip": values} if values else {}))
        for v6 in FAMILIES:
            for tcp in FAMILIES:
                near, far, nowhere = (("fd01:0:0:2::9", "fd02:0:0:2::9", "2001:db8::9") if v6 else
                                      ("10.1.200.9", "10.2.200.9", "192.0.2.9"))
                # To where a packet may come: not back to the side that it is from.
                for where, address, sides in (("own", None, (0, 1)), ("near", near, (1,)), ("far", far, (0,)), ("nowhere", nowhere, (0, 1))):
                    line = (f"IN IP{6 if v6 else 4} {address}",) if address else ()
                    one = Phone(book.talk(v6), tcp)
                    one.say(0, one.invite(("audio", 4000, *line)))
                    one.say(1, one.answer(200, ("audio", 6000, *line)))
                    announced = p.address(address) if address else None
                    for side, port in ((1, 4000), (1, 4001), (0, 6000), (0, 4000), (1, 6000)):
                        for other in (False, True):
                            if side in sides:
                                one.t.media(side, port, announced, other)
                    one.say(0, one.invite(number=2, method="BYE"))
                    one.t.media(sides[0], 4001, announced, True)
                    one.t.media(sides[0], 6001, announced, True)
                    book.add(f"options/{name}/media-{where}{'-tcp' if tcp else ''}", one.t)
                one = Phone(book.talk(v6), tcp)
                one.say(0, one.register())
                one.say(1, one.registered())
                for sport in (5070, 5071):
                    for src in (None, one.t.hosts.others[1]):
                        if tcp:
                            one.t.syn(1, sport, 5062, other=src is not None)
                        else:
                            one.t.udp(1, sport, 5062, b"x", src=src)
                book.add(f"options/{name}/called{'-tcp' if tcp else ''}", one.t)
    for loose in (0, 1):
        book.setup = with_options(["ftp"], **({"ftp": {"loose": 1}} if loose else {}))
        for line, side in (("PORT 10,1,200,9,4,210", 0), ("PORT 10,2,200,9,4,210", 0), ("227 (10,2,200,9,4,210).", 1), ("227 (10,1,200,9,4,210).", 1)):
            t = book.talk()
            t.open(21)
            t.say(0, b"USER x\r\n")
            t.say(1, b"230 in\r\n")
            t.say(side, line.encode() + b"\r\n")
            for src, dst in ((1, "10.1.200.9"), (0, "10.2.200.9")):
                a, b = t.hosts.pair[src], p.address(dst)
                t.put(src, p.TCP, p.tcp(a, b, 3000, 1234, "S", 77, 0), dst=b)
            t.syn(1 - side, 3000, 1234)
            book.add(f"options/ftp-{'loose' if loose else 'strict'}/{line.replace(' ', '_')}", t)


def silences(book):
    """A while after the last packet, with timeouts of a second: what a helper read holds its connection for longer."""
    book.setup = Setup({"netfilter.nf_conntrack_udp_timeout": 1, "netfilter.nf_conntrack_udp_timeout_stream": 1}, ["amanda", "sip", "tftp"])
    for v6 in FAMILIES:
        for name, port, asked, answer in (("sip", 5060, b"OPTIONS sip:x SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\n\r\n"),
                                          ("sip-short", 5060, b"x", b"x"), ("sip-empty", 5060, b"", b""),
                                          ("amanda", 10080, b"Amanda REQ", b"x"), ("amanda-connect", 10080, b"Amanda REQ", AMANDA_TEXTS["three"].encode()),
                                          ("tftp", 69, b"\0\1f\0octet\0", b"x"), ("none", 5000, b"x", b"x")):
            for answered in (False, True):
                t = book.talk(v6)
                t.udp(0, 2000, port, asked, "NEW")
                if answered:
                    t.udp(1, port, 2000, answer, "ESTABLISHED")
                t.wait(1.6)
                t.udp(1, port, 2000, answer)
                t.wait(1.6)
                t.udp(0, 2000, port, asked)
                book.add(f"silence/{name}{'-answered' if answered else ''}", t)


def cases(first=0):
    """All that are written down."""
    book = Book(first)
    for part in (tftp, irc, amanda, sane, sip, pptp, options, silences):
        part(book)
    return book.cases


def is_kept(case):
    """Whether its answers are worth their room in the repository: of long messages cut at every octet, some are."""
    cut = re.search(r"/(?:sip|pptp).*cut-.*?(\d+) v", case.name)
    return cut is None or int(cut[1]) % 8 == 0


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


SIP_WORDS = [b" ", b"\r\n", b"\n", b"\r\n ", b":", b";", b",", b"0", b"4000", b"sip:", b"m=audio 4000\r\n", b"c=", b"\r\nCSeq: 1 INVITE", b"\r\nm: ", b"expires=", b"v=0\r\n"]


def fuzz_sip(rng, t):
    one = Phone(t, rng.random() < 0.4)
    port = lambda: rng.choice((4000, 4001, 4002, 0, 1024))
    for _ in range(rng.randint(1, 6)):
        number = rng.choice((1, 1, 1, 2))
        media = [(rng.choice(("audio", "audio", "video", "image", "text")), port()) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))]
        side, text = rng.choice((
            (0, lambda: one.invite(*media, number=number)),
            (0, lambda: one.invite(*media, number=number, method=rng.choice(("ACK", "UPDATE", "PRACK", "BYE", "OPTIONS")))),
            (1, lambda: one.answer(rng.choice((100, 180, 183, 200, 200, 404, 486)), *media, number=number, method=rng.choice(("INVITE", "INVITE", "UPDATE", "PRACK", "BYE")))),
            (0, lambda: one.register(number=number)),
            (0, lambda: one.register(rng.choice(("<sip:a@@C:5063>", "<sip:a@@C:5062>;expires=60", "<sip:a@@C:5062;transport=udp>", "*")), number=number)),
            (1, lambda: one.registered(rng.choice((100, 200, 200, 401)), number=number)),
            (1, lambda: one.registered(contact=rng.choice(("<sip:a@@C:5062>", "<sip:a@@S>, <sip:a@@C:5062>;expires=7", "<sip:a@@C:5063>;expires=9")), number=number)),
        ))
        data = text().encode()
        one.say(side, mutate(rng, data, SIP_WORDS) if rng.random() < 0.6 else data, moves=rng.random() < 0.9)
        for _ in range(2):
            if rng.random() < 0.6:
                one.probe(rng.randrange(2), rng.choice((4000, 4001, 4002, 4003)), other=rng.random() < 0.1)
            elif one.over_tcp:
                t.syn(1, rng.randint(5070, 5073), rng.choice((5062, 5063)))
            else:
                t.udp(1, rng.randint(5070, 5073), rng.choice((5062, 5063)), text().encode() if rng.random() < 0.5 else b"x")


def fuzz_pptp(rng, t):
    t.open(1723)
    call = lambda: rng.choice((50, 50, 50, 51))
    peer = lambda: rng.choice((60, 60, 60, 61))
    result = lambda: rng.choice((1, 1, 1, 1, 2))
    makers = [(0, lambda: out_request(call())), (1, lambda: out_reply(peer(), call(), result())), (1, lambda: out_reply(peer(), call(), result())),
              (1, lambda: in_request(peer())), (0, lambda: in_reply(call(), peer(), result())), (1, lambda: in_connect(call())),
              (0, lambda: clear(50)), (1, lambda: disconnect(60)), (0, stop_request), (1, stop_reply), (0, start_request), (1, start_reply)]
    script = [CALL[0], CALL[1], *rng.choice((CALL[2:], CALLED[2:]))] if rng.random() < 0.8 else []
    for n in range(rng.randint(3, 12)):
        side, make = script[n] if n < len(script) and rng.random() < 0.9 else rng.choice(makers)
        data = make()
        t.say(side, mutate(rng, data, [b"\0", b"\1", bytes(4)]) or b"x" if rng.random() < 0.2 else data)
        for _ in range(2):
            side = rng.randrange(2)
            t.gre(side, (peer, call)[side](), version=1 if rng.random() < 0.95 else 0)


FUZZ = [(fuzz_pptp, (False,)), (fuzz_sip, FAMILIES), (fuzz_sip, (False,)), (fuzz_tftp, FAMILIES), (fuzz_irc, (False,)), (fuzz_amanda, FAMILIES), (fuzz_sane, FAMILIES)]


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
