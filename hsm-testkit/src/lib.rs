//! What proves that a backend of the hsm SDK is right: conformance suites, a model, faults, a clock to turn.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
