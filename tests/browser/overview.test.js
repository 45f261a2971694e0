import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sendGauges, sendLogs, sendSpans } from './lib/otlp.js';
import { count, launch, picture, until, visit } from './lib/page.js';
import { serve } from './lib/server.js';

let server;
let browser;
before(async () => {
  server = await serve();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test('an empty server shows how to send to it, and the page fills by itself once something arrives', async () => {
  await visit(browser, server, '/', async (page) => {
    const start = page.getByRole('region', { name: 'Getting started' });
    await start.waitFor();
    const text = await start.innerText();
    assert.match(text, new RegExp(`OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:${server.doors['otlp-grpc'].split(':')[1]}\\b`));
    assert.match(text, new RegExp(`endpoint: http://${server.doors['otlp-http']}\\b`));
    await picture(page, 'overview-empty');

    const now = Date.now();
    await sendLogs(server, [
      ...Array.from({ length: 1200 }, (_, i) => ({ ms: now - i, service: 'cart', level: 'INFO', body: `message ${i}` })),
      ...Array.from({ length: 30 }, (_, i) => ({ ms: now - i, service: 'checkout', level: 'ERROR', body: `failure ${i}` })),
    ]);
    const span = (i) => ({ ms: now - 500, length: 100, service: 'checkout', name: 'POST /checkout', traceId: `${i}`.padStart(32, 'a'), spanId: `${i}`.padStart(16, 'b') });
    await sendSpans(server, [...Array.from({ length: 15 }, (_, i) => span(i)), { ...span(15), error: 'declined' }]);
    await sendGauges(server, [{ ms: now, service: 'cart', name: 'queue.length', value: 7 }]);

    const kept = (signal) => page.locator(`[data-signal=${signal}] [data-rows]`).innerText();
    await until(page, () => kept('logs'), count(1230), 'logs kept');
    await until(page, () => kept('spans'), count(16), 'spans kept');
    await until(page, () => kept('metrics'), count(1), 'points kept');

    const cells = (service) => page.locator(`tr[data-service=${service}] td`).allInnerTexts();
    await until(page, async () => (await cells('checkout')).slice(4, 7), ['31', '6.3 %', '100 ms'], 'errors, failed spans and p95 of checkout');
    await until(page, async () => (await cells('cart'))[1], '1.33', 'logs of cart a second');
    const legend = () => page.getByRole('figure', { name: 'Logs by level' }).innerText();
    await until(page, async () => /error\s*30/.test(await legend()), true, 'the errors in the legend');
    await until(page, async () => new RegExp(`info\\s*${count(1200)}`).test(await legend()), true, 'the others');
    await picture(page, 'overview');
  });
});

test('a service leads to its logs, its errors to the graver ones', async () => {
  await visit(browser, server, '/', async (page) => {
    await page.locator('tr[data-service=checkout] a.bad').click();
    await until(page, () => page.locator('[data-status]').innerText(), '30 records');
    assert.equal(await page.getByLabel('Service', { exact: true }).inputValue(), 'checkout');
  });
});

test('dark and light follow the system, and the switch is remembered', async () => {
  const background = (page) => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await visit(browser, server, '/', async (page) => {
    await until(page, () => background(page), 'rgb(14, 18, 23)');
    await page.getByRole('button', { name: 'Light colours' }).click();
    await until(page, () => background(page), 'rgb(246, 247, 249)');
    await page.reload();
    await until(page, () => background(page), 'rgb(246, 247, 249)');
    await page.keyboard.press('d');
    await until(page, () => background(page), 'rgb(14, 18, 23)');
    await page.locator('tr[data-service=cart]').waitFor();
    await picture(page, 'overview-dark');
  }, { colorScheme: 'dark' });
});

test('the keyboard goes from page to page', async () => {
  await visit(browser, server, '/', async (page) => {
    for (const [key, title] of [['l', 'Logs'], ['t', 'Traces'], ['o', 'Overview'], ['s', 'SQL']]) {
      await page.keyboard.press('g');
      await page.keyboard.press(key);
      await until(page, () => page.title(), `${title} · devmesh`);
    }
  });
});

test('every page can be asked for by its address', async () => {
  for (const [address, title] of [['/logs', 'Logs'], ['/traces', 'Traces'], ['/sql', 'SQL']]) {
    await visit(browser, server, address, (page) => until(page, () => page.title(), `${title} · devmesh`));
  }
});

test('the first page is small and asks for nothing large', async () => {
  await visit(browser, server, '/', async (page) => {
    await page.locator('tr[data-service=cart]').waitFor();
    const loaded = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => name));
    assert.deepEqual(loaded.filter((name) => /editor|monaco|codicon/.test(name)), []);
  });
});
