import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sendLogs } from './lib/otlp.js';
import { launch, picture, until, visit } from './lib/page.js';
import { serve } from './lib/server.js';

let server;
let browser;
const NOW = Date.now() - 60_000;
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const LEVELS = ['DEBUG', 'INFO', 'INFO', 'WARN', 'ERROR'];

before(async () => {
  server = await serve();
  browser = await launch();
  const logs = Array.from({ length: 2500 }, (_, i) => ({
    ms: NOW - i * 100,
    service: i % 2 ? 'cart' : 'checkout',
    level: LEVELS[i % 5],
    body: `request ${i} ${i % 50 === 0 ? 'connection refused' : 'done'}`,
    attributes: { 'http.route': i % 3 ? '/cart' : '/checkout', number: i },
  }));
  logs[0] = { ...logs[0], traceId: TRACE, spanId: 'b7ad6b7169203331', body: 'first line\nsecond line connection refused' };
  await sendLogs(server, logs, { 'host.name': 'node-1' });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const status = (page) => page.locator('[data-status]').innerText();
const rows = (page) => page.getByRole('region', { name: 'Log records' }).locator('button[aria-expanded]');

test('records stand newest first, with the values that were sent', async () => {
  await visit(browser, server, '/logs', async (page) => {
    await until(page, () => status(page), '2\u202f500 records, 1\u202f000 loaded');
    const first = await rows(page).first().innerText();
    assert.match(first, /DEBUG\s+checkout\s+first line second line connection refused/);
    assert.match(await rows(page).nth(1).innerText(), /INFO\s+cart\s+request 1 done/);
    await picture(page, 'logs');
  });
});

test('only rows in sight are drawn, and scrolling loads all of them', async () => {
  await visit(browser, server, '/logs', async (page) => {
    await rows(page).first().waitFor();
    assert.ok((await rows(page).count()) < 80);
    const list = page.getByRole('region', { name: 'Log records' });
    await until(page, async () => {
      await list.evaluate((element) => element.scrollTo(0, element.scrollHeight));
      return rows(page).last().innerText().then((text) => /request 2499 done/.test(text));
    }, true);
    assert.equal(await status(page), '2\u202f500 records');
  });
});

test('a row opens to its attributes, and a click on a value filters by it', async () => {
  await visit(browser, server, '/logs', async (page) => {
    await rows(page).nth(1).click();
    const detail = page.locator('[data-detail]');
    const text = await detail.innerText();
    for (const part of ['http.route', '/cart', 'number', 'host.name', 'node-1', 'browser-test']) assert.ok(text.includes(part), part);
    await picture(page, 'logs-open');
    await detail.getByRole('button', { name: '/cart', exact: true }).click();
    await until(page, async () => (await status(page)).split(',')[0], '1\u202f666 records');
    await page.getByRole('button', { name: /http.route = \/cart/ }).click();
    await until(page, async () => (await status(page)).split(',')[0], '2\u202f500 records');
  });
});

test('filters by service, level and words are in the address and survive a reload', async () => {
  await visit(browser, server, '/logs', async (page) => {
    await rows(page).first().waitFor();
    await page.getByLabel('Service', { exact: true }).selectOption('checkout');
    await until(page, async () => (await status(page)).split(',')[0], '1\u202f250 records');
    await page.getByRole('button', { name: 'debug', exact: true }).click();
    await until(page, () => status(page), '250 records');
    await page.keyboard.press('/');
    await page.keyboard.type('REFUSED connection');
    await page.keyboard.press('Enter');
    await until(page, () => status(page), '50 records');
    assert.equal(new URL(page.url()).search, '?service=checkout&level=debug&q=REFUSED+connection');
    await page.reload();
    await until(page, () => status(page), '50 records');
    await page.goBack();
    await until(page, () => status(page), '250 records');
  });
});

test('dragging over the volume zooms into the time', async () => {
  await visit(browser, server, '/logs', async (page) => {
    await until(page, () => status(page), '2\u202f500 records, 1\u202f000 loaded');
    const box = await page.locator('.u-over').boundingBox();
    await page.mouse.move(box.x + box.width * 0.75, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.85, box.y + 20, { steps: 5 });
    await page.mouse.up();
    await until(page, async () => new URL(page.url()).searchParams.has('from'), true);
    const params = new URL(page.url()).searchParams;
    const width = Number(params.get('to')) - Number(params.get('from'));
    assert.ok(width > 70_000 && width < 110_000, `${width} ms are about a tenth of 15 minutes`);
    await until(page, async () => /^\d[\d\u202f]* records/.test(await status(page)), true);
  });
});

test('what matches nothing says so and can be cleared', async () => {
  await visit(browser, server, '/logs?q=nowhere', async (page) => {
    await page.getByText('No record matches').waitFor();
    await picture(page, 'logs-none');
    await page.getByRole('button', { name: 'Clear the filters' }).click();
    await rows(page).first().waitFor();
  });
});

test('a record leads to its trace', async () => {
  await visit(browser, server, '/logs', async (page) => {
    await rows(page).first().click();
    await page.getByRole('link', { name: 'Open the trace' }).click();
    await until(page, () => new URL(page.url()).pathname, `/traces/${TRACE}`);
    await page.getByText('There is no such trace').waitFor();
  }, { expected: ['404'] });
});

test('the query of the page opens as SQL and gives the same records', async () => {
  await visit(browser, server, '/logs?service=cart&level=error', async (page) => {
    await until(page, () => status(page), '250 records');
    await page.getByRole('link', { name: 'Open as SQL' }).click();
    await until(page, () => page.locator('[data-rows]').innerText(), '250 rows');
  });
});

test('the keyboard moves through the records', async () => {
  await visit(browser, server, '/logs', async (page) => {
    await rows(page).first().waitFor();
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await until(page, () => page.locator('[data-detail] pre').innerText(), 'request 1 done');
    await page.keyboard.press('Escape');
    await until(page, () => page.locator('[data-detail]').count(), 0);
  });
});

test('the live tail shows a record by itself, and only what passes the filter', async () => {
  await visit(browser, server, '/logs?live=1&service=cart', async (page) => {
    await page.getByText('Following').waitFor();
    const sent = Date.now();
    await sendLogs(server, [
      { ms: sent, service: 'checkout', level: 'INFO', body: 'of another service' },
      { ms: sent, service: 'cart', level: 'WARN', body: 'live and well', attributes: { fresh: 'yes' } },
    ]);
    await until(page, async () => /WARN\s+cart\s+live and well/.test(await rows(page).first().innerText()), true);
    assert.equal(await page.getByText('of another service').count(), 0);
    await rows(page).first().click();
    assert.match(await page.locator('[data-detail]').innerText(), /fresh\s+yes/);
    await picture(page, 'logs-live');
  });
});

test('the live tail holds new records while the reader is further down', async () => {
  await visit(browser, server, '/logs?live=1', async (page) => {
    await page.getByText('Following').waitFor();
    const list = page.getByRole('region', { name: 'Log records' });
    await list.evaluate((element) => element.scrollTo(0, 2400));
    await page.getByText('Paused while you read').waitFor();
    const seen = await rows(page).nth(12).innerText();
    await sendLogs(server, [{ ms: Date.now(), service: 'cart', level: 'INFO', body: 'held back' }]);
    const resume = page.getByRole('button', { name: '1 new, back to the top' });
    await resume.waitFor();
    assert.equal(await rows(page).nth(12).innerText(), seen);
    await resume.click();
    await until(page, async () => /held back/.test(await rows(page).first().innerText()), true);
    assert.equal(await page.getByText('held back').count(), 1);
  });
});
