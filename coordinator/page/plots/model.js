// What can be said of a study's trials: features, ties, the choice within a budget, what mattered, filters. Pure
// functions over trials as `hone trials --json` tells them (docs/cli.md).
import {isNumber, plainText} from './svg.js';
import {kMissing, metricText, plural, timesText} from './format.js';

const kSpeed = 'latency_ms_p50';
const kFewestTrials = 4;
const kWorthTelling = 0.01;

export function metricOf(trial, name) {
  const value = name === 'speedup' ? trial.speedup?.median : trial.metrics?.[name];
  return isNumber(value) ? value : undefined;
}

export function intervalOf(trial, name) {
  const interval = name === 'speedup' ? trial.speedup?.ci99 : trial.intervals?.[name]?.ci99;
  return Array.isArray(interval) && isNumber(interval[0]) && isNumber(interval[1]) ? interval : undefined;
}

// Whether more of a metric is better: as the job's objectives say, or as its name says.
export function isMore(job, metric) {
  const named = (job.objectives ?? []).find(
    (objective) => objective.maximize === metric || objective.minimize === metric,
  );
  if (named) return named.maximize === metric;
  return /^(speedup|throughput|accuracy$|cosine|sqnr|top\d|f1|requests)/.test(metric);
}

export function stepText(step) {
  const params = Object.entries(step.params ?? {}).map(([name, value]) => `${name}=${value}`);
  return params.length ? `${step.pass}(${params.join(', ')})` : step.pass;
}

export function pipelineText(trial) {
  const steps = (trial.pipeline ?? []).map(stepText);
  return steps.length ? steps.join(' → ') : 'the model as it is';
}

export function backendText(trial) {
  const settings = Object.entries(trial.settings ?? {}).map(([name, value]) => `${name}=${value}`);
  return (trial.backend ?? kMissing) + (settings.length ? `(${settings.join(', ')})` : '');
}

// Every decision of a candidate by name. A pass that is not there has no parameters.
export function featuresOf(trial) {
  const features = new Map([['backend', trial.backend ?? '']]);
  const seen = new Map();
  for (const step of trial.pipeline ?? []) {
    const count = (seen.get(step.pass) ?? 0) + 1;
    seen.set(step.pass, count);
    const name = count === 1 ? step.pass : `${step.pass}#${count}`;
    features.set(`pass ${name}`, 'yes');
    for (const [parameter, value] of Object.entries(step.params ?? {})) features.set(`${name}.${parameter}`, value);
  }
  for (const [setting, value] of Object.entries(trial.settings ?? {}))
    features.set(`${trial.backend}.${setting}`, value);
  return features;
}

// A study and its trials, with what the plots and tables ask again and again.
export function viewOf(job, study, trials) {
  const byNumber = new Map(trials.map((trial) => [trial.trial, trial]));
  const metrics = new Set();
  for (const trial of trials) for (const name of Object.keys(trial.metrics ?? {})) metrics.add(name);
  if (trials.some((trial) => trial.speedup)) metrics.add('speedup');
  const best = study.best ? study.best.trial : undefined;
  return {
    job,
    study,
    trials,
    byNumber,
    metrics: [...metrics].sort(),
    baseline: byNumber.get(0),
    best: byNumber.get(best) ?? study.best ?? undefined,
  };
}

export function limitOf(job, metric) {
  const found = (job.constraints ?? []).find((constraint) => constraint.metric === metric);
  if (!found) return undefined;
  const limit = {};
  if (isNumber(found.maximum)) limit.max = found.maximum;
  if (isNumber(found.minimum)) limit.min = found.minimum;
  return Object.keys(limit).length ? limit : undefined;
}

export function objectiveOf(job) {
  const first = (job.objectives ?? [])[0];
  return first ? (first.minimize ?? first.maximize) : kSpeed;
}

