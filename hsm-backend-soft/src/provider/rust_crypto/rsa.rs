//! RSA keys (RFC 8017). The material is PKCS#8 DER. Every private operation is blinded, and its result checked with the
//! public key. It still takes a time that depends on the key a little: RUSTSEC-2023-0071.

use std::fmt;

use hsm_core::{
    Algorithm, Ciphertext, CiphertextRef, Error, KeyType, PublicKey, Result, SecretBytes, SignInput,
};
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use rsa::traits::{PaddingScheme, PublicKeyParts, SignatureScheme};
use rsa::{Oaep, Pkcs1v15Sign, Pss, RsaPrivateKey};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::random::{SysRng, seeded};
use super::{bad_material, internal};
use crate::error::{invalid, unsupported};
use crate::provider::rsa::{check_plaintext, check_public};
use crate::provider::{ParsedKey, encoding};

/// Makes the material of a new key. Takes from a tenth of a second to several.
pub(super) fn generate(key_type: KeyType) -> Result<SecretBytes> {
    let bits = usize::from(key_type.info().bits);
    material(&RsaPrivateKey::new(&mut seeded()?, bits).map_err(internal)?)
}

/// Makes material of PKCS#8. Checks the size, the exponent (FIPS 186-5 section 5.4) and that the parts fit together.
pub(super) fn decode(key_type: KeyType, pkcs8: &[u8]) -> Result<SecretBytes> {
    let der = encoding::decode_rsa(key_type, pkcs8)?;
    let key = RsaPrivateKey::from_pkcs1_der(der).map_err(|_| encoding::not_pkcs8(key_type))?;
    // The crate computes the CRT parameters and drops those that came in.
    let computed = key.to_pkcs1_der().map_err(internal)?;
    if !bool::from(computed.as_bytes().ct_eq(der)) {
        return Err(invalid("the parts of the RSA key do not fit together"));
    }
    let (modulus, exponent) = (key.n().to_be_bytes(), key.e().to_be_bytes());
    check_public(key_type, &modulus, &exponent)?;
    material(&key)
}

/// A key that signs, encrypts, or both.
pub(super) struct RsaKey {
    key: RsaPrivateKey,
    public: PublicKey,
}

impl RsaKey {
    /// Takes PKCS#8.
    pub(super) fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let key = RsaPrivateKey::from_pkcs8_der(material).map_err(bad_material)?;
        let public = key.as_public_key().to_pkcs1_der().map_err(internal)?;
        Ok(Self {
            public: PublicKey::from_raw(key_type, public.as_bytes())?,
            key,
        })
    }

    fn sign_with(&self, scheme: impl SignatureScheme, digest: &[u8]) -> Result<Vec<u8>> {
        scheme
            .sign(Some(&mut SysRng), &self.key, digest)
            .map_err(internal)
    }

    fn encrypt_with(&self, scheme: impl PaddingScheme, plaintext: &[u8]) -> Result<Vec<u8>> {
        scheme
            .encrypt(&mut SysRng, self.key.as_public_key(), plaintext)
            .map_err(internal)
    }

    fn decrypt_with(&self, scheme: impl PaddingScheme, ciphertext: &[u8]) -> Result<SecretBytes> {
        let plaintext = scheme.decrypt(Some(&mut SysRng), &self.key, ciphertext);
        plaintext
            .map(SecretBytes::from)
            .map_err(|_| Error::crypto())
    }
}

impl ParsedKey for RsaKey {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        use Algorithm as A;
        match algorithm {
            A::Rs256 => self.sign_with(Pkcs1v15Sign::new::<Sha256>(), &hashed::<Sha256>(input)),
            A::Rs384 => self.sign_with(Pkcs1v15Sign::new::<Sha384>(), &hashed::<Sha384>(input)),
            A::Rs512 => self.sign_with(Pkcs1v15Sign::new::<Sha512>(), &hashed::<Sha512>(input)),
            A::Ps256 => self.sign_with(Pss::<Sha256>::new(), &hashed::<Sha256>(input)),
            A::Ps384 => self.sign_with(Pss::<Sha384>::new(), &hashed::<Sha384>(input)),
            A::Ps512 => self.sign_with(Pss::<Sha512>::new(), &hashed::<Sha512>(input)),
            _ => Err(unsupported(algorithm)),
        }
    }

    fn verify(&self, algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        self.public.verify(algorithm, input, signature)
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
        match algorithm {
            Algorithm::RsaOaep => self.encrypt_with(Oaep::<Sha1>::new(), key),
            Algorithm::RsaOaep256 => self.encrypt_with(Oaep::<Sha256>::new(), key),
            _ => Err(unsupported(algorithm)),
        }
    }

    fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        match algorithm {
            Algorithm::RsaOaep => self.decrypt_with(Oaep::<Sha1>::new(), wrapped),
            Algorithm::RsaOaep256 => self.decrypt_with(Oaep::<Sha256>::new(), wrapped),
            _ => Err(unsupported(algorithm)),
        }
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

fn hashed<D: Digest>(input: SignInput<'_>) -> Vec<u8> {
    match input {
        SignInput::Message(message) => D::digest(message).to_vec(),
        SignInput::Digest(digest) => digest.to_vec(),
    }
}

fn material(key: &RsaPrivateKey) -> Result<SecretBytes> {
    let der = key.to_pkcs8_der().map_err(internal)?;
    Ok(SecretBytes::copy_from(der.as_bytes()))
}
