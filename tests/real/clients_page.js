// Opens the page in Chromium and prints what it says when it is done: clients_page.js URL CHROMIUM
'use strict';
const { chromium } = require('playwright-core');

(async () => {
  const [url, executablePath] = process.argv.slice(2);
  const browser = await chromium.launch({
    executablePath,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById('said').textContent !== 'working', null,
    { timeout: 60_000 });
  const protocol = await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
  console.log(`${await page.textContent('#said')} | ${protocol}`);
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
