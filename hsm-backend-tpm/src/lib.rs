//! Keys that live in a TPM 2.0: [`TpmDevice`], a [`Device`](hsm_core::Device) for the HSM that almost every server has.
//!
//! Keys are made in the TPM and used in it. What the store keeps of them is encrypted under the TPM's storage root key,
//! so it is useless without this TPM, and survives a reboot. The crate is pure Rust and needs no system library.
//!
//! ```no_run
//! use hsm_backend_tpm::{KernelTransport, TpmDevice};
//! use hsm_core::{Binding, Device, KeySpec, KeyType, Usage, Usages};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let device = TpmDevice::create(KernelTransport::open("/dev/tpmrm0")?)?;
//! let root = device.root_name(); // keep it, and open the device with it from then on
//!
//! let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign, Usage::Verify]))?;
//! let binding = Binding::new("example", b"the key's attributes");
//! let new = device.generate(&spec, &binding).await?;
//! let key = device.load(&new.sealed, &binding).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | Type | What it is |
//! |---|---|
//! | [`TpmDevice`] | The device |
//! | [`TpmRoot`] | The TPM as the root of trust of keys that live elsewhere: [`TpmSealer`], [`TpmCounter`] |
//! | [`RootName`] | Which TPM it is: the name of its storage root key |
//! | [`KernelTransport`], [`TcpTransport`] | Ways to a TPM: Linux, and a simulator |
//! | [`Transport`] | Your own way |
//!
//! What crosses the bus, the format of sealed keys, and what the device protects against: `docs/tpm.md`.

#![forbid(unsafe_code)]

mod attest;
mod boot_state;
mod capability;
mod command;
mod counter;
mod device;
mod failure;
mod import;
mod kdf;
mod limits;
mod loaded;
mod operations;
mod return_code;
mod root;
mod sealed;
mod sealer;
mod session;
mod slots;
mod template;
mod tpm;
mod transport;
mod trust;
mod wire;
mod worker;

pub use self::counter::TpmCounter;
pub use self::device::TpmDevice;
pub use self::root::RootName;
pub use self::sealer::TpmSealer;
pub use self::transport::{
    KernelTransport, Sharing, TcpTransport, Transport, is_undelivered, read_response,
};
pub use self::trust::TpmRoot;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
