//! The registry of key types and algorithms: identifiers, sizes, and what goes with what. Everything asks it; nothing
//! else in the workspace lists algorithms.
//!
//! Names are those of JOSE (RFC 7518, RFC 8037, RFC 8812, RFC 9964) and Key Vault. [`KeyType`] says what a key is, [`Algorithm`]
//! what is done with it; [`KeyType::algorithms`] joins the two.

mod approval;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::approval::Approval;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Usage, Usages};

/// A class of cryptographic operation, as the engine dispatches it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// Agree on a shared secret with a peer's public key (NIST SP 800-56A).
    Agree,
    /// Derive secret bytes from a key-derivation key (NIST SP 800-108, RFC 5869).
    Derive,
    /// Encapsulate a shared secret to the public half, and decapsulate it with the private one (FIPS 203).
    Encapsulate,
    /// Encrypt and decrypt data.
    Encrypt,
    /// Compute and check a message authentication code.
    Mac,
    /// Sign and verify.
    Sign,
    /// Wrap and unwrap key bytes.
    Wrap,
}

/// A hash function of FIPS 180-4.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Hash {
    /// SHA-1; only inside RSA-OAEP, where collisions do not matter.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Length of a digest in bytes.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// The family of a key type: JOSE `kty`, and what its material looks like.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeyFamily {
    /// Elliptic curve keys of SEC 1 (`kty` EC).
    Ec,
    /// RSA keys of RFC 8017 (`kty` RSA).
    Rsa,
    /// Edwards and Montgomery curve keys of RFC 8032 and RFC 7748 (`kty` OKP, RFC 8037).
    Okp,
    /// Keys that are a seed and a string of public bytes, named by their one algorithm (`kty` AKP, RFC 9964): ML-DSA,
    /// ML-KEM, X-Wing.
    Akp,
    /// Symmetric keys (`kty` oct).
    Oct,
}

impl KeyFamily {
    /// The JOSE `kty` value.
    #[must_use]
    pub const fn kty(self) -> &'static str {
        match self {
            Self::Ec => "EC",
            Self::Rsa => "RSA",
            Self::Okp => "OKP",
            Self::Akp => "AKP",
            Self::Oct => "oct",
        }
    }
}

/// One row of the key-type table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeyTypeInfo {
    /// The key type that the row describes.
    pub key_type: KeyType,
    /// Its name in policies, listings and on the command line.
    pub name: &'static str,
    /// Its family.
    pub family: KeyFamily,
    /// JOSE `crv`, for the families that have curves.
    pub curve: Option<&'static str>,
    /// Size in bits: modulus, field, seed or key length.
    pub bits: u16,
    /// Security strength in bits (NIST SP 800-57 part 1, table 2), also of a post-quantum category.
    pub strength: u16,
    /// Usages that a key of this type may be given.
    pub usages: Usages,
    /// Algorithms that work with a key of this type.
    pub algorithms: &'static [Algorithm],
}

/// One row of the algorithm table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AlgorithmInfo {
    /// The algorithm that the row describes.
    pub algorithm: Algorithm,
    /// JOSE or Key Vault identifier.
    pub name: &'static str,
    /// What it does. RSA encryption algorithms do two things: encrypt data and wrap keys.
    pub operations: &'static [Operation],
    /// The hash function inside, if there is one.
    pub hash: Option<Hash>,
    /// Length of the initialization vector in bytes; 0 if there is none.
    pub iv_len: usize,
    /// Length of the authentication tag in bytes; 0 if there is none.
    pub tag_len: usize,
}

