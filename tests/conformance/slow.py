"""Cases that wait for minutes: how long announcements hold, and the scan under pressure. Only when asked for."""

import full
import packets as p
from helpers import AMANDA_TEXTS, CALL, IRC_LINES, Book, Phone, dcc
from kernel import HELPERS
from script import Setup

# Seconds before the end and after it. The kernel's timers of minutes may be up to 16 seconds late (at 250 Hz).
BEFORE, AFTER = 4, 20


def announced(book, name, seconds, announce, use, v6=False, keep=None):
    """A connection that comes while its announcement still holds, and one that comes too late."""
    for late in (False, True):
        t = book.talk(v6)
        announce(t)
        left = seconds + (AFTER if late else -BEFORE)
        # The control connection must not end before.
        while keep and left > 20:
            t.wait(20)
            left -= 20
            keep(t)
        t.wait(left)
        use(t, "NEW" if late else "RELATED")
        book.add(f"slow/{name}-{'over' if late else 'holds'}", t)


def ftp(t):
    t.open(21)
    t.say(0, b"USER x\r\n")
    six = ",".join(map(str, t.hosts.pair[0])) + ",4,210"
    t.say(0, f"PORT {six}\r\n".encode())


def irc(t):
    t.open(6667)
    t.say(0, dcc(t, IRC_LINES["chat"]))


def sane(t):
    t.open(6566)
    t.say(0, bytes((0, 0, 0, 7, 0, 0, 0, 1)))
    t.say(1, bytes((0, 0, 0, 0, 0, 0, 5001 >> 8, 5001 & 255)) + bytes(8))


def amanda(t):
    t.udp(0, 2000, 10080, b"Amanda REQ")
    t.udp(1, 10080, 2000, AMANDA_TEXTS["three"].encode())


def tftp(t):
    t.udp(0, 2000, 69, b"\0\1file\0octet\0")
    t.udp(1, 69, 2000, b"\0\5\0\0x\0")


def call(t):
    one = Phone(t)
    one.say(0, one.invite(("audio", 4000)))
    one.say(1, one.answer(100))


def register(t):
    one = Phone(t)
    one.say(0, one.register())
    one.say(1, one.registered(contact="<sip:a@@C:5062>;expires=30"))


def pptp(t):
    t.open(1723)
    for side, make in CALL:
        t.say(side, make())


def cases(first=0):
    book = Book(first)
    book.setup = Setup(helpers=list(HELPERS))
    announced(book, "ftp", 300, ftp, lambda t, state: t.syn(1, 20, 1234, state))
    announced(book, "irc", 300, irc, lambda t, state: t.syn(1, 3000, 4100, state))
    announced(book, "sane", 300, sane, lambda t, state: t.syn(0, 3000, 5001, state))
    announced(book, "pptp", 300, pptp, lambda t, state: t.gre(0, 60, state))
    for v6 in (False, True):
        announced(book, "amanda", 180, amanda, lambda t, state: t.syn(0, 3000, 5001, state), v6)
        announced(book, "tftp", 300, tftp, lambda t, state: t.udp(1, 3000, 2000, b"x", state), v6,
                  lambda t: t.udp(1, 69, 2000, b"\0\5\0\0x\0"))
        announced(book, "sip-media", 180, call, lambda t, state: t.udp(1, 7000, 4000, b"rtp", state), v6)
        announced(book, "sip-registration", 30, register, lambda t, state: t.udp(1, 5070, 5062, b"x", state), v6)
    return book.cases + full.cases(True)
