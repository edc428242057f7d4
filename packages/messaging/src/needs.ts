/**
 * What a channel needs of its engine, as types: an engine whose type says that it lacks something gives a bus on which such a channel does not
 * compile. Only what an engine lacks whatever its server is said so; what depends on version and settings is asked at the start (`requirements.ts`),
 * and so is everything of an engine that is known as a plain `Engine`.
 */
import type { Channel } from './channel.ts';
import type { Engine } from './engine.ts';

/** What an engine may lack for good. `confirm`: any durability of a publish. */
export type Feature =
  | 'confirm'
  | 'order'
  | 'delay'
  | 'priority'
  | 'ttl'
  | 'replay'
  | 'routing'
  | 'broadcast'
  | 'deadLetters';

/** Never there at run time: it carries the type alone. */
declare const lacking: unique symbol;

/** An engine of which it is known, before it is connected, that it has none of these. */
export type EngineLacking<Lacks extends Feature> = Engine & { readonly [lacking]?: Lacks };

type Definition<C extends Channel> = C['definition'];
type Asked<C extends Channel> = Definition<C> extends { readonly requires: infer R } ? R : unknown;

type ByName<R> = {
  [F in Exclude<Feature, 'confirm' | 'order'>]: R extends { readonly [K in F]: object | string | true }
    ? F
    : never;
}[Exclude<Feature, 'confirm' | 'order'>];

/** What this channel asks for, as far as its type tells; a channel that is known as a plain `Channel` tells nothing. */
export type FeaturesOf<C extends Channel> =
  | (Definition<C> extends { readonly order: 'key' } ? 'order' : never)
  | (Asked<C> extends { readonly confirm: 'memory' | 'disk' | 'replicated' } ? 'confirm' : never)
  | ByName<Asked<C>>;

/** Adds nothing where all of it is there, and what no channel has where something is not: the name of the property says what. */
type Fit<C, Lacks extends Feature> = C extends Channel
  ? [FeaturesOf<C> & Lacks] extends [never]
    ? unknown
    : { readonly 'the engine has no': FeaturesOf<C> & Lacks }
  : unknown;

export type Fitting<C extends readonly Channel[], Lacks extends Feature> = {
  readonly [Index in keyof C]: Fit<C[Index], Lacks>;
};
