// A headless Chromium for the readers that are pages. Prints one JSON value: what the page says, and what it should not
// have done.
"use strict";
const { chromium } = require("playwright-core");

const BROWSER = process.env.PYPROF_BROWSER || "/usr/bin/chromium";
// A busy machine is no finding.
const PATIENCE_MS = 120000;

module.exports = async function browse(read) {
  const args = ["--no-sandbox", "--disable-gpu"];
  const browser = await chromium.launch({ executablePath: BROWSER, args, timeout: PATIENCE_MS });
  try {
    const page = await browser.newPage({ viewport: { width: 1200, height: 800 } });
    page.setDefaultTimeout(PATIENCE_MS);
    const wrong = [];
    page.on("pageerror", (error) => wrong.push("error: " + error.message));
    page.on("console", (message) => {
      if (message.type() === "error") wrong.push("console: " + message.text());
    });
    page.on("dialog", (dialog) => {
      wrong.push("dialog: " + dialog.message());
      dialog.dismiss();
    });
    page.on("request", (request) => {
      if (!/^(file|data|blob):/.test(request.url())) wrong.push("network: " + request.url());
    });
    const said = await read(page);
    console.log(JSON.stringify({ ...said, wrong }));
  } finally {
    await browser.close();
  }
};
