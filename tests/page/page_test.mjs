// The dashboard in headless chromium, served by a real coordinator whose store has made-up jobs (fill_store.cc), with a
// real worker for a job that runs while it is watched. Every page in both themes: no script error, no request to
// anywhere else, no violation that axe knows of.
import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import {existsSync, mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, test} from 'node:test';
import {Browser, findBrowser} from './browser.mjs';
import {Service} from './service.mjs';

const kJobs = {small: 1, thousands: 2, ten: 3, one: 4, failed: 5, hostile: 6};
const kAxe = process.env.HONE_AXE ? readFileSync(process.env.HONE_AXE, 'utf8') : '';

let folder;
let service;
let browser;

before(async () => {
  assert.ok(existsSync(findBrowser()), `${findBrowser()} is not here: apt-get install chromium (ops/setup does)`);
  folder = mkdtempSync(join(tmpdir(), 'hone-page-'));
  // What did start must be known to `after` even when the other did not, or its process keeps this one alive.
  const started = await Promise.allSettled([Service.start(folder), Browser.start()]);
  [service, browser] = started.map((one) => one.value);
  const failed = started.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
});

after(async () => {
  await browser?.close();
  await service?.stop();
  if (folder) rmSync(folder, {recursive: true, force: true});
});

async function open(hash, {theme = 'light', phone = false} = {}) {
  const tab = await browser.tab();
  await tab.theme(theme);
  await tab.size(phone ? 390 : 1280, phone ? 844 : 900, phone);
  await tab.goto(`${service.url}/${hash}`);
  await tab.until("document.querySelector('main').dataset.ready && !document.querySelector('.loading')");
  return tab;
}

// What axe finds against WCAG 2, A and AA.
async function violationsOn(tab) {
  await tab.evaluate(kAxe);
  return tab.evaluate(`axe
    .run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})
    .then((found) => found.violations.map((one) => one.id + ': ' + one.nodes
      .map((node) => node.html.slice(0, 160) + ' ' + node.failureSummary).join(' | ')))`);
}

// What every page owes, whatever it shows.
async function closeClean(tab) {
  assert.deepEqual(tab.complaints, []);
  const strangers = tab.requests.filter(
    (url) => !url.startsWith(`${service.url}/`) && !/^(data|about|blob):/.test(url),
  );
  assert.deepEqual(strangers, [], 'requests to anywhere else');
  await tab.close();
}

const kPages = {
  jobs: ['#/', 'Jobs'],
  job: [`#/jobs/${kJobs.small}`, `Job ${kJobs.small}`],
  'a job with one trial': [`#/jobs/${kJobs.one}`, `Job ${kJobs.one}`],
  'a job whose trials all failed': [`#/jobs/${kJobs.failed}`, `Job ${kJobs.failed}`],
  trial: [`#/jobs/${kJobs.small}/7`, `Trial ${kJobs.small}/7`],
  baseline: [`#/jobs/${kJobs.small}/baseline`, `Baseline of job ${kJobs.small}`],
  compare: [`#/compare?job=${kJobs.small}&trials=2,3,0`, `Compare ${kJobs.small}/2`],
  'compare without trials': ['#/compare', 'Compare'],
  fleet: ['#/fleet', 'Fleet'],
  nightly: ['#/nightly?all=1', 'Nightly'],
};

for (const [name, [hash, heading]] of Object.entries(kPages)) {
  test(`${name}: drawn, accessible in both themes, nothing asked elsewhere`, async () => {
    assert.ok(kAxe, 'HONE_AXE does not name axe.min.js: run ops/setup --models');
    for (const theme of ['light', 'dark']) {
      const tab = await open(hash, {theme});
      assert.match(await tab.evaluate("document.querySelector('h1').textContent"), new RegExp(`^${heading}`));
      await tab.evaluate('new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50)))');
      assert.deepEqual(await violationsOn(tab), [], `${name} in ${theme}`);
      await closeClean(tab);
    }
  });
}

test('on a phone no page is wider than the screen', async () => {
  for (const [name, [hash]] of Object.entries(kPages)) {
    const tab = await open(hash, {phone: true});
    assert.ok(await tab.evaluate('document.documentElement.scrollWidth <= innerWidth'), name);
    await closeClean(tab);
  }
});

test('what users name stands as text, in tables and in plots', async () => {
  for (const hash of [
    '#/',
    `#/jobs/${kJobs.hostile}`,
    `#/jobs/${kJobs.hostile}/1`,
    `#/compare?job=` + `${kJobs.hostile}&trials=0,1`,
  ]) {
    const tab = await open(hash);
    assert.equal(await tab.evaluate("document.querySelectorAll('main script, main img, main b').length"), 0);
    assert.ok((await tab.evaluate('document.body.innerText')).includes('<'), 'the name is shown as it is');
    await closeClean(tab);
  }
});

