import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually, query, sendLogs } from './lib/otlp.js';
import { launch, picture, until, visit } from './lib/page.js';
import { MODELS, serve } from './lib/server.js';

let server;
let browser;
const NOW = Date.now() - 30_000;
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';

const LOGS = [
  ...Array.from({ length: 40 }, (_, i) => ({ ms: NOW - i * 60_000, service: 'payment', level: 'ERROR', body: `Payment of order_${4700 + i} declined: insufficient funds`, traceId: TRACE, spanId: '00000000000000a1' })),
  ...Array.from({ length: 12 }, (_, i) => ({ ms: NOW - i * 90_000, service: i % 2 ? 'cart' : 'checkout', level: 'WARN', body: `Connection refused by 10.0.0.${i}:5432 while connecting to upstream` })),
  ...Array.from({ length: 5 }, (_, i) => ({ ms: NOW - i * 1000, service: 'storage', level: 'FATAL', body: `No space left on device sd${'abcde'[i]}1` })),
  ...Array.from({ length: 30 }, (_, i) => ({ ms: NOW - i * 2000, service: 'cart', level: 'INFO', body: `cache miss for basket_${i}` })),
];

before(async () => {
  server = await serve(['--set', `model.directory=${MODELS}`]);
  browser = await launch();
  await sendLogs(server, LOGS);
  await eventually(async () => {
    const [[patterns, vectors]] = await query(server, 'SELECT (SELECT count(DISTINCT pattern_id) FROM logs), (SELECT count(DISTINCT l.pattern_id) FROM logs l JOIN log_embeddings USING (pattern_id))');
    return patterns > 0 && patterns === vectors;
  }, 'the patterns have vectors');
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const results = (page) => page.locator('[data-pattern]');
const first = (page) => results(page).first().innerText();

test('a question in plain words finds its pattern, with counts, services, levels and examples', async () => {
  await visit(browser, server, '/search', async (page) => {
    await page.getByText('What do you want to know?').waitFor();
    await picture(page, 'search-empty');
    await page.keyboard.type('the customer did not have enough money');
    await page.keyboard.press('Enter');
    await until(page, async () => (await first(page)).includes('40 logs'), true, 'the best pattern');
    const text = await first(page);
    for (const part of ['Payment of', 'declined: insufficient funds', 'ERROR', 'payment', 'order_47']) assert.ok(text.includes(part), `${part} in ${text}`);
    await until(page, async () => (await results(page).first().locator('svg[role=img] rect').count()) > 0, true, 'bars over time');
    assert.match(await page.locator('[data-status]').innerText(), /pattern.* ms, by all-MiniLM-L6-v2/);
    assert.equal(new URL(page.url()).searchParams.get('q'), 'the customer did not have enough money');
    await picture(page, 'search');
  });
});

test('an id in the question is looked up', async () => {
  await visit(browser, server, `/search?${new URLSearchParams({ q: 'what happened to order_4711?' })}`, async (page) => {
    await until(page, () => results(page).first().locator('li').first().innerText().then((text) => text.includes('order_4711')), true);
  });
});

test('filters narrow the answer and stay in the address', async () => {
  await visit(browser, server, `/search?${new URLSearchParams({ q: 'nobody answers on the other side' })}`, async (page) => {
    await until(page, async () => (await first(page)).includes('12 logs'), true);
    await page.getByLabel('Service').selectOption('cart');
    await until(page, async () => (await first(page)).includes('6 logs'), true);
    await page.getByLabel('Level').selectOption('WARN');
    await until(page, () => results(page).count(), 1);
    const parameters = new URL(page.url()).searchParams;
    assert.deepEqual([parameters.get('service'), parameters.get('level')], ['cart', 'WARN']);
    await page.getByLabel('Level').selectOption('FATAL');
    await page.getByText('Nothing in this range answers that').waitFor();
    await page.getByRole('button', { name: 'Clear the filters' }).click();
    await until(page, async () => (await first(page)).includes('12 logs'), true);
  });
});

test('a pattern leads to its logs, which can be filtered further', async () => {
  await visit(browser, server, `/search?${new URLSearchParams({ q: 'the disk is full' })}`, async (page) => {
    await until(page, async () => (await first(page)).includes('No space left'), true);
    await results(page).first().getByRole('link', { name: '5 logs' }).click();
    await until(page, () => page.locator('[data-status]').innerText().then((text) => text.trim()), '5 records');
    assert.ok(await page.getByRole('button', { name: 'Live' }).isDisabled());
    await picture(page, 'search-logs');
    await page.getByRole('button', { name: /^pattern/ }).click();
    await until(page, async () => new URL(page.url()).searchParams.has('pattern'), false);
  });
});

test('markup in a message is text', async () => {
  await sendLogs(server, [{ ms: Date.now() - 1000, service: '<b>x</b>', level: 'ERROR', body: '<img src=x onerror="globalThis.pwned=1"> exploded in the <script>globalThis.pwned=1</script>' }]);
  // The index follows the store, and the page asks once.
  const question = { query: 'exploded <img>', service: '<b>x</b>' };
  await eventually(async () => {
    const response = await fetch(`${server.url}/search/semantic`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(question) });
    return (await response.json()).results.length > 0;
  }, 'the pattern is found');
  await visit(browser, server, `/search?${new URLSearchParams({ q: question.query, service: question.service })}`, async (page) => {
    await until(page, async () => (await first(page)).includes('onerror'), true);
    assert.equal(await page.locator('article img, article script, article b b').count(), 0);
  });
});

test('without the model the page says that only words are searched, and what to do', async () => {
  const bare = await serve();
  try {
    await sendLogs(bare, LOGS.slice(40));
    await visit(browser, bare, `/search?${new URLSearchParams({ q: 'no space left' })}`, async (page) => {
      await page.getByText('Only words are searched.').waitFor();
      assert.match(await page.getByRole('note').innerText(), /devmesh model pull/);
      await until(page, async () => {
        if ((await results(page).count()) === 0) await page.getByRole('button', { name: 'Ask again' }).click();
        return (await results(page).count()) > 0 && (await first(page)).includes('No space left');
      }, true);
      await picture(page, 'search-words');
    });
  } finally {
    await bare.stop();
  }
});
