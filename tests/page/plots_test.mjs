// The plots and what they are made from, as pure functions: what is drawn, what is never lost, what is escaped.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {escapeText, shortNames, ticksOf, padRange} from '../../coordinator/page/plots/svg.js';
import {agoText, bytesText, durationText, metricText} from '../../coordinator/page/plots/format.js';
import {layoutScatter, scatter} from '../../coordinator/page/plots/scatter.js';
import {parallel} from '../../coordinator/page/plots/parallel.js';
import {importance, operators} from '../../coordinator/page/plots/bars.js';
import {busyTime, timeline} from '../../coordinator/page/plots/timeline.js';
import {distribution, quantileOf} from '../../coordinator/page/plots/distribution.js';
import {historyPlot} from '../../coordinator/page/plots/history.js';
import {
  choiceOf,
  choiceText,
  comparisonOf,
  filterOf,
  frontOf,
  importancesOf,
  sortedBy,
  varyingParameters,
  viewOf,
} from '../../coordinator/page/plots/model.js';
import {operatorRows, parallelParts, paretoFigure, timelineFigure} from '../../coordinator/page/plots/figures.js';
import {studyOf, trialOf} from './made_up.mjs';
import {wellFormed} from './well_formed.mjs';

const kSize = {width: 700, height: 400, xName: 'latency, ms', yName: 'accuracy drop'};
const kEvil = '<script>alert(1)</script>"\'&\u0000\u001b[31m\u202e\ud800';

function count(text, part) {
  return text.split(part).length - 1;
}

// Dots and crosses are subpaths of one shape: each begins with an M, a cross with one M.
function subpaths(svg, look) {
  const shape = svg.match(new RegExp(`<path class="${look}" d="([^"]*)"`));
  return shape ? count(shape[1], 'M') : 0;
}

test('escapeText: what a user named cannot leave its place', () => {
  const safe = escapeText(kEvil);
  for (const mark of ['<', '>', '"', "'", '\u0000', '\u001b', '\u202e', '\ud800'])
    assert.ok(!safe.includes(mark), JSON.stringify(mark));
  assert.equal(escapeText('a & b'), 'a &amp; b');
  assert.equal(escapeText('größe 模型 🙂'), 'größe 模型 🙂');
  assert.equal(escapeText(undefined), 'undefined');
});

test('every plot stays well formed when all names are hostile', () => {
  const points = [
    {id: kEvil, x: 1, y: 2, kind: 'feasible', front: true, title: kEvil},
    {id: kEvil, x: 2, y: 1, kind: 'baseline', title: kEvil},
  ];
  const plots = [
    scatter(points, {...kSize, xName: kEvil, yName: kEvil, label: kEvil, yLimit: {max: 1.5}}),
    parallel(
      [{name: kEvil}, {name: `p.${kEvil}`}, {name: kEvil, metric: true}],
      [
        {id: kEvil, values: [kEvil, undefined, 1], kind: 'feasible', front: true, title: kEvil},
        {id: '2', values: ['x', 2, 2], kind: 'infeasible'},
      ],
      kSize,
    ),
    importance([{name: kEvil, value: 0.5, low: 0.1, high: 0.8, trials: 9}], kSize),
    operators([{name: kEvil, base: 1, candidate: 2, note: kEvil}], kSize),
    timeline([{worker: kEvil, kind: kEvil, start: 0, end: 5, title: kEvil, failed: true}], kSize),
    distribution([{name: kEvil, values: [1, 2, 3], look: 'candidate', low: 1, high: 3}], {...kSize, unit: kEvil}),
    historyPlot([{night: kEvil, time: 1, effect: 0.1, low: 0, high: 0.2, verdict: kEvil}], {
      ...kSize,
      label: kEvil,
      notes: [{time: 0, text: kEvil, author: kEvil}],
    }),
  ];
  for (const svg of plots) {
    assert.equal(wellFormed(svg), '', svg.slice(0, 200));
    assert.ok(!svg.includes('<script'));
  }
});

