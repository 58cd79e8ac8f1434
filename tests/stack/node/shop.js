// The shop's pages: data from the API, invoices rendered by a worker thread.
"use strict";

const http = require("http");
const path = require("path");
const { Worker } = require("worker_threads");
const express = require("express");
const search = require("./search");

const API = process.env.API || "http://127.0.0.1:28080";
const PORT = Number(process.env.PORT || 28081);

const agent = new http.Agent({ keepAlive: true });
const app = express();
const worker = new Worker(path.join(__dirname, "invoice.js"));
const waiting = new Map();
let last = 0;

worker.on("message", ({ id, html }) => {
  waiting.get(id)(html);
  waiting.delete(id);
});

function invoice(orders) {
  last += 1;
  worker.postMessage({ id: last, orders });
  return new Promise((resolve) => waiting.set(last, resolve));
}

function fromApi(url) {
  return new Promise((resolve, reject) => {
    http
      .get(API + url, { agent }, (answer) => {
        const parts = [];
        answer.on("data", (part) => parts.push(part));
        answer.on("end", () => resolve(JSON.parse(Buffer.concat(parts))));
        answer.on("error", reject);
      })
      .on("error", reject);
  });
}

function page(title, body) {
  return `<!doctype html><title>${title}</title><h1>${title}</h1>${body}`;
}

app.get("/", async (request, response, next) => {
  try {
    const liked = await fromApi("/recommendations");
    response.send(page("Shop", `<ul>${liked.map((id) => `<li>Product ${id}</li>`).join("")}</ul>`));
  } catch (error) {
    next(error);
  }
});

app.get("/invoice", async (request, response, next) => {
  try {
    const orders = await fromApi("/customers/orders?customer=7");
    response.send(page("Invoice", await invoice(orders)));
  } catch (error) {
    next(error);
  }
});

app.get("/similar", async (request, response, next) => {
  try {
    const products = await search.similar(Number(request.query.product) || 1);
    response.send(page("Similar", `<ul>${products.map((it) => `<li>${it.payload.name}</li>`).join("")}</ul>`));
  } catch (error) {
    next(error);
  }
});

app.listen(PORT, "127.0.0.1");
