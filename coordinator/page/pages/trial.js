// One trial: its figures beside the baseline's, its pipeline, what the runtime really executed, how its latency
// spreads, its attempts, how to repeat it.
import {card, command, figure, fill, h, notice, plotBox, stateBadge, table, timeAgo} from '../dom.js';
import {
  agoText,
  bytesText,
  durationText,
  intervalText,
  kMissing,
  metricName,
  metricText,
  plural,
  timesText,
} from '../plots/format.js';
import {backendText, comparisonOf, intervalOf, isMore, metricOf, pipelineText, stepText} from '../plots/model.js';
import {distributionFigure, operatorRows, operatorsFigure} from '../plots/figures.js';
import {bandOf} from '../plots/distribution.js';

// Better, worse, or not to be told apart, in words and colour.
function changeOf(job, metric, value, base) {
  if (value === undefined || base === undefined) return kMissing;
  if (value === base) return 'equal';
  const better = isMore(job, metric) ? value > base : value < base;
  const change =
    base !== 0
      ? `${value > base ? '+' : '−'}${Math.abs(((value - base) / base) * 100).toFixed(1)} %`
      : `${value > base ? '+' : '−'}${Math.abs(value - base).toPrecision(3)}`;
  return h('span', {class: better ? 'better' : 'worse'}, `${change} ${better ? 'better' : 'worse'}`);
}

function metricTable(job, trial, base) {
  const names = [...new Set([...Object.keys(trial.metrics ?? {}), ...Object.keys(base ?? {})])].sort();
  return table(
    'Figures beside the baseline\u2019s',
    [
      'metric',
      {name: 'this trial', number: true},
      {name: '99 % interval', number: true},
      {name: 'baseline', number: true},
      'change',
    ],
    names.map((name) => [
      metricName(name),
      metricText(name, metricOf(trial, name)),
      intervalText(name, intervalOf(trial, name)) || kMissing,
      metricText(name, base?.[name]),
      changeOf(job, name, metricOf(trial, name), base?.[name]),
    ]),
  );
}

// The model's files, to be taken.
function filesOf(trial) {
  const files = trial.model_files?.files ?? [];
  if (!files.length) return null;
  return h(
    'ul',
    {class: 'steps small'},
    files.map((file) =>
      h(
        'li',
        {class: 'anywhere'},
        h('a', {href: `api/v1/artifacts/${file.digest}`, download: file.path.split('/').pop()}, file.path),
        ` ${bytesText(file.size_bytes)} `,
        h('code', {}, file.digest),
      ),
    ),
  );
}

function pipelineCard(trial) {
  const steps = trial.pipeline ?? [];
  return card(
    'Pipeline',
    steps.length
      ? h(
          'ol',
          {class: 'steps'},
          steps.map((step) => h('li', {}, h('code', {}, stepText(step)))),
        )
      : h('p', {}, 'The model as it is, no pass.'),
    h('p', {}, 'runs on ', h('code', {}, backendText(trial))),
    filesOf(trial),
  );
}