test('plots of nothing, of one trial and of failures alone say so', () => {
  for (const svg of [
    scatter([], kSize),
    parallel([], [], kSize),
    importance([], kSize),
    operators([], kSize),
    timeline([], kSize),
    distribution([], {...kSize, unit: 'ms'}),
    historyPlot([], kSize),
  ]) {
    assert.equal(wellFormed(svg), '');
    assert.match(svg, /<text[^>]*>[^<]{10,}</);
  }
  const one = viewOf({job: '1'}, {}, [trialOf(0, {})]);
  assert.match(paretoFigure(one, {width: 600, height: 300}), /class="baseline"/);
  const failed = viewOf({job: '1'}, {}, [
    trialOf(1, {state: 'failed', metrics: {}, speedup: null, reason: 'no'}),
    trialOf(2, {state: 'failed', metrics: {}, speedup: null}),
  ]);
  assert.match(paretoFigure(failed, {width: 600, height: 300}), /None of 2 trials has one of these figures/);
  assert.equal(wellFormed(parallel([], failed.trials, kSize)), '');
  assert.match(distribution([{name: 'a', values: [3], look: 'candidate'}], {...kSize, unit: 'ms'}), /n = 1/);
});

test('scatter: zero is a value, what lacks one of two stands in a strip, what lacks both is counted', () => {
  const points = [
    {id: 'a', x: 0, y: 0, kind: 'feasible'},
    {id: 'b', x: 5, y: 0.1, kind: 'feasible'},
    {id: 'c', y: 0.4, kind: 'infeasible'},
    {id: 'd', x: 3, kind: 'feasible'},
    {id: 'e', kind: 'failed'},
    {id: 'f', x: NaN, y: null, kind: 'failed'},
  ];
  const layout = layoutScatter(points, kSize);
  assert.deepEqual(
    layout.marks.map((mark) => mark.point.id),
    ['a', 'b', 'c', 'd'],
  );
  const svg = scatter(points, kSize);
  assert.equal(subpaths(svg, 'feasible'), 3);
  assert.equal(subpaths(svg, 'infeasible'), 1);
  assert.match(svg, /2 without figures/);
  assert.match(svg, /not timed/);
  assert.ok(layout.marks.every((mark) => mark.cx >= 0 && mark.cx <= 700 && mark.cy >= 0 && mark.cy <= 400));
});

test('scatter: equal values, a far outlier and a zero range lose nothing', () => {
  const points = Array.from({length: 50}, (_, i) => ({id: String(i), x: 5, y: 0, kind: 'feasible'})).concat([
    {id: 'far', x: 500, y: 9, kind: 'infeasible'},
  ]);
  const svg = scatter(points, {...kSize, yLimit: {max: 0.01}});
  assert.equal(subpaths(svg, 'feasible') + subpaths(svg, 'infeasible'), 51);
  assert.match(svg, /1 beyond the edge/);
  assert.ok(!svg.includes('NaN') && !svg.includes('Infinity'));
});

test('scatter: the constraint, the baseline, the front and the budget are drawn', () => {
  const svg = scatter(
    [
      {id: '0', x: 10, y: 0, kind: 'baseline'},
      {id: '1', x: 4, y: 0.02, kind: 'feasible', front: true, xLow: 3.9, xHigh: 4.2},
      {id: '2', x: 5, y: 0.01, kind: 'feasible', front: true, best: true},
      {id: '3', x: 3, y: 0.2, kind: 'infeasible'},
    ],
    {...kSize, yLimit: {max: 0.05}, dial: 0.015},
  );
  for (const part of [
    'class="limit-region"',
    'class="baseline"',
    'class="front-line"',
    'class="best"',
    'class="dial"',
    'class="whisker"',
  ])
    assert.ok(svg.includes(part), part);
});

