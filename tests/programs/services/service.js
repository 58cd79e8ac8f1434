// A service with a template and some work, as people write them.
"use strict";

const express = require("express");

const app = express();

class Catalogue {
  constructor(size) {
    this.items = Array.from({ length: size }, (_, id) => ({ id, name: `item ${id}`, price: (id * 37) % 101 }));
  }

  cheapest(count) {
    return [...this.items].sort((a, b) => a.price - b.price).slice(0, count);
  }
}

const catalogue = new Catalogue(400);

function render(items) {
  return items.map((item) => `<li>${item.name}: ${item.price}</li>`).join("");
}

app.get("/", async (request, response) => {
  await null;
  response.send(`<ul>${render(catalogue.cheapest(100))}</ul>`);
});

app.listen(18083, "127.0.0.1");
