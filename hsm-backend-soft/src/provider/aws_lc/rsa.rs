//! RSA keys (RFC 8017). The material is PKCS#8 DER: aws-lc takes the CRT parameters from it instead of computing them.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm,
    OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey,
    PrivateDecryptingKey,
};
use aws_lc_rs::signature::{self, KeyPair as _, ParsedPublicKey, RsaEncoding, RsaParameters};
use hsm_core::{
    Algorithm, Ciphertext, CiphertextRef, Error, KeyType, PublicKey, Result, SecretBytes,
    SignInput, Usage, Usages,
};
use zeroize::Zeroizing;

use super::{bad_material, internal, unsupported_type};
use crate::error::unsupported;
use crate::provider::rsa::{check_plaintext, check_public};
use crate::provider::{ParsedKey, encoding};

/// Makes the material of a new key. Takes from a tenth of a second to several.
pub(super) fn generate(key_type: KeyType) -> Result<SecretBytes> {
    let size = match key_type {
        KeyType::Rsa2048 => KeySize::Rsa2048,
        KeyType::Rsa3072 => KeySize::Rsa3072,
        KeyType::Rsa4096 => KeySize::Rsa4096,
        _ => return Err(unsupported_type(key_type)),
    };
    material(&KeyPair::generate(size).map_err(internal)?)
}

/// Makes material of PKCS#8. Checks the size, the exponent (FIPS 186-5 section 5.4) and that the parts fit together.
pub(super) fn decode(key_type: KeyType, pkcs8: &[u8]) -> Result<SecretBytes> {
    let der = encoding::decode_rsa(key_type, pkcs8)?;
    let pair = KeyPair::from_der(der).map_err(|_| encoding::not_pkcs8(key_type))?;
    let public = pair.public_key();
    check_public(
        key_type,
        public.modulus().big_endian_without_leading_zero(),
        public.exponent().big_endian_without_leading_zero(),
    )?;
    material(&pair)
}

/// A key that signs, encrypts, or both.
pub(super) struct RsaKey {
    signer: Option<KeyPair>,
    verifier: Option<Verifier>,
    encrypter: Option<OaepPublicEncryptingKey>,
    decrypter: Option<Decrypter>,
    public: PublicKey,
}

impl RsaKey {
    /// Takes PKCS#8 and keeps what `usages` need.
    pub(super) fn parse(key_type: KeyType, usages: Usages, material: &[u8]) -> Result<Self> {
        let has_any = |any: &[Usage]| any.iter().any(|usage| usages.contains(*usage));
        let pair = KeyPair::from_pkcs8(material).map_err(bad_material)?;
        let public = PublicKey::from_raw(key_type, pair.public_key().as_ref())?;
        let encrypts = has_any(&[Usage::Encrypt, Usage::WrapKey, Usage::Export]);
        let decrypts = has_any(&[Usage::Decrypt, Usage::UnwrapKey, Usage::Import]);
        let (encrypter, decrypter) = if encrypts || decrypts {
            let key = PrivateDecryptingKey::from_pkcs8(material).map_err(bad_material)?;
            let encrypter = OaepPublicEncryptingKey::new(key.public_key()).map_err(bad_material)?;
            let decrypter = Decrypter::new(key)?;
            (encrypts.then_some(encrypter), decrypts.then_some(decrypter))
        } else {
            (None, None)
        };
        Ok(Self {
            verifier: usages.contains(Usage::Verify).then(Verifier::default),
            signer: usages.contains(Usage::Sign).then_some(pair),
            encrypter,
            decrypter,
            public,
        })
    }

    fn modulus_len(&self) -> usize {
        self.public.key_type().byte_len()
    }
}

