"""The referee: flowgate against the kernel's connection tracking. See scripts/conformance --help."""

import argparse
import glob
import gzip
import io
import json
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ANSWERS = os.path.join(HERE, "answers")
sys.path.insert(0, HERE)

import captures  # noqa: E402
import edges  # noqa: E402
import full  # noqa: E402
import helpers  # noqa: E402
import kernel  # noqa: E402
import referee  # noqa: E402
import replay  # noqa: E402
import script  # noqa: E402
import sessions  # noqa: E402
import slow  # noqa: E402


def joins_atomic(case, at):
    """Whether a packet is a fragment of an identification that an atomic one shares with others."""
    def fragment(frame):
        ip = frame[14:]
        if len(ip) < 48 or ip[0] >> 4 != 6 or ip[6] != 44:
            return None
        return ip[8:40] + ip[44:48], ip[42:44]

    mine = fragment(case.events[at][2])
    if mine is None:
        return False
    others = [one[1] for _, _, frame in case.events[:at + 1] if (one := fragment(frame)) and one[0] == mine[0]]
    atomic = sum(not int.from_bytes(word, "big") & 0xFFF9 for word in others)
    return 0 < atomic < len(others)


def has_short_timeouts(case):
    return any("timeout" in name for name in case.setup.sysctls)


# Differences that src/conntrack/departures.md explains: by what the two say (anything if empty), and when that
# explanation holds for a packet of a case.
KNOWN = [
    ("the walk over extension headers is bounded", "INVALID / NONE dropped ipv6_ext_limit", lambda case, at: True),
    ("an atomic fragment is a packet of its own", "", joins_atomic),
    ("an expired connection of another zone takes nobody's answers", "NEW dropped / NEW -",
     lambda case, at: case.setup.zones and has_short_timeouts(case)),
    ("an ended master's expectation is withdrawn at once", "RELATED / NEW -",
     lambda case, at: case.setup.helpers and has_short_timeouts(case)),
]


class Tally:
    """What agreed and what did not."""

    def __init__(self, arguments, ours):
        self.arguments, self.ours = arguments, ours
        self.packets = self.cases = self.packets_agree = self.cases_agree = 0
        self.entries = self.entries_agree = 0
        self.unexpected = self.unrepeatable = self.known = self.differing = 0
        self.shown = 0
        self.kinds = {}

    def take(self, case, verdicts):
        agree = [v.agrees() for v in verdicts]
        self.packets += len(agree)
        self.packets_agree += sum(agree)
        self.cases += 1
        self.cases_agree += all(agree)
        held = [v.entry_agrees() for v in verdicts]
        self.entries += len(held)
        self.entries_agree += sum(held)
        # Alone once more, for a timer may have been at its very end.
        if unexpected(case, verdicts) and (wrong := unexpected(case, referee.judge(self.ours, [case])[0])):
            self.unexpected += len(wrong)
            print("\n".join(wrong))
        at = referee.first_difference(verdicts, self.arguments.entries)
        if at is not None:
            self.differ(case, verdicts, at)

    def differ(self, case, verdicts, at):
        verdict = verdicts[at]
        kind = verdict.kind()
        why = next((why for why, said, holds in KNOWN if said in ("", kind) and holds(case, at)), None)
        if why:
            self.known += 1
            print(f"{case.name}: packet {at + 1}: as departures.md says: {why}")
            return
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.differing += 1
        if self.shown >= self.arguments.show:
            return
        print(f"\n{case.name}: packet {at + 1} of {len(verdicts)}: {verdict}")
        small = case
        if not self.arguments.no_shrink:
            small = referee.shrink(self.ours, case, self.arguments.entries, kind)
            if small is None:
                self.unrepeatable += 1
                print("  not again when run alone: a timer at its very end")
                return
        self.shown += 1
        name = re.sub(r"[^a-z0-9]+", "-", case.name.lower()).strip("-")
        os.makedirs(self.arguments.out, exist_ok=True)
        path = os.path.join(self.arguments.out, name + ".pcapng")
        referee.write_pcap(path, small)
        print(f"  {len(small.events)} packets show it: {path}")
        for (port, micros, frame), one in zip(small.events, referee.judge(self.ours, [small])[0]):
            mark = " " if one.agrees() and one.entry_agrees() else "!"
            print(f"  {mark} {'><'[port]} {one.micros / 1e6:7.3f} {describe(frame)}\n      {one}")

    def report(self):
        for kind, count in sorted(self.kinds.items(), key=lambda item: -item[1]):
            print(f"  {count:6} cases first differ by: {kind}")
        share = 100 * self.packets_agree / max(1, self.packets)
        print(f"states agree for {self.packets_agree} of {self.packets} packets ({share:.4f} %), "
              f"{self.cases_agree} of {self.cases} cases; "
              f"entries behind them for {self.entries_agree} of {self.entries}")
        if self.unexpected:
            print(f"the kernel disagrees with what is written down {self.unexpected} times")
        if self.known or self.unrepeatable:
            print(f"{self.known} cases differ as departures.md says, {self.unrepeatable} not again when run alone")
        return self.differing == self.unrepeatable and not self.unexpected


