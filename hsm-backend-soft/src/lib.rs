//! The software device of the hsm SDK: keys that live in this process, sealed under a domain key that rests under a
//! passphrase, a key file, or hardware such as a TPM.
//!
//! It implements [`Device`](hsm_core::Device) of `hsm-core` with the primitives of aws-lc-rs, or in pure Rust. Applications
//! want `hsm-client`, which puts roles, policies, names and an audit log in front of it.
//!
//! ```
//! use hsm_backend_soft::SoftDevice;
//! use hsm_core::{Algorithm, Binding, Device, KeySpec, KeyType, LoadedKey, SignInput, Usage, Usages};
//!
//! # #[cfg(not(feature = "aws-lc"))] fn main() {}
//! # #[cfg(feature = "aws-lc")] fn main() -> hsm_core::Result<()> {
//! # futures_executor::block_on(async {
//! let device = SoftDevice::in_memory()?;
//! let spec = KeySpec::new(KeyType::EcP384, Usages::of(&[Usage::Sign, Usage::Verify]))?;
//! let binding = Binding::new("example", b"invoices, version 1");
//! let new = device.generate(&spec, &binding).await?;      // the device keeps nothing: `new.sealed` is yours to store
//! let key = device.load(&new.sealed, &binding).await?;    // and of no use elsewhere, or under another binding
//! let document = SignInput::Message(b"hello");
//! let signature = key.sign(Algorithm::Es384, document).await?;
//! key.verify(Algorithm::Es384, document, &signature).await?;
//! # Ok::<(), hsm_core::Error>(())
//! # })
//! # }
//! ```
//!
//! # Map
//!
//! - [`SoftDevice`]: create one, open one, or make one [in memory](SoftDeviceOptions::in_memory).
//! - [`CryptoProvider`]: who does the cryptography; the first of [`SoftDeviceOptions`].
//! - [`SoftDeviceOptions::approved_only`]: FIPS mode; [`FipsStatus`] says what is behind it.
//! - [`Protector`]: what stands before the domain key: a passphrase, a key file, hardware, or several of them.
//! - [`ProtectorFile`]: what lies on disk; public so that tools and fuzzers can read it.
//!
//! The formats of sealed keys, exported keys and protector files stand in `docs/sealed_key.md`, what each provider has and
//! costs in `docs/providers.md`.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `aws-lc` (default) | [`CryptoProvider::AwsLc`] and what takes it by itself: [`SoftDevice::create`], [`SoftDevice::open`], [`SoftDevice::in_memory`]. Needs a C compiler |
//! | `fips` | The module of AWS-LC that was validated, under the same provider. Needs Go and CMake besides; see `docs/fips.md` |
//! | `rust-crypto` | [`CryptoProvider::RustCrypto`]: pure Rust. Read of its RSA before you take it |
//!
//! A feature adds a provider, or replaces its module by the validated one, and changes no call. With `default-features = false` and `rust-crypto` the crate builds
//! without a C compiler; with neither it has no device, only the formats.
//!
//! # What a software device cannot promise
//!
//! Keys are in the memory of the process that uses them. Who can read that memory (root, a debugger, a hole in the
//! application, the hypervisor) can read every key that is loaded, and the domain key. The domain key has a page of its
//! own that is locked in memory and left out of core dumps, if the system allows
//! ([`memory_is_locked`](SoftDevice::memory_is_locked)). Loaded keys live in the heap of the provider, which wipes them when
//! they are dropped but does not lock them; encrypt swap, and turn core dumps off.
//!
//! An old copy of the protector file opens with the protector it was made under, for ever: changing a passphrase does
//! not reach backups. Zeroization overwrites the file, which is as good as the medium: flash and copy-on-write file
//! systems keep old blocks. A process that has the device open keeps its copy until it zeroizes as well, or ends.
//!
//! Its only entropy is that of the operating system, and its self-tests find broken code, not broken processors.
//!
//! # Errors
//!
//! After a failed self-test everything but a later self-test fails with
//! [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed); after zeroization, everything does, for good.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "aws-lc", feature = "rust-crypto")),
    expect(dead_code, reason = "a crate without a provider has no device")
)]

mod attest;
mod device;
mod error;
mod health;
mod loaded;
mod memory;
mod options;
mod protector;
mod provider;
mod root;
mod seal;
mod self_test;
mod wrapped;

pub use device::{FipsStatus, SoftDevice};
pub use options::{CryptoProvider, SoftDeviceOptions};
pub use protector::{Protector, ProtectorFile, ProtectorKind};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