test('nights: a series that changed stands first, with its level change and the note', async () => {
  const tab = await open('#/nightly');
  await tab.until("document.querySelectorAll('.history').length === 1");
  assert.match(await tab.evaluate("document.querySelector('main h2').textContent"), /^resnet50 on server/);
  assert.ok(await tab.evaluate("document.querySelectorAll('.night-regression').length >= 10"));
  assert.match(await tab.evaluate("document.querySelector('.history').textContent"), /a new compiler \(ann\)/);
  await tab.evaluate("document.querySelector('main input[type=checkbox]').click()");
  await tab.until("document.querySelectorAll('.history').length === 2");
  await closeClean(tab);
});

test('an unknown job, an unknown trial and an unknown page say so', async () => {
  for (const hash of ['#/jobs/4711', `#/jobs/${kJobs.small}/99999`, '#/no/such/page']) {
    const tab = await browser.tab();
    await tab.goto(`${service.url}/${hash}`);
    await tab.until("document.querySelector('h1')?.textContent === 'Not found'");
    tab.complaints = tab.complaints.filter((text) => !/404/.test(text));
    await closeClean(tab);
  }
});

test('2,000 trials: at most 100 kB in all; the first plot', async () => {
  const tab = await browser.tab();
  await tab.goto(`${service.url}/#/jobs/${kJobs.thousands}`);
  await tab.until(
    "performance.getEntriesByName('hone.first-plot').length && " + "document.querySelectorAll('svg.plot').length >= 4",
  );
  const ms = await tab.evaluate("performance.getEntriesByName('hone.first-plot')[0].startTime");
  const marks = await tab.evaluate(`document.querySelectorAll('.scatter circle').length +
    [...document.querySelectorAll('.scatter path')]
      .map((path) => path.getAttribute('d').split('M').length - 1)
      .reduce((a, b) => a + b, 0)`);
  console.log(
    `2,000 trials: ${(tab.bytes / 1000).toFixed(1)} kB transferred in ${tab.requests.length} ` +
      `requests, first plot after ${ms.toFixed(0)} ms`,
  );
  assert.ok(marks >= 1880, `${marks} marks`);
  assert.ok(tab.bytes <= 100000, `${tab.bytes} bytes`);
  await closeClean(tab);
});

test('10,000 trials: the filter, in few rows', async () => {
  const tab = await open(`#/jobs/${kJobs.ten}`);
  await tab.evaluate("document.querySelector('input[type=search]').focus()");
  const told = await tab.evaluate(`(() => {
    const search = document.querySelector('input[type=search]');
    const times = [];
    for (const text of ['mse', 'mse accuracy_drop<0.01', 'state=complete size_bytes>0', '']) {
      const began = performance.now();
      search.value = text;
      search.dispatchEvent(new Event('input', {bubbles: true}));
      document.querySelector('.trials').getBoundingClientRect();
      times.push(performance.now() - began);
    }
    return {times, rows: document.querySelectorAll('.trials tbody tr').length};
  })()`);
  console.log(`10,000 trials: filters took ${told.times.map((ms) => ms.toFixed(1)).join(', ')} ms`);
  assert.ok(told.rows < 60, `${told.rows} rows are there`);
  await tab.evaluate("document.querySelector('.trials').scrollTop = 1e6");
  await tab.until("document.querySelector('.trials tbody').innerText.includes('10000')");
  await closeClean(tab);
});

test('filters and sorting stand in the address and come back from it', async () => {
  const tab = await open(`#/jobs/${kJobs.small}`);
  await tab.evaluate(`(() => {
    const search = document.querySelector('input[type=search]');
    search.value = 'mse';
    search.dispatchEvent(new Event('input', {bubbles: true}));
    [...document.querySelectorAll('.trials thead button')].find((one) => one.textContent === 'speed-up').click();
  })()`);
  const there = await tab.evaluate("location.hash + '|' + document.querySelector('.trials tbody').innerText");
  assert.match(there, /q=mse/);
  assert.match(there, /sort=speedup/);
  await tab.send('Page.reload');
  await tab.until("document.querySelector('main').dataset.ready && document.querySelector('.trials tbody')?.innerText");
  assert.equal(await tab.evaluate("location.hash + '|' + document.querySelector('.trials tbody').innerText"), there);
  await closeClean(tab);
});

