/** A store of sagas with something of it done otherwise: for planted defects, and for what a test has to hold up. */
import type { SagaStore } from '../sagas/saga-store.ts';

export function changedStore(store: SagaStore, change: Partial<SagaStore>): SagaStore {
  return {
    emits: store.emits,
    prepare: () => store.prepare(),
    create: (record) => store.create(record),
    load: (saga, key) => store.load(saga, key),
    save: (record, changes) => store.save(record, changes),
    due: (saga, now, limit) => store.due(saga, now, limit),
    deliver: (saga, key, mail, now) => store.deliver(saga, key, mail, now),
    mail: (saga, key) => store.mail(saga, key),
    purge: (saga, purge) => store.purge(saga, purge),
    list: (saga, filter, limit) => store.list(saga, filter, limit),
    ...change,
  };
}
