import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { query, sendLogs } from './lib/otlp.js';
import { launch, picture, until, visit } from './lib/page.js';
import { serve } from './lib/server.js';

let server;
let browser;
const NOW = Math.floor(Date.now() / 60_000) * 60_000;

before(async () => {
  server = await serve();
  browser = await launch();
  await sendLogs(server, Array.from({ length: 300 }, (_, i) => ({
    ms: NOW - i * 6000,
    service: ['cart', 'checkout', '=HYPERLINK("x")'][i % 3],
    level: i % 4 ? 'INFO' : 'ERROR',
    body: `line ${i}`,
    attributes: { 'http.route': '/cart', 'user.id': i },
  })));
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const address = (sql) => `/sql?${new URLSearchParams({ q: sql })}`;
const editor = (page) => page.locator('.monaco-editor .view-lines').first();
const cells = (page) => page.locator('[data-row]').evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent.trim())));

/** Replaces the query by typing. */
async function type(page, text) {
  await editor(page).click();
  await page.keyboard.press('Control+A');
  await page.keyboard.press('Delete');
  await page.keyboard.insertText(text);
}

test('a query runs by Ctrl+Enter and shows what the server answers', async () => {
  const sql = 'SELECT service, level, count(*) AS n FROM logs GROUP BY service, level ORDER BY service, level';
  await visit(browser, server, '/sql', async (page) => {
    await editor(page).waitFor();
    await type(page, sql);
    await page.keyboard.press('Control+Enter');
    const wanted = (await query(server, sql)).map((row) => row.map(String));
    assert.equal(wanted.length, 6);
    await until(page, () => cells(page), wanted);
    assert.equal(await page.locator('[data-rows]').innerText(), '6 rows');
    assert.match(await page.locator('[data-elapsed]').innerText(), /^[\d.]+ (µs|ms|s)$/);
    assert.match(await page.locator('[data-scanned]').innerText(), /^\d+ rows scanned$/);
    assert.equal(new URL(page.url()).searchParams.get('q'), sql);
    await picture(page, 'sql');
  });
});

test('the editor completes tables, columns, functions and attribute keys', async () => {
  await visit(browser, server, '/sql', async (page) => {
    await page.locator('[data-table=logs]').waitFor();
    await editor(page).waitFor();
    const offered = () => page.locator('.suggest-widget .monaco-list-row').evaluateAll((rows) => rows.map((row) => row.getAttribute('aria-label')?.split(',')[0].trim() ?? ''));
    const offers = async (text, wanted) => {
      await type(page, text.slice(0, -1));
      await page.keyboard.type(text.slice(-1));
      await until(page, async () => (await offered()).some((label) => label.startsWith(wanted)), true, `${wanted} after ${text}`);
      await page.keyboard.press('Escape');
    };
    await offers('SELECT * FROM lo', 'logs');
    await offers('SELECT * FROM logs WHERE severity_n', 'severity_number');
    await offers('SELECT * FROM spans WHERE dur', 'duration_ns');
    await offers('SELECT approx_p', 'approx_percentile_cont');
    await offers("SELECT * FROM logs WHERE attributes['http.", 'http.route');
    await type(page, 'SELECT * FROM logs WHERE bo');
    await page.keyboard.press('Control+Space');
    await until(page, async () => (await offered()).includes('body'), true);
    await picture(page, 'sql-completion');
  });
});

test('an error is shown where it is', async () => {
  await visit(browser, server, address('SELECT service\nFROM logs\nWHERE WHERE level = 1'), async (page) => {
    const alert = page.locator('.fault');
    await alert.waitFor();
    assert.match(await alert.innerText(), /\S/);
    await page.locator('.squiggly-error').first().waitFor();
    await picture(page, 'sql-error');
  }, { expected: ['400'] });
});

test('what would change data is refused', async () => {
  await visit(browser, server, address('DELETE FROM logs'), (page) => page.locator('.fault').waitFor(), { expected: ['400'] });
  assert.deepEqual(await query(server, 'SELECT count(*) FROM logs'), [[300]]);
});

test('a result by time is drawn as a chart', async () => {
  const sql = "SELECT date_bin(INTERVAL '1 minute', time) AS t, level, count(*) AS n FROM logs GROUP BY t, level ORDER BY t";
  await visit(browser, server, address(sql), async (page) => {
    const chart = page.getByRole('figure', { name: 'The result as a chart' });
    await chart.locator('canvas').waitFor();
    const legend = await chart.innerText();
    assert.match(legend, /INFO/);
    assert.match(legend, /ERROR/);
    await picture(page, 'sql-chart');
  });
});

test('the limit cuts off and says so', async () => {
  await visit(browser, server, '/sql', async (page) => {
    await editor(page).waitFor();
    await page.getByLabel('Rows at most').selectOption({ label: '100 rows at most' });
    await type(page, 'SELECT body FROM logs');
    await page.getByRole('button', { name: 'Run' }).click();
    await until(page, () => page.locator('[data-rows]').innerText(), '100 rows');
    await page.getByText('cut off at the limit').waitFor();
    assert.ok((await page.locator('[data-row]').count()) < 100);
  });
});

test('the result is saved as CSV in which no cell is a formula', async () => {
  await visit(browser, server, address('SELECT service, count(*) AS n FROM logs GROUP BY service ORDER BY service'), async (page) => {
    await until(page, () => page.locator('[data-rows]').innerText(), '3 rows');
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'CSV' }).click()]);
    assert.match(download.suggestedFilename(), /^devmesh-.*\.csv$/);
    assert.equal(await readFile(await download.path(), 'utf8'), 'service,n\r\n"\'=HYPERLINK(""x"")",100\r\ncart,100\r\ncheckout,100\r\n');
  });
});

test('queries that were run are kept in this browser', async () => {
  await visit(browser, server, address('SELECT 41 + 1 AS answer'), async (page) => {
    await until(page, () => cells(page), [['42']]);
    await page.goto(`${server.url}/sql`);
    await until(page, async () => (await editor(page).innerText()).replaceAll('\u00a0', ' '), 'SELECT 41 + 1 AS answer');
    const history = page.getByLabel('History');
    assert.ok((await history.locator('option').allInnerTexts()).includes('SELECT 41 + 1 AS answer'));
  });
});
