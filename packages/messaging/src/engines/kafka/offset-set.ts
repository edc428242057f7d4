/**
 * Offsets as a text: runs of numbers (`3.2` is 3 and 4), each from the end of the last one; or a bitmap when that is shorter. It is collected as
 * runs too, because what a subscription has settled or out lies side by side.
 */
export class Runs {
  /** First ones and lengths, in turn. */
  readonly #runs: number[] = [];
  #end = Number.NaN;
  size = 0;

  /** In ascending order. */
  add(offset: number): void {
    this.size += 1;
    if (offset === this.#end) (this.#runs[this.#runs.length - 1] as number) += 1;
    else this.#runs.push(offset, 1);
    this.#end = offset + 1;
  }

  textFrom(base: number): string {
    if (this.size === 0) return '';
    let text = '';
    let end = base;
    for (let at = 0; at < this.#runs.length; at += 2) {
      const first = this.#runs[at] as number;
      const length = this.#runs[at + 1] as number;
      const gap = (first - end).toString(36);
      text += `${at === 0 ? '' : ','}${gap}${length === 1 ? '' : `.${length.toString(36)}`}`;
      end = first + length;
    }
    const span = end - base;
    return text.length <= Math.ceil(span / 6) ? text : this.#bitmap(base, span);
  }

  #bitmap(base: number, span: number): string {
    const bits = Buffer.alloc(Math.ceil(span / 8));
    for (let at = 0; at < this.#runs.length; at += 2) {
      const first = (this.#runs[at] as number) - base;
      const end = first + (this.#runs[at + 1] as number);
      for (let bit = first; bit < end; bit += 1)
        bits[bit >> 3] = (bits[bit >> 3] as number) | (1 << (bit & 7));
    }
    return `~${bits.toString('base64')}`;
  }
}

export function encodeSet(offsets: Iterable<number>, base: number): string {
  const runs = new Runs();
  for (const offset of [...offsets].sort((a, b) => a - b)) runs.add(offset);
  return runs.textFrom(base);
}

/** As much of an encoded set as fits, from its beginning. */
export function clip(text: string, limit: number): string {
  if (text.length <= limit) return text;
  // Four signs of a bitmap are three whole bytes.
  if (text.startsWith('~')) return text.slice(0, 1 + Math.floor((limit - 1) / 4) * 4);
  return text.slice(0, text.lastIndexOf(',', limit));
}

export function decodeSet(text: string, base: number): readonly number[] {
  if (text === '') return [];
  const offsets: number[] = [];
  if (text.startsWith('~')) {
    const bits = Buffer.from(text.slice(1), 'base64');
    for (let bit = 0; bit < bits.length * 8; bit += 1)
      if ((bits[bit >> 3] as number) & (1 << (bit & 7))) offsets.push(base + bit);
    return offsets;
  }
  let end = base;
  for (const run of text.split(',')) {
    const [gap = '0', length = '1'] = run.split('.');
    const first = end + Number.parseInt(gap, 36);
    end = first + Number.parseInt(length, 36);
    for (let offset = first; offset < end; offset += 1) offsets.push(offset);
  }
  return offsets;
}
