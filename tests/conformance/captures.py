"""Captures of real programs: what entered the router of the lab from either side (scripts/make-sample made them)."""

import os
import struct

import packets as p
from script import Case, Setup

CONF = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf")


def read(path, port):
    """(seconds, port, frame) of a classic capture."""
    data = open(path, "rb").read()
    assert data[:4] == b"\xd4\xc3\xb2\xa1", path
    at = 24
    while at + 16 <= len(data):
        seconds, micros, kept, length = struct.unpack_from("<IIII", data, at)
        assert kept == length, f"{path} is cut"
        yield seconds * 1_000_000 + micros, port, data[at + 16:at + 16 + kept]
        at += 16 + kept


def cases():
    """The sample's packets in their order; what the links speak among themselves (ARP, multicast) is left out."""
    both = sorted(entry for port, side in enumerate(("lan", "wan")) for entry in read(f"{CONF}/sample-{side}.pcap", port))
    events = []
    for micros, port, frame in both:
        if frame[12:14] in (b"\x08\x00", b"\x86\xdd") and not frame[0] & 1:
            events.append((port, micros - both[0][0], p.ROUTER[port] + p.HOST[port] + frame[12:]))
    return [Case("capture/curl-ftp-ping-traceroute", events, Setup(helpers=["ftp"]))]
