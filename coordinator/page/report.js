// The one-file report: the same plots and the same table from data that lies in the file. `hone report JOB --html FILE`
// writes this module and those it uses into the file, one after the other.
import {card, empty, fill, h, notice, plotBox, stateBadge, table} from './dom.js';
import {durationText, kMissing, metricName, metricText, timesText} from './plots/format.js';
import {
  axesOf,
  backendText,
  choiceOf,
  choiceText,
  importancesOf,
  metricOf,
  objectiveOf,
  pipelineText,
  viewOf,
} from './plots/model.js';
import {
  distributionFigure,
  importanceFigure,
  operatorRows,
  operatorsFigure,
  parallelFigure,
  paretoFigure,
  timelineFigure,
} from './plots/figures.js';
import {attemptsFromColumns, trialsFromColumns} from './plots/columns.js';
import {goalText, headFigures, kEnds, reasonsOf} from './job_head.js';
import {columnsOf, filterBar, trialTable} from './trial_table.js';

const kFrontRows = 12;

// The best first, then what competes with it.
function frontTable(view) {
  const numbers = new Set((view.study.pareto ?? []).map((trial) => trial.trial));
  const objective = objectiveOf(view.job);
  const second = axesOf(view).y;
  const rows = view.trials.filter(
    (trial) => trial === view.baseline || trial.trial === view.best?.trial || numbers.has(trial.trial),
  );
  rows.sort(
    (a, b) =>
      (b.trial === view.best?.trial) - (a.trial === view.best?.trial) ||
      (metricOf(b, 'speedup') ?? 0) - (metricOf(a, 'speedup') ?? 0),
  );
  return table(
    'The best, the front and the baseline',
    [
      'trial',
      {name: 'speed-up', number: true},
      {name: metricName(objective), number: true},
      {name: metricName(second), number: true},
      {name: 'how', wraps: true},
    ],
    rows
      .slice(0, kFrontRows)
      .map((trial) => [
        trial.trial === 0
          ? 'baseline'
          : trial.trial === view.best?.trial
            ? `${trial.trial} ` + `★`
            : String(trial.trial),
        timesText(trial.speedup?.median),
        metricText(objective, metricOf(trial, objective)),
        metricText(second, metricOf(trial, second)),
        `${pipelineText(trial)} on ${backendText(trial)}`,
      ]),
  );
}

function trialsCard(view) {
  const state = {query: '', states: new Set(), sort: 'trial', down: false};
  const grid = trialTable({columns: columnsOf(view.metrics), state, changed: () => {}, best: () => view.best?.trial});
  const section = card(
    'Trials',
    grid.count,
    filterBar(
      state,
      () => grid,
      () => {},
    ).node,
    grid.box,
  );
  section.classList.add('wide');
  return {section, show: () => grid.setTrials(view.trials)};
}

function wide(section) {
  section.classList.add('wide');
  return section;
}

// study: an entry of the job's studies; detail: {samples, baseline_execution, attempts, shown, total}.
function studySection(job, study, trials, attempts, detail) {
  const view = viewOf(job, study, trials);
  const importances = importancesOf(view);
  const best = study.best;
  const grid = trialsCard(view);
  const cards = [
    card(
      'Trade-off',
      plotBox(
        (width) => paretoFigure(view, {width, height: Math.round(Math.min(440, Math.max(300, width * 0.6)))}),
        'Trade-off',
      ),
      h('p', {class: 'small'}, choiceText(view, choiceOf(view, undefined, axesOf(view).y))),
    ),
    h(
      'div',
      {class: 'stack'},
      card('The best and the front', frontTable(view)),
      card(
        'What mattered',
        plotBox((width) => importanceFigure(view, {width, importances}), 'What mattered'),
      ),
    ),
  ];
  if (best && detail.samples) {
    cards.push(
      card(
        'Latency of the best',
        plotBox(
          (width) => distributionFigure(detail.samples, best, detail.baseline_metrics, {width, height: 280}),
          'Latency of the best',
        ),
      ),
    );
  }
  if (best?.execution) {
    const rows = operatorRows(best.execution, study.baseline?.execution);
    cards.push(
      card(
        'Operators of the best',
        plotBox((width) => operatorsFigure(rows, {width}), 'Operators of ' + 'the best'),
      ),
    );
  }
  cards.push(
    wide(
      card(
        'Parameters',
        plotBox((width) => parallelFigure(view, {width, height: 330, importances}), 'Parameters'),
      ),
    ),
  );
  if (attempts.length)
    cards.push(
      wide(
        card(
          'Work',
          plotBox((width) => timelineFigure(attempts, {width}), 'Work'),
        ),
      ),
    );
  cards.push(grid.section);
  const tags = (study.target?.tags ?? []).join(' ');
  const section = h(
    'div',
    {class: 'stack'},
    tags ? h('p', {class: 'soft small'}, `target: ${tags}`) : null,
    detail.shown < detail.total
      ? notice(
          `The table and the plots hold ${detail.shown} of ${detail.total} ` +
            `trials, the front among them, so that this file stays small.`,
        )
      : null,
    reasonsOf(trials)
      .slice(0, 3)
      .map(([reason, {count}]) => notice(`${count} failed: ${reason}`, 'bad')),
    h('dl', {class: 'figures'}, headFigures(view)),
    h('div', {class: 'grid'}, cards),
  );
  return {section, show: grid.show};
}

// "2026-11-21 22:10 UTC"
function momentText(time) {
  return time ? `${time.slice(0, 16).replace('T', ' ')} UTC` : kMissing;
}

// report: {written, version, job, studies: [{trials, attempts, samples, baseline_metrics, baseline_execution, shown,
// total}]}.
export function drawReport(root, report) {
  const {job} = report;
  const took = job.finished ? durationText((Date.parse(job.finished) - Date.parse(job.created)) / 1000) : kMissing;
  const ended = (job.studies ?? []).map((study) => kEnds[study.ended_by]).filter(Boolean);
  const sections = (job.studies ?? []).map((study, i) => {
    const detail = report.studies[i];
    return studySection(
      job,
      study,
      trialsFromColumns(detail.trials),
      detail.attempts ? attemptsFromColumns(detail.attempts) : [],
      detail,
    );
  });
  fill(
    root,
    h(
      'div',
      {class: 'head'},
      h('h1', {}, `Job ${job.job}`, job.name ? ` ` + `${job.name}` : ''),
      stateBadge(job.state),
      h('span', {class: 'soft small'}, `submitted ${momentText(job.created)}, took ${took}`),
    ),
    h('p', {class: 'soft ' + 'small'}, `${goalText(job)}. ${ended.length ? `The search ended: ${ended[0]}.` : ''}`),
    job.error ? notice(job.error, 'bad') : null,
    sections.length ? sections.map((one) => one.section) : empty('This job has no study.'),
    h(
      'p',
      {class: 'soft small'},
      `Written by hone ${report.version} on ${momentText(report.written)}. Intervals are 99 %; ` +
        `speed-ups are over the baseline measured beside each trial.`,
    ),
  );
  for (const one of sections) one.show();
}
