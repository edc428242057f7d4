/** A process that shares a file and does nothing else: what a test kills when it kills the host. Argument: the path. Tells `ready` when it can be used. */
import { systemClock } from '../../clock.ts';
import { createEmbeddedEngine } from './engine.ts';

const [path = ''] = process.argv.slice(2);
const engine = createEmbeddedEngine({ path, share: true });
await engine.connect({
  clock: systemClock,
  onFatal: (error) => {
    throw error;
  },
});
process.stdout.write('ready\n');
