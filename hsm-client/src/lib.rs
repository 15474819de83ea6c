//! Keys that software can use and never hold: one handle for local, remote and grouped HSMs.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