def unexpected(case, verdicts):
    """A line for each packet of which the kernel says something else than is written down."""
    return [f"{case.name}, packet {i + 1}: written down is {expected}, the kernel says {verdict.kernel.answer()}"
            for i, (verdict, expected) in enumerate(zip(verdicts, case.expected))
            if expected and expected != verdict.kernel.answer()]


def describe(frame):
    """A packet in a line."""
    ip = frame[14:]
    v6 = ip[0] >> 4 == 6
    size = int.from_bytes(ip[4:6], "big") + 40 if v6 else int.from_bytes(ip[2:4], "big")
    ip = ip[:size]
    proto, at = (ip[6], 40) if v6 else (ip[9], (ip[0] & 15) * 4)
    text = ""
    if not v6 and int.from_bytes(ip[6:8], "big") & 0x3FFF:
        word = int.from_bytes(ip[6:8], "big")
        return f"frag proto {proto} id {int.from_bytes(ip[4:6], 'big')} {(word & 0x1FFF) * 8}+{len(ip) - at}{' more' if word & 0x2000 else ''}"
    if v6 and proto == 44:
        word = int.from_bytes(ip[42:44], "big")
        return f"frag proto {ip[40]} id {int.from_bytes(ip[44:48], 'big')} {word & 0xFFF8}+{len(ip) - 48}{' more' if word & 1 else ''}"
    l4 = ip[at:]
    if proto == 6 and len(l4) >= 20:
        word = lambda a, b: int.from_bytes(l4[a:b], "big")
        flags = "".join(c for i, c in enumerate("FSRPAUEC") if l4[13] >> i & 1)
        data = len(l4) - (l4[12] >> 4) * 4
        options = l4[20:(l4[12] >> 4) * 4].hex()
        text = f"tcp {word(0, 2)}>{word(2, 4)} {flags or 'none'} seq {word(4, 8)} ack {word(8, 12)} win {word(14, 16)} len {data} {options}"
        if data > 0 and 21 in (word(0, 2), word(2, 4)):
            text += f" {l4[(l4[12] >> 4) * 4:]!r}"
    elif proto in (1, 58) and len(l4) >= 8:
        text = f"icmp {l4[0]}/{l4[1]} {l4[4:8].hex()} {l4[8:].hex()}"
    else:
        text = f"proto {proto} {l4[:40].hex()} ({len(l4)})"
    return text


def vectors():
    cases = []
    for path in sorted(glob.glob(os.path.join(HERE, "*.txt"))):
        cases += script.read(path, len(cases))
    return cases + helpers.cases(len(cases)) + captures.cases() + full.cases() + sessions.kept(ANSWERS)


def record_all(groups, answers):
    """Keeps answers in the repository, by what the cases are."""
    parts = {}
    for group, verdicts in zip(groups, answers):
        # A full table is not a matter of packets alone.
        if group[0].setup.full:
            continue
        name = {"helper": "helpers", "session": "sessions"}.get(group[0].name.partition("/")[0], "vectors")
        if group[0].name.startswith("helper/slow"):
            name = "slow"
        pairs = [pair for pair in zip(group, verdicts) if name != "helpers" or helpers.is_kept(pair[0])]
        parts.setdefault(name, []).append(tuple(zip(*pairs)))
    for name, mine in parts.items():
        record(ANSWERS, name, *zip(*mine))


