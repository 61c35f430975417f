// Headless chromium over the DevTools protocol, through a pair of pipes: no package, no port.
import {spawn} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

// A bound on failure, never a verdict about speed; sanitized builds give more.
const kPatienceS = Number(process.env.HONE_PATIENCE ?? 20);
const kQuiet = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-default-apps',
  '--disable-extensions',
  '--mute-audio',
  '--metrics-recording-only',
  '--no-default-browser-check',
  '--password-store=basic',
  '--use-mock-keychain',
  '--disable-quic',
  '--disable-features=Translate,OptimizationHints,MediaRouter',
  '--hide-scrollbars',
  '--remote-debugging-pipe',
  'about:blank',
];

export function findBrowser() {
  return process.env.HONE_BROWSER ?? '/usr/bin/chromium';
}

export class Browser {
  #process;
  #folder;
  #next = 0;
  #waiting = new Map();
  #listeners = new Set();
  #rest = '';

  static async start() {
    const browser = new Browser();
    browser.#folder = mkdtempSync(join(tmpdir(), 'hone-browser-'));
    browser.#process = spawn(findBrowser(), [`--user-data-dir=${browser.#folder}`, ...kQuiet], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    browser.#process.on('exit', () => {
      for (const {reject} of browser.#waiting.values()) reject(new Error('the browser ended'));
      browser.#waiting.clear();
    });
    browser.#process.on('error', () => {});
    browser.#process.stdio[4].on('data', (part) => browser.#hear(part.toString('utf8')));
    await browser.send('Browser.getVersion');
    return browser;
  }

  #hear(text) {
    const messages = (this.#rest + text).split('\0');
    this.#rest = messages.pop();
    for (const message of messages) {
      const {id, result, error, method, params, sessionId} = JSON.parse(message);
      if (id === undefined) {
        for (const listener of this.#listeners) listener(method, params, sessionId);
        continue;
      }
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) waiting?.reject(new Error(`${waiting.method}: ${error.message}`));
      else waiting?.resolve(result);
    }
  }

  send(method, params = {}, sessionId = undefined) {
    const id = ++this.#next;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, {resolve, reject, method});
      this.#process.stdio[3].write(JSON.stringify({id, method, params, sessionId}) + '\0');
    });
  }

  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async tab() {
    const {browserContextId} = await this.send('Target.createBrowserContext');
    const {targetId} = await this.send('Target.createTarget', {url: 'about:blank', browserContextId});
    const {sessionId} = await this.send('Target.attachToTarget', {targetId, flatten: true});
    const tab = new Tab(this, sessionId, targetId, browserContextId);
    await tab.prepare();
    return tab;
  }

  async close() {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    await this.send('Browser.close').catch(() => {});
    await ended;
    rmSync(this.#folder, {recursive: true, force: true, maxRetries: 5, retryDelay: 100});
  }
}

const kKeys = {
  Tab: 9,
  Enter: 13,
  ArrowLeft: 37,
  ArrowUp: 38,
  ArrowRight: 39,
  ArrowDown: 40,
  Home: 36,
  End: 35,
  Escape: 27,
  Space: 32,
};

// A tab remembers what it asked for, how much came, and whatever the page complained of.
export class Tab {
  requests = [];
  complaints = [];
  bytes = 0;

  constructor(browser, session, target, context) {
    Object.assign(this, {browser, session, target, context});
    this.unlisten = browser.listen((method, params, sessionId) => {
      if (sessionId === session) this.hear(method, params);
    });
  }

  send(method, params = {}) {
    return this.browser.send(method, params, this.session);
  }

  async prepare() {
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await this.send(`${domain}.enable`);
    await this.size(1280, 900);
  }

  hear(method, params) {
    if (method === 'Network.requestWillBeSent') this.requests.push(params.request.url);
    if (method === 'Network.loadingFinished') this.bytes += params.encodedDataLength;
    if (method === 'Runtime.exceptionThrown')
      this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type))
      this.complaints.push(params.args.map((one) => one.value ?? one.description).join(' '));
    if (method === 'Log.entryAdded' && ['error', 'warning'].includes(params.entry.level))
      this.complaints.push(`${params.entry.text} ${params.entry.url ?? ''}`);
  }

  size(width, height, isPhone = false) {
    return this.send('Emulation.setDeviceMetricsOverride', {width, height, deviceScaleFactor: 1, mobile: isPhone});
  }

  theme(name) {
    return this.send('Emulation.setEmulatedMedia', {
      features: [
        {name: 'prefers-color-scheme', value: name},
        {name: 'prefers-reduced-motion', value: 'reduce'},
      ],
    });
  }

  async goto(url) {
    await this.send('Page.navigate', {url});
  }

  async evaluate(expression) {
    const {result, exceptionDetails} = await this.send('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  // Until the expression holds. What it reads may not be there yet; what it waits for is in the error.
  async until(expression, seconds = kPatienceS) {
    const end = Date.now() + seconds * 1000;
    for (let failure = ''; ;) {
      const waiting = `new Promise((resolve) => setTimeout(resolve, 25)).then(() => ${expression})`;
      const value = await this.evaluate(waiting).catch((error) => {
        failure = error.message;
      });
      if (value) return value;
      if (Date.now() > end) {
        const text = await this.evaluate('document.body.innerText.slice(0, 600)').catch(() => '');
        throw new Error(
          `after ${seconds} s not yet: ${expression}\n${failure}\n${this.complaints.join('\n')}\n${text}`,
        );
      }
    }
  }

  async press(key, modifiers = 0) {
    const text = key.length === 1 ? key : key === 'Enter' ? '\r' : key === 'Space' ? ' ' : undefined;
    const shared = {
      key: key === 'Space' ? ' ' : key,
      code: key.length === 1 ? undefined : key,
      windowsVirtualKeyCode: kKeys[key],
      modifiers,
    };
    await this.send('Input.dispatchKeyEvent', {type: text ? 'keyDown' : 'rawKeyDown', text, ...shared});
    await this.send('Input.dispatchKeyEvent', {type: 'keyUp', ...shared});
  }

  // Tab until the element that has the focus is the wanted one.
  async tabTo(selector, most = 60) {
    for (let i = 0; i < most; ++i) {
      if (await this.evaluate(`document.activeElement?.matches(${JSON.stringify(selector)})`)) return;
      await this.press('Tab');
    }
    throw new Error(`${selector} is not reached with the Tab key`);
  }

  async picture(whole = false, format = 'png', quality = undefined) {
    const clip = whole
      ? await this.evaluate(
          '({x: 0, y: 0, width: innerWidth, height: Math.min(document.documentElement.scrollHeight, 4000), scale: 1})',
        )
      : undefined;
    const {data} = await this.send('Page.captureScreenshot', {format, quality, clip, captureBeyondViewport: whole});
    return Buffer.from(data, 'base64');
  }

  async close() {
    this.unlisten();
    await this.browser.send('Target.closeTarget', {targetId: this.target});
    await this.browser.send('Target.disposeBrowserContext', {browserContextId: this.context}).catch(() => {});
  }
}
