// The main job by a client that openapi-generator (typescript-fetch) generated from openapi.yaml, used as it was generated.
// usage: node main.js ADDRESS     the key stands in KEY; the generated client lies beside this file in `client`
// Prints what it found as one JSON document; EndToEndTests/GeneratedClientTests.swift looks at it.
import {
  Configuration, CurveSeries, DatasetFormat, DatasetState, DatasetsApi, EvaluationRequestToJSON, Job, JobState, JobsApi,
  LayerTypeEnum, ModelFormat, ModelPresetEnum, OperationsApi, Problem, ProblemFromJSON, ResponseError,
} from "./client";

declare const process: { argv: string[]; env: { [name: string]: string }; exit(status: number): never };

const configuration = new Configuration({ basePath: process.argv[2], accessToken: process.env.KEY });
const datasets = new DatasetsApi(configuration);
const jobs = new JobsApi(configuration);

function expect(holds: boolean, what: string, got: unknown): void {
  if (!holds) throw new Error(`${what}: ${JSON.stringify(got)}`);
}

/** The job once it has ended, by waiting requests. */
async function ended(jobId: string): Promise<Job> {
  for (let round = 0; round < 20; round++) {
    const job = await jobs.getJob({ jobId, wait: 30 });
    if (["succeeded", "failed", "cancelled"].includes(job.state)) return job;
  }
  throw new Error(`${jobId} does not end`);
}

/** The problem that a request is refused with. */
async function problem(request: Promise<unknown>): Promise<Problem> {
  try {
    await request;
  } catch (error) {
    if (error instanceof ResponseError) return ProblemFromJSON(await error.response.json());
    throw error;
  }
  throw new Error("the request was not refused");
}

async function main(): Promise<void> {
  const capabilities = await new OperationsApi(configuration).getCapabilities();
  expect(capabilities.optimizers.some((one) => one.name === "celo"), "no celo", capabilities.optimizers);

  // A dataset from a table, waited for until it is ready.
  const kinds = ["iris", "rose", "tulip"];
  let table = "length,width,kind\n";
  for (let row = 0; row < 300; row++) table += `${(row % 3) * 2 + (row % 7) / 10},${3 - (row % 3)},${kinds[row % 3]}\n`;
  let dataset = await datasets.createDataset({
    name: "flowers, from TypeScript", format: DatasetFormat.Csv, target: "kind", body: new Blob([table]),
    idempotencyKey: "generated-typescript-1",
  });
  while (dataset.state === DatasetState.Validating) {
    dataset = await datasets.getDataset({ datasetId: dataset.id, wait: 30 });
  }
  expect(dataset.state === DatasetState.Ready, "the dataset is not ready", dataset);
  expect(dataset.schema.target.names.join() === kinds.join(), "the schema", dataset.schema);
  expect(dataset.createdAt instanceof Date && dataset.createdAt.getFullYear() > 2024, "no time", dataset.createdAt);

  // What is wrong with a request comes back as values.
  const refusal = await problem(
    jobs.createJob({ jobRequest: { dataset: dataset.id, steps: 0, batchSize: 0, model: { preset: ModelPresetEnum.Mlp } } }));
  expect(refusal.status === 422 && refusal.retryable === false, "no refusal", refusal);
  expect(refusal.errors.map((fault) => fault.path).sort().join() === "/batch_size,/steps", "faults", refusal.errors);

  // A job, by layers, to its end.
  const layers = [{ type: LayerTypeEnum.Dense, units: 16 }, { type: LayerTypeEnum.Dense, units: 3 }];
  const submitted = await jobs.createJob({
    jobRequest: { dataset: dataset.id, model: { layers }, steps: 40, batchSize: 32, seed: 7, tags: { made: "by a generated client" } },
  });
  expect(["queued", "running"].includes(submitted.state), "the job", submitted);
  const job = await ended(submitted.id);
  expect(job.state === JobState.Succeeded && job.step === 40, "the job ended", job);
  expect(job.result.trainLoss < 1.2 && job.result.heldOutAccuracy !== null, "its result", job.result);
  expect(job.tags["made"] === "by a generated client", "its tags", job.tags);
  expect(JSON.stringify(job.model.layers).includes('"units":16'), "its model", job.model);

  const curve = await jobs.getCurve({ jobId: job.id, series: CurveSeries.TrainLoss, maxPoints: 100 });
  expect(curve.steps.length === 40 && curve.values[39] < curve.values[0], "the curve", curve);
  const series = (await jobs.listCurves({ jobId: job.id })).items.map((one) => one.series);
  expect(series.includes(CurveSeries.TrainLoss), "series", series);

  // The weights are a safetensors file.
  const file = await jobs.downloadModel({ jobId: job.id, format: ModelFormat.Safetensors });
  const bytes = new DataView(await file.arrayBuffer());
  const length = Number(bytes.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes.buffer, 8, length)));
  const shapes = Object.keys(header).filter((name) => name !== "__metadata__").map((name) => header[name].shape.join("x"));
  expect(shapes.sort().join() === "16,16x3,2x16,3", "tensors", header);

  // Several jobs, one page at a time; the last of them does not run long.
  const made = [job.id];
  for (let seed = 0; seed < 3; seed++) {
    const model = { preset: ModelPresetEnum.Mlp };
    made.push((await jobs.createJob({ jobRequest: { dataset: dataset.id, model, steps: 10, seed, batchSize: 32 } })).id);
  }
  const endless = await jobs.createJob({
    jobRequest: { dataset: dataset.id, model: { preset: ModelPresetEnum.Mlp }, steps: 1000000 },
  });
  made.push(endless.id);
  const cancelled = await jobs.cancelJob({ jobId: endless.id });
  expect(["cancelled", "cancelling"].includes(cancelled.state), "not cancelled", cancelled);
  expect((await ended(endless.id)).state === JobState.Cancelled, "the endless job went on", endless.id);
  const listed: string[] = [];
  let cursor: string | null | undefined = undefined;
  do {
    const page = await jobs.listJobs({ limit: 2, cursor });
    expect(page.items.length <= 2, "a long page", page.items.length);
    listed.push(...page.items.map((one) => one.id));
    cursor = page.nextCursor;
  } while (cursor !== null);
  const own = listed.filter((id) => made.includes(id));
  expect(own.join() === made.reverse().join(), "listed", { listed, made });

  const missing = await problem(jobs.getJob({ jobId: "job_01jd3kq5v8m2n4p6r8t0w2y4a6" }));
  expect(missing.status === 404, "a job that is not there", missing);

  // Members that take a word or an object are sent as they were given.
  const evaluation = EvaluationRequestToJSON({
    optimizers: ["celo", { name: "adam", tune: "rates" }], tasks: ["quick"], steps: [10, 20], seeds: 1,
  });
  expect(
    JSON.stringify(evaluation) ===
      '{"optimizers":["celo",{"name":"adam","tune":"rates"}],"tasks":["quick"],"steps":[10,20],"seeds":1}',
    "an evaluation", evaluation);

  console.log(
    JSON.stringify({ job: job.id, steps: job.step, curve: curve.steps.length, bytes: bytes.byteLength, listed: listed.length }));
}

main().catch((error) => {
  console.error(`main.ts: ${error.stack}`);
  process.exit(1);
});
