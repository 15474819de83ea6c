//! One marker type for each way to use a key, so that the wrong call does not compile: `Key<EcdsaP384>` of `hsm-client`
//! signs, and `Key<Aes256Gcm>` has no `sign` at all.
//!
//! A marker fixes the key type, the usages, and the algorithm of each operation. The traits say what a marker can do;
//! they are sealed, so that matching on them stays complete.

use crate::algorithm::{Algorithm, KeyType};
use crate::error::Result;
use crate::key::{KeySpec, Usage, Usages};

mod sealed {
    #[expect(unnameable_types, reason = "this is what seals the traits")]
    pub trait Sealed {}
}

/// A way to use a key.
pub trait KeyKind: sealed::Sealed + Send + Sync + 'static {
    /// The type of the key.
    const KEY_TYPE: KeyType;
    /// The usages that a new key of this kind gets, and that an existing one must have.
    const USAGES: Usages;
    /// The one algorithm that a new key of this kind is bound to; `None` if the kind has several.
    const ONLY: Option<Algorithm>;

    /// What a device must know to make a key of this kind.
    ///
    /// # Errors
    ///
    /// None: the registry has all of these, and a test holds it to that.
    fn spec() -> Result<KeySpec> {
        let spec = KeySpec::new(Self::KEY_TYPE, Self::USAGES)?;
        Self::ONLY.map_or(Ok(spec), |algorithm| spec.only(algorithm))
    }
}

/// Keys that sign. The signature's form is that of [`LoadedKey::sign`](crate::LoadedKey::sign).
pub trait Signing: KeyKind {
    /// The signature algorithm.
    const ALGORITHM: Algorithm;
}

/// Keys that sign digests as well as messages: all but Ed25519 and ML-DSA.
pub trait SigningDigests: Signing {}

/// Keys that compute message authentication codes.
pub trait Authenticating: KeyKind {
    /// The MAC algorithm.
    const ALGORITHM: Algorithm;
}

/// Keys that encrypt data.
pub trait Encrypting: KeyKind {
    /// The encryption algorithm.
    const ALGORITHM: Algorithm;
}

/// Keys that encrypt and authenticate data together with associated data.
pub trait Aead: Encrypting {}

/// Keys that wrap other keys' bytes.
pub trait Wrapping: KeyKind {
    /// The key-wrapping algorithm.
    const ALGORITHM: Algorithm;
}

/// Keys that agree on shared secrets.
pub trait Agreement: KeyKind {
    /// The key-agreement algorithm.
    const ALGORITHM: Algorithm;
}

/// Keys to which shared secrets are encapsulated.
pub trait Encapsulating: KeyKind {
    /// The key-encapsulation mechanism.
    const ALGORITHM: Algorithm;
}

/// Keys from which secrets are derived.
pub trait Derivation: KeyKind {
    /// HKDF with a hash as strong as the key.
    const HKDF: Algorithm;
    /// The counter-mode KDF of SP 800-108 with a hash as strong as the key.
    const KBKDF: Algorithm;
}

/// Keys that carry other keys of the HSM in and out, wrapped.
pub trait Transport: KeyKind {
    /// The algorithm that wraps.
    const ALGORITHM: Algorithm;
}

const SIGN: Usages = Usages::of(&[Usage::Sign, Usage::Verify]);
const ENCRYPT: Usages = Usages::of(&[Usage::Encrypt, Usage::Decrypt]);
const WRAP: Usages = Usages::of(&[Usage::WrapKey, Usage::UnwrapKey]);
const AGREE: Usages = Usages::of(&[Usage::DeriveBits]);
const ENCAPSULATE: Usages = Usages::of(&[Usage::Encapsulate, Usage::Decapsulate]);
const DERIVE: Usages = Usages::of(&[Usage::DeriveKey]);
const TRANSPORT: Usages = Usages::of(&[Usage::Import, Usage::Export]);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $key_type:ident, $usages:ident, $trait:ident($algorithm:ident)$(, $also:ident)*;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            #[expect(clippy::exhaustive_enums, reason = "a marker without values")]
            pub enum $name {}

            impl sealed::Sealed for $name {}

            impl KeyKind for $name {
                const KEY_TYPE: KeyType = KeyType::$key_type;
                const USAGES: Usages = $usages;
                const ONLY: Option<Algorithm> = Some(Algorithm::$algorithm);
            }

            impl $trait for $name {
                const ALGORITHM: Algorithm = Algorithm::$algorithm;
            }

            $(impl $also for $name {})*
        )*

        #[cfg(test)]
        fn all() -> Vec<(&'static str, KeyType, Usages, Algorithm)> {
            vec![$((
                stringify!($name),
                <$name as KeyKind>::KEY_TYPE,
                <$name as KeyKind>::USAGES,
                <$name as $trait>::ALGORITHM,
            )),*]
        }
    };
}