macro_rules! key_types {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $family:ident, $curve:expr, $bits:literal, $strength:literal, $usages:expr, [$($algorithm:ident),*];)*) => {
        /// What a key is: its type and size.
        ///
        /// ```
        /// use hsm_core::{Algorithm, KeyType};
        ///
        /// let key_type: KeyType = "EC-P384".parse()?;
        /// assert_eq!(key_type.info().curve, Some("P-384"));
        /// assert!(key_type.algorithms().contains(&Algorithm::Es384));
        /// # Ok::<(), hsm_core::Error>(())
        /// ```
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum KeyType { $($(#[$doc])* $variant,)* }

        const KEY_TYPES: &[KeyTypeInfo] = &[$(KeyTypeInfo {
            key_type: KeyType::$variant, name: $name, family: KeyFamily::$family, curve: $curve, bits: $bits,
            strength: $strength, usages: $usages, algorithms: &[$(Algorithm::$algorithm),*],
        },)*];

        impl KeyType {
            /// The number that stands for this type in sealed keys and records. Never reused.
            #[must_use]
            pub const fn code(self) -> u8 { match self { $(Self::$variant => $code,)* } }

            /// The type that a [`code`](Self::code) stands for.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> { match code { $($code => Some(Self::$variant),)* _ => None } }
        }
    };
}

macro_rules! algorithms {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, [$($operation:ident),*], $hash:expr, $iv:literal, $tag:literal;)*) => {
        /// What is done with a key: an algorithm with all its parameters.
        ///
        /// ```
        /// use hsm_core::{Algorithm, Operation};
        ///
        /// let algorithm: Algorithm = "ES384".parse()?;
        /// assert_eq!(algorithm, Algorithm::Es384);
        /// assert_eq!(algorithm.info().hash.map(|hash| hash.output_len()), Some(48));
        /// assert!(algorithm.does(Operation::Sign));
        /// # Ok::<(), hsm_core::Error>(())
        /// ```
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Algorithm { $($(#[$doc])* $variant,)* }

        const ALGORITHMS: &[AlgorithmInfo] = &[$(AlgorithmInfo {
            algorithm: Algorithm::$variant, name: $name, operations: &[$(Operation::$operation),*], hash: $hash,
            iv_len: $iv, tag_len: $tag,
        },)*];

        impl Algorithm {
            /// The number that stands for this algorithm in records. Never reused.
            #[must_use]
            pub const fn code(self) -> u8 { match self { $(Self::$variant => $code,)* } }

            /// The algorithm that a [`code`](Self::code) stands for.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> { match code { $($code => Some(Self::$variant),)* _ => None } }
        }
    };
}

const SIGN: Usages = Usages::of(&[Usage::Sign, Usage::Verify]);
const SIGN_OR_AGREE: Usages = Usages::of(&[Usage::Sign, Usage::Verify, Usage::DeriveBits]);
const AGREE: Usages = Usages::of(&[Usage::DeriveBits]);
const DERIVE: Usages = Usages::of(&[Usage::DeriveKey]);
const ENCAPSULATE: Usages = Usages::of(&[Usage::Encapsulate, Usage::Decapsulate]);
const RSA: Usages = Usages::of(&[
    Usage::Sign,
    Usage::Verify,
    Usage::Encrypt,
    Usage::Decrypt,
    Usage::WrapKey,
    Usage::UnwrapKey,
    Usage::Import,
    Usage::Export,
]);
const AES: Usages = Usages::of(&[
    Usage::Encrypt,
    Usage::Decrypt,
    Usage::WrapKey,
    Usage::UnwrapKey,
    Usage::Import,
    Usage::Export,
]);

// Sizes, usages and pairs. Strengths: NIST SP 800-57 part 1 revision 5, tables 2 and 3; FIPS 203 and FIPS 204 put their
// parameter sets into categories, and 1, 2, 3, 5 stand for 128, 128, 192, 256 bits.
key_types! {
    /// RSA with a 2048-bit modulus.
    Rsa2048 = 1, "RSA-2048", Rsa, None, 2048, 112, RSA, [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, RsaOaep, RsaOaep256, Rsa1_5, RsaAesKwp];
    /// RSA with a 3072-bit modulus.
    Rsa3072 = 2, "RSA-3072", Rsa, None, 3072, 128, RSA, [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, RsaOaep, RsaOaep256, Rsa1_5, RsaAesKwp];
    /// RSA with a 4096-bit modulus.
    Rsa4096 = 3, "RSA-4096", Rsa, None, 4096, 152, RSA, [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, RsaOaep, RsaOaep256, Rsa1_5, RsaAesKwp];
    /// NIST P-256 (secp256r1).
    EcP256 = 10, "EC-P256", Ec, Some("P-256"), 256, 128, SIGN_OR_AGREE, [Es256, EcdhEs];
    /// NIST P-384 (secp384r1).
    EcP384 = 11, "EC-P384", Ec, Some("P-384"), 384, 192, SIGN_OR_AGREE, [Es384, EcdhEs];
    /// NIST P-521 (secp521r1).
    EcP521 = 12, "EC-P521", Ec, Some("P-521"), 521, 256, SIGN_OR_AGREE, [Es512, EcdhEs];
    /// secp256k1, which Key Vault calls P-256K.
    EcP256K = 13, "EC-P256K", Ec, Some("P-256K"), 256, 128, SIGN, [Es256K];
    /// Ed25519 (RFC 8032).
    Ed25519 = 20, "Ed25519", Okp, Some("Ed25519"), 255, 128, SIGN, [EdDsa];
    /// X25519 (RFC 7748).
    X25519 = 21, "X25519", Okp, Some("X25519"), 255, 128, AGREE, [EcdhEs];
    /// AES with a 128-bit key.
    Aes128 = 30, "AES-128", Oct, None, 128, 128, AES, [A128Gcm, A128Cbc, A128CbcPad, A128Ctr, A128Kw, A128Kwp];
    /// AES with a 192-bit key.
    Aes192 = 31, "AES-192", Oct, None, 192, 192, AES, [A192Gcm, A192Cbc, A192CbcPad, A192Ctr, A192Kw, A192Kwp];
    /// AES with a 256-bit key.
    Aes256 = 32, "AES-256", Oct, None, 256, 256, AES, [A256Gcm, A256Cbc, A256CbcPad, A256Ctr, A256Kw, A256Kwp];
    /// A 256-bit key for HMAC-SHA-256.
    HmacSha256 = 40, "HMAC-SHA256", Oct, None, 256, 256, SIGN, [Hs256];
    /// A 384-bit key for HMAC-SHA-384.
    HmacSha384 = 41, "HMAC-SHA384", Oct, None, 384, 256, SIGN, [Hs384];
    /// A 512-bit key for HMAC-SHA-512.
    HmacSha512 = 42, "HMAC-SHA512", Oct, None, 512, 256, SIGN, [Hs512];
    /// A 256-bit key-derivation key (KDK of NIST SP 800-108, input keying material of RFC 5869).
    Kdk256 = 50, "KDK-256", Oct, None, 256, 256, DERIVE, [HkdfSha256, HkdfSha384, HkdfSha512, KbkdfHmacSha256, KbkdfHmacSha384, KbkdfHmacSha512];
    /// ML-DSA-44 (FIPS 204, category 2).
    MlDsa44 = 60, "ML-DSA-44", Akp, None, 256, 128, SIGN, [MlDsa44];
    /// ML-DSA-65 (FIPS 204, category 3).
    MlDsa65 = 61, "ML-DSA-65", Akp, None, 256, 192, SIGN, [MlDsa65];
    /// ML-DSA-87 (FIPS 204, category 5).
    MlDsa87 = 62, "ML-DSA-87", Akp, None, 256, 256, SIGN, [MlDsa87];
    /// ML-KEM-512 (FIPS 203, category 1).
    MlKem512 = 70, "ML-KEM-512", Akp, None, 512, 128, ENCAPSULATE, [MlKem512];
    /// ML-KEM-768 (FIPS 203, category 3).
    MlKem768 = 71, "ML-KEM-768", Akp, None, 512, 192, ENCAPSULATE, [MlKem768];
    /// ML-KEM-1024 (FIPS 203, category 5).
    MlKem1024 = 72, "ML-KEM-1024", Akp, None, 512, 256, ENCAPSULATE, [MlKem1024];
    /// X-Wing: X25519 and ML-KEM-768 in one key (draft-connolly-cfrg-xwing-kem-10). Safe as long as one of them is.
    XWing = 73, "X-Wing", Akp, None, 256, 128, ENCAPSULATE, [XWing];
}

// Key Vault and JOSE identifiers where they exist; the PKCS#11 or standard's name otherwise.
algorithms! {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4). Signatures are r‖s, 64 bytes.
    Es256 = 1, "ES256", [Sign], Some(Hash::Sha256), 0, 0;
    /// ECDSA on P-384 with SHA-384. Signatures are r‖s, 96 bytes.
    Es384 = 2, "ES384", [Sign], Some(Hash::Sha384), 0, 0;
    /// ECDSA on P-521 with SHA-512. Signatures are r‖s, 132 bytes.
    Es512 = 3, "ES512", [Sign], Some(Hash::Sha512), 0, 0;
    /// ECDSA on secp256k1 with SHA-256 (RFC 8812). Signatures are r‖s, 64 bytes.
    Es256K = 4, "ES256K", [Sign], Some(Hash::Sha256), 0, 0;
    /// Ed25519 (RFC 8032, RFC 8037). Signs messages only, never digests.
    EdDsa = 5, "EdDSA", [Sign], None, 0, 0;
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2).
    Rs256 = 10, "RS256", [Sign], Some(Hash::Sha256), 0, 0;
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384 = 11, "RS384", [Sign], Some(Hash::Sha384), 0, 0;
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512 = 12, "RS512", [Sign], Some(Hash::Sha512), 0, 0;
    /// RSASSA-PSS with SHA-256, MGF1 and a salt as long as the digest (RFC 8017 section 8.1).
    Ps256 = 13, "PS256", [Sign], Some(Hash::Sha256), 0, 0;
    /// RSASSA-PSS with SHA-384.
    Ps384 = 14, "PS384", [Sign], Some(Hash::Sha384), 0, 0;
    /// RSASSA-PSS with SHA-512.
    Ps512 = 15, "PS512", [Sign], Some(Hash::Sha512), 0, 0;
    /// RSAES-OAEP with SHA-1 and MGF1-SHA-1 (RFC 8017 section 7.1). Prefer `RSA-OAEP-256`.
    RsaOaep = 20, "RSA-OAEP", [Encrypt, Wrap], Some(Hash::Sha1), 0, 0;
    /// RSAES-OAEP with SHA-256 and MGF1-SHA-256.
    RsaOaep256 = 21, "RSA-OAEP-256", [Encrypt, Wrap], Some(Hash::Sha256), 0, 0;
    /// RSAES-PKCS1-v1_5. Decryption only, and only where the policy `danger_rsa1_5_decrypt` is on: it invites
    /// Bleichenbacher's attack.
    Rsa1_5 = 22, "RSA1_5", [Encrypt, Wrap], None, 0, 0;
    /// RSA-OAEP of a fresh AES-256 key, which wraps the target key with AES-KWP (PKCS#11 `CKM_RSA_AES_KEY_WRAP`).
    /// For wrapped import and export only.
    RsaAesKwp = 23, "CKM_RSA_AES_KEY_WRAP", [], Some(Hash::Sha1), 0, 0;
    /// AES-128-GCM with a random 96-bit IV (NIST SP 800-38D).
    A128Gcm = 30, "A128GCM", [Encrypt], None, 12, 16;
    /// AES-192-GCM.
    A192Gcm = 31, "A192GCM", [Encrypt], None, 12, 16;
    /// AES-256-GCM.
    A256Gcm = 32, "A256GCM", [Encrypt], None, 12, 16;
    /// AES-128-CBC without padding (NIST SP 800-38A). Not authenticated.
    A128Cbc = 33, "A128CBC", [Encrypt], None, 16, 0;
    /// AES-192-CBC without padding.
    A192Cbc = 34, "A192CBC", [Encrypt], None, 16, 0;
    /// AES-256-CBC without padding.
    A256Cbc = 35, "A256CBC", [Encrypt], None, 16, 0;
    /// AES-128-CBC with PKCS#7 padding. Not authenticated.
    A128CbcPad = 36, "A128CBCPAD", [Encrypt], None, 16, 0;
    /// AES-192-CBC with PKCS#7 padding.
    A192CbcPad = 37, "A192CBCPAD", [Encrypt], None, 16, 0;
    /// AES-256-CBC with PKCS#7 padding.
    A256CbcPad = 38, "A256CBCPAD", [Encrypt], None, 16, 0;
    /// AES-128-CTR with a 128-bit initial counter block (NIST SP 800-38A). Not authenticated.
    A128Ctr = 39, "A128CTR", [Encrypt], None, 16, 0;
    /// AES-192-CTR.
    A192Ctr = 40, "A192CTR", [Encrypt], None, 16, 0;
    /// AES-256-CTR.
    A256Ctr = 41, "A256CTR", [Encrypt], None, 16, 0;
    /// AES-128 key wrap (RFC 3394). Wraps multiples of 8 bytes, 16 at least.
    A128Kw = 50, "A128KW", [Wrap], None, 0, 0;
    /// AES-192 key wrap.
    A192Kw = 51, "A192KW", [Wrap], None, 0, 0;
    /// AES-256 key wrap.
    A256Kw = 52, "A256KW", [Wrap], None, 0, 0;
    /// AES-128 key wrap with padding (RFC 5649). Wraps any length.
    A128Kwp = 53, "A128KWP", [Wrap], None, 0, 0;
    /// AES-192 key wrap with padding.
    A192Kwp = 54, "A192KWP", [Wrap], None, 0, 0;
    /// AES-256 key wrap with padding.
    A256Kwp = 55, "A256KWP", [Wrap], None, 0, 0;
    /// HMAC-SHA-256 (FIPS 198-1).
    Hs256 = 60, "HS256", [Mac], Some(Hash::Sha256), 0, 32;
    /// HMAC-SHA-384.
    Hs384 = 61, "HS384", [Mac], Some(Hash::Sha384), 0, 48;
    /// HMAC-SHA-512.
    Hs512 = 62, "HS512", [Mac], Some(Hash::Sha512), 0, 64;
    /// Diffie-Hellman on the key's curve; the shared secret is the x-coordinate (SP 800-56A section 5.7.1.2, RFC 7748).
    EcdhEs = 70, "ECDH-ES", [Agree], None, 0, 0;
    /// HKDF with SHA-256 (RFC 5869).
    HkdfSha256 = 80, "HKDF-SHA256", [Derive], Some(Hash::Sha256), 0, 0;
    /// HKDF with SHA-384.
    HkdfSha384 = 81, "HKDF-SHA384", [Derive], Some(Hash::Sha384), 0, 0;
    /// HKDF with SHA-512.
    HkdfSha512 = 82, "HKDF-SHA512", [Derive], Some(Hash::Sha512), 0, 0;
    /// The counter-mode KDF of NIST SP 800-108 section 4.1 with HMAC-SHA-256, a 32-bit counter before the fixed data
    /// `label ‖ 0x00 ‖ context ‖ L` and a 32-bit L in bits.
    KbkdfHmacSha256 = 83, "KBKDF-HMAC-SHA256", [Derive], Some(Hash::Sha256), 0, 0;
    /// The counter-mode KDF of NIST SP 800-108 with HMAC-SHA-384.
    KbkdfHmacSha384 = 84, "KBKDF-HMAC-SHA384", [Derive], Some(Hash::Sha384), 0, 0;
    /// The counter-mode KDF of NIST SP 800-108 with HMAC-SHA-512.
    KbkdfHmacSha512 = 85, "KBKDF-HMAC-SHA512", [Derive], Some(Hash::Sha512), 0, 0;
    /// ML-DSA-44 (FIPS 204, RFC 9964), hedged, with an empty context. Signs messages only, never digests.
    MlDsa44 = 90, "ML-DSA-44", [Sign], None, 0, 0;
    /// ML-DSA-65, as ML-DSA-44.
    MlDsa65 = 91, "ML-DSA-65", [Sign], None, 0, 0;
    /// ML-DSA-87, as ML-DSA-44.
    MlDsa87 = 92, "ML-DSA-87", [Sign], None, 0, 0;
    /// ML-KEM-512 (FIPS 203). The shared secret has 32 bytes, as with every KEM here.
    MlKem512 = 100, "ML-KEM-512", [Encapsulate], None, 0, 0;
    /// ML-KEM-768.
    MlKem768 = 101, "ML-KEM-768", [Encapsulate], None, 0, 0;
    /// ML-KEM-1024.
    MlKem1024 = 102, "ML-KEM-1024", [Encapsulate], None, 0, 0;
    /// X-Wing, the hybrid of X25519 and ML-KEM-768 (draft-connolly-cfrg-xwing-kem-10).
    XWing = 103, "X-Wing", [Encapsulate], None, 0, 0;
}

impl KeyType {
    /// Every key type, in the order of the table.
    #[must_use]
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        KEY_TYPES.iter().map(|row| row.key_type)
    }

    /// The type's row of the table.
    #[must_use]
    pub const fn info(self) -> &'static KeyTypeInfo {
        &KEY_TYPES[self as usize]
    }

    /// Name in policies, listings and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// Algorithms that work with a key of this type.
    #[must_use]
    pub const fn algorithms(self) -> &'static [Algorithm] {
        self.info().algorithms
    }

    /// Whether the key has a public half.
    #[must_use]
    pub const fn is_asymmetric(self) -> bool {
        !matches!(self.info().family, KeyFamily::Oct)
    }

    /// Length of a symmetric key, of a seed, or of one half of a curve key, in bytes; of the modulus for RSA.
    #[must_use]
    pub const fn byte_len(self) -> usize {
        (self.info().bits as usize).div_ceil(8)
    }
}

