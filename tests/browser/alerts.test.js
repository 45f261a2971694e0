import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { eventually, query, sendLogs } from './lib/otlp.js';
import { launch, picture, until, visit } from './lib/page.js';
import { serve } from './lib/server.js';

let server;
let browser;

/** Makes a rule by the API. */
async function make(rule) {
  const response = await fetch(`${server.url}/v1/alert-rules`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(rule) });
  assert.equal(response.status, 201, await response.text());
}

const MARKUP = '<img src=x onerror="globalThis.pwned=1">';

before(async () => {
  server = await serve(['--set', 'rules.interval=1s']);
  browser = await launch();
  await sendLogs(server, [
    { ms: Date.now() - 1000, service: 'payment', level: 'ERROR', body: 'declined' },
    { ms: Date.now() - 900, service: 'cart', level: 'ERROR', body: 'declined' },
    { ms: Date.now() - 800, service: MARKUP, level: 'ERROR', body: 'other' },
  ]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const rows = (page, name) => page.locator(`tr[data-alert="${name}"]`);

test('a server without rules says so, and how to make one', async () => {
  await visit(browser, server, '/alerts', async (page) => {
    await page.getByText('Nothing is wrong that a rule knows of').waitFor();
    assert.match(await page.locator('pre').innerText(), /\/v1\/alert-rules/);
    await picture(page, 'alerts-empty');
  });
});

test('alerts are shown by state, with labels, value and summary, and lead to their queries', async () => {
  const sql = "SELECT service, count(*) AS value FROM logs WHERE body = 'declined' GROUP BY service";
  await make({ name: 'Declined', sql, labels: { severity: 'page' }, annotations: { summary: '{{ $value }} payments declined in {{ $labels.service }}' } });
  await make({ name: 'Silent', expr: 'absent(heartbeat)', for: '1h' });
  await make({ name: 'Calm', expr: 'vector(0) > 1' });
  await make({ name: 'Doubled', expr: 'label_replace(vector(1), "a", "b", "", "") or label_replace(vector(1), "a", "c", "", "")', labels: { a: 'same' } });
  await visit(browser, server, '/alerts', async (page) => {
    await until(page, () => rows(page, 'Declined').count(), 2, 'both alerts');
    const text = (await rows(page, 'Declined').allInnerTexts()).join(' ');
    for (const part of ['firing', 'page', '1 payments declined in payment', 'service=cart']) assert.ok(text.includes(part), `${part} in ${text}`);
    await until(page, async () => (await rows(page, 'Silent').innerText()).includes('pending'), true, 'the one that waits');
    const rule = (name) => page.locator(`tr[data-rule="${name}"]`);
    await until(page, async () => (await rule('Doubled').innerText()).includes('same labelset'), true, 'the rule that fails');
    assert.ok((await rule('Calm').innerText()).includes('inactive'));
    await picture(page, 'alerts');
    await page.getByRole('button', { name: /^Pending/ }).click();
    await until(page, () => rows(page, 'Declined').count(), 0);
    assert.equal(new URL(page.url()).searchParams.get('state'), 'pending');
    await page.getByRole('button', { name: /^All/ }).click();
    await page.getByLabel('Words').fill('cart');
    await until(page, () => rows(page, 'Declined').count(), 1);
    await rows(page, 'Declined').getByRole('button').click();
    const link = page.locator('tr.detail').getByRole('link', { name: 'Open the query' });
    assert.equal(new URL(await link.getAttribute('href'), server.url).searchParams.get('q'), sql);
    await picture(page, 'alerts-detail');
    await link.click();
    await until(page, async () => new URL(page.url()).pathname, '/sql');
  });
});

test('the link in a message shows the alerts of its rule alone, and markup in a label is text', async () => {
  await make({ name: 'Other', sql: "SELECT service FROM logs WHERE body = 'other'", annotations: { summary: '{{ $labels.service }}' } });
  await visit(browser, server, '/alerts?rule=Other', async (page) => {
    await until(page, () => rows(page, 'Other').count(), 1);
    assert.ok((await rows(page, 'Other').innerText()).includes('onerror'));
    assert.equal(await page.locator('table img').count(), 0);
    assert.equal(await page.locator('tr[data-rule]').count(), 1);
    await page.getByRole('button', { name: /^rule Other/ }).click();
    await until(page, async () => (await page.locator('tr[data-rule]').count()) > 1, true);
  });
});

test('the table of alerts is asked in SQL', async () => {
  await eventually(async () => {
    const found = await query(server, "SELECT name, state, count(*) FROM alerts WHERE name = 'Declined' GROUP BY name, state");
    return isDeepStrictEqual(found, [['Declined', 'firing', 2]]);
  }, 'both alerts fire');
});
