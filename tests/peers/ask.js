// As corpus.py's `ask`, with Node's https. usage: ask.js HOST PORT < CASES
const https = require("https");
const [host, port] = process.argv.slice(2);
const one = (method, path) => new Promise((done) => {
  const q = https.request({ host, port, method, path, agent: false, timeout: 30000 }, (r) => {
    let body = "";
    r.setEncoding("latin1");
    r.on("data", (d) => { body += d; });
    r.on("end", () => done(r.complete ? [r.statusCode, body.length, body.slice(0, 200)] : [0, 0, "incomplete"]));
    r.on("error", (e) => done([0, 0, e.code]));
    r.on("aborted", () => done([0, 0, "aborted"]));
  });
  q.on("error", (e) => done([0, 0, e.code]));
  q.end();
});
let text = "";
process.stdin.on("data", (d) => { text += d; }).on("end", async () => {
  const out = [];
  for (const [method, path] of JSON.parse(text)) out.push([...await one(method, path), (await one("GET", "/ok" + path))[2]]);
  console.log(JSON.stringify(out));
});
