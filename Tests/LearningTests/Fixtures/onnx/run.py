"""Runs models under onnxruntime: for each NAME/x of FOLDER/inputs.safetensors the file FOLDER/NAME.onnx, whose output
becomes NAME in FOLDER/outputs.safetensors. usage: run.py FOLDER   (needs onnxruntime, onnx and numpy)"""
import json
import struct
import sys

import numpy as np
import onnx
import onnxruntime

folder = sys.argv[1]
kinds = {"F32": np.float32, "I64": np.int64}
with open(f"{folder}/inputs.safetensors", "rb") as file:
    data = file.read()
length = struct.unpack("<Q", data[:8])[0]
header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
outputs = {}
for name, entry in header.items():
    if name == "__metadata__":
        continue
    begin, end = entry["data_offsets"]
    x = np.frombuffer(body[begin:end], dtype=kinds[entry["dtype"]]).reshape(entry["shape"])
    try:
        onnx.checker.check_model(onnx.load(f"{folder}/{name}.onnx"), full_check=True)
        session = onnxruntime.InferenceSession(f"{folder}/{name}.onnx", providers=["CPUExecutionProvider"])
        outputs[name] = np.asarray(session.run(None, {"inputs": x})[0], dtype=np.float32)
    except Exception as error:
        print(f"{name}: {error}", file=sys.stderr)
header, body = {}, b""
for name, array in sorted(outputs.items()):
    header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(body), len(body) + array.nbytes]}
    body += np.ascontiguousarray(array).tobytes()
text = json.dumps(header).encode()
with open(f"{folder}/outputs.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + body)