impl ParsedKey for RsaKey {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let signer = self.signer.as_ref().ok_or_else(|| unsupported(algorithm))?;
        let scheme = &SCHEMES[scheme(algorithm)?];
        let mut out = vec![0; self.modulus_len()];
        match input {
            SignInput::Message(message) => {
                signer.sign(scheme.encoding, &SystemRandom::new(), message, &mut out)
            }
            SignInput::Digest(digest) => {
                signer.sign_digest(scheme.encoding, &import(scheme, digest)?, &mut out)
            }
        }
        .map_err(internal)?;
        Ok(out)
    }

    fn verify(&self, algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        let verifier = self
            .verifier
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        let scheme = scheme(algorithm)?;
        let key = verifier.for_scheme(scheme, &self.public)?;
        let verdict = match input {
            SignInput::Message(message) => key.verify_sig(message, signature),
            SignInput::Digest(digest) => {
                key.verify_digest_sig(&import(&SCHEMES[scheme], digest)?, signature)
            }
        };
        verdict.map_err(|_| Error::crypto())
    }

    fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        _iv: Vec<u8>,
        _aad: &[u8],
    ) -> Result<Ciphertext> {
        Ok(Ciphertext {
            ciphertext: self.wrap(algorithm, plaintext)?,
            ..Ciphertext::default()
        })
    }

    fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        _aad: &[u8],
    ) -> Result<SecretBytes> {
        self.unwrap(algorithm, ciphertext.ciphertext)
    }

    fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        check_plaintext(algorithm, self.public.key_type(), key.len())?;
        let oaep = oaep(algorithm)?;
        let encrypter = self
            .encrypter
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        let mut out = vec![0; self.modulus_len()];
        encrypter
            .encrypt(oaep, key, &mut out, None)
            .map_err(internal)?;
        Ok(out)
    }

    fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        let decrypter = self
            .decrypter
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        let mut out = Zeroizing::new(vec![0; self.modulus_len()]);
        let plaintext = if algorithm == Algorithm::Rsa1_5 {
            decrypter.pkcs1.decrypt(wrapped, &mut out)
        } else {
            let oaep = oaep(algorithm)?;
            decrypter.oaep.decrypt(oaep, wrapped, &mut out, None)
        };
        let plaintext = plaintext.map_err(|_| Error::crypto())?;
        Ok(SecretBytes::copy_from(plaintext))
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The private key, for both paddings.
struct Decrypter {
    oaep: OaepPrivateDecryptingKey,
    pkcs1: Pkcs1PrivateDecryptingKey,
}

impl Decrypter {
    fn new(key: PrivateDecryptingKey) -> Result<Self> {
        Ok(Self {
            oaep: OaepPrivateDecryptingKey::new(key.clone()).map_err(bad_material)?,
            pkcs1: Pkcs1PrivateDecryptingKey::new(key).map_err(bad_material)?,
        })
    }
}

/// The public key, parsed for a scheme when it is first used: aws-lc-rs ties a parsed key to one scheme.
#[derive(Default)]
struct Verifier([OnceLock<ParsedPublicKey>; SCHEMES.len()]);

impl Verifier {
    fn for_scheme(&self, scheme: usize, public: &PublicKey) -> Result<&ParsedPublicKey> {
        let slot = &self.0[scheme];
        if let Some(key) = slot.get() {
            return Ok(key);
        }
        let key = ParsedPublicKey::new(SCHEMES[scheme].parameters, public.as_raw())
            .map_err(bad_material)?;
        Ok(slot.get_or_init(|| key))
    }
}

/// What aws-lc-rs has for one signature scheme.
struct Scheme {
    encoding: &'static dyn RsaEncoding,
    parameters: &'static RsaParameters,
    digest: &'static digest::Algorithm,
}

static SCHEMES: [Scheme; 6] = [
    Scheme {
        encoding: &signature::RSA_PKCS1_SHA256,
        parameters: &signature::RSA_PKCS1_2048_8192_SHA256,
        digest: &digest::SHA256,
    },
    Scheme {
        encoding: &signature::RSA_PKCS1_SHA384,
        parameters: &signature::RSA_PKCS1_2048_8192_SHA384,
        digest: &digest::SHA384,
    },
    Scheme {
        encoding: &signature::RSA_PKCS1_SHA512,
        parameters: &signature::RSA_PKCS1_2048_8192_SHA512,
        digest: &digest::SHA512,
    },
    Scheme {
        encoding: &signature::RSA_PSS_SHA256,
        parameters: &signature::RSA_PSS_2048_8192_SHA256,
        digest: &digest::SHA256,
    },
    Scheme {
        encoding: &signature::RSA_PSS_SHA384,
        parameters: &signature::RSA_PSS_2048_8192_SHA384,
        digest: &digest::SHA384,
    },
    Scheme {
        encoding: &signature::RSA_PSS_SHA512,
        parameters: &signature::RSA_PSS_2048_8192_SHA512,
        digest: &digest::SHA512,
    },
];

/// The place of a signature algorithm in [`SCHEMES`].
fn scheme(algorithm: Algorithm) -> Result<usize> {
    Ok(match algorithm {
        Algorithm::Rs256 => 0,
        Algorithm::Rs384 => 1,
        Algorithm::Rs512 => 2,
        Algorithm::Ps256 => 3,
        Algorithm::Ps384 => 4,
        Algorithm::Ps512 => 5,
        _ => return Err(unsupported(algorithm)),
    })
}

fn oaep(algorithm: Algorithm) -> Result<&'static OaepAlgorithm> {
    Ok(match algorithm {
        Algorithm::RsaOaep => &OAEP_SHA1_MGF1SHA1,
        Algorithm::RsaOaep256 => &OAEP_SHA256_MGF1SHA256,
        _ => return Err(unsupported(algorithm)),
    })
}

fn import(scheme: &Scheme, digest: &[u8]) -> Result<Digest> {
    Digest::import_less_safe(digest, scheme.digest).map_err(internal)
}

fn material(pair: &KeyPair) -> Result<SecretBytes> {
    let der = pair.as_der().map_err(internal)?;
    Ok(SecretBytes::copy_from(der.as_ref()))
}
