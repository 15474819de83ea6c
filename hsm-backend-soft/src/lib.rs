//! The software device of the hsm SDK: sealed keys, primitives from aws-lc-rs, a domain key under a passphrase or key file.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
