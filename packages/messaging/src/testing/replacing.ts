/** Mistakes planted into what all of a process share: a method of a class, with another one in its place. */

/** Puts another method in the place of one; returns what puts it back. */
export type Plant = () => () => void;

/** The other one is made of the one that was there. */
export function replacing<T extends object, Name extends keyof T>(
  owner: T,
  name: Name,
  make: (was: T[Name]) => T[Name],
): Plant {
  return () => {
    const was = owner[name];
    owner[name] = make(was);
    return () => void (owner[name] = was);
  };
}

/** Runs with the mistake, and without it afterwards. */
export async function planted(plant: Plant, run: () => Promise<void>): Promise<void> {
  const putBack = plant();
  try {
    await run();
  } finally {
    putBack();
  }
}
