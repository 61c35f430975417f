// The list of jobs, newest first.
import {h, fill, stateBadge, table, timeAgo, empty} from '../dom.js';
import {agoText, kMissing, plural, timesText} from '../plots/format.js';

function progressOf(job) {
  const counts = job.trials ?? {};
  const done = (counts.complete ?? 0) + (counts.infeasible ?? 0) + (counts.pruned ?? 0) + (counts.failed ?? 0);
  const budget = (job.studies ?? []).reduce((sum, study) => sum + (study.budget ?? 0), 0);
  return {done, budget};
}

function rowOf(job) {
  const {done, budget} = progressOf(job);
  const best = (job.studies ?? [])
    .map((study) => study.best?.speedup?.median)
    .filter((value) => typeof value === 'number');
  const running =
    job.state === 'running' && budget > 0
      ? h('progress', {max: budget, value: Math.min(done, budget), 'aria-label': `${done} of ${budget} trials`})
      : null;
  return [
    h('a', {href: `#/jobs/${encodeURIComponent(job.job)}`}, `${job.job}`),
    job.name ?? kMissing,
    stateBadge(job.state),
    [budget ? `${done} of ${budget}` : String(done), running],
    best.length ? timesText(Math.max(...best)) : kMissing,
    timeAgo(Date.parse(job.created ?? '') || 0, agoText),
    job.owner ?? kMissing,
  ];
}

export async function jobsPage(root, context) {
  const list = h('div', {class: 'card'}, h('p', {class: 'loading'}, 'Loading jobs …'));
  const summary = h('span', {class: 'soft'});
  fill(root, h('div', {class: 'head'}, h('h1', {}, 'Jobs'), summary), list);
  let before = 0;
  let jobs = [];
  let older = null;

  async function refresh() {
    const page = await context.api.jobs(before);
    jobs = page.jobs;
    older = page.next;
    const running = jobs.filter((job) => job.state === 'running').length;
    summary.textContent = `${plural(jobs.length, 'job')}${running ? `, ${running} running` : ''}`;
    if (!jobs.length && !before) {
      list.replaceWith(
        empty(
          'No job yet. Give hone a model and it searches on your machines:',
          `hone submit model.onnx --recipe recipe.yaml --coordinator ${context.endpoint()}`,
          'hone optimize model.onnx -o out/',
        ),
      );
      return;
    }
    fill(
      list,
      table(
        'Jobs, newest first',
        [
          'job',
          {name: 'name', wraps: true},
          'state',
          {name: 'trials', number: true},
          {name: 'best', number: true},
          'submitted',
          'by',
        ],
        jobs.map(rowOf),
      ),
      pager(),
    );
  }

  function pager() {
    const buttons = [];
    if (before) buttons.push(h('button', {type: 'button', onclick: () => turn(0)}, 'Newest'));
    if (older) buttons.push(h('button', {type: 'button', onclick: () => turn(older)}, 'Older'));
    return buttons.length ? h('div', {class: 'controls'}, buttons) : null;
  }

  function turn(to) {
    before = to;
    return context.guard(refresh());
  }

  await refresh();
  context.onEvents(0, () => (list.isConnected ? refresh() : context.reload()), 1500);
}
