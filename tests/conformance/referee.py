"""Asks both routers about the same packets, compares, and cuts what differs down to the packets that matter."""

import json
import os
import subprocess
import tempfile
import time

import kernel
from script import Case

SEEN = 0b111  # EXPECTED, SEEN_REPLY, ASSURED
TOLERANCE = 400  # milliseconds two timers of one length may differ


class Ours:
    """flowgate, as the test binary `conformance` has it."""

    def __init__(self, binary):
        self.binary = binary

    def ask(self, head, packets, workers=None):
        """`packets`: (port, microseconds, frame). Gives a tuple of words for each."""
        with tempfile.TemporaryDirectory() as folder:
            asked, answered = os.path.join(folder, "batch"), os.path.join(folder, "answers")
            with open(asked, "w") as out:
                out.write(json.dumps(head) + "\n")
                for port, micros, frame in packets:
                    out.write(f'[{port},{micros},"{frame.hex()}"]\n')
            env = {**os.environ, "FLOWGATE_BATCH": asked, "FLOWGATE_ANSWERS": answered}
            env.pop("FLOWGATE_WORKERS", None)
            if workers:
                env["FLOWGATE_WORKERS"] = str(workers)
            done = subprocess.run([self.binary, "--ignored", "--exact", "answer_a_batch"],
                                  env=env, capture_output=True, text=True)
            if done.returncode:
                raise kernel.Broken(f"flowgate failed: {done.stdout}{done.stderr}")
            return [line.split() for line in open(answered)]


class Verdict:
    """One packet as both saw it."""

    __slots__ = ("micros", "kernel", "ours", "theirs")

    def __init__(self, observation, words):
        self.micros = observation.micros
        self.kernel = observation
        self.ours = words

    def _ours(self):
        state, forwarded = self.ours[0], self.ours[1]
        if self.ours[6] == "table_full":
            state = "NONE"  # departures.md: it has a state all the same
        return state + ("" if forwarded == "forwarded" else " dropped")

    def agrees(self):
        if self.kernel.answer() != self._ours():
            return False
        return self.kernel.direction in (None, self.ours[2])

    def entry_agrees(self):
        """The entry behind the packet: EXPECTED, SEEN_REPLY, ASSURED, and the timer."""
        if self.kernel.left is None or self.ours[3] == "-" or self.kernel.bits & kernel.DYING:
            return True
        if self.kernel.bits & SEEN != int(self.ours[3]):
            return False
        return abs(self.kernel.left - int(self.ours[4])) <= TOLERANCE

    def kind(self):
        """What sort of difference it is, so that a smaller case can be told to show the same one."""
        if not self.agrees():
            return f"{self.kernel.answer()} / {self._ours()} {self.ours[6]}"
        return "entry" if self.kernel.bits & SEEN == int(self.ours[3]) else "entry's bits"

    def __str__(self):
        k = self.kernel
        left = "-" if k.left is None else f"{k.left / 1000:.1f}s"
        bits = "-" if k.bits is None else k.bits & SEEN
        mine = "-" if self.ours[4] == "-" else f"{int(self.ours[4]) / 1000:.1f}s"
        return (f"kernel {k.answer()} {k.direction or '-'} {bits} {left} | "
                f"flowgate {self._ours()} {self.ours[2]} {self.ours[3]} {mine} {self.ours[5]} {self.ours[6]}")


def judge(ours, cases, workers=None):
    """Runs cases with equal settings side by side. Gives each case's verdicts."""
    try:
        return judge_once(ours, cases, workers)
    except kernel.Broken as why:
        # As on a machine so busy that the log overflows.
        print(f"once more, for {why}")
        return judge_once(ours, cases, workers)


def judge_once(ours, cases, workers):
    setup = cases[0].setup
    order = sorted(((event[1], c, i) for c, case in enumerate(cases) for i, event in enumerate(case.events)),
                   key=lambda key: key[0])
    packets = [cases[c].events[i] for _, c, i in order]
    with kernel.Kernel(setup) as reference:
        seen = reference.run(packets)
    timed = [(port, one.micros, frame) for one, (port, _, frame) in zip(seen, packets)]
    before = []
    if setup.full:
        import full
        before = full.prefix(setup.full)
        timed = before + [(port, micros + 3_000_000, frame) for port, micros, frame in timed]
    answers = ours.ask(setup.head(), timed, workers)[len(before):]
    if len(answers) != len(packets):
        raise kernel.Broken(f"flowgate answered {len(answers)} of {len(packets)} packets")
    verdicts = [[None] * len(case.events) for case in cases]
    for (_, c, i), observation, words in zip(order, seen, answers):
        verdicts[c][i] = Verdict(observation, words)
    return verdicts


def alike(cases):
    """Groups cases that may share a run."""
    groups = {}
    for case in cases:
        groups.setdefault(json.dumps(case.setup.head(), sort_keys=True), []).append(case)
    return list(groups.values())


def first_difference(verdicts, deep):
    for i, verdict in enumerate(verdicts):
        if not verdict.agrees() or (deep and not verdict.entry_agrees()):
            return i
    return None


def shrink(ours, case, deep, kind, budget=80):
    """The same case with fewer packets that still differs in that way; None if it no longer does by itself."""

    def differs(events):
        nonlocal budget
        budget -= 1
        one = Case(case.name, events, case.setup)
        verdicts = judge(ours, [one])[0]
        for at, verdict in enumerate(verdicts):
            if not verdict.agrees() or (deep and not verdict.entry_agrees()):
                if verdict.kind() == kind:
                    return events[:at + 1]
        return None

    events = differs(case.events)
    if events is None:
        return None
    # Without the pauses, if they do not matter.
    flat = differs([(port, 0, frame) for port, _, frame in events])
    events = flat or events
    size = max(1, len(events) // 2)
    until = time.monotonic() + 90
    while size and budget > 0 and time.monotonic() < until:
        at, cut = 0, False
        while at < len(events) - 1 and budget > 0:
            less = differs(events[:at] + events[at + size:]) if at + size < len(events) else None
            if less:
                events, cut = less, True
            else:
                at += size
        if not cut or size > 1:
            size //= 2
    return Case(case.name, events, case.setup)


def write_pcap(path, case):
    """A capture of nanosecond resolution with the ports as interfaces (pcapng)."""
    import struct

    def block(kind, body):
        body += bytes(-len(body) % 4)
        size = 12 + len(body)
        return struct.pack("<II", kind, size) + body + struct.pack("<I", size)

    with open(path, "wb") as out:
        out.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        for name in kernel.PORTS:
            option = struct.pack("<HH", 2, len(name)) + name.encode() + bytes(-len(name) % 4) + bytes(4)
            out.write(block(1, struct.pack("<HHI", 1, 0, 0) + option))
        for port, micros, frame in case.events:
            head = struct.pack("<IIIII", port, micros >> 32, micros & 0xFFFFFFFF, len(frame), len(frame))
            out.write(block(6, head + frame + bytes(-len(frame) % 4)))
