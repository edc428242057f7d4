/**
 * Options over their defaults. An option that is there as `undefined` counts as not given, as it does in a parameter with a default: a spread would let
 * `{ sweepMs: config.sweepMs }` wipe the default with it, and what was to happen every second would happen at once, or never.
 */

type OptionalKey<O> = { [K in keyof O]-?: Partial<Pick<O, K>> extends Pick<O, K> ? K : never }[keyof O];

/** A value for every option that may be left out. */
export type DefaultsOf<O> = Required<Pick<O, OptionalKey<O>>>;

export function withDefaults<O extends object>(
  options: O,
  defaults: NoInfer<DefaultsOf<O>>,
): O & DefaultsOf<O> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) } as O & DefaultsOf<O>;
}
