//! [`Capabilities`]: what a device says that it can do. Tests decide their skips by it, the engine its refusals.

use crate::algorithm::{Algorithm, KeyType};
use crate::error::{Error, ErrorKind, Result};
use crate::key::KeySpec;

/// What a device can do.
///
/// ```
/// use hsm_core::{Algorithm, Capabilities, KeyType};
///
/// let capabilities = Capabilities::new("example").with_key_types([KeyType::EcP256]).with_algorithms([Algorithm::Es256]);
/// assert!(capabilities.supports_key_type(KeyType::EcP256));
/// let error = capabilities.check(KeyType::Rsa2048, None).unwrap_err();
/// assert!(error.to_string().contains("RSA-2048"));
/// ```
#[derive(Clone, Debug)]
pub struct Capabilities {
    device: &'static str,
    key_types: Vec<KeyType>,
    algorithms: Vec<Algorithm>,
    approved_only: bool,
    boot_states: bool,
    import_only: bool,
    attestation: bool,
}

impl Capabilities {
    /// A device called `device` in messages, which can do nothing yet.
    #[must_use]
    pub fn new(device: &'static str) -> Self {
        Self {
            device,
            key_types: Vec::new(),
            algorithms: Vec::new(),
            approved_only: false,
            boot_states: false,
            import_only: false,
            attestation: false,
        }
    }

    /// Adds key types that the device can make, import and load.
    #[must_use]
    pub fn with_key_types(mut self, key_types: impl IntoIterator<Item = KeyType>) -> Self {
        self.key_types.extend(key_types);
        self
    }

    /// Adds algorithms that the device can run.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms.extend(algorithms);
        self
    }

    /// Says that the device can tie keys to the state in which the machine was started.
    #[must_use]
    pub fn with_boot_states(mut self) -> Self {
        self.boot_states = true;
        self
    }

    /// Says that wrapped keys come in and none goes out: the device has no [`export`](crate::LoadedKey::export).
    #[must_use]
    pub fn import_only(mut self) -> Self {
        self.import_only = true;
        self
    }

    /// Says that the device makes key reports.
    #[must_use]
    pub fn with_attestation(mut self) -> Self {
        self.attestation = true;
        self
    }

    /// Leaves only what the standards of NIST approve: a device in FIPS mode. Call it last.
    #[must_use]
    pub fn approved_only(mut self) -> Self {
        self.key_types.retain(|it| it.approval().is_approved());
        self.algorithms.retain(|it| it.approval().is_approved());
        self.approved_only = true;
        self
    }

    /// Whether the device is in FIPS mode: it refuses what the standards of NIST do not approve.
    #[must_use]
    pub fn is_approved_only(&self) -> bool {
        self.approved_only
    }

    /// The kind of device: `software`, `tpm`, …
    #[must_use]
    pub fn device(&self) -> &'static str {
        self.device
    }

    /// Key types that the device can make, import and load.
    #[must_use]
    pub fn key_types(&self) -> &[KeyType] {
        &self.key_types
    }

    /// Algorithms that the device can run.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Whether the device makes key reports ([`Device::attest`](crate::Device::attest)).
    #[must_use]
    pub fn supports_attestation(&self) -> bool {
        self.attestation
    }

    /// Whether the device can make keys of `key_type`.
    #[must_use]
    pub fn supports_key_type(&self, key_type: KeyType) -> bool {
        self.key_types.contains(&key_type)
    }

    /// Whether the device can run `algorithm`.
    #[must_use]
    pub fn supports_algorithm(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether the device can tie keys to the state in which the machine was started.
    #[must_use]
    pub fn supports_boot_states(&self) -> bool {
        self.boot_states
    }

    /// Whether the device takes wrapped keys in and lets none out.
    #[must_use]
    pub fn is_import_only(&self) -> bool {
        self.import_only
    }

    /// Checks that the device can make keys of `spec`.
    ///
    /// ```
    /// use hsm_core::{Capabilities, ErrorKind, KeySpec, KeyType, PcrSelection, Usage, Usages};
    ///
    /// let capabilities = Capabilities::new("example").with_key_types([KeyType::EcP256]);
    /// let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign]))?;
    /// capabilities.check_spec(&spec)?;
    /// let bound = spec.in_boot_state(PcrSelection::of(&[7])?);
    /// let error = capabilities.check_spec(&bound).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Unsupported);
    /// # Ok::<(), hsm_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`], naming what the device lacks.
    pub fn check_spec(&self, spec: &KeySpec) -> Result<()> {
        self.check(spec.key_type, None)?;
        if spec.boot_state.is_none() || self.boot_states {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the {} device cannot tie keys to the state in which the machine was started; a TPM can",
                self.device
            ),
        ))
    }

    /// Checks that the device supports `key_type` and, if given, `algorithm`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`], naming the device and what it lacks, or the standard that does not approve it.
    pub fn check(&self, key_type: KeyType, algorithm: Option<Algorithm>) -> Result<()> {
        let (lacking, approval) = if !self.supports_key_type(key_type) {
            (format!("keys of type {key_type}"), key_type.approval())
        } else if let Some(algorithm) = algorithm.filter(|a| !self.supports_algorithm(*a)) {
            (format!("algorithm {algorithm}"), algorithm.approval())
        } else {
            return Ok(());
        };
        if self.approved_only {
            approval.check(&lacking)?;
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("the {} device has no {lacking}", self.device),
        ))
    }
}
