// Elements from data. Text gets in as text alone; pictures are parsed as SVG, which runs nothing.
import {plainText} from './plots/svg.js';

// h('a', {href, class, onclick, 'aria-label'}, children ...): null and undefined children are left out, texts are text.
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) {
      node.addEventListener(name.slice(2), value);
    } else {
      node.setAttribute(name, value === true ? '' : plainText(value));
    }
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : plainText(child));
  }
}

export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

// The picture that a plot function wrote.
export function picture(svg) {
  const parsed = new DOMParser().parseFromString(svg, 'image/svg+xml').documentElement;
  if (parsed.nodeName !== 'svg') throw new Error('a plot is not well formed');
  return document.importNode(parsed, true);
}

export function stateBadge(state) {
  const known = /^[a-z_]+$/.test(state ?? '') ? state : 'unknown';
  return h('span', {class: `state state-${known}`}, (state ?? 'unknown').replaceAll('_', ' '));
}

// A time that is told relative to now and told anew by refreshTimes.
export function timeAgo(unixMs, tell) {
  if (!unixMs) return h('span', {}, 'never');
  const date = new Date(unixMs);
  return h(
    'time',
    {datetime: date.toISOString(), title: date.toLocaleString(), 'data-ms': unixMs},
    tell(unixMs, Date.now()),
  );
}

export function refreshTimes(tell) {
  for (const node of document.querySelectorAll('time[data-ms]')) {
    const text = tell(Number(node.dataset.ms), Date.now());
    if (node.textContent !== text) node.textContent = text;
  }
}

// A command with a button that copies it.
export function command(text, label = 'Copy') {
  const button = h(
    'button',
    {
      type: 'button',
      'aria-label': `${label}: ${text}`,
      onclick: async () => {
        await copyText(text);
        say('copied');
        button.textContent = 'Copied';
        setTimeout(() => {
          button.textContent = label;
        }, 1500);
      },
    },
    label,
  );
  return h('div', {class: 'copy'}, h('code', {tabindex: '0'}, text), button);
}

// Pages on plain http have no clipboard of their own but on the loopback: a selection serves.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = h('textarea', {class: 'hidden', 'aria-hidden': 'true'});
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand('copy');
    box.remove();
  }
}

// For people who hear the page: what is new, once, when they are not being told something else.
export function say(text) {
  const news = document.getElementById('news');
  if (news && news.textContent !== text) news.textContent = text;
}

export function table(caption, heads, rows) {
  return h(
    'div',
    {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption},
    h(
      'table',
      {},
      h('caption', {class: 'hidden'}, caption),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          heads.map((head) => h('th', {scope: 'col', class: head.number ? 'n' : undefined}, head.name ?? head)),
        ),
      ),
      h(
        'tbody',
        {},
        rows.map((row) =>
          h(
            'tr',
            {},
            row.map((cell, i) =>
              h(
                i ? 'td' : 'th',
                {
                  class: heads[i]?.number ? 'n' : heads[i]?.wraps ? 'anywhere' : undefined,
                  scope: i ? undefined : 'row',
                },
                cell,
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

export function card(title, ...children) {
  const id = `card-${title.toLowerCase().replace(/[^a-z]+/g, '-')}`;
  return h('section', {class: 'card', 'aria-labelledby': id}, h('h2', {id}, title), children);
}

export function figure(name, value, detail) {
  return h('div', {class: 'figure'}, h('dt', {}, name), h('dd', {}, value, detail ? h('small', {}, detail) : null));
}

export function notice(text, look = '') {
  return h('p', {class: `notice ${look}`}, text);
}

export function empty(text, ...commands) {
  return h(
    'div',
    {class: 'card empty'},
    h('p', {}, text),
    commands.map((one) => command(one)),
  );
}

// A box that draws its picture again when its width changes. draw(width) gives SVG text.
export function plotBox(draw, label) {
  const box = h('div', {class: 'plotbox', tabindex: '0', role: 'group', 'aria-label': label});
  let drawn = 0;
  box.redraw = () => {
    const width = Math.floor(box.clientWidth);
    if (width < 40) return;
    drawn = width;
    box.replaceChildren(picture(draw(width)));
  };
  new ResizeObserver(() => {
    if (Math.abs(Math.floor(box.clientWidth) - drawn) > 4) box.redraw();
  }).observe(box);
  return box;
}
