import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sendLogs, sendSpans } from './lib/otlp.js';
import { launch, picture, until, visit } from './lib/page.js';
import { serve } from './lib/server.js';

let server;
let browser;
const NOW = Date.now() - 30_000;
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const LARGE = 'c0ffee00c0ffee00c0ffee00c0ffee00';
const id = (number) => number.toString(16).padStart(16, '0');

// checkout 0–400 ms; cart 50–150 with a query 60–100; payment 150–350 with an error; parents are sent after children.
const SPANS = [
  { spanId: id(4), parentSpanId: id(3), ms: NOW + 60, length: 40, service: 'cart', name: 'SELECT cart', attributes: { 'db.system': 'postgresql' } },
  { spanId: id(2), parentSpanId: id(1), ms: NOW + 150, length: 200, service: 'payment', name: 'POST /pay', error: 'card declined', events: [{ ms: NOW + 340, name: 'exception', attributes: { 'exception.type': 'Declined' } }] },
  { spanId: id(3), parentSpanId: id(1), ms: NOW + 50, length: 100, service: 'cart', name: 'GET /cart', links: [{ traceId: LARGE, spanId: id(7) }] },
  { spanId: id(1), ms: NOW, length: 400, service: 'checkout', name: 'POST /checkout', attributes: { 'user.tier': 'gold' } },
].map((span) => ({ traceId: TRACE, ...span }));

