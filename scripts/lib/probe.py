"""What no ordinary program does: forge a packet, wait for one, ask a closed port.

    probe.py refused HOST PORT                         exit 0 when the ICMP error came back
    probe.py ask HOST PORT                             exit 0 when a name query was answered
    probe.py answer PORT                               answers such queries until it is ended
    probe.py listen MARKER SECONDS READY               exit 0 when a packet with MARKER arrived, 3 when none did;
                                                       the file READY appears once it listens
    probe.py send KIND SOURCE DESTINATION MARKER       KIND: mid-stream, bad-tcp, bad-udp, stray-error
    probe.py iperf rate FILE                           what an iperf3 --json result says of TCP; exit 1 when it is nothing
    probe.py iperf lost FILE                           of UDP: datagrams lost, and sent; exit 1 when none were sent
"""

import ipaddress
import json
import random
import socket
import struct
import sys
import time

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source, destination, protocol, length):
    if source.version == 4:
        return source.packed + destination.packed + struct.pack("!BBH", 0, protocol, length)
    return source.packed + destination.packed + struct.pack("!I3xB", length, protocol)


def ip(source, destination, protocol, payload):
    if source.version == 4:
        header = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), random.randrange(65536), 0, 64, protocol, 0,
            source.packed, destination.packed,
        )
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + source.packed + destination.packed + payload


def transport(source, destination, protocol, before, after, damage=0):
    """before and after are what surrounds the checksum field."""
    whole = before + b"\0\0" + after
    value = checksum(pseudo_header(source, destination, protocol, len(whole)) + whole)
    if protocol == UDP and value == 0:
        value = 0xFFFF
    value ^= damage
    return before + struct.pack("!H", value) + after


def segment(source, destination, marker, damage=0):
    """An ACK with data, as from the middle of a connection nobody saw begin."""
    port = random.randrange(20000, 60000)
    before = struct.pack("!HHIIBBH", port, 7777, random.getrandbits(32), random.getrandbits(32), 5 << 4, 0x18, 8192)
    return transport(source, destination, TCP, before, b"\0\0" + marker, damage)


def datagram(source, destination, marker, damage=0):
    before = struct.pack("!HHH", random.randrange(20000, 60000), 7777, 8 + len(marker))
    return transport(source, destination, UDP, before, marker, damage)


def stray_error(source, destination, marker):
    """Port unreachable, quoting a datagram that was never sent."""
    quoted = ip(destination, source, UDP, datagram(destination, source, marker))
    if source.version == 4:
        body = struct.pack("!BBHI", 3, 3, 0, 0) + quoted
        return body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return transport(source, destination, ICMPV6, struct.pack("!BB", 1, 4), struct.pack("!I", 0) + quoted)


def send(kind, source, destination, marker):
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    marker = marker.encode()
    protocol, payload = {
        "mid-stream": lambda: (TCP, segment(source, destination, marker)),
        "bad-tcp": lambda: (TCP, segment(source, destination, marker, damage=0x5A5A)),
        "bad-udp": lambda: (UDP, datagram(source, destination, marker, damage=0x5A5A)),
        "stray-error": lambda: (ICMP if source.version == 4 else ICMPV6, stray_error(source, destination, marker)),
    }[kind]()
    # With this protocol the kernel takes the whole packet as it is, in both families.
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(ip(source, destination, protocol, payload), (str(destination), 0))


def listen(marker, seconds, ready):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as tap:
        tap.bind(("eth0", 0))
        deadline = time.monotonic() + float(seconds)
        open(ready, "w").close()
        while (left := deadline - time.monotonic()) > 0:
            tap.settimeout(left)
            try:
                frame, address = tap.recvfrom(65536)
            except TimeoutError:
                break
            if address[2] != socket.PACKET_OUTGOING and marker.encode() in frame:
                return 0
    return 3


def refused(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(3)
        asking.connect((host, int(port)))
        asking.send(b"anyone there?")
        try:
            asking.recv(100)
        except ConnectionRefusedError:
            return 0
        except TimeoutError:
            print("no answer at all")
    return 1


# A query for the address of a name (RFC 1035 section 4), and what an answer adds to it.
QUERY = struct.pack("!6H", 0x7E57, 0x0100, 1, 0, 0, 0) + b"\x08flowgate\x07example\0" + struct.pack("!HH", 1, 1)
ANSWER = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + bytes([192, 0, 2, 1])


def ask(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(3)
        asking.sendto(QUERY, (host, int(port)))
        return 0 if asking.recv(512).endswith(ANSWER) else 1


def answer(port):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as answering:
        answering.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        answering.bind(("::", int(port)))
        while True:
            query, asker = answering.recvfrom(512)
            answering.sendto(query[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + query[12:] + ANSWER, asker)


def iperf(what, path):
    end = json.load(open(path, encoding="ascii"))["end"]
    if what == "rate":
        rate = end["sum_received"]["bits_per_second"]
        print(f"{rate / 1e9:.2f} Gbit/s")
        return 0 if rate > 0 else 1
    total = end["sum"]
    print(total["lost_packets"], total["packets"])
    return 0 if total["packets"] > 0 else 1


def main():
    commands = {"send": send, "listen": listen, "refused": refused, "ask": ask, "answer": answer, "iperf": iperf}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    sys.exit(commands[sys.argv[1]](*sys.argv[2:]))


if __name__ == "__main__":
    main()
