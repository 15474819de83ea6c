//! X-Wing keys (draft-connolly-cfrg-xwing-kem-10): an ML-KEM-768 key and an X25519 key that SHAKE256 makes of one seed, and
//! SHA3-256 over both their secrets. The material is the 32-byte seed.

use aws_lc_rs::digest::{Context, SHA3_256};
use hsm_core::{Algorithm, Encapsulated, KeyType, PublicKey, Result, SecretBytes};
use shake::{ExtendableOutput, Shake256, Update, XofReader};

use super::ml_kem::MlKemKey;
use super::x25519::{self, X25519Key};
use crate::error::invalid;
use crate::provider::{ParsedKey, seed};

/// Makes material of PKCS#8.
pub(super) fn decode(pkcs8: &[u8]) -> Result<SecretBytes> {
    let decoded = seed::decode(KeyType::XWing, pkcs8)?;
    let key = XWingKey::parse(decoded.seed)?;
    decoded.check_public(key.public.as_raw())?;
    Ok(SecretBytes::copy_from(decoded.seed))
}

/// A key that encapsulates and decapsulates.
#[derive(Debug)]
pub(super) struct XWingKey {
    ml_kem: MlKemKey,
    x25519: X25519Key,
    public: PublicKey,
}

impl XWingKey {
    /// Expands the seed (section 5.2).
    pub(super) fn parse(material: &[u8]) -> Result<Self> {
        let expanded = SecretBytes::init_with(EXPANDED_LEN, |out| {
            let mut hash = Shake256::default();
            hash.update(material);
            hash.finalize_xof().read(out);
        });
        let (ml_kem, x25519) = expanded.expose().split_at(ML_KEM_SEED_LEN);
        let ml_kem = MlKemKey::parse(KeyType::MlKem768, ml_kem)?;
        let x25519 = X25519Key::parse(x25519)?;
        let public = [raw(&ml_kem), raw(&x25519)].concat();
        Ok(Self {
            ml_kem,
            x25519,
            public: PublicKey::from_raw(KeyType::XWing, public)?,
        })
    }

    /// Section 5.3: the secret over both secrets and over the X25519 half of what was sent.
    fn combine(&self, ml_kem: &SecretBytes, x25519: &SecretBytes, sent: &[u8]) -> SecretBytes {
        let mut hash = Context::new(&SHA3_256);
        for part in [
            ml_kem.expose(),
            x25519.expose(),
            sent,
            raw(&self.x25519),
            LABEL,
        ] {
            hash.update(part);
        }
        SecretBytes::copy_from(hash.finish().as_ref())
    }
}

impl ParsedKey for XWingKey {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn encapsulate(&self, _algorithm: Algorithm) -> Result<Encapsulated> {
        let ephemeral = X25519Key::parse(x25519::generate()?.expose())?;
        let x25519 = ephemeral.agree(Algorithm::EcdhEs, self.x25519.public_key())?;
        let mut sent = self.ml_kem.encapsulate(Algorithm::MlKem768)?;
        sent.ciphertext.extend_from_slice(raw(&ephemeral));
        Ok(Encapsulated {
            secret: self.combine(&sent.secret, &x25519, raw(&ephemeral)),
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

fn raw(key: &impl ParsedKey) -> &[u8] {
    key.public().map(PublicKey::as_raw).unwrap_or_default()
}

/// Everybody can see this of a ciphertext, so to say it gives nothing away.
fn small_order() -> hsm_core::Error {
    invalid(
        "the X25519 half of the ciphertext is a point of small order, so that its secret is no secret",
    )
}

const ML_KEM_SEED_LEN: usize = 64;
const EXPANDED_LEN: usize = ML_KEM_SEED_LEN + 32;
const ML_KEM_CIPHERTEXT_LEN: usize = 1088;

const LABEL: &[u8] = br"\.//^\";
