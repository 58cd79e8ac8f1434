// Products that are like another, from Qdrant.
"use strict";

const QDRANT = process.env.QDRANT || "http://127.0.0.1:26333";
const PRODUCTS = 1000;
const DIMENSIONS = 32;
const LIKE = 10;

async function ask(method, path, body) {
  const answer = await fetch(QDRANT + path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) {
    throw new Error(`Qdrant: ${method} ${path}: ${answer.status} ${await answer.text()}`);
  }
  return (await answer.json()).result;
}

/** The same for the same product, always. */
function embedding(product) {
  return Array.from({ length: DIMENSIONS }, (_, at) => Math.sin(product * (at + 1) * 0.37));
}

async function fill() {
  await ask("PUT", "/collections/products", { vectors: { size: DIMENSIONS, distance: "Cosine" } });
  const points = Array.from({ length: PRODUCTS }, (_, at) => ({
    id: at + 1,
    vector: embedding(at + 1),
    payload: { name: `Product ${at + 1}` },
  }));
  await ask("PUT", "/collections/products/points?wait=true", { points });
}

let filled;

/** The products that are most like one. */
async function similar(product) {
  filled ??= fill();
  try {
    await filled;
  } catch (error) {
    filled = undefined;
    throw error;
  }
  const found = await ask("POST", "/collections/products/points/query", {
    query: embedding(product),
    limit: LIKE,
    with_payload: true,
  });
  return found.points;
}

module.exports = { similar };
