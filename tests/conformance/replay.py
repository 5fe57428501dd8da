"""The program itself on a case's packets: `flowgate replay` must say what the kernel said."""

import json
import os
import struct
import subprocess

from kernel import Broken

CONF = """version: 1
ports:
  left: {{ driver: memory, mac: "02:00:00:00:00:01", addresses: [10.1.0.1/24, "fd01::1/64"] }}
  right: {{ driver: memory, mac: "02:00:00:00:00:02", addresses: [10.2.0.1/24, "fd02::1/64"] }}
routes:
  - {{ to: 10.1.0.0/16, via: 10.1.0.2 }}
  - {{ to: 10.2.0.0/16, via: 10.2.0.2 }}
  - {{ to: "fd01::/32", via: "fd01::2" }}
  - {{ to: "fd02::/32", via: "fd02::2" }}
chains:
  forward: {{ policy: accept }}
helpers:
{helpers}
"""


def compare(arguments, case, verdicts):
    """Writes a capture of either port and a configuration, replays them, and compares every packet's state."""
    base = os.path.join(arguments.out, case.name.replace("/", "-"))
    os.makedirs(arguments.out, exist_ok=True)
    with open(base + ".yaml", "w") as out:
        out.write(CONF.format(helpers="\n".join(f"  {name}: {{ type: {name} }}" for name in case.setup.helpers)))
    program = os.path.join(os.path.dirname(os.path.dirname(arguments.binary)), "flowgate")
    command = [program, "replay", "--quiet", "--config", base + ".yaml", "--verdicts", base + ".jsonl"]
    for number, name in enumerate(("left", "right")):
        write(f"{base}-{name}.pcap", [(micros, frame) for port, micros, frame in case.events if port == number])
        command += ["--port", f"{name}={base}-{name}.pcap"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Broken(f"{' '.join(command)}: {done.stderr}")
    said = [json.loads(line)["state"] for line in open(base + ".jsonl")]
    wrong = [n + 1 for n, (state, verdict) in enumerate(zip(said, verdicts)) if state != verdict.kernel.state]
    if wrong or len(said) != len(verdicts):
        raise Broken(f"{case.name}: flowgate replay says otherwise than the kernel of packets {wrong[:20]}; see {base}*")


def write(path, packets):
    """A classic capture with microseconds."""
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for micros, frame in packets:
            out.write(struct.pack("<IIII", 1 + micros // 10**6, micros % 10**6, len(frame), len(frame)) + frame)
