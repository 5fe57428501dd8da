"""Writes lan.pcap and wan.pcap: datagrams of 20 flows and a ping, their answers, and five that nobody asked for.

A port of DPDK's plays a capture as fast as it is read, so the order is that of the ports in each turn: the lan's packets, which fit
one burst, then the wan's. The time stamps say the same to `flowgate replay`.
"""

import ipaddress
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/lib"))
import probe  # noqa: E402

LAN, WAN = ipaddress.ip_address("10.0.1.2"), ipaddress.ip_address("10.0.2.2")
ROUTER = {"lan": bytes.fromhex("020000000101"), "wan": bytes.fromhex("020000000201")}
HOST = {"lan": bytes.fromhex("020000000102"), "wan": bytes.fromhex("020000000202")}


def udp(source, destination, ports, payload=b"flowgate"):
    before = struct.pack("!HHH", *ports, 8 + len(payload))
    return probe.ip(source, destination, probe.UDP, probe.transport(source, destination, probe.UDP, before, payload))


def echo(source, destination, kind):
    body = struct.pack("!BB", kind, 0), struct.pack("!HH", 7, 1) + b"ping"
    sum_ = probe.checksum(body[0] + b"\0\0" + body[1])
    return probe.ip(source, destination, probe.ICMP, body[0] + struct.pack("!H", sum_) + body[1])


def write(side, start, packets):
    with open(f"{side}.pcap", "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, packet in enumerate(packets):
            frame = ROUTER[side] + HOST[side] + b"\x08\0" + packet
            out.write(struct.pack("<IIII", 1, start + number, len(frame), len(frame)) + frame)


there = [udp(LAN, WAN, (4000 + flow, 53)) for flow in range(20)] + [echo(LAN, WAN, 8)]
back = [udp(WAN, LAN, (53, 4000 + flow)) for flow in range(20)] + [echo(WAN, LAN, 0)]
stray = [udp(WAN, LAN, (53, 5000 + flow)) for flow in range(5)]
write("lan", 0, there)
write("wan", 1000, back + stray)
