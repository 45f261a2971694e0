// Whoever can send telemetry can put any text into any field. None of it may become markup or script.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sendGauges, sendLogs, sendSpans } from './lib/otlp.js';
import { launch, until, visit } from './lib/page.js';
import { serve } from './lib/server.js';

const PAYLOADS = [
  '<script>globalThis.pwned=1</script>',
  '<img src=x onerror="globalThis.pwned=1">',
  '<svg/onload=globalThis.pwned=1>',
  '"><img src=x onerror=globalThis.pwned=1>',
  "'-globalThis.pwned=1-'",
  '{{constructor.constructor("globalThis.pwned=1")()}}',
  '{@html "<b>pwned</b>"}',
  '<iframe srcdoc="<script>parent.pwned=1</script>">',
  '<style>*{display:none}</style>',
  '<a href="javascript:globalThis.pwned=1">x</a>',
  'javascript:globalThis.pwned=1',
  '<base href="https://example.com/">',
  '<meta http-equiv="refresh" content="0;url=https://example.com/">',
  '<link rel=stylesheet href=https://example.com/x.css>',
  '<form action=https://example.com/><input autofocus onfocus=globalThis.pwned=1>',
  '${globalThis.pwned=1}',
  '</textarea><script>globalThis.pwned=1</script>',
  '<math><mtext><script>globalThis.pwned=1</script></mtext></math>',
  '&lt;b&gt;&#x3C;script&#x3E;',
  '__proto__',
  'constructor',
  '../../etc/passwd',
  "' OR 1=1 --",
  'line\nbreak\ttab\u0000nul',
  '\u202Eright to left\u202C',
  '=cmd|calc',
  'a'.repeat(5000),
];
const TRACE = 'deadbeefdeadbeefdeadbeefdeadbeef';
const id = (number) => (number + 1).toString(16).padStart(16, '0');
const clean = (text) => text.replaceAll(/\s+/g, ' ').trim();