def record(path, name, groups, all_verdicts):
    """Keeps what the kernel answered, with the times it had: a file for each group of settings."""
    os.makedirs(path, exist_ok=True)
    for old in glob.glob(os.path.join(path, f"{name}-*")):
        os.remove(old)
    for n, (cases, verdicts) in enumerate(zip(groups, all_verdicts)):
        rows = []
        for case, mine in zip(cases, verdicts):
            for (port, _, frame), verdict in zip(case.events, mine):
                rows.append((verdict.micros, [port, verdict.micros, frame.hex(), case.name, verdict.kernel.answer()]))
        rows.sort(key=lambda row: row[0])
        # Without the time of day, so that equal answers make equal files.
        with gzip.GzipFile(os.path.join(path, f"{name}-{n:02}.jsonl.gz"), "wb", 9, mtime=0) as out, io.TextIOWrapper(out) as out:
            out.write(json.dumps(cases[0].setup.head()) + "\n")
            for _, row in rows:
                out.write(json.dumps(row, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__)
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("what", nargs="?", default="all", choices=["vectors", "generate", "helpers", "captures", "edges", "slow", "all"])
    parser.add_argument("--only", help="only cases whose name contains this")
    parser.add_argument("--seed", type=int, help="first seed of the generator; fresh ones if absent")
    parser.add_argument("--histories", type=int, default=400, help="histories of one run")
    parser.add_argument("--runs", type=int, default=1, help="runs of the generator, each with its own settings")
    parser.add_argument("--seconds", type=float, help="runs of the generator until so much time is over")
    parser.add_argument("--workers", type=int, help="spread flowgate over so many shards, packets dealt at random")
    parser.add_argument("--entries", action="store_true", help="a differing entry (status bits, timer) is a difference too")
    parser.add_argument("--show", type=int, default=5, help="differences to shrink and show")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--record", action="store_true", help="keep the kernel's answers to the vectors in the repository")
    parser.add_argument("--out", default="target/conformance", help="where captures of differences go")
    arguments = parser.parse_args()
    kernel.sweep()
    ours = referee.Ours(arguments.binary)
    tally = Tally(arguments, ours)
    if arguments.what in ("vectors", "slow", "all"):
        made = slow.cases() if arguments.what == "slow" else vectors()
        cases = [case for case in made if not arguments.only or arguments.only in case.name]
        groups = referee.alike(cases)
        answers = [referee.judge(ours, group, arguments.workers) for group in groups]
        for group, verdicts in zip(groups, answers):
            for case, mine in zip(group, verdicts):
                tally.take(case, mine)
        if arguments.record:
            record_all(groups, answers)
    if arguments.what == "captures":
        cases = [sessions.make(name) for name in sessions.SESSIONS if not arguments.only or arguments.only in name]
        answers = [referee.judge(ours, cases, arguments.workers)]
        for case, mine in zip(cases, answers[0]):
            print(f"{case.name}: {len(case.events)} packets")
            tally.take(case, mine)
            replay.compare(arguments, case, mine)
        if arguments.record:
            record_all([cases], answers)
    if arguments.what not in ("vectors", "captures", "edges", "slow"):
        import generate

        makers = {"generate": [generate], "helpers": [helpers], "all": [generate, helpers]}[arguments.what]
        seed = arguments.seed if arguments.seed is not None else int(time.time() * 1000) % 10**9
        until = time.monotonic() + arguments.seconds if arguments.seconds else None
        run = 0
        while (time.monotonic() < until) if until else (run < arguments.runs):
            cases = makers[run % len(makers)].run(seed + run, arguments.histories)
            if arguments.only:
                cases = [case for case in cases if arguments.only in case.name]
            began = time.monotonic()
            verdicts = referee.judge(ours, cases, arguments.workers)
            for case, mine in zip(cases, verdicts):
                tally.take(case, mine)
            if arguments.record:
                record(ANSWERS, f"seed-{seed + run}", [cases], [verdicts])
            print(f"seed {seed + run}: {sum(len(c.events) for c in cases)} packets of {len(cases)} histories "
                  f"in {time.monotonic() - began:.1f} s", flush=True)
            run += 1
        print(f"stage: seeds from {seed}, {tally.packets} packets, {tally.cases} cases")
    agreed = arguments.what == "edges" or tally.report()
    if arguments.what in ("edges", "all"):
        agreed &= edges.run(arguments)
    sys.exit(0 if agreed else 1)


if __name__ == "__main__":
    main()