impl Algorithm {
    /// Every algorithm, in the order of the table.
    #[must_use]
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        ALGORITHMS.iter().map(|row| row.algorithm)
    }

    /// The algorithm's row of the table.
    #[must_use]
    pub const fn info(self) -> &'static AlgorithmInfo {
        &ALGORITHMS[self as usize]
    }

    /// JOSE or Key Vault identifier.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// The hash function inside, if there is one.
    #[must_use]
    pub const fn hash(self) -> Option<Hash> {
        self.info().hash
    }

    /// Length of the ciphertext that encapsulates a shared secret, in bytes (FIPS 203 table 3); `None` if the algorithm
    /// does not encapsulate.
    ///
    /// ```
    /// use hsm_core::Algorithm;
    ///
    /// assert_eq!(Algorithm::MlKem768.encapsulation_len(), Some(1088));
    /// assert_eq!(Algorithm::EcdhEs.encapsulation_len(), None);
    /// ```
    #[must_use]
    pub const fn encapsulation_len(self) -> Option<usize> {
        match self {
            Self::MlKem512 => Some(768),
            Self::MlKem768 => Some(1088),
            Self::MlKem1024 => Some(1568),
            Self::XWing => Some(1120),
            _ => None,
        }
    }

    /// Whether the algorithm does `operation`.
    #[must_use]
    pub fn does(self, operation: Operation) -> bool {
        self.info().operations.contains(&operation)
    }

    /// Whether the algorithm works with keys of `key_type`.
    #[must_use]
    pub fn fits(self, key_type: KeyType) -> bool {
        key_type.algorithms().contains(&self)
    }

    /// Checks that the algorithm does `operation` with a key of `key_type`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`], naming the algorithms that would do.
    pub fn check(self, operation: Operation, key_type: KeyType) -> Result<()> {
        if self.does(operation) && self.fits(key_type) {
            return Ok(());
        }
        let fitting = key_type
            .algorithms()
            .iter()
            .filter(|algorithm| algorithm.does(operation))
            .map(|algorithm| algorithm.name())
            .collect::<Vec<_>>();
        let operation = format!("{operation:?}").to_lowercase();
        Err(Error::new(
            ErrorKind::InvalidInput,
            if fitting.is_empty() {
                format!("a key of type {key_type} cannot {operation}")
            } else {
                format!(
                    "algorithm {self} does not {operation} with a key of type {key_type}; use one of {}",
                    fitting.join(", ")
                )
            },
        ))
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KeyType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::all()
            .find(|key_type| key_type.name() == name)
            .ok_or_else(|| unknown_name("key type", Self::all().map(Self::name)))
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::all()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| unknown_name("algorithm", Self::all().map(Self::name)))
    }
}