test('parallel coordinates never join different trials, and tell what a trial does not have', () => {
  const rows = Array.from({length: 40}, (_, i) => ({
    id: String(i),
    kind: i % 3 ? 'feasible' : 'infeasible',
    values: ['a', i % 2 ? undefined : i % 5, i % 4 ? 'x' : undefined, i],
  }));
  const svg = parallel(
    [{name: 'one'}, {name: 'p.two'}, {name: 'p.three'}, {name: 'latency_ms_p50', metric: true}],
    rows,
    {width: 800, height: 300},
  );
  const lines = [...svg.matchAll(/<path class="line-[a-z]+"[^>]* d="([^"]*)"/g)].flatMap((found) =>
    found[1].split('M').slice(1),
  );
  assert.equal(lines.length, 40);
  for (const line of lines) assert.equal(count(line, 'L'), 3, 'a line passes all axes');
  assert.match(svg, /not used/);
});

test('parallel coordinates: long names that share their beginning and end stay different', () => {
  const name = (i) => `a_very_long_prefix_of_a_value_${i}_and_a_very_long_common_suffix`;
  const rows = [1, 2, 3].map((i) => ({id: String(i), kind: 'feasible', values: [name(i), i]}));
  const svg = parallel([{name: 'p.values'}, {name: 'm', metric: true}], rows, {width: 600, height: 300});
  const labels = [...svg.matchAll(/class="halo"[^>]*>([^<]*)\(1\)/g)].map((found) => found[1]);
  assert.equal(new Set(labels).size, 3);
  for (const i of [1, 2, 3]) assert.ok(svg.includes(name(i)), 'the whole name is in the title');
  assert.equal(new Set(shortNames(['abcdefghij1', 'abcdefghij2', 'abcdefghij1'], 5)).size, 2);
});

test('parallel coordinates of many trials draw the front always and say how many are drawn', () => {
  const rows = Array.from({length: 9000}, (_, i) => ({
    id: String(i),
    kind: 'feasible',
    front: i === 8999,
    values: [i % 7, i],
  }));
  const svg = parallel([{name: 'p.a'}, {name: 'm', metric: true}], rows, {width: 600, height: 300});
  assert.match(svg, /class="line-front"/);
  assert.match(svg, /2000 of 9000 trials/);
});

test('distribution: medians, bands and what is beyond', () => {
  const values = Array.from({length: 1000}, (_, i) => 5 + i / 1000).concat([90]);
  const svg = distribution(
    [
      {name: 'baseline', look: 'baseline', values: [9, 9, 9]},
      {name: 'candidate', look: 'candidate', values, low: 5.4, high: 5.6},
    ],
    {...kSize, unit: 'ms'},
  );
  assert.match(svg, /median-candidate/);
  assert.match(svg, /1 sample beyond/);
  assert.match(svg, /n = 1001/);
  assert.equal(quantileOf([1, 2, 3, 4], 0.5), 2.5);
  assert.equal(quantileOf([], 0.5), undefined);
});

test('timeline: a row a worker, overlapping work counted once, lost work hatched', () => {
  assert.equal(
    busyTime([
      {start: 0, end: 10},
      {start: 5, end: 12},
      {start: 20, end: 21},
    ]),
    13,
  );
  const svg = timelineFigure(
    [
      {worker: 'a', kind: 'build', started_unix_ms: 1000, ended_unix_ms: 3000, outcome: 'done', trial: 1, pass: 'fp16'},
      {worker: 'b', kind: 'measure', started_unix_ms: 2000, ended_unix_ms: 5000, outcome: 'worker_lost', trial: 1},
      {worker: 'b', kind: 'measure', started_unix_ms: 5000, ended_unix_ms: 0, outcome: 'open', trial: 2},
    ],
    {width: 700, now: 9000},
  );
  assert.equal(wellFormed(svg), '');
  assert.match(svg, /work-failed/);
  assert.match(svg, /2 workers over 8s/);
});

