// node speedscope.js PROFILE: has speedscope itself import a file, and reads what it shows: every profile in it with its
// functions (own and total time as text), and whether the file keeps to the schema that speedscope publishes.
"use strict";
const browse = require("./browser.js");
const fs = require("fs");
const os = require("os");
const path = require("path");

const file = path.resolve(process.argv[2]);
const release = path.join(path.dirname(require.resolve("speedscope/package.json")), "dist/release");

// As much of JSON Schema as speedscope's own uses.
function violations(schema, value, root, at) {
  if (schema.$ref) schema = schema.$ref.split("/").slice(1).reduce((from, key) => from[key], root);
  if (schema.anyOf) {
    const all = schema.anyOf.map((one) => violations(one, value, root, at));
    return all.some((wrong) => wrong.length === 0) ? [] : all[all.length - 1];
  }
  const kind = Array.isArray(value) ? "array" : typeof value;
  if (schema.type && schema.type !== kind) return [`${at}: ${kind}, not ${schema.type}`];
  if ("const" in schema && schema.const !== value) return [`${at}: not ${schema.const}`];
  if (schema.enum && !schema.enum.includes(value)) return [`${at}: not one of ${schema.enum}`];
  const wrong = [];
  if (kind === "object") {
    for (const key of schema.required || []) if (!(key in value)) wrong.push(`${at}: no ${key}`);
    for (const [key, part] of Object.entries(schema.properties || {})) {
      if (key in value) wrong.push(...violations(part, value[key], root, `${at}.${key}`));
    }
  }
  if (kind === "array" && schema.items) {
    value.forEach((item, index) => wrong.push(...violations(schema.items, item, root, `${at}[${index}]`)));
  }
  return wrong;
}

browse(async (page) => {
  const schema = JSON.parse(fs.readFileSync(path.join(release, "file-format-schema.json"), "utf8"));
  let invalid = [];
  if (file.endsWith(".json")) invalid = violations(schema, JSON.parse(fs.readFileSync(file, "utf8")), schema, "file").slice(0, 5);
  // As speedscope's own command line does it.
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "pyprof-speedscope-"));
  const script = path.join(scratch, "profile.js");
  const base64 = fs.readFileSync(file).toString("base64");
  const call = [path.basename(file), base64].map((argument) => JSON.stringify(argument)).join();
  fs.writeFileSync(script, `speedscope.loadFileFromBase64(${call})`);
  await page.goto("file://" + path.join(release, "index.html") + "#localProfilePath=" + script);
  await page.getByText("Sandwich").first().click();
  const table = page.locator("table").last();
  await table.locator("td").first().waitFor();
  // The name stands above, with its number where there are several: `NAME (2/3)`.
  const number = page.getByText(/^\(\d+\/\d+\)$/).first();
  const above = async () => ((await number.count()) ? number.evaluate((text) => text.parentElement.innerText) : page.title());
  const turn = async (key) => {
    const before = await above();
    await page.keyboard.press(key);
    for (let wait = 0; wait < 5 && (await above()) === before; wait++) await page.waitForTimeout(20);
    return (await above()) !== before;
  };
  // It opens one of them; they are read from the first.
  const [title, opened] = [await page.title(), await above()];
  while (await turn("p"));
  const profiles = [];
  do {
    // Total, self, name, file.
    const rows = await table.locator("tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim()).concat(row.cells[2].title)));
    profiles.push({ name: await above(), rows });
    if (process.env.SHOT) await page.screenshot({ path: `${process.env.SHOT}-${profiles.length}.png` });
  } while (await turn("n"));
  fs.rmSync(scratch, { recursive: true });
  return { invalid, title, opened, profiles };
});