before(async () => {
  server = await serve();
  browser = await launch();
  await sendSpans(server, SPANS);
  await sendLogs(server, [
    { ms: NOW + 340, service: 'payment', level: 'ERROR', body: 'the bank said no', traceId: TRACE, spanId: id(2) },
    { ms: NOW + 10, service: 'checkout', level: 'INFO', body: 'checkout begins', traceId: TRACE, spanId: id(1) },
  ]);
  await sendSpans(server, Array.from({ length: 20 }, (_, i) => ({ traceId: id(i + 1) + id(i + 1), spanId: id(i + 1), ms: NOW - 1000 * (i + 1), length: 10 * (i + 1), service: 'cart', name: 'GET /cart' })));
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const list = (page) => page.locator('[data-trace]');
const ids = (page) => list(page).evaluateAll((rows) => rows.map((row) => row.dataset.trace));

test('traces stand newest first, in short', async () => {
  await visit(browser, server, '/traces', async (page) => {
    await until(page, () => page.locator('[data-status]').innerText(), '21 traces');
    const first = await list(page).first().innerText();
    for (const part of ['checkout', 'POST /checkout', '4 spans', '1 error', '400 ms', 'payment']) assert.ok(first.includes(part), `${part} in ${first}`);
    await picture(page, 'traces');
    await page.getByRole('button', { name: 'Newest first' }).click();
    await until(page, async () => (await ids(page)).slice(0, 2), [TRACE, id(20) + id(20)], 'the slowest');
  });
});

test('the search narrows by service, duration, error, operation and attribute, and keeps it in the address', async () => {
  const found = async (address, wanted) =>
    visit(browser, server, address, async (page) => {
      await until(page, () => page.locator('[data-status]').innerText(), wanted === 1 ? '1 trace' : `${wanted} traces`);
    });
  await found('/traces?service=payment', 1);
  await found('/traces?min=195', 2);
  await found('/traces?service=cart&operation=SELECT+cart', 1);
  await found('/traces?attribute=user.tier%3Dgold', 1);
  await visit(browser, server, '/traces', async (page) => {
    await page.getByRole('button', { name: 'With errors' }).click();
    await until(page, () => ids(page), [TRACE]);
    assert.equal(new URL(page.url()).search, '?status=ERROR');
    await page.keyboard.press('/');
    await page.keyboard.type('user.tier=silver');
    await page.keyboard.press('Enter');
    await page.getByText('No trace matches').waitFor();
  });
});

test('the waterfall shows the tree in order, with bars where and as wide as the spans were', async () => {
  await visit(browser, server, '/traces', async (page) => {
    await list(page).first().click();
    const rows = page.locator('[data-span]');
    await until(page, () => rows.evaluateAll((all) => all.map((row) => [row.dataset.span, Number(row.dataset.depth)])), [[id(1), 0], [id(3), 1], [id(4), 2], [id(2), 1]]);
    const shares = await rows.evaluateAll((all) =>
      all.map((row) => {
        const [bar, lane] = [row.querySelector('[data-bar]').getBoundingClientRect(), row.lastElementChild.getBoundingClientRect()];
        return [bar.left - lane.left, bar.width].map((length) => (100 * length) / lane.width);
      }),
    );
    const wanted = [[0, 100], [12.5, 25], [15, 10], [37.5, 50]];
    shares.flat().forEach((share, i) => assert.ok(Math.abs(share - wanted.flat()[i]) < 0.4, `per cent of the lane: ${JSON.stringify(shares)}`));
    assert.equal(await page.locator('[data-duration]').innerText(), '400 ms');
    assert.equal(await page.locator('[data-spans]').innerText(), '4 spans');
    // The critical path: checkout until cart begins and after payment ends, cart around its query, the query, payment.
    assert.deepEqual(await rows.evaluateAll((all) => all.map((row) => row.querySelectorAll('.critical').length)), [2, 2, 1, 1]);
    assert.deepEqual(await rows.evaluateAll((all) => all.map((row) => row.querySelectorAll('.log').length)), [1, 0, 0, 1]);
    await picture(page, 'trace');
  });
});

test('the next error is a key away, with its message, events and logs', async () => {
  await visit(browser, server, `/traces/${TRACE}`, async (page) => {
    await page.locator(`[data-span="${id(2)}"]`).waitFor();
    await page.keyboard.press('e');
    const detail = page.locator(`[data-span-detail="${id(2)}"]`);
    await detail.waitFor();
    const text = await detail.innerText();
    for (const part of ['POST /pay', '200 ms', 'card declined', 'exception.type', 'Declined', 'the bank said no', 'service.name']) assert.ok(text.includes(part), part);
    assert.equal(new URL(page.url()).searchParams.get('span'), id(2));
    await picture(page, 'trace-span');
    await page.keyboard.press('Escape');
    await until(page, () => page.locator('[data-span-detail]').count(), 0);
  });
});

test('a row closes what is below it', async () => {
  await visit(browser, server, `/traces/${TRACE}`, async (page) => {
    await page.locator(`[data-span="${id(3)}"]`).getByRole('button', { name: 'Close' }).click();
    await until(page, () => page.locator('[data-span]').evaluateAll((all) => all.map((row) => row.dataset.span)), [id(1), id(3), id(2)]);
  });
});

test('the logs of the trace stand in order of time', async () => {
  await visit(browser, server, `/traces/${TRACE}`, async (page) => {
    await page.getByRole('tab', { name: 'Logs 2' }).click();
    const rows = page.getByRole('region', { name: 'Logs of the trace' }).locator('button[aria-expanded]');
    await until(page, async () => (await rows.allInnerTexts()).map((text) => /(checkout begins|the bank said no)/.exec(text)?.[1]), ['checkout begins', 'the bank said no']);
  });
});

test('a trace that is not there says so', async () => {
  await visit(browser, server, `/traces/${'9'.repeat(32)}`, (page) => page.getByText('There is no such trace').waitFor(), { expected: ['404'] });
});

test('a trace of 10,000 spans draws only what is in sight, before and after scrolling', async () => {
  const spans = Array.from({ length: 10_000 }, (_, i) => ({
    traceId: LARGE,
    spanId: id(i + 1),
    parentSpanId: i === 0 ? '' : id(Math.floor((i - 1) / 4) + 1),
    ms: NOW + i / 10,
    length: 2000 - i / 10,
    service: `service-${i % 15}`,
    name: `operation ${i}`,
  }));
  for (let i = 0; i < spans.length; i += 2500) await sendSpans(server, spans.slice(i, i + 2500));
  await visit(browser, server, `/traces/${LARGE}`, async (page) => {
    await until(page, () => page.locator('[data-spans]').innerText(), '10\u202f000 spans');
    assert.ok((await page.locator('[data-span]').count()) < 80);
    const bottom = await page.getByRole('region', { name: 'Spans' }).evaluate(async (element) => {
      for (let i = 0; i < 120; i += 1) {
        element.scrollTop += element.scrollHeight / 120;
        await new Promise(requestAnimationFrame);
      }
      return element.scrollTop + element.clientHeight >= element.scrollHeight - 2;
    });
    assert.ok(bottom);
    assert.ok((await page.locator('[data-span]').count()) < 80);
    await picture(page, 'trace-large');
    await page.getByLabel('Find in this trace').fill('operation 9999');
    await page.keyboard.press('Enter');
    await page.locator(`[data-span-detail="${id(10_000)}"]`).waitFor();
    await page.locator(`[data-span="${id(10_000)}"]`).waitFor();
  });
});