test('history: verdicts by shape, change points and notes between nights, nights without figures', () => {
  const points = Array.from({length: 12}, (_, i) => ({
    night: `2026-11-${i + 1}`,
    time: i,
    effect: i < 6 ? 0.001 : 0.08,
    low: -0.01,
    high: 0.1,
    verdict: i < 6 ? 'equivalent' : 'regression',
  }));
  points.push({night: '2026-11-13', time: 12, verdict: 'error'});
  const svg = historyPlot(points, {
    width: 640,
    height: 150,
    threshold: 0.02,
    changes: [6],
    notes: [{time: 5.5, text: 'new compiler', author: 'ann'}],
  });
  assert.equal(wellFormed(svg), '');
  assert.equal(count(svg, 'class="night night-regression"'), 6);
  assert.equal(count(svg, 'class="change"'), 1);
  assert.match(svg, /new compiler \(ann\)/);
  assert.match(svg, /nothing measured/);
});

test('operators stand beside the baseline\u2019s by type and precision', () => {
  const rows = operatorRows(
    {
      kernels: [
        {type: 'Conv', precision: 'i8', kernel: 'jit_int8', count: 53},
        {type: 'Reorder', precision: 'f32', count: 2},
      ],
    },
    {kernels: [{type: 'Conv', precision: 'f32', count: 53}]},
  );
  assert.deepEqual(
    rows.map((row) => [row.name, row.base, row.candidate]),
    [
      ['Conv i8', undefined, 53],
      ['Conv f32', 53, undefined],
      ['Reorder f32', undefined, 2],
    ],
  );
});

test('the front has what no other trial beats, equals too; infeasible ones and the baseline are not in it', () => {
  const {view} = studyOf(300);
  const front = frontOf(view.trials, 'latency_ms_p50', 'accuracy_drop', view.job);
  const complete = view.trials.filter((trial) => trial.state === 'complete' && trial.trial);
  for (const trial of complete) {
    const beaten = complete.some(
      (other) =>
        other.metrics.latency_ms_p50 <= trial.metrics.latency_ms_p50 &&
        other.metrics.accuracy_drop <= trial.metrics.accuracy_drop &&
        (other.metrics.latency_ms_p50 < trial.metrics.latency_ms_p50 ||
          other.metrics.accuracy_drop < trial.metrics.accuracy_drop),
    );
    assert.equal(front.has(trial.trial), !beaten);
  }
});

test('of trials that cannot be told apart, the one that loses least is advised; a budget narrows the choice', () => {
  const trials = [
    trialOf(0, {}),
    trialOf(1, {
      speedup: {median: 2.5, ci99: [2.4, 2.6], pairs: 20},
      metrics: {latency_ms_p50: 4, accuracy_drop: 0.005},
    }),
    trialOf(2, {
      speedup: {median: 2.45, ci99: [2.35, 2.55], pairs: 20},
      metrics: {latency_ms_p50: 4.1, accuracy_drop: 0.001},
    }),
    trialOf(3, {speedup: {median: 1.5, ci99: [1.45, 1.55], pairs: 20}, metrics: {latency_ms_p50: 6, accuracy_drop: 0}}),
  ];
  const view = viewOf({job: '42', objectives: [{minimize: 'latency_ms_p50'}]}, {best: trials[1]}, trials);
  const choice = choiceOf(view, undefined, 'accuracy_drop');
  assert.deepEqual([choice.fastest.trial, choice.advised.trial, choice.tied.map((trial) => trial.trial)], [1, 2, [2]]);
  assert.match(choiceText(view, choice), /42\/2 is the best in accuracy_drop: 0\.001 against 0\.005/);
  assert.equal(choiceOf(view, {metric: 'accuracy_drop', max: 0.0005}, 'accuracy_drop').advised.trial, 3);
  assert.match(
    choiceText(view, choiceOf(view, {metric: 'accuracy_drop', max: -1}, 'accuracy_drop')),
    /No complete trial/,
  );
});

