//! [`RootSealer`]: hardware that keeps a secret for this machine, or for this state of it.

use std::fmt::Debug;

use crate::error::Result;
use crate::secret::SecretBytes;

/// Seals small secrets to hardware: what comes out is of no use elsewhere. A software device rests its domain key under one.
///
/// `hsm-backend-tpm` has one for a TPM 2.0. The suite `root_sealer_conformance` of `hsm-testkit` holds any to the contract.
///
/// # Contract
///
/// - What [`seal`](Self::seal) made, [`unseal`](Self::unseal) of the same hardware opens, after a restart as well, for as long
///   as the state to which it was sealed lasts.
/// - Every seal is its own: what was sealed twice looks different. Nothing in it tells of the secret.
/// - What was altered, or was sealed by other hardware, is an error, never another secret.
/// - It persists nothing, and may block: callers call it from a thread that may.
///
/// # Errors
///
/// [`unseal`](Self::unseal) says which it is, and what to do, in words that an operator understands:
/// [`Denied`](crate::ErrorKind::Denied) if this is the hardware, but its state is another than that which was sealed to (other
/// firmware); [`DeviceFailed`](crate::ErrorKind::DeviceFailed) if it is other hardware, or was cleared;
/// [`Damaged`](crate::ErrorKind::Damaged) if the bytes were altered; [`Unreachable`](crate::ErrorKind::Unreachable) or
/// [`Unknown`](crate::ErrorKind::Unknown) if it does not answer.
pub trait RootSealer: Debug + Send + Sync {
    /// What to call it in messages, with its article: "the TPM". At most
    /// [`SEALER_NAME_LEN_MAX`](crate::limits::SEALER_NAME_LEN_MAX) printable ASCII characters.
    fn name(&self) -> &'static str;

    /// Seals a secret of [`SEALED_SECRET_LEN`](crate::limits::SEALED_SECRET_LEN) bytes. At most
    /// [`SEALED_SECRET_LEN_MAX`](crate::limits::SEALED_SECRET_LEN_MAX) bytes come out.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a secret of another length, and what the hardware says.
    fn seal(&self, secret: &SecretBytes) -> Result<Vec<u8>>;

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    ///
    /// As the contract says.
    fn unseal(&self, sealed: &[u8]) -> Result<SecretBytes>;
}
