// What stands at the top of a job's page and of its report.
import {figure} from './dom.js';
import {intervalText, kMissing, metricName, metricText, timesText} from './plots/format.js';
import {axesOf, intervalOf, limitOf, metricOf, objectiveOf} from './plots/model.js';

// What ended a search, in words.
export const kEnds = {
  trials: 'its trials are done',
  time: 'its time is over',
  machine_time: 'its machine time is over',
  goal: 'its goal is reached',
  patience: 'nothing better came for long',
  space: 'every candidate was tried',
};

export function goalText(job) {
  const objectives = (job.objectives ?? []).map((one) =>
    one.minimize ? `minimize ${one.minimize}` : `maximize ${one.maximize}`,
  );
  const limits = (job.constraints ?? []).flatMap((one) => [
    typeof one.maximum === 'number' ? `${one.metric} ≤ ${one.maximum}` : null,
    typeof one.minimum === 'number' ? `${one.metric} ≥ ${one.minimum}` : null,
  ]);
  return [objectives.join(', ') || 'minimize latency_ms_p50', limits.filter(Boolean).join(', ')]
    .filter(Boolean)
    .join(' subject to ');
}

export function headFigures(view) {
  const {best, baseline, job} = view;
  const counts = view.study.trials ?? {};
  const objective = objectiveOf(job);
  const second = axesOf(view).y;
  const figures = [];
  if (baseline)
    figures.push(
      figure(
        'baseline',
        metricText(objective, metricOf(baseline, objective)),
        intervalText(objective, intervalOf(baseline, objective)),
      ),
    );
  figures.push(
    figure(
      'best',
      best ? metricText(objective, metricOf(best, objective)) : kMissing,
      best ? `trial ${best.trial}` : job.state === 'running' ? 'nothing feasible yet' : 'nothing feasible',
    ),
  );
  figures.push(
    figure(
      'speed-up',
      timesText(best?.speedup?.median),
      best ? intervalText('speedup', intervalOf(best, 'speedup')) : '',
    ),
  );
  figures.push(
    figure(
      metricName(second),
      best ? metricText(second, metricOf(best, second)) : kMissing,
      limitOf(job, second)?.max !== undefined ? `of ${metricText(second, limitOf(job, second).max)} allowed` : '',
    ),
  );
  figures.push(
    figure(
      'trials',
      String((counts.complete ?? 0) + (counts.infeasible ?? 0) + (counts.pruned ?? 0) + (counts.failed ?? 0)),
      ['complete', 'infeasible', 'failed']
        .filter((state) => counts[state])
        .map((state) => `${counts[state]} ${state}`)
        .join(', '),
    ),
  );
  return figures;
}

// Failures by what they say, the most frequent first.
export function reasonsOf(trials) {
  const reasons = new Map();
  for (const trial of trials) {
    if (trial.state !== 'failed' || !trial.reason) continue;
    const entry = reasons.get(trial.reason) ?? {count: 0, first: trial.trial};
    ++entry.count;
    reasons.set(trial.reason, entry);
  }
  return [...reasons].sort((a, b) => b[1].count - a[1].count);
}
