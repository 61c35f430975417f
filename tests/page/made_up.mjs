// Trials and studies for tests of pure functions: the same every time, with an effect of the observer and none of
// `noise`.
import {viewOf} from '../../coordinator/page/plots/model.js';

export function trialOf(number, changes) {
  return {
    trial: number,
    study: 0,
    state: 'complete',
    phase: null,
    pipeline: [],
    backend: 'onnxruntime',
    settings: {},
    metrics: {latency_ms_p50: 10, accuracy_drop: 0},
    intervals: {},
    speedup: number ? {median: 1, ci99: [0.95, 1.05], pairs: 20} : null,
    artifact: null,
    reason: null,
    worker: 'w1',
    attempts: 1,
    wall_s: 3,
    execution: null,
    notes: [],
    ...changes,
  };
}

const kObservers = ['minmax', 'percentile', 'mse', 'entropy'];

export function studyOf(size) {
  const trials = [
    trialOf(0, {metrics: {latency_ms_p50: 12.4, accuracy_drop: 0, size_bytes: 97800000, memory_bytes: 2.1e8}}),
  ];
  for (let i = 1; i <= size; ++i) {
    const observer = (i * 7) % 4;
    const wobble = Math.sin(i * 12.9898) * 0.3;
    const latency = [10, 8, 5, 6.5][observer] + wobble;
    const drop = Math.abs([0.001, 0.004, 0.012, 0.03][observer] + Math.sin(i * 78.233) * 0.002);
    const pipeline = [
      {
        pass: 'static_int8',
        params: {
          observer: kObservers[observer],
          per_channel: i % 2 === 0,
          ...(observer === 1 ? {percentile: 99.9 + (i % 10) / 100} : {}),
        },
      },
    ];
    const changes = {
      pipeline,
      backend: 'openvino',
      settings: {noise: ((i * 2654435761) % 97) % 3},
      worker: `worker-${i % 3}`,
    };
    if (i % 17 === 0)
      Object.assign(changes, {
        state: 'failed',
        metrics: {},
        speedup: null,
        reason: 'operator GridSample is not supported',
      });
    else if (drop > 0.02)
      Object.assign(changes, {
        state: 'infeasible',
        metrics: {accuracy_drop: drop},
        speedup: null,
        reason: `accuracy_drop ${drop.toFixed(3)} is above 0.02`,
      });
    else {
      const speed = 12.4 / latency;
      changes.metrics = {
        latency_ms_p50: latency,
        latency_ms_p90: latency * 1.1,
        accuracy_drop: drop,
        size_bytes: 24600000 + (i % 9) * 100000,
        memory_bytes: 9e7 + (i % 5) * 1e6,
      };
      changes.intervals = {latency_ms_p50: {ci99: [latency * 0.99, latency * 1.012], samples: 400}};
      changes.speedup = {median: speed, ci99: [speed * 0.98, speed * 1.02], pairs: 20};
    }
    trials.push(trialOf(i, changes));
  }
  const job = {
    job: '42',
    name: 'resnet50',
    state: 'complete',
    objectives: [{minimize: 'latency_ms_p50'}],
    constraints: [{metric: 'accuracy_drop', minimum: null, maximum: 0.02}],
  };
  let best;
  for (const trial of trials)
    if (trial.state === 'complete' && trial.trial && (!best || trial.speedup.median > best.speedup.median))
      best = trial;
  return {job, view: viewOf(job, {study: 0, best: best ?? null}, trials)};
}