test('what mattered is found, and what did not is not claimed', () => {
  const {view} = studyOf(400);
  const found = importancesOf(view);
  assert.equal(found[0].name, 'static_int8.observer');
  assert.ok(found[0].low > 0.3 && found[0].high <= 1);
  assert.ok(!found.some((one) => one.name === 'openvino.noise'), 'a parameter without effect');
  assert.deepEqual(importancesOf(viewOf({job: '1'}, {}, view.trials.slice(0, 3))), []);
});

test('parameters that vary, with undefined where a trial has none', () => {
  const parameters = varyingParameters([
    trialOf(1, {pipeline: [{pass: 'fp16', params: {}}]}),
    trialOf(2, {pipeline: [{pass: 'static_int8', params: {observer: 'mse'}}]}),
  ]);
  const observer = parameters.find((one) => one.name === 'static_int8.observer');
  assert.deepEqual(observer.values, [undefined, 'mse']);
  const {view} = studyOf(30);
  const parts = parallelParts(view, {});
  assert.ok(parts.rows.every((row) => row.values.length === parts.axes.length));
});

test('filters: words, comparisons, quotes; ten thousand trials', () => {
  const {view} = studyOf(10000);
  const of = (query) => view.trials.filter(filterOf(query));
  assert.equal(of('').length, 10001);
  assert.ok(of('observer=mse').every((trial) => trial.pipeline.some((step) => step.params.observer === 'mse')));
  assert.ok(
    of('accuracy_drop<=0.01 state=complete').every(
      (trial) => trial.metrics.accuracy_drop <= 0.01 && trial.state === 'complete',
    ),
  );
  assert.equal(of('trial=17').length, 1);
  assert.equal(of('"no such words"').length, 0);
  assert.ok(of('state!=complete').length > 0);
  assert.ok(of('a<b<c =').length === 0);
  of('mse');
  const began = performance.now();
  const kept = sortedBy(of('mse accuracy_drop<0.02'), (trial) => trial.metrics.latency_ms_p50, true);
  console.log(`filter and sort of 10,000 trials: ${(performance.now() - began).toFixed(1)} ms, ${kept.length} kept`);
});

test('sorting puts what has no value last, whichever way', () => {
  const trials = [trialOf(1, {metrics: {a: 2}}), trialOf(2, {metrics: {}}), trialOf(3, {metrics: {a: 0}})];
  const order = (down) => sortedBy(trials, (trial) => trial.metrics.a, down).map((trial) => trial.trial);
  assert.deepEqual(order(false), [3, 1, 2]);
  assert.deepEqual(order(true), [1, 3, 2]);
});

test('two trials are compared over the baseline that both ran beside', () => {
  const side = (low, median, high) => ({speedup: {median, ci99: [low, high]}});
  assert.equal(comparisonOf(side(0.9, 1, 1.1), side(1.9, 2, 2.1)).verdict, 'faster');
  assert.equal(comparisonOf(side(1.9, 2, 2.1), side(0.9, 1, 1.1)).verdict, 'slower');
  assert.equal(comparisonOf(side(0.9, 1, 1.1), side(1, 1.05, 1.2)).verdict, 'undecided');
  assert.equal(comparisonOf({}, side(1, 1, 1)).verdict, 'undecided');
});

test('numbers as people read them: missing is not zero', () => {
  assert.equal(metricText('latency_ms_p50', 0), '0 ms');
  assert.equal(metricText('latency_ms_p50', undefined), '–');
  assert.equal(metricText('size_bytes', 24600000), '24.6 MB');
  assert.equal(bytesText(0), '0 B');
  assert.equal(durationText(252), '4m12s');
  assert.equal(agoText(0, 1000), 'never');
  assert.equal(agoText(1000, 4000), 'just now');
  assert.deepEqual(ticksOf(0, 10, 5).ticks, [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(padRange([0, 0], 0.1), [-1, 1]);
});