// The two metrics that a job is about: its first objective, and what bounds it or competes with it.
export function axesOf(view) {
  const x = objectiveOf(view.job);
  const wanted = [
    ...(view.job.constraints ?? []).map((constraint) => constraint.metric),
    ...(view.job.objectives ?? []).map((objective) => objective.minimize ?? objective.maximize),
    'accuracy_drop',
    'size_bytes',
    'memory_bytes',
    kSpeed,
  ];
  const y = wanted.find((name) => name !== x && view.metrics.includes(name)) ?? wanted.find((name) => name !== x);
  return {x, y};
}

// Trials that no other beats on both metrics; of equals all.
export function frontOf(trials, x, y, job) {
  const sign = [isMore(job, x) ? -1 : 1, isMore(job, y) ? -1 : 1];
  const places = trials
    .filter((trial) => trial.state === 'complete' && trial.trial !== 0)
    .map((trial) => ({trial, a: metricOf(trial, x), b: metricOf(trial, y)}))
    .filter((place) => isNumber(place.a) && isNumber(place.b))
    .map((place) => ({...place, a: sign[0] * place.a, b: sign[1] * place.b}))
    .sort((p, q) => p.a - q.a || p.b - q.b);
  const front = new Set();
  let least = Infinity;
  let leastA = 0;
  for (const place of places) {
    if (place.b < least || (place.b === least && place.a === leastA)) {
      front.add(place.trial.trial);
      least = place.b;
      leastA = place.a;
    }
  }
  return front;
}

// The first objective as something to be small, with its interval. Speed is told by the paired ratio where there is
// one: candidate and baseline ran side by side, so it is free of the machine's drift.
function rankOf(job, trial) {
  const name = objectiveOf(job);
  const paired = name === kSpeed && isNumber(trial.speedup?.median) && trial.speedup.median > 0;
  const value = paired ? 1 / trial.speedup.median : metricOf(trial, name);
  if (!isNumber(value)) return undefined;
  const interval = paired
    ? trial.speedup.ci99 && [1 / trial.speedup.ci99[1], 1 / trial.speedup.ci99[0]]
    : intervalOf(trial, name);
  const [low, high] = interval ?? [value, value];
  return isMore(job, name) ? {value: -value, low: -high, high: -low} : {value, low, high};
}

// The choice among complete trials that keep a budget: the fastest (or what the first objective says), those whose
// interval overlaps its, and of all these the one that gives up least of the second metric. `budget`: {metric, max}, or
// undefined for the job's own constraints.
export function choiceOf(view, budget, second) {
  const {job} = view;
  const within = (trial) =>
    !budget || (isNumber(metricOf(trial, budget.metric)) && metricOf(trial, budget.metric) <= budget.max);
  const ranked = view.trials
    .filter((trial) => trial.state === 'complete' && trial.trial !== 0 && within(trial))
    .map((trial) => ({trial, rank: rankOf(job, trial)}))
    .filter((one) => one.rank)
    .sort((a, b) => a.rank.value - b.rank.value);
  if (!ranked.length) return {tied: []};
  const chosen = !budget && view.best && ranked.find((one) => one.trial.trial === view.best.trial);
  const first = chosen || ranked[0];
  const tied = ranked
    .filter((one) => one !== first && one.rank.low <= first.rank.high && one.rank.high >= first.rank.low)
    .map((one) => one.trial);
  const loss = (trial) => {
    const value = metricOf(trial, second);
    return isNumber(value) ? (isMore(job, second) ? -value : value) : Infinity;
  };
  let advised = first.trial;
  for (const trial of tied) if (loss(trial) < loss(advised)) advised = trial;
  return {fastest: first.trial, tied, advised, second};
}

