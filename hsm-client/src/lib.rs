//! Keys that software can use and never hold: one handle for an HSM, wherever it is.
//!
//! ```
//! use hsm_client::kinds::EcdsaP384;
//! use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
//!
//! # pollster::block_on(async {
//! let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
//! let admin = hsm.login("admin", "an administrator's password").await?;
//! admin.create_user("app", "correct horse battery").await?;
//! admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys).await?;
//!
//! let app = hsm.login("app", "correct horse battery").await?;
//! let key = app.create::<EcdsaP384>("invoices").await?;      // made in the HSM; it never leaves
//! let signature = key.sign(b"pay 100 to Alice").await?;
//! key.rotate().await?;                                       // new signatures come from a new version
//! key.verify(b"pay 100 to Alice", &signature).await?;        // old ones still verify
//! # Ok::<(), hsm_client::Error>(())
//! # }).unwrap();
//! ```
//!
//! With `soft:./dev.hsm` instead of `memory:` the HSM is a folder: keys survive restarts and `kill -9`, several processes
//! may use it at once, and every use is in an audit log. [`blocking`] is the same for programs without an async runtime;
//! the async face needs no particular one.
//!
//! # Map
//!
//! | to | see |
//! |---|---|
//! | make or open an HSM | [`Hsm`], [`Setup`], [`OpenOptions`] |
//! | make or open one whose keys live in a TPM | [`Hsm::create`] and [`Hsm::open`] of `tpm:…`, [`TpmAddress`] |
//! | rest a software HSM in a TPM, find out that an older copy was put back | `TpmSeal`, `Setup::count_changes` |
//! | change what opens it | [`Hsm::add_protector`], [`Hsm::remove_protector`] |
//! | open one behind a server | [`Hsm::open`] of `https://…` or `unix:…`, `remote` |
//! | administer it: users, roles, settings, deleted keys | [`Session`] |
//! | make keys | [`Session::create`], [`CreateKey`], [`kinds`] |
//! | use keys | [`Key`], or [`AnyKey`] where the type is known only at run time |
//! | keep what they made | [`Signature`], [`Encrypted`], [`Wrapped`], [`Encapsulation`] |
//! | give them to code that knows the traits of the crate `signature` | [`signature`] |
//! | make certificates, or be the authority that issues them | `x509`, or `rcgen` |
//! | sign documents and code, and verify such signatures | `cms` |
//! | sign, verify and encrypt JSON Web Tokens | `jose` |
//! | encrypt files and rows under data keys that the HSM wraps | `envelope` (feature `aead`) |
//! | serve TLS with a key of the HSM | `tls`, with the feature `rustls` |
//! | stay logged in for longer than a session lasts | [`Hsm::stay_logged_in`] |
//! | prove where a key lives | [`Key::attest`], `attestation` |
//! | check the audit log | [`audit`] |
//! | choose who does the cryptography, FIPS mode | [`OpenOptions::device`], [`SoftDeviceOptions`] |
//! | understand a failure | [`Error`], [`ErrorKind`] |
//!
//! The page `docs/cookbook.md` of the repository has a dozen lines for each task.
//!
//! # Features
//!
//! | feature | adds | needs |
//! |---|---|---|
//! | `remote` (default) | `https://…` and `unix:…` behind [`Hsm::open`], module `remote` | 70 crates: HTTP, TLS, tokio |
//! | `signature` (default) | [`Key::signer`], module [`signature`] | nothing that is not there |
//! | `x509` | requests, certificates, revocation lists: module `x509` | 4 crates |
//! | `rcgen` | keys for the crate `rcgen`: module `rcgen` | 26 crates |
//! | `rustls` | TLS for servers and clients: module `tls` | 15 crates, or 4 beside `remote`; tokio |
//! | `jose` | JSON Web Tokens: module `jose` | 3 crates |
//! | `aead` | envelope encryption: module `envelope` | 4 crates |
//! | `cms` | signed documents: module `cms` | 12 crates, of which `cms` is a pre-release |
//! | `tpm` | `tpm:…` behind [`Hsm::create`] and [`Hsm::open`], `TpmSeal` | 3 crates, no system library |
//! | `attestation` | the verifier of key reports, in [`attestation`] | 4 crates |
//! | `full` | all of the above | 113 crates |
//! | `rust-crypto` | the provider in pure Rust beside AWS-LC, [`CryptoProvider`] | 10 crates |
//! | `fips` | the validated module of AWS-LC | Go and CMake to build |
//!
//! A feature adds an API and changes no call. A crate whose types are in the API of a module is in that module, so that
//! programs need not depend on the version that fits.
//!
//! # Versions
//!
//! Rust 1.95 or newer; a newer one is asked for in a minor version only. Enums and structs that may grow are `#[non_exhaustive]`.
//! Traits that describe our own types ([`Handle`], [`kinds`], those of the adapters) are sealed; those that a program may
//! implement ([`Clock`], [`Service`](hsm_core::Service), `TokenSource`) are not, and get no new method without a major version.
//! The modules of the adapters have types of other crates in their API, so a major version of one of these is one of ours. Two
//! of them are pre-releases and may change in a minor version: `rsa` 0.10.0-rc, which has the types of RSA signatures
//! ([`signature::rsa`]), and `cms` 0.3.0-rc, whose structures the module `cms` shows in `DetachedSignature::as_cms`.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod attestation;
pub mod audit;
pub mod blocking;
#[cfg(any(feature = "rustls", feature = "x509"))]
mod certificate;
mod clock;
#[cfg(feature = "cms")]
pub mod cms;
mod create;
#[cfg(feature = "aead")]
pub mod envelope;
#[cfg(any(feature = "aead", feature = "jose"))]
mod flight;
mod hsm;
#[cfg(feature = "jose")]
pub mod jose;
mod key;
mod local;
mod open;
#[cfg(doctest)]
mod pages;
#[cfg(feature = "rcgen")]
pub mod rcgen;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "tpm")]
mod seal;
mod session;
#[cfg(feature = "signature")]
pub mod signature;
mod standing;
#[cfg(feature = "rustls")]
pub mod tls;
#[cfg(feature = "tpm")]
mod tpm;
mod url;
#[cfg(any(feature = "jose", feature = "rustls"))]
mod versions;
#[cfg(feature = "x509")]
pub mod x509;

