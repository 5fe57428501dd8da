"""Frames from their parts. Everything is in host order here; addresses are packed (4 or 16 octets)."""

import socket
import struct

ROUTER = (bytes.fromhex("020000000001"), bytes.fromhex("020000000002"))
HOST = (bytes.fromhex("020000000101"), bytes.fromhex("020000000102"))

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
FLAGS = {"F": FIN, "S": SYN, "R": RST, "P": PSH, "A": ACK, "U": URG, "E": ECE, "C": CWR}

ICMP, TCP, UDP, GRE, ICMP6, SCTP, UDPLITE = 1, 6, 17, 47, 58, 132, 136


def fold(data):
    """The Internet checksum's sum (RFC 1071), not complemented."""
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(src, dst, proto, length):
    if len(src) == 4:
        return src + dst + struct.pack(">BBH", 0, proto, length)
    return src + dst + struct.pack(">II", length, proto)


def sealed(header_and_payload, at, src, dst, proto, bad=False):
    """With the transport checksum at offset `at`; wrong if `bad`."""
    data = bytearray(header_and_payload)
    data[at:at + 2] = b"\0\0"
    base = b"" if proto == ICMP else pseudo(src, dst, proto, len(data))
    value = 0xFFFF ^ fold(base + bytes(data))
    if proto in (UDP, UDPLITE) and value == 0:
        value = 0xFFFF
    if bad:
        value ^= 0x1234
        if proto in (UDP, UDPLITE) and value == 0:
            value = 0x1111
    data[at:at + 2] = value.to_bytes(2, "big")
    return bytes(data)


def tcp(src, dst, sport, dport, flags, seq=0, ack=0, window=8192, options=b"", payload=b"", bad=False, offset=None, urgent=0):
    if isinstance(flags, str):
        flags = sum(FLAGS[c] for c in flags)
    options += b"\1" * (-len(options) % 4)
    words = (20 + len(options)) // 4 if offset is None else offset
    head = struct.pack(">HHIIHHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
                       (words & 15) << 12 | flags, window & 0xFFFF, 0, urgent)
    return sealed(head + options + payload, 16, src, dst, TCP, bad)


def option_wscale(shift):
    return bytes((3, 3, shift))


OPTION_SACK_OK = bytes((4, 2))


def option_sack(blocks):
    body = b"".join(struct.pack(">II", a & 0xFFFFFFFF, b & 0xFFFFFFFF) for a, b in blocks)
    return bytes((5, 2 + len(body))) + body


def option_timestamp(value, echo):
    return struct.pack(">BBII", 8, 10, value & 0xFFFFFFFF, echo & 0xFFFFFFFF)


def udp(src, dst, sport, dport, payload=b"", length=None, bad=False, zero=False, proto=UDP):
    if length is None:
        length = 8 + len(payload)
    data = struct.pack(">HHHH", sport, dport, length & 0xFFFF, 0) + payload
    return data if zero else sealed(data, 6, src, dst, proto, bad)


def icmp(src, dst, kind, code, rest, payload=b"", bad=False):
    """`rest` is the second word of the header."""
    proto = ICMP if len(src) == 4 else ICMP6
    return sealed(struct.pack(">BBHI", kind, code, 0, rest & 0xFFFFFFFF) + payload, 2, src, dst, proto, bad)


_CRC = []
for _n in range(256):
    for _ in range(8):
        _n = _n >> 1 ^ (0x82F63B78 if _n & 1 else 0)
    _CRC.append(_n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


def sctp_chunk(kind, flags=0, value=b"", length=None):
    if length is None:
        length = 4 + len(value)
    return struct.pack(">BBH", kind, flags, length) + value + bytes(-len(value) % 4)


def sctp_init(tag, ack=False, window=65535, streams=1, tsn=1):
    return sctp_chunk(2 if ack else 1, 0, struct.pack(">IIHHI", tag, window, streams, streams, tsn))


def sctp(sport, dport, tag, chunks, bad=False):
    data = bytearray(struct.pack(">HHII", sport, dport, tag & 0xFFFFFFFF, 0) + b"".join(chunks))
    data[8:12] = (crc32c(data) ^ (0x55 if bad else 0)).to_bytes(4, "little")
    return bytes(data)


def ip(src, dst, proto, payload, ident=0, ttl=64, tos=0, flags=0, offset=0, options=b"", total=None, ihl=None,
       version=None, bad=False, extensions=()):
    """An IP packet; `offset` in octets, `flags` 1 more fragments, 2 don't fragment (IPv4 only).

    `extensions` (IPv6) are pairs of header number and octets with the next-header octet left 0.
    """
    if len(src) == 4:
        options += bytes(-len(options) % 4)
        words = 5 + len(options) // 4 if ihl is None else ihl
        length = 20 + len(options) + len(payload) if total is None else total
        head = struct.pack(">BBHHHBBH", (4 if version is None else version) << 4 | words, tos, length & 0xFFFF,
                           ident & 0xFFFF, flags << 13 | offset >> 3, ttl, proto, 0) + src + dst + options
        value = 0xFFFF ^ fold(head) ^ (0x0101 if bad else 0)
        return head[:10] + value.to_bytes(2, "big") + head[12:] + payload
    first = proto
    body = payload
    for number, octets in reversed(extensions):
        body = bytes((first,)) + octets[1:] + body
        first = number
    length = len(body) if total is None else total
    return struct.pack(">IHBB", (6 if version is None else version) << 28 | tos << 20, length & 0xFFFF, first, ttl) + src + dst + body


def frame(port, packet, pad=True):
    kind = 0x86DD if packet[:1] and packet[0] >> 4 == 6 else 0x0800
    data = ROUTER[port] + HOST[port] + kind.to_bytes(2, "big") + packet
    return data + bytes(max(0, 60 - len(data))) if pad else data


def fragments(packet, cuts, ident):
    """Cuts an IP packet without options or extension headers at the given octets of its payload."""
    v6 = packet[0] >> 4 == 6
    at = 40 if v6 else 20
    payload = packet[at:]
    src, dst = (packet[8:24], packet[24:40]) if v6 else (packet[12:16], packet[16:20])
    proto, ttl = (packet[6], packet[7]) if v6 else (packet[9], packet[8])
    return [
        fragment(src, dst, proto, payload[a:b], a, b < len(payload), ident, ttl)
        for a, b in zip([0] + cuts, cuts + [len(payload)])
    ]


def fragment(src, dst, proto, data, offset, more, ident, ttl=64, tos=0, options=b""):
    if len(src) == 4:
        return ip(src, dst, proto, data, ident=ident, ttl=ttl, tos=tos, flags=1 if more else 0, offset=offset,
                  options=options)
    header = struct.pack(">BBHI", 0, 0, offset & 0xFFF8 | (1 if more else 0), ident)
    return ip(src, dst, proto, data, ttl=ttl, tos=tos, extensions=((44, header),))


def address(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
