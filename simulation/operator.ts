/** The operator of a run: commands over the network, by plan or at the worst moment. Whatever becomes of an answer, the command may have been done. */
import type { Book } from './book.ts';
import type { Network } from './crowd.ts';
import type { OperatorAct } from './plan.ts';
import type { Seeded } from './seeded.ts';
import type { ServerProcess } from './server-process.ts';
import { operator, type ShopCampaign } from './shop.ts';
import type { World } from './world.ts';

export class Operator {
  readonly #world: World;
  readonly #book: Book;
  readonly #network: Network;
  #copies = 0;

  constructor(world: World, book: Book, network: Network) {
    this.#world = world;
    this.#book = book;
    this.#network = network;
  }

  async act(campaign: ShopCampaign, act: OperatorAct, random: Seeded): Promise<void> {
    const outcome = await this.#do(campaign, act, random);
    const name = act.act === 'command' ? act.command.type : act.act;
    this.#world.note('operator', campaign.id, name, outcome ?? 'lost');
    if (outcome !== null) this.#world.coverage.see('operator', `${name}: ${outcome}`);
  }

  /** Null: no answer. */
  async #do(campaign: ShopCampaign, act: OperatorAct, random: Seeded): Promise<string | null> {
    const { id } = campaign;
    const ask: Ask = (call) => this.#network.ask(random, call);
    switch (act.act) {
      case 'command': {
        const done = await ask((server) =>
          server.call(() => server.ledger.campaigns.command(id, act.command, operator)),
        );
        if (done === null) return null;
        if (done.ok) return 'ok';
        return done.code === 'rejected' ? done.rejection.code : done.code;
      }
      case 'retry':
      case 'resend': {
        this.#book.resend(id);
        const filter = { state: act.act === 'retry' ? 'parked' : 'delivered' } as const;
        const batch = await ask((server) =>
          server.call(() => server.ledger.deliveries.startBatch(id, filter, act.act === 'resend', operator)),
        );
        return batch === null ? null : 'ok';
      }
      case 'ban':
      case 'unban': {
        const { memberKey } = act.member;
        const banned = act.act === 'ban';
        this.#book.ban(id, memberKey, banned);
        const done = await ask((server) =>
          server.call(async () => {
            await server.ledger.admission.setBan(id, memberKey, banned, operator);
            return true;
          }),
        );
        if (done !== null && banned) this.#book.banConfirmed(id, memberKey, this.#world.now);
        return done === null ? null : 'ok';
      }
      case 'erase':
        return this.#erase(id, act.member.memberKey, ask);
      case 'copy':
        return this.#copy(campaign, ask);
    }
  }

  async #erase(id: string, memberKey: string, ask: Ask): Promise<string | null> {
    this.#book.eraseAsked(id, memberKey);
    const done = await ask((server) =>
      server.call(() => server.ledger.evidence.erase(id, memberKey, operator)),
    );
    if (done === true) this.#book.erased(id, memberKey, this.#world.now);
    return done === null ? null : done ? 'ok' : 'unknown';
  }

  /** A second campaign from the first one's definition, published at once, while the first one runs. */
  async #copy({ id, definition }: ShopCampaign, ask: Ask): Promise<string | null> {
    this.#copies += 1;
    const copy = `${id}-copy-${this.#copies}`;
    const made = await ask((server) =>
      server.call(() => server.ledger.campaigns.create(copy, definition, operator)),
    );
    if (made === null) return null;
    if (!made.ok) return made.code;
    const published = await ask((server) =>
      server.call(() => server.ledger.campaigns.publish(copy, operator)),
    );
    return published === null ? null : published.ok ? 'ok' : published.code;
  }
}

type Ask = <T>(call: (server: ServerProcess) => Promise<T>) => Promise<T | null>;