pub use clock::SystemClock;
pub use create::{CreateKey, Handle};
pub use hsm::{Hsm, OpenOptions, Setup};
pub use key::{AnyKey, Encapsulation, Encrypted, Key, Signature, Wrapped};
#[cfg(feature = "tpm")]
pub use seal::TpmSeal;
pub use session::Session;
pub use url::{Address, TpmAddress, Url};

#[cfg(feature = "remote")]
#[doc(no_inline)]
pub use async_trait::async_trait;

pub use hsm_backend_soft::{
    CryptoProvider, Protector, ProtectorKind, SoftDevice, SoftDeviceOptions,
};
pub use hsm_core::key::KeyMaterial;
pub use hsm_core::key::typed as kinds;
pub use hsm_core::lifecycle;
pub use hsm_core::limits;
pub use hsm_core::policy::{
    ActionSet, BuiltInRole, DataAction, RoleAssignment, RoleDefinition, RoleId, RotationPolicy,
    Scope,
};
pub use hsm_core::{
    Algorithm, Attributes, AttributesUpdate, Ciphertext, Clock, Credentials, EngineStatus, Error,
    ErrorKind, KeyInfo, KeyName, KeyRef, KeySpec, KeyType, Page, PageRequest, PartitionInfo,
    PcrSelection, Principal, PublicKey, Result, SecretBytes, Settings, SettingsUpdate, SignInput,
    Tags, Timestamp, TokenInfo, TokenName, Usage, Usages, UserInfo, UserUpdate, VersionId,
};
