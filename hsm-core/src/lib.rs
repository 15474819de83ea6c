//! The reference monitor of the hsm SDK: typed keys, policies, roles, the key lifecycle, and the engine that enforces
//! them.
//!
//! > A **device** turns sealed keys into operations, the **engine** decides who may ask, the **store** remembers sealed
//! > keys, and the **client** hides where all of that happens.
//!
//! Applications want [`hsm-client`](https://docs.rs/hsm-client), whose `Hsm::open` puts the parts together. This crate is
//! for those who add a backend, a store or a service, or put an engine together themselves:
//!
//! ```
//! use hsm_core::{Algorithm, Credentials, Engine, KeyRef, Parts, Request, Response, Service, Session, SignInput};
//! use hsm_core::audit::RequestId;
//!
//! # async fn example(parts: Parts) -> Result<(), hsm_core::Error> {
//! let engine = Engine::open(parts).await?;
//! let session = engine.login(Credentials::password("app", "correct horse battery")?).await?;
//! let request = Request::Sign {
//!     key: "payments".parse()?,
//!     algorithm: Algorithm::Es384,
//!     input: SignInput::Message(b"pay 100 to Alice"),
//! };
//! let Response::Signature { bytes, version } = session.call(RequestId::from_u128(1), request).await? else { unreachable!() };
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! | to | see |
//! |---|---|
//! | know what there is to make and use | [`KeyType`], [`Algorithm`]: the registry |
//! | add a backend | [`Device`], [`LoadedKey`], [`Capabilities`], [`SealedKey`], [`Binding`] |
//! | keep records elsewhere | [`Store`], [`Snapshot`], [`Transaction`] |
//! | rest the domain key in hardware, or find older copies of the store out | [`RootSealer`], [`MonotonicCounter`], [`Opening`] |
//! | wrap or replace the engine | [`Service`], [`Session`], [`Request`], [`Response`] |
//! | enforce | [`Engine`], [`policy::authorize`], [`lifecycle::State`], [`Attributes`] |
//! | record and verify | [`audit`] |
//! | prove where a key lives | [`attestation`], [`Device::attest`] |
//! | understand a failure | [`Error`], [`ErrorKind`], [`limits`] |
//!
//! The crate has no sockets, no files, no wall clock and no `unsafe`.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod algorithm;
pub mod attestation;
pub mod audit;
mod capability;
mod clock;
mod counter;
mod device;
mod engine;
mod error;
pub mod key;
pub mod lifecycle;
pub mod limits;
pub mod policy;
mod request;
mod sealer;
mod secret;
mod service;
mod store;

pub use algorithm::{Algorithm, Hash, KeyFamily, KeyType, Operation};
pub use capability::Capabilities;
pub use clock::{Clock, Timestamp};
pub use counter::MonotonicCounter;
pub use device::{
    Ciphertext, CiphertextRef, DeriveParameters, Device, Encapsulated, LoadedKey, NewKey,
    SignInput, WrappedFormat,
};
pub use engine::{
    Engine, EngineSession, EngineStatus, Maintenance, Opening, Parts, Setup, partition_id,
};
pub use error::{Error, ErrorKind, Result};
pub use key::{
    Attributes, AttributesUpdate, Binding, Jwk, KeyName, KeyRef, KeySpec, Origin, PcrSelection,
    PublicKey, SealedKey, Tags, Usage, Usages, VersionId,
};
pub use request::{
    Deletion, IfTaken, KeyInfo, NewKeyParameters, Page, PageRequest, PartitionInfo, Recovery,
    Request, Response, Settings, SettingsUpdate, TokenInfo, UserInfo, UserUpdate,
};
pub use sealer::RootSealer;
pub use secret::SecretBytes;
pub use service::{Credentials, Principal, Service, Session, TokenName};
pub use store::{Snapshot, Space, Store, TransactBody, Transaction, ViewBody};
