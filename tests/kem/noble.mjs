// SPDX-License-Identifier: BSL-1.0
// The digest of pairs.cpp, computed with the npm package @noble/post-quantum: node noble.mjs FOLDER COUNT.
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/node_modules/@noble/post-quantum/ml-kem.js`);
const { ml_kem768 } = await import(folder.href);
const all = createHash("sha3-256");
for (let i = 0; i < Number(process.argv[3]); ++i) {
  const number = Buffer.alloc(8);
  number.writeBigUInt64LE(BigInt(i));
  const bytes = createHash("shake256", { outputLength: 96 + 1088 }).update(number).digest();
  const part = (from, to) => new Uint8Array(bytes.subarray(from, to));
  const { publicKey, secretKey } = ml_kem768.keygen(part(0, 64));
  const { cipherText, sharedSecret } = ml_kem768.encapsulate(publicKey, part(64, 96));
  const changed = new Uint8Array(cipherText);
  const bit = bytes.readUInt16LE(0) % (8 * 1088);
  changed[bit >> 3] ^= 1 << (bit & 7);
  const rejected = [part(96, 96 + 1088), changed].map((text) => ml_kem768.decapsulate(text, secretKey));
  for (const out of [publicKey, secretKey, cipherText, sharedSecret, ...rejected]) all.update(out);
}
console.log(all.digest("hex"));
