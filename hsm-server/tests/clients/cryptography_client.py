"""Every algorithm of the official CryptographyClient, each cross-checked with the package `cryptography`.

The client verifies, encrypts and wraps by itself with public keys that it may read. So each public operation runs twice: as the
client does it, and at the server, for a principal that may use keys but not read them.

With AES keys that it may read, the client (4.11.3) pads, encrypts and wraps by itself as well, under random bytes in the place of
the key, which no service tells it. So CBC and key wrapping run as such a principal only. docs/key-vault-compatibility.md warns of it.
"""

import hashlib
import hmac
import os

from azure.keyvault.administration import KeyVaultAccessControlClient, KeyVaultPermission
from azure.keyvault.keys import JsonWebKey
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm
from cryptography.hazmat.primitives import hashes, keywrap, padding as block_padding
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support import CA, administrator, client, key_client, main, new_name, new_principal, operation, refused

keys = key_client()
PREFIX = "Microsoft.KeyVault/managedHsm/keys/"
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "P-256K": ec.SECP256K1()}
MESSAGE = b"what is signed, encrypted and wrapped"


def crypto(key, credential=None):
    """The client for a key, by its id, so that it has to fetch the key."""
    return by_id(key.id, credential)


def by_id(key_id, credential=None):
    return CryptographyClient(key_id, credential or administrator(), verify_challenge_resource=False, connection_verify=CA)


def blind():
    """A principal that may use every key and read none, so that its client asks the server for everything."""
    global _blind
    if _blind is None:
        principal, credential = new_principal()
        roles = client(KeyVaultAccessControlClient)
        actions = [f"{PREFIX}{action}/action" for action in ("encrypt", "decrypt", "wrap", "unwrap", "sign", "verify")]
        role = roles.set_role_definition("/", role_name=new_name("blind"), permissions=[KeyVaultPermission(data_actions=actions)])
        roles.create_role_assignment("/keys", role.id, principal)
        refused(403, "AccessDenied", lambda: key_client(credential).get_key("any"))
        _blind = credential
    return _blind


_blind = None


def digest(name, message=MESSAGE):
    return hashlib.new(f"sha{name}", message).digest()


def rsa_public(key):
    return rsa.RSAPublicNumbers(int.from_bytes(key.key.e), int.from_bytes(key.key.n)).public_key()


def ec_public(key):
    return ec.EllipticCurvePublicNumbers(int.from_bytes(key.key.x), int.from_bytes(key.key.y), CURVES[key.key.crv]).public_key()


def oct_key(size, *operations):
    """An imported key, whose bytes are known here."""
    value = os.urandom(size)
    return value, keys.import_key(new_name("oct"), JsonWebKey(kty="oct-HSM", k=value, key_ops=list(operations)), hardware_protected=True)


def signs(key, algorithm, name, check):
    """Signs at the server; verifies outside, in the client and at the server; a wrong digest is refused by all."""
    wrong = digest(name, b"something else")
    for credential in (None, blind()):
        user = crypto(key, credential)
        signed = user.sign(algorithm, digest(name))
        assert signed.algorithm == algorithm and signed.key_id and signed.key_id.startswith(key.id)
        check(signed.signature)
        assert user.verify(algorithm, digest(name), signed.signature).is_valid is True
        assert user.verify(algorithm, wrong, signed.signature).is_valid is False
    refused(400, "BadParameter", lambda: crypto(key).sign(algorithm, b"short"))


def rsa_signs(size):
    key = keys.create_rsa_key(new_name("rsa"), size=size)
    public = rsa_public(key)
    for name, hash_ in HASHES.items():
        pkcs1, pss = padding.PKCS1v15(), padding.PSS(padding.MGF1(hash_), hash_.digest_size)
        prehashed = utils.Prehashed(hash_)
        signs(key, SignatureAlgorithm(f"RS{name}"), name, lambda s: public.verify(s, digest(name), pkcs1, prehashed))
        signs(key, SignatureAlgorithm(f"PS{name}"), name, lambda s: public.verify(s, digest(name), pss, prehashed))


@operation
def sign_and_verify_rs_ps_2048():
    rsa_signs(2048)


@operation
def sign_and_verify_rs_ps_3072():
    rsa_signs(3072)


@operation
def sign_and_verify_rs_ps_4096():
    rsa_signs(4096)


@operation
def sign_and_verify_es256_es384_es512_es256k():
    for algorithm, curve, name in (("ES256", "P-256", "256"), ("ES384", "P-384", "384"), ("ES512", "P-521", "512"), ("ES256K", "P-256K", "256")):
        key = keys.create_ec_key(new_name("ec"), curve=curve)
        size = (CURVES[curve].key_size + 7) // 8

        def check(signature):
            assert len(signature) == 2 * size, len(signature)
            der = utils.encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
            ec_public(key).verify(der, digest(name), ec.ECDSA(utils.Prehashed(HASHES[name])))

        signs(key, SignatureAlgorithm(algorithm), name, check)
        other = "ES384" if algorithm != "ES384" else "ES256"
        refused(400, "BadParameter", lambda: crypto(key).sign(SignatureAlgorithm(other), digest(other[2:])))


