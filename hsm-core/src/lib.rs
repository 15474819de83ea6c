//! The reference monitor of the hsm SDK: typed keys, policies, roles, the key lifecycle, and the engine that enforces
//! them.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod algorithm;
pub mod audit;
mod capability;
mod clock;
mod device;
mod engine;
mod error;
pub mod key;
pub mod lifecycle;
pub mod limits;
pub mod policy;
mod request;
mod secret;
mod service;
mod store;

pub use algorithm::{Algorithm, Hash, KeyFamily, KeyType, Operation};
pub use capability::Capabilities;
pub use clock::{Clock, Timestamp};
pub use device::{
    Ciphertext, CiphertextRef, DeriveParameters, Device, LoadedKey, NewKey, SignInput,
    WrappedFormat,
};
pub use engine::{Engine, EngineSession, Maintenance, Parts, Setup};
pub use error::{Error, ErrorKind, Result};
pub use key::{
    Attributes, AttributesUpdate, Binding, KeyName, KeyRef, KeySpec, Origin, PublicKey, SealedKey,
    Tags, Usage, Usages, VersionId,
};
pub use request::{
    Deletion, KeyInfo, NewKeyParameters, Page, PageRequest, PartitionInfo, Request, Response, Settings, SettingsUpdate,
    UserInfo, UserUpdate,
};
pub use secret::SecretBytes;
pub use service::{Credentials, Principal, Service, Session};
pub use store::{Snapshot, Space, Store, TransactBody, Transaction, ViewBody};
