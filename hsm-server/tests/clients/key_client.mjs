// The official JavaScript KeyClient and CryptographyClient. The environment is that of support.py, and
// NODE_EXTRA_CA_CERTS has the certificates to trust.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { ClientSecretCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

const { HSM_URL, HSM_TENANT, HSM_CLIENT_ID, HSM_CLIENT_SECRET } = process.env;
const credential = new ClientSecretCredential(HSM_TENANT, HSM_CLIENT_ID, HSM_CLIENT_SECRET, {
  authorityHost: HSM_URL,
  disableInstanceDiscovery: true,
});
// localhost is not under localhost, which is what the check wants.
const options = { disableChallengeResourceVerification: true };
const keys = new KeyClient(HSM_URL, credential, options);
const crypto = (key) => new CryptographyClient(key.id, credential, options);
const run = randomUUID().slice(0, 8);
let names = 0;
const newName = () => `js-${run}-${++names}`;
const digest = (name) => createHash(name).update("what is signed").digest();
const bytes = (value) => Buffer.from(value);

async function collect(iterator) {
  const all = [];
  for await (const one of iterator) all.push(one);
  return all;
}

async function deleted(name) {
  return (await keys.beginDeleteKey(name, { intervalInMs: 100 })).pollUntilDone();
}

const refused = (status, code, call) =>
  assert.rejects(call, (error) => {
    assert.equal(error.statusCode, status, error.message);
    assert.equal(error.code, code, error.message);
    return true;
  });

