// Trials of one job side by side: figures with intervals and a verdict against the first, what differs in their making,
// how their latencies spread.
import {card, command, empty, fill, h, notice, plotBox, table} from '../dom.js';
import {intervalText, metricName, metricText, timesText} from '../plots/format.js';
import {comparisonOf, featuresOf, intervalOf, metricOf} from '../plots/model.js';
import {distribution} from '../plots/distribution.js';

const kMostCompared = 6;

function withInterval(metric, trial) {
  const interval = intervalText(metric, intervalOf(trial, metric));
  return [metricText(metric, metricOf(trial, metric)), interval ? h('small', {class: 'soft'}, ` ${interval}`) : null];
}

function verdictOf(first, trial) {
  if (trial === first) return 'the one compared with';
  const found = comparisonOf(asSide(first), asSide(trial));
  if (found.speedup === undefined) return 'not timed beside the same baseline: nothing can be said';
  const figures =
    `${timesText(found.speedup)}` +
    `${found.low !== undefined ? ` [${found.low.toFixed(2)}, ${found.high.toFixed(2)}]` : ''}`;
  if (found.verdict === 'undecided') return `${figures}: the data cannot tell them apart`;
  return h('span', {class: found.verdict === 'faster' ? 'better' : 'worse'}, `${figures} ${found.verdict}`);
}

// The baseline is as fast as itself.
function asSide(trial) {
  return trial.trial === 0 ? {speedup: {median: 1, ci99: [1, 1]}} : trial;
}

export async function comparePage(root, context) {
  const id = context.query.get('job') ?? '';
  const study = Number(context.query.get('study') ?? 0);
  const numbers = [
    ...new Set(
      (context.query.get('trials') ?? '')
        .split(',')
        .filter(Boolean)
        .map((word) => (word === 'baseline' ? 0 : Number(word))),
    ),
  ].filter(Number.isInteger);
  document.title = 'compare – hone';
  if (!id || numbers.length < 2) {
    fill(
      root,
      h('h1', {}, 'Compare'),
      empty(
        'Tick two or more trials in the table of a job, then follow its link. On the command line:',
        'hone compare 42/55 42/baseline',
      ),
    );
    return;
  }
  fill(root, h('p', {class: 'loading'}, 'Loading the trials …'));
  const details = await Promise.all(
    numbers.slice(0, kMostCompared).map((number) => context.api.trial(id, study, number)),
  );
  const trials = details;
  const name = (trial) => (trial.trial === 0 ? 'baseline' : `${id}/${trial.trial}`);
  const first = trials[0];
  const metrics = [...new Set(trials.flatMap((trial) => Object.keys(trial.metrics ?? {})))].sort();
  const machines = new Set(trials.map((trial) => trial.worker).filter(Boolean));
  const heads = [
    '',
    ...trials.map((trial) => ({
      name: h('a', {href: `#/jobs/${id}/${trial.trial}${study ? `?study=${study}` : ''}`}, name(trial)),
      number: true,
    })),
  ];
  const features = trials.map(featuresOf);
  const differing = [...new Set(features.flatMap((feature) => [...feature.keys()]))]
    .filter((feature) => new Set(features.map((one) => String(one.get(feature)))).size > 1)
    .sort();
  const shown = details.slice(0, 2);
  const spread = plotBox(
    (width) =>
      distribution(
        shown.map((detail, i) => ({
          name: name(detail),
          look: i ? 'candidate' : 'baseline',
          values: detail.samples['candidate.latency_ms'] ?? [],
          median: metricOf(detail, 'latency_ms_p50'),
          low: intervalOf(detail, 'latency_ms_p50')?.[0],
          high: intervalOf(detail, 'latency_ms_p50')?.[1],
        })),
        {width, height: 300, unit: 'latency, ms'},
      ),
    'Latency distributions',
  );
  fill(
    root,
    h('nav', {class: 'small', 'aria-label': 'Path'}, h('a', {href: `#/jobs/${id}`}, `job ${id}`)),
    h('div', {class: 'head'}, h('h1', {}, `Compare ${trials.map(name).join(', ')}`)),
    machines.size > 1
      ? notice(
          `Measured on ${[...machines].join(' and ')}: speed-ups over the baseline beside each can be compared, ` +
            `milliseconds cannot.`,
        )
      : null,
    h(
      'div',
      {class: 'stack'},
      card(
        'Figures',
        table('Figures side by side', heads, [
          ['against the first', ...trials.map((trial) => h('span', {class: 'said-here'}, verdictOf(first, trial)))],
          ['speed-up', ...trials.map((trial) => (trial.trial === 0 ? '1.00×' : withTimes(trial)))],
          ...metrics.map((metric) => [metricName(metric), ...trials.map((trial) => withInterval(metric, trial))]),
        ]),
      ),
      card(
        'What differs',
        differing.length
          ? table(
              'What differs in their making',
              ['decision', ...trials.map(name)],
              differing.map((feature) => [
                feature,
                ...features.map((one) => (one.has(feature) ? String(one.get(feature)) : 'not used')),
              ]),
            )
          : h('p', {}, 'Nothing: they are the same candidate.'),
      ),
      card(`Latency of ${shown.map((detail) => name(detail)).join(' and ')}`, spread),
      card(
        'On the command line',
        command(
          `hone compare ${trials
            .slice(0, 2)
            .map((trial) => (trial.trial === 0 ? `${id}/baseline` : `${id}/${trial.trial}`))
            .join(' ')}`,
        ),
      ),
    ),
  );
  context.finished('compared');
}

function withTimes(trial) {
  return [
    timesText(trial.speedup?.median),
    trial.speedup?.ci99 ? h('small', {class: 'soft'}, ` ${intervalText('speedup', trial.speedup.ci99)}`) : null,
  ];
}