let server;
let browser;
before(async () => {
  server = await serve();
  browser = await launch();
  const now = Date.now() - 10_000;
  await sendLogs(server, PAYLOADS.map((text, i) => ({ ms: now - i, service: text, level: 'ERROR', body: text, traceId: TRACE, spanId: id(i), attributes: { [text]: text } })), { 'host.name': PAYLOADS[0] });
  await sendSpans(server, PAYLOADS.map((text, i) => ({
    traceId: TRACE, spanId: id(i), parentSpanId: i ? id(0) : '', ms: now + i, length: 100, service: text, name: text, error: text,
    attributes: { [text]: text }, events: [{ ms: now + i, name: text, attributes: { [text]: text } }], links: [{ traceId: TRACE, spanId: id(0), traceState: text, attributes: { [text]: text } }],
  })));
  await sendGauges(server, PAYLOADS.map((text) => ({ ms: now, service: text, name: text.slice(0, 1000), value: 1, attributes: { [text]: text } })));
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Elements that only markup in telemetry could have made. */
const foreign = (page) => page.evaluate(() => document.querySelectorAll('#app script, #app img, #app iframe, #app style, #app base, #app meta, #app link, #app math, #app a[href^="javascript:"]').length);

test('hostile names on the overview are text', async () => {
  await visit(browser, server, '/', async (page) => {
    await until(page, () => page.locator('tr[data-service]').count(), PAYLOADS.length);
    const shown = await page.locator('tr[data-service]').evaluateAll((rows) => rows.map((row) => row.dataset.service));
    assert.deepEqual(new Set(shown), new Set(PAYLOADS));
    assert.equal(await foreign(page), 0);
  });
});

test('hostile records are text, and so are their attributes and the filters made of them', async () => {
  await visit(browser, server, '/logs', async (page) => {
    const rows = page.getByRole('region', { name: 'Log records' }).locator('button[aria-expanded]');
    await until(page, () => rows.count(), PAYLOADS.length);
    const texts = await rows.allInnerTexts();
    PAYLOADS.slice(0, 19).forEach((text, i) => assert.ok(clean(texts[i]).includes(clean(text)), `${text} in ${texts[i]}`));
    for (let i = 0; i < PAYLOADS.length; i += 1) {
      await page.keyboard.press('j');
      await page.keyboard.press('Enter');
      await page.locator('[data-detail]').waitFor();
      assert.equal(await foreign(page), 0);
      await page.keyboard.press('Enter');
    }
    await rows.nth(1).click();
    await page.locator('[data-detail] button.value').first().click();
    await until(page, () => page.locator('[data-status]').innerText(), '1 record');
    assert.equal(await foreign(page), 0);
  });
});

test('hostile services can be filtered by, each gives its own record', async () => {
  await visit(browser, server, '/logs', async (page) => {
    for (const text of PAYLOADS.slice(0, 23)) {
      await page.goto(`${server.url}/logs?${new URLSearchParams({ service: text })}`);
      await until(page, () => page.locator('[data-status]').innerText(), '1 record', text);
    }
  });
});

test('hostile spans are text in the list, the waterfall and the details', async () => {
  await visit(browser, server, '/traces', async (page) => {
    await page.locator('[data-trace]').first().click();
    await until(page, () => page.locator('[data-spans]').innerText(), `${PAYLOADS.length} spans`);
    for (let i = 0; i < PAYLOADS.length; i += 1) {
      await page.keyboard.press('j');
      await page.locator('[data-span-detail]').waitFor();
      assert.equal(await foreign(page), 0);
    }
    await page.getByRole('tab', { name: /Logs/ }).click();
    await page.getByRole('region', { name: 'Logs of the trace' }).waitFor();
    assert.equal(await foreign(page), 0);
  });
});

test('hostile values, column names and error texts of SQL are text', async () => {
  const all = 'SELECT service, body, attributes FROM logs ORDER BY time DESC';
  await visit(browser, server, `/sql?${new URLSearchParams({ q: all })}`, async (page) => {
    await until(page, () => page.locator('[data-rows]').innerText(), `${PAYLOADS.length} rows`);
    await page.locator('[data-row]').first().dblclick();
    assert.equal(await foreign(page), 0);
  });
  const column = `SELECT count(*) AS "${PAYLOADS[1].replaceAll('"', '""')}" FROM logs`;
  await visit(browser, server, `/sql?${new URLSearchParams({ q: column })}`, async (page) => {
    await until(page, () => page.locator('[data-rows]').innerText(), '1 row');
    assert.equal(await foreign(page), 0);
  });
  const error = `SELECT "${PAYLOADS[1].replaceAll('"', '""')}" FROM logs`;
  await visit(browser, server, `/sql?${new URLSearchParams({ q: error })}`, async (page) => {
    await page.locator('.fault').waitFor();
    assert.equal(await foreign(page), 0);
  }, { expected: ['400'] });
});

test('hostile addresses are text', async () => {
  const text = encodeURIComponent(PAYLOADS[1]);
  for (const address of [`/logs?q=${text}&where=attribute:${text}%3D${text}&trace=${text}`, `/traces?service=${text}&operation=${text}&attribute=${text}`]) {
    await visit(browser, server, address, async (page) => {
      await page.getByText(/No (record|trace) matches/).or(page.locator('.fault')).first().waitFor();
      assert.equal(await foreign(page), 0);
    }, { expected: ['400'] });
  }
});

test('the sources use no call that turns text into markup', async () => {
  const { readdir, readFile } = await import('node:fs/promises');
  const dir = new URL('../../backend/console/src/', import.meta.url);
  const files = (await readdir(dir, { recursive: true })).filter((name) => /\.(ts|svelte)$/.test(name));
  assert.ok(files.length > 20);
  for (const file of files) {
    const text = await readFile(new URL(file, dir), 'utf8');
    assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\{@html|\beval\(|new Function/, file);
  }
});
