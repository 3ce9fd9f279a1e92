"""The main job by a client that openapi-python-client generated from openapi.yaml, used as it was generated.

usage: main.py ADDRESS FOLDER     the key stands in KEY, FOLDER holds the package `trainyard_client`
Prints what it found as one JSON document; EndToEndTests/GeneratedClientTests.swift looks at it.
"""
import io
import json
import os
import struct
import sys
import time

address, folder = sys.argv[1:]
sys.path.insert(0, folder)

from trainyard_client import AuthenticatedClient
from trainyard_client.api.datasets import create_dataset, get_dataset, list_datasets
from trainyard_client.api.jobs import cancel_job, create_job, download_model, get_curve, get_job, list_curves, list_jobs
from trainyard_client.api.operations import get_capabilities, get_description_yaml
from trainyard_client.models import (
    CurveSeries, DatasetFormat, DatasetState, Job, JobRequest, JobState, JobRequestTags, Layer, LayerType, Model,
    ModelFormat, ModelPreset, Problem)
from trainyard_client.types import File

client = AuthenticatedClient(
    base_url=address, token=os.environ["KEY"], raise_on_unexpected_status=True, timeout=120)


def expect(holds, what):
    """Ends the program with what did not hold."""
    if not holds:
        sys.exit(f"main.py: {what}")


def ended(job_id):
    """The job once it has ended, by waiting requests."""
    for _ in range(20):
        job = get_job.sync(job_id, client=client, wait=30)
        expect(isinstance(job, Job), f"reading {job_id} gave {job}")
        if job.state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
            return job
    sys.exit(f"main.py: {job_id} does not end: {job}")


capabilities = get_capabilities.sync(client=client)
expect("celo" in [one.name for one in capabilities.optimizers], f"no celo in {capabilities.optimizers}")
expect(get_description_yaml.sync_detailed(client=client).content.startswith(b"# "), "no description")

# A dataset from a table, waited for until it is ready.
rows = "".join(f"{row % 3 * 2 + row % 7 / 10},{3 - row % 3},{['iris', 'rose', 'tulip'][row % 3]}\n" for row in range(300))
table = File(payload=io.BytesIO(("length,width,kind\n" + rows).encode()))
dataset = create_dataset.sync(
    client=client, body=table, name="flowers, from Python", format_=DatasetFormat.CSV, target="kind",
    idempotency_key="generated-python-1")
while dataset.state == DatasetState.VALIDATING:
    dataset = get_dataset.sync(dataset.id, client=client, wait=30)
expect(dataset.state == DatasetState.READY, f"the dataset is {dataset}")
expect(dataset.schema.target.names == ["iris", "rose", "tulip"], f"the schema is {dataset.schema}")

# What is wrong with a request comes back as values.
refused = create_job.sync_detailed(
    client=client, body=JobRequest(dataset=dataset.id, steps=0, model=Model(preset=ModelPreset.MLP), batch_size=0))
expect(refused.status_code == 422 and isinstance(refused.parsed, Problem), f"no problem: {refused}")
faults = {fault.path: fault.reason for fault in refused.parsed.errors}
expect(set(faults) == {"/steps", "/batch_size"}, f"faults: {faults}")
expect(refused.parsed.retryable is False and refused.parsed.status == 422, f"problem: {refused.parsed}")

# A job, by layers, to its end.
layers = [Layer(type_=LayerType.DENSE, units=16), Layer(type_=LayerType.DENSE, units=3)]
tags = JobRequestTags()
tags["made"] = "by a generated client"
job = create_job.sync(
    client=client,
    body=JobRequest(dataset=dataset.id, model=Model(layers=layers), steps=40, batch_size=32, seed=7, tags=tags))
expect(isinstance(job, Job) and job.state in (JobState.QUEUED, JobState.RUNNING), f"the job is {job}")
job = ended(job.id)
expect(job.state == JobState.SUCCEEDED and job.step == 40, f"the job ended as {job}")
expect(job.result.held_out_accuracy is not None and job.result.train_loss < 1.2, f"its result is {job.result}")
expect(job.tags["made"] == "by a generated client", f"its tags are {job.tags}")
expect([layer.units for layer in job.model.layers] == [16, 3], f"its model is {job.model}")

curve = get_curve.sync(job.id, CurveSeries.TRAIN_LOSS, client=client, max_points=100)
expect(curve.steps == list(range(40)) or len(curve.steps) == 40, f"the curve has the steps {curve.steps}")
expect(curve.values[-1] < curve.values[0], f"the loss did not fall: {curve.values}")
series = [one.series for one in list_curves.sync(job.id, client=client).items]
expect(CurveSeries.TRAIN_LOSS in series, f"series: {series}")

# The weights are a safetensors file.
model = download_model.sync(job.id, client=client, format_=ModelFormat.SAFETENSORS).payload.read()
(length,) = struct.unpack("<Q", model[:8])
tensors = {name: tensor["shape"] for name, tensor in json.loads(model[8:8 + length]).items() if name != "__metadata__"}
expect(sorted(map(tuple, tensors.values())) == [(2, 16), (3,), (16,), (16, 3)], f"tensors: {tensors}")

# Several jobs, one page at a time; the last of them does not run long.
submitted = [job.id]
for seed in range(3):
    made = create_job.sync(
        client=client,
        body=JobRequest(dataset=dataset.id, model=Model(preset=ModelPreset.MLP), steps=10, seed=seed, batch_size=32))
    submitted.append(made.id)
endless = create_job.sync(
    client=client, body=JobRequest(dataset=dataset.id, model=Model(preset=ModelPreset.MLP), steps=1000000))
submitted.append(endless.id)
expect(cancel_job.sync(endless.id, client=client).state in (JobState.CANCELLED, JobState.CANCELLING), "not cancelled")
expect(ended(endless.id).state == JobState.CANCELLED, "the endless job went on")
listed, cursor = [], None
while True:
    page = list_jobs.sync(client=client, limit=2, **({"cursor": cursor} if cursor else {}))
    expect(len(page.items) <= 2, f"a page of {len(page.items)}")
    listed += [one.id for one in page.items]
    cursor = page.next_cursor
    if cursor is None:
        break
expect([one for one in listed if one in submitted] == submitted[::-1], f"listed {listed}, submitted {submitted}")
expect(len(list_datasets.sync(client=client).items) >= 1, "no datasets listed")

missing = get_job.sync_detailed("job_01jd3kq5v8m2n4p6r8t0w2y4a6", client=client)
expect(missing.status_code == 404 and missing.parsed.status == 404, f"a job that is not there: {missing}")

print(json.dumps({"job": job.id, "steps": job.step, "curve": len(curve.steps), "bytes": len(model), "listed": len(listed)}))
