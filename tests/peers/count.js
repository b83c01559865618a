// Node's https server; one JSON line for each request that was complete. usage: count.js FILE PORT CERT KEY
const fs = require("fs"), https = require("https");
const [file, port, cert, key] = process.argv.slice(2);
const server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), keepAliveTimeout: 60000 }, (q, r) => {
  let length = 0;
  q.on("data", (d) => { length += d.length; });
  q.on("end", () => {
    if (!q.complete) return;
    fs.appendFileSync(file, JSON.stringify([q.method, q.url, length]) + "\n");
    r.writeHead(200, { "Content-Length": 3 });
    r.end("ok\n");
  });
  q.on("error", () => {});
});
server.on("clientError", (e, s) => s.destroy());
server.listen(port, "0.0.0.0", () => console.log("ready"));
