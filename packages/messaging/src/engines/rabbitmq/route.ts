// A file of its own because the options name it: their published types must not need those of amqplib.

/** Messages of an exchange that others publish to, led into a channel. */
export interface Route {
  readonly channel: string;
  readonly exchange: string;
  readonly type: 'direct' | 'fanout' | 'topic' | 'headers';
  /** Binding key; ignored by `fanout` and `headers`. */
  readonly pattern?: string;
  /** Arguments of a `headers` binding, for instance `{ 'x-match': 'all', region: 'north' }`. */
  readonly arguments?: Readonly<Record<string, string>>;
}