// Why this one, in sentences.
export function choiceText(view, choice) {
  if (!choice.fastest) return 'No complete trial keeps the limits yet.';
  const name = (trial) => `${view.job.job}/${trial.trial}`;
  const figures = (trial) =>
    [timesText(trial.speedup?.median), metricText(objectiveOf(view.job), metricOf(trial, objectiveOf(view.job)))]
      .filter((text) => text !== kMissing)
      .join(', ');
  const {fastest, tied, advised, second} = choice;
  let text = `${name(fastest)} is ahead (${figures(fastest)}). `;
  if (!tied.length) return text + 'No other trial\u2019s interval reaches it.';
  text +=
    `The measurement cannot tell ${plural(tied.length, 'other trial')} from it (` +
    `${tied.slice(0, 4).map(name).join(', ')}${tied.length > 4 ? ' …' : ''}). `;
  const tell = (trial) => metricText(second, metricOf(trial, second));
  if (advised === fastest) return text + `Of all these it is also the best in ${second} (${tell(fastest)}).`;
  return (
    text +
    `Of these ${name(advised)} is the best in ${second}: ${tell(advised)} against ${tell(fastest)}, at no speed ` +
    `that could be measured.`
  );
}

// A sequence of numbers in [0, 1) that is the same every time.
function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// Epsilon squared (Kelley 1935): the share of the variance that the groups explain, corrected for chance.
function epsilonSquared(codes, values, picked, groups) {
  const sum = new Float64Array(groups);
  const count = new Float64Array(groups);
  let mean = 0;
  for (const i of picked) {
    sum[codes[i]] += values[i];
    count[codes[i]] += 1;
    mean += values[i] / picked.length;
  }
  let total = 0;
  for (const i of picked) total += (values[i] - mean) ** 2;
  let between = 0;
  let k = 0;
  for (let group = 0; group < groups; ++group) {
    if (!count[group]) continue;
    ++k;
    between += count[group] * (sum[group] / count[group] - mean) ** 2;
  }
  if (k < 2 || k >= picked.length || !(total > 0)) return undefined;
  return (between - ((k - 1) * (total - between)) / (picked.length - k)) / total;
}

// What mattered for a metric: as `hone explain` tells it, with an interval from half-samples (their spread around the
// whole is that of the whole around the truth) for the parameters that explain a hundredth or more. The largest first.
export function importancesOf(view, metric = objectiveOf(view.job)) {
  const complete = view.trials.filter((trial) => trial.state === 'complete' && trial.trial !== 0);
  const scored = complete
    .map((trial) => ({
      trial,
      rank:
        metric === kSpeed && isNumber(trial.speedup?.median) && trial.speedup.median > 0
          ? 1 / trial.speedup.median
          : metricOf(trial, metric),
    }))
    .filter((one) => isNumber(one.rank));
  if (scored.length < kFewestTrials) return [];
  const values = Float64Array.from(scored, (one) => (one.rank > 0 ? Math.log(one.rank) : one.rank));
  const features = scored.map((one) => featuresOf(one.trial));
  const names = new Set(features.flatMap((feature) => [...feature.keys()]));
  const all = [...values.keys()];
  const halves = [];
  const random = seeded(7);
  for (let round = 0; round < Math.min(40, Math.ceil(400000 / values.length / names.size)); ++round) {
    const mixed = [...all];
    for (let i = 0; i < mixed.length / 2; ++i) {
      const j = i + Math.floor(random() * (mixed.length - i));
      [mixed[i], mixed[j]] = [mixed[j], mixed[i]];
    }
    halves.push(mixed.slice(0, mixed.length >> 1));
  }
  const found = [];
  for (const name of names) {
    const words = new Map();
    const codes = Int32Array.from(features, (feature) => {
      const word = feature.has(name) ? String(feature.get(name)) : '\u0000';
      if (!words.has(word)) words.set(word, words.size);
      return words.get(word);
    });
    const share = epsilonSquared(codes, values, all, words.size);
    if (share === undefined || share < kWorthTelling) continue;
    const spread = halves.map((half) => epsilonSquared(codes, values, half, words.size)).filter(isNumber);
    const deviation = Math.sqrt(spread.reduce((sum, one) => sum + (one - share) ** 2, 0) / Math.max(1, spread.length));
    const interval =
      spread.length > 4
        ? {low: Math.max(0, share - 1.96 * deviation), high: Math.min(1, share + 1.96 * deviation)}
        : {};
    found.push({name, value: Math.min(1, share), trials: values.length, ...interval});
  }
  return found.sort((a, b) => b.value - a.value);
}

