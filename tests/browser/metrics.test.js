import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sendGauges, sendSpans } from './lib/otlp.js';
import { launch, picture, until, visit } from './lib/page.js';
import { serve } from './lib/server.js';

let server;
let browser;
const NOW = Date.now() - 20_000;
const hex = (number, digits) => number.toString(16).padStart(digits, '0');

/** Ten minutes: a call of each operation every two seconds, one in eight of the cart's slow and failed. */
const SPANS = Array.from({ length: 300 }, (_, i) => [
  { ms: NOW - i * 2000, length: i % 8 ? 30 : 900, service: 'cart', name: 'GET /cart', traceId: hex(i + 1, 32), spanId: hex(2 * i + 1, 16), ...(i % 8 ? {} : { error: 'timeout' }) },
  { ms: NOW - i * 2000, length: 5, service: 'shop', name: 'GET /', traceId: hex(i + 1, 32), spanId: hex(2 * i + 2, 16) },
]).flat();
const GAUGES = Array.from({ length: 40 }, (_, i) =>
  ['eu', 'us'].map((zone, n) => ({ ms: NOW - i * 15_000, service: 'cart', name: 'queue.depth', value: n ? 40 + i : 5, attributes: { zone } })),
).flat();

before(async () => {
  server = await serve();
  browser = await launch();
  await Promise.all([sendSpans(server, SPANS), sendGauges(server, GAUGES)]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const items = (page) => page.getByRole('list', { name: 'Metrics' }).getByRole('button');
const legend = (page) => page.getByRole('figure', { name: 'Chart' }).locator('.key').allInnerTexts().then((all) => all.map((text) => text.trim()).sort());

test('a metric is found, shown, split by a label, and filtered', async () => {
  await visit(browser, server, '/promql', async (page) => {
    await page.getByText('Choose a metric', { exact: true }).waitFor();
    await picture(page, 'metrics-empty');
    await page.keyboard.press('/');
    await page.keyboard.type('queue');
    await until(page, () => items(page).count(), 1, 'metrics found');
    await items(page).first().click();
    await until(page, () => legend(page), ['all'], 'one line');
    assert.equal(await page.getByLabel('PromQL').inputValue(), 'avg (queue_depth_ratio)');
    await page.getByLabel('Split by').selectOption('zone');
    await until(page, () => legend(page), ['eu', 'us'], 'a line a zone');
    await page.getByLabel('Filter').selectOption('zone=us');
    await until(page, () => legend(page), ['us'], 'the line of a zone');
    await page.getByRole('button', { name: 'zone = us' }).click();
    await until(page, () => legend(page), ['eu', 'us'], 'both again');
    const parameters = new URL(page.url()).searchParams;
    assert.deepEqual([parameters.get('metric'), parameters.get('by')], ['queue_depth_ratio', 'zone']);
    await picture(page, 'metrics-gauge');
  });
});

test('durations of spans lead to the slow traces', async () => {
  await visit(browser, server, `/promql?${new URLSearchParams({ metric: 'traces_span_metrics_duration_milliseconds', by: 'service_name', from: 'now-15m' })}`, async (page) => {
    await until(page, () => legend(page), ['cart', 'shop'], 'a line a service');
    const rows = page.getByRole('table', { name: 'Exemplars' }).locator('tbody tr');
    await until(page, async () => (await rows.count()) > 0, true, 'exemplars');
    const first = await rows.first().innerText();
    assert.ok(first.includes('900') && first.includes('cart · GET /cart'), first);
    await picture(page, 'metrics-spans');
    await rows.first().getByRole('link').click();
    await page.waitForURL(/\/traces\/[0-9a-f]{32}$/);
    await page.getByText('GET /cart').first().waitFor();
  });
});

test('a query of the reader stays in the address, and an error is said', async () => {
  await visit(browser, server, '/promql', async (page) => {
    const field = page.getByLabel('PromQL');
    await field.fill('sum by (status_code) (rate(traces_span_metrics_calls_total{service_name="cart"}[5m]))');
    await field.press('Enter');
    await until(page, () => legend(page), ['STATUS_CODE_ERROR', 'STATUS_CODE_UNSET'], 'a line a status');
    assert.ok(new URL(page.url()).searchParams.get('q')?.startsWith('sum by (status_code)'));
    await field.fill('rate(');
    await field.press('Enter');
    await page.getByRole('alert').getByText('invalid parameter "query"').waitFor();
  }, { expected: ['400'] });
});

test('markup in a label is text', async () => {
  await sendGauges(server, [{ ms: Date.now() - 1000, service: 'x', name: 'odd', value: 1, attributes: { zone: '<img src=x onerror="globalThis.pwned=1">' } }]);
  await visit(browser, server, `/promql?${new URLSearchParams({ metric: 'odd_ratio', by: 'zone' })}`, async (page) => {
    await until(page, async () => (await legend(page)).some((text) => text.includes('onerror')), true, 'the label');
    assert.equal(await page.locator('figure img').count(), 0);
  });
});
