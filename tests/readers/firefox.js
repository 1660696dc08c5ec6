// node firefox.js PROFILE: has Mozilla's profiler-cli, which is the Firefox Profiler without its pages, load a file; says
// what is in it by thread: functions with their own and total milliseconds.
"use strict";
const { execFileSync, spawn } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");

// For one start of it.
const WAIT_MS = 12000;
const MOST_STARTS = 5;
const file = path.resolve(process.argv[2]);
const home = fs.mkdtempSync(path.join(os.tmpdir(), "pyprof-firefox-"));
const env = { ...process.env, HOME: home, PROFILER_CLI_SESSION_DIR: home, PROFILER_CLI_NO_SYMBOLICATE: "1" };
const cli = require.resolve("@firefox-devtools/profiler-cli");
const ask = (...args) => JSON.parse(execFileSync(process.execPath, [cli, ...args, "--session", "test", "--json"], {
  env,
  encoding: "utf8",
  maxBuffer: 1 << 28,
  stdio: ["ignore", "pipe", "pipe"],
}));
// It keeps the profile in a process of its own. `load` would start it and wait for half a second only, and leave it behind.
let keeper = null;
function start() {
  keeper = spawn(process.execPath, [cli, "--daemon", file, "--session", "test"], { env, stdio: ["ignore", "ignore", "pipe"] });
  keeper.said = "";
  keeper.stderr.on("data", (data) => { keeper.said = (keeper.said + data).slice(-4000); });
  keeper.over = new Promise((done) => keeper.once("exit", done));
}
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Now and then it ends at its start, or never is there, with nothing wrong about the file: that is the program's own affair.
async function first() {
  let starts = 1;
  for (let until = Date.now() + WAIT_MS; ; ) {
    const isLate = Date.now() > until;
    if (isLate || keeper.exitCode !== null || keeper.signalCode !== null) {
      if (++starts > MOST_STARTS) throw new Error(`it does not start: ${keeper.said}`);
      if (isLate) {
        keeper.kill("SIGKILL");
        await keeper.over;
      }
      start();
      until = Date.now() + WAIT_MS;
    }
    try {
      return ask("profile", "meta");
    } catch (error) {
      if (starts === MOST_STARTS && Date.now() > until) throw error;
      await sleep(200);
    }
  }
}

async function main() {
  try {
    start();
    const meta = await first();
    const { threads } = ask("thread", "list", "--limit", "0");
    for (const thread of threads) {
      const { functions, weightType } = ask("thread", "functions", "--thread", thread.threadHandle, "--limit", "0", "--include-idle");
      thread.weightType = weightType;
      thread.functions = functions.map(({ name, selfSamples, totalSamples }) => [name, selfSamples, totalSamples]);
    }
    console.log(JSON.stringify({ meta, threads }));
  } finally {
    keeper.kill("SIGKILL");
    await keeper.over;
    fs.rmSync(home, { recursive: true, force: true });
  }
}

main();
