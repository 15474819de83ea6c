//! The embedded store of the hsm SDK: SQLite shared by processes that may die at any moment, and the audit log on disk.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
