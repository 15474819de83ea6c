//! X-Wing keys (draft-connolly-cfrg-xwing-kem-10): an ML-KEM-768 key and an X25519 key that SHAKE256 makes of one seed, and
//! SHA3-256 over both their secrets. The material is the 32-byte seed. The two keys are the provider's.

use hsm_core::{
    Algorithm, Encapsulated, Error, KeyType, PublicKey, Result, SecretBytes, Usage, Usages,
};
use sha3::{Digest, Sha3_256};
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use zeroize::Zeroizing;

use super::{ParsedKey, Provider};
use crate::error::invalid;

/// A key that encapsulates and decapsulates.
#[derive(Debug)]
pub(super) struct XWingKey {
    provider: &'static dyn Provider,
    ml_kem: Box<dyn ParsedKey>,
    x25519: Box<dyn ParsedKey>,
    x25519_public: PublicKey,
    public: PublicKey,
}

impl XWingKey {
    /// Expands the seed (section 5.2).
    pub(super) fn parse(provider: &'static dyn Provider, material: &[u8]) -> Result<Self> {
        let expanded = SecretBytes::init_with(EXPANDED_LEN, |out| {
            let mut hash = Shake256::default();
            hash.update(material);
            hash.finalize_xof().read(out);
        });
        let (ml_kem, x25519) = expanded.expose().split_at(ML_KEM_SEED_LEN);
        let ml_kem = provider.parse(KeyType::MlKem768, ENCAPSULATE, ml_kem)?;
        let x25519 = provider.parse(KeyType::X25519, AGREE, x25519)?;
        let x25519_public = public(&*x25519)?.clone();
        let raw = [public(&*ml_kem)?.as_raw(), x25519_public.as_raw()].concat();
        Ok(Self {
            provider,
            ml_kem,
            x25519,
            x25519_public,
            public: PublicKey::from_raw(KeyType::XWing, raw)?,
        })
    }

    /// Section 5.3: the secret over both secrets and over the X25519 half of what was sent.
    fn combine(&self, ml_kem: &SecretBytes, x25519: &SecretBytes, sent: &[u8]) -> SecretBytes {
        let receiver = self.x25519_public.as_raw();
        let mut hash = Sha3_256::new();
        for part in [ml_kem.expose(), x25519.expose(), sent, receiver, LABEL] {
            Digest::update(&mut hash, part);
        }
        let secret = Zeroizing::new(<[u8; SECRET_LEN]>::from(hash.finalize()));
        SecretBytes::copy_from(secret.as_slice())
    }
}

impl ParsedKey for XWingKey {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn encapsulate(&self, _algorithm: Algorithm) -> Result<Encapsulated> {
        let ephemeral = self.provider.generate(KeyType::X25519)?;
        let ephemeral = self
            .provider
            .parse(KeyType::X25519, AGREE, ephemeral.expose())?;
        let x25519 = ephemeral.agree(Algorithm::EcdhEs, &self.x25519_public)?;
        let to_x25519 = public(&*ephemeral)?.as_raw();
        let mut sent = self.ml_kem.encapsulate(Algorithm::MlKem768)?;
        sent.ciphertext.extend_from_slice(to_x25519);
        Ok(Encapsulated {
            secret: self.combine(&sent.secret, &x25519, to_x25519),
            ciphertext: sent.ciphertext,
        })
    }

    fn decapsulate(&self, _algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        let (to_ml_kem, to_x25519) = ciphertext
            .split_at_checked(ML_KEM_CIPHERTEXT_LEN)
            .ok_or_else(small_order)?;
        let ml_kem = self.ml_kem.decapsulate(Algorithm::MlKem768, to_ml_kem)?;
        let peer = PublicKey::from_raw(KeyType::X25519, to_x25519)?;
        let x25519 = self
            .x25519
            .agree(Algorithm::EcdhEs, &peer)
            .map_err(|_| small_order())?;
        Ok(self.combine(&ml_kem, &x25519, to_x25519))
    }
}

fn public(key: &dyn ParsedKey) -> Result<&PublicKey> {
    key.public().ok_or_else(Error::crypto)
}

/// Everybody can see this of a ciphertext, so to say it gives nothing away.
fn small_order() -> Error {
    invalid(
        "the X25519 half of the ciphertext is a point of small order, so that its secret is no secret",
    )
}

const ENCAPSULATE: Usages = Usages::of(&[Usage::Encapsulate, Usage::Decapsulate]);
const AGREE: Usages = Usages::of(&[Usage::DeriveBits]);

const ML_KEM_SEED_LEN: usize = 64;
const EXPANDED_LEN: usize = ML_KEM_SEED_LEN + 32;
const ML_KEM_CIPHERTEXT_LEN: usize = 1088;
const SECRET_LEN: usize = 32;

const LABEL: &[u8] = br"\.//^\";
