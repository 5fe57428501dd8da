"""Has the kernel put frames on a veth: it makes them of a template and hands them to the driver in batches, faster than any
program sends them (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18 or later; the kernel's
bpf/bpf_prog_run documentation). The veth's other end needs an XDP program.

    xdp_load.py DEVICE SECONDS GAP SOURCE_MAC,DESTINATION_MAC SOURCE,DESTINATION [answer]

Sends UDP frames of 64 octets, check sequence included, of 64 flows in random order, one every GAP nanoseconds at most, as
many as go when GAP is 0. `answer` makes them what answers the ones from DESTINATION to SOURCE.
"""

import ctypes
import os
import platform
import signal
import socket
import struct
import sys
import time

FLOWS = 64
# Ports of the first flow; of the next ones the source's is larger by as much as the destination's is smaller, so that the
# checksum is the same for all.
LOW, HIGH = 10000, 20000

# Numbers of linux/bpf.h.
SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
MAP_CREATE, PROG_LOAD, PROG_TEST_RUN = 0, 5, 10
MAP_TYPE_ARRAY, PROG_TYPE_XDP = 2, 6
LIVE_FRAMES = 1 << 1
MAP_LOOKUP_ELEM, KTIME_GET_NS, GET_PRANDOM_U32, REDIRECT = 1, 5, 7, 23
XDP_DROP = 1
# Frames at once.
BATCH = 64

LIBC = ctypes.CDLL(None, use_errno=True)


def structure(fields):
    """A C structure of these fields, each with its size in octets."""
    kinds = {4: ctypes.c_uint32, 8: ctypes.c_uint64}
    return type("Attribute", (ctypes.Structure,), {"_fields_": [(name, kinds[size]) for name, size in fields]})


Map = structure([("map_type", 4), ("key_size", 4), ("value_size", 4), ("max_entries", 4), ("map_flags", 4)])
Load = structure([("prog_type", 4), ("insn_cnt", 4), ("insns", 8), ("license", 8), ("log_level", 4), ("log_size", 4),
                  ("log_buf", 8), ("kern_version", 4), ("prog_flags", 4)])
Run = structure([("prog_fd", 4), ("retval", 4), ("data_size_in", 4), ("data_size_out", 4), ("data_in", 8), ("data_out", 8),
                 ("repeat", 4), ("duration", 4), ("ctx_size_in", 4), ("ctx_size_out", 4), ("ctx_in", 8), ("ctx_out", 8),
                 ("flags", 4), ("cpu", 4), ("batch_size", 4), ("padding", 4)])


def bpf(command, attribute):
    """One call of bpf(2)."""
    number = SYS_BPF[platform.machine()]
    result = LIBC.syscall(number, command, ctypes.byref(attribute), ctypes.sizeof(attribute))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def op(code, to=0, of=0, offset=0, value=0):
    """One instruction (RFC 9669)."""
    return struct.pack("<BBhi", code, of << 4 | to, offset, value)


def load(to, number):
    """A constant of 64 bits, which takes two places."""
    return op(0x18, to, value=number) + op(0)


def program(ifindex, ports, gap, due):
    """What is done with each frame: dropped if it is not time yet, else given the ports of a random flow and sent."""
    drop = op(0xB7, 0, value=XDP_DROP) + op(0x95)
    pace = b"".join((
        op(0x85, value=KTIME_GET_NS),
        op(0xBF, 7, 0),                     # r7 = now
        op(0x62, 10, offset=-4),            # the key, 0
        op(0xBF, 2, 10),
        op(0x07, 2, value=-4),
        op(0x18, 1, 1, value=due) + op(0),  # r1 = the map
        op(0x85, value=MAP_LOOKUP_ELEM),
        op(0x15, 0, offset=2),              # nothing there: drop
        op(0x79, 1, 0),                     # r1 = when the next is due
        op(0x3D, 7, 1, offset=2),           # it is
        drop,
        op(0x07, 7, value=gap),
        op(0x7B, 0, 7),
    )) if gap else b""
    first, step = ports
    return b"".join((
        op(0xBF, 6, 1),                     # r6 = context
        pace,
        op(0x85, value=GET_PRANDOM_U32),
        op(0x57, 0, value=FLOWS - 1),       # r0 = which flow
        op(0x61, 2, 6),                     # r2 = data
        op(0x61, 3, 6, 4),                  # r3 = where it ends
        op(0xBF, 4, 2),
        op(0x07, 4, value=42),
        op(0xBD, 4, 3, 2),                  # all headers are there
        drop,
        op(0xB7, 5, value=first),
        op(step, 5, 0),
        op(0xDC, 5, value=16),              # in network order
        op(0x6B, 2, 5, 34),
        op(0xB7, 5, value=LOW + HIGH - first),
        op(step ^ 0x10, 5, 0),              # adding instead of subtracting, and the other way round
        op(0xDC, 5, value=16),
        op(0x6B, 2, 5, 36),
        op(0xB7, 1, value=ifindex),
        op(0xB7, 2),
        op(0x85, value=REDIRECT),
        op(0x95),
    ))


def checksum(data):
    """The Internet checksum (RFC 1071) of an even number of octets."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(macs, addresses, ports):
    """One UDP frame."""
    source, destination = (bytes.fromhex(mac.replace(":", "")) for mac in macs.split(","))
    pair = b"".join(socket.inet_aton(address) for address in addresses.split(","))
    udp = struct.pack("!HHHH", *ports, 26, 0) + bytes(18)
    udp = udp[:6] + struct.pack("!H", checksum(pair + struct.pack("!HH", 17, len(udp)) + udp) or 0xFFFF) + udp[8:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0)
    ip = ip[:10] + struct.pack("!H", checksum(ip + pair)) + pair
    return destination + source + b"\x08\x00" + ip + udp


def main():
    device, seconds, gap, macs, addresses, *answer = sys.argv[1:]
    first, add, subtract = (HIGH if answer else LOW), 0x0F, 0x1F
    due = bpf(MAP_CREATE, Map(map_type=MAP_TYPE_ARRAY, key_size=4, value_size=8, max_entries=1))
    code = program(socket.if_nametoindex(device), (first, subtract if answer else add), int(gap), due)
    code = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"MIT")
    loaded = bpf(PROG_LOAD, Load(prog_type=PROG_TYPE_XDP, insn_cnt=len(code) // 8, insns=ctypes.addressof(code),
                                 license=ctypes.addressof(licence)))
    data = frame(macs, addresses, (first, LOW + HIGH - first))
    data = ctypes.create_string_buffer(data, len(data))
    run = Run(prog_fd=loaded, data_size_in=len(data), data_in=ctypes.addressof(data), flags=LIVE_FRAMES,
              repeat=0xFFFFFFFF, batch_size=BATCH)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        try:
            bpf(PROG_TEST_RUN, run)
        except InterruptedError:
            pass


main()
