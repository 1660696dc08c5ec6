// node flamegraph.js PAGE [SCREENSHOTS]: uses a flame graph as a person would, and says what it answered.
"use strict";
const browse = require("./browser.js");
const path = require("path");

const [file, shots] = process.argv.slice(2);

browse(async (page) => {
  const started = Date.now();
  await page.goto("file://" + path.resolve(file));
  const painted = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await painted();
  const shot = (name) => shots && page.screenshot({ path: `${shots}/${name}.png` });
  const text = (id) => page.locator("#" + id).innerText();
  // Own, total, name, place.
  const table = () => page.locator("#rows tr").evaluateAll((rows) => rows.map((row) => {
    const [own, total, name, where] = row.cells;
    return [Number(own.dataset.weight), Number(total.dataset.weight), name.innerText, where.innerText];
  }));
  const canvas = page.locator("#graph");
  const box = await canvas.boundingBox();
  const hover = async (x, row) => {
    await page.mouse.move(box.x + x, box.y + 18 * row + 9);
    return (await page.locator("#tip").isVisible()) ? page.locator("#tip").innerText() : null;
  };
  const said = { load_ms: Date.now() - started, title: await text("title"), about: await text("about") };
  said.tab = await page.title();
  said.table = await table();
  said.comments = await page.locator("#comments li").allTextContents();
  said.aria = await page.locator("body").ariaSnapshot();
  await page.locator("#bytotal").click();
  said.by_total = (await table()).slice(0, 3);
  await page.locator("#byown").click();
  await shot("whole");

  // By mouse: the widest frame of each row, then zoom into the third, then out.
  said.hover = [];
  for (let row = 0; row < 6; row++) said.hover.push(await hover(5, row));
  await page.mouse.click(box.x + 5, box.y + 18 * 2 + 9);
  await painted();
  said.clicked = await text("frame");
  said.below_clicked = await hover(1100, 2);
  await shot("zoomed");
  await page.locator("#reset").click();
  said.reset = await text("frame");

  // By keyboard.
  await canvas.focus();
  said.keys = [];
  for (const key of ["ArrowDown", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Enter", "Escape", "Home"]) {
    await page.keyboard.press(key);
    await painted();
    said.keys.push([key, await text("frame")]);
  }
  await shot("focused");

  // Search, as a regular expression, and a broken one.
  await page.keyboard.press("/");
  const search = page.locator("#search");
  said.search_focused = await search.evaluate((input) => input === document.activeElement);
  said.search = {};
  for (const pattern of (process.env.PATTERNS || "alpha").split(" ")) {
    await search.fill(pattern);
    await page.waitForTimeout(200);
    await painted();
    said.search[pattern] = await text("found");
  }
  await search.press("Enter");
  said.hit = await text("frame");
  await shot("searched");
  await search.fill("(");
  await page.waitForTimeout(200);
  said.broken = [await text("found"), await search.getAttribute("aria-invalid")];
  await search.fill("");
  await page.waitForTimeout(200);

  // Filters.
  const choose = async (id, value) => {
    const started = Date.now();
    // With one process there is nothing to choose.
    if (await page.locator("#" + id).isDisabled()) return 0;
    await page.locator("#" + id).selectOption(value);
    await painted();
    return Date.now() - started;
  };
  const options = (id) => page.locator(`#${id} option:not([disabled])`).evaluateAll((all) => all.slice(1).map((one) => [one.value, one.text]));
  said.processes = {};
  for (const [value, name] of (await options("process")).slice(0, 20)) {
    await choose("process", value);
    said.processes[name] = await table();
  }
  await choose("process", "-1");
  said.threads = {};
  for (const [value, name] of (await options("thread")).slice(0, 20)) {
    await choose("thread", value);
    said.threads[name] = await table();
  }
  await shot("thread");
  await choose("thread", "-1");
  await choose("by", "line");
  said.lines = await table();
  await shot("lines");
  await choose("by", "function");
  const inverting = Date.now();
  await page.locator("#inverted").check();
  await painted();
  said.invert_ms = Date.now() - inverting;
  said.inverted = [];
  for (let row = 0; row < 3; row++) said.inverted.push(await hover(5, row));
  said.inverted_table = await table();
  await shot("inverted");
  await page.locator("#inverted").uncheck();
  await choose("roots", "none");
  said.together = [];
  for (let row = 0; row < 3; row++) said.together.push(await hover(5, row));
  await page.emulateMedia({ colorScheme: "dark" });
  await painted();
  await shot("dark");
  return said;
});
