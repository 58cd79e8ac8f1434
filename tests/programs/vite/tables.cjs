const table = Array.from({ length: 256 }, (_, index) => (index * 40503) >>> 4);

exports.length = table.length;
exports.lookUp = (index) => table[index];