kinds! {
    /// ECDSA on P-256 with SHA-256 (`ES256`).
    EcdsaP256: EcP256, SIGN, Signing(Es256), SigningDigests;
    /// ECDSA on P-384 with SHA-384 (`ES384`).
    EcdsaP384: EcP384, SIGN, Signing(Es384), SigningDigests;
    /// ECDSA on P-521 with SHA-512 (`ES512`).
    EcdsaP521: EcP521, SIGN, Signing(Es512), SigningDigests;
    /// ECDSA on secp256k1 with SHA-256 (`ES256K`).
    EcdsaP256K: EcP256K, SIGN, Signing(Es256K), SigningDigests;
    /// Ed25519 (`EdDSA`).
    Ed25519: Ed25519, SIGN, Signing(EdDsa);
    /// RSASSA-PSS with a 2048-bit key and SHA-256 (`PS256`).
    RsaPss2048: Rsa2048, SIGN, Signing(Ps256), SigningDigests;
    /// RSASSA-PSS with a 3072-bit key and SHA-256 (`PS256`).
    RsaPss3072: Rsa3072, SIGN, Signing(Ps256), SigningDigests;
    /// RSASSA-PSS with a 4096-bit key and SHA-512 (`PS512`).
    RsaPss4096: Rsa4096, SIGN, Signing(Ps512), SigningDigests;
    /// RSASSA-PKCS1-v1_5 with a 2048-bit key and SHA-256 (`RS256`).
    RsaPkcs1v15Sign2048: Rsa2048, SIGN, Signing(Rs256), SigningDigests;
    /// RSASSA-PKCS1-v1_5 with a 3072-bit key and SHA-256 (`RS256`).
    RsaPkcs1v15Sign3072: Rsa3072, SIGN, Signing(Rs256), SigningDigests;
    /// RSASSA-PKCS1-v1_5 with a 4096-bit key and SHA-512 (`RS512`).
    RsaPkcs1v15Sign4096: Rsa4096, SIGN, Signing(Rs512), SigningDigests;
    /// RSAES-OAEP with a 2048-bit key and SHA-256 (`RSA-OAEP-256`), to wrap keys.
    RsaOaep2048: Rsa2048, WRAP, Wrapping(RsaOaep256);
    /// RSAES-OAEP with a 3072-bit key and SHA-256 (`RSA-OAEP-256`), to wrap keys.
    RsaOaep3072: Rsa3072, WRAP, Wrapping(RsaOaep256);
    /// RSAES-OAEP with a 4096-bit key and SHA-256 (`RSA-OAEP-256`), to wrap keys.
    RsaOaep4096: Rsa4096, WRAP, Wrapping(RsaOaep256);
    /// AES-128-GCM (`A128GCM`).
    Aes128Gcm: Aes128, ENCRYPT, Encrypting(A128Gcm), Aead;
    /// AES-192-GCM (`A192GCM`).
    Aes192Gcm: Aes192, ENCRYPT, Encrypting(A192Gcm), Aead;
    /// AES-256-GCM (`A256GCM`).
    Aes256Gcm: Aes256, ENCRYPT, Encrypting(A256Gcm), Aead;
    /// AES-128-CBC with PKCS#7 padding (`A128CBCPAD`). Not authenticated: prefer GCM.
    Aes128Cbc: Aes128, ENCRYPT, Encrypting(A128CbcPad);
    /// AES-192-CBC with PKCS#7 padding (`A192CBCPAD`). Not authenticated: prefer GCM.
    Aes192Cbc: Aes192, ENCRYPT, Encrypting(A192CbcPad);
    /// AES-256-CBC with PKCS#7 padding (`A256CBCPAD`). Not authenticated: prefer GCM.
    Aes256Cbc: Aes256, ENCRYPT, Encrypting(A256CbcPad);
    /// AES-128-CTR (`A128CTR`). Not authenticated: prefer GCM.
    Aes128Ctr: Aes128, ENCRYPT, Encrypting(A128Ctr);
    /// AES-192-CTR (`A192CTR`). Not authenticated: prefer GCM.
    Aes192Ctr: Aes192, ENCRYPT, Encrypting(A192Ctr);
    /// AES-256-CTR (`A256CTR`). Not authenticated: prefer GCM.
    Aes256Ctr: Aes256, ENCRYPT, Encrypting(A256Ctr);
    /// AES-128 key wrap (`A128KW`): multiples of 8 bytes.
    Aes128Kw: Aes128, WRAP, Wrapping(A128Kw);
    /// AES-192 key wrap (`A192KW`): multiples of 8 bytes.
    Aes192Kw: Aes192, WRAP, Wrapping(A192Kw);
    /// AES-256 key wrap (`A256KW`): multiples of 8 bytes.
    Aes256Kw: Aes256, WRAP, Wrapping(A256Kw);
    /// AES-128 key wrap with padding (`A128KWP`): any length.
    Aes128Kwp: Aes128, WRAP, Wrapping(A128Kwp);
    /// AES-192 key wrap with padding (`A192KWP`): any length.
    Aes192Kwp: Aes192, WRAP, Wrapping(A192Kwp);
    /// AES-256 key wrap with padding (`A256KWP`): any length.
    Aes256Kwp: Aes256, WRAP, Wrapping(A256Kwp);
    /// HMAC-SHA-256 (`HS256`).
    HmacSha256: HmacSha256, SIGN, Authenticating(Hs256);
    /// HMAC-SHA-384 (`HS384`).
    HmacSha384: HmacSha384, SIGN, Authenticating(Hs384);
    /// HMAC-SHA-512 (`HS512`).
    HmacSha512: HmacSha512, SIGN, Authenticating(Hs512);
    /// ECDH on P-256.
    EcdhP256: EcP256, AGREE, Agreement(EcdhEs);
    /// ECDH on P-384.
    EcdhP384: EcP384, AGREE, Agreement(EcdhEs);
    /// ECDH on P-521.
    EcdhP521: EcP521, AGREE, Agreement(EcdhEs);
    /// X25519 (RFC 7748).
    X25519: X25519, AGREE, Agreement(EcdhEs);
    /// ML-DSA-44 (`ML-DSA-44`).
    MlDsa44: MlDsa44, SIGN, Signing(MlDsa44);
    /// ML-DSA-65 (`ML-DSA-65`).
    MlDsa65: MlDsa65, SIGN, Signing(MlDsa65);
    /// ML-DSA-87 (`ML-DSA-87`).
    MlDsa87: MlDsa87, SIGN, Signing(MlDsa87);
    /// ML-KEM-512 (`ML-KEM-512`).
    MlKem512: MlKem512, ENCAPSULATE, Encapsulating(MlKem512);
    /// ML-KEM-768 (`ML-KEM-768`).
    MlKem768: MlKem768, ENCAPSULATE, Encapsulating(MlKem768);
    /// ML-KEM-1024 (`ML-KEM-1024`).
    MlKem1024: MlKem1024, ENCAPSULATE, Encapsulating(MlKem1024);
    /// X-Wing (`X-Wing`): X25519 and ML-KEM-768 in one key.
    XWing: XWing, ENCAPSULATE, Encapsulating(XWing);
    /// AES-256 key wrap with padding, to carry keys in and out of the HSM.
    Aes256Transport: Aes256, TRANSPORT, Transport(A256Kwp);
    /// RSA-OAEP and AES key wrap (`CKM_RSA_AES_KEY_WRAP`) with a 3072-bit key, to carry keys in and out of the HSM.
    RsaTransport3072: Rsa3072, TRANSPORT, Transport(RsaAesKwp);
    /// RSA-OAEP and AES key wrap (`CKM_RSA_AES_KEY_WRAP`) with a 4096-bit key, to carry keys in and out of the HSM.
    RsaTransport4096: Rsa4096, TRANSPORT, Transport(RsaAesKwp);
}

/// A 256-bit key-derivation key, for HKDF and SP 800-108.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum Kdk256 {}

impl sealed::Sealed for Kdk256 {}

impl KeyKind for Kdk256 {
    const KEY_TYPE: KeyType = KeyType::Kdk256;
    const USAGES: Usages = DERIVE;
    const ONLY: Option<Algorithm> = None;
}

impl Derivation for Kdk256 {
    const HKDF: Algorithm = Algorithm::HkdfSha256;
    const KBKDF: Algorithm = Algorithm::KbkdfHmacSha256;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_possible_in_the_registry() {
        for (name, key_type, usages, algorithm) in all() {
            let spec = KeySpec::new(key_type, usages).unwrap();
            assert!(spec.only(algorithm).is_ok(), "{name}");
        }
    }

    #[test]
    fn every_key_type_has_a_kind() {
        for key_type in KeyType::all().filter(|key_type| *key_type != Kdk256::KEY_TYPE) {
            assert!(
                all().iter().any(|(_, kind, ..)| *kind == key_type),
                "{key_type}"
            );
        }
    }
}