fn unknown_name<'a>(what: &str, known: impl Iterator<Item = &'a str>) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "unknown {what}; expected one of {}",
            known.collect::<Vec<_>>().join(", ")
        ),
    )
}

/// Serializes as a name for people and as a code for machines.
macro_rules! serde_by_name_or_code {
    ($type:ty, $what:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(self.name())
                } else {
                    serializer.serialize_u8(self.code())
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error as _;
                if deserializer.is_human_readable() {
                    let name = String::deserialize(deserializer)?;
                    name.parse().map_err(D::Error::custom)
                } else {
                    Self::from_code(u8::deserialize(deserializer)?)
                        .ok_or_else(|| D::Error::custom(concat!("unknown ", $what, " code")))
                }
            }
        }
    };
}

serde_by_name_or_code!(KeyType, "key type");
serde_by_name_or_code!(Algorithm, "algorithm");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_own_place() {
        for key_type in KeyType::all() {
            assert_eq!(key_type.info().key_type, key_type);
            assert_eq!(KeyType::from_code(key_type.code()), Some(key_type));
            assert_eq!(key_type.name().parse::<KeyType>().unwrap(), key_type);
        }
        for algorithm in Algorithm::all() {
            assert_eq!(algorithm.info().algorithm, algorithm);
            assert_eq!(Algorithm::from_code(algorithm.code()), Some(algorithm));
            assert_eq!(algorithm.name().parse::<Algorithm>().unwrap(), algorithm);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Algorithm::all().map(Algorithm::name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn every_algorithm_fits_some_key_and_every_key_has_one() {
        for algorithm in Algorithm::all() {
            assert!(
                KeyType::all().any(|key_type| algorithm.fits(key_type)),
                "{algorithm}"
            );
        }
        for key_type in KeyType::all() {
            assert!(!key_type.algorithms().is_empty(), "{key_type}");
        }
    }

    #[test]
    fn what_encapsulates_says_how_long_it_is() {
        for algorithm in Algorithm::all() {
            assert_eq!(
                algorithm.encapsulation_len().is_some(),
                algorithm.does(Operation::Encapsulate),
                "{algorithm}"
            );
        }
    }

    #[test]
    fn a_misfit_names_what_would_do() {
        let error = Algorithm::Es256
            .check(Operation::Sign, KeyType::EcP384)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid input: algorithm ES256 does not sign with a key of type EC-P384; use one of ES384"
        );
        let error = Algorithm::Es256
            .check(Operation::Sign, KeyType::Aes128)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid input: a key of type AES-128 cannot sign"
        );
    }
}