// The parameters that vary between the trials, with their values: [{name, values: one a trial, undefined where it has
// none}].
export function varyingParameters(trials) {
  const features = trials.map(featuresOf);
  const names = [...new Set(features.flatMap((feature) => [...feature.keys()]))];
  return names
    .map((name) => ({
      name,
      values: features.map((feature) => (name.startsWith('pass ') ? (feature.get(name) ?? 'no') : feature.get(name))),
    }))
    .filter((parameter) => new Set(parameter.values).size > 1);
}

// What a search box means: words that the trial's text holds, `name=value` of a state, backend, worker or parameter,
// `metric<number`.
const kTerm = /^([\w.# -]+?)(<=|>=|!=|<|>|=)(.+)$/;
const kComparisons = {
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
  '=': (a, b) => a === b,
  '!=': (a, b) => a !== b,
};

function fieldOf(trial, name) {
  const direct = metricOf(trial, name);
  if (direct !== undefined) return direct;
  if (['state', 'backend', 'worker', 'trial', 'reason'].includes(name)) return trial[name];
  const features = featuresOf(trial);
  if (features.has(name)) return features.get(name);
  for (const [feature, value] of features) if (feature.endsWith(`.${name}`)) return value;
  return undefined;
}

function termOf(word) {
  const parts = kTerm.exec(word);
  if (!parts) {
    const wanted = word.toLowerCase();
    return (trial) => textOf(trial).includes(wanted);
  }
  const [, name, sign, bound] = parts;
  const compare = kComparisons[sign];
  const number = Number(bound);
  return (trial) => {
    const value = fieldOf(trial, name);
    if (value === undefined || value === null) return sign === '!=';
    if (isNumber(value) && Number.isFinite(number)) return compare(value, number);
    return sign === '=' || sign === '!=' ? compare(String(value).toLowerCase(), bound.toLowerCase()) : false;
  };
}

const kTexts = new WeakMap();

// What a search looks through.
export function textOf(trial) {
  let text = kTexts.get(trial);
  if (text === undefined) {
    text = plainText(
      `${trial.trial} ${trial.state} ${pipelineText(trial)} ${backendText(trial)} ${trial.worker ?? ''} ` +
        `${trial.reason ?? ''}`,
    ).toLowerCase();
    kTexts.set(trial, text);
  }
  return text;
}

// A predicate for trials. Terms are separated by blanks and must all hold; quotes keep blanks together.
export function filterOf(query) {
  const words = query.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? [];
  const terms = words.map((word) => termOf(word.replaceAll('"', '')));
  return (trial) => terms.every((term) => term(trial));
}

// Trials by a column; those without a value last, whichever way.
export function sortedBy(trials, key, down) {
  const keyed = trials.map((trial) => [key(trial), trial]);
  const missing = (value) => value === undefined || value === null || value === '';
  keyed.sort(([a, first], [b, second]) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b) || first.trial - second.trial;
    const order = a < b ? -1 : a > b ? 1 : 0;
    return (down ? -order : order) || first.trial - second.trial;
  });
  return keyed.map(([, trial]) => trial);
}

// Two trials of the same baseline: by how much the second is faster, with an interval that holds whatever the two have
// in common.
export function comparisonOf(first, second) {
  const a = first.speedup;
  const b = second.speedup;
  if (!isNumber(a?.median) || !isNumber(b?.median) || !(a.median > 0)) return {verdict: 'undecided'};
  const result = {speedup: b.median / a.median, verdict: 'undecided'};
  if (!a.ci99 || !b.ci99) return result;
  result.low = b.ci99[0] / a.ci99[1];
  result.high = b.ci99[1] / a.ci99[0];
  result.verdict = result.low > 1 ? 'faster' : result.high < 1 ? 'slower' : 'undecided';
  return result;
}
