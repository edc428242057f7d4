/** Parts of a plan by their numbers, as `--keep` takes and a report prints them. */

/** `3,9-12`: the parts of a plan by their numbers. Null when it cannot be read. */
export function readParts(text: string): ReadonlySet<number> | null {
  const parts = new Set<number>();
  for (const piece of text.split(',')) {
    const range = /^(\d+)(?:-(\d+))?$/.exec(piece.trim());
    if (range === null) return null;
    const from = Number(range[1]);
    for (let id = from; id <= Number(range[2] ?? from); id += 1) parts.add(id);
  }
  return parts;
}

export function writeParts(ids: Iterable<number>): string {
  const sorted = [...ids].sort((a, b) => a - b);
  const pieces: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let end = i;
    while (sorted[end + 1] === (sorted[end] as number) + 1) end += 1;
    pieces.push(end === i ? `${sorted[i]}` : `${sorted[i]}-${sorted[end]}`);
    i = end + 1;
  }
  return pieces.join(',');
}
