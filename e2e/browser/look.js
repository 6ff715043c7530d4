// Looks at pages in Chromium the way people do: at three widths, dark and light,
// with and without scripts; follows their links and lets axe-core judge them.
//
//   node look.js '{"base": "http://127.0.0.1:8080", "pages": ["/"], "shots": "folder"}'
//
// It prints what it found as JSON: {"problems": [...], "looked": n, "links": n}.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");

const task = JSON.parse(process.argv[2]);
const widths = task.widths ?? [360, 800, 1440];
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const problems = [];
const links = new Map(); // address → the page that it stands on
let looked = 0;

const name = (page) => page.replace(/^\//, "").replace(/[^A-Za-z0-9.-]+/g, "_").slice(0, 60) || "overview";

// What axe judges: everything where all of a page is shown, and on narrow
// screens, in the other colours, what these can change.
const whole = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];
const changing = ["color-contrast", "link-in-text-block", "scrollable-region-focusable"];

// look looks at one page in all ways, with one load, in a window of a browser with
// scripts or without.
async function look(page, address, scripts) {
  const told = (text) => problems.push(`${address}${scripts ? "" : " without scripts"}: ${text}`);
  const wanted = task.status?.[address] ?? 200;
  page.on("console", (m) => {
    const own = wanted !== 200 && m.text().includes(`status of ${wanted}`); // of the page itself
    if (["error", "warning"].includes(m.type()) && !own) told(`console: ${m.text()}`);
  });
  page.on("pageerror", (e) => told(`script: ${e}`));
  page.on("request", (r) => {
    const url = new URL(r.url());
    if (url.origin !== task.base) told(`asks ${url.origin}`);
    else if (r.resourceType() !== "document" && !/^\/(assets\/|favicon\.ico$|live$)/.test(url.pathname)) told(`asks for ${url.pathname}`);
  });
  page.on("dialog", (d) => { told(`dialog: ${d.message()}`); d.dismiss(); });
  const response = await page.goto(task.base + address, { waitUntil: "load" });
  if (response.status() !== wanted) told(`status ${response.status()}, want ${wanted}`);
  const bytes = (await response.body()).length;
  if (bytes > 150 * 1024) told(`${bytes} bytes`);
  // Where scripts are off nothing would tell of it.
  const shift = scripts && await page.evaluate(() => new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => { for (const e of list.getEntries()) sum += e.value; }).observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
  }));
  if (shift > 0.01) told(`what is on it moves while it loads: layout shift ${shift.toFixed(3)}`);
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      looked++;
      const wide = await page.evaluate(() => {
        const root = document.documentElement;
        if (root.scrollWidth <= root.clientWidth) return "";
        const out = [...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1);
        return `${root.scrollWidth} pixels wide: ${out.slice(0, 3).map((e) => e.outerHTML.slice(0, 80)).join(" | ")}`;
      });
      if (wide) told(`at ${width}: ${wide}`);
      if (task.shots && scripts) {
        await page.screenshot({ path: path.join(task.shots, `${name(address)}-${width}-${colorScheme}.png`), fullPage: true });
      }
      // What axe looks at depends on colours and on what is shown at a width.
      const rules = { [`${widths[0]} dark`]: changing, [`${widths.at(-1)} light`]: whole }[`${width} ${colorScheme}`];
      if (scripts && rules) {
        if (!(await page.evaluate("typeof axe === 'object'"))) await page.evaluate(axe);
        const { violations } = await page.evaluate((runOnly) => axe.run({ runOnly, resultTypes: ["violations"], preload: false }), rules);
        for (const v of violations) told(`at ${width}, ${colorScheme}: axe ${v.id} (${v.help}): ${v.nodes.slice(0, 2).map((n) => n.html.slice(0, 120)).join(" | ")}`);
      }
    }
  }
  for (const href of await page.evaluate(() => [...document.querySelectorAll("a[href], link[href], form[action]")].map((e) => e.href?.baseVal ?? e.href ?? e.action))) {
    const url = new URL(href, task.base); // of drawings as it is written
    url.hash = "";
    if (url.origin === task.base) links.set(url.href, links.get(url.href) ?? address);
    else if (!["mailto:", "https:", "http:", "nostr:"].includes(url.protocol)) told(`links to ${href.slice(0, 80)}`);
  }
  await page.goto("about:blank"); // ends what it follows
  page.removeAllListeners();
}

