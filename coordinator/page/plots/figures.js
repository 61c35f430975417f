// The pictures of a job and of a trial, from what the service tells of them: the page and the one-file report draw
// these.
import {isNumber} from './svg.js';
import {metricName, plural, timesText, unitOf, metricText} from './format.js';
import {scatter} from './scatter.js';
import {parallel} from './parallel.js';
import {importance, operators} from './bars.js';
import {timeline} from './timeline.js';
import {distribution} from './distribution.js';
import {
  axesOf,
  choiceOf,
  choiceText,
  frontOf,
  importancesOf,
  intervalOf,
  limitOf,
  metricOf,
  objectiveOf,
  pipelineText,
  varyingParameters,
} from './model.js';

export function kindOf(trial) {
  if (trial.trial === 0) return 'baseline';
  return trial.state === 'complete' ? 'feasible' : trial.state === 'infeasible' ? 'infeasible' : 'failed';
}

export function hasEnded(trial) {
  return trial.state !== 'running' && trial.state !== 'waiting';
}

function titleOf(view, trial, x, y) {
  const name = trial.trial === 0 ? `${view.job.job}/baseline` : `${view.job.job}/${trial.trial}`;
  return (
    `${name}: ${metricText(x, metricOf(trial, x))}, ${y} ${metricText(y, metricOf(trial, y))}, ` +
    `${timesText(trial.speedup?.median)}, ${pipelineText(trial)}`
  );
}

// A metric in the unit of its axis.
function scaled(metric, value) {
  return isNumber(value) ? value * unitOf(metric).factor : undefined;
}

function scaledLimit(metric, limit) {
  return limit && Object.fromEntries(Object.entries(limit).map(([side, bound]) => [side, scaled(metric, bound)]));
}

// The points of the plot and its options; the page also needs them to find what the pointer is at.
export function paretoParts(view, options) {
  const axes = axesOf(view);
  const x = options.x ?? axes.x;
  const y = options.y ?? axes.y;
  const front = frontOf(view.trials, x, y, view.job);
  const choice = choiceOf(view, undefined, y);
  const best = isNumber(options.dial)
    ? choiceOf(view, {metric: y, max: options.dial}, y).advised
    : (view.best ?? choice.fastest);
  const points = view.trials.filter(hasEnded).map((trial) => {
    const xInterval = intervalOf(trial, x);
    const yInterval = intervalOf(trial, y);
    return {
      id: String(trial.trial),
      x: scaled(x, metricOf(trial, x)),
      y: scaled(y, metricOf(trial, y)),
      kind: kindOf(trial),
      xLow: scaled(x, xInterval?.[0]),
      xHigh: scaled(x, xInterval?.[1]),
      yLow: scaled(y, yInterval?.[0]),
      yHigh: scaled(y, yInterval?.[1]),
      front: front.has(trial.trial),
      best: best?.trial === trial.trial,
      tied: choice.tied.includes(trial),
      selected: options.selected === trial.trial,
      title:
        front.has(trial.trial) || trial.trial === 0 || best?.trial === trial.trial
          ? titleOf(view, trial, x, y)
          : undefined,
    };
  });
  const settings = {
    width: options.width,
    height: options.height,
    xName: metricName(x),
    yName: metricName(y),
    dial: scaled(y, options.dial),
    xLimit: scaledLimit(x, limitOf(view.job, x)),
    yLimit: scaledLimit(y, limitOf(view.job, y)),
    label: `${metricName(y)} over ${metricName(x)} of ${plural(points.length, 'trial')}. ${choiceText(view, choice)}`,
  };
  return {points, settings, choice, x, y, factor: unitOf(y).factor};
}

export function paretoFigure(view, options) {
  const {points, settings} = paretoParts(view, options);
  return scatter(points, settings);
}

const kMostAxes = 10;

