// Who reads what in the rows of the picture, the input first. Rows have `length` and `reads`.

// From one dot: the positions of every row that it reads, those that read it, and the pairs.
export function cone(rows, place, from) {
  const down = rows.map(() => new Map()), up = rows.map(() => new Set()), pairs = [];
  down[place].set(from, 1);
  up[place].add(from);
  for (let row = place; row > 0; row--) {
    for (const [one, paths] of down[row]) for (const read of rows[row].reads[one]) {
      down[row - 1].set(read, (down[row - 1].get(read) || 0) + paths);
      pairs.push([row, one, read]);
    }
  }
  const ups = [];
  for (let row = place + 1; row < rows.length; row++) {
    rows[row].reads.forEach((reads, one) => {
      for (const read of reads) if (up[row - 1].has(read)) { up[row].add(one); ups.push([row, one, read]); }
    });
  }
  return { down, up, pairs, ups };
}

// The one window of each layer that the middle of the cone passes through.
export function windows(rows, layers, place, from) {
  const found = [];
  let here = from;
  for (let row = place; row > 0; row--) {
    const layer = layers[row - 1], reads = rows[row].reads[here];
    const flipped = layer.kind === "tconv" || layer.kind === "up";
    const middle = reads.length ? reads[Math.floor(reads.length / 2)] : Math.min(here, rows[row - 1].length - 1);
    found[row] = flipped ? turned(rows, row, middle) : straight(rows, row, here);
    here = middle;
  }
  return found;
}

const mean = (list) => (list[0] + list[list.length - 1]) / 2;

// A window on the row below; `second` is that of the next output.
function straight(rows, row, here) {
  const reads = rows[row].reads[here];
  const next = here + 1 < rows[row].length ? rows[row].reads[here + 1] : [];
  return { row, on: row - 1, owner: row, here, taps: reads, middle: reads.length ? mean(reads) : here, second: next };
}

// A window on the row above, as transposed layers have it: the outputs that one input makes.
function turned(rows, row, here) {
  const readers = (one) => rows[row].reads.flatMap((reads, at) => reads.includes(one) ? [at] : []);
  const taps = readers(here), second = here + 1 < rows[row - 1].length ? readers(here + 1) : [];
  return { row, on: row, owner: row - 1, here, taps, middle: taps.length ? mean(taps) : here, second };
}
