// A Chromium whose pages report whatever a console of a serious tool must not do.

import assert from 'node:assert/strict';
import path from 'node:path';
import { chromium } from 'playwright-core';

/** Milliseconds that a condition may take to come true. */
const LIMIT = 120_000;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS, timeout: 180_000 });

/**
 * Opens a page of the console, hands it to `look`, and checks that nothing forbidden happened meanwhile. `expected`
 * are errors of the browser's console that belong to the test.
 */
export async function visit(browser, server, address, look, { expected = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 820 }, acceptDownloads: true, ...options });
  context.setDefaultTimeout(LIMIT);
  const page = await context.newPage();
  const faults = [];
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(`${server.url}/`) && !/^(data|blob):/.test(url)) faults.push(`request to another host: ${url}`);
  });
  page.on('console', (message) => {
    const text = message.text();
    if (message.type() === 'error' && !expected.some((part) => text.includes(part))) faults.push(`console: ${text}`);
  });
  page.on('response', async (response) => {
    if (response.status() >= 500) faults.push(`${response.status()} for ${response.request().postData() ?? response.url()}: ${await response.text().catch(() => '')}`);
  });
  page.on('pageerror', (error) => faults.push(`exception: ${error.stack ?? error.message}`));
  page.on('dialog', (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  try {
    await page.goto(server.url + address);
    await look(page);
    const violations = await page.evaluate(() => globalThis.violations);
    assert.deepEqual(violations, [], 'violations of the content security policy');
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined, 'injected script ran');
    assert.deepEqual(faults, []);
  } catch (error) {
    if (faults.length > 0) error.message += `\nmeanwhile: ${faults.join('\n')}`;
    throw error;
  } finally {
    await context.close();
  }
}

/** Waits until `read()` gives `wanted`. */
export async function until(page, read, wanted, what = 'value') {
  const end = Date.now() + LIMIT;
  let found;
  for (;;) {
    found = await read();
    try {
      assert.deepEqual(found, wanted);
      return;
    } catch (error) {
      if (Date.now() > end) throw new Error(`${what}: ${error.message}`);
    }
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}

/** Keeps a picture where SCREENSHOTS names a directory. */
export async function picture(page, name) {
  const dir = process.env.SCREENSHOTS;
  if (dir) await page.screenshot({ path: path.join(dir, `${name}.png`) });
}

/** Numbers as the console groups them. */
export const count = (number) => String(number).replaceAll(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