// The parameters that vary, those that matter first, and the objective last.
export function parallelParts(view, options) {
  const trials = view.trials.filter((trial) => hasEnded(trial) && trial.trial !== 0);
  const metric = options.metric ?? objectiveOf(view.job);
  const weight = new Map((options.importances ?? []).map((one) => [one.name, one.value]));
  const all = varyingParameters(trials);
  const parameters = all.sort((a, b) => (weight.get(b.name) ?? 0) - (weight.get(a.name) ?? 0)).slice(0, kMostAxes);
  const front = frontOf(view.trials, axesOf(view).x, axesOf(view).y, view.job);
  const axes = [...parameters.map((parameter) => ({name: parameter.name})), {name: metric, metric: true}];
  const rows = trials.map((trial, i) => ({
    id: String(trial.trial),
    kind: kindOf(trial),
    front: front.has(trial.trial),
    best: view.best?.trial === trial.trial,
    title: `${view.job.job}/${trial.trial}: ${pipelineText(trial)}`,
    values: [...parameters.map((parameter) => parameter.values[i]), metricOf(trial, metric)],
  }));
  return {axes: parameters.length ? axes : [], rows, hidden: all.length - parameters.length};
}

export function parallelFigure(view, options) {
  const {axes, rows} = parallelParts(view, options);
  return parallel(axes, rows, {width: options.width, height: options.height});
}

export function importanceFigure(view, options) {
  const bars = options.importances ?? importancesOf(view);
  const complete = view.trials.filter((trial) => trial.state === 'complete' && trial.trial !== 0).length;
  return importance(bars.slice(0, 12), {
    width: options.width,
    reason:
      complete < 4
        ? `Said from four complete trials on (${complete} so far)`
        : 'No parameter explains a hundredth of the differences',
  });
}

const kBadOutcomes = new Set(['failed', 'crashed', 'timed_out', 'out_of_memory', 'worker_lost', 'cancelled']);

// attempts: {worker, kind, started_unix_ms, ended_unix_ms, outcome, trial, pass}; what is open lasts until now.
export function timelineFigure(attempts, options) {
  const spans = attempts
    .filter((attempt) => attempt.worker && isNumber(attempt.started_unix_ms) && attempt.started_unix_ms > 0)
    .map((attempt) => {
      const end =
        attempt.ended_unix_ms > 0
          ? attempt.ended_unix_ms
          : Math.max(attempt.started_unix_ms, options.now ?? attempt.started_unix_ms);
      return {
        worker: attempt.worker,
        kind: attempt.kind,
        start: attempt.started_unix_ms,
        end,
        failed: kBadOutcomes.has(attempt.outcome),
        title: `trial ${attempt.trial}: ${attempt.kind}${attempt.pass ? ` ${attempt.pass}` : ''}, ${attempt.outcome}`,
      };
    });
  return timeline(spans, options);
}

// samples: {"candidate.latency_ms": [...], "baseline.latency_ms": [...]}.
export function distributionFigure(samples, trial, baselineMetrics, options) {
  const side = (name, look, metrics) => ({
    name: look === 'baseline' ? 'baseline' : 'this candidate',
    look,
    values: samples[`${look}.latency_ms`] ?? [],
    median: metrics?.latency_ms_p50,
    ...(name ?? {}),
  });
  const bounds = intervalOf(trial, 'latency_ms_p50');
  return distribution(
    [
      side(undefined, 'baseline', baselineMetrics),
      side(bounds && {low: bounds[0], high: bounds[1]}, 'candidate', trial.metrics),
    ],
    {...options, unit: 'latency, ms'},
  );
}

// What the runtime executes: how many operators of each type and precision, the candidate's beside the baseline's. The
// greatest change first.
export function operatorRows(execution, baseline) {
  const rows = new Map();
  const add = (kernels, side) => {
    for (const kernel of kernels ?? []) {
      const name = `${kernel.type} ${kernel.precision ?? ''}`.trim();
      const row = rows.get(name) ?? {name, type: kernel.type, precision: kernel.precision, kernels: new Set()};
      row[side] = (row[side] ?? 0) + kernel.count;
      if (side === 'candidate' && kernel.kernel) row.kernels.add(kernel.kernel);
      rows.set(name, row);
    }
  };
  add(baseline?.kernels, 'base');
  add(execution?.kernels, 'candidate');
  const change = (row) => Math.abs((row.candidate ?? 0) - (row.base ?? 0));
  return [...rows.values()]
    .map((row) => ({...row, note: [...row.kernels].join(', ')}))
    .sort((a, b) => change(b) - change(a) || (b.candidate ?? 0) - (a.candidate ?? 0) || (a.name < b.name ? -1 : 1));
}

export function operatorsFigure(rows, options) {
  return operators(rows, {...options, most: options.most ?? 14});
}