// How many operators run in each precision, the most frequent first.
function precisionsOf(execution) {
  const counts = new Map();
  for (const kernel of execution?.kernels ?? [])
    counts.set(kernel.precision || 'unsaid', (counts.get(kernel.precision || 'unsaid') ?? 0) + kernel.count);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

function executionCard(trial, baseline) {
  if (!trial.execution)
    return card('What is executed', h('p', {class: 'soft'}, 'The runtime was not asked: this trial was not timed.'));
  const settings = Object.entries(trial.execution.effective ?? {});
  const told = (execution) =>
    precisionsOf(execution)
      .map(([name, count]) => `${count} in ${name}`)
      .join(', ') || kMissing;
  return card(
    'What is executed',
    h(
      'p',
      {},
      `${trial.execution.backend} ${trial.execution.version ?? ''}: operators ${told(trial.execution)}. `,
      h('span', {class: 'soft'}, `Baseline: ${told(baseline?.execution)}.`),
    ),
    settings.length
      ? h(
          'details',
          {},
          h('summary', {}, `${plural(settings.length, 'setting')} as the runtime reports them`),
          table(
            'Settings as the runtime reports them',
            ['setting', {name: 'value', wraps: true}],
            settings.map(([name, value]) => [name, String(value)]),
          ),
        )
      : null,
  );
}

function operatorsCard(trial, baseline) {
  const rows = operatorRows(trial.execution, baseline?.execution);
  const box = plotBox((width) => operatorsFigure(rows, {width}), 'Operators beside the baseline\u2019s');
  const section = card(
    'Operators',
    h('p', {class: 'soft small'}, 'Counted by type and executed precision, the greatest change first.'),
    box,
    rows.length
      ? h(
          'details',
          {},
          h('summary', {}, `All ${rows.length} as a table`),
          table(
            'Operators beside the baseline\u2019s',
            [
              'operator',
              'precision',
              {name: 'baseline', number: true},
              {name: 'this trial', number: true},
              {name: 'kernel', wraps: true},
            ],
            rows.map((row) => [
              row.type,
              row.precision ?? kMissing,
              String(row.base ?? kMissing),
              String(row.candidate ?? kMissing),
              row.note || kMissing,
            ]),
          ),
        )
      : null,
  );
  return section;
}

function samplesText(samples) {
  const count = samples['candidate.latency_ms']?.length ?? 0;
  if (!count) return 'No samples were kept of this trial.';
  const band =
    `The band holds the true curve with 95 %: ± ${(bandOf(count) * 100).toFixed(0)} points at ` +
    `${plural(count, 'sample')}.`;
  return count < 100 ? `${band} Too few for a p99.` : band;
}

function attemptRow(attempt) {
  const outcome = attempt.outcome === 'open' ? 'running' : attempt.outcome;
  const failure =
    attempt.error ||
    (attempt.signal ? `signal ${attempt.signal}` : attempt.exit_status ? `exit ${attempt.exit_status}` : '');
  const output = attempt.log ?? '';
  return h(
    'li',
    {},
    h(
      'details',
      {},
      h(
        'summary',
        {},
        `${attempt.kind}${attempt.pass ? ` ${attempt.pass}` : ''} on ${attempt.worker || kMissing}: `,
        stateBadge(outcome === 'done' ? 'complete' : outcome),
        ` ${durationText(attempt.wall_s)}, peak ${bytesText(attempt.peak_memory_bytes || undefined)}`,
      ),
      failure ? notice(failure, 'bad') : null,
      h('p', {class: 'small soft'}, 'began ', timeAgo(Date.parse(attempt.started ?? ''), agoText)),
      output
        ? h('pre', {tabindex: '0', 'aria-label': 'the end of its output'}, output)
        : h('p', {class: 'small soft'}, 'It printed nothing.'),
    ),
  );
}

function trialFigures(job, trial, base) {
  const list = [
    figure(
      'speed-up',
      timesText(trial.speedup?.median),
      trial.speedup ? `${intervalText('speedup', trial.speedup.ci99)} over ${plural(trial.speedup.pairs, 'pair')}` : '',
    ),
  ];
  for (const name of ['latency_ms_p50', 'accuracy_drop', 'size_bytes', 'memory_bytes']) {
    if (metricOf(trial, name) === undefined && base?.[name] === undefined) continue;
    list.push(
      figure(
        metricName(name),
        metricText(name, metricOf(trial, name)),
        base?.[name] !== undefined ? `baseline ${metricText(name, base[name])}` : '',
      ),
    );
  }
  return h('dl', {class: 'figures'}, list);
}

export async function trialPage(root, context, words) {
  const [id, number] = words;
  const study = Number(context.query.get('study') ?? 0);
  fill(root, h('p', {class: 'loading'}, `Loading trial ${id}/${number} …`));

  async function refresh() {
    const [job, trial] = await Promise.all([
      context.api.job(id),
      context.api.trial(id, study, number === 'baseline' ? 0 : Number(number)),
    ]);
    const {baseline, samples} = trial;
    const attempts = trial.attempts_log;
    const base = baseline?.metrics;
    const isBaseline = trial.trial === 0;
    document.title = `trial ${id}/${number} – hone`;
    const versus = baseline && !isBaseline ? comparisonOf({speedup: {median: 1, ci99: [1, 1]}}, trial) : undefined;
    const spread = plotBox(
      (width) => distributionFigure(samples, trial, base, {width, height: 300}),
      'Latency distribution',
    );
    fill(
      root,
      h('nav', {class: 'small', 'aria-label': 'Path'}, h('a', {href: `#/jobs/${id}`}, `job ${id}`)),
      h(
        'div',
        {class: 'head'},
        h('h1', {}, isBaseline ? `Baseline of job ${id}` : `Trial ${id}/${number}`),
        stateBadge(trial.state),
        h(
          'span',
          {class: 'soft small'},
          trial.worker ? `measured by ${trial.worker}` : '',
          trial.phase ? `, now: ${trial.phase}` : '',
          versus && versus.verdict !== 'undecided' ? `, ${versus.verdict} than the baseline beside it` : '',
        ),
        isBaseline
          ? null
          : h(
              'a',
              {class: 'small', href: `#/compare?job=${id}&study=${study}&trials=0,${trial.trial}`},
              'Compare with the baseline',
            ),
      ),
      trial.reason ? notice(trial.reason, trial.state === 'failed' ? 'bad' : '') : null,
      (trial.notes ?? []).map((note) => notice(note)),
      trialFigures(job, trial, base),
      h(
        'div',
        {class: 'grid'},
        pipelineCard(trial),
        executionCard(trial, baseline),
        card(
          'Latency',
          h('p', {class: 'soft small'}, samplesText(samples)),
          samples['candidate.latency_ms']?.length ? spread : null,
        ),
        card('Figures', metricTable(job, trial, base)),
        trial.execution ? operatorsCard(trial, baseline) : null,
        card(
          'Attempts and log',
          attempts.length
            ? h('ol', {class: 'steps'}, attempts.map(attemptRow))
            : h('p', {class: 'soft'}, 'No attempt yet.'),
        ),
      ),
      card(
        'Repeat and take',
        trial.command ? command(trial.command) : null,
        command(`hone get ${id}/${trial.trial} -o out/`),
        command(`hone logs ${id}/${trial.trial}`),
      ),
    );
    return trial;
  }
  const trial = await refresh();
  if (trial.state === 'running' || trial.state === 'waiting') context.onEvents(Number(id), refresh, 1500);
  else context.finished(`trial ${trial.state}`);
  return pipelineText(trial);
}
