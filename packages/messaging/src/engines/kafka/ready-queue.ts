/** First in, first out, with a door at the front for what is given back. An array whose front is a number: taking each from the front would move the rest. */
const TAKEN_PLACES = 256;

export class ReadyQueue<E> {
  #items: (E | undefined)[] = [];
  #next = 0;

  get length(): number {
    return this.#items.length - this.#next;
  }

  get first(): E | undefined {
    return this.#items[this.#next];
  }

  push(item: E): void {
    this.#items.push(item);
  }

  unshift(item: E): void {
    if (this.#next > 0) this.#items[--this.#next] = item;
    else this.#items.unshift(item);
  }

  shift(): E | undefined {
    if (this.#next === this.#items.length) return undefined;
    const item = this.#items[this.#next];
    this.#items[this.#next++] = undefined;
    if (this.#next === this.#items.length) {
      this.#items.length = 0;
      this.#next = 0;
    } else if (this.#next >= TAKEN_PLACES) {
      this.#items.splice(0, this.#next);
      this.#next = 0;
    }
    return item;
  }
}
