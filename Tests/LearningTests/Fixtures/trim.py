"""Cuts a recorded optimizer trajectory down to what the tests read.

usage: trim.py [--tensors TENSOR,...] SOURCE TARGET [STEPS [OPTIMIZER...]]

Keeps all tensors; with STEPS only that many steps (and then no state/, which
belongs to the last one); with OPTIMIZERs only their trajectories traj/OPTIMIZER/; with TENSORs only these of the
parameters, which rules that see a tensor at a time do not notice. Metadata keep the source, the class and its arguments.
"""
import json
import struct
import sys


def main(source, target, steps=None, *optimizers, tensors=None):
    data = open(source, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__")
    kept, parts, offset = {}, [], 0
    for name in sorted(header):
        tensor = header[name]
        if name.startswith("traj/") and optimizers and name.split("/")[1] not in optimizers:
            continue
        if name.startswith("state/") and steps:
            continue
        if tensors and name.startswith(("init/", "grad/", "traj/")) and not name.endswith(tensors):
            continue
        begin, end = tensor["data_offsets"]
        part, shape = data[8 + length + begin:8 + length + end], tensor["shape"]
        if steps and name.split("/")[0] in ("grad", "traj", "loss"):
            part, shape = part[:len(part) // shape[0] * int(steps)], [int(steps)] + shape[1:]
        kept[name] = {"dtype": tensor["dtype"], "shape": shape, "data_offsets": [offset, offset + len(part)]}
        parts.append(part)
        offset += len(part)
    keys = list(optimizers) + ["source", "cls", "args", "num_steps", "theta_order", "theta_seed"]
    kept["__metadata__"] = {k: metadata[k] for k in keys if k in metadata}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    open(target, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(parts))


if sys.argv[1] == "--tensors":
    main(*sys.argv[3:], tensors=tuple("/" + tensor for tensor in sys.argv[2].split(",")))
else:
    main(*sys.argv[1:])
