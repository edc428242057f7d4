/**
 * The style sheet of the member page. Sent inside the page, not as a file of its own: the first response then shows everything, with
 * one round trip, on the busiest minute. The CSP names its hash, so no other inline style runs. System fonts only, one accent colour,
 * light and dark by the device, no colour that means anything alone, motion only where the device allows it.
 */
import { createHash } from 'node:crypto';

const source = `
:root{color-scheme:light dark;--bg:#f5f6f8;--card:#fff;--ink:#14181f;--soft:#556070;--line:#dde1e8;--field:#7d8899;--accent:#2346d6;--on:#fff;--tint:#edf1ff;--bad:#b3261e;--badbg:#fdf0ef}
@media(prefers-color-scheme:dark){:root{--bg:#0e1116;--card:#181c23;--ink:#eef1f6;--soft:#a5afbf;--line:#2c333e;--field:#7f8a9b;--accent:#9db2ff;--on:#0b1230;--tint:#1d2541;--bad:#ffb4ab;--badbg:#371b19}}
*,::before,::after{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding:1.5rem}
body{margin:0;background:var(--bg);color:var(--ink);font:1rem/1.6 system-ui,-apple-system,"Apple SD Gothic Neo","Noto Sans KR","Malgun Gothic",sans-serif;word-break:keep-all;overflow-wrap:anywhere}
h1,h2,p,dl,dd,figure,fieldset{margin:0;padding:0}
fieldset{border:0;min-width:0}
a{color:var(--accent);text-underline-offset:.2em}
[hidden]{display:none!important}
:focus-visible{outline:3px solid var(--accent);outline-offset:3px;border-radius:.25rem}
.vh{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.page{max-width:34rem;margin:0 auto;padding:0 1.25rem 4rem}
header{display:flex;align-items:center;justify-content:space-between;min-height:4rem}
.badge{display:inline-flex;align-items:center;gap:.5rem;font-size:.875rem;font-weight:600;color:var(--soft)}
.badge::before{content:"";width:.5rem;height:.5rem;border-radius:50%;border:.25rem solid var(--field)}
.live .badge{color:var(--accent)}
.live .badge::before{border-color:var(--accent)}
.lang{display:inline-flex;align-items:center;justify-content:center;min-width:3rem;min-height:3rem;margin-right:-.5rem;padding:0 .5rem;font-size:.875rem;text-decoration:none;color:var(--soft)}
.lang:hover{text-decoration:underline}
h1{font-size:clamp(1.625rem,7vw,2.25rem);line-height:1.25;letter-spacing:-.025em;font-weight:750;text-wrap:balance}
h2{font-size:1.0625rem;line-height:1.4;letter-spacing:-.01em}
.prize{margin-top:.5rem;font-size:1.0625rem;color:var(--soft)}
.notice{margin-top:1rem;padding:.75rem 1rem;border-left:.25rem solid var(--accent);background:var(--tint);border-radius:.25rem}
.card{margin-top:1.5rem;padding:1.5rem;background:var(--card);border:1px solid var(--line);border-radius:1.25rem}
.act{text-align:center}
.act h2{font-size:1.375rem;line-height:1.35;letter-spacing:-.02em;text-wrap:balance}
.act .label{font-size:1rem}
.act h2:not(:first-child){margin-top:1.5rem}
p{text-wrap:pretty}
.act .lead{margin-top:.5rem;color:var(--soft)}
.good{background:var(--tint);border-color:var(--accent)}
.label{font-size:.9375rem;font-weight:600;color:var(--soft)}
.clock{display:flex;justify-content:center;gap:.25rem;margin:.75rem 0;font-variant-numeric:tabular-nums}
.clock span{flex:0 1 4.75rem;min-width:0;font-size:.8125rem;color:var(--soft)}
.clock b{display:block;font-size:clamp(2rem,11vw,3rem);line-height:1.1;letter-spacing:-.03em;font-weight:700;color:var(--ink)}
.big{margin:1rem 0 .25rem;font-size:clamp(2.5rem,14vw,3.5rem);line-height:1.1;letter-spacing:-.03em;font-weight:750;font-variant-numeric:tabular-nums}
.button,button{display:inline-flex;align-items:center;justify-content:center;min-height:3rem;padding:.5rem 1.25rem;font:inherit;font-weight:600;border:2px solid var(--line);border-radius:.75rem;background:transparent;color:var(--ink);text-decoration:none;cursor:pointer}
.primary{width:100%;min-height:3.5rem;font-size:1.125rem;font-weight:700;background:var(--accent);border-color:var(--accent);color:var(--on)}
.button:hover,button:hover{border-color:var(--field)}
.primary:hover{border-color:var(--ink)}
button:disabled,[aria-disabled]{background:var(--line);border-color:var(--line);color:var(--soft);cursor:not-allowed}
.send,noscript>.primary{margin-top:1.25rem}
.why{margin-top:.625rem;font-size:.9375rem;color:var(--soft);text-align:center}
.row{display:flex;flex-wrap:wrap;gap:.75rem;margin-top:1rem}
.act .row{justify-content:center}
dl{display:grid;grid-template-columns:auto 1fr;gap:.625rem 1.25rem}
dt{color:var(--soft)}
dd{text-align:right;font-weight:600}
.facts{gap:.5rem .75rem;margin-top:1.5rem;font-size:.9375rem;padding:1rem 0;border:solid var(--line);border-width:1px 0}
.act dl{grid-template-columns:1fr;gap:0;margin-top:1.5rem;border-top:1px solid var(--line);text-align:left}
.act dt{margin-top:.875rem;font-size:.9375rem}
.act dd{text-align:left}
.good dl{border-color:var(--field)}
.nb{white-space:nowrap}
.fine{margin-top:1.25rem;font-size:.9375rem;color:var(--soft)}
.prose{margin-top:1.75rem}
.prose p{margin-top:.5rem;color:var(--soft);white-space:pre-line}
.hint{font-size:.9375rem;color:var(--soft)}
.q{margin-top:1.75rem}
.q legend,.q .ask{display:block;padding:0;font-weight:650;white-space:pre-line}
.tag{margin-left:.375rem;font-size:.8125rem;font-weight:500;color:var(--soft)}
.opt{display:flex;align-items:center;gap:.75rem;min-height:3.25rem;margin-top:.5rem;padding:.5rem 1rem;border:1px solid var(--field);border-radius:.75rem;cursor:pointer}
.opt:has(:checked){border-color:var(--accent);background:var(--tint);box-shadow:inset 0 0 0 1px var(--accent)}
.opt:has(:focus-visible){outline:3px solid var(--accent);outline-offset:2px}
.opt input{flex:none;width:1.25rem;height:1.25rem;margin:0;accent-color:var(--accent);outline:0}
.scale{display:flex;flex-wrap:wrap;gap:.375rem}
.scale .opt{flex:1 0 2.75rem;flex-direction:column;justify-content:center;gap:.25rem;min-width:2.75rem;padding:.5rem .25rem}
.ends{display:flex;justify-content:space-between;gap:1rem;margin-top:.375rem}
.in{display:block;width:100%;min-height:3.25rem;margin-top:.5rem;padding:.75rem 1rem;font:inherit;color:inherit;background:var(--card);border:1px solid var(--field);border-radius:.75rem}
textarea.in{min-height:6.5rem;resize:vertical}
.bad{margin-left:-1rem;padding-left:.75rem;border-left:.25rem solid var(--bad)}
.fault{margin-top:.375rem;font-weight:600;color:var(--bad)}
.faults{margin-top:1.5rem;padding:1rem 1.25rem;border:2px solid var(--bad);border-radius:.75rem;background:var(--badbg)}
.faults ul{margin:.5rem 0 0;padding-left:1.25rem}
.faults a{display:inline-block;padding:.75rem 0;color:var(--bad)}
.voucher{margin-top:1.25rem;padding:1.25rem;background:var(--card);border:2px dashed var(--accent);border-radius:.75rem}
.voucher code{display:block;margin:.25rem 0;font-size:clamp(1rem,4.6vw,1.375rem);font-weight:700;user-select:all}
details{margin-top:1rem}
summary{display:flex;align-items:center;min-height:3rem;font-weight:600;cursor:pointer}
summary::before{content:"+";width:1.5rem;font-size:1.25rem;font-weight:500;color:var(--accent)}
[open]>summary::before{content:"\\2212"}
pre{max-height:16rem;margin:.5rem 0;padding:1rem;overflow:auto;font-size:.8125rem;line-height:1.5;white-space:pre-wrap;word-break:break-all;background:var(--bg);border:1px solid var(--line);border-radius:.5rem}
footer{margin-top:2rem;text-align:center}
@media(min-width:60rem){.page{max-width:64rem}main{display:grid;grid-template-columns:1fr 27rem;grid-template-rows:auto auto 1fr;column-gap:4rem;align-items:start}main>*{grid-column:1}main>.side{grid-column:2;grid-row:1/span 3}.side>.card:first-child,.side>form>.card:first-child{margin-top:0}main.one{display:block;max-width:34rem;margin:4rem auto 0}.hero{padding-top:1rem}}
@media(max-width:22rem){.page{padding:0 1rem 3rem}.card{padding:1.25rem 1rem}dl{grid-template-columns:1fr;gap:.125rem}dd{margin-bottom:.5rem;text-align:left}}
@media(prefers-reduced-motion:no-preference){.button,button,.opt{transition:background-color .15s,border-color .15s}}
@media(forced-colors:active){.opt:has(:checked){outline:2px solid Highlight}button:disabled,[aria-disabled]{color:GrayText;border-color:GrayText}}
@media print{.lang,button,.button{display:none}}
`;

/** As sent: one line. */
export const styleSheet = source.replaceAll('\n', '');

/** For `style-src`. */
export const styleHash = `'sha256-${createHash('sha256').update(styleSheet).digest('base64')}'`;
