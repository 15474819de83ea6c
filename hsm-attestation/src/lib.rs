//! Verifies key reports: what a device states about a key, signed for whoever chose the nonce.
//!
//! A relying party makes a [`Nonce`], gets a report with it from whoever has the HSM (`Key::attest` of `hsm-client`), and
//! asks a [`Verifier`]. There is no TPM, no HSM and no network in it: bytes go in, and a [`VerifiedKey`] comes out, or the
//! [`VerifyError`] of the one thing that is wrong.
//!
//! ```
//! use futures_executor::block_on;
//! use hsm_attestation::{Level, Nonce, Verifier, VerifyError};
//! use hsm_backend_soft::SoftDevice;
//! use hsm_core::attestation::AttestRequest;
//! use hsm_core::{Binding, Device, KeySpec, KeyType, Usage, Usages};
//!
//! let device = SoftDevice::in_memory()?;
//! let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign]))?;
//! let binding = Binding::new("example", b"the key's attributes");
//! let key = block_on(device.generate(&spec, &binding))?;
//!
//! let nonce = Nonce::new([7; 32])?; // random in earnest, and never the same
//! let request = AttestRequest::new(nonce.clone());
//! let evidence = block_on(device.attest(&key.sealed, &binding, &request))?;
//!
//! // Software can state anything. It is not believed unless one says so.
//! let verifier = Verifier::new(nonce).danger_any_attestation_key();
//! assert!(matches!(verifier.verify(evidence.as_bytes()), Err(VerifyError::SoftwareNotAccepted)));
//! let verified = verifier.accept_software().verify(evidence.as_bytes())?;
//! assert_eq!(verified.level(), Level::Software);
//! assert_eq!(verified.public_key(), key.public.as_ref());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a report of a TPM proves
//!
//! With [`trust_attestation_key`](Verifier::trust_attestation_key): that the TPM with this attestation key has the key
//! loaded, made it itself, and does not let it go; and, with [`expect_pcr`](Verifier::expect_pcr), what the machine had
//! booted. The usages that a TPM does not know apart, the label and the binding are the word of the software on that machine.
//!
//! The certificate chain ([`trust_root`](Verifier::trust_root)) proves that the endorsement key in the report is of a genuine
//! TPM. That the attestation key lives in the same TPM it does not prove: keep the id of the attestation key when the machine
//! is enrolled, over a way that you trust.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod certificate;
mod error;
mod tpm;
mod verifier;

pub use error::{KeyAttribute, Statement, VerifyError};
pub use hsm_core::attestation::{AttestationKeyId, Nonce, Pcrs};
pub use tpm::{TpmState, VerifiedTpm};
pub use verifier::{Level, VerifiedKey, Verifier};
