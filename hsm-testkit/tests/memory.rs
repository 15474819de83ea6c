//! The store in memory keeps the contract of `Store`: it is the model for the others.

use hsm_testkit::MemoryStore;

hsm_testkit::store_conformance!(MemoryStore::new());