@operation
def sign_and_verify_hs256_hs384_hs512():
    for name in HASHES:
        value, key = oct_key(int(name) // 8, "sign", "verify")
        algorithm = SignatureAlgorithm(f"HS{name}")
        mac = hmac.new(value, digest(name), f"sha{name}").digest()
        user = crypto(key)
        assert user.sign(algorithm, digest(name)).signature == mac
        assert user.verify(algorithm, digest(name), mac).is_valid is True
        assert user.verify(algorithm, digest(name), bytes(len(mac))).is_valid is False


OAEP = {
    "RSA-OAEP": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
}


@operation
def encrypt_and_decrypt_rsa_oaep():
    for size in (2048, 3072, 4096):
        key = keys.create_rsa_key(new_name("rsa"), size=size)
        for name, oaep in OAEP.items():
            algorithm = EncryptionAlgorithm(name)
            for credential in (None, blind()):
                user = crypto(key, credential)
                encrypted = user.encrypt(algorithm, MESSAGE)
                assert len(encrypted.ciphertext) == size // 8 and encrypted.algorithm == algorithm
                assert user.decrypt(algorithm, encrypted.ciphertext).plaintext == MESSAGE
            outside = rsa_public(key).encrypt(MESSAGE, oaep)
            assert crypto(key).decrypt(algorithm, outside).plaintext == MESSAGE
            broken = outside[:-1] + bytes([outside[-1] ^ 1])
            refused(400, "BadParameter", lambda: crypto(key).decrypt(algorithm, broken))


@operation
def wrap_and_unwrap_rsa_oaep():
    key = keys.create_rsa_key(new_name("rsa"), size=2048)
    secret = os.urandom(32)
    for name, oaep in OAEP.items():
        algorithm = KeyWrapAlgorithm(name)
        for credential in (None, blind()):
            user = crypto(key, credential)
            wrapped = user.wrap_key(algorithm, secret)
            assert user.unwrap_key(algorithm, wrapped.encrypted_key).key == secret
        assert crypto(key).unwrap_key(algorithm, rsa_public(key).encrypt(secret, oaep)).key == secret


@operation
def rsa1_5_is_refused():
    """Off by default: an answer to a chosen ciphertext helps to forge others. The setting `danger_rsa1_5_decrypt` turns it on."""
    key = keys.create_rsa_key(new_name("rsa"), size=2048)
    user = crypto(key)
    encrypted = user.encrypt(EncryptionAlgorithm.rsa1_5, MESSAGE)
    refused(403, "AccessDenied", lambda: user.decrypt(EncryptionAlgorithm.rsa1_5, encrypted.ciphertext), "danger_rsa1_5_decrypt")
    wrapped = user.wrap_key(KeyWrapAlgorithm.rsa1_5, bytes(32))
    refused(403, "AccessDenied", lambda: user.unwrap_key(KeyWrapAlgorithm.rsa1_5, wrapped.encrypted_key), "danger_rsa1_5_decrypt")


@operation
def encrypt_and_decrypt_gcm():
    for size in (128, 192, 256):
        algorithm = EncryptionAlgorithm(f"A{size}GCM")
        value, key = oct_key(size // 8, "encrypt", "decrypt")
        user = crypto(key)
        for aad in (None, b"for whom"):
            encrypted = user.encrypt(algorithm, MESSAGE, additional_authenticated_data=aad)
            assert len(encrypted.iv) == 12 and len(encrypted.tag) == 16 and len(encrypted.ciphertext) == len(MESSAGE)
            assert AESGCM(value).decrypt(encrypted.iv, encrypted.ciphertext + encrypted.tag, aad) == MESSAGE
            options = {"iv": encrypted.iv, "authentication_tag": encrypted.tag}
            decrypted = user.decrypt(algorithm, encrypted.ciphertext, additional_authenticated_data=aad, **options)
            assert decrypted.plaintext == MESSAGE
            refused(400, "BadParameter", lambda: user.decrypt(
                algorithm, encrypted.ciphertext, additional_authenticated_data=b"for another", **options))
        iv = os.urandom(12)
        outside = AESGCM(value).encrypt(iv, MESSAGE, b"aad")
        decrypted = user.decrypt(
            algorithm, outside[:-16], iv=iv, authentication_tag=outside[-16:], additional_authenticated_data=b"aad")
        assert decrypted.plaintext == MESSAGE


@operation
def encrypt_and_decrypt_cbc_and_cbcpad():
    for size in (128, 192, 256):
        value, key = oct_key(size // 8, "encrypt", "decrypt")
        user = crypto(key, blind())
        for pad in (False, True):
            algorithm = EncryptionAlgorithm(f"A{size}CBC{'PAD' if pad else ''}")
            iv, plaintext = os.urandom(16), MESSAGE if pad else MESSAGE[:32]
            encrypted = user.encrypt(algorithm, plaintext, iv=iv)
            padder = block_padding.PKCS7(128).padder()
            padded = padder.update(plaintext) + padder.finalize() if pad else plaintext
            encryptor = Cipher(algorithms.AES(value), modes.CBC(iv)).encryptor()
            assert encrypted.ciphertext == encryptor.update(padded) + encryptor.finalize()
            assert user.decrypt(algorithm, encrypted.ciphertext, iv=iv).plaintext == plaintext
        refused(400, "BadParameter", lambda: user.encrypt(EncryptionAlgorithm(f"A{size}CBC"), b"no whole block", iv=bytes(16)))


@operation
def wrap_and_unwrap_aes_kw():
    for size in (128, 192, 256):
        value, key = oct_key(size // 8, "wrapKey", "unwrapKey")
        user = crypto(key, blind())
        secret = os.urandom(32)
        for name in (f"A{size}KW", "CKM_AES_KEY_WRAP")[: 2 if size == 256 else 1]:
            algorithm = KeyWrapAlgorithm(name)
            wrapped = user.wrap_key(algorithm, secret).encrypted_key
            assert wrapped == keywrap.aes_key_wrap(value, secret)
            assert user.unwrap_key(algorithm, wrapped).key == secret
            broken = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
            refused(400, "BadParameter", lambda: user.unwrap_key(algorithm, broken))


@operation
def wrap_and_unwrap_aes_kwp():
    value, key = oct_key(32, "wrapKey", "unwrapKey")
    user = crypto(key, blind())
    for length in (5, 32, 33):
        secret = os.urandom(length)
        wrapped = user.wrap_key(KeyWrapAlgorithm.ckm_aes_key_wrap_pad, secret).encrypted_key
        assert wrapped == keywrap.aes_key_wrap_with_padding(value, secret)
        assert user.unwrap_key(KeyWrapAlgorithm.ckm_aes_key_wrap_pad, wrapped).key == secret
    refused(400, "BadParameter", lambda: crypto(oct_key(16, "wrapKey")[1], blind()).wrap_key(KeyWrapAlgorithm.ckm_aes_key_wrap_pad, bytes(16)))


@operation
def imported_keys_sign_as_they_did_outside():
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.private_numbers()
    part = lambda number: number.to_bytes(32, "big")
    jwk = JsonWebKey(
        kty="EC", crv="P-256", d=part(numbers.private_value), x=part(numbers.public_numbers.x), y=part(numbers.public_numbers.y),
        key_ops=["sign", "verify"])
    key = keys.import_key(new_name("import"), jwk)
    signature = crypto(key).sign(SignatureAlgorithm.es256, digest("256")).signature
    der = utils.encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    private.public_key().verify(der, MESSAGE, ec.ECDSA(hashes.SHA256()))


@operation
def rsa_private_key_interface():
    """The client's `RSAPrivateKey` of the package `cryptography`, whose private half is at the server."""
    key = keys.create_rsa_key(new_name("rsa"), size=2048)
    private = crypto(key).create_rsa_private_key()
    pkcs1 = padding.PKCS1v15()
    private.public_key().verify(private.sign(MESSAGE, pkcs1, hashes.SHA256()), MESSAGE, pkcs1, hashes.SHA256())
    assert private.decrypt(crypto(key).create_rsa_public_key().encrypt(MESSAGE, OAEP["RSA-OAEP-256"]), OAEP["RSA-OAEP-256"]) == MESSAGE


@operation
def latest_version_without_its_id():
    name = new_name("latest")
    keys.create_ec_key(name)
    second = keys.create_ec_key(name)
    for credential in (None, blind()):
        user = by_id(f"{keys.vault_url}/keys/{name}", credential)
        signature = user.sign(SignatureAlgorithm.es256, digest("256")).signature
        assert crypto(second).verify(SignatureAlgorithm.es256, digest("256"), signature).is_valid


@operation
def client_of_a_key_client():
    key = keys.create_ec_key(new_name("ec"))
    user = keys.get_cryptography_client(key.name, key_version=key.properties.version)
    signature = user.sign(SignatureAlgorithm.es256, digest("256")).signature
    assert user.verify(SignatureAlgorithm.es256, digest("256"), signature).is_valid


@operation
def operations_that_a_key_does_not_have():
    key = keys.create_rsa_key(new_name("rsa"), size=2048, key_operations=["verify"])
    refused(403, "Forbidden", lambda: crypto(key).sign(SignatureAlgorithm.rs256, digest("256")), "sign")
    oct_hsm = keys.create_oct_key(new_name("oct"), size=256)
    refused(403, "Forbidden", lambda: crypto(oct_hsm).sign(SignatureAlgorithm.es256, digest("256")))


@operation
def disabled_key():
    key = keys.create_ec_key(new_name("disabled"), enabled=False)
    refused(403, "Forbidden", lambda: crypto(key, blind()).sign(SignatureAlgorithm.es256, digest("256")))
    keys.update_key_properties(key.name, enabled=True)
    assert crypto(key, blind()).sign(SignatureAlgorithm.es256, digest("256")).signature


if __name__ == "__main__":
    main()