// use does what visitors do: with the keyboard, with the choice of colours when
// there are no scripts, with tables when there are.
async function use(browser) {
  const told = (text) => problems.push(`in use: ${text}`);
  const quiet = await browser.newContext({ javaScriptEnabled: false, colorScheme: "light" });
  const plain = await quiet.newPage();
  await plain.goto(task.base + "/relays?state=up");
  await plain.keyboard.press("Tab");
  if ((await plain.locator(".skip:focus").count()) !== 1) told("the first key does not lead to the skip link");
  for (const choice of ["dark", "light"]) {
    await plain.locator(`.theme button[value=${choice}]`).click();
    await plain.waitForURL(task.base + "/relays?state=up");
    const scheme = await plain.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
    if (scheme !== choice) told(`after the choice of ${choice} the page is ${scheme}`);
  }
  await plain.locator("#q").fill("no such relay");
  await plain.keyboard.press("Enter");
  await plain.waitForURL(/\/relays\?text=no\+such\+relay$/);
  await quiet.close();

  const context = await browser.newContext();
  const page = await context.newPage();
  const stream = page.waitForResponse(task.base + "/live");
  await page.goto(task.base + "/");
  if ((await (await stream).headerValue("content-type")) !== "text/event-stream") told("no live values");
  const heads = page.locator("table.sortable th button");
  const column = (await heads.allTextContents()).indexOf("Events");
  const cells = () => page.locator(`table.sortable tbody tr td:nth-child(${column + 1})`).allTextContents();
  const numbers = (texts) => texts.map((text) => Number(text.replaceAll(",", "")));
  await heads.nth(column).click();
  await heads.nth(column).click();
  const sorted = numbers(await cells());
  if (sorted.length < 2 || sorted.some((n, i) => i > 0 && n < sorted[i - 1])) told(`sorted by events: ${sorted}`);
  if ((await page.locator("th[aria-sort=ascending]").count()) !== 1) told("the sorted column does not say so");
  await context.close();
}

// picture makes the pictures of the documentation.
async function picture(browser) {
  for (const { page: address, file, width, height, colorScheme } of task.pictures ?? []) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme });
    const page = await context.newPage();
    await page.goto(task.base + address);
    await page.screenshot({ path: file });
    await context.close();
  }
}

// follow asks for what pages link to, once each.
async function follow(browser) {
  const context = await browser.newContext();
  for (const [href, from] of [...links].slice(0, task.links ?? 150)) {
    const response = await context.request.get(href, { maxRedirects: 0 });
    const { pathname, search } = new URL(href);
    const form = /\/(theme|recheck)$/.test(pathname); // wants to be sent
    if (response.status() > 399 && !form && response.status() !== task.status?.[pathname + search]) problems.push(`${from}: the link to ${href} has status ${response.status()}`);
    await response.dispose();
  }
  await context.close();
}

async function main() {
  if (task.shots) fs.mkdirSync(task.shots, { recursive: true });
  const browser = await chromium.launch({
    executablePath: task.chromium, // a Debian package
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
  });
  try {
    const hand = async (scripts) => {
      const context = await browser.newContext({ javaScriptEnabled: scripts, reducedMotion: "reduce" });
      const page = await context.newPage();
      const work = scripts ? withScripts : without;
      for (let next = work.shift(); next; next = work.shift()) {
        await page.setViewportSize({ width: widths[0], height: 900 });
        await look(page, next, scripts);
      }
      await context.close();
    };
    const withScripts = [...task.pages], without = [...task.pages];
    await Promise.all([hand(true), hand(true), hand(false)]);
    if (task.use) await use(browser);
    await follow(browser);
    await picture(browser);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify({ problems, looked, links: links.size }, null, 1));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