const operations = {
  async createEcKey() {
    for (const curve of ["P-256", "P-384", "P-521", "P-256K"]) {
      for (const hsm of [true, false]) {
        const key = await keys.createEcKey(newName(), { curve, hsm });
        assert.equal(key.keyType, "EC-HSM");
        assert.equal(key.key.crv, curve);
      }
    }
  },
  async createRsaKey() {
    for (const keySize of [2048, 3072]) {
      // After 2038 the client sends a negative number.
      const key = await keys.createRsaKey(newName(), { keySize, hsm: true, tags: { a: "b" }, expiresOn: new Date(2036, 0, 1) });
      assert.equal(key.key.n.length, keySize / 8);
      assert.deepEqual(key.properties.tags, { a: "b" });
      assert.equal(key.properties.expiresOn.getFullYear(), 2036);
    }
  },
  async createOctKey() {
    for (const keySize of [128, 192, 256]) {
      assert.equal((await keys.createOctKey(newName(), { keySize, hsm: true })).keyType, "oct-HSM");
    }
  },
  async importKey() {
    const key = await keys.importKey(newName(), { kty: "oct-HSM", k: randomBytes(32), keyOps: ["encrypt", "decrypt"] }, { hardwareProtected: true });
    assert.equal(key.keyType, "oct-HSM");
    assert.equal(key.key.k, undefined);
  },
  async getKey() {
    const made = await keys.createEcKey(newName());
    assert.equal((await keys.getKey(made.name)).id, made.id);
    assert.equal((await keys.getKey(made.name, { version: made.properties.version })).id, made.id);
    await refused(404, "KeyNotFound", () => keys.getKey(newName()));
  },
  async listPropertiesOfKeys() {
    const made = [];
    for (let i = 0; i < 27; i++) made.push((await keys.createOctKey(newName(), { keySize: 128 })).name);
    const listed = (await collect(keys.listPropertiesOfKeys())).map((properties) => properties.name);
    assert.ok(made.every((name) => listed.includes(name)));
  },
  async listPropertiesOfKeyVersions() {
    const name = newName();
    for (let i = 0; i < 3; i++) await keys.createEcKey(name);
    assert.equal((await collect(keys.listPropertiesOfKeyVersions(name))).length, 3);
  },
  async updateKeyProperties() {
    const made = await keys.createEcKey(newName());
    const updated = await keys.updateKeyProperties(made.name, made.properties.version, { enabled: false, tags: { c: "d" } });
    assert.equal(updated.properties.enabled, false);
    assert.deepEqual(updated.properties.tags, { c: "d" });
  },
  async deleteRecoverPurge() {
    const made = await keys.createEcKey(newName());
    const gone = await deleted(made.name);
    assert.ok(gone.properties.scheduledPurgeDate > gone.properties.deletedOn);
    assert.equal((await keys.getDeletedKey(made.name)).name, made.name);
    assert.ok((await collect(keys.listDeletedKeys())).some((key) => key.name === made.name));
    await refused(409, "Conflict", () => keys.createEcKey(made.name));
    const recovered = await (await keys.beginRecoverDeletedKey(made.name, { intervalInMs: 100 })).pollUntilDone();
    assert.equal(recovered.id, made.id);
    await deleted(made.name);
    await keys.purgeDeletedKey(made.name);
    await refused(404, "KeyNotFound", () => keys.getDeletedKey(made.name));
  },
  async backupAndRestore() {
    const made = await keys.createEcKey(newName());
    const backup = await keys.backupKey(made.name);
    await deleted(made.name);
    await keys.purgeDeletedKey(made.name);
    assert.equal((await keys.restoreKeyBackup(backup)).id, made.id);
  },
  async rotateKeyAndPolicy() {
    const made = await keys.createRsaKey(newName(), { keySize: 2048 });
    assert.notEqual((await keys.rotateKey(made.name)).id, made.id);
    const lifetimeActions = [{ action: "Rotate", timeAfterCreate: "P90D" }];
    await keys.updateKeyRotationPolicy(made.name, { lifetimeActions, expiresIn: "P2Y" });
    const policy = await keys.getKeyRotationPolicy(made.name);
    assert.equal(policy.expiresIn, "P2Y");
    assert.equal(policy.lifetimeActions[0].timeAfterCreate, "P90D");
  },
  async getRandomBytes() {
    assert.equal((await keys.getRandomBytes(32)).length, 32);
  },
  async signAndVerify() {
    const rsa = await keys.createRsaKey(newName(), { keySize: 2048 });
    for (const name of ["256", "384", "512"]) {
      for (const algorithm of [`RS${name}`, `PS${name}`]) {
        const { result } = await crypto(rsa).sign(algorithm, digest(`sha${name}`));
        assert.equal((await crypto(rsa).verify(algorithm, digest(`sha${name}`), result)).result, true);
      }
    }
    for (const [algorithm, curve, name] of [["ES256", "P-256", "sha256"], ["ES384", "P-384", "sha384"], ["ES512", "P-521", "sha512"], ["ES256K", "P-256K", "sha256"]]) {
      const key = await keys.createEcKey(newName(), { curve });
      const { result } = await crypto(key).sign(algorithm, digest(name));
      assert.equal((await crypto(key).verify(algorithm, digest(name), result)).result, true);
      assert.equal((await crypto(key).verify(algorithm, digest(name).fill(0), result)).result, false);
    }
  },
  async encryptAndDecrypt() {
    const rsa = await keys.createRsaKey(newName(), { keySize: 2048 });
    const plaintext = Buffer.from("sixteen bytes ok");
    for (const algorithm of ["RSA-OAEP", "RSA-OAEP-256"]) {
      const { result } = await crypto(rsa).encrypt({ algorithm, plaintext });
      assert.deepEqual(bytes((await crypto(rsa).decrypt({ algorithm, ciphertext: result })).result), plaintext);
    }
    for (const keySize of [128, 192, 256]) {
      const key = await keys.createOctKey(newName(), { keySize, hsm: true });
      const gcm = `A${keySize}GCM`;
      const additionalAuthenticatedData = Buffer.from("for whom");
      const sealed = await crypto(key).encrypt({ algorithm: gcm, plaintext, additionalAuthenticatedData });
      const { iv, authenticationTag } = sealed;
      const opened = await crypto(key).decrypt({ algorithm: gcm, ciphertext: sealed.result, iv, authenticationTag, additionalAuthenticatedData });
      assert.deepEqual(bytes(opened.result), plaintext);
      for (const algorithm of [`A${keySize}CBC`, `A${keySize}CBCPAD`]) {
        const iv = randomBytes(16);
        const { result } = await crypto(key).encrypt({ algorithm, plaintext, iv });
        assert.deepEqual(bytes((await crypto(key).decrypt({ algorithm, ciphertext: result, iv })).result), plaintext);
      }
    }
  },
  async wrapAndUnwrap() {
    const secret = randomBytes(32);
    const rsa = await keys.createRsaKey(newName(), { keySize: 2048 });
    const aes = await keys.createOctKey(newName(), { keySize: 256, hsm: true });
    for (const [key, algorithm] of [[rsa, "RSA-OAEP"], [rsa, "RSA-OAEP-256"], [aes, "A256KW"]]) {
      const { result } = await crypto(key).wrapKey(algorithm, secret);
      assert.deepEqual(bytes((await crypto(key).unwrapKey(algorithm, result)).result), secret);
    }
  },
  async releaseIsNotThereYet() {
    const made = await keys.createRsaKey(newName(), { keySize: 2048 });
    await refused(501, "NotImplemented", () => keys.releaseKey(made.name, "attestation"));
  },
};

for (const [name, run] of Object.entries(operations)) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}
