// Stands for a carrier's service, somewhere else and slow.
"use strict";

const http = require("http");

const PORT = Number(process.env.PORT || 28083);
const DELAY_MS = 80;

http
  .createServer((request, response) => {
    const grams = Number(new URL(request.url, "http://carrier").searchParams.get("grams"));
    setTimeout(() => {
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ cents: 490 + Math.ceil(grams / 1000) * 100 }));
    }, DELAY_MS);
  })
  .listen(PORT, "127.0.0.1");
