/** SHA-256 as a parameter: `core` imports nothing, so whoever calls it brings the hash. 32 bytes out. */
export type Sha256 = (data: Uint8Array) => Uint8Array;
