// As projects have one: a plugin of their own that looks at every module, and
// what they build besides.
function functionNames() {
  const names = [];

  function walk(node) {
    if (node === null || typeof node !== "object") return;
    if (node.type === "FunctionDeclaration") names.push(node.id?.name);
    for (const key in node) walk(node[key]);
  }

  return {
    name: "function-names",
    transform(code, id) {
      if (/\.[jt]s$/.test(id)) walk(this.parse(code));
      return null;
    },
    generateBundle() {
      const source = JSON.stringify(names);
      this.emitFile({ type: "asset", fileName: "functions.json", source });
    },
  };
}

export default {
  logLevel: "warn",
  plugins: [functionNames()],
  define: { __BUILT_FOR__: JSON.stringify("tests") },
  build: {
    sourcemap: true,
    commonjsOptions: { include: [/\.cjs$/] },
  },
};