test('by keyboard alone: from the list to a job, along the plot, to a trial, to the comparison', async () => {
  const tab = await open('#/');
  await tab.press('Tab');
  assert.match(await tab.evaluate('document.activeElement.className'), /skip/);
  await tab.press('Enter');
  assert.equal(await tab.evaluate('document.activeElement.id'), 'main');
  await tab.tabTo(`a[href="#/jobs/${kJobs.small}"]`);
  await tab.press('Enter');
  await tab.until(`document.querySelector('main').dataset.ready === '/jobs/${kJobs.small}'`);
  await tab.tabTo('[data-plot=pareto]');
  await tab.press('ArrowRight');
  await tab.press('ArrowRight');
  await tab.until(
    "document.querySelector('.ring') && " + "/trial|baseline/.test(document.querySelector('.said').textContent)",
  );
  await tab.tabTo('[data-key=pick2]');
  await tab.press('Space');
  await tab.tabTo('[data-key=pick3]');
  await tab.press('Space');
  await tab.until(
    "[...document.querySelectorAll('a')].some((one) => one.textContent === 'Compare 2 trials' && " + '!one.hidden)',
  );
  await tab.tabTo('[data-key=trial4]');
  await tab.press('Enter');
  await tab.until(`document.querySelector('main').dataset.ready === '/jobs/${kJobs.small}/4'`);
  await tab.tabTo('details summary');
  await tab.press('Enter');
  await tab.until("document.querySelector('details[open]')");
  await closeClean(tab);
});

test('the budget dial moves the line and the advice', async () => {
  const tab = await open(`#/jobs/${kJobs.small}`);
  const before = await tab.evaluate("document.querySelector('.copy code').textContent");
  await tab.evaluate(`(() => {
    const dial = document.querySelector('input[type=range]');
    dial.value = '20';
    dial.dispatchEvent(new Event('input', {bubbles: true}));
  })()`);
  assert.ok(await tab.evaluate("document.querySelector('.scatter .dial') !== null"));
  const advised = await tab.evaluate(
    "document.querySelector('[data-plot=pareto]').closest('section').querySelector('.copy code').textContent",
  );
  assert.match(advised, /^hone get \d+\/\d+ -o out\/$/);
  assert.notEqual(advised, before);
  await closeClean(tab);
});

test('the theme is what the reader chose, also after a reload', async () => {
  const tab = await open('#/', {theme: 'light'});
  const ground = 'getComputedStyle(document.body).backgroundColor';
  const light = await tab.evaluate(ground);
  await tab.evaluate("document.getElementById('theme').click()");
  const dark = await tab.evaluate(ground);
  assert.notEqual(dark, light);
  await tab.send('Page.reload');
  await tab.until("document.querySelector('main')?.dataset.ready");
  assert.equal(await tab.evaluate(ground), dark);
  await closeClean(tab);
});

test('a job that runs is followed live; the page says so when the coordinator goes and comes back', async () => {
  const job = await service.submitRealJob();
  const tab = await open(`#/jobs/${job}`);
  await tab.until(
    "document.getElementById('link').dataset.state === 'live' || " + "document.querySelector('.state-complete')",
  );
  await tab.until("/trial|measured|build/.test(document.querySelector('.events').innerText)", 60);
  await tab.until("document.querySelector('h1').parentElement.querySelector('.state-complete')", 90);
  await tab.until(
    "document.querySelectorAll('.trials tbody tr').length >= 2 && " + "document.querySelector('.scatter .baseline')",
  );
  await closeClean(tab);
  const other = await open('#/fleet');
  await other.until("document.getElementById('link').dataset.state === 'live'");
  await service.restartCoordinator(() =>
    other.until("document.getElementById('link').dataset.state === " + "'reconnecting'"),
  );
  await other.until("document.getElementById('link').dataset.state === 'live'", 40);
  other.complaints = other.complaints.filter(
    (text) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|50\d/.test(text),
  );
  await closeClean(other);
});

test('the one-file report opens from a file, draws the same plots, asks for nothing', async () => {
  for (const job of [kJobs.small, kJobs.thousands, kJobs.failed, kJobs.hostile]) {
    const file = join(folder, `job-${job}.html`);
    const ran = spawnSync(
      service.program('hone'),
      ['report', String(job), '--html', file, '--coordinator', service.endpoint],
      {encoding: 'utf8'},
    );
    assert.equal(ran.status, 0, ran.stderr);
    const size = readFileSync(file).length;
    console.log(`report of job ${job}: ${(size / 1000).toFixed(1)} kB`);
    assert.ok(size <= 100000, `${size} bytes`);
    for (const theme of job === kJobs.small ? ['light', 'dark'] : ['light']) {
      const tab = await browser.tab();
      await tab.theme(theme);
      await tab.goto(`file://${file}`);
      await tab.until("document.querySelectorAll('svg.plot').length >= 3");
      assert.deepEqual(await violationsOn(tab), []);
      assert.deepEqual(tab.complaints, []);
      assert.deepEqual(
        tab.requests.filter((url) => !url.startsWith('file:') && !url.startsWith('data:')),
        [],
      );
      await tab.close();
    }
  }
});
