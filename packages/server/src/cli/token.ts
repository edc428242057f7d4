/** `doorbuster token`: a member token as the shop would make it, for trying things out. Signed with the secret shared with the shop. */
import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { type Config, resolveSecret } from '../config.ts';
import { openSecrets } from '../secrets.ts';
import { contextOf } from './context.ts';
import { memberTokenSigner } from './demo/member-token.ts';
import { CliError, exitCodes } from './failure.ts';
import { positive } from './options.ts';
import { ledgerPath, secretsPath } from '../paths.ts';

export function registerToken(program: Command, env: NodeJS.ProcessEnv): void {
  program
    .command('token <memberId>')
    .description('make a member token for development')
    .option('--email <address>', 'contact of the member')
    .option('--phone <number>', 'contact of the member')
    .addOption(new Option('--locale <locale>', 'language of the member').choices(['ko', 'en']).default('ko'))
    .option('--minutes <minutes>', 'how long it is valid', positive, 30)
    .action(
      (
        memberId: string,
        options: { email?: string; phone?: string; locale: 'ko' | 'en'; minutes: number },
        command: Command,
      ) => {
        const context = contextOf(command, env);
        const config = context.config();
        if (!config.tokens.algorithms.includes('HS256'))
          throw new CliError(
            exitCodes.configuration,
            'The server does not accept HS256 tokens.',
            "Have the shop's own system make one.",
          );
        const secret = config.tokens.sharedSecret
          ? resolveSecret(config.tokens.sharedSecret, env)
          : tokenSecretOf(config);
        const sign = memberTokenSigner(secret, config.tokens.audience, config.tokens.issuer);
        const claims = {
          sub: memberId,
          locale: options.locale,
          ...(options.email ? { email: options.email } : {}),
          ...(options.phone ? { phone: options.phone } : {}),
        };
        const token = sign(claims, Date.now(), options.minutes);
        context.terminal.data({ token }, token);
      },
    );
}

function tokenSecretOf(config: Config): string {
  const file = secretsPath(config);
  if (!existsSync(file) && !existsSync(ledgerPath(config.dataDir)))
    throw new CliError(
      exitCodes.configuration,
      `Doorbuster was never started in ${config.dataDir}: there is no secret to sign with yet.`,
      'Start it with `doorbuster serve`, or name its data directory with --data.',
    );
  return openSecrets(file, Date.now(), false).secrets.tokenSecret;
}
