/**
 * Who used the processors, as Linux counts it: a process with its main thread and its ledger's writer, and the whole machine with what a hypervisor
 * took away. Elsewhere there is nothing to read, and the figures are null.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** ms of CPU since the process began. */
export interface ProcessCpu {
  readonly total: number;
  readonly main: number;
  /** Null where the process has none. */
  readonly writer: number | null;
}
/** ms of CPU of all cores since the machine began. */
export interface MachineCpu {
  readonly busy: number;
  readonly steal: number;
}

/** One tick of /proc is a hundredth of a second on every Linux that Node runs on. */
const tickMs = 10;
const writerThread = 'ledger-writer';

export function processCpu(pid: number): ProcessCpu | null {
  try {
    const threads = readdirSync(`/proc/${pid}/task`).map((tid) => threadOf(pid, tid));
    return {
      total: ticksIn(readFileSync(`/proc/${pid}/stat`, 'latin1')) * tickMs,
      main: threads.find(({ tid }) => tid === String(pid))?.ms ?? 0,
      writer: threads.find(({ name }) => name === writerThread)?.ms ?? null,
    };
  } catch {
    return null;
  }
}

function threadOf(pid: number, tid: string): { tid: string; name: string; ms: number } {
  const at = `/proc/${pid}/task/${tid}`;
  return {
    tid,
    name: readFileSync(`${at}/comm`, 'latin1').trim(),
    ms: ticksIn(readFileSync(`${at}/stat`, 'latin1')) * tickMs,
  };
}

/** User and system time; the name before them may hold anything, so they are counted from its closing bracket. */
function ticksIn(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

export function machineCpu(): MachineCpu | null {
  try {
    const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n');
    const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = line
      .split(/\s+/)
      .slice(1)
      .map(Number);
    return { busy: (user + nice + system + irq + softIrq) * tickMs, steal: steal * tickMs };
  } catch {
    return null;
  }
}
