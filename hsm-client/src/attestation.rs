//! Key reports: what a device states about a key, signed for whoever chose the nonce, and with the feature `attestation` the
//! verifier, which needs no HSM.
//!
//! ```
//! # #[cfg(feature = "attestation")]
//! # pollster::block_on(async {
//! use hsm_client::attestation::{Level, Nonce, Verifier};
//! use hsm_client::kinds::EcdsaP256;
//! use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
//!
//! let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
//! let admin = hsm.login("admin", "an administrator's password").await?;
//! admin.assign_role(BuiltInRole::CryptoUser, "admin", Scope::Keys).await?;
//! let key = admin.create::<EcdsaP256>("payments").await?;
//!
//! let nonce = Nonce::new([7; 32])?; // the verifier's; random in earnest, and never the same
//! let evidence = key.attest(&nonce).await?;
//!
//! // Elsewhere. Of a TPM: `trust_attestation_key` of the machine that was enrolled, and no `accept_software`.
//! let verifier = Verifier::new(nonce).danger_any_attestation_key().accept_software();
//! let verified = verifier.verify(evidence.as_bytes())?;
//! assert_eq!(verified.level(), Level::Software);
//! assert_eq!(verified.public_key(), Some(&key.public_key().await?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

#[cfg(feature = "attestation")]
pub use hsm_attestation::{
    KeyAttribute, Level, Statement, TpmState, VerifiedKey, VerifiedTpm, Verifier, VerifyError,
};
pub use hsm_core::attestation::{AttestationKeyId, Evidence, Nonce, Pcrs};
