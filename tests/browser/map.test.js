import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually, ns } from './lib/otlp.js';
import { launch, picture, until, visit } from './lib/page.js';
import { serve } from './lib/server.js';

let server;
let browser;
const NOW = Date.now() - 60_000;
const [SERVER, CLIENT] = [2, 3];
const hex = (number, digits) => number.toString(16).padStart(digits, '0');
const text = (map) => Object.entries(map).map(([key, value]) => ({ key, value: { stringValue: value } }));

let last = 0;
/** A span as an SDK sends it; parents come after children. */
function span(spans, trace, service, kind, parent, { ms = 20, error = false, name = 'work', attributes = {} } = {}) {
  last += 1;
  const start = ns(NOW + trace);
  const one = {
    traceId: hex(trace, 32), spanId: hex(last, 16), parentSpanId: parent ? hex(parent, 16) : '', name, kind,
    startTimeUnixNano: String(start), endTimeUnixNano: String(start + ns(ms)), attributes: text(attributes), status: error ? { code: 2 } : {},
  };
  spans.unshift({ resource: { attributes: text({ 'service.name': service, 'host.name': `${service}-1` }) }, scopeSpans: [{ spans: [one] }] });
  return last;
}

/** A call of one service by another. */
function call(spans, trace, from, parent, to, options) {
  const client = span(spans, trace, from, CLIENT, parent, options);
  return span(spans, trace, to, SERVER, client, options);
}

before(async () => {
  server = await serve();
  browser = await launch();
  const spans = [];
  for (let trace = 1; trace <= 40; trace += 1) {
    const web = span(spans, trace, 'frontend', SERVER, 0, { ms: 120, name: 'GET /' });
    const cart = call(spans, trace, 'frontend', web, 'cart', { ms: 40, attributes: { 'http.request.method': 'GET', 'http.route': '/cart/{id}' } });
    span(spans, trace, 'cart', CLIENT, cart, { ms: 10, attributes: { 'db.system.name': 'redis' } });
    const checkout = call(spans, trace, 'frontend', web, 'checkout', { ms: 60 });
    call(spans, trace, 'checkout', checkout, 'payment', { ms: 50, error: trace % 5 === 0, attributes: { 'error.type': 'Declined' } });
    call(spans, trace, 'checkout', checkout, 'shipping', { ms: 5 });
  }
  const response = await fetch(`${server.url}/v1/traces`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ resourceSpans: spans }) });
  assert.equal(response.status, 200, await response.text());
  // The graph follows the store.
  const nodes = async () => (await (await fetch(`${server.url}/graph/nodes?type=Service&q=redis`)).json()).nodes;
  await eventually(async () => (await nodes()).length > 0, 'the graph has services');
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const box = (page, name) => page.locator(`[data-node="${name}"]`);
const edges = (page) => page.locator('[data-edge]').evaluateAll((all) => all.map((one) => one.dataset.edge).sort());

test('services stand to the left of what they call, with rate, errors and latency', async () => {
  await visit(browser, server, '/map', async (page) => {
    await until(page, () => page.locator('[data-status]').innerText(), '6 nodes, 5 edges');
    assert.deepEqual(await edges(page), ['cart → redis', 'checkout → payment', 'checkout → shipping', 'frontend → cart', 'frontend → checkout']);
    const left = async (name) => (await box(page, name).boundingBox()).x;
    assert.ok((await left('frontend')) < (await left('checkout')) && (await left('checkout')) < (await left('payment')));
    const payment = await box(page, 'payment').locator('.figures').textContent();
    assert.match(payment, /\/s · 20 % failed · p95 [\d.]+ ms/);
    assert.match(await box(page, 'redis').locator('.figures').textContent(), /^database/);
    assert.ok(await box(page, 'payment').evaluate((one) => one.classList.contains('error')));
    assert.ok(await box(page, 'cart').evaluate((one) => one.classList.contains('ok')));
    await picture(page, 'map');
  });
});

test('a service leads to its neighbours in the graph, by mouse and by keys, and the address keeps it', async () => {
  await visit(browser, server, '/map', async (page) => {
    await box(page, 'checkout').click();
    const aside = page.getByRole('complementary', { name: 'About checkout' });
    const group = (title) => aside.locator(`[data-group="${title}"] li`).allInnerTexts().then((all) => all.map((one) => one.split('\n')[0]).sort());
    await until(page, () => group('Calls'), ['payment', 'shipping']);
    assert.deepEqual(await group('Called by'), ['frontend']);
    assert.deepEqual(await group('Runs on'), ['checkout-1']);
    assert.equal(new URL(page.url()).searchParams.get('service'), 'checkout');
    await picture(page, 'map-service');
    await aside.getByRole('button', { name: 'payment' }).click();
    const payment = page.getByRole('complementary', { name: 'About payment' });
    await until(page, () => payment.locator('[data-group="Errors"] li').first().innerText().then((one) => one.split('\n')[0]), 'Declined');
    await page.keyboard.press('Escape');
    await until(page, () => page.getByRole('complementary').count(), 0);
    await box(page, 'cart').focus();
    await page.keyboard.press('Enter');
    await until(page, () => page.locator('[data-group="Operations"] li').first().innerText().then((one) => one.split('\n')[0]), 'GET /cart/{id}');
  });
});

test('where nothing was traced, the page says so', async () => {
  await visit(browser, server, '/map?from=now-7d&to=' + (NOW - 86_400_000), async (page) => {
    await page.getByText('No spans in this range').waitFor();
  });
});
