//! The embedded store of the hsm SDK: SQLite shared by processes that may die at any moment, and the audit log on disk.
//!
//! ```
//! use hsm_core::{Space, Store};
//! use hsm_store::EmbeddedStore;
//!
//! # futures_executor::block_on(async {
//! let store = EmbeddedStore::in_memory()?;
//! store.transact(Box::new(|records| records.put(Space::Keys, b"payments", b"sealed"))).await?;
//!
//! let mut found = None;
//! store.view(Box::new(|records| {
//!     found = records.read(Space::Keys, b"payments")?;
//!     Ok(())
//! })).await?;
//! assert_eq!(found.as_deref(), Some(&b"sealed"[..]));
//! # Ok::<(), hsm_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! | type | what it is |
//! |---|---|
//! | [`EmbeddedStore`] | a [`Store`](hsm_core::Store) in one SQLite file |
//! | [`AuditLog`] | an [`AuditSink`](hsm_core::audit::AuditSink) in a folder of mapped files |
//! | [`StreamFiles`] | the files of one stream of the log, for the offline verifier; [`read_stream_files`] finds them |
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod audit_log;
mod embedded;
mod mapped;

pub use audit_log::{AuditLog, StreamFiles, read_stream_files};
pub use embedded::EmbeddedStore;
