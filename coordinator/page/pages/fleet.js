// The machines: what each is, what it does now, how it is.
import {command, empty, fill, h, stateBadge, table, timeAgo} from '../dom.js';
import {agoText, bytesText, kMissing, plural} from '../plots/format.js';

function tagList(tags) {
  return h(
    'ul',
    {class: 'tags', 'aria-label': 'tags'},
    (tags ?? []).map((tag) => h('li', {}, tag)),
  );
}

// What a state that asks for a person's attention means, and what to do.
const kHelp = {
  lost: (worker) => [
    `${worker.name} is not heard from; its work went to others. On that machine:`,
    'systemctl status hone-worker',
  ],
  draining: (worker) => ['It takes nothing new. To use it again:', `hone drain ${worker.name} --undo`],
};

function workerCard(worker) {
  const print = worker.fingerprint ?? {};
  const versions = Object.entries(print.versions ?? {})
    .map(([name, version]) => `${name} ${version}`)
    .join(', ');
  const help = kHelp[worker.state]?.(worker);
  return h(
    'section',
    {class: 'card', 'aria-label': `worker ${worker.name}`},
    h(
      'div',
      {class: 'head'},
      h('h2', {}, worker.name),
      stateBadge(worker.state),
      h('span', {class: 'soft small'}, 'seen ', timeAgo(Date.parse(worker.last_seen ?? ''), agoText)),
    ),
    h('p', {}, worker.work ? `now: ${worker.work}` : worker.state === 'ready' ? 'idle' : ''),
    tagList(worker.tags),
    h(
      'p',
      {class: 'small soft anywhere'},
      [
        print.cpu_model,
        print.cores_allowed ? plural(print.cores_allowed, 'core') : '',
        print.memory_bytes ? bytesText(print.memory_bytes) : '',
        print.governor ? `governor ${print.governor}` : '',
      ]
        .filter(Boolean)
        .join(', ') || kMissing,
    ),
    h(
      'details',
      {},
      h(
        'summary',
        {class: 'small'},
        `${plural((worker.backends ?? []).length, 'backend')}, ` +
          `${plural((worker.passes ?? []).length, 'pass', 'passes')}, machine`,
      ),
      table(
        'What it can do',
        ['', {name: 'what', wraps: true}],
        [
          ['backends', (worker.backends ?? []).join(', ') || kMissing],
          ['passes', (worker.passes ?? []).join(', ') || kMissing],
          ['versions', versions || kMissing],
          ['kernel', print.kernel ?? kMissing],
          ['fingerprint', print.digest ?? kMissing],
        ],
      ),
    ),
    help ? [h('p', {class: 'small'}, help[0]), command(help[1])] : null,
  );
}

export async function fleetPage(root, context) {
  const counts = h('span', {class: 'soft'});
  const list = h('div', {class: 'grid'}, h('p', {class: 'loading'}, 'Loading the machines …'));
  fill(root, h('div', {class: 'head'}, h('h1', {}, 'Fleet'), counts), list);
  document.title = 'fleet – hone';
  let shown = '';

  async function refresh() {
    const workers = await context.api.workers();
    const states = new Map();
    for (const worker of workers) states.set(worker.state, (states.get(worker.state) ?? 0) + 1);
    counts.textContent = [...states].map(([state, count]) => `${count} ${state}`).join(', ');
    const now = JSON.stringify(workers.map(({last_seen: _, ...rest}) => rest));
    if (now === shown) {
      for (const [i, worker] of workers.entries()) {
        const time = list.children[i]?.querySelector('time');
        if (time) time.dataset.ms = String(Date.parse(worker.last_seen));
      }
      return;
    }
    shown = now;
    const open = new Set(
      [...list.querySelectorAll('details[open]')].map((node) => node.closest('section')?.getAttribute('aria-label')),
    );
    fill(
      list,
      workers.length
        ? workers.map(workerCard)
        : empty(
            'No worker has ever come. On each machine that shall work:',
            `hone-worker --coordinator ${context.endpoint()} --data /var/lib/hone-worker`,
          ),
    );
    for (const section of list.children)
      if (open.has(section.getAttribute('aria-label'))) section.querySelector('details').open = true;
    if (!workers.length) list.firstChild.classList.add('wide');
  }
  await refresh();
  context.every(3000, refresh);
  context.onEvents(0, refresh, 1000);
}
