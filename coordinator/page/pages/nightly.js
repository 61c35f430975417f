// Nightly history: a picture a series, what changed first. The history is a file of the client's (docs/nightly.md); a
// coordinator that was told of one serves it, and any other can be opened here: it stays in this browser.
import {card, command, empty, fill, h, notice, plotBox, stateBadge} from '../dom.js';
import {plural} from '../plots/format.js';
import {historyPlot} from '../plots/history.js';

const kFindings = new Set(['regression', 'improvement', 'error', 'environment', 'inconclusive']);
const kOrder = ['regression', 'error', 'environment', 'inconclusive', 'improvement', 'equivalent'];

// "2026-11-21T17-14-56-853Z" is when the night began.
export function nightTime(night) {
  const parts = /^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)-(\d{3})Z$/.exec(night);
  return parts ? Date.parse(`${parts[1]}T${parts[2]}:${parts[3]}:${parts[4]}.${parts[5]}Z`) : Date.parse(night);
}

function pointsOf(series) {
  return (series.nights ?? []).map((night) => ({
    night: String(night.night).slice(0, 10),
    time: night.time ? Date.parse(night.time) : nightTime(String(night.night)),
    effect: night.effect,
    low: night.ci99?.[0],
    high: night.ci99?.[1],
    verdict: night.verdict,
  }));
}

function isAbout(note, series) {
  return ['model', 'target', 'metric'].every((name) => !note[name] || note[name] === series[name]);
}

function seriesCard(series, notes) {
  const points = pointsOf(series);
  const last = points[points.length - 1];
  const changes = (series.changes ?? [])
    .map((night) => (series.nights ?? []).findIndex((one) => one.night === night))
    .filter((i) => i >= 0);
  const name = `${series.model} on ${series.target || 'any machine'}: ${series.metric}`;
  const about = notes
    .filter((note) => isAbout(note, series))
    .map((note) => ({time: Date.parse(note.time), text: note.text, author: note.author}));
  const box = plotBox(
    (width) =>
      historyPlot(points, {
        width,
        height: 170,
        threshold: series.threshold ?? undefined,
        difference: series.effect_is === 'difference',
        changes,
        notes: about,
        label: name,
      }),
    name,
  );
  const section = card(
    name,
    h(
      'p',
      {class: 'small'},
      last ? stateBadge(last.verdict) : '',
      h(
        'span',
        {class: 'soft'},
        ` ${plural(points.length, 'night')}, ${series.runtime ?? ''}` +
          `${changes.length ? `, level changed ${plural(changes.length, 'time')}` : ''}`,
      ),
    ),
    box,
    about.length
      ? h(
          'ul',
          {class: 'small'},
          about.map((note) =>
            h(
              'li',
              {},
              `${new Date(note.time).toISOString().slice(0, 10)} ${note.text}${note.author ? ` (${note.author})` : ''}`,
            ),
          ),
        )
      : null,
  );
  section.querySelector('h2').classList.add('anywhere');
  return section;
}

function lastVerdict(series) {
  const nights = series.nights ?? [];
  return nights.length ? nights[nights.length - 1].verdict : 'error';
}

// documents: hone.nightly.history/1.
function draw(list, documents, changedOnly) {
  const cards = [];
  let hidden = 0;
  for (const document of documents) {
    const all = [...(document.series ?? [])].sort(
      (a, b) => kOrder.indexOf(lastVerdict(a)) - kOrder.indexOf(lastVerdict(b)),
    );
    const shown = all.filter(
      (series) => !changedOnly || kFindings.has(lastVerdict(series)) || (series.changes ?? []).length,
    );
    hidden += all.length - shown.length;
    if (!all.length)
      cards.push(notice(`${document.suite}: 0 series ran. A night that measured nothing is no good night.`, 'bad'));
    cards.push(...shown.map((series) => seriesCard(series, document.annotations ?? [])));
  }
  if (hidden)
    cards.push(
      h(
        'p',
        {class: 'soft wide'},
        `${plural(hidden, 'series', 'series')} without a change or a finding ${hidden === 1 ? 'is' : 'are'} not shown.`,
      ),
    );
  fill(list, cards);
}

export async function nightlyPage(root, context) {
  document.title = 'nightly – hone';
  fill(root, h('h1', {}, 'Nightly'), h('p', {class: 'loading'}, 'Loading the histories …'));
  let documents = await context.api.nightly();
  const list = h('div', {class: 'grid'});
  const changed = h('input', {
    type: 'checkbox',
    checked: context.query.get('all') !== '1',
    onchange: () => {
      context.keep({all: changed.checked ? '' : '1'});
      show();
    },
  });
  const file = h('input', {
    type: 'file',
    accept: '.json,application/json',
    onchange: async () => {
      const chosen = file.files[0];
      if (!chosen) return;
      try {
        const read = JSON.parse(await chosen.text());
        if (read.schema !== 'hone.nightly.history/1') throw new Error(`its schema is ${read.schema ?? 'not told'}`);
        documents = [...documents.filter((one) => one.suite !== read.suite), read];
        show();
      } catch (error) {
        fill(
          list,
          notice(
            `${chosen.name} is no history that hone wrote: ${error.message}. Write one with hone nightly ` +
              `history SUITE --json.`,
            'bad',
          ),
        );
      }
    },
  });
  const controls = h(
    'div',
    {class: 'controls'},
    h('label', {}, changed, ' only what changed'),
    h('label', {}, 'open a history', file),
  );
  function show() {
    if (!documents.length) {
      fill(
        list,
        empty(
          'No nightly run is known here. A suite measures what you accepted again every night; its history ' +
            'opens above:',
          'hone nightly run suite.yaml',
          'hone nightly history suite.yaml --json > history.json',
        ),
      );
      list.firstChild.classList.add('wide');
      return;
    }
    draw(list, documents, changed.checked);
  }
  fill(
    root,
    h(
      'div',
      {class: 'head'},
      h('h1', {}, 'Nightly'),
      h('span', {class: 'soft'}, documents.map((one) => one.suite).join(', ')),
    ),
    controls,
    h(
      'p',
      {class: 'soft small'},
      'Each night\u2019s ratio to what was accepted, with its 99 % interval. Within the band nothing is called ' +
        'a change. ▲ slower or larger, ▼ faster or smaller, hollow: not decided.',
    ),
    list,
    card(
      'On the command line',
      command('hone nightly report suite.yaml'),
      command('hone nightly annotate suite.yaml --text "new compiler"'),
    ),
  );
  show();
  context.finished('history');
}
