// Runs a program in the foreground as if it were this process: same streams, signals passed on, its exit code returned.
// Plain JavaScript on built-ins, because it is read by whatever Node the machine has (20 and later).

import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/**
 * A terminal sends Ctrl-C to the whole foreground group, the child included, so passing SIGINT on as well would make
 * one key press two signals, which a server rightly reads as "do not drain, stop now". Without a terminal the
 * signal came to this process alone and is passed on. SIGTERM and SIGHUP are always passed on.
 *
 * @param {string} program
 * @param {string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string, stdio?: import('node:child_process').StdioOptions }} [options]
 * @returns {Promise<number>} the exit code; 128 + n when signal n ended it; 127 when it could not be started
 */
export function runToEnd(program, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'inherit', ...options });
    const passOn = (/** @type {NodeJS.Signals} */ signal) => {
      if (signal === 'SIGINT' && process.stdin.isTTY) return;
      child.kill(signal);
    };
    const signals = /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
    for (const signal of signals) process.on(signal, passOn);
    const end = (/** @type {number} */ code) => {
      for (const signal of signals) process.off(signal, passOn);
      resolve(code);
    };
    child.once('error', (error) => {
      process.stderr.write(`cannot start ${program}: ${error.message}\n`);
      end(127);
    });
    child.once('exit', (code, signal) => end(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}
